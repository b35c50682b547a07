/* SPDX-License-Identifier: MIT */
#include "fiber/timers.h"

#include <errno.h>
#include <stdlib.h>

int cleat__timers_reserve(struct cleat__timers *t, size_t n)
{
	size_t room = t->room ? t->room : 16;
	struct cleat__timer *heap;

	if (n <= t->room)
		return 0;
	while (room < n)
		room *= 2;
	heap = realloc(t->heap, room * sizeof(*heap));
	if (!heap)
		return -ENOMEM;
	t->heap = heap;
	t->room = room;
	return 0;
}

void cleat__timers_done(struct cleat__timers *t)
{
	free(t->heap);
}

static void place(struct cleat__timers *t, size_t i, struct cleat__timer e)
{
	t->heap[i] = e;
	*e.index = (unsigned)i + 1;
}

static void sift_up(struct cleat__timers *t, size_t i, struct cleat__timer e)
{
	while (i > 0 && t->heap[(i - 1) / 2].at > e.at) {
		place(t, i, t->heap[(i - 1) / 2]);
		i = (i - 1) / 2;
	}
	place(t, i, e);
}

static void sift_down(struct cleat__timers *t, size_t i, struct cleat__timer e)
{
	size_t child;

	while ((child = 2 * i + 1) < t->n) {
		if (child + 1 < t->n &&
		    t->heap[child + 1].at < t->heap[child].at)
			child++;
		if (t->heap[child].at >= e.at)
			break;
		place(t, i, t->heap[child]);
		i = child;
	}
	place(t, i, e);
}

void cleat__timers_add(struct cleat__timers *t, unsigned *index, cleat_time at)
{
	sift_up(t, t->n++, (struct cleat__timer){ .at = at, .index = index });
}

void cleat__timers_remove(struct cleat__timers *t, unsigned *index)
{
	size_t i = *index;
	struct cleat__timer last;

	if (i == 0)
		return;
	*index = 0;
	last = t->heap[--t->n];
	if (--i == t->n)
		return;
	if (i > 0 && t->heap[(i - 1) / 2].at > last.at)
		sift_up(t, i, last);
	else
		sift_down(t, i, last);
}
