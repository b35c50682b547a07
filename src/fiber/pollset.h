/* SPDX-License-Identifier: MIT */
/* Many watches that one fiber, or a few, wait for: each costs a member, and no
 * fiber of its own.
 */
#ifndef CLEAT_FIBER_POLLSET_H
#define CLEAT_FIBER_POLLSET_H

#include <cleat/time.h>

#include "fiber/sched.h"
#include "fiber/wait.h"

/* All zero is empty. */
struct cleat__pollset {
	struct cleat__member *first, *last; /* of those done */
	struct cleat__queue waiting; /* fibers, while they do */
};

/* One wait, embedded in what owns it. */
struct cleat__member {
	struct cleat__op op;
	int result; /* once done: 0, or why it was ended */
	struct cleat__pollset *set;
	struct cleat__member *next; /* of those done */
};

/* cleat__pollset_add - M waits, once, until W can be received from.  Returns 0,
 * or -errno: then it does not.
 */
int cleat__pollset_add(struct cleat__pollset *set, struct cleat__member *m,
		       struct cleat__watch *w);

/* cleat__pollset_put - M, which does not wait, is done already. */
void cleat__pollset_put(struct cleat__pollset *set, struct cleat__member *m);

/* cleat__pollset_end - M, which waits, is done because of REASON. */
void cleat__pollset_end(struct cleat__member *m, int reason);

/* cleat__pollset_next - one that is done, and no longer of SET; or NULL.  For
 * the caller a new turn begins, and for the next one another who waits is
 * woken.
 */
struct cleat__member *cleat__pollset_next(struct cleat__pollset *set);

/* cleat__pollset_wait - until one may be done.  Returns 0, or -ETIMEDOUT,
 * -ECANCELED.
 */
int cleat__pollset_wait(struct cleat__pollset *set, cleat_time until);

/* cleat__pollset_stir - end such waits: there is something else to look at. */
void cleat__pollset_stir(struct cleat__pollset *set);

/* cleat__member_done - for wait.c: the op of a member is. */
void cleat__member_done(struct cleat__op *op, int result);

#endif
