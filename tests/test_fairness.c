/* SPDX-License-Identifier: MIT */
/* Fibers take turns, whatever each of them is at. */
#include "fibers.h"

#include <cleat/chan.h>
#include <cleat/conn.h>
#include <cleat/dgram.h>
#include <cleat/frame.h>

#include <fcntl.h>
#include <sys/socket.h>

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		FIBER(yields_take_turns),
		FIBER(nobody_starves),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
