/* SPDX-License-Identifier: MIT */
/* Connections to test with: cleat at both ends, or a bare descriptor at one. */
#ifndef TESTS_PAIR_H
#define TESTS_PAIR_H

#include <cleat/conn.h>
#include <cleat/frame.h>

#include <errno.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "both.h"

#define MIB ((size_t)1 << 20)

/* A listener, and a connection to it: A called, B was accepted. */
struct pair {
	struct cleat_listener *l;
	struct cleat_conn *a, *b;
};

static char unix_addr[64], abstract_addr[64];
#define unix_path (unix_addr + sizeof("unix:") - 1)

static inline void make_names(void)
{
	(void)snprintf(unix_addr, sizeof(unix_addr), "unix:/tmp/cleat-test-%d",
		       getpid());
	(void)snprintf(abstract_addr, sizeof(abstract_addr),
		       "unix:@cleat-test-%d", getpid());
}

static const char *const kinds[] = {
	"tcp4://127.0.0.1:0",
	"tcp6://[::1]:0",
	"127.0.0.1:0",
	"[::1]:0",
	unix_addr,
	abstract_addr,
};

static inline void connect_to(struct cleat_conn **c,
			      const struct cleat_listener *l)
{
	char addr[CLEAT_ADDR_MAX];
	struct cleat_sockaddr sa;

	ok(cleat_listener_local(l, 0, &sa));
	ok(cleat_sockaddr_format(&sa, addr, sizeof(addr)));
	ok(cleat_connect(c, addr, NULL, soon()));
}

static inline void pair_open(struct pair *p, const char *addr)
{
	ok(cleat_listen(&p->l, addr, NULL));
	connect_to(&p->a, p->l);
	ok(cleat_accept(p->l, &p->b, soon()));
}

static inline void pair_close(struct pair *p)
{
	cleat_close(p->a);
	cleat_close(p->b);
	cleat_unlisten(p->l);
}

/* A connection whose other end is a plain blocking descriptor. */
static inline int raw_open(struct cleat_conn **c, const char *addr)
{
	struct cleat_listener *l;
	struct cleat_sockaddr sa;
	int fd;

	ok(cleat_listen(&l, addr, NULL));
	ok(cleat_listener_local(l, 0, &sa));
	fd = socket(sa.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(fd, &sa.any, sa.len), 0);
	ok(cleat_accept(l, c, soon()));
	cleat_unlisten(l);
	return fd;
}

static inline void put(int fd, const void *data, size_t len)
{
	while (len > 0) {
		ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

		assert_true(n > 0);
		data = (const char *)data + n;
		len -= (size_t)n;
	}
}

static inline void reset(int fd)
{
	const struct linger now = { .l_onoff = 1 };

	assert_int_equal(
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
	close(fd);
}

static inline void assert_same_name(const struct cleat_sockaddr *a,
				    const struct cleat_sockaddr *b)
{
	char x[CLEAT_ADDR_MAX], y[CLEAT_ADDR_MAX];

	ok(cleat_sockaddr_format(a, x, sizeof(x)));
	ok(cleat_sockaddr_format(b, y, sizeof(y)));
	assert_string_equal(x, y);
}

/* At its deadline a call looks once more: a wakeup that was lost would pass as
 * a late success.
 */
static inline ssize_t recv_in_time(struct cleat_conn *c, void *buf, size_t len)
{
	cleat_time until = soon();
	ssize_t n = cleat_recv(c, buf, len, until);

	assert_true(cleat_now() < until);
	return n;
}

static inline void assert_recv(struct cleat_conn *c, const char *want)
{
	char buf[64];
	size_t len = strlen(want);
	cleat_time until = soon();

	ok(cleat_recv_exactly(c, buf, len, until));
	assert_true(cleat_now() < until);
	assert_memory_equal(buf, want, len);
}

static inline void assert_ended(struct cleat_conn *c)
{
	const void *data;
	char byte;

	assert_int_equal(recv_in_time(c, &byte, 1), 0);
	assert_int_equal(recv_in_time(c, &byte, 1), 0);
	assert_int_equal(cleat_view(c, &data, soon()), 0);
}

static inline void assert_why_ends(const char *reason)
{
	const char *why = cleat_why();
	size_t len = strlen(why), want = strlen(reason);

	assert_string_equal(len > want ? why + len - want : why, reason);
}

/* Until nothing more goes in, even later: what can be delivered has been. */
static inline void fill_up(struct cleat_conn *c)
{
	static const char block[65536];
	int fd = cleat_conn_fd(c), unacked, unsent;
	cleat_time end = soon();
	bool unix_socket, sent = true;
	struct cleat_sockaddr sa;

	ok(cleat_conn_local(c, &sa));
	unix_socket = sa.any.sa_family == AF_UNIX;
	while (sent && cleat_now() < end) {
		sent = false;
		while (send(fd, block, sizeof(block),
			    MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
			sent = true;
		while (!unix_socket && cleat_now() < end &&
		       ioctl(fd, SIOCOUTQ, &unacked) == 0 &&
		       ioctl(fd, SIOCOUTQNSD, &unsent) == 0 &&
		       unacked != unsent)
			(void)sched_yield();
	}
	assert_false(sent);
}

#endif
