/* SPDX-License-Identifier: MIT */
/* Blocks of memory in pages of their own. */
#include "both.h"

#include "base/blocks.h"

#define N 1000
#define SIZE 250

static size_t count_pages(const struct cleat__blocks *b, void *const *v)
{
	uintptr_t last = 0;
	size_t n = 0;

	for (int i = 0; i < N; i++) {
		uintptr_t page = (uintptr_t)v[i] / b->page;

		n += page != last;
		last = page;
	}
	return n;
}

static void fill(struct cleat__blocks *b, unsigned char **v)
{
	for (int i = 0; i < N; i++) {
		v[i] = cleat__blocks_get(b);
		assert_non_null(v[i]);
		assert_int_equal((uintptr_t)v[i] % sizeof(void *), 0);
		memset(v[i], i % 251, SIZE);
	}
}

static void check(unsigned char *const *v, int i)
{
	for (int k = 0; k < SIZE; k++)
		assert_int_equal(v[i][k], i % 251);
}

/* Each is its owner's alone, whatever becomes of the others. */
static void apart(void)
{
	struct cleat__blocks b;
	unsigned char *v[N];

	ok(cleat__blocks_open(&b, SIZE));
	fill(&b, v);
	assert_in_range(count_pages(&b, (void **)v), 1, N);
	for (int i = 0; i < N; i += 3)
		cleat__blocks_put(&b, v[i]);
	for (int i = 0; i < N; i += 3) {
		v[i] = cleat__blocks_get(&b);
		assert_non_null(v[i]);
		memset(v[i], i % 251, SIZE);
	}
	for (int i = 0; i < N; i++)
		check(v, i);
	for (int i = 0; i < N; i++)
		cleat__blocks_put(&b, v[(i * 7 + 3) % N]);
	cleat__blocks_close(&b);
}

/* Of the pages that are empty one is kept. */
static void given_back(void)
{
	struct cleat__blocks b;
	unsigned char *v[N];

	ok(cleat__blocks_open(&b, SIZE));
	for (int round = 0; round < 3; round++) {
		fill(&b, v);
		for (int i = 0; i < N; i++) {
			check(v, i);
			cleat__blocks_put(&b, v[i]);
			assert_in_range(b.n_empty, 0, 1);
		}
		assert_int_equal(b.n_empty, 1);
	}
	cleat__blocks_close(&b);
	assert_null(b.roomy);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		THREAD(apart),
		THREAD(given_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
