/* SPDX-License-Identifier: MIT */
#include "histogram.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

int histogram_init(struct histogram *h)
{
	*h = (struct histogram){ .least = UINT64_MAX };
	h->slots = calloc(HISTOGRAM_SLOTS, sizeof(*h->slots));
	return h->slots ? 0 : -ENOMEM;
}

void histogram_done(struct histogram *h)
{
	free(h->slots);
	h->slots = NULL;
}

uint64_t histogram_top(unsigned slot)
{
	unsigned shift;

	if (slot < 2 * HISTOGRAM_HALF)
		return slot;
	shift = slot / HISTOGRAM_HALF - 1;
	return ((UINT64_C(1) + slot - shift * HISTOGRAM_HALF) << shift) - 1;
}

void histogram_merge(struct histogram *h, const struct histogram *from)
{
	for (unsigned i = 0; i < HISTOGRAM_SLOTS; i++)
		h->slots[i] += from->slots[i];
	h->n += from->n;
	h->sum += from->sum;
	if (from->least < h->least)
		h->least = from->least;
	if (from->most > h->most)
		h->most = from->most;
}

uint64_t histogram_at(const struct histogram *h, double share)
{
	const double wanted = ceil(share * (double)h->n);
	uint64_t below = 0, value = 0;

	if (h->n == 0)
		return 0;
	/* At least one: of no value there is no greatest. */
	for (unsigned i = 0; below == 0 || (double)below < wanted; i++) {
		below += h->slots[i];
		value = histogram_top(i);
		if (below == h->n)
			break;
	}
	return value < h->most ? value : h->most;
}

uint64_t histogram_up_to(const struct histogram *h, uint64_t value)
{
	const unsigned last = histogram_slot(value);
	uint64_t n = 0;

	for (unsigned i = 0; i <= last; i++)
		n += h->slots[i];
	return n;
}

double histogram_mean(const struct histogram *h)
{
	return h->n > 0 ? h->sum / (double)h->n : 0;
}

double histogram_deviation(const struct histogram *h)
{
	const double mean = histogram_mean(h);
	double squares = 0;

	for (unsigned i = 0; i < HISTOGRAM_SLOTS; i++) {
		const double off = (double)histogram_top(i) - mean;

		if (h->slots[i] > 0)
			squares += off * off * (double)h->slots[i];
	}
	return h->n > 0 ? sqrt(squares / (double)h->n) : 0;
}
