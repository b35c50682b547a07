/* SPDX-License-Identifier: MIT */
/* Connections that are viewed message by message, until a backend that can
 * receives ahead for them; and all that may come to pass then.
 */
#include "net/conn.h"
#include "pair.h"

#include <poll.h>

#define MANY 40 /* messages: enough to be fed */

/* A and B are at it, and the backend knows B for one to feed. */
static void converse(struct pair *p, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		const void *data;
		char got;

		ok(cleat_send(p->a, "?", 1, soon()));
		assert_int_equal(cleat_view(p->b, &data, soon()), 1);
		ok(cleat_send(p->b, data, 1, soon()));
		assert_int_equal(cleat_recv(p->a, &got, 1, soon()), 1);
		assert_int_equal(got, '?');
	}
}

static void must_be_fed(const struct pair *p)
{
	if (cleat_is_fiber() && both_backend() == CLEAT_BACKEND_URING)
		assert_true(p->b->io.armed & CLEAT__FED);
}

static void become_fed(struct pair *p)
{
	converse(p, MANY);
	must_be_fed(p);
}

static void fed_open(struct pair *p)
{
	const void *data;

	pair_open(p, "127.0.0.1:0");
	assert_int_equal(cleat_view(p->b, &data, 0), -ETIMEDOUT);
	become_fed(p);
}

static void expect(struct cleat_conn *c, const char *want)
{
	char got[64];
	size_t len = strlen(want);

	assert_int_equal(cleat_recv_exactly(c, got, len, soon()), len);
	assert_memory_equal(got, want, len);
}

/* Piece by piece, and less than a piece at a time. */
static void in_small_parts(void)
{
	const void *data;
	struct pair p;

	fed_open(&p);
	ok(cleat_send(p.a, "one two", 7, soon()));
	expect(p.b, "one");
	ok(cleat_send(p.a, " three", 6, soon()));
	expect(p.b, " two three");
	ok(cleat_send(p.a, "a line\nrest", 11, soon()));
	assert_int_equal(
		cleat_recv_until(p.b, (char[16]){ 0 }, 16, "\n", 1, soon()), 7);
	assert_int_equal(cleat_view(p.b, &data, soon()), 4);
	assert_memory_equal(data, "rest", 4);
	for (int i = 0; i < 100; i++) { /* more often than there are buffers */
		ok(cleat_send(p.a, "word", 4, soon()));
		expect(p.b, "word");
	}
	must_be_fed(&p);
	pair_close(&p);
}

static void nothing_comes(void)
{
	const void *data;
	struct pair p;

	fed_open(&p);
	assert_int_equal(cleat_view(p.b, &data, 0), -ETIMEDOUT);
	assert_int_equal(cleat_view(p.b, &data, cleat_in(CLEAT_MSEC)),
			 -ETIMEDOUT);
	become_fed(&p); /* again */
	ok(cleat_send(p.a, "x", 1, soon()));
	assert_int_equal(cleat_view(p.b, &data, 0), 1);
	converse(&p, MANY);
	pair_close(&p);
}

/* Nor does the time start afresh once it is fed no more. */
static void it_is_idle(void)
{
	const int64_t idle = 400 * CLEAT_MSEC;
	cleat_time begun;
	const void *data;
	struct pair p;

	fed_open(&p);
	cleat_conn_limit(p.b, idle, CLEAT_FOREVER);
	begun = cleat_now();
	assert_int_equal(cleat_view(p.b, &data, CLEAT_FOREVER), -ETIMEDOUT);
	assert_in_range(cleat_now() - begun, idle, 2 * idle - 1);
	pair_close(&p);
}

static void it_ends(void)
{
	const void *data;
	struct pair p;

	fed_open(&p);
	ok(cleat_send(p.a, "bye", 3, soon()));
	ok(cleat_shutdown(p.a, CLEAT_WRITE));
	assert_int_equal(cleat_view(p.b, &data, soon()), 3);
	assert_memory_equal(data, "bye", 3);
	for (int i = 0; i < 3; i++)
		assert_int_equal(cleat_view(p.b, &data, soon()), 0);
	pair_close(&p);
}

static void it_breaks(void)
{
	static const struct linger none = { .l_onoff = 1 };
	const void *data;
	struct pair p;

	fed_open(&p);
	(void)setsockopt(cleat_conn_fd(p.a), SOL_SOCKET, SO_LINGER, &none,
			 sizeof(none));
	cleat_close(p.a);
	p.a = NULL;
	assert_int_equal(cleat_view(p.b, &data, soon()), -ECONNRESET);
	assert_int_equal(cleat_view(p.b, &data, soon()), 0);
	pair_close(&p);
}

/* A question, and its reset behind it: both are there before B looks. */
static void ask_and_break(struct pair *p)
{
	const void *data;

	fed_open(p);
	put(cleat_conn_fd(p->a), "ask", 3);
	reset(dup(cleat_conn_fd(p->a)));
	cleat_close(p->a);
	p->a = NULL;
	ok(cleat_sleep(cleat_in(CLEAT_MSEC)));
	assert_int_equal(cleat_view(p->b, &data, soon()), 3);
}

/* Whoever is first is told why it broke, and the next that it is over. */
static void it_breaks_before_the_answer(void)
{
	const void *data;
	struct pair p;

	ask_and_break(&p);
	assert_int_equal(cleat_send(p.b, "yes", 3, soon()), -ECONNRESET);
	assert_int_equal(cleat_send(p.b, "yes", 3, soon()), -EPIPE);
	assert_int_equal(cleat_view(p.b, &data, soon()), 0);
	pair_close(&p);
	ask_and_break(&p);
	assert_int_equal(cleat_view(p.b, &data, soon()), -ECONNRESET);
	assert_int_equal(cleat_send(p.b, "yes", 3, soon()), -EPIPE);
	assert_int_equal(cleat_view(p.b, &data, soon()), 0);
	pair_close(&p);
}

static struct pair broken;

static void leave_it_broken(void *arg)
{
	(void)arg;
	fed_open(&broken);
	reset(dup(cleat_conn_fd(broken.a)));
	cleat_close(broken.a);
	ok(cleat_sleep(cleat_in(CLEAT_MSEC)));
}

/* The word of a reset is not lost with the scheduler that had it. */
static void it_broke_before(void)
{
	const void *data;

	ok(both_run(leave_it_broken, NULL));
	assert_in_range(-cleat_view(broken.b, &data, soon()), 1, 4095);
	cleat_close(broken.b);
	cleat_unlisten(broken.l);
}

/* The bytes 0, 1, 2 ... */
struct flow {
	struct cleat_conn *c;
	size_t len, piece;
};

static void flow_out(void *arg)
{
	const struct flow *f = arg;
	unsigned char out[16384];

	for (size_t at = 0; at < f->len;) {
		size_t n = f->len - at < f->piece ? f->len - at : f->piece;

		for (size_t i = 0; i < n; i++)
			out[i] = (unsigned char)(at + i);
		ok(cleat_send(f->c, out, n, soon()));
		at += n;
	}
}

static void flow_in(struct cleat_conn *c, size_t len)
{
	size_t at = 0;

	while (at < len) {
		const void *data;
		ssize_t n = cleat_view(c, &data, soon());

		assert_true(n > 0);
		for (ssize_t i = 0; i < n; i++)
			assert_int_equal(((const unsigned char *)data)[i],
					 (unsigned char)(at + (size_t)i));
		at += (size_t)n;
	}
	assert_int_equal(at, len);
}

/* A flood meets a reader that is slow to begin. */
static void flood(size_t len, size_t piece)
{
	struct cleat_scope *s;
	struct flow f;
	struct pair p;

	ok(cleat_scope_open(&s, 0));
	fed_open(&p);
	f = (struct flow){ p.a, len, piece };
	ok(cleat_go(s, flow_out, &f, CLEAT_FOREVER));
	ok(cleat_sleep(cleat_in(CLEAT_MSEC)));
	flow_in(p.b, len);
	converse(&p, MANY);
	ok(cleat_scope_wait(s, soon()));
	pair_close(&p);
	cleat_scope_close(s);
}

static void floods(void)
{
	flood(100, 1);
	flood(5000, 10);
	flood(MIB, 2048);
	flood(4 * MIB, 16384);
	flood(20000, 777);
}

/* More of them than there are buffers: none starves. */
static void many_at_once(void)
{
	struct cleat_scope *s;
	struct pair p[100];
	struct flow f[100];

	ok(cleat_scope_open(&s, 0));
	for (size_t i = 0; i < COUNT(p); i++) {
		fed_open(&p[i]);
		f[i] = (struct flow){ p[i].a, 3000, 1000 };
		ok(cleat_go(s, flow_out, &f[i], CLEAT_FOREVER));
	}
	ok(cleat_scope_wait(s, soon()));
	for (size_t i = 0; i < COUNT(p); i++)
		flow_in(p[i].b, 3000);
	for (size_t i = 0; i < COUNT(p); i++) {
		converse(&p[i], MANY);
		pair_close(&p[i]);
	}
	cleat_scope_close(s);
}

/* What was lent is copied before another message takes its place. */
static void borrowed(void)
{
	static char filler[MIB];
	struct cleat_scope *s;
	const void *data;
	struct flow f;
	struct pair p;
	char got[8];

	ok(cleat_scope_open(&s, 0));
	fed_open(&p);
	ok(cleat_send(p.a, "borrowed", 8, soon()));
	assert_int_equal(cleat_view(p.b, &data, soon()), 8);
	f = (struct flow){ p.a, 3000, 10 };
	ok(cleat_send(p.b, data, 8, soon()));
	expect(p.a, "borrowed");
	ok(cleat_go(s, flow_out, &f, CLEAT_FOREVER));
	ok(cleat_send(p.b, filler, 1, soon()));
	assert_int_equal(cleat_recv(p.a, got, 1, soon()), 1);
	flow_in(p.b, 3000);
	cleat_scope_close(s);
	pair_close(&p);
}

/* While its reader does not wait, neither a receive elsewhere nor what comes
 * meanwhile, for more connections than there are buffers, takes the place of
 * what was lent.
 */
static void viewed(void)
{
	struct pair p[70];
	const void *data;
	char got;

	for (size_t i = 0; i < COUNT(p); i++)
		fed_open(&p[i]);
	put(cleat_conn_fd(p[1].a), "1", 1);
	put(cleat_conn_fd(p[0].a), "0", 1);
	assert_int_equal(cleat_view(p[0].b, &data, soon()), 1);
	for (size_t i = 2; i < COUNT(p); i++)
		put(cleat_conn_fd(p[i].a), "x", 1);
	assert_int_equal(cleat_recv(p[1].b, &got, 1, soon()), 1);
	assert_int_equal(got, '1');
	pair_close(&p[2]); /* looks what else has come */
	assert_memory_equal(data, "0", 1);
	for (size_t i = 3; i < COUNT(p); i++)
		pair_close(&p[i]);
	pair_close(&p[0]);
	pair_close(&p[1]);
}

static struct pair outlived;

static void leave_it(void *arg)
{
	(void)arg;
	fed_open(&outlived);
	ok(cleat_send(outlived.a, "first", 5, soon()));
	ok(cleat_sleep(cleat_in(CLEAT_MSEC)));
	ok(cleat_send(outlived.a, "second", 6, soon()));
	ok(cleat_sleep(cleat_in(CLEAT_MSEC)));
}

/* The scheduler ends, and a plain thread reads on. */
static void read_on(void)
{
	ok(both_run(leave_it, NULL));
	ok(cleat_send(outlived.a, "third", 5, soon()));
	expect(outlived.b, "firstsecondthird");
	pair_close(&outlived);
}

static void view_elsewhere(void *arg)
{
	const void *data;

	assert_int_equal(cleat_view(arg, &data, 0), -ETIMEDOUT);
}

static void expect_elsewhere(void *arg)
{
	expect(arg, "one");
	expect(arg, "two");
}

/* The fiber waits for the offload, and meanwhile is at home. */
static void on_another_thread(void)
{
	struct pair p;

	fed_open(&p);
	ok(cleat_offload(view_elsewhere, p.b));
	converse(&p, MANY);
	ok(cleat_send(p.a, "one", 3, soon()));
	ok(cleat_sleep(cleat_in(CLEAT_MSEC)));
	ok(cleat_send(p.a, "two", 3, soon()));
	ok(cleat_offload(expect_elsewhere, p.b));
	assert_int_equal(cleat_conn_counts(p.b).received, 2 * MANY + 6);
	converse(&p, 2 * MANY);
	pair_close(&p);
}

static void close_elsewhere(void *arg)
{
	struct pair *p = arg;

	cleat_close(p->b);
	p->b = NULL;
}

/* Whether fed or polled, and with fibers that go on meanwhile. */
static void closed_on_another_thread(void)
{
	struct pair p, other;
	const void *data;

	for (int i = 0; i < 100; i++) {
		fed_open(&p);
		fed_open(&other);
		if (i % 2)
			ok(cleat_send(p.b, "x", 1, soon()));
		ok(cleat_send(other.a, "?", 1, soon()));
		ok(cleat_offload(close_elsewhere, &p));
		assert_int_equal(cleat_view(other.b, &data, soon()), 1);
		ok(cleat_offload(close_elsewhere, &other));
		pair_close(&p);
		pair_close(&other);
	}
}

static void hold_elsewhere(void *arg)
{
	struct pair *p = arg;
	const void *data;

	assert_int_equal(cleat_view(p->b, &data, soon()), 5);
	assert_memory_equal(data, "hello", 5);
	cleat_close(p->b);
}

static void on_another_scheduler(void *arg)
{
	ok(both_run(hold_elsewhere, arg));
}

/* From one scheduler to another, which is this one's guest for a while.  This
 * one has heard of what is there or, if it is fed, hears of it meanwhile.
 */
static void to_another_scheduler(void)
{
	for (int i = 0; i < 50; i++) {
		struct pollfd there = { .events = POLLIN };
		struct pair p;

		fed_open(&p);
		there.fd = cleat_conn_fd(p.b);
		ok(cleat_send(p.a, "hello", 5, soon()));
		assert_int_equal(poll(&there, 1, 20000), 1);
		if (i % 2 || both_backend() == CLEAT_BACKEND_EPOLL)
			ok(cleat_sleep(cleat_in(CLEAT_MSEC)));
		ok(cleat_offload(on_another_scheduler, &p));
		p.b = NULL;
		pair_close(&p);
	}
}

static void take_in(void *arg)
{
	const void *data;

	assert_int_equal(cleat_view(arg, &data, CLEAT_FOREVER), -ECANCELED);
}

static void cancelled(void)
{
	struct cleat_scope *s;
	const void *data;
	struct pair p;

	fed_open(&p);
	ok(cleat_scope_open(&s, 0));
	ok(cleat_go(s, take_in, p.b, CLEAT_FOREVER));
	ok(cleat_yield());
	cleat_scope_close(s);
	ok(cleat_send(p.a, "still", 5, soon()));
	assert_int_equal(cleat_view(p.b, &data, soon()), 5);
	assert_memory_equal(data, "still", 5);
	pair_close(&p);
}

/* Each is fed, and closed with something unread, at either end first.  The last
 * finds as many buffers as the first.
 */
static void closed(void)
{
	struct pair p;

	for (unsigned i = 0; i < 300; i++) {
		fed_open(&p);
		if (i & 1)
			ok(cleat_send(p.a, "unread", 6, soon()));
		if (i & 2)
			(void)cleat_sleep(cleat_in(CLEAT_USEC));
		if (i & 4) {
			cleat_close(p.a);
			p.a = NULL;
		}
		pair_close(&p);
	}
	fed_open(&p);
	converse(&p, 3);
	must_be_fed(&p);
	pair_close(&p);
}

/* As of any connection: what was received ahead is unread. */
static void closed_unread(void)
{
	struct pair p, other;
	const void *data;

	fed_open(&p);
	fed_open(&other);
	ok(cleat_send(p.a, "unread", 6, soon()));
	converse(&other, 1);
	cleat_close(p.b);
	p.b = NULL;
	assert_int_equal(cleat_view(p.a, &data, soon()), -ECONNRESET);
	pair_close(&p);
	pair_close(&other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(in_small_parts),
		BOTH(nothing_comes),
		BOTH(it_ends),
		BOTH(it_breaks),
		BOTH(it_breaks_before_the_answer),
		THREAD(it_broke_before),
		FIBER(floods),
		FIBER(many_at_once),
		FIBER(on_another_thread),
		FIBER(closed_on_another_thread),
		FIBER(to_another_scheduler),
		FIBER(borrowed),
		FIBER(viewed),
		THREAD(read_on),
		FIBER(cancelled),
		FIBER(it_is_idle),
		BOTH(closed),
		BOTH(closed_unread),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
