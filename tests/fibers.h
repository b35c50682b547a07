/* SPDX-License-Identifier: MIT */
/* Fibers to test with. */
#ifndef TESTS_FIBERS_H
#define TESTS_FIBERS_H

#include "both.h"

static inline struct cleat_scope *scope_open(unsigned width)
{
	struct cleat_scope *s = NULL;

	ok(cleat_scope_open(&s, width));
	assert_non_null(s);
	return s;
}

static inline void go(struct cleat_scope *s, void (*fn)(void *), void *arg)
{
	ok(cleat_go(s, fn, arg, CLEAT_FOREVER));
}

/* Let all that is ready run until it waits. */
static inline void settle(void)
{
	for (int i = 0; i < 3; i++)
		ok(cleat_yield());
}

static inline void count(void *arg)
{
	++*(int *)arg;
}

static inline void sleep_for_ever(void *arg)
{
	*(int *)arg = cleat_sleep(CLEAT_FOREVER);
}

static inline void write_byte(void *arg)
{
	assert_int_equal(write(*(int *)arg, "x", 1), 1);
}

#endif
