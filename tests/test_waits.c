/* SPDX-License-Identifier: MIT */
/* Waits on a stream, and what ends them: deadlines, limits, cancellation,
 * another at the same end; and readers that are slow.
 */
#include "both.h"
#include "held.h"
#include "pair.h"

#include <cleat/chan.h>

#include <fcntl.h>

/* Slow readers. */

static void slow_reader(void)
{
	static char block[16 << 20];

	memset(block, 'x', sizeof(block));
	for (size_t k = 0; k < COUNT(kinds); k++) {
		struct cleat_conn *c;
		int fd = raw_open(&c, kinds[k]);
		long before = resident();
		cleat_time end = cleat_in(30 * CLEAT_MSEC);
		struct cleat_counts n;

		assert_int_equal(cleat_send(c, block, sizeof(block), end),
				 -ETIMEDOUT);
		assert_true(cleat_now() >= end);
		n = cleat_conn_counts(c);
		assert_in_range(n.sent, 1, sizeof(block) - 1);
		assert_int_equal(cleat_send(c, "x", 1, soon()), -EPIPE);
		assert_why_ends("broken pipe");
		assert_int_equal(
			cleat_sendv(c, &(struct iovec){ block, 1 }, 1, soon()),
			-EPIPE);
		assert_int_equal(cleat_conn_counts(c).sent, n.sent);
		assert_in_range(resident(), 0, before + SLACK);
		put(fd, "still", 5); /* the other direction lives */
		assert_recv(c, "still");
		close(fd);
		cleat_close(c);
	}
}

static void read_to_end(void *arg)
{
	static char block[65536];
	const int *fd = arg;

	while (recv(*fd, block, sizeof(block), 0) > 0)
		;
	assert_int_equal(shutdown(*fd, SHUT_WR), 0);
}

/* After a send that was cut short no goodbye makes it whole. */
static void finish_after_failure(void)
{
	static char block[16 << 20];

	for (size_t k = 0; k < COUNT(kinds); k++) {
		struct both_later l;
		struct cleat_conn *c;
		int fd = raw_open(&c, kinds[k]);

		assert_int_equal(cleat_send(c, block, sizeof(block), 0),
				 -ETIMEDOUT);
		both_later(&l, read_to_end, &fd);
		assert_int_equal(cleat_finish(c, soon()), -EPIPE);
		both_join(&l);
		cleat_close(c);
		close(fd);
	}
}

static void flood(void *arg)
{
	static const char block[65536] = { 'f' };
	const int *fd = arg;

	while (send(*fd, block, sizeof(block), MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
		(void)sched_yield();
}

/* An echo to somebody who talks and does not listen. */
static void echo_to_the_deaf(void)
{
	for (size_t k = 0; k < COUNT(kinds); k++) {
		struct both_later l;
		struct cleat_conn *c;
		int fd = raw_open(&c, kinds[k]), err = 0;
		long before = resident();

		both_later(&l, flood, &fd);
		while (err == 0) {
			const void *data;
			ssize_t n =
				cleat_view(c, &data, cleat_in(50 * CLEAT_MSEC));

			err = n < 0 ? (int)n
				    : cleat_send(c, data, (size_t)n,
						 cleat_in(50 * CLEAT_MSEC));
		}
		assert_int_equal(err, -ETIMEDOUT);
		assert_in_range(resident(), 0, before + SLACK);
		both_join(&l);
		cleat_close(c);
		close(fd);
	}
}

/* Deadlines. */

static const struct cleat_frame frame;

static ssize_t do_recv(struct cleat_conn *c, cleat_time until)
{
	return cleat_recv(c, (char[8]){ 0 }, 8, until);
}

static ssize_t do_view(struct cleat_conn *c, cleat_time until)
{
	const void *data;

	return cleat_view(c, &data, until);
}

static ssize_t do_exactly(struct cleat_conn *c, cleat_time until)
{
	return cleat_recv_exactly(c, (char[8]){ 0 }, 8, until);
}

static ssize_t do_until(struct cleat_conn *c, cleat_time until)
{
	return cleat_recv_until(c, (char[8]){ 0 }, 8, "\n", 1, until);
}

static ssize_t do_recv_msg(struct cleat_conn *c, cleat_time until)
{
	return cleat_recv_msg(c, (char[8]){ 0 }, 8, &frame, until);
}

static ssize_t do_take_msg(struct cleat_conn *c, cleat_time until)
{
	void *data;

	return cleat_take_msg(c, &data, &frame, until);
}

static ssize_t do_finish(struct cleat_conn *c, cleat_time until)
{
	return cleat_finish(c, until);
}

static ssize_t do_send(struct cleat_conn *c, cleat_time until)
{
	return cleat_send(c, "12345678", 8, until);
}

static ssize_t do_sendv(struct cleat_conn *c, cleat_time until)
{
	return cleat_sendv(c, &(struct iovec){ (char[8]){ 0 }, 8 }, 1, until);
}

static ssize_t do_send_msg(struct cleat_conn *c, cleat_time until)
{
	return cleat_send_msg(c, "12345678", 8, &frame, until);
}

typedef ssize_t blocking(struct cleat_conn *c, cleat_time until);

static blocking *const reads[] = { do_recv,  do_view,     do_exactly,
				   do_until, do_recv_msg, do_take_msg,
				   do_finish };
static blocking *const writes[] = { do_send, do_sendv, do_send_msg };

static void assert_times_out(blocking *call, struct cleat_conn *c)
{
	cleat_time end = cleat_in(15 * CLEAT_MSEC);

	assert_int_equal(call(c, 0), -ETIMEDOUT);
	assert_int_equal(call(c, cleat_in(-CLEAT_SEC)), -ETIMEDOUT);
	assert_int_equal(call(c, INT64_MIN), -ETIMEDOUT);
	assert_int_equal(call(c, end), -ETIMEDOUT);
	assert_true(cleat_now() >= end);
	assert_why_ends("timed out");
}

static void reads_time_out(void)
{
	for (size_t k = 0; k < COUNT(kinds); k++) {
		for (size_t i = 0; i < COUNT(reads); i++) {
			struct pair p;

			pair_open(&p, kinds[k]);
			assert_times_out(reads[i], p.b);
			ok(cleat_send(p.a, "\0\0\0\4abcd", 8, soon()));
			assert_recv(p.b, "");
			assert_int_equal(
				cleat_recv_exactly(p.b, (char[8]){ 0 }, 8, 0),
				8); /* a look is enough for what is there */
			assert_times_out(reads[i], p.b);
			pair_close(&p);
		}
	}
}

static void writes_time_out(void)
{
	for (size_t k = 0; k < COUNT(kinds); k++) {
		for (size_t i = 0; i < COUNT(writes); i++) {
			cleat_time end = 0;
			struct pair p;

			pair_open(&p, kinds[k]);
			ok(writes[i](p.a, 0)); /* there is room */
			ok(writes[i](p.a, INT64_MIN));
			fill_up(p.a);
			if (i != 0)
				end = cleat_in(15 * CLEAT_MSEC);
			assert_int_equal(writes[i](p.a, end), -ETIMEDOUT);
			assert_true(cleat_now() >= end);
			assert_int_equal(writes[i](p.a, soon()), -EPIPE);
			pair_close(&p);
		}
	}
}

static void accept_times_out(void)
{
	for (size_t k = 0; k < COUNT(kinds); k++) {
		cleat_time end = cleat_in(15 * CLEAT_MSEC);
		struct cleat_conn *c = NULL, *peer;
		struct cleat_listener *l;

		ok(cleat_listen(&l, kinds[k], NULL));
		assert_int_equal(cleat_accept(l, &c, 0), -ETIMEDOUT);
		assert_int_equal(cleat_accept(l, &c, INT64_MIN), -ETIMEDOUT);
		assert_int_equal(cleat_accept(l, &c, end), -ETIMEDOUT);
		assert_true(cleat_now() >= end);
		assert_null(c);
		connect_to(&peer, l);
		ok(cleat_accept(l, &c, 0));
		cleat_close(c);
		cleat_close(peer);
		cleat_unlisten(l);
	}
}

static void limits(void)
{
	cleat_time end;
	struct pair p;

	pair_open(&p, kinds[0]);
	cleat_conn_limit(p.b, 15 * CLEAT_MSEC, CLEAT_FOREVER);
	end = cleat_in(15 * CLEAT_MSEC);
	assert_int_equal(do_recv(p.b, CLEAT_FOREVER), -ETIMEDOUT);
	assert_true(cleat_now() >= end);
	ok(cleat_send(p.a, "x", 1, soon()));
	assert_int_equal(do_recv(p.b, CLEAT_FOREVER), 1);
	end = cleat_in(15 * CLEAT_MSEC);
	cleat_conn_limit(p.b, 0, end);
	assert_int_equal(do_recv(p.b, CLEAT_FOREVER), -ETIMEDOUT);
	assert_true(cleat_now() >= end);
	fill_up(p.b);
	assert_int_equal(do_send(p.b, CLEAT_FOREVER), -ETIMEDOUT);
	cleat_conn_limit(p.b, 0, CLEAT_FOREVER); /* none, again */
	ok(cleat_send(p.a, "x", 1, soon()));
	assert_int_equal(do_recv(p.b, CLEAT_FOREVER), 1);
	pair_close(&p);
}

/* Cancellation, and two at one end: fibers alone. */

struct task {
	blocking *call;
	struct cleat_conn *c;
	struct cleat_listener *l;
	ssize_t first, later;
	int raw;
};

static void task_main(void *arg)
{
	struct task *t = arg;

	t->first = t->call(t->c, soon());
	t->later = t->call(t->c, soon());
}

static void cancel_one(blocking *call, struct cleat_conn *c, bool early)
{
	struct task t = { .call = call, .c = c };
	struct cleat_scope *s;

	ok(cleat_scope_open(&s, 0));
	ok(cleat_go(s, task_main, &t, soon()));
	for (int i = 0; i < 3 && !early; i++)
		ok(cleat_yield());
	cleat_scope_close(s);
	assert_int_equal(t.first, -ECANCELED);
	if (call == do_send || call == do_sendv || call == do_send_msg)
		assert_true(t.later == -ECANCELED || t.later == -EPIPE);
	else
		assert_int_equal(t.later, -ECANCELED);
}

static void cancelled(void)
{
	for (size_t k = 0; k < COUNT(kinds); k++) {
		for (int early = 0; early < 2; early++) {
			struct pair p;

			pair_open(&p, kinds[k]);
			for (size_t i = 0; i < COUNT(reads); i++)
				cancel_one(reads[i], p.b, early);
			pair_close(&p);
			for (size_t i = 0; i < COUNT(writes); i++) {
				pair_open(&p, kinds[k]);
				if (!early)
					fill_up(p.a);
				cancel_one(writes[i], p.a, early);
				pair_close(&p);
			}
		}
	}
}

static void accept_task(void *arg)
{
	struct task *t = arg;
	struct cleat_conn *c;

	t->first = cleat_accept(t->l, &c, soon());
	t->later = cleat_accept(t->l, &c, soon());
}

static void cancelled_accept(void)
{
	for (size_t k = 0; k < COUNT(kinds); k++) {
		struct task t = { 0 };
		struct cleat_conn *a, *b;
		struct cleat_scope *s;

		ok(cleat_listen(&t.l, kinds[k], NULL));
		ok(cleat_scope_open(&s, 0));
		ok(cleat_go(s, accept_task, &t, soon()));
		for (int i = 0; i < 3; i++)
			ok(cleat_yield());
		cleat_scope_close(s);
		assert_int_equal(t.first, -ECANCELED);
		assert_int_equal(t.later, -ECANCELED);
		connect_to(&a, t.l); /* the listener is as good as ever */
		ok(cleat_accept(t.l, &b, soon()));
		cleat_close(a);
		cleat_close(b);
		cleat_unlisten(t.l);
	}
}

/* Also what would not have to wait is not done for one who is cancelled. */
static void cancelled_with_data(void)
{
	for (size_t i = 0; i < COUNT(reads) - 1; i++) {
		struct pair p;

		pair_open(&p, kinds[0]);
		ok(cleat_send(p.a, "\0\0\0\1abc\n", 8, soon()));
		cancel_one(reads[i], p.b, true);
		assert_int_equal(
			cleat_recv_exactly(p.b, (char[8]){ 0 }, 8, soon()), 8);
		pair_close(&p);
	}
}

static void once_task(void *arg)
{
	struct task *t = arg;

	t->first = t->call(t->c, soon());
}

static void second_reader(void)
{
	for (size_t i = 0; i < COUNT(reads); i++) {
		struct cleat_scope *s;
		struct task t = { .call = do_exactly };
		struct pair p;

		pair_open(&p, kinds[0]);
		t.c = p.b;
		ok(cleat_scope_open(&s, 0));
		ok(cleat_go(s, once_task, &t, soon()));
		ok(cleat_yield());
		assert_int_equal(reads[i](p.b, soon()), -EBUSY);
		assert_why_ends("in use by another fiber or thread");
		ok(cleat_send(p.a, "12345678", 8, soon()));
		ok(cleat_scope_wait(s, soon()));
		assert_int_equal(t.first, 8);
		cleat_scope_close(s);
		pair_close(&p);
	}
}

static char large[6 << 20];

static ssize_t do_large(struct cleat_conn *c, cleat_time until)
{
	return cleat_send(c, large, sizeof(large), until);
}

/* The second writer is told, and the first not disturbed: neither in what it
 * is sending, nor later.
 */
static void second_writer(void)
{
	for (size_t i = 0; i < COUNT(writes); i++) {
		struct cleat_scope *s;
		struct task t = { .call = do_large };
		struct pair p;
		size_t got = 0;

		memset(large, 'L', sizeof(large));
		pair_open(&p, kinds[0]);
		t.c = p.a;
		ok(cleat_scope_open(&s, 0));
		ok(cleat_go(s, once_task, &t, soon()));
		ok(cleat_yield());
		while (got < sizeof(large)) {
			const void *data;
			ssize_t n = cleat_view(p.b, &data, soon());

			ok(n);
			for (ssize_t k = 0; k < n; k++)
				assert_int_equal(((const char *)data)[k], 'L');
			got += (size_t)n;
			if (got < sizeof(large) / 4)
				assert_int_equal(writes[i](p.a, soon()),
						 -EBUSY);
		}
		ok(cleat_scope_wait(s, soon()));
		assert_int_equal(t.first, 0);
		ok(cleat_send(p.a, "fine", 4, soon()));
		assert_recv(p.b, "fine");
		cleat_scope_close(s);
		pair_close(&p);
	}
}

static void try_second(void *arg)
{
	struct task *t = arg;

	t->first = do_recv(t->c, soon());
	put(t->raw, "12345678", 8);
}

/* The same between two threads. */
static void second_thread(void)
{
	struct both_later l;
	struct task t;

	t.raw = raw_open(&t.c, kinds[0]);
	both_later(&l, try_second, &t);
	assert_int_equal(do_exactly(t.c, soon()), 8);
	both_join(&l);
	assert_int_equal(t.first, -EBUSY);
	cleat_close(t.c);
	close(t.raw);
}

/* A wake that comes while a connection is closed. */

static void take(void *arg)
{
	char c;

	ok(cleat_chan_recv(arg, &c, soon()));
}

static void *give(void *arg)
{
	ok(cleat_chan_send(arg, "x", 0));
	return NULL;
}

static void woken_while_one_closes(void)
{
	struct cleat_chan *ch;
	struct cleat_scope *s;
	struct cleat_conn *c;
	cleat_time start;
	pthread_t thread;
	int fd = raw_open(&c, kinds[0]);
	char x;

	ok(cleat_chan_open(&ch, 1, 1));
	ok(cleat_scope_open(&s, 0));
	assert_int_equal(cleat_recv(c, &x, 1, cleat_in(CLEAT_MSEC)),
			 -ETIMEDOUT);
	ok(cleat_go(s, take, ch, CLEAT_FOREVER));
	ok(cleat_yield());
	assert_int_equal(pthread_create(&thread, NULL, give, ch), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	start = cleat_now();
	cleat_close(c);
	ok(cleat_scope_wait(s, CLEAT_FOREVER));
	assert_true(cleat_now() - start < 10 * CLEAT_SEC);
	cleat_scope_close(s);
	cleat_chan_close(ch);
	(void)close(fd);
}

/* One connection, on a fiber, then on the thread, then on another's fiber. */

static void exchange(void *arg)
{
	struct pair *p = arg;

	assert_int_equal(cleat_recv(p->b, (char[1]){ 0 }, 1, 0), -ETIMEDOUT);
	ok(cleat_send(p->a, "once", 4, soon()));
	assert_recv(p->b, "once");
}

static void moves_between_runs(void)
{
	for (size_t k = 0; k < COUNT(kinds); k++) {
		struct pair p;

		pair_open(&p, kinds[k]);
		exchange(&p);
		ok(both_run(exchange, &p));
		exchange(&p);
		ok(both_run(exchange, &p));
		pair_close(&p);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(slow_reader),
		BOTH(finish_after_failure),
		BOTH(echo_to_the_deaf),
		BOTH(reads_time_out),
		BOTH(writes_time_out),
		BOTH(accept_times_out),
		BOTH(limits),
		FIBER(cancelled),
		FIBER(cancelled_accept),
		FIBER(cancelled_with_data),
		FIBER(woken_while_one_closes),
		FIBER(second_reader),
		FIBER(second_writer),
		THREAD(second_thread),
		THREAD(moves_between_runs),
	};

	make_names();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
