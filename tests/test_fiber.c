/* SPDX-License-Identifier: MIT */
/* Fibers: scopes, cancellation, order, timers, offload, poll, switches. */
#include "both.h"

#include <cleat/chan.h>
#include <cleat/conn.h>
#include <cleat/dgram.h>
#include <cleat/frame.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/eventfd.h>

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

static struct cleat_scope *scope_open(unsigned width)
{
	struct cleat_scope *s = NULL;

	ok(cleat_scope_open(&s, width));
	assert_non_null(s);
	return s;
}

static void go(struct cleat_scope *s, void (*fn)(void *), void *arg)
{
	ok(cleat_go(s, fn, arg, CLEAT_FOREVER));
}

/* Let all that is ready run until it waits. */
static void settle(void)
{
	for (int i = 0; i < 3; i++)
		ok(cleat_yield());
}

static void count(void *arg)
{
	++*(int *)arg;
}

static void sleep_for_ever(void *arg)
{
	*(int *)arg = cleat_sleep(CLEAT_FOREVER);
}

/* cleat_run */

static void run_inside(void *arg)
{
	int ran = 0;

	assert_true(cleat_is_fiber());
	assert_int_equal(cleat_run(count, &ran, NULL), -EBUSY);
	assert_int_equal(ran, 0);
	assert_true(strlen(cleat_why()) > 0);
	++*(int *)arg;
}

static void runs_do_not_nest(void)
{
	int ran = 0;

	assert_false(cleat_is_fiber());
	for (int i = 1; i <= 3; i++) {
		ok(cleat_run(run_inside, &ran, NULL));
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

	ok(cleat_run(abandon, &a, NULL));
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

/* Cancellation, in each call that waits */

struct cancelling {
	struct cleat_conn *a, *b; /* of one socket pair */
	struct cleat_listener *listener;
	struct cleat_dgram *dgram;
	struct cleat_chan *empty, *full;
	struct cleat_scope *busy; /* of width 1, which is taken */
	char addr[CLEAT_ADDR_MAX];
	int pipe[2];
	int ran;
};

static int do_sleep(struct cancelling *x)
{
	(void)x;
	return cleat_sleep(CLEAT_FOREVER);
}

static int do_recv(struct cancelling *x)
{
	char c;

	return (int)cleat_recv(x->a, &c, 1, CLEAT_FOREVER);
}

static int do_recv_exactly(struct cancelling *x)
{
	char c;

	return (int)cleat_recv_exactly(x->a, &c, 1, CLEAT_FOREVER);
}

static int do_recv_until(struct cancelling *x)
{
	char c[8];

	return (int)cleat_recv_until(x->a, c, sizeof(c), "\n", 1,
				     CLEAT_FOREVER);
}

static int do_recv_msg(struct cancelling *x)
{
	char c;

	return (int)cleat_recv_msg(x->a, &c, 1, NULL, CLEAT_FOREVER);
}

static int do_view(struct cancelling *x)
{
	const void *data;

	return (int)cleat_view(x->a, &data, CLEAT_FOREVER);
}

static int do_send(struct cancelling *x)
{
	static const char much[8 << 20];

	return cleat_send(x->b, much, sizeof(much), CLEAT_FOREVER);
}

static int do_finish(struct cancelling *x)
{
	return cleat_finish(x->a, CLEAT_FOREVER);
}

static int do_accept(struct cancelling *x)
{
	struct cleat_conn *c;

	return cleat_accept(x->listener, &c, CLEAT_FOREVER);
}

static int do_recvfrom(struct cancelling *x)
{
	char c;

	return (int)cleat_recvfrom(x->dgram, &c, 1, NULL, CLEAT_FOREVER);
}

static int do_recv_batch(struct cancelling *x)
{
	char c;
	struct cleat_packet p = { .data = &c, .size = 1 };

	return cleat_recv_batch(x->dgram, &p, 1, CLEAT_FOREVER);
}

static int do_chan_recv(struct cancelling *x)
{
	char c;

	return cleat_chan_recv(x->empty, &c, CLEAT_FOREVER);
}

static int do_chan_send(struct cancelling *x)
{
	return cleat_chan_send(x->full, "x", CLEAT_FOREVER);
}

static int do_go(struct cancelling *x)
{
	return cleat_go(x->busy, count, &x->ran, CLEAT_FOREVER);
}

static int do_scope_wait(struct cancelling *x)
{
	return cleat_scope_wait(x->busy, CLEAT_FOREVER);
}

static int do_poll(struct cancelling *x)
{
	return cleat_poll(x->pipe[0], CLEAT_IN, CLEAT_FOREVER);
}

/* What only ends at once, or not early; a cancelled fiber is refused. */

static int do_yield(struct cancelling *x)
{
	(void)x;
	return cleat_yield();
}

static int do_connect(struct cancelling *x)
{
	struct cleat_conn *c = NULL;
	int err = cleat_connect(&c, x->addr, NULL, CLEAT_FOREVER);

	cleat_close(c);
	return err;
}

static int do_offload(struct cancelling *x)
{
	return cleat_offload(count, &x->ran);
}

static int do_resolve(struct cancelling *x)
{
	struct cleat_sockaddr sa;
	int n = cleat_resolve("localhost:80", CLEAT_TO_CONNECT, &sa, 1,
			      CLEAT_FOREVER);

	(void)x;
	return n;
}

#define CALL(name)                                                             \
	{                                                                      \
#name, do_##name                                               \
	}

static const struct {
	const char *name;
	int (*call)(struct cancelling *x);
} waiting_calls[] = {
	CALL(sleep),     CALL(recv),     CALL(recv_exactly), CALL(recv_until),
	CALL(recv_msg),  CALL(view),     CALL(send),         CALL(finish),
	CALL(accept),    CALL(recvfrom), CALL(recv_batch),   CALL(chan_recv),
	CALL(chan_send), CALL(go),       CALL(scope_wait),   CALL(poll),
	CALL(yield),     CALL(connect),  CALL(offload),      CALL(resolve),
};

/* The first so many wait for ever, unless cancelled. */
#define WAIT_FOR_EVER (COUNT(waiting_calls) - 4)

static void cancelling_open(struct cancelling *x)
{
	struct cleat_sockaddr sa;
	int pair[2];

	assert_int_equal(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	ok(cleat_adopt(&x->a, pair[0]));
	ok(cleat_adopt(&x->b, pair[1]));
	ok(cleat_listen(&x->listener, "127.0.0.1:0", NULL));
	ok(cleat_listener_local(x->listener, 0, &sa));
	ok(cleat_sockaddr_format(&sa, x->addr, sizeof(x->addr)));
	ok(cleat_dgram_open(&x->dgram, "udp://127.0.0.1:0", NULL, NULL,
			    soon()));
	ok(cleat_chan_open(&x->empty, 1, 1));
	ok(cleat_chan_open(&x->full, 1, 1));
	ok(cleat_chan_send(x->full, "x", 0));
	assert_int_equal(pipe2(x->pipe, O_CLOEXEC), 0);
}

static void cancelling_close(struct cancelling *x)
{
	cleat_close(x->a);
	cleat_close(x->b);
	cleat_unlisten(x->listener);
	cleat_dgram_close(x->dgram);
	cleat_chan_close(x->empty);
	cleat_chan_close(x->full);
	(void)close(x->pipe[0]);
	(void)close(x->pipe[1]);
}

struct cancelled_call {
	size_t i;
	int first, later;
	bool before; /* cancelled before it begins */
};

static void call_twice(void *arg)
{
	struct cancelled_call *c = arg;
	struct cancelling x = { .ran = 0 };
	struct cleat_scope *hold;
	int unused = 0;

	cancelling_open(&x);
	hold = scope_open(0);
	x.busy = scope_open(1);
	go(x.busy, sleep_for_ever, &unused);
	if (c->before)
		assert_int_equal(cleat_sleep(CLEAT_FOREVER), -ECANCELED);
	c->first = waiting_calls[c->i].call(&x);
	c->later = waiting_calls[c->i].call(&x);
	cleat_scope_close(x.busy);
	cleat_scope_close(hold);
	cancelling_close(&x);
	assert_int_equal(x.ran, 0);
}

static void cancelled_while_it_waits(void)
{
	for (size_t i = 0; i < WAIT_FOR_EVER; i++) {
		struct cleat_scope *s = scope_open(1);
		struct cancelled_call c = { .i = i, .first = 1 };

		go(s, call_twice, &c);
		settle();
		if (c.first != 1)
			fail_msg("%s did not wait: %d", waiting_calls[i].name,
				 c.first);
		cleat_scope_close(s);
		if (c.first != -ECANCELED)
			fail_msg("%s: %d", waiting_calls[i].name, c.first);
	}
}

static void cancelled_before(void)
{
	for (size_t i = 0; i < COUNT(waiting_calls); i++) {
		struct cleat_scope *s = scope_open(1);
		struct cancelled_call c = { .i = i, .before = true };

		go(s, call_twice, &c);
		settle();
		cleat_scope_close(s);
		/* A send that failed is over for good. */
		if (c.first != -ECANCELED ||
		    (c.later != -ECANCELED && c.later != -EPIPE))
			fail_msg("%s: %d, then %d", waiting_calls[i].name,
				 c.first, c.later);
	}
}

/* Order and fairness */

struct turn {
	char name;
	char *log;
	size_t *n;
};

static void take_turns(void *arg)
{
	const struct turn *t = arg;

	for (int i = 0; i < 5; i++) {
		t->log[(*t->n)++] = t->name;
		ok(cleat_yield());
	}
}

static void yields_take_turns(void)
{
	char log[32] = "";
	size_t n = 0;
	struct turn t[] = { { 'a', log, &n },
			    { 'b', log, &n },
			    { 'c', log, &n } };
	struct cleat_scope *s = scope_open(0);

	for (size_t i = 0; i < COUNT(t); i++)
		go(s, take_turns, &t[i]);
	ok(cleat_scope_wait(s, soon()));
	cleat_scope_close(s);
	assert_string_equal(log, "abcabcabcabcabc");
}

/* Fibers that always have work, beside one that needs a timer, one that needs
 * an event from outside and one that just wants its turn.
 */
struct fairness {
	cleat_time end;
	bool done;
	struct cleat_conn *conn;
	int peer, pipe[2];
	struct cleat_chan *there, *back;
	struct cleat_dgram *dgram;
	struct cleat_sockaddr self;
	struct cleat_scope *s;
};

static bool goes_on(const struct fairness *f)
{
	return !f->done && cleat_now() < f->end;
}

static void busy_yield(struct fairness *f)
{
	while (goes_on(f))
		ok(cleat_yield());
}

static void busy_sleep(struct fairness *f)
{
	while (goes_on(f))
		ok(cleat_sleep(0));
}

static void busy_recv(struct fairness *f)
{
	char c;

	while (goes_on(f)) {
		assert_int_equal(write(f->peer, "x", 1), 1);
		assert_int_equal(cleat_recv(f->conn, &c, 1, soon()), 1);
	}
}

static void busy_view(struct fairness *f)
{
	const void *data;

	while (goes_on(f)) {
		assert_int_equal(write(f->peer, "x", 1), 1);
		assert_int_equal(cleat_view(f->conn, &data, soon()), 1);
	}
}

static void busy_lines(struct fairness *f)
{
	char line[4];

	while (goes_on(f)) {
		assert_int_equal(write(f->peer, "x\ny\n", 4), 4);
		assert_int_equal(
			cleat_recv_until(f->conn, line, 4, "\n", 1, soon()), 2);
		assert_int_equal(
			cleat_recv_until(f->conn, line, 4, "\n", 1, soon()), 2);
	}
}

static void busy_datagrams(struct fairness *f)
{
	char c;

	while (goes_on(f)) {
		ok(cleat_sendto(f->dgram, "x", 1, &f->self, soon()));
		assert_int_equal(cleat_recvfrom(f->dgram, &c, 1, NULL, soon()),
				 1);
	}
}

static void busy_channel(struct fairness *f)
{
	char c = 'x';

	while (goes_on(f)) {
		ok(cleat_chan_send(f->there, &c, soon()));
		ok(cleat_chan_recv(f->there, &c, soon()));
	}
}

static void pong(void *arg)
{
	struct fairness *f = arg;
	char c;

	while (cleat_chan_recv(f->there, &c, CLEAT_FOREVER) == 0)
		ok(cleat_chan_send(f->back, &c, CLEAT_FOREVER));
}

static void busy_ping_pong(struct fairness *f)
{
	char c = 'x';

	go(f->s, pong, f);
	while (goes_on(f)) {
		ok(cleat_chan_send(f->there, &c, soon()));
		ok(cleat_chan_recv(f->back, &c, soon()));
	}
	cleat_chan_finish(f->there);
}

static void busy_poll(struct fairness *f)
{
	while (goes_on(f))
		assert_int_equal(cleat_poll(f->peer, CLEAT_OUT, soon()),
				 CLEAT_OUT);
}

static void nothing(void *arg)
{
	(void)arg;
}

static void busy_go(struct fairness *f)
{
	while (goes_on(f))
		go(f->s, nothing, NULL);
}

static void busy_connect(struct fairness *f)
{
	struct cleat_listener *l = NULL;
	struct cleat_sockaddr sa;
	char addr[CLEAT_ADDR_MAX];

	ok(cleat_listen(&l, "127.0.0.1:0", NULL));
	ok(cleat_listener_local(l, 0, &sa));
	ok(cleat_sockaddr_format(&sa, addr, sizeof(addr)));
	while (goes_on(f)) {
		struct cleat_conn *a = NULL, *b = NULL;

		ok(cleat_connect(&a, addr, NULL, soon()));
		ok(cleat_accept(l, &b, soon()));
		cleat_close(a);
		cleat_close(b);
	}
	cleat_unlisten(l);
}

/* There is room for ever: what nobody receives is dropped. */
static void busy_send(struct fairness *f)
{
	while (goes_on(f))
		ok(cleat_sendto(f->dgram, "x", 1, &f->self, soon()));
}

static const struct {
	const char *name;
	void (*run)(struct fairness *f);
} busy[] = {
	{ "yield", busy_yield },     { "sleep", busy_sleep },
	{ "recv", busy_recv },       { "view", busy_view },
	{ "lines", busy_lines },     { "datagrams", busy_datagrams },
	{ "channel", busy_channel }, { "ping-pong", busy_ping_pong },
	{ "poll", busy_poll },       { "go", busy_go },
	{ "connect", busy_connect }, { "send", busy_send },
};

struct busy_fiber {
	struct fairness *f;
	void (*run)(struct fairness *f);
};

static void run_busy(void *arg)
{
	const struct busy_fiber *b = arg;

	b->run(b->f);
}

static void wait_for_timers(void *arg)
{
	(void)arg;
	for (int i = 0; i < 10; i++)
		ok(cleat_sleep(cleat_in(CLEAT_MSEC)));
}

static void write_byte(void *arg)
{
	assert_int_equal(write(*(int *)arg, "x", 1), 1);
}

static void *write_from_outside(void *arg)
{
	write_byte(arg);
	return NULL;
}

static void wait_for_outside(void *arg)
{
	struct fairness *f = arg;
	pthread_t thread;

	assert_int_equal(
		pthread_create(&thread, NULL, write_from_outside, &f->pipe[1]),
		0);
	assert_int_equal(cleat_poll(f->pipe[0], CLEAT_IN, soon()), CLEAT_IN);
	assert_int_equal(pthread_join(thread, NULL), 0);
}

static void fairness_open(struct fairness *f)
{
	int pair[2];

	*f = (struct fairness){ .end = soon() };
	assert_int_equal(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	ok(cleat_adopt(&f->conn, pair[0]));
	f->peer = pair[1];
	assert_int_equal(pipe2(f->pipe, O_CLOEXEC), 0);
	ok(cleat_chan_open(&f->there, 1, 1));
	ok(cleat_chan_open(&f->back, 1, 1));
	ok(cleat_dgram_open(&f->dgram, "udp://127.0.0.1:0", NULL, NULL,
			    soon()));
	ok(cleat_dgram_local(f->dgram, 0, &f->self));
	f->s = scope_open(0);
}

static void fairness_close(struct fairness *f)
{
	cleat_scope_close(f->s);
	cleat_close(f->conn);
	(void)close(f->peer);
	(void)close(f->pipe[0]);
	(void)close(f->pipe[1]);
	cleat_chan_close(f->there);
	cleat_chan_close(f->back);
	cleat_dgram_close(f->dgram);
}

static void nobody_starves(void)
{
	for (size_t i = 0; i < COUNT(busy); i++) {
		struct fairness f;
		struct busy_fiber b = { &f, busy[i].run };
		struct cleat_scope *others;

		fairness_open(&f);
		others = scope_open(0);
		go(f.s, run_busy, &b);
		go(others, wait_for_timers, NULL);
		go(others, wait_for_outside, &f);
		ok(cleat_scope_wait(others, CLEAT_FOREVER));
		if (cleat_now() >= f.end)
			fail_msg("%s starves the others", busy[i].name);
		f.done = true;
		ok(cleat_scope_wait(f.s, soon()));
		cleat_scope_close(others);
		fairness_close(&f);
	}
}

/* Many, and timers */

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

/* Switches keep what a call must keep */

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

/* Offload */

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

struct offloading {
	struct gate *gate;
	int result;
};

static void offload_through(void *arg)
{
	struct offloading *o = arg;

	o->result = cleat_offload(through_gate, o->gate);
}

static void gate_open(struct gate *g)
{
	*g = (struct gate){ .done = 0 };
	assert_int_equal(pipe2(g->fd, O_CLOEXEC), 0);
}

static void gate_close(const struct gate *g)
{
	(void)close(g->fd[0]);
	(void)close(g->fd[1]);
}

static void sixteen_helpers(void)
{
	enum {
		JOBS = 50,
		HELPERS = 16
	};
	struct offloading o[JOBS];
	struct cleat_scope *s = scope_open(0);
	struct gate g;

	gate_open(&g);
	for (int i = 0; i < JOBS; i++) {
		o[i] = (struct offloading){ .gate = &g, .result = 1 };
		go(s, offload_through, &o[i]);
	}
	while (atomic_load(&g.inside) < HELPERS)
		ok(cleat_yield());
	write_byte(&g.fd[1]);
	ok(cleat_scope_wait(s, soon()));
	cleat_scope_close(s);
	for (int i = 0; i < JOBS; i++)
		assert_int_equal(o[i].result, 0);
	assert_int_equal(atomic_load(&g.done), JOBS);
	assert_int_equal(atomic_load(&g.most), HELPERS);
	gate_close(&g);
}

/* What has begun is waited for; what has not never begins. */
static void offload_cancelled(void)
{
	enum {
		JOBS = 20,
		HELPERS = 16
	};
	struct offloading o[JOBS];
	struct cleat_scope *s = scope_open(0);
	struct gate g;

	gate_open(&g);
	for (int i = 0; i < JOBS; i++) {
		o[i] = (struct offloading){ .gate = &g, .result = 1 };
		go(s, offload_through, &o[i]);
	}
	while (atomic_load(&g.inside) < HELPERS)
		ok(cleat_yield());
	cleat_scope_cancel(s);
	settle();
	for (int i = 0; i < JOBS; i++)
		assert_int_equal(o[i].result, i < HELPERS ? 1 : -ECANCELED);
	write_byte(&g.fd[1]);
	cleat_scope_close(s);
	for (int i = 0; i < HELPERS; i++)
		assert_int_equal(o[i].result, 0);
	assert_int_equal(atomic_load(&g.done), HELPERS);
	gate_close(&g);
}

/* Poll */

static void poll_pipe(void)
{
	cleat_time until = cleat_in(2 * CLEAT_MSEC);
	int fd[2];
	char c;

	assert_int_equal(pipe2(fd, O_CLOEXEC), 0);
	assert_int_equal(cleat_poll(fd[0], CLEAT_IN, 0), -ETIMEDOUT);
	assert_int_equal(cleat_poll(fd[0], CLEAT_IN, until), -ETIMEDOUT);
	assert_true(cleat_now() >= until);
	assert_int_equal(cleat_poll(fd[1], CLEAT_OUT, 0), CLEAT_OUT);
	write_byte(&fd[1]);
	for (int i = 0; i < 3; i++) /* a level, not an edge */
		assert_int_equal(cleat_poll(fd[0], CLEAT_IN, soon()), CLEAT_IN);
	assert_int_equal(read(fd[0], &c, 1), 1);
	assert_int_equal(cleat_poll(fd[0], CLEAT_IN, 0), -ETIMEDOUT);
	(void)close(fd[1]);
	assert_int_equal(cleat_poll(fd[0], CLEAT_IN, soon()), CLEAT_IN);
	(void)close(fd[0]);
}

static void poll_broken_pipe(void)
{
	int fd[2];

	assert_int_equal(pipe2(fd, O_CLOEXEC), 0);
	(void)close(fd[0]);
	assert_int_equal(cleat_poll(fd[1], CLEAT_OUT, soon()), CLEAT_OUT);
	(void)close(fd[1]);
}

static void poll_both_directions(void)
{
	int fd[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd),
			 0);
	assert_int_equal(cleat_poll(fd[0], CLEAT_IN | CLEAT_OUT, soon()),
			 CLEAT_OUT);
	write_byte(&fd[1]);
	assert_int_equal(cleat_poll(fd[0], CLEAT_IN | CLEAT_OUT, soon()),
			 CLEAT_IN | CLEAT_OUT);
	(void)close(fd[0]);
	(void)close(fd[1]);
}

static void poll_woken(void)
{
	struct both_later later;
	int fd[2];

	assert_int_equal(pipe2(fd, O_CLOEXEC), 0);
	both_later(&later, write_byte, &fd[1]);
	assert_int_equal(cleat_poll(fd[0], CLEAT_IN, soon()), CLEAT_IN);
	both_join(&later);
	(void)close(fd[0]);
	(void)close(fd[1]);
}

static void poll_files(void)
{
	static const char *const paths[] = { "/proc/self/exe", "/",
					     "/dev/null" };

	for (size_t i = 0; i < COUNT(paths); i++) {
		int fd = open(paths[i], O_RDONLY | O_CLOEXEC);

		assert_true(fd >= 0);
		assert_int_equal(cleat_poll(fd, CLEAT_IN, 0), CLEAT_IN);
		assert_int_equal(
			cleat_poll(fd, CLEAT_IN | CLEAT_OUT, CLEAT_FOREVER),
			CLEAT_IN | CLEAT_OUT);
		(void)close(fd);
	}
}

static void poll_bad_descriptors(void)
{
	int fd = eventfd(0, EFD_CLOEXEC);

	(void)close(fd);
	assert_int_equal(cleat_poll(fd, CLEAT_IN, soon()), -EBADF);
	assert_int_equal(cleat_poll(-1, CLEAT_IN, soon()), -EBADF);
	assert_int_equal(cleat_poll(-1, CLEAT_OUT, 0), -EBADF);
}

struct polling {
	int fd, result;
};

static void poll_it(void *arg)
{
	struct polling *p = arg;

	p->result = cleat_poll(p->fd, CLEAT_IN, CLEAT_FOREVER);
}

static void one_polls_a_descriptor(void)
{
	struct cleat_scope *s = scope_open(0);
	struct polling p = { .result = 0 };
	int fd[2];

	assert_int_equal(pipe2(fd, O_CLOEXEC), 0);
	p.fd = fd[0];
	go(s, poll_it, &p);
	settle();
	assert_int_equal(cleat_poll(fd[0], CLEAT_IN, soon()), -EBUSY);
	write_byte(&fd[1]);
	ok(cleat_scope_wait(s, soon()));
	assert_int_equal(p.result, CLEAT_IN);
	assert_int_equal(cleat_poll(fd[0], CLEAT_IN, soon()), CLEAT_IN);
	cleat_scope_close(s);
	(void)close(fd[0]);
	(void)close(fd[1]);
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
		FIBER(cancelled_while_it_waits),
		FIBER(cancelled_before),
		FIBER(yields_take_turns),
		FIBER(nobody_starves),
		FIBER(many_fibers),
		FIBER(timers_fire_in_order),
		BOTH(sleep_is_never_short),
		FIBER(registers_survive),
		FIBER(each_fiber_has_its_reason),
		FIBER(others_run_meanwhile),
		BOTH(offload_elsewhere),
		FIBER(sixteen_helpers),
		FIBER(offload_cancelled),
		BOTH(poll_pipe),
		BOTH(poll_broken_pipe),
		BOTH(poll_both_directions),
		BOTH(poll_woken),
		BOTH(poll_files),
		BOTH(poll_bad_descriptors),
		FIBER(one_polls_a_descriptor),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
