/* SPDX-License-Identifier: MIT */
/* Scopes: what cleat_run() ends, width, waiting, closing, nesting. */
#include "fibers.h"

#include <errno.h>

/* cleat_run */

static void run_inside(void *arg)
{
	int ran = 0;

	assert_true(cleat_is_fiber());
	assert_int_equal(both_run(count, &ran), -EBUSY);
	assert_int_equal(ran, 0);
	assert_true(strlen(cleat_why()) > 0);
	++*(int *)arg;
}

static void runs_do_not_nest(void)
{
	int ran = 0;

	assert_false(cleat_is_fiber());
	for (int i = 1; i <= 3; i++) {
		ok(both_run(run_inside, &ran));
		assert_int_equal(ran, i);
		assert_false(cleat_is_fiber());
	}
}

static void scope_on_a_thread(void)
{
	struct cleat_scope *s = NULL;

	assert_int_equal(cleat_scope_open(&s, 0), -ENOTSUP);
	assert_null(s);
	cleat_scope_close(NULL);
}

static void thread_sleeps_and_yields(void)
{
	cleat_time until = cleat_in(3 * CLEAT_MSEC);

	assert_int_equal(cleat_sleep(until), 0);
	assert_true(cleat_now() >= until);
	assert_int_equal(cleat_sleep(0), 0);
	assert_int_equal(cleat_yield(), 0);
}

struct abandoned {
	int direct[3], nested, grandchild;
};

static void with_a_child(void *arg)
{
	struct abandoned *a = arg;
	struct cleat_scope *s = scope_open(0);

	go(s, sleep_for_ever, &a->grandchild);
	a->nested = cleat_scope_wait(s, CLEAT_FOREVER);
	cleat_scope_close(s);
}

static void abandon(void *arg)
{
	struct abandoned *a = arg;
	struct cleat_scope *one = scope_open(0), *other = scope_open(5);

	go(one, sleep_for_ever, &a->direct[0]);
	go(other, sleep_for_ever, &a->direct[1]);
	go(other, with_a_child, a);
	settle();
	go(one, sleep_for_ever, &a->direct[2]); /* has not begun when we end */
}

/* Whoever returns without closing its scopes ends them, too. */
static void return_with_fibers_left(void)
{
	struct abandoned a = { .nested = 0 };

	ok(both_run(abandon, &a));
	for (size_t i = 0; i < COUNT(a.direct); i++)
		assert_int_equal(a.direct[i], -ECANCELED);
	assert_int_equal(a.nested, -ECANCELED);
	assert_int_equal(a.grandchild, -ECANCELED);
}

/* Scopes */

struct crowd {
	int now, most, done;
};

static void in_crowd(void *arg)
{
	struct crowd *c = arg;

	if (++c->now > c->most)
		c->most = c->now;
	for (int i = 0; i < 3; i++)
		ok(cleat_yield());
	c->now--;
	c->done++;
}

static void width(void)
{
	static const int widths[] = { 1, 2, 3, 7, 0 };

	for (size_t i = 0; i < COUNT(widths); i++) {
		struct crowd c = { .now = 0 };
		struct cleat_scope *s = scope_open((unsigned)widths[i]);

		for (int k = 0; k < 20; k++)
			go(s, in_crowd, &c);
		ok(cleat_scope_wait(s, soon()));
		cleat_scope_close(s);
		assert_int_equal(c.most, widths[i] ? widths[i] : 20);
		assert_int_equal(c.done, 20);
	}
}

static void go_starts_at_the_next_wait(void)
{
	struct cleat_scope *s = scope_open(0);
	int ran = 0;

	go(s, count, &ran);
	assert_int_equal(ran, 0);
	ok(cleat_yield());
	assert_int_equal(ran, 1);
	cleat_scope_close(s);
}

static void go_times_out(void)
{
	struct cleat_scope *s = scope_open(1);
	int result = 1, ran = 0;
	cleat_time until;

	go(s, sleep_for_ever, &result);
	assert_int_equal(cleat_go(s, count, &ran, 0), -ETIMEDOUT);
	until = cleat_in(3 * CLEAT_MSEC);
	assert_int_equal(cleat_go(s, count, &ran, until), -ETIMEDOUT);
	assert_true(cleat_now() >= until);
	cleat_scope_close(s);
	assert_int_equal(ran, 0);
	assert_int_equal(result, -ECANCELED);
}

struct going {
	struct cleat_scope *s;
	int *clock; /* ticks for each that runs */
	int result, ran; /* the tick, or 0 */
};

static void tick(void *arg)
{
	struct going *g = arg;

	g->ran = ++*g->clock;
}

static void go_into(void *arg)
{
	struct going *g = arg;

	g->result = cleat_go(g->s, tick, g, CLEAT_FOREVER);
}

static void go_is_cancelled(void)
{
	struct cleat_scope *full = scope_open(1), *s = scope_open(0);
	struct going g = { .s = full };
	int result = 1;

	go(full, sleep_for_ever, &result);
	go(s, go_into, &g);
	settle();
	cleat_scope_close(s);
	assert_int_equal(g.result, -ECANCELED);
	cleat_scope_close(full);
	assert_int_equal(g.ran, 0);
}

/* Places are given in the order that they were asked for. */
static void go_waits_its_turn(void)
{
	struct cleat_scope *narrow = scope_open(1), *s = scope_open(0);
	struct going g[5];
	int first = 0, clock = 0;

	go(narrow, count, &first);
	for (size_t i = 0; i < COUNT(g); i++) {
		g[i] = (struct going){ narrow, &clock, 1, 0 };
		go(s, go_into, &g[i]);
	}
	ok(cleat_scope_wait(s, soon()));
	ok(cleat_scope_wait(narrow, soon()));
	for (size_t i = 0; i < COUNT(g); i++) {
		assert_int_equal(g[i].result, 0);
		assert_int_equal(g[i].ran, (int)i + 1);
	}
	cleat_scope_close(narrow);
	cleat_scope_close(s);
}

static void waiting_for_a_scope(void)
{
	struct cleat_scope *s = scope_open(0);
	int result = 1;
	cleat_time until;

	ok(cleat_scope_wait(s, 0)); /* empty */
	go(s, sleep_for_ever, &result);
	assert_int_equal(cleat_scope_wait(s, 0), -ETIMEDOUT);
	until = cleat_in(3 * CLEAT_MSEC);
	assert_int_equal(cleat_scope_wait(s, until), -ETIMEDOUT);
	assert_true(cleat_now() >= until);
	assert_int_equal(result, 1);
	cleat_scope_cancel(s);
	assert_int_equal(result, 1); /* does not wait for them */
	ok(cleat_scope_wait(s, soon()));
	assert_int_equal(result, -ECANCELED);
	cleat_scope_close(s);
}

static void slow_to_leave(void *arg)
{
	int *step = arg;

	assert_int_equal(cleat_sleep(CLEAT_FOREVER), -ECANCELED);
	*step = 1;
	/* Cleanup that would wait does not. */
	for (int i = 0; i < 1000; i++)
		assert_int_equal(cleat_sleep(CLEAT_FOREVER), -ECANCELED);
	*step = 2;
}

static void close_joins(void)
{
	struct cleat_scope *s = scope_open(0);
	int step[3] = { 0 };

	for (size_t i = 0; i < COUNT(step); i++)
		go(s, slow_to_leave, &step[i]);
	settle();
	cleat_scope_close(s);
	for (size_t i = 0; i < COUNT(step); i++)
		assert_int_equal(step[i], 2);
}

struct nest {
	int depth, *reached, *left;
};

static void nested(void *arg)
{
	const struct nest *n = arg;
	struct nest deeper = { n->depth - 1, n->reached, n->left };
	struct cleat_scope *s;

	++*n->reached;
	if (n->depth == 0) {
		assert_int_equal(cleat_sleep(CLEAT_FOREVER), -ECANCELED);
	} else {
		s = scope_open(1);
		go(s, nested, &deeper);
		assert_int_equal(cleat_scope_wait(s, CLEAT_FOREVER),
				 -ECANCELED);
		cleat_scope_close(s);
	}
	/* Those inside have left before. */
	assert_int_equal(*n->left, n->depth);
	++*n->left;
}

static void scopes_nest(void)
{
	int reached = 0, left = 0;
	struct nest n = { 10, &reached, &left };
	struct cleat_scope *s = scope_open(1);

	go(s, nested, &n);
	while (reached < 11)
		ok(cleat_yield());
	assert_int_equal(left, 0);
	cleat_scope_close(s);
	assert_int_equal(left, 11);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		THREAD(runs_do_not_nest),
		THREAD(scope_on_a_thread),
		THREAD(thread_sleeps_and_yields),
		THREAD(return_with_fibers_left),
		FIBER(width),
		FIBER(go_starts_at_the_next_wait),
		FIBER(go_times_out),
		FIBER(go_is_cancelled),
		FIBER(go_waits_its_turn),
		FIBER(waiting_for_a_scope),
		FIBER(close_joins),
		FIBER(scopes_nest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
