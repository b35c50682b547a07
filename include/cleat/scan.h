/* SPDX-License-Identifier: MIT */
/* Which ports of which addresses are open: what to try, and trying it.
 *
 * Scan only what is yours, or what you may: elsewhere it is taken for an
 * attack, and may be one.
 *
 * Any thread; a set belongs to one at a time.
 */
#ifndef CLEAT_SCAN_H
#define CLEAT_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cleat/addr.h>
#include <cleat/time.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A set of addresses.  Kept as ranges: its memory grows with what was added,
 * not with how many addresses that is. */
struct cleat_targets;

/* cleat_targets_new - an empty set, in *T; the caller frees it with
 * cleat_targets_free().  Returns 0, or -ENOMEM.
 */
int cleat_targets_new(struct cleat_targets **t);
void cleat_targets_free(struct cleat_targets *t);

/* cleat_targets_add - add what TEXT says, one of:
 *
 *	192.0.2.7  2001:db8::7  fe80::7%eth0    an address
 *	192.0.2.0/24  2001:db8::/120            a block (RFC 4632): all of it
 *	192.0.2.1-20  192.0.2.1-192.0.3.20      a range, both ends included
 *	2001:db8::1-2001:db8::ff
 *	example.com                             each address that a name has
 *
 * FAMILY is AF_UNSPEC, or which alone is meant: AF_INET, AF_INET6.  An IPv6
 * address may stand in brackets.  Only a name is looked up, and blocks until
 * UNTIL.  What is in the set already is not added again.
 *
 * Returns 0; or with the reason in cleat_why() -EINVAL (malformed, of the other
 * family, or an IPv6 range larger than a /64), CLEAT_ENONAME, CLEAT_EDNSAGAIN,
 * CLEAT_EDNS, -ETIMEDOUT, -ECANCELED, -ENOMEM, -EAGAIN (no thread).
 */
int cleat_targets_add(struct cleat_targets *t, const char *text, int family,
		      cleat_time until);

/* cleat_targets_exclude - the same, of what shall not be in the set, whether it
 * is added before or after.
 */
int cleat_targets_exclude(struct cleat_targets *t, const char *text, int family,
			  cleat_time until);

/* cleat_targets_count - how many addresses are in it; UINT64_MAX: as many or
 * more.
 */
uint64_t cleat_targets_count(struct cleat_targets *t);

/* A set of ports; all zero is the empty one.  Port P is bit P % 64 of word
 * P / 64. */
struct cleat_ports {
	uint64_t bits[65536 / 64];
};

/* cleat_ports_add - add a list: "22,80,8000-8100", with names of services of
 * PROTO (CLEAT_TCP or CLEAT_UDP), as "ssh,http"; a range's ends may be left
 * out: "-1024", "60000-", "-" for all from 1 to 65535.
 *
 * Returns 0; or with the reason in cleat_why(), and *P untouched, -EINVAL
 * (malformed), -ERANGE (0, above 65535, or a range that runs backwards),
 * CLEAT_ENONAME (no such service).
 */
int cleat_ports_add(struct cleat_ports *p, const char *list,
		    enum cleat_proto proto);

/* cleat_ports_add_top - add the N ports of PROTO that are most often open.
 *
 * By the frequencies in nmap's own file, /usr/share/nmap/nmap-services, where
 * that is installed.  Elsewhere by the library's list, which is no measurement:
 * the default ports of well-known services, best known first, and then the
 * lowest ports.  *BASIS, if not NULL, says which of the two, in static words.
 * Returns 0, or -ERANGE (N is 0 or above 65535), -ENOMEM.
 */
int cleat_ports_add_top(struct cleat_ports *p, unsigned n,
			enum cleat_proto proto, const char **basis);

/* cleat_ports_has, cleat_ports_count - whether PORT is in it; how many are. */
bool cleat_ports_has(const struct cleat_ports *p, unsigned port);
unsigned cleat_ports_count(const struct cleat_ports *p);

enum cleat_scan_how {
	CLEAT_SCAN_CONNECT, /* TCP connections, for every user */
	CLEAT_SCAN_SYN, /* TCP SYNs from raw sockets: CAP_NET_RAW */
	CLEAT_SCAN_UDP, /* datagrams, such as the service would answer */
};

enum cleat_port_state {
	CLEAT_PORT_OPEN,
	CLEAT_PORT_CLOSED, /* refused: RST, of UDP ICMP port unreachable */
	CLEAT_PORT_FILTERED, /* nothing came back, or ICMP forbade it */
	CLEAT_PORT_SILENT, /* nothing came back: of UDP, for it may be open */
};

/* cleat_port_state_name - "open", "closed", "filtered", "open|filtered".
 * Static. */
const char *cleat_port_state_name(enum cleat_port_state state);

/* What was found of one port.  All of it is lent for the call. */
struct cleat_scan_result {
	const char *host; /* as it was added, if by name; else NULL */
	struct cleat_sockaddr at; /* with the port */
	enum cleat_port_state state;
	const char *reason; /* "connected", "RST", "ICMP admin prohibited" */
	int64_t rtt_ns; /* of the answer; -1: there was none */
	/* What the service said first; NULL: it was not asked for, or the
	 * service waits for its client.  Any bytes. */
	const char *banner;
	size_t banner_len;
	uint64_t place; /* in the order of this scan */
};

/* Ports of addresses, by what they are.  SILENT are those from which nothing
 * came back: of UDP they are called so, of TCP FILTERED, but counted here. */
struct cleat_scan_count {
	uint64_t open, closed, filtered, silent;
};

struct cleat_scan_progress {
	uint64_t total; /* of this share */
	struct cleat_scan_count done; /* from the start on, see below */
	/* All places of the order below this one are done, and by what they
	 * were found to be: from here on an interrupted scan is resumed. */
	uint64_t mark;
	struct cleat_scan_count marked;
	uint64_t seed; /* of the order */
	uint64_t sent; /* attempts, each a packet at least */
	uint64_t hosts; /* addresses that have a port in this share */
	/* Of these, from the start on, those that answered anything;
	 * UINT64_MAX: there are too many to tell, more than 2^26. */
	uint64_t hosts_answered;
	/* At the end: answered, and then no more; see below.  As far as is
	 * remembered, which is of 32768 hosts. */
	uint64_t hosts_silenced;
	/* How often it waited for lack of something here: descriptors, ports to
	 * connect from, buffers. */
	uint64_t shortages;
	unsigned in_flight;
	int64_t elapsed_ns;
};

/* All zero is the default. */
struct cleat_scan_options {
	enum cleat_scan_how how;
	unsigned width; /* in flight at most; 0: as many as descriptors and the
			 * network allow */
	uint64_t rate; /* attempts in a second, at most; 0: no limit */
	/* Of an attempt, at most.  0: 4 s. */
	int64_t timeout_ns;
	/* Attempts before a port is silent.  0: 3, and where answers were seen
	 * to be lost as many, up to 10, as make it unlikely (1 in 1000) that
	 * any of a host's ports is wrongly called so. */
	unsigned attempts;
	unsigned threads; /* 0: one a core; SYN scans take one */
	/* The SHARD-th of SHARDS disjoint shares, from 1; both 0: all.  The
	 * shares do not depend on the seed. */
	unsigned shard, shards;
	uint64_t seed; /* of the order; 0: a random one */
	/* Leave out the places below this: the mark of an interrupted scan of
	 * the same targets, ports, shard and seed. */
	uint64_t start;
	/* What open services say first: wait for it so long, for at most so
	 * many bytes; 0: do not ask. */
	int64_t banner_ns;
	size_t banner_max;
	unsigned states; /* to report, as bits 1u << state; 0: OPEN alone */
	/* Each port found, as soon as it is; one call at a time, on threads of
	 * the scan's own, or their fibers: it must not wait by calls of this
	 * library. */
	void (*found)(void *arg, const struct cleat_scan_result *r);
	/* Ten times in a second, and at the end, on the caller's thread; false
	 * ends the scan.  May be NULL. */
	bool (*tick)(void *arg, const struct cleat_scan_progress *p);
	/* At the end, of each host that answered at first and then, from some
	 * moment on, to none of ten ports or more: who may have blocked us.  On
	 * the caller's thread.  May be NULL. */
	void (*silenced)(void *arg, const struct cleat_sockaddr *host,
			 uint64_t answered, uint64_t unanswered);
	void *arg; /* of these calls */
};

/* cleat_scan - try each port of P on each address of T, in an order that is
 * random over both.
 *
 * A port is tried again before it is called silent.  How long an attempt waits
 * follows from the round trips of that host (RFC 6298, but 100 ms at least);
 * how many are in flight, to a host and in all, grows and shrinks with answers
 * and losses as a TCP's congestion window does (RFC 5681).  A connection to
 * oneself, which the kernel makes where a loopback port is also the one
 * connected from, is recognized and tried again.  Lack of descriptors, ports or
 * buffers slows it down.  Its memory does not grow with the number of ports or
 * addresses.
 *
 * Blocks until all is done or OPT->tick says no; not on a fiber but in
 * cleat_offload().  *P, if not NULL, is set in the end, also after a failure
 * on the way.
 *
 * Returns 0; -ECANCELED (tick said no); or with the reason in cleat_why()
 * -EINVAL (no address or no port, too many of both, options that contradict
 * each other), -EPERM (SYN without CAP_NET_RAW), -ENOMEM, -EMFILE, -EAGAIN (no
 * thread), ...
 */
int cleat_scan(struct cleat_targets *t, const struct cleat_ports *ports,
	       const struct cleat_scan_options *opt,
	       struct cleat_scan_progress *p);

#ifdef __cplusplus
}
#endif
#endif
