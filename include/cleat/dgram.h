/* SPDX-License-Identifier: MIT */
/* Datagrams: UDP, unix datagram and raw sockets.
 *
 * Any call that waits may also return -ETIMEDOUT and, on a fiber, -ECANCELED.
 */
#ifndef CLEAT_DGRAM_H
#define CLEAT_DGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include <cleat/addr.h>
#include <cleat/options.h>
#include <cleat/time.h>

#ifdef __cplusplus
extern "C" {
#endif

struct cleat_dgram;

/* cleat_dgram_open - a datagram socket bound to LOCAL and connected to PEER.
 *
 * Each may be NULL, not both.  Without PEER it receives from anyone; with it,
 * from PEER alone, and a refusal (ICMP) is reported as -ECONNREFUSED.  "udp://
 * 8080" as LOCAL binds both loopbacks.  Names are looked up until UNTIL.
 * OPT may be NULL.  The caller frees *D with cleat_dgram_close().
 *
 * Returns 0, or -EADDRINUSE, -EACCES, -EINVAL, -EPROTOTYPE (not datagrams),
 * -EAFNOSUPPORT (LOCAL and PEER have no family in common), CLEAT_ENONAME, ...
 */
int cleat_dgram_open(struct cleat_dgram **d, const char *local,
		     const char *peer, const struct cleat_options *opt,
		     cleat_time until);

/* cleat_raw_open - a SOCK_RAW socket of FAMILY (AF_INET, AF_INET6) for the IP
 * protocol PROTOCOL, used through the same calls.  For what raw(7) says of
 * headers, see there.  Returns 0, or -EPERM (it takes CAP_NET_RAW), ...
 */
int cleat_raw_open(struct cleat_dgram **d, int family, int protocol,
		   const struct cleat_options *opt);

/* cleat_recvfrom - the next datagram.  Waits until UNTIL.
 *
 * Returns its length, which may be 0, or -EMSGSIZE: it was longer, BUF holds
 * its first LEN bytes and the rest is lost.  FROM may be NULL.
 */
ssize_t cleat_recvfrom(struct cleat_dgram *d, void *buf, size_t len,
		       struct cleat_sockaddr *from, cleat_time until);

/* cleat_sendto - one datagram to TO, or to the peer where TO is NULL.
 *
 * From a socket bound to every interface an answer, which is what goes to a
 * sender of the last receive, leaves from the address that he sent to.
 *
 * DATA must not be a cleat_view(), unless the peer is sure to have room: it is
 * not copied where the call waits.
 *
 * Returns 0, or -EMSGSIZE (too long for one datagram), -EDESTADDRREQ,
 * -ECONNREFUSED (an earlier one was refused), -EAFNOSUPPORT, ...
 */
int cleat_sendto(struct cleat_dgram *d, const void *data, size_t len,
		 const struct cleat_sockaddr *to, cleat_time until);

/* One datagram of a batch. */
struct cleat_packet {
	void *data;
	size_t size; /* room at DATA, for receiving */
	size_t len; /* bytes at DATA: what came, what to send */
	bool truncated; /* it was longer than SIZE */
	struct cleat_sockaddr addr; /* from whom, or to whom; len 0: the peer */
};

/* cleat_recv_batch - wait for one datagram, take up to N (recvmmsg(2)).
 * Returns how many, 1 or more, or a negative code.
 */
int cleat_recv_batch(struct cleat_dgram *d, struct cleat_packet *v, unsigned n,
		     cleat_time until);

/* cleat_send_batch - send N datagrams in order (sendmmsg(2)).
 *
 * Returns how many went out: fewer than N only if the next one failed, and its
 * code if it was the first.
 */
int cleat_send_batch(struct cleat_dgram *d, struct cleat_packet *v, unsigned n,
		     cleat_time until);

/* cleat_adopt_dgram - make one of FD, a bound datagram socket of any origin.
 * Returns as cleat_adopt().
 */
int cleat_adopt_dgram(struct cleat_dgram **d, int fd);

/* cleat_dgram_local - the I-th address it is bound to; -ERANGE past the last.
 */
int cleat_dgram_local(const struct cleat_dgram *d, unsigned i,
		      struct cleat_sockaddr *sa);

/* cleat_dgram_fd - the I-th descriptor, still owned by D; or -ERANGE. */
int cleat_dgram_fd(const struct cleat_dgram *d, unsigned i);

/* cleat_dgram_close - free D; NULL is fine.  Does not block. */
void cleat_dgram_close(struct cleat_dgram *d);

#ifdef __cplusplus
}
#endif
#endif
