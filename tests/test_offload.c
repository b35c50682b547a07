/* SPDX-License-Identifier: MIT */
/* What would block a thread, done by another. */
#include "fibers.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>

static void read_pipe(void *arg)
{
	char c;

	assert_int_equal(read(*(int *)arg, &c, 1), 1); /* blocks */
}

static void write_at_leisure(void *arg)
{
	for (int i = 0; i < 10; i++)
		ok(cleat_yield());
	write_byte(arg);
}

static void others_run_meanwhile(void)
{
	struct cleat_scope *s = scope_open(0);
	int fd[2];

	assert_int_equal(pipe2(fd, O_CLOEXEC), 0);
	go(s, write_at_leisure, &fd[1]);
	ok(cleat_offload(read_pipe, &fd[0]));
	cleat_scope_close(s);
	(void)close(fd[0]);
	(void)close(fd[1]);
}

static void note_thread(void *arg)
{
	*(pthread_t *)arg = pthread_self();
}

static void offload_elsewhere(void)
{
	pthread_t other = pthread_self();

	ok(cleat_offload(note_thread, &other));
	assert_false(pthread_equal(other, pthread_self()));
}

/* As many as there can be wait for the gate, and no more. */
struct gate {
	atomic_int inside, most, done;
	int fd[2];
};

static void through_gate(void *arg)
{
	struct gate *g = arg;
	struct pollfd p = { .fd = g->fd[0], .events = POLLIN };
	int now = atomic_fetch_add(&g->inside, 1) + 1;
	int most = atomic_load(&g->most);

	while (now > most &&
	       !atomic_compare_exchange_weak(&g->most, &most, now))
		;
	assert_int_equal(poll(&p, 1, 20000), 1);
	atomic_fetch_sub(&g->inside, 1);
	atomic_fetch_add(&g->done, 1);
}

enum {
	JOBS = 50,
	HELPERS = 16 /* of one scheduler */
};

/* Fibers that offload, as many at a time as there are helpers. */
struct offloading {
	struct gate gate;
	struct cleat_scope *scope;
	struct offloaded {
		struct gate *gate;
		int result; /* 1 while it runs */
	} jobs[JOBS];
};

static void offload_through(void *arg)
{
	struct offloaded *o = arg;

	o->result = cleat_offload(through_gate, o->gate);
}

/* Returns once all the helpers are at the gate. */
static void offloading_open(struct offloading *o)
{
	*o = (struct offloading){ .scope = scope_open(0) };
	assert_int_equal(pipe2(o->gate.fd, O_CLOEXEC), 0);
	for (int i = 0; i < JOBS; i++) {
		o->jobs[i] = (struct offloaded){ &o->gate, 1 };
		go(o->scope, offload_through, &o->jobs[i]);
	}
	while (atomic_load(&o->gate.inside) < HELPERS)
		ok(cleat_yield());
}

static void offloading_close(struct offloading *o)
{
	cleat_scope_close(o->scope);
	(void)close(o->gate.fd[0]);
	(void)close(o->gate.fd[1]);
}

static void sixteen_helpers(void)
{
	struct offloading o;

	offloading_open(&o);
	write_byte(&o.gate.fd[1]);
	ok(cleat_scope_wait(o.scope, soon()));
	for (int i = 0; i < JOBS; i++)
		assert_int_equal(o.jobs[i].result, 0);
	assert_int_equal(atomic_load(&o.gate.done), JOBS);
	assert_int_equal(atomic_load(&o.gate.most), HELPERS);
	offloading_close(&o);
}

/* What has begun is waited for; what has not never begins. */
static void offload_cancelled(void)
{
	struct offloading o;

	offloading_open(&o);
	cleat_scope_cancel(o.scope);
	settle();
	for (int i = 0; i < JOBS; i++)
		assert_int_equal(o.jobs[i].result,
				 i < HELPERS ? 1 : -ECANCELED);
	write_byte(&o.gate.fd[1]);
	offloading_close(&o);
	for (int i = 0; i < HELPERS; i++)
		assert_int_equal(o.jobs[i].result, 0);
	assert_int_equal(atomic_load(&o.gate.done), HELPERS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FIBER(others_run_meanwhile),
		BOTH(offload_elsewhere),
		FIBER(sixteen_helpers),
		FIBER(offload_cancelled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
