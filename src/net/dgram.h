/* SPDX-License-Identifier: MIT */
#ifndef CLEAT_NET_DGRAM_H
#define CLEAT_NET_DGRAM_H

#include <netinet/in.h>
#include <pthread.h>

#include <cleat/dgram.h>

#include "fiber/wait.h"
#include "net/bind.h"
#include "net/unix.h"

#define CLEAT__BATCH_MAX 16 /* datagrams in one system call */

/* A datagram of the last receive: from PEER, to LOCAL (IPv4 is mapped). */
struct cleat__asked {
	struct cleat_sockaddr peer;
	struct in6_addr local;
};

union cleat__control {
	struct cmsghdr head;
	char room[CMSG_SPACE(sizeof(struct in_pktinfo)) +
		  CMSG_SPACE(sizeof(struct in6_pktinfo))];
};

struct cleat_dgram {
	unsigned n;
	unsigned last; /* the one that received: answers go out of it, and
			* the others have their turn first */
	struct cleat__path path;
	struct cleat__watch io[CLEAT__WATCH_MAX];
	sa_family_t family[CLEAT__WATCH_MAX];
	bool is_wild; /* bound to every interface; the rest is for that */
	pthread_mutex_t asked_lock; /* one may receive while another sends */
	unsigned n_asked;
	struct cleat__asked asked[CLEAT__BATCH_MAX];
};

/* cleat__asked_watch - once D is bound: if it is to every interface, learn
 * where datagrams come to.
 */
void cleat__asked_watch(struct cleat_dgram *d);

/* cleat__asked_note - the K-th datagram of a receive came from PEER, with what
 * M says.
 */
void cleat__asked_note(struct cleat_dgram *d, unsigned k,
		       const struct cleat_sockaddr *peer, struct msghdr *m);

/* cleat__asked_answer - if TO is one whose datagram the last receive gave, let
 * M leave the I-th socket from where that came to.  CONTROL lives as long as M.
 */
void cleat__asked_answer(struct cleat_dgram *d, unsigned i,
			 const struct cleat_sockaddr *to, struct msghdr *m,
			 union cleat__control *control);

/* cleat__mapped - the IPv4 address TO as a dual-stack socket wants it, mapped
 * into IPv6 (RFC 4291, section 2.5.5.2).
 */
struct cleat_sockaddr cleat__mapped(const struct cleat_sockaddr *to);

/* cleat__dgram_bind - a socket bound to A, perhaps in a group. */
int cleat__dgram_bind(struct cleat_dgram **d, const struct cleat_addr *a,
		      const struct cleat_options *opt, enum cleat__share share,
		      cleat_time until);

/* cleat__dgram_beside - as cleat__listen_beside(). */
int cleat__dgram_beside(struct cleat_dgram **d, const struct cleat_dgram *like,
			const struct cleat_options *opt, bool group);

#endif
