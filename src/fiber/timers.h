/* SPDX-License-Identifier: MIT */
/* Deadlines: a binary heap, O(log n). */
#ifndef CLEAT_FIBER_TIMERS_H
#define CLEAT_FIBER_TIMERS_H

#include <stddef.h>

#include <cleat/time.h>

/* Whoever has a deadline embeds its INDEX: the place in the heap, from 1; 0
 * means that it has none.
 */
struct cleat__timer {
	cleat_time at;
	unsigned *index;
};

struct cleat__timers {
	struct cleat__timer *heap; /* heap[0] is the earliest */
	size_t n, room;
};

/* cleat__timers_reserve - make room for N, so that adding cannot fail. */
int cleat__timers_reserve(struct cleat__timers *t, size_t n);
void cleat__timers_done(struct cleat__timers *t);

void cleat__timers_add(struct cleat__timers *t, unsigned *index, cleat_time at);
/* Removing what has no deadline does nothing. */
void cleat__timers_remove(struct cleat__timers *t, unsigned *index);

static inline cleat_time cleat__timers_next(const struct cleat__timers *t)
{
	return t->n > 0 ? t->heap[0].at : CLEAT_FOREVER;
}

#endif
