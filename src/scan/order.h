/* SPDX-License-Identifier: MIT */
/* A random order of 0 to N - 1 that takes no memory: a permutation that can be
 * computed forth and back.
 */
#ifndef CLEAT_SCAN_ORDER_H
#define CLEAT_SCAN_ORDER_H

#include <stdint.h>

enum {
	CLEAT__ORDER_ROUNDS = 4
};

struct cleat__order {
	uint64_t n;
	unsigned half; /* bits of the lower half of a number */
	uint64_t top; /* the upper half is below this: TOP << HALF is N or
		       * little more */
	uint64_t keys[CLEAT__ORDER_ROUNDS];
};

/* cleat__order_init - N is from 1 to 2^62; the order follows from SEED. */
void cleat__order_init(struct cleat__order *o, uint64_t n, uint64_t seed);

/* cleat__order_at - the number at PLACE; and the place of NUMBER. */
uint64_t cleat__order_at(const struct cleat__order *o, uint64_t place);
uint64_t cleat__order_place(const struct cleat__order *o, uint64_t number);

#endif
