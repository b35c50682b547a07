/* SPDX-License-Identifier: MIT */
/* How often each value came, to three significant digits: a log-linear
 * histogram, whose size does not depend on how many there are. */
#ifndef CMD_HISTOGRAM_H
#define CMD_HISTOGRAM_H

#include <stdint.h>

enum {
	HISTOGRAM_HALF_BITS = 10, /* 1024 slots for each doubling: 0.1% */
	HISTOGRAM_HALF = 1 << HISTOGRAM_HALF_BITS,
	HISTOGRAM_BITS = 43, /* of the greatest value: as ns over two hours */
	HISTOGRAM_SLOTS =
		(HISTOGRAM_BITS - HISTOGRAM_HALF_BITS + 1) * HISTOGRAM_HALF,
};

struct histogram {
	uint64_t *slots; /* HISTOGRAM_SLOTS of them */
	uint64_t n; /* values in all */
	uint64_t least, most; /* exactly; without values UINT64_MAX and 0 */
	double sum;
};

/* histogram_init - an empty one.  Returns 0 or -ENOMEM. */
int histogram_init(struct histogram *h);
void histogram_done(struct histogram *h);

/* Where VALUE is counted: below 2 * HALF each has a slot; above, the slots of
 * each doubling are twice as wide as those of the one before. */
static inline unsigned histogram_slot(uint64_t value)
{
	const uint64_t limit = (UINT64_C(1) << HISTOGRAM_BITS) - 1;
	unsigned shift;

	if (value < 2 * HISTOGRAM_HALF)
		return (unsigned)value;
	if (value > limit)
		value = limit;
	shift = 63 - (unsigned)__builtin_clzll(value) - HISTOGRAM_HALF_BITS;
	return shift * HISTOGRAM_HALF + (unsigned)(value >> shift);
}

/* histogram_add - one more; what is negative is counted as 0. */
static inline void histogram_add(struct histogram *h, int64_t signed_value)
{
	const uint64_t value = signed_value > 0 ? (uint64_t)signed_value : 0;

	h->slots[histogram_slot(value)]++;
	h->n++;
	h->sum += (double)value;
	if (value < h->least)
		h->least = value;
	if (value > h->most)
		h->most = value;
}

/* histogram_top - the greatest value that SLOT counts. */
uint64_t histogram_top(unsigned slot);

/* histogram_merge - add all of FROM to H. */
void histogram_merge(struct histogram *h, const struct histogram *from);

/* histogram_at - the value that SHARE (0 to 1) of them do not exceed; 0 without
 * values. */
uint64_t histogram_at(const struct histogram *h, double share);

/* histogram_up_to - how many do not exceed VALUE, to the precision there is. */
uint64_t histogram_up_to(const struct histogram *h, uint64_t value);

double histogram_mean(const struct histogram *h);
double histogram_deviation(const struct histogram *h);

#endif
