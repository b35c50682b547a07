/* SPDX-License-Identifier: MIT */
/* Fibers: many at once, on time, and what a switch must keep. */
#include "fibers.h"

#include <cleat/chan.h>

#include <errno.h>

/* Sanitizers make each fiber dear; TSan has room for 8128 at once. */
#if defined(__SANITIZE_THREAD__)
#define MANY 2000
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define MANY 2000
#endif
#endif
#ifndef MANY
#define MANY 10000
#endif

struct herd {
	struct cleat_chan *gate;
	int awake, most;
	cleat_time until;
};

static void in_herd(void *arg)
{
	struct herd *h = arg;
	char unused;

	if (++h->awake > h->most)
		h->most = h->awake;
	assert_int_equal(cleat_chan_recv(h->gate, &unused, CLEAT_FOREVER),
			 CLEAT_EEOF);
	ok(cleat_sleep(h->until));
	assert_true(cleat_now() >= h->until);
	ok(cleat_yield());
	h->awake--;
}

static void many_fibers(void)
{
	struct herd h = { .most = 0 };
	struct cleat_scope *s = scope_open(0);

	ok(cleat_chan_open(&h.gate, 1, 1));
	for (int i = 0; i < MANY; i++)
		go(s, in_herd, &h);
	settle();
	assert_int_equal(h.awake, MANY);
	h.until = cleat_in(5 * CLEAT_MSEC);
	cleat_chan_finish(h.gate);
	ok(cleat_scope_wait(s, CLEAT_FOREVER));
	cleat_scope_close(s);
	cleat_chan_close(h.gate);
	assert_int_equal(h.awake, 0);
	assert_int_equal(h.most, MANY);
}

struct alarm {
	cleat_time at;
	cleat_time *last;
	int result;
	bool fired;
};

static void wait_for_alarm(void *arg)
{
	struct alarm *a = arg;
	bool late = cleat_now() >= a->at; /* when it began */

	a->result = cleat_sleep(a->at);
	if (a->result < 0)
		return;
	a->fired = true;
	assert_true(cleat_now() >= a->at);
	if (late)
		return;
	assert_true(*a->last <= a->at); /* in order */
	*a->last = a->at;
}

static void timers_fire_in_order(void)
{
	enum {
		ALARMS = 1000
	};
	static struct alarm a[ALARMS];
	struct cleat_scope *s = scope_open(0), *ended = scope_open(0);
	cleat_time start = cleat_now(), last = 0;
	unsigned seed = 1;

	for (int i = 0; i < ALARMS; i++) {
		seed = seed * 1103515245 + 12345;
		a[i] = (struct alarm){
			.at = start + (seed >> 8) % (40 * CLEAT_MSEC),
			.last = &last,
		};
		/* Every third is taken out of the middle of the heap. */
		go(i % 3 ? s : ended, wait_for_alarm, &a[i]);
		if (i % 100 == 0)
			settle();
	}
	cleat_scope_close(ended);
	ok(cleat_scope_wait(s, soon()));
	cleat_scope_close(s);
	for (int i = 0; i < ALARMS; i++) {
		if (i % 3)
			assert_int_equal(a[i].result, 0);
		assert_int_equal(a[i].fired, a[i].result == 0);
	}
}

static void sleep_is_never_short(void)
{
	static const int64_t spans[] = {
		-CLEAT_SEC,        0, 1, CLEAT_USEC, CLEAT_MSEC - 1, CLEAT_MSEC,
		3 * CLEAT_MSEC + 1
	};

	for (size_t i = 0; i < COUNT(spans); i++) {
		cleat_time until = cleat_in(spans[i]);

		ok(cleat_sleep(until));
		assert_true(cleat_now() >= until);
	}
}

/* Many values that live across each call of WAIT. */
static double mix(double seed, int (*wait)(void))
{
	double a = seed, b = seed + 1, c = seed + 2, d = seed + 3, e = seed + 4,
	       f = seed + 5, g = seed + 6, h = seed + 7;
	uint64_t i = (uint64_t)seed + 1, j = i * 3, k = i * 5, l = i * 7,
		 m = i * 11, n = i * 13, o = i * 17, p = i * 19;
	long double x = (long double)seed;

	for (int r = 0; r < 100; r++) {
		a = b * 0.5 + c;
		b = c * 0.25 + d;
		c = d * 0.125 + e;
		d = e * 0.5 - f;
		i = j * 6364136223846793005u + k;
		j = k ^ (l >> 3);
		k = l + m;
		l = m ^ n;
		ok(wait());
		e = f * 0.75 + g;
		f = g * 0.5 - h;
		g = h * 0.25 + a;
		h = a * 0.5 + b;
		m = n * 31 + o;
		n = o ^ p;
		o = p + i;
		p = i ^ j;
		x = x * 0.5L + (long double)a;
	}
	return a + b + c + d + e + f + g + h + (double)x +
	       (double)((i ^ j ^ k ^ l ^ m ^ n ^ o ^ p) >> 40);
}

static int no_wait(void)
{
	return 0;
}

struct mixing {
	double seed, result;
};

static void mix_here(void *arg)
{
	struct mixing *m = arg;

	m->result = mix(m->seed, cleat_yield);
}

static void registers_survive(void)
{
	struct mixing m[16];
	struct cleat_scope *s = scope_open(0);

	for (size_t i = 0; i < COUNT(m); i++) {
		m[i].seed = (double)i * 1.5;
		go(s, mix_here, &m[i]);
	}
	ok(cleat_scope_wait(s, soon()));
	cleat_scope_close(s);
	for (size_t i = 0; i < COUNT(m); i++) {
		double want = mix(m[i].seed, no_wait);

		assert_memory_equal(&m[i].result, &want, sizeof(want));
	}
}

struct failing {
	const char *addr;
	int err;
};

static void fail_and_wait(void *arg)
{
	struct failing *f = arg;
	struct cleat_addr a;
	char before[256];

	assert_string_equal(cleat_why(), "");
	assert_int_equal(cleat_addr_parse(&a, f->addr), -EINVAL);
	(void)snprintf(before, sizeof(before), "%s", cleat_why());
	assert_non_null(strstr(before, f->addr));
	ok(cleat_yield());
	assert_string_equal(cleat_why(), before);
}

static void each_fiber_has_its_reason(void)
{
	struct failing f[] = { { .addr = "one:99999" },
			       { .addr = "two:99999" },
			       { .addr = "three:99999" } };
	struct cleat_scope *s = scope_open(0);

	for (size_t i = 0; i < COUNT(f); i++)
		go(s, fail_and_wait, &f[i]);
	ok(cleat_scope_wait(s, soon()));
	cleat_scope_close(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FIBER(many_fibers),
		FIBER(timers_fire_in_order),
		BOTH(sleep_is_never_short),
		FIBER(registers_survive),
		FIBER(each_fiber_has_its_reason),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
