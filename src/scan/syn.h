/* SPDX-License-Identifier: MIT */
/* A SYN scan: what is under way, and what becomes of it. */
#ifndef CLEAT_SCAN_SYN_H
#define CLEAT_SCAN_SYN_H

#include "scan/hosts.h"
#include "scan/job.h"
#include "scan/syn_wire.h"

enum {
	CLEAT__SYN_RING = 65536, /* groups under way, and some that are done */
	CLEAT__SYN_SLOTS = 1024,
};

/* Places that are tried together, at the same times. */
struct cleat__group {
	uint64_t first;
	uint64_t left; /* a bit for each place that is not settled */
	uint64_t flying; /* and for each that this attempt was sent to */
	cleat_time born, sent; /* its first attempt, and its last */
	int64_t took; /* ns to send that to all of them */
	uint32_t next; /* in its list */
	unsigned attempt; /* from 0 */
	uint8_t n; /* places; 0: it has not been used */
	bool is_listed;
};

struct cleat__groups {
	uint32_t first, last;
};

struct cleat__syn {
	struct cleat__job *job;
	struct cleat__hosts *hosts;
	struct cleat__wire *wire;
	struct cleat__group *ring;
	unsigned step; /* places of a group: a power of two */
	uint64_t origin; /* the first place */
	uint64_t next, end; /* places taken and not tried: [NEXT, END) */
	uint64_t left; /* places tried and not settled */
	bool has_taken_all;
	bool is_stuck; /* for lack of buffers here */
	/* Those that wait for answers, by when to look at them. */
	struct cleat__groups wheel[CLEAT__SYN_SLOTS];
	int64_t turned; /* the slot of it that was last looked at */
	struct cleat__groups due; /* to be sent */
	struct cleat__groups slow; /* the same, of hosts that are limited */
	cleat_time slow_next; /* when to send another of these */
	unsigned in_flight;
	struct cleat__rtt rtt;
	struct cleat__window window;
	double tokens; /* attempts that the rate allows by now */
	cleat_time filled;
	cleat_time asked; /* for replies that were dropped */
	cleat_time renewed; /* what is known of routes */
	struct cleat__loss loss;
	cleat_time now;
	cleat_time heard; /* when replies were last read */
	int64_t lain; /* ns that what is read now may have lain there */
	int64_t most; /* ns for an attempt */
};

/* Where the group of PLACE is, or will be. */
static inline struct cleat__group *cleat__syn_group(const struct cleat__syn *s,
						    uint64_t place)
{
	return &s->ring[(place - s->origin) / s->step % CLEAT__SYN_RING];
}

/* cleat__syn_is_limited - whether H, which may be NULL, answers to later
 * attempts alone, more often than by chance: then it gives so many answers in a
 * second.
 */
bool cleat__syn_is_limited(const struct cleat__host *h);

/* cleat__syn_heard - R, whose number is right, has come.  ARG is the scan. */
void cleat__syn_heard(void *arg, const struct cleat__reply *r);

/* cleat__syn_failed - no SYN could be sent to PLACE, for ERR.  ARG is the scan.
 */
void cleat__syn_failed(void *arg, uint64_t place, int err);

/* cleat__syn_give_up - PLACE, of G, at AT, is silent; H, or NULL, is its host.
 */
void cleat__syn_give_up(struct cleat__syn *s, struct cleat__group *g,
			uint64_t place, const struct cleat_sockaddr *at,
			struct cleat__host *h);

#endif
