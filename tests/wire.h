/* SPDX-License-Identifier: MIT */
/* A connection whose far end is a raw descriptor, so that what is on the wire
 * is in the test's hands; and tests that are given one, over unix and TCP, on a
 * plain thread and on a fiber.
 */
#ifndef TESTS_WIRE_H
#define TESTS_WIRE_H

#include "both.h"
#include "pair.h"

#include <netinet/tcp.h>

struct wire {
	struct cleat_conn *c;
	int raw; /* the far end; -1 once it is closed */
	bool tcp;
};

static inline int wire_open_tcp(struct cleat_conn **c)
{
	int fd = raw_open(c, "127.0.0.1:0"), on = 1;

	assert_int_equal(
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)), 0);
	return fd;
}

static inline int wire_open_unix(struct cleat_conn **c)
{
	int fd[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd),
			 0);
	ok(cleat_adopt(c, fd[0]));
	return fd[1];
}

static inline void wire_open(struct wire *w, bool tcp)
{
	w->raw = tcp ? wire_open_tcp(&w->c) : wire_open_unix(&w->c);
	w->tcp = tcp;
}

static inline void wire_close(struct wire *w)
{
	cleat_close(w->c);
	if (w->raw >= 0)
		close(w->raw);
}

static inline void end(const struct wire *w)
{
	assert_int_equal(shutdown(w->raw, SHUT_WR), 0);
}

/* Sends from a thread of its own, each piece only once the last is read. */
struct sender {
	pthread_t thread;
	const struct wire *w;
	const char *data;
	size_t len, piece; /* 0: all at once */
};

static inline void *sender_main(void *arg)
{
	struct sender *s = arg;
	int unread;

	for (size_t at = 0, n; at < s->len; at += n) {
		n = s->piece && s->piece < s->len - at ? s->piece : s->len - at;
		put(s->w->raw, s->data + at, n);
		do
			sched_yield();
		while (s->piece &&
		       ioctl(cleat_conn_fd(s->w->c), FIONREAD, &unread) == 0 &&
		       unread > 0);
	}
	return NULL;
}

static inline void sender_start(struct sender *s)
{
	assert_int_equal(pthread_create(&s->thread, NULL, sender_main, s), 0);
}

static inline void sender_join(struct sender *s)
{
	assert_int_equal(pthread_join(s->thread, NULL), 0);
}

/* LEN bytes and a NUL, for the caller to free. */
static inline char *pattern(size_t len)
{
	char *p = malloc(len + 1);

	assert_non_null(p);
	for (size_t i = 0; i < len; i++)
		p[i] = (char)(i * 7 + i / 251);
	p[len] = '\0';
	return p;
}

/* Bytes kept by a call that failed are what the next call reads. */
static inline void assert_next(const struct wire *w, const char *want)
{
	char got[256];
	size_t len = strlen(want);

	assert_int_equal(cleat_recv(w->c, got, sizeof(got), soon()), len);
	assert_memory_equal(got, want, len);
}

static inline void assert_at_end(const struct wire *w)
{
	char got[4];
	void *data = got;

	assert_int_equal(cleat_recv_exactly(w->c, got, 4, soon()), CLEAT_EEOF);
	assert_int_equal(cleat_recv_until(w->c, got, 4, "\n", 1, soon()),
			 CLEAT_EEOF);
	assert_int_equal(cleat_recv_msg(w->c, got, 4, NULL, soon()),
			 CLEAT_EEOF);
	assert_int_equal(cleat_take_msg(w->c, &data, NULL, soon()), CLEAT_EEOF);
	assert_ptr_equal(data, got);
	assert_int_equal(cleat_recv(w->c, got, 4, soon()), 0);
}

/* A test, as its table entry names it. */
struct wire_call {
	void (*fn)(struct wire *w);
	bool tcp;
};

static inline void wire_call(void *arg)
{
	const struct wire_call *call = arg;
	struct wire w;

	wire_open(&w, call->tcp);
	call->fn(&w);
	wire_close(&w);
}

static inline void wire_test(void *fn, bool tcp, bool fiber)
{
	struct wire_call call = { (void (*)(struct wire *))(uintptr_t)fn, tcp };
	struct both_left before = both_count();

	if (fiber)
		ok(both_run(wire_call, &call));
	else
		wire_call(&call);
	both_assert_nothing_left(before);
}

static inline void on_unix_thread(void **state)
{
	wire_test(*state, false, false);
}

static inline void on_tcp_thread(void **state)
{
	wire_test(*state, true, false);
}

static inline void on_unix_fiber(void **state)
{
	wire_test(*state, false, true);
}

static inline void on_tcp_fiber(void **state)
{
	wire_test(*state, true, true);
}

/* For the table in main(): the test FN, in each of the four ways. */
#define WIRE_WAY(fn, proto, way)                                               \
	{                                                                      \
#fn " " #proto " " #way, on_##proto##_##way, NULL, both_back,  \
			(void *)(uintptr_t)(fn)                                \
	}
#define WIRE(fn)                                                               \
	WIRE_WAY(fn, unix, thread), WIRE_WAY(fn, tcp, thread),                 \
		WIRE_WAY(fn, unix, fiber), WIRE_WAY(fn, tcp, fiber)

#endif
