/* SPDX-License-Identifier: MIT */
/* The histogram of cleat bench: its precision, its percentiles, merging. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "histogram.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define MOST ((UINT64_C(1) << HISTOGRAM_BITS) - 1)

static struct histogram empty(void)
{
	struct histogram h;

	assert_int_equal(histogram_init(&h), 0);
	return h;
}

/* Around each power of two, where the slots change their width. */
static void every_value_is_kept_to_three_digits(void **state)
{
	(void)state;
	for (unsigned bit = 0; bit < HISTOGRAM_BITS; bit++) {
		for (int off = -2; off <= 2; off++) {
			const uint64_t v = (UINT64_C(1) << bit) + (uint64_t)off;
			uint64_t top;

			if (v > MOST)
				continue;
			top = histogram_top(histogram_slot(v));
			assert_true(top >= v);
			assert_true(top - v <= v / 1000);
		}
	}
}

static void slots_follow_each_other(void **state)
{
	(void)state;
	for (unsigned i = 0; i < HISTOGRAM_SLOTS; i++) {
		const uint64_t top = histogram_top(i);

		assert_int_equal(histogram_slot(top), i);
		if (i + 1 < HISTOGRAM_SLOTS)
			assert_int_equal(histogram_slot(top + 1), i + 1);
	}
	assert_int_equal(histogram_top(HISTOGRAM_SLOTS - 1), MOST);
}

static void without_values(void **state)
{
	struct histogram h = empty();

	(void)state;
	assert_int_equal(histogram_at(&h, 0), 0);
	assert_int_equal(histogram_at(&h, 0.5), 0);
	assert_int_equal(histogram_at(&h, 1), 0);
	assert_true(histogram_mean(&h) == 0);
	assert_true(histogram_deviation(&h) == 0);
	assert_int_equal(histogram_up_to(&h, MOST), 0);
	histogram_done(&h);
}

static void percentiles(void **state)
{
	static const struct {
		double share;
		uint64_t want;
	} cases[] = {
		{ 0, 1 },        { 0.001, 1 },  { 0.0011, 2 },  { 0.5, 500 },
		{ 0.5001, 501 }, { 0.99, 990 }, { 0.999, 999 }, { 1, 1000 },
	};
	struct histogram h = empty();

	(void)state;
	for (int i = 1000; i > 0; i--)
		histogram_add(&h, i);
	for (size_t i = 0; i < COUNT(cases); i++)
		assert_int_equal(histogram_at(&h, cases[i].share),
				 cases[i].want);
	assert_int_equal(h.least, 1);
	assert_int_equal(h.most, 1000);
	assert_true(histogram_mean(&h) == 500.5);
	assert_in_range((uint64_t)(histogram_deviation(&h) * 1000), 288674,
			288676);
	assert_int_equal(histogram_up_to(&h, 0), 0);
	assert_int_equal(histogram_up_to(&h, 250), 250);
	histogram_done(&h);
}

/* No percentile is above what there was. */
static void the_greatest_is_exact(void **state)
{
	struct histogram h = empty();

	(void)state;
	histogram_add(&h, 1000001);
	assert_int_equal(histogram_at(&h, 0.5), 1000001);
	assert_int_equal(histogram_at(&h, 1), 1000001);
	histogram_done(&h);
}

static void out_of_range(void **state)
{
	struct histogram h = empty();

	(void)state;
	histogram_add(&h, -5);
	histogram_add(&h, INT64_MAX);
	assert_int_equal(h.n, 2);
	assert_int_equal(h.least, 0);
	assert_int_equal(h.most, INT64_MAX);
	assert_int_equal(histogram_at(&h, 0.5), 0);
	assert_int_equal(histogram_at(&h, 1), MOST);
	histogram_done(&h);
}

/* What is put into several and merged is as if it had been put into one. */
static void merging(void **state)
{
	struct histogram one = empty(), all = empty(), parts[3];
	uint64_t x = 1;

	(void)state;
	for (size_t i = 0; i < COUNT(parts); i++)
		parts[i] = empty();
	for (unsigned i = 0; i < 10000; i++) {
		x = x * UINT64_C(6364136223846793005) + 1442695040888963407;
		histogram_add(&one, (int64_t)(x >> (21 + x % 43)));
		histogram_add(&parts[i % 3], (int64_t)(x >> (21 + x % 43)));
	}
	for (size_t i = 0; i < COUNT(parts); i++) {
		histogram_merge(&all, &parts[i]);
		histogram_done(&parts[i]);
	}
	assert_memory_equal(one.slots, all.slots,
			    HISTOGRAM_SLOTS * sizeof(*all.slots));
	assert_int_equal(one.n, all.n);
	assert_int_equal(one.least, all.least);
	assert_int_equal(one.most, all.most);
	histogram_done(&one);
	histogram_done(&all);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_value_is_kept_to_three_digits),
		cmocka_unit_test(slots_follow_each_other),
		cmocka_unit_test(without_values),
		cmocka_unit_test(percentiles),
		cmocka_unit_test(the_greatest_is_exact),
		cmocka_unit_test(out_of_range),
		cmocka_unit_test(merging),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
