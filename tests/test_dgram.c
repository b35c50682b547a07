/* SPDX-License-Identifier: MIT */
/* Datagrams over UDP, unix and raw sockets. */
#include <cleat/dgram.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "both.h"
#include "pair.h"

static char gram_addr[64], gram_abstract[64], gram_own[80], gram_other[80];
#define gram_path (gram_addr + sizeof("unixgram:") - 1)

static const char *const locals[] = {
	"udp4://127.0.0.1:0", "udp6://[::1]:0", "udp://127.0.0.1:0", gram_addr,
	gram_abstract,
};

static bool is_unix(const char *addr)
{
	return strncmp(addr, "unix", 4) == 0;
}

static void local_of(const struct cleat_dgram *d, struct cleat_sockaddr *sa)
{
	*sa = (struct cleat_sockaddr){ .len = 0 };
	ok(cleat_dgram_local(d, 0, sa));
}

/* The address of D as text to be opened again. */
static const char *address(const struct cleat_dgram *d)
{
	static _Thread_local char text[CLEAT_ADDR_MAX + 16];
	char name[CLEAT_ADDR_MAX];
	struct cleat_sockaddr sa;

	local_of(d, &sa);
	ok(cleat_sockaddr_format(&sa, name, sizeof(name)));
	if (sa.any.sa_family == AF_UNIX)
		(void)snprintf(text, sizeof(text), "unixgram:%s", name + 5);
	else
		(void)snprintf(text, sizeof(text), "udp://%s", name);
	return text;
}

static struct cleat_dgram *open_bound(const char *local)
{
	struct cleat_dgram *d = NULL;

	ok(cleat_dgram_open(&d, local, NULL, NULL, soon()));
	assert_non_null(d);
	return d;
}

static struct cleat_dgram *open_to(const char *peer)
{
	struct cleat_dgram *d = NULL;

	ok(cleat_dgram_open(&d, NULL, peer, NULL, soon()));
	return d;
}

static void assert_got(struct cleat_dgram *d, const char *want,
		       struct cleat_sockaddr *from)
{
	char buf[64];
	cleat_time until = soon();
	ssize_t n = cleat_recvfrom(d, buf, sizeof(buf), from, until);

	ok(n);
	assert_true(cleat_now() < until); /* not found by the last look alone */
	assert_int_equal(n, strlen(want));
	assert_memory_equal(buf, want, (size_t)n);
}

static void asks_and_answers(void)
{
	for (size_t k = 0; k < COUNT(locals); k++) {
		struct cleat_dgram *server = open_bound(locals[k]);
		struct cleat_dgram *client = open_to(address(server));
		struct cleat_sockaddr from, name;

		assert_int_equal(cleat_dgram_fd(server, 1), -ERANGE);
		assert_int_equal(cleat_dgram_local(server, 1, &name), -ERANGE);
		assert_true(fcntl(cleat_dgram_fd(client, 0), F_GETFD) &
			    FD_CLOEXEC);
		ok(cleat_sendto(client, "ask", 3, NULL, soon()));
		assert_got(server, "ask", &from);
		if (is_unix(locals[k])) { /* from one who has no name */
			assert_true(from.len <= sizeof(sa_family_t));
		} else {
			local_of(client, &name);
			assert_same_name(&from, &name);
			ok(cleat_sendto(server, "answer", 6, &from, soon()));
			assert_got(client, "answer", &from);
			local_of(server, &name);
			assert_same_name(&from, &name);
		}
		ok(cleat_sendto(client, "", 0, NULL, soon()));
		ok(cleat_sendto(client, "x", 1, NULL, soon()));
		assert_got(server, "", NULL); /* empty, and not the end */
		assert_got(server, "x", NULL);
		cleat_dgram_close(client);
		cleat_dgram_close(server);
	}
	cleat_dgram_close(NULL);
}

static void bound_and_connected(void)
{
	for (size_t k = 0; k < COUNT(locals); k++) {
		struct cleat_dgram *a = open_bound(locals[k]), *b = NULL, *c;
		const char *own = is_unix(locals[k]) ? gram_own : locals[k];
		struct cleat_sockaddr from, name;

		ok(cleat_dgram_open(&b, own, address(a), NULL, soon()));
		ok(cleat_sendto(b, "hi", 2, NULL, soon()));
		assert_got(a, "hi", &from);
		local_of(b, &name);
		assert_same_name(&from, &name);
		ok(cleat_sendto(a, "ho", 2, &name, soon()));
		assert_got(b, "ho", NULL);
		/* B hears its peer alone. */
		c = open_bound(is_unix(locals[k]) ? gram_other : locals[k]);
		(void)cleat_sendto(c, "no", 2, &name, soon()); /* unix: EPERM */
		assert_int_equal(cleat_recvfrom(b, (char[8]){ 0 }, 8, NULL, 0),
				 -ETIMEDOUT);
		cleat_dgram_close(c);
		cleat_dgram_close(b);
		cleat_dgram_close(a);
	}
}

/* Who refused is said, though it was connected to long before. */
static void assert_refused_by(const char *step, const char *addr)
{
	char why[CLEAT_ADDR_MAX + 64];

	(void)snprintf(why, sizeof(why), "%s %s: connection refused", step,
		       addr + strlen("udp://"));
	assert_string_equal(cleat_why(), why);
}

static void refused(void)
{
	for (size_t k = 0; k < 2; k++) {
		struct cleat_dgram *a = open_bound(locals[k]), *b;
		char text[CLEAT_ADDR_MAX], byte = 'x';
		struct cleat_packet p = { .data = &byte, .len = 1 };

		(void)snprintf(text, sizeof(text), "%s", address(a));
		b = open_to(text);
		assert_int_equal(cleat_recvfrom(b, &byte, 1, NULL, 0),
				 -ETIMEDOUT);
		cleat_dgram_close(a);
		ok(cleat_sendto(b, "x", 1, NULL, soon()));
		assert_int_equal(cleat_recvfrom(b, &byte, 1, NULL, soon()),
				 -ECONNREFUSED);
		assert_refused_by("receive from", text);
		ok(cleat_sendto(b, "x", 1, NULL, soon()));
		assert_int_equal(cleat_recv_batch(b, &p, 1, soon()),
				 -ECONNREFUSED);
		assert_refused_by("receive from", text);
		ok(cleat_sendto(b, "x", 1, NULL, soon()));
		assert_int_equal(cleat_sendto(b, "x", 1, NULL, soon()),
				 -ECONNREFUSED);
		assert_refused_by("send to", text);
		ok(cleat_sendto(b, "x", 1, NULL, soon()));
		assert_int_equal(cleat_send_batch(b, &p, 1, soon()),
				 -ECONNREFUSED);
		assert_refused_by("send to", text);
		cleat_dgram_close(b);
	}
}

static void truncated(void)
{
	for (size_t k = 0; k < COUNT(locals); k++) {
		struct cleat_dgram *a = open_bound(locals[k]);
		struct cleat_dgram *b = open_to(address(a));
		char buf[8] = "-------";

		ok(cleat_sendto(b, "too long", 8, NULL, soon()));
		ok(cleat_sendto(b, "fits", 4, NULL, soon()));
		assert_int_equal(cleat_recvfrom(a, buf, 3, NULL, soon()),
				 -EMSGSIZE);
		assert_memory_equal(buf, "too----", 7);
		assert_true(cleat_why()[0]);
		assert_got(a, "fits", NULL);
		cleat_dgram_close(b);
		cleat_dgram_close(a);
	}
}

static void too_long(void)
{
	static char block[70000];
	struct cleat_dgram *a = open_bound(locals[0]);
	struct cleat_dgram *b = open_to(address(a));

	assert_int_equal(cleat_sendto(b, block, sizeof(block), NULL, soon()),
			 -EMSGSIZE);
	ok(cleat_sendto(b, block, 65507, NULL, soon()));
	assert_int_equal(cleat_recvfrom(a, block, sizeof(block), NULL, soon()),
			 65507);
	assert_int_equal(cleat_sendto(a, "x", 1, NULL, soon()), -EDESTADDRREQ);
	cleat_dgram_close(b);
	cleat_dgram_close(a);
}

/* "udp://0" is both loopbacks: one port, heard on either. */
static void both_loopbacks(void)
{
	struct cleat_dgram *d = open_bound("udp://0");
	struct cleat_sockaddr sa[2];

	ok(cleat_dgram_local(d, 0, &sa[0]));
	ok(cleat_dgram_local(d, 1, &sa[1]));
	assert_int_equal(cleat_dgram_local(d, 2, &sa[0]), -ERANGE);
	assert_int_equal(cleat_sockaddr_port(&sa[0]),
			 cleat_sockaddr_port(&sa[1]));
	assert_int_not_equal(sa[0].any.sa_family, sa[1].any.sa_family);
	for (int i = 0; i < 2; i++) {
		struct cleat_dgram *c = NULL;
		struct cleat_sockaddr from;

		ok(cleat_dgram_open(&c,
				    sa[i].any.sa_family == AF_INET ? locals[0]
								   : locals[1],
				    NULL, NULL, soon()));
		ok(cleat_sendto(c, "one", 3, &sa[i], soon()));
		ok(cleat_sendto(c, "two", 3, &sa[i], soon()));
		assert_got(d, "one", &from);
		assert_int_equal(from.any.sa_family, sa[i].any.sa_family);
		ok(cleat_sendto(d, "back", 4, &from, soon()));
		assert_got(c, "back", NULL);
		assert_got(d, "two", NULL);
		cleat_dgram_close(c);
	}
	cleat_dgram_close(d);
}

/* A dual-stack socket sees and takes IPv4 addresses as such. */
static void dual_stack(void)
{
	static const char *const wildcards[] = { "udp://:0", "udp://[::]:0" };

	for (size_t k = 0; k < COUNT(wildcards); k++) {
		struct cleat_dgram *d = open_bound(wildcards[k]), *c;
		struct cleat_sockaddr sa, from;
		char peer[64];

		local_of(d, &sa);
		(void)snprintf(peer, sizeof(peer), "udp://127.0.0.1:%u",
			       cleat_sockaddr_port(&sa));
		c = open_to(peer);
		ok(cleat_sendto(c, "four", 4, NULL, soon()));
		assert_got(d, "four", &from);
		assert_int_equal(from.any.sa_family, AF_INET);
		ok(cleat_sendto(d, "back", 4, &from, soon()));
		assert_got(c, "back", NULL);
		cleat_dgram_close(c);
		(void)snprintf(peer, sizeof(peer), "udp://[::1]:%u",
			       cleat_sockaddr_port(&sa));
		c = open_to(peer);
		ok(cleat_sendto(c, "six", 3, NULL, soon()));
		assert_got(d, "six", &from);
		assert_int_equal(from.any.sa_family, AF_INET6);
		ok(cleat_sendto(d, "back", 4, &from, soon()));
		assert_got(c, "back", NULL);
		cleat_dgram_close(c);
		cleat_dgram_close(d);
	}
}

/* Bound to every address, and connected to one, of either family. */
static void wildcard_to_peer(void)
{
	for (size_t k = 0; k < 2; k++) {
		struct cleat_dgram *a = open_bound(locals[k]), *b = NULL;
		struct cleat_sockaddr from;

		ok(cleat_dgram_open(&b, "udp://:0", address(a), NULL, soon()));
		ok(cleat_sendto(b, "hi", 2, NULL, soon()));
		assert_got(a, "hi", &from);
		ok(cleat_sendto(a, "ho", 2, &from, soon()));
		assert_got(b, "ho", NULL);
		assert_int_equal(cleat_dgram_fd(b, 1), -ERANGE);
		cleat_dgram_close(b);
		ok(cleat_dgram_open(&b, "udp://0", address(a), NULL, soon()));
		ok(cleat_sendto(b, "hi", 2, NULL, soon()));
		assert_got(a, "hi", &from);
		assert_int_equal(cleat_dgram_fd(b, 1), -ERANGE);
		cleat_dgram_close(b);
		cleat_dgram_close(a);
	}
}

enum {
	MANY = 150
};

static void batch(const char *local)
{
	static char out[MANY][16], in[MANY][16];
	static struct cleat_packet p[MANY];
	struct cleat_dgram *a = open_bound(local);
	struct cleat_dgram *b = open_to(address(a));
	int sent = 0, got = 0;

	for (int i = 0; i < MANY; i++) {
		p[i] = (struct cleat_packet){ .data = out[i] };
		p[i].len = (size_t)snprintf(out[i], sizeof(out[i]), "number %d",
					    i);
	}
	p[7].len = 0;
	/* A unix queue holds few: send again what did not fit. */
	while (got < MANY) {
		struct cleat_packet q[MANY];
		int n = sent;

		if (sent < MANY)
			n = cleat_send_batch(b, p + sent,
					     (unsigned)(MANY - sent), 0);
		if (sent < MANY && n >= 0) {
			assert_in_range(n, 1, MANY - sent);
			sent += n;
		} else if (sent < MANY) {
			assert_int_equal(n, -ETIMEDOUT);
		}
		for (int i = 0; i < MANY; i++)
			q[i] = (struct cleat_packet){ .data = in[i],
						      .size = 8 };
		n = cleat_recv_batch(a, q, MANY, soon());
		ok(n);
		assert_in_range(n, 1, MANY);
		for (int i = 0; i < n; i++, got++) {
			size_t len = p[got].len;

			assert_int_equal(q[i].len, len < 8 ? len : 8);
			assert_int_equal(q[i].truncated, len > 8);
			assert_memory_equal(q[i].data, out[got], q[i].len);
		}
	}
	assert_int_equal(cleat_recv_batch(a, p, MANY, 0), -ETIMEDOUT);
	assert_int_equal(cleat_send_batch(b, p, 0, 0), 0);
	cleat_dgram_close(b);
	cleat_dgram_close(a);
}

static void batches(void)
{
	for (size_t k = 0; k < COUNT(locals); k++)
		batch(locals[k]);
}

/* To several places, of both families, from one socket that is both. */
static void batch_to_many(void)
{
	struct cleat_dgram *d = open_bound("udp://0"), *to[2];
	struct cleat_packet p[6];

	for (int i = 0; i < 2; i++)
		to[i] = open_bound(locals[i]);
	for (int i = 0; i < 6; i++) {
		p[i] = (struct cleat_packet){
			.data = (char *)(uintptr_t) "abcdef" + i, .len = 1
		};
		local_of(to[i / 2 % 2], &p[i].addr);
	}
	assert_int_equal(cleat_send_batch(d, p, 6, soon()), 6);
	assert_got(to[0], "a", NULL);
	assert_got(to[0], "b", NULL);
	assert_got(to[0], "e", NULL);
	assert_got(to[0], "f", NULL);
	assert_got(to[1], "c", NULL);
	assert_got(to[1], "d", NULL);
	/* The third cannot be sent: two went out, then the reason. */
	p[2].addr.any.sa_family = AF_UNIX;
	assert_int_equal(cleat_send_batch(d, p, 6, soon()), 2);
	assert_int_equal(cleat_send_batch(d, p + 2, 4, soon()), -EAFNOSUPPORT);
	for (int i = 0; i < 2; i++)
		cleat_dgram_close(to[i]);
	cleat_dgram_close(d);
}

static void deadlines(void)
{
	for (size_t k = 0; k < COUNT(locals); k++) {
		struct cleat_dgram *d = open_bound(locals[k]);
		struct cleat_packet p = { .data = (char[8]){ 0 }, .size = 8 };
		cleat_time end;
		char buf[8];

		assert_int_equal(cleat_recvfrom(d, buf, 8, NULL, 0),
				 -ETIMEDOUT);
		assert_int_equal(cleat_recvfrom(d, buf, 8, NULL, INT64_MIN),
				 -ETIMEDOUT);
		end = cleat_in(15 * CLEAT_MSEC);
		assert_int_equal(cleat_recvfrom(d, buf, 8, NULL, end),
				 -ETIMEDOUT);
		assert_true(cleat_now() >= end);
		end = cleat_in(15 * CLEAT_MSEC);
		assert_int_equal(cleat_recv_batch(d, &p, 1, end), -ETIMEDOUT);
		assert_true(cleat_now() >= end);
		assert_int_equal(cleat_recv_batch(d, &p, 0, end), -EINVAL);
		cleat_dgram_close(d);
	}
}

/* The queue of a unix socket fills, and its senders wait. */
static void full_queue(void)
{
	struct cleat_dgram *a = open_bound(gram_addr);
	struct cleat_dgram *b = open_to(gram_addr);
	struct cleat_packet p = { .data = (char[1]){ 'x' }, .len = 1 };
	cleat_time end;
	int n = 0;

	while (cleat_sendto(b, "x", 1, NULL, 0) == 0)
		n++;
	assert_in_range(n, 1, 100000);
	end = cleat_in(15 * CLEAT_MSEC);
	assert_int_equal(cleat_sendto(b, "x", 1, NULL, end), -ETIMEDOUT);
	assert_true(cleat_now() >= end);
	assert_int_equal(cleat_send_batch(b, &p, 1, 0), -ETIMEDOUT);
	assert_got(a, "x", NULL);
	ok(cleat_sendto(b, "y", 1, NULL, soon())); /* nothing was lost */
	while (n-- > 1)
		assert_got(a, "x", NULL);
	assert_got(a, "y", NULL);
	cleat_dgram_close(b);
	cleat_dgram_close(a);
}

static void drain_all(void *arg)
{
	char buf[8];

	while (recv(*(int *)arg, buf, sizeof(buf), MSG_DONTWAIT) >= 0)
		;
}

/* A sender who waits goes on when the queue is read, connected or not. */
static void queue_makes_room(void)
{
	struct cleat_dgram *a = open_bound(gram_addr);
	struct cleat_sockaddr to;
	int fd = cleat_dgram_fd(a, 0);

	local_of(a, &to);
	for (int connected = 0; connected < 2; connected++) {
		struct cleat_dgram *b =
			connected ? open_to(gram_addr) : open_bound(gram_own);
		const struct cleat_sockaddr *peer = connected ? NULL : &to;
		struct cleat_packet p = { .data = (char[1]){ 'x' }, .len = 1 };

		if (!connected)
			p.addr = to;
		for (int i = 0; i < 6; i++) {
			struct both_later l;

			while (cleat_sendto(b, "x", 1, peer, 0) == 0)
				;
			both_later(&l, drain_all, &fd);
			if (i % 2)
				ok(cleat_sendto(b, "x", 1, peer, soon()));
			else
				ok(cleat_send_batch(b, &p, 1, soon()));
			both_join(&l);
			drain_all(&fd);
		}
		cleat_dgram_close(b);
	}
	cleat_dgram_close(a);
}

static void send_one(void *arg)
{
	ok(cleat_sendto(arg, "at last", 7, NULL, soon()));
}

static void arrives_while_waiting(void)
{
	for (size_t k = 0; k < COUNT(locals); k++) {
		struct cleat_dgram *a = open_bound(locals[k]);
		struct cleat_dgram *b = open_to(address(a));

		for (int i = 0; i < 10; i++) {
			struct both_later l;

			both_later(&l, send_one, b);
			assert_got(a, "at last", NULL);
			both_join(&l);
		}
		cleat_dgram_close(b);
		cleat_dgram_close(a);
	}
}

struct task {
	struct cleat_dgram *d;
	int (*call)(struct cleat_dgram *d);
	int first, later;
};

static int do_recvfrom(struct cleat_dgram *d)
{
	return (int)cleat_recvfrom(d, (char[8]){ 0 }, 8, NULL, soon());
}

static int do_recv_batch(struct cleat_dgram *d)
{
	struct cleat_packet p = { .data = (char[8]){ 0 }, .size = 8 };

	return cleat_recv_batch(d, &p, 1, soon());
}

static int do_sendto(struct cleat_dgram *d)
{
	return cleat_sendto(d, "x", 1, NULL, soon());
}

static int do_send_batch(struct cleat_dgram *d)
{
	struct cleat_packet p = { .data = (char[1]){ 'x' }, .len = 1 };

	return cleat_send_batch(d, &p, 1, soon());
}

static void task_main(void *arg)
{
	struct task *t = arg;

	t->first = t->call(t->d);
	t->later = t->call(t->d);
}

static void cancel_one(struct cleat_dgram *d, int (*call)(struct cleat_dgram *),
		       int yields)
{
	struct task t = { .d = d, .call = call };
	struct cleat_scope *s;

	ok(cleat_scope_open(&s, 0));
	ok(cleat_go(s, task_main, &t, soon()));
	for (int i = 0; i < yields; i++)
		ok(cleat_yield());
	cleat_scope_close(s);
	assert_int_equal(t.first, -ECANCELED);
	assert_int_equal(t.later, -ECANCELED);
}

static void cancelled(void)
{
	for (size_t k = 0; k < COUNT(locals); k++) {
		struct cleat_dgram *a = open_bound(locals[k]);
		struct cleat_dgram *b = open_to(address(a));

		cancel_one(a, do_recvfrom, 3);
		cancel_one(a, do_recv_batch, 3);
		cancel_one(b, do_sendto, 0);
		cancel_one(b, do_send_batch, 0);
		assert_int_equal(cleat_recvfrom(a, (char[8]){ 0 }, 8, NULL, 0),
				 -ETIMEDOUT);
		ok(cleat_sendto(b, "x", 1, NULL, soon()));
		cancel_one(a, do_recvfrom, 0);
		cancel_one(a, do_recv_batch, 0);
		assert_got(a, "x", NULL);
		while (is_unix(locals[k]) &&
		       cleat_sendto(b, "x", 1, NULL, 0) == 0)
			;
		if (is_unix(locals[k])) {
			cancel_one(b, do_sendto, 3);
			cancel_one(b, do_send_batch, 3);
		}
		cleat_dgram_close(b);
		cleat_dgram_close(a);
	}
}

static void not_opened(void)
{
	struct cleat_dgram *d = NULL, *a;

	assert_int_equal(cleat_dgram_open(&d, NULL, NULL, NULL, soon()),
			 -EINVAL);
	assert_true(cleat_why()[0]);
	assert_int_equal(
		cleat_dgram_open(&d, "127.0.0.1:0", NULL, NULL, soon()),
		-EPROTOTYPE);
	assert_int_equal(cleat_dgram_open(&d, NULL, "unix:@x", NULL, soon()),
			 -EPROTOTYPE);
	assert_int_equal(
		cleat_dgram_open(&d, "udp://x:y:z", NULL, NULL, soon()),
		-EINVAL);
	assert_int_equal(
		cleat_dgram_open(&d, locals[0], "udp://[::1]:9", NULL, soon()),
		-EAFNOSUPPORT);
	assert_true(cleat_why()[0]);
	assert_int_equal(
		cleat_dgram_open(&d, locals[0], "unixgram:@x", NULL, soon()),
		-EAFNOSUPPORT);
	assert_int_equal(
		cleat_dgram_open(&d, "udp://192.0.2.1:0", NULL, NULL, soon()),
		-EADDRNOTAVAIL);
	assert_int_equal(cleat_dgram_open(&d, NULL, gram_addr, NULL, soon()),
			 -ENOENT);
	a = open_bound(locals[0]);
	assert_int_equal(cleat_dgram_open(&d, address(a), NULL, NULL, soon()),
			 -EADDRINUSE);
	cleat_dgram_close(a);
	a = open_bound(gram_addr);
	assert_int_equal(cleat_dgram_open(&d, gram_addr, NULL, NULL, soon()),
			 -EADDRINUSE);
	cleat_dgram_close(a);
	assert_null(d);
}

/* The path goes with the socket; one that was left behind is taken over. */
static void paths(void)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	struct cleat_dgram *d, *other;
	struct stat st;
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	(void)snprintf(un.sun_path, sizeof(un.sun_path), "%s", gram_path);
	assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	close(fd);
	d = open_bound(gram_addr);
	assert_int_equal(lstat(gram_path, &st), 0);
	cleat_dgram_close(d);
	assert_int_equal(lstat(gram_path, &st), -1);

	d = open_bound(gram_addr);
	assert_int_equal(unlink(gram_path), 0);
	other = open_bound(gram_addr);
	cleat_dgram_close(d);
	assert_int_equal(lstat(gram_path, &st), 0); /* another's */
	cleat_dgram_close(other);
	assert_int_equal(lstat(gram_path, &st), -1);
}

static void assert_not_adopted(int fd, int err)
{
	struct cleat_dgram *d = NULL;
	int flags = fcntl(fd, F_GETFL), fd_flags = fcntl(fd, F_GETFD);

	assert_int_equal(cleat_adopt_dgram(&d, fd), err);
	assert_null(d);
	assert_true(cleat_why()[0]);
	assert_int_equal(fcntl(fd, F_GETFL), flags);
	assert_int_equal(fcntl(fd, F_GETFD), fd_flags);
	close(fd);
}

static void adopts(void)
{
	struct cleat_sockaddr sa = { .len = sizeof(sa.in),
				     .in = { .sin_family = AF_INET } };
	struct cleat_dgram *d;
	int fd[2];

	assert_int_equal(pipe(fd), 0);
	assert_not_adopted(fd[0], -ENOTSOCK);
	assert_not_adopted(fd[1], -ENOTSOCK);
	assert_not_adopted(fd[1], -EBADF);
	assert_not_adopted(socket(AF_INET, SOCK_STREAM, 0), -EPROTOTYPE);
	assert_not_adopted(socket(AF_UNIX, SOCK_SEQPACKET, 0), -EPROTOTYPE);
	assert_not_adopted(socket(AF_NETLINK, SOCK_DGRAM, NETLINK_ROUTE),
			   -EAFNOSUPPORT);
	fd[0] = socket(AF_INET, SOCK_DGRAM, 0);
	sa.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(fd[0], &sa.any, sa.len), 0);
	ok(cleat_adopt_dgram(&d, fd[0]));
	assert_int_equal(cleat_dgram_fd(d, 0), fd[0]);
	assert_true(fcntl(fd[0], F_GETFL) & O_NONBLOCK);
	assert_true(fcntl(fd[0], F_GETFD) & FD_CLOEXEC);
	local_of(d, &sa);
	ok(cleat_sendto(d, "me", 2, &sa, soon()));
	assert_got(d, "me", NULL);
	cleat_dgram_close(d);
}

static unsigned short checksum(const unsigned char *p, size_t len)
{
	unsigned sum = 0;

	for (size_t i = 0; i + 1 < len; i += 2)
		sum += (unsigned)p[i] << 8 | p[i + 1];
	sum = (sum >> 16) + (sum & 0xffff);
	sum += sum >> 16;
	return htons((unsigned short)~sum);
}

static void raw_echo(void)
{
	struct cleat_sockaddr to = { .len = sizeof(to.in),
				     .in = { .sin_family = AF_INET } };
	struct icmphdr ask = { .type = ICMP_ECHO };
	struct cleat_dgram *d = NULL;
	unsigned char buf[256];
	int err = cleat_raw_open(&d, AF_INET, IPPROTO_ICMP, NULL);

	if (err == -EPERM) {
		assert_true(cleat_why()[0]);
		print_message("skipped: a raw socket takes CAP_NET_RAW\n");
		return;
	}
	ok(err);
	to.in.sin_addr.s_addr = htonl(0x7f000042);
	ask.un.echo.id = htons((uint16_t)getpid());
	ask.checksum = checksum((const unsigned char *)&ask, sizeof(ask));
	ok(cleat_sendto(d, &ask, sizeof(ask), &to, soon()));
	for (;;) { /* its own question comes by, and others' answers */
		struct cleat_sockaddr from;
		const struct icmphdr *icmp;
		ssize_t n = cleat_recvfrom(d, buf, sizeof(buf), &from, soon());

		ok(n);
		assert_true((size_t)n >= sizeof(struct iphdr) + sizeof(*icmp));
		icmp = (const void *)(buf + sizeof(struct iphdr));
		if (icmp->type != ICMP_ECHOREPLY ||
		    icmp->un.echo.id != ask.un.echo.id)
			continue;
		assert_int_equal(from.in.sin_addr.s_addr,
				 to.in.sin_addr.s_addr);
		break;
	}
	cleat_dgram_close(d);
	d = NULL;
	assert_true(cleat_raw_open(&d, AF_INET, 9999, NULL) < 0);
	assert_null(d);
	assert_true(cleat_why()[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(asks_and_answers),
		BOTH(bound_and_connected),
		BOTH(refused),
		BOTH(truncated),
		BOTH(too_long),
		BOTH(both_loopbacks),
		BOTH(dual_stack),
		BOTH(wildcard_to_peer),
		BOTH(batches),
		BOTH(batch_to_many),
		BOTH(deadlines),
		BOTH(full_queue),
		BOTH(queue_makes_room),
		BOTH(arrives_while_waiting),
		FIBER(cancelled),
		BOTH(not_opened),
		BOTH(paths),
		BOTH(adopts),
		BOTH(raw_echo),
	};

	(void)snprintf(gram_addr, sizeof(gram_addr),
		       "unixgram:/tmp/cleat-test-gram-%d", getpid());
	(void)snprintf(gram_abstract, sizeof(gram_abstract),
		       "unixgram:@cleat-test-gram-%d", getpid());
	(void)snprintf(gram_own, sizeof(gram_own), "%s-own", gram_abstract);
	(void)snprintf(gram_other, sizeof(gram_other), "%s-other",
		       gram_abstract);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
