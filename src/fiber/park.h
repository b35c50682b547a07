/* SPDX-License-Identifier: MIT */
/* Parking whatever runs, a fiber or a plain thread, until any thread wakes it.
 */
#ifndef CLEAT_FIBER_PARK_H
#define CLEAT_FIBER_PARK_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include <cleat/time.h>

struct cleat__fiber;

struct cleat__parker {
	struct cleat__fiber *fiber; /* NULL: a plain thread */
	atomic_int state;
	pthread_mutex_t lock; /* the rest is for threads */
	pthread_cond_t woken;
};

/* cleat__parker_init - for the caller, who will wait. */
void cleat__parker_init(struct cleat__parker *p);

/* cleat__parker_wait - until cleat__parker_wake().
 *
 * Returns 0, or -ETIMEDOUT, -ECANCELED; after those a wake does nothing.  Once:
 * init it again for another wait.
 */
int cleat__parker_wait(struct cleat__parker *p, cleat_time until);

/* cleat__parker_wait_surely - the same, and nothing else ends it. */
void cleat__parker_wait_surely(struct cleat__parker *p);

/* cleat__parker_wake - end the wait, from any thread; P must exist until then,
 * whatever the wait returned.  Returns whether it was this that ended it.
 */
bool cleat__parker_wake(struct cleat__parker *p);

void cleat__parker_done(struct cleat__parker *p);

#endif
