/* SPDX-License-Identifier: MIT */
/* Deadlines of parked fibers: a binary heap, O(log n). */
#ifndef CLEAT_FIBER_TIMERS_H
#define CLEAT_FIBER_TIMERS_H

#include <stddef.h>

#include <cleat/time.h>

struct cleat__fiber;

struct cleat__timer {
	cleat_time at;
	struct cleat__fiber *fiber;
};

/* A fiber has one at most; its timer_index is the place in HEAP, from 1. */
struct cleat__timers {
	struct cleat__timer *heap; /* heap[0] is the earliest */
	size_t n, room;
};

/* cleat__timers_reserve - make room for N, so that adding cannot fail. */
int cleat__timers_reserve(struct cleat__timers *t, size_t n);
void cleat__timers_done(struct cleat__timers *t);

void cleat__timers_add(struct cleat__timers *t, struct cleat__fiber *f,
		       cleat_time at);
/* Removing a fiber without a timer does nothing. */
void cleat__timers_remove(struct cleat__timers *t, struct cleat__fiber *f);

static inline cleat_time cleat__timers_next(const struct cleat__timers *t)
{
	return t->n > 0 ? t->heap[0].at : CLEAT_FOREVER;
}

#endif
