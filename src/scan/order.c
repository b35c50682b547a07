/* SPDX-License-Identifier: MIT */
/* A Feistel network: in turn each half of a number is changed by a function of
 * the other, which can be undone whatever the function is.  What falls outside
 * of 0 to N - 1 goes through it again until it falls inside ("cycle walking":
 * Black and Rogaway, Ciphers with Arbitrary Finite Domains, 2002).  As the
 * upper half wraps at the least number that will do, and not at a power of two,
 * there is hardly ever a second time.
 */
#include "scan/order.h"

/* 2^64 divided by the golden ratio, and by the root of two; made odd. */
#define GOLDEN UINT64_C(0x9e3779b97f4a7c15)
#define ROOT UINT64_C(0xb504f333f9de6485)

static uint64_t mix(uint64_t x)
{
	x *= GOLDEN;
	x ^= x >> 32;
	x *= ROOT;
	return x ^ (x >> 32);
}

/* What HALF makes of the key: 32 bits. */
static uint64_t draw(uint64_t half, uint64_t key)
{
	return mix(half ^ key) >> 32;
}

static unsigned bits_of(uint64_t x)
{
	unsigned n = 0;

	for (; x > 0; x >>= 1)
		n++;
	return n;
}

void cleat__order_init(struct cleat__order *o, uint64_t n, uint64_t seed)
{
	o->n = n;
	o->half = bits_of(n - 1) / 2;
	o->top = ((n - 1) >> o->half) + 1;
	for (unsigned i = 0; i < CLEAT__ORDER_ROUNDS; i++) {
		seed = mix(seed + GOLDEN);
		o->keys[i] = seed;
	}
}

static uint64_t forth(const struct cleat__order *o, uint64_t x)
{
	const uint64_t mask = (UINT64_C(1) << o->half) - 1;
	uint64_t low = x & mask, high = x >> o->half;

	for (unsigned i = 0; i < CLEAT__ORDER_ROUNDS; i += 2) {
		high += (draw(low, o->keys[i]) * o->top) >> 32;
		if (high >= o->top)
			high -= o->top;
		low ^= draw(high, o->keys[i + 1]) & mask;
	}
	return high << o->half | low;
}

static uint64_t back(const struct cleat__order *o, uint64_t x)
{
	const uint64_t mask = (UINT64_C(1) << o->half) - 1;
	uint64_t low = x & mask, high = x >> o->half;

	for (unsigned i = CLEAT__ORDER_ROUNDS; i > 0; i -= 2) {
		low ^= draw(high, o->keys[i - 1]) & mask;
		high += o->top - ((draw(low, o->keys[i - 2]) * o->top) >> 32);
		if (high >= o->top)
			high -= o->top;
	}
	return high << o->half | low;
}

uint64_t cleat__order_at(const struct cleat__order *o, uint64_t place)
{
	do
		place = forth(o, place);
	while (place >= o->n);
	return place;
}

uint64_t cleat__order_place(const struct cleat__order *o, uint64_t number)
{
	do
		number = back(o, number);
	while (number >= o->n);
	return number;
}
