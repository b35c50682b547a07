/* SPDX-License-Identifier: MIT */
/* The sockets of probes: which is whose, and which can be used again. */
#ifndef CLEAT_SCAN_POOL_H
#define CLEAT_SCAN_POOL_H

#include "scan/engine.h"

struct cleat__pool {
	const struct cleat__engine *engine;
	int epoll;
	struct cleat__slot *slots; /* by descriptor */
	unsigned n_slots;
	int *idle[2]; /* to be used again, by family */
	unsigned n_idle[2];
};

/* cleat__pool_init - for at most WIDTH sockets in use.  Returns 0, or -errno;
 * also then it is to be ended with cleat__pool_done(), when all are given back.
 */
int cleat__pool_init(struct cleat__pool *s, const struct cleat__engine *engine,
		     unsigned width);
void cleat__pool_done(struct cleat__pool *s);

/* cleat__pool_take - a socket for P.  Returns 0, or -errno. */
int cleat__pool_take(struct cleat__pool *s, struct cleat__probe *p);

/* cleat__pool_close - without a socket P is fine, too. */
void cleat__pool_close(struct cleat__pool *s, struct cleat__probe *p);

/* cleat__pool_keep - for another probe. */
void cleat__pool_keep(struct cleat__pool *s, struct cleat__probe *p);

/* cleat__pool_watch - let cleat__pool_wait() tell of P.  Returns 0, or -errno.
 */
int cleat__pool_watch(struct cleat__pool *s, struct cleat__probe *p);

/* cleat__pool_wait - whose sockets may have an answer, at most MAX: how many; 0
 * once UNTIL has passed.  Among them NULL, for none.
 */
unsigned cleat__pool_wait(struct cleat__pool *s, struct cleat__probe **v,
			  unsigned max, cleat_time until);

#endif
