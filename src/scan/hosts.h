/* SPDX-License-Identifier: MIT */
/* What is known of each address: how long its answers take, how much it bears.
 * As many are remembered as fit; of the others those in use.  One thread's.
 */
#ifndef CLEAT_SCAN_HOSTS_H
#define CLEAT_SCAN_HOSTS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include <cleat/addr.h>

#include "scan/loss.h"
#include "scan/rtt.h"
#include "scan/window.h"

struct cleat__probe;

struct cleat__host {
	union {
		sa_family_t family; /* AF_UNSPEC: no host */
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	}; /* its port is 0 */
	unsigned in_flight;
	bool is_ready; /* in the list of hosts that may send */
	struct cleat__host *next_ready;
	struct cleat__rtt rtt;
	struct cleat__window window;
	/* Places that wait until the window lets them. */
	struct cleat__probe *first, *last;
	/* Ports that answered; ports given up; and of these the ones that were
	 * first tried after any that has answered, at HEARD. */
	uint64_t answered, unanswered, silence;
	cleat_time heard;
	struct cleat__loss loss;
	double vain; /* attempts in vain before an answer, of late */
	bool is_limited; /* see cleat__host_learn() */
	cleat_time turned; /* when that changed */
	cleat_time limited; /* when an answer last said so */
};

/* A cache of sets: an address has one of a few places. */
struct cleat__hosts {
	struct cleat__host *v;
	unsigned sets;
	uint64_t key; /* of the hash, so that nobody can choose its collisions
		       */
};

enum {
	CLEAT__HOSTS_SET = 8
};

/* cleat__hosts_init - for MOST at once.  Returns 0, or -ENOMEM. */
int cleat__hosts_init(struct cleat__hosts *h, unsigned most, uint64_t key);
void cleat__hosts_done(struct cleat__hosts *h);

/* cleat__hosts_find - what is remembered of AT, whose port does not count; or
 * NULL.
 */
struct cleat__host *cleat__hosts_find(struct cleat__hosts *h,
				      const struct cleat_sockaddr *at);

/* cleat__hosts_get - the same, or a new one, all zero but for its address, in
 * the place of one that is not in use, which is forgotten: least known ones
 * first.  NULL: all of its places are in use.
 */
struct cleat__host *cleat__hosts_get(struct cleat__hosts *h,
				     const struct cleat_sockaddr *at);

/* In use, it keeps its place. */
static inline bool cleat__host_is_used(const struct cleat__host *h)
{
	return h->in_flight > 0 || h->first;
}

/* cleat__is_same_ip - of A, which may be empty, and B; ports and zones do not
 * count.
 */
bool cleat__is_same_ip(const struct cleat_sockaddr *a,
		       const struct cleat_sockaddr *b);

/* cleat__host_at - its address, with PORT. */
void cleat__host_at(const struct cleat__host *h, uint16_t port,
		    struct cleat_sockaddr *at);

/* cleat__host_heard, cleat__host_unheard - a port that was first tried at SENT
 * has answered; or is given up.
 */
void cleat__host_heard(struct cleat__host *h, cleat_time sent);
void cleat__host_unheard(struct cleat__host *h, cleat_time sent);

/* cleat__host_learn - a port has answered NOW; so many attempts were LOST
 * before.
 *
 * That makes out hosts which give but so many answers in a second, whatever
 * they are asked: of late they answer to later attempts alone.  What is silent
 * then need not be, for it may have been others' turn.
 */
void cleat__host_learn(struct cleat__host *h, unsigned lost, cleat_time now);

/* cleat__host_is_silenced - it answered at first, and then no more. */
bool cleat__host_is_silenced(const struct cleat__host *h);

#endif
