/* SPDX-License-Identifier: MIT */
/* Probes that wait for an answer, each with a socket of its own: what probes.c,
 * which says when, and its engines, which say how, know of each other.
 */
#ifndef CLEAT_SCAN_ENGINE_H
#define CLEAT_SCAN_ENGINE_H

#include "scan/hosts.h"
#include "scan/job.h"

struct cleat__probe {
	uint64_t place;
	struct cleat__host *host;
	uint16_t port;
	uint8_t attempt; /* from 0 */
	bool is_spent; /* its socket is of no use to another probe */
	int fd; /* -1: none */
	cleat_time first; /* when it was first sent */
	cleat_time since; /* when the first of these attempts was */
	cleat_time lost; /* when the attempt before this one was */
	cleat_time sent; /* when this one was */
	cleat_time until; /* when this attempt is given up */
	/* Of the list that it is in: free, waiting, or by time. */
	struct cleat__probe *next, **link;
};

/* An engine.  A socket whose probe found the port CLOSED is used again, unless
 * the engine calls it spent; of all others none. */
struct cleat__engine {
	/* A fresh, unconnected socket; or -errno. */
	int (*open)(int family);
	/* Send P to AT by its socket.  Returns 1: *V is the verdict already,
	 * as of a connection within this machine, or where no route leads;
	 * 0: sent; or -errno: it could not be for lack of something here, as
	 * -EADDRNOTAVAIL, -ENOBUFS, -EAGAIN: later.
	 * Of a verdict the rtt is 0 if it is an answer, which the caller has
	 * timed, and else -1. */
	int (*send)(struct cleat__probe *p, const struct cleat_sockaddr *at,
		    struct cleat__verdict *v);
	/* P's socket may have an answer.  Returns 1: it had, *V says what; or
	 * 0. */
	int (*look)(struct cleat__probe *p, const struct cleat_sockaddr *at,
		    struct cleat__verdict *v);
	bool is_limited; /* refusals are ICMP errors, of which a host sends but
			  * so many a second (RFC 1812 section 4.3.2.8, RFC
			  * 4443 section 2.4) */
};

extern const struct cleat__engine cleat__engine_connect;
extern const struct cleat__engine cleat__engine_udp;

/* cleat__icmp_verdict - what the error queue of FD (IP_RECVERR) holds: 1 and
 * *V, where an ICMP error came; 0: none that says anything of the port.
 *
 * *V is CLOSED if the peer itself said that the port is unreachable, which of
 * TCP its RST says: there it is to be taken for FILTERED.  Its rtt is -1 where
 * this machine made the error, for want of an answer to ARP, or by its
 * firewall.
 */
int cleat__icmp_verdict(int fd, struct cleat__verdict *v);

/* cleat__icmp_name - "ICMP host unreachable": static words for an ICMP error of
 * FAMILY (AF_INET, AF_INET6).
 */
const char *cleat__icmp_name(int family, unsigned type, unsigned code);

/* cleat__icmp_own_reason - the same of one that this machine made itself: "no
 * answer to ARP".
 */
const char *cleat__icmp_own_reason(int family, unsigned type, unsigned code);

#endif
