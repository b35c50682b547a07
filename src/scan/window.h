/* SPDX-License-Identifier: MIT */
/* How many to have in flight: a congestion window (RFC 5681). */
#ifndef CLEAT_SCAN_WINDOW_H
#define CLEAT_SCAN_WINDOW_H

#include <stdbool.h>

#include <cleat/time.h>

struct cleat__window {
	double size; /* attempts in flight, 1 or more */
	double threshold; /* below it SIZE doubles with each round trip */
	double most;
	cleat_time cut; /* when it was last halved */
};

void cleat__window_init(struct cleat__window *w, double first, double most);

/* cleat__window_grow - an attempt came to its end, and nothing says that it was
 * lost.  What is silent may be filtered: only the answer to a later attempt
 * shows that an earlier one was lost.
 */
void cleat__window_grow(struct cleat__window *w);

/* cleat__window_shrink - an attempt sent at SENT was lost.  Halves it, once for
 * all that were in flight then; returns whether it did.
 */
bool cleat__window_shrink(struct cleat__window *w, cleat_time sent,
			  cleat_time now);

/* cleat__window_yield - one of several flows in W, which has this PART of it,
 * has halved.
 */
void cleat__window_yield(struct cleat__window *w, double part);

#endif
