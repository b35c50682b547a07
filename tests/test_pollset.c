/* SPDX-License-Identifier: MIT */
/* A fiber, or two, that wait for many descriptors. */
#include "both.h"

#include <errno.h>
#include <sys/socket.h>

#include "fiber/pollset.h"

#define N 100

struct seat {
	struct cleat__member m; /* first */
	struct cleat__watch w;
	int other;
};

static void seat_open(struct cleat__pollset *set, struct seat *t)
{
	int fd[2];

	assert_int_equal(socketpair(AF_UNIX,
				    SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
				    0, fd),
			 0);
	cleat__watch_init(&t->w, fd[0]);
	cleat__clear_ready(&t->w, CLEAT__IN);
	t->other = fd[1];
	ok(cleat__pollset_add(set, &t->m, &t->w));
}

static void seat_close(struct seat *t)
{
	cleat__watch_close(&t->w);
	(void)close(t->other);
}

static void say(const struct seat *t)
{
	assert_int_equal(write(t->other, "x", 1), 1);
}

/* Whoever is done next, before long. */
static struct seat *next(struct cleat__pollset *set)
{
	struct cleat__member *m = NULL;

	while (!m) {
		ok(cleat__pollset_wait(set, soon()));
		m = cleat__pollset_next(set);
	}
	return (struct seat *)m;
}

/* Those that have something, each once, and no others. */
static void some_of_many(void)
{
	struct cleat__pollset set = { 0 };
	static struct seat v[N];

	for (int i = 0; i < N; i++)
		seat_open(&set, &v[i]);
	assert_int_equal(cleat__pollset_wait(&set, cleat_in(CLEAT_MSEC)),
			 -ETIMEDOUT);
	for (int i = 0; i < N; i += 7)
		say(&v[i]);
	for (int i = 0; i < N; i += 7) {
		const struct seat *t = next(&set);

		assert_int_equal((t - v) % 7, 0);
		assert_int_equal(t->m.result, 0);
		assert_true(cleat__is_ready(&t->w, CLEAT__IN));
	}
	assert_int_equal(cleat__pollset_wait(&set, cleat_in(CLEAT_MSEC)),
			 -ETIMEDOUT);
	assert_null(cleat__pollset_next(&set));
	/* Who is done waits no more. */
	say(&v[0]);
	say(&v[1]);
	assert_ptr_equal(next(&set), &v[1]);
	for (int i = 0; i < N; i++) {
		if (i % 7 != 0 && i != 1)
			cleat__pollset_end(&v[i].m, -ECANCELED);
	}
	while (cleat__pollset_next(&set))
		;
	for (int i = 0; i < N; i++)
		seat_close(&v[i]);
}

static void ended_early(void)
{
	struct cleat__pollset set = { 0 };
	struct seat a, b;

	seat_open(&set, &a);
	seat_open(&set, &b);
	cleat__pollset_end(&a.m, -ETIMEDOUT);
	assert_ptr_equal(next(&set), &a);
	assert_int_equal(a.m.result, -ETIMEDOUT);
	(void)close(b.other); /* the end of a stream is an event too */
	b.other = -1;
	assert_ptr_equal(next(&set), &b);
	assert_int_equal(b.m.result, 0);
	assert_true(b.w.exact);
	seat_close(&a);
	seat_close(&b);
}

/* Who is put there is done; and of two who wait, each gets one. */
struct taker {
	struct cleat__pollset *set;
	struct cleat__member *got;
};

static void take_one(void *arg)
{
	struct taker *t = arg;

	while (!t->got) {
		ok(cleat__pollset_wait(t->set, soon()));
		t->got = cleat__pollset_next(t->set);
		ok(cleat_yield());
	}
}

static void shared_by_two(void)
{
	struct cleat__pollset set = { 0 };
	struct taker takers[2] = { { .set = &set }, { .set = &set } };
	struct cleat__member put[2];
	struct cleat_scope *s;

	ok(cleat_scope_open(&s, 0));
	for (int i = 0; i < 2; i++)
		ok(cleat_go(s, take_one, &takers[i], CLEAT_FOREVER));
	ok(cleat_yield());
	for (int i = 0; i < 2; i++)
		cleat__pollset_put(&set, &put[i]);
	ok(cleat_scope_wait(s, soon()));
	cleat_scope_close(s);
	assert_ptr_equal(takers[1].got, &put[0]); /* who came last */
	assert_ptr_equal(takers[0].got, &put[1]);
	assert_int_equal(put[0].result, 0);
}

struct other {
	struct cleat__pollset set;
	int result, looks;
};

static void look_twice(void *arg)
{
	struct other *o = arg;

	for (int i = 0; i < 2; i++) {
		o->result = cleat__pollset_wait(&o->set, CLEAT_FOREVER);
		o->looks++;
	}
}

static void stirred_and_cancelled(void)
{
	struct other o = { .result = 1 };
	struct cleat_scope *s;

	ok(cleat_scope_open(&s, 0));
	cleat__pollset_stir(&o.set); /* nobody is there */
	ok(cleat_go(s, look_twice, &o, CLEAT_FOREVER));
	ok(cleat_yield());
	assert_int_equal(o.looks, 0);
	cleat__pollset_stir(&o.set);
	ok(cleat_yield());
	assert_int_equal(o.looks, 1);
	assert_int_equal(o.result, 0);
	cleat_scope_close(s);
	assert_int_equal(o.looks, 2);
	assert_int_equal(o.result, -ECANCELED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FIBER(some_of_many),
		FIBER(ended_early),
		FIBER(shared_by_two),
		FIBER(stirred_and_cancelled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
