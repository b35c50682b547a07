/* SPDX-License-Identifier: MIT */
/* What the kernel holds: the sockets of this network namespace and whose they
 * are; who would receive a packet; what could be bound, and what is in the way.
 *
 * All of it is asked of the kernel at the moment of the call: sock_diag(7),
 * rtnetlink(7), /proc, and real binds.  No call here waits for the network.
 * They compute, for milliseconds where there are thousands of sockets: on a
 * fiber, run them in cleat_offload().  Any thread.
 */
#ifndef CLEAT_INSPECT_H
#define CLEAT_INSPECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <cleat/addr.h>
#include <cleat/options.h>

#ifdef __cplusplus
extern "C" {
#endif

/* As the kernel numbers them (net/tcp_states.h), but that UDP, raw and unix
 * sockets are ESTABLISHED if they are connected, and else BOUND or CLOSED.
 */
enum cleat_state {
	CLEAT_STATE_ESTABLISHED = 1,
	CLEAT_STATE_SYN_SENT,
	CLEAT_STATE_SYN_RECEIVED,
	CLEAT_STATE_FIN_WAIT_1,
	CLEAT_STATE_FIN_WAIT_2,
	CLEAT_STATE_TIME_WAIT,
	CLEAT_STATE_CLOSED, /* has no address */
	CLEAT_STATE_CLOSE_WAIT,
	CLEAT_STATE_LAST_ACK,
	CLEAT_STATE_LISTEN,
	CLEAT_STATE_CLOSING,
	CLEAT_STATE_BOUND = 13, /* of TCP listed since Linux 6.8 */
};

/* cleat_state_name - "listen", "time-wait".  Static. */
const char *cleat_state_name(enum cleat_state state);

struct cleat_owner {
	pid_t pid;
	int fd;
	char command[16]; /* as in /proc/PID/comm: any bytes, at most 15 */
};

/* One socket.  What points elsewhere belongs to the object it came from. */
struct cleat_socket {
	int family; /* AF_INET, AF_INET6, AF_UNIX */
	int type; /* SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET, SOCK_RAW */
	int protocol; /* IPPROTO_TCP, ...; of unix sockets 0 */
	enum cleat_state state;
	struct cleat_sockaddr local; /* len 0: a unix socket without a name */
	struct cleat_sockaddr peer; /* len 0: not connected, or not known */
	/* CLEAT_DEFAULT: not an IPv6 socket, or not told: a connected one. */
	enum cleat_switch v6only;
	unsigned device; /* bound to the interface of this index; 0: any */
	/* 0: no descriptor is left, as in TIME_WAIT, or there is none yet: a
	 * connection not accepted. */
	unsigned inode;
	unsigned peer_inode; /* of a connected unix socket; else 0 */
	/* Of the file that a unix socket is bound to, whatever its path is by
	 * now: the file system's device, and the low 32 bits of st_ino; 0:
	 * none.  The device is not st_dev where a file system has several. */
	dev_t file_device;
	unsigned file_inode;
	uid_t uid; /* who made it */
	/* LISTEN: connections not accepted yet, and how many may be.
	 * Else: bytes received and not read yet, and room for them; of UDP
	 * both with what the kernel needs for itself. */
	unsigned queue_used, queue_max;
	/* Sockets of the same nonzero number share address, port, device, user
	 * and V6ONLY; numbered from 1 in each snapshot.  TCP listeners do so by
	 * SO_REUSEPORT; unconnected UDP sockets by that or by SO_REUSEADDR,
	 * which the kernel does not tell apart. */
	unsigned reuseport_group;
	int64_t expires_ns; /* TIME_WAIT, FIN_WAIT_2: left; else 0 */
	uint64_t cookie; /* the kernel's name for it, never used again */
	const struct cleat_owner *owners; /* sorted by pid, fd */
	unsigned n_owners; /* 0: none, or not for us to see */
};

enum cleat_kind { /* bits */
	CLEAT_KIND_TCP = 1,
	CLEAT_KIND_UDP = 2,
	CLEAT_KIND_RAW = 4,
	CLEAT_KIND_UNIX = 8, /* stream, datagram and seqpacket */
};

/* Which sockets; all zero is every one, with its owners. */
struct cleat_query {
	unsigned kinds; /* of enum cleat_kind; 0: all */
	int family; /* AF_UNSPEC: any */
	unsigned states; /* bits, 1u << CLEAT_STATE_LISTEN; 0: all */
	bool listening; /* of these states only what anybody can send to:
			 * LISTEN; and BOUND, but not of streams */
	/* The local port, up to LAST_PORT; then no raw and unix sockets.  Both
	 * 0: any; no LAST_PORT: just this one. */
	unsigned port, last_port;
	enum cleat_switch owners; /* off: do not look for them */
};

struct cleat_sockets {
	const struct cleat_socket *v; /* in the kernel's order */
	size_t n;
	size_t hidden; /* sockets with a descriptor whose owner is not seen */
};

/* cleat_sockets_new - a snapshot of the sockets that Q (NULL: all) asks for.
 *
 * A socket that appears or vanishes meanwhile may be in it or not.  No socket
 * is in it twice; but as ss(8) may, it may miss one beside many that come and
 * go: where the list does not fit one message, the kernel finds its place again
 * by counting.  Stores it in *S; the caller frees it with cleat_sockets_free().
 * Returns 0, or -EINVAL (a port above 65535), -ENOMEM, -EMFILE, -ENFILE, or
 * -EOPNOTSUPP (a kernel without sock_diag).
 */
int cleat_sockets_new(struct cleat_sockets **s, const struct cleat_query *q);
void cleat_sockets_free(struct cleat_sockets *s);

enum cleat_answer {
	CLEAT_ANSWER_ONE, /* one socket receives it */
	CLEAT_ANSWER_ANY_OF, /* one of several, which the kernel chooses */
	CLEAT_ANSWER_REFUSED, /* nobody listens: RST, or ICMP */
	CLEAT_ANSWER_DROPPED, /* a listener whose accept queue is full */
	CLEAT_ANSWER_UNREACHABLE, /* not this machine's address, no route */
};

struct cleat_lookup {
	enum cleat_answer answer;
	const struct cleat_socket *receivers; /* of DROPPED too */
	size_t n_receivers;
	/* Would receive it if the receivers were gone; nearest first. */
	const struct cleat_socket *shadowed;
	size_t n_shadowed;
	const char *explanation; /* a paragraph on one line */
};

/* What is sent: a TCP SYN (SOCK_STREAM) or a UDP datagram (SOCK_DGRAM). */
struct cleat_probe {
	int type;
	struct cleat_sockaddr to; /* AF_INET or AF_INET6 */
	/* Len 0: what this machine would take; port 0: any free one. */
	struct cleat_sockaddr from;
	unsigned device; /* sent by a socket bound to this one; 0: none */
};

/* cleat_lookup_new - who would receive P, sent from this machine.
 *
 * The kernel's own lookup answers (sock_diag of a single socket), so the order
 * is its own: connected before bound address before wildcard, IPv4 before
 * dual-stack, of datagram sockets a bound device before none, and SO_REUSEPORT
 * groups as any of them.
 * What netfilter or a BPF program would do is not seen.
 *
 * Stores the answer in *L; the caller frees it with cleat_lookup_free().
 * Returns 0, or -EINVAL (multicast, broadcast, unix, port 0), -ENOMEM, -EMFILE,
 * -ENFILE, -EOPNOTSUPP.
 */
int cleat_lookup_new(struct cleat_lookup **l, const struct cleat_probe *p);

/* cleat_lookup_all - the same for N packets (1 or more) at once, in the time
 * that one takes: as a name may stand for several addresses.
 *
 * Stores the answers in L[0] to L[N - 1]; the caller frees each with
 * cleat_lookup_free().  If one of them fails all do.
 */
int cleat_lookup_all(struct cleat_lookup **l, const struct cleat_probe *p,
		     size_t n);
void cleat_lookup_free(struct cleat_lookup *l);

/* What is to be bound. */
struct cleat_bind {
	enum cleat_proto proto; /* TCP, UDP, UNIX or UNIXGRAM */
	struct cleat_sockaddr at;
	bool v6only; /* of AF_INET6 */
	unsigned device; /* SO_BINDTODEVICE; 0: none */
};

struct cleat_trial {
	int error; /* of a bind without options: 0, or -errno */
	/* Whether it can be bound: with no option, and with these. */
	bool none, reuseaddr, reuseport, both;
	/* Whatever overlaps, if any: listeners first, then what is bound, then
	 * connections, which SO_REUSEADDR may pass over. */
	const struct cleat_socket *blockers;
	size_t n_blockers;
	const char *const *advice; /* what to do about it, best first */
	size_t n_advice;
	const char *summary; /* on one line: what is in the way, and whose */
};

/* cleat_trial_new - could B be bound by this process, and if not, why not?
 *
 * Found out by real binds, closed at once, that never listen; those of unix
 * paths are removed again.  Where a datagram socket is there already and would
 * share, a datagram that comes within these microseconds may be lost.  If TCP
 * allows a bind with both options only, one of the same user with SO_REUSEPORT
 * alone may pass after it (Linux 6.18).
 *
 * Stores the verdict in *T; the caller frees it with cleat_trial_free().
 * Returns 0, also if it cannot be bound; or -EINVAL (not to be bound at all),
 * -ENOMEM, -EMFILE, -ENFILE, -EOPNOTSUPP.
 */
int cleat_trial_new(struct cleat_trial **t, const struct cleat_bind *b);
void cleat_trial_free(struct cleat_trial *t);

#ifdef __cplusplus
}
#endif
#endif
