/* SPDX-License-Identifier: MIT */
/* Channels between fibers, between threads, and across. */
#include "both.h"

#include <cleat/chan.h>

#include <errno.h>
#include <stdatomic.h>

static struct cleat_chan *chan_open(size_t size, size_t capacity)
{
	struct cleat_chan *ch = NULL;

	ok(cleat_chan_open(&ch, size, capacity));
	assert_non_null(ch);
	return ch;
}

static void send_int(struct cleat_chan *ch, int i)
{
	ok(cleat_chan_send(ch, &i, soon()));
}

static int recv_int(struct cleat_chan *ch)
{
	int i = -1;

	ok(cleat_chan_recv(ch, &i, soon()));
	return i;
}

static void bad_sizes(void)
{
	struct cleat_chan *ch = NULL;

	assert_int_equal(cleat_chan_open(&ch, 0, 1), -EINVAL);
	assert_int_equal(cleat_chan_open(&ch, 1, 0), -EINVAL);
	assert_int_equal(cleat_chan_open(&ch, SIZE_MAX, 2), -ENOMEM);
	assert_int_equal(cleat_chan_open(&ch, SIZE_MAX - 9, 1), -ENOMEM);
	assert_null(ch);
	cleat_chan_close(NULL);
}

static void first_in_first_out(void)
{
	struct cleat_chan *ch = chan_open(sizeof(int), 5);
	int in = 0, out = 0;

	/* The ends of the ring are passed at every place. */
	for (int round = 0; round < 20; round++) {
		for (int i = 0; i < 1 + round % 5; i++)
			send_int(ch, in++);
		while (out < in)
			assert_int_equal(recv_int(ch), out++);
	}
	cleat_chan_close(ch);
}

static void bounded(void)
{
	struct cleat_chan *ch = chan_open(sizeof(int), 3);
	cleat_time until;
	int i = 7;

	for (int k = 0; k < 3; k++)
		assert_int_equal(cleat_chan_send(ch, &k, 0), 0);
	assert_int_equal(cleat_chan_send(ch, &i, 0), -ETIMEDOUT);
	until = cleat_in(3 * CLEAT_MSEC);
	assert_int_equal(cleat_chan_send(ch, &i, until), -ETIMEDOUT);
	assert_true(cleat_now() >= until);
	for (int k = 0; k < 3; k++)
		assert_int_equal(recv_int(ch), k);
	until = cleat_in(3 * CLEAT_MSEC);
	assert_int_equal(cleat_chan_recv(ch, &i, until), -ETIMEDOUT);
	assert_true(cleat_now() >= until);
	assert_int_equal(cleat_chan_recv(ch, &i, 0), -ETIMEDOUT);
	assert_int_equal(cleat_chan_recv(ch, &i, cleat_in(-1)), -ETIMEDOUT);
	assert_int_equal(cleat_chan_recv(ch, &i, INT64_MIN), -ETIMEDOUT);
	assert_int_equal(i, 7); /* untouched */
	cleat_chan_close(ch);
}

static void large_items(void)
{
	struct cleat_chan *ch = chan_open(70001, 2);
	unsigned char *a = malloc(70001), *b = malloc(70001);

	assert_true(a && b);
	for (int i = 0; i < 3; i++) {
		memset(a, 'a' + i, 70001);
		ok(cleat_chan_send(ch, a, 0));
		ok(cleat_chan_recv(ch, b, 0));
		assert_memory_equal(a, b, 70001);
	}
	ok(cleat_chan_send(ch, a, 0)); /* dropped by close */
	cleat_chan_close(ch);
	free(a);
	free(b);
}

static void finished(void)
{
	struct cleat_chan *ch = chan_open(sizeof(int), 4);
	int i = 9;

	send_int(ch, 1);
	send_int(ch, 2);
	cleat_chan_finish(ch);
	cleat_chan_finish(ch);
	assert_int_equal(cleat_chan_send(ch, &i, soon()), -EPIPE);
	assert_int_equal(recv_int(ch), 1);
	assert_int_equal(recv_int(ch), 2);
	assert_int_equal(cleat_chan_recv(ch, &i, soon()), CLEAT_EEOF);
	assert_int_equal(cleat_chan_recv(ch, &i, 0), CLEAT_EEOF);
	assert_int_equal(i, 9);
	cleat_chan_close(ch);
}

/* What another thread does once the caller sleeps. */

static void later_send(void *arg)
{
	send_int(arg, 42);
}

static void later_recv(void *arg)
{
	assert_int_equal(recv_int(arg), 1);
}

static void later_finish(void *arg)
{
	cleat_chan_finish(arg);
}

static void woken_from_outside(void)
{
	struct cleat_chan *ch = chan_open(sizeof(int), 1);
	struct both_later later;
	int i = 2;

	both_later(&later, later_send, ch);
	assert_int_equal(recv_int(ch), 42);
	both_join(&later);

	send_int(ch, 1);
	both_later(&later, later_recv, ch);
	send_int(ch, 2);
	both_join(&later);
	assert_int_equal(recv_int(ch), 2);

	both_later(&later, later_finish, ch);
	assert_int_equal(cleat_chan_recv(ch, &i, soon()), CLEAT_EEOF);
	both_join(&later);
	cleat_chan_close(ch);
}

static void sender_woken_by_finish(void)
{
	struct cleat_chan *ch = chan_open(sizeof(int), 1);
	struct both_later later;
	int i = 2;

	send_int(ch, 1);
	both_later(&later, later_finish, ch);
	assert_int_equal(cleat_chan_send(ch, &i, soon()), -EPIPE);
	both_join(&later);
	assert_int_equal(recv_int(ch), 1);
	cleat_chan_close(ch);
}

/* Cancellation */

struct taker {
	struct cleat_chan *ch;
	int result, item;
};

static void take(void *arg)
{
	struct taker *t = arg;

	t->result = cleat_chan_recv(t->ch, &t->item, CLEAT_FOREVER);
}

static void put(void *arg)
{
	struct taker *t = arg;

	t->result = cleat_chan_send(t->ch, &t->item, CLEAT_FOREVER);
}

static void one_of_several_is_cancelled(void (*fn)(void *), int full)
{
	struct cleat_chan *ch = chan_open(sizeof(int), 1);
	struct taker t[3] = { { ch, 1, 10 }, { ch, 1, 11 }, { ch, 1, 12 } };
	struct cleat_scope *s, *ended;

	if (full)
		send_int(ch, 9);
	ok(cleat_scope_open(&s, 0));
	ok(cleat_scope_open(&ended, 0));
	ok(cleat_go(ended, fn, &t[0], soon()));
	ok(cleat_go(s, fn, &t[1], soon()));
	ok(cleat_go(ended, fn, &t[2], soon()));
	ok(cleat_yield());
	cleat_scope_close(ended);
	assert_int_equal(t[0].result, -ECANCELED);
	assert_int_equal(t[2].result, -ECANCELED);
	assert_int_equal(t[1].result, 1);
	if (full)
		assert_int_equal(recv_int(ch), 9);
	else
		send_int(ch, 77);
	ok(cleat_scope_wait(s, soon()));
	assert_int_equal(t[1].result, 0);
	if (full)
		assert_int_equal(recv_int(ch), 11);
	else
		assert_int_equal(t[1].item, 77);
	cleat_scope_close(s);
	cleat_chan_close(ch);
}

static void cancelled_while_waiting(void)
{
	one_of_several_is_cancelled(take, 0);
	one_of_several_is_cancelled(put, 1);
}

/* An item for one that is cancelled in the same breath is not lost. */
static void cancelled_after_the_wake(void)
{
	struct cleat_chan *ch = chan_open(sizeof(int), 1);
	struct taker t = { ch, 1, 0 };
	struct cleat_scope *s;
	int i;

	ok(cleat_scope_open(&s, 0));
	ok(cleat_go(s, take, &t, soon()));
	ok(cleat_yield());
	send_int(ch, 5);
	cleat_scope_close(s);
	if (t.result == 0)
		assert_int_equal(t.item, 5);
	else
		assert_int_equal(recv_int(ch), 5);
	assert_int_equal(cleat_chan_recv(ch, &i, 0), -ETIMEDOUT);
	cleat_chan_close(ch);
}

/* Stress: every item arrives once, and in the order of its producer, whoever
 * produces and consumes, with deadlines that race the wakes.
 */
enum {
	PRODUCERS = 4,
	CONSUMERS = 3,
	ITEMS = 1500
};

struct item {
	int producer, n;
};

struct stress {
	struct cleat_chan *ch;
	cleat_time end;
	atomic_int next_producer, producing, received[PRODUCERS];
	atomic_long timeouts;
};

/* From "at once" to a few times what a wake takes. */
static cleat_time soon_or_never(struct stress *st, unsigned *seed)
{
	*seed = *seed * 1103515245 + 12345;
	if (cleat_now() > st->end)
		fail_msg("an item or a wake is lost");
	return *seed >> 28 == 0 ? 0 : cleat_in((*seed >> 8) % 60000);
}

static void produce(void *arg)
{
	struct stress *st = arg;
	struct item it = { .producer =
				   atomic_fetch_add(&st->next_producer, 1) };
	unsigned seed = (unsigned)it.producer;

	for (it.n = 0; it.n < ITEMS;) {
		int err =
			cleat_chan_send(st->ch, &it, soon_or_never(st, &seed));

		if (err == 0)
			it.n++;
		else if (err == -ETIMEDOUT)
			atomic_fetch_add(&st->timeouts, 1);
		else
			ok(err);
	}
	if (atomic_fetch_sub(&st->producing, 1) == 1)
		cleat_chan_finish(st->ch);
}

static void consume(void *arg)
{
	struct stress *st = arg;
	int last[PRODUCERS], err = 0;
	unsigned seed = 77;
	struct item it;

	for (int i = 0; i < PRODUCERS; i++)
		last[i] = -1;
	while (err != CLEAT_EEOF) {
		err = cleat_chan_recv(st->ch, &it, soon_or_never(st, &seed));
		if (err == -ETIMEDOUT)
			atomic_fetch_add(&st->timeouts, 1);
		else if (err != CLEAT_EEOF)
			ok(err);
		if (err < 0)
			continue;
		assert_true(it.n > last[it.producer]);
		last[it.producer] = it.n;
		atomic_fetch_add(&st->received[it.producer], 1);
	}
}

/* Some threads, each with some fibers or with none. */
struct crew {
	struct stress *st;
	void (*fn)(void *);
	int fibers;
	pthread_t thread;
};

static void crew_fibers(void *arg)
{
	const struct crew *c = arg;
	struct cleat_scope *s;

	ok(cleat_scope_open(&s, 0));
	for (int i = 0; i < c->fibers; i++)
		ok(cleat_go(s, c->fn, c->st, soon()));
	ok(cleat_scope_wait(s, CLEAT_FOREVER));
	cleat_scope_close(s);
}

static void *crew_main(void *arg)
{
	struct crew *c = arg;

	if (c->fibers > 0)
		ok(both_run(crew_fibers, c));
	else
		c->fn(c->st);
	return NULL;
}

static void crew_start(struct crew *c)
{
	assert_int_equal(pthread_create(&c->thread, NULL, crew_main, c), 0);
}

static unsigned crew_make(struct crew *c, struct stress *st, int n,
			  void (*fn)(void *), int fibers)
{
	unsigned threads = fibers ? 1 : (unsigned)n;

	for (unsigned i = 0; i < threads; i++) {
		c[i] = (struct crew){ .st = st,
				      .fn = fn,
				      .fibers = fibers ? n : 0 };
	}
	return threads;
}

static void stress(size_t capacity, int producer_fibers, int consumer_fibers)
{
	struct stress st = { .end = cleat_in(50 * CLEAT_SEC),
			     .producing = PRODUCERS };
	struct crew c[PRODUCERS + CONSUMERS];
	unsigned n;

	st.ch = chan_open(sizeof(struct item), capacity);
	n = crew_make(c, &st, PRODUCERS, produce, producer_fibers);
	n += crew_make(c + n, &st, CONSUMERS, consume, consumer_fibers);
	for (unsigned i = 0; i < n; i++)
		crew_start(&c[i]);
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(pthread_join(c[i].thread, NULL), 0);
	for (int i = 0; i < PRODUCERS; i++)
		assert_int_equal(atomic_load(&st.received[i]), ITEMS);
	cleat_chan_close(st.ch);
}

static void threads_to_threads(void)
{
	stress(1, 0, 0);
	stress(7, 0, 0);
}

static void threads_to_fibers(void)
{
	stress(1, 0, 1);
	stress(7, 0, 1);
}

static void fibers_to_threads(void)
{
	stress(1, 1, 0);
	stress(7, 1, 0);
}

static void across_two_schedulers(void)
{
	stress(1, 1, 1);
	stress(7, 1, 1);
}

static void in_one_scheduler(void)
{
	struct stress st = { .end = soon(), .producing = PRODUCERS };
	struct cleat_scope *s;

	st.ch = chan_open(sizeof(struct item), 2);
	ok(cleat_scope_open(&s, 0));
	for (int i = 0; i < PRODUCERS; i++)
		ok(cleat_go(s, produce, &st, soon()));
	for (int i = 0; i < CONSUMERS; i++)
		ok(cleat_go(s, consume, &st, soon()));
	ok(cleat_scope_wait(s, CLEAT_FOREVER));
	cleat_scope_close(s);
	for (int i = 0; i < PRODUCERS; i++)
		assert_int_equal(atomic_load(&st.received[i]), ITEMS);
	cleat_chan_close(st.ch);
}

/* Without deadlines: whoever misses one wake stays for ever. */
struct rally {
	struct cleat_chan *there, *back;
};

static void *return_ball(void *arg)
{
	const struct rally *r = arg;
	int i;

	while (cleat_chan_recv(r->there, &i, CLEAT_FOREVER) == 0)
		ok(cleat_chan_send(r->back, &i, CLEAT_FOREVER));
	return NULL;
}

static void rally_fiber(void *arg)
{
	(void)return_ball(arg);
}

static void *return_from_fiber(void *arg)
{
	ok(both_run(rally_fiber, arg));
	return NULL;
}

static void rally(void *(*partner)(void *))
{
	struct rally r = { chan_open(sizeof(int), 1),
			   chan_open(sizeof(int), 1) };
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, partner, &r), 0);
	for (int i = 0; i < 3000; i++) {
		send_int(r.there, i);
		assert_int_equal(recv_int(r.back), i);
	}
	cleat_chan_finish(r.there);
	assert_int_equal(pthread_join(thread, NULL), 0);
	cleat_chan_close(r.there);
	cleat_chan_close(r.back);
}

static void ping_pong_with_a_thread(void)
{
	rally(return_ball);
}

static void ping_pong_with_a_scheduler(void)
{
	rally(return_from_fiber);
}

/* The receiver may close as soon as it has the last item, while the sender is
 * still on its way out.
 */
struct answer {
	struct cleat_chan *ch;
	int value;
};

static void *give_answer(void *arg)
{
	const struct answer *a = arg;

	send_int(a->ch, a->value);
	return NULL;
}

static void closed_by_the_receiver(void)
{
	for (int i = 0; i < 200; i++) {
		struct answer a = { chan_open(sizeof(int), 1), i };
		pthread_t thread;

		assert_int_equal(pthread_create(&thread, NULL, give_answer, &a),
				 0);
		assert_int_equal(recv_int(a.ch), i);
		cleat_chan_close(a.ch);
		assert_int_equal(pthread_join(thread, NULL), 0);
	}
}

/* A scheduler may end as soon as its last fiber has been woken from outside. */
static void recv_answer(void *arg)
{
	const struct answer *a = arg;

	assert_int_equal(recv_int(a->ch), a->value);
}

static void scheduler_ends_at_the_wake(void)
{
	for (int i = 0; i < 200; i++) {
		struct answer a = { chan_open(sizeof(int), 1), i };
		pthread_t thread;

		assert_int_equal(pthread_create(&thread, NULL, give_answer, &a),
				 0);
		ok(both_run(recv_answer, &a));
		assert_int_equal(pthread_join(thread, NULL), 0);
		cleat_chan_close(a.ch);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(bad_sizes),
		BOTH(first_in_first_out),
		BOTH(bounded),
		BOTH(large_items),
		BOTH(finished),
		BOTH(woken_from_outside),
		BOTH(sender_woken_by_finish),
		FIBER(cancelled_while_waiting),
		FIBER(cancelled_after_the_wake),
		THREAD(threads_to_threads),
		THREAD(threads_to_fibers),
		THREAD(fibers_to_threads),
		THREAD(across_two_schedulers),
		FIBER(in_one_scheduler),
		BOTH(ping_pong_with_a_thread),
		BOTH(ping_pong_with_a_scheduler),
		BOTH(closed_by_the_receiver),
		THREAD(scheduler_ends_at_the_wake),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
