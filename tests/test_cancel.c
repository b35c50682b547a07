/* SPDX-License-Identifier: MIT */
/* Cancellation, in each call that waits. */
#include "fibers.h"

#include <cleat/chan.h>
#include <cleat/conn.h>
#include <cleat/dgram.h>
#include <cleat/frame.h>

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>

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

/* A call that fails says so, whatever failed before. */
static void note_cancelled(void *arg)
{
	struct cleat_addr a;

	(void)arg;
	assert_int_equal(cleat_sleep(CLEAT_FOREVER), -ECANCELED);
	assert_string_equal(cleat_why(), "sleep: canceled");
	assert_true(cleat_addr_parse(&a, "") < 0);
	assert_int_equal(cleat_yield(), -ECANCELED);
	assert_string_equal(cleat_why(), "yield: canceled");
	assert_true(cleat_addr_parse(&a, "") < 0);
	assert_int_equal(cleat_sleep(0), -ECANCELED);
	assert_string_equal(cleat_why(), "sleep: canceled");
}

static void cancelled_is_noted(void)
{
	struct cleat_scope *s = scope_open(1);

	go(s, note_cancelled, NULL);
	settle();
	cleat_scope_close(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FIBER(cancelled_while_it_waits),
		FIBER(cancelled_before),
		FIBER(cancelled_is_noted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
