/* SPDX-License-Identifier: MIT */
/* As much of cmocka as these tests use, for machines that it is not packaged
 * for: cross builds and musl.  The first failure ends the program.
 */
#ifndef STAND_IN_CMOCKA_H
#define STAND_IN_CMOCKA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct CMUnitTest {
	const char *name;
	void (*test)(void **state);
	int (*setup)(void **state);
	int (*teardown)(void **state);
	void *initial_state;
};

/* clang-format off */
#define cmocka_unit_test(f) { #f, f, NULL, NULL, NULL }
#define cmocka_unit_test_setup(f, up) { #f, f, up, NULL, NULL }
#define cmocka_unit_test_teardown(f, down) { #f, f, NULL, down, NULL }
#define cmocka_unit_test_setup_teardown(f, up, down) { #f, f, up, down, NULL }
#define cmocka_unit_test_prestate(f, state) { #f, f, NULL, NULL, state }
/* clang-format on */

static bool stand_in_skipped;

/* As cmocka's, it runs the rest of the test not at all. */
#define skip()                                                                 \
	do {                                                                   \
		stand_in_skipped = true;                                       \
		return;                                                        \
	} while (0)

#define fail_msg(...)                                                          \
	do {                                                                   \
		fprintf(stderr, "%s:%d: ", __FILE__, __LINE__);                \
		fprintf(stderr, __VA_ARGS__);                                  \
		fprintf(stderr, "\n");                                         \
		exit(1);                                                       \
	} while (0)
#define fail() fail_msg("failed")
#define print_message(...) printf(__VA_ARGS__)
#define print_error(...) fprintf(stderr, __VA_ARGS__)

static inline void stand_in_check(bool ok, const char *text, long long a,
				  long long b, const char *file, int line)
{
	if (ok)
		return;
	fprintf(stderr, "%s:%d: not %s: %lld, %lld\n", file, line, text, a, b);
	exit(1);
}

static inline void stand_in_strings(const char *a, const char *b,
				    const char *file, int line)
{
	if (strcmp(a, b) == 0)
		return;
	fprintf(stderr, "%s:%d: \"%s\" != \"%s\"\n", file, line, a, b);
	exit(1);
}

#define STAND_IN_CHECK(a, op, b)                                               \
	do {                                                                   \
		const long long stand_in_a = (long long)(a);                   \
		const long long stand_in_b = (long long)(b);                   \
		stand_in_check(stand_in_a op stand_in_b, #a " " #op " " #b,    \
			       stand_in_a, stand_in_b, __FILE__, __LINE__);    \
	} while (0)

#define assert_int_equal(a, b) STAND_IN_CHECK(a, ==, b)
#define assert_int_not_equal(a, b) STAND_IN_CHECK(a, !=, b)
#define assert_true(a) STAND_IN_CHECK(!!(a), ==, 1)
#define assert_false(a) STAND_IN_CHECK(!!(a), ==, 0)
#define assert_null(a) STAND_IN_CHECK((uintptr_t)(a), ==, 0)
#define assert_non_null(a) STAND_IN_CHECK((uintptr_t)(a), !=, 0)
#define assert_ptr_equal(a, b)                                                 \
	STAND_IN_CHECK((uintptr_t)(a), ==, (uintptr_t)(b))
#define assert_ptr_not_equal(a, b)                                             \
	STAND_IN_CHECK((uintptr_t)(a), !=, (uintptr_t)(b))
#define assert_in_range(a, low, high)                                          \
	do {                                                                   \
		const long long stand_in_n = (long long)(a);                   \
		STAND_IN_CHECK(stand_in_n, >=, low);                           \
		STAND_IN_CHECK(stand_in_n, <=, high);                          \
	} while (0)
#define assert_memory_equal(a, b, n) STAND_IN_CHECK(memcmp(a, b, n), ==, 0)
#define assert_string_equal(a, b) stand_in_strings(a, b, __FILE__, __LINE__)

static inline int stand_in_run(const struct CMUnitTest *v, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		void *state = v[i].initial_state;

		stand_in_skipped = false;
		if (v[i].setup && v[i].setup(&state) != 0)
			fail_msg("%s: setup failed", v[i].name);
		v[i].test(&state);
		if (v[i].teardown && v[i].teardown(&state) != 0)
			fail_msg("%s: teardown failed", v[i].name);
		printf("%s: %s\n", stand_in_skipped ? "skip" : "ok", v[i].name);
	}
	return 0;
}

#define cmocka_run_group_tests(v, up, down)                                    \
	((void)(up), (void)(down), stand_in_run(v, sizeof(v) / sizeof((v)[0])))
#define cmocka_run_group_tests_name(name, v, up, down)                         \
	cmocka_run_group_tests(v, up, down)

#endif
