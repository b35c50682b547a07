/* SPDX-License-Identifier: MIT */
/* Framing, over unix and TCP, on a plain thread and on a fiber.  The far end
 * is a raw descriptor, so that what is on the wire is in the test's hands.
 */
#include "both.h"

#include <cleat/frame.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <spawn.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define MIB (1u << 20)

struct wire {
	struct cleat_conn *c;
	int raw; /* the far end; -1 once it is closed */
	bool tcp;
};

static void tcp_pair(int fd[2])
{
	struct sockaddr_in sa = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t len = sizeof(sa);
	int l = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

	assert_int_equal(bind(l, (struct sockaddr *)&sa, len), 0);
	assert_int_equal(getsockname(l, (struct sockaddr *)&sa, &len), 0);
	assert_int_equal(listen(l, 1), 0);
	fd[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(fd[0], (struct sockaddr *)&sa, len), 0);
	fd[1] = accept4(l, NULL, NULL, SOCK_CLOEXEC);
	assert_true(fd[1] >= 0);
	assert_int_equal(
		setsockopt(fd[1], IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)),
		0);
	close(l);
}

static void wire_open(struct wire *w, bool tcp)
{
	int fd[2];

	if (tcp)
		tcp_pair(fd);
	else
		assert_int_equal(
			socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd),
			0);
	*w = (struct wire){ .raw = fd[1], .tcp = tcp };
	assert_int_equal(cleat_adopt(&w->c, fd[0]), 0);
}

static void wire_close(struct wire *w)
{
	cleat_close(w->c);
	if (w->raw >= 0)
		close(w->raw);
}

static void put(const struct wire *w, const void *data, size_t len)
{
	while (len > 0) {
		ssize_t n = send(w->raw, data, len, MSG_NOSIGNAL);

		assert_true(n > 0);
		data = (const char *)data + n;
		len -= (size_t)n;
	}
}

static void end(const struct wire *w)
{
	assert_int_equal(shutdown(w->raw, SHUT_WR), 0);
}

static void get(const struct wire *w, void *buf, size_t len)
{
	assert_int_equal(recv(w->raw, buf, len, MSG_WAITALL), len);
}

static void assert_nothing_sent(const struct wire *w)
{
	char c;

	assert_int_equal(recv(w->raw, &c, 1, MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);
}

/* Sends from a thread of its own, each piece only once the last is read. */
struct sender {
	pthread_t thread;
	const struct wire *w;
	const char *data;
	size_t len, piece; /* 0: all at once */
};

static void *sender_main(void *arg)
{
	struct sender *s = arg;
	int unread;

	for (size_t at = 0, n; at < s->len; at += n) {
		n = s->piece && s->piece < s->len - at ? s->piece : s->len - at;
		put(s->w, s->data + at, n);
		do
			sched_yield();
		while (s->piece &&
		       ioctl(cleat_conn_fd(s->w->c), FIONREAD, &unread) == 0 &&
		       unread > 0);
	}
	return NULL;
}

static void sender_start(struct sender *s)
{
	assert_int_equal(pthread_create(&s->thread, NULL, sender_main, s), 0);
}

static void sender_join(struct sender *s)
{
	assert_int_equal(pthread_join(s->thread, NULL), 0);
}

static char *pattern(size_t len)
{
	char *p = malloc(len + 1);

	assert_non_null(p);
	for (size_t i = 0; i < len; i++)
		p[i] = (char)(i * 7 + i / 251);
	p[len] = '\0';
	return p;
}

/* Bytes kept by a call that failed are what the next call reads. */
static void assert_next(const struct wire *w, const char *want)
{
	char got[256];
	size_t len = strlen(want);

	assert_int_equal(cleat_recv(w->c, got, sizeof(got), soon()), len);
	assert_memory_equal(got, want, len);
}

static void assert_at_end(const struct wire *w)
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

/* cleat_recv_exactly */

static void exactly_whole(struct wire *w)
{
	char got[8] = "";

	put(w, "helloworld", 10);
	end(w);
	assert_int_equal(cleat_recv_exactly(w->c, got, 0, 0), 0);
	assert_int_equal(cleat_recv_exactly(w->c, got, 5, soon()), 5);
	assert_string_equal(got, "hello");
	assert_int_equal(cleat_recv_exactly(w->c, got, 5, soon()), 5);
	assert_string_equal(got, "world");
	assert_at_end(w);
	assert_int_equal(cleat_recv_exactly(w->c, got, 0, 0), 0);
}

static void exactly_in_pieces(struct wire *w)
{
	char *data = pattern(600), got[300];
	struct sender s = { .w = w, .data = data, .len = 600, .piece = 1 };

	sender_start(&s);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(cleat_recv_exactly(w->c, got, 300, soon()),
				 300);
		assert_memory_equal(got, data + 300 * i, 300);
	}
	sender_join(&s);
	free(data);
}

static void exactly_large(struct wire *w)
{
	char *data = pattern(8 * MIB), *got = malloc(8 * MIB);
	struct sender s = { .w = w, .data = data, .len = 8 * MIB };

	assert_non_null(got);
	sender_start(&s);
	assert_int_equal(cleat_recv_exactly(w->c, got, 8 * MIB, soon()),
			 8 * MIB);
	assert_memory_equal(got, data, 8 * MIB);
	sender_join(&s);
	free(data);
	free(got);
}

static void exactly_deadline(struct wire *w)
{
	const void *seen;
	char got[9] = "";
	cleat_time until;

	assert_int_equal(cleat_recv_exactly(w->c, got, 8, 0), -ETIMEDOUT);
	put(w, "abc", 3);
	until = cleat_in(20 * CLEAT_MSEC);
	assert_int_equal(cleat_recv_exactly(w->c, got, 8, until), -ETIMEDOUT);
	assert_true(cleat_now() >= until);
	put(w, "de", 2);
	assert_int_equal(cleat_recv_exactly(w->c, got, 8, cleat_in(CLEAT_MSEC)),
			 -ETIMEDOUT);
	assert_int_equal(cleat_recv_exactly(w->c, got, 8, 0), -ETIMEDOUT);
	put(w, "fgh", 3);
	assert_int_equal(cleat_recv_exactly(w->c, got, 8, soon()), 8);
	assert_string_equal(got, "abcdefgh");

	put(w, "xyz", 3);
	assert_int_equal(cleat_recv_exactly(w->c, got, 8, cleat_in(CLEAT_MSEC)),
			 -ETIMEDOUT);
	assert_int_equal(cleat_view(w->c, &seen, soon()), 3);
	assert_memory_equal(seen, "xyz", 3);
	assert_int_equal(cleat_recv(w->c, got, 8, 0), -ETIMEDOUT);
}

static void exactly_cut(struct wire *w)
{
	char got[8];

	put(w, "abc", 3);
	end(w);
	assert_int_equal(cleat_recv_exactly(w->c, got, 8, soon()), CLEAT_ECUT);
	assert_int_equal(cleat_recv_exactly(w->c, got, 8, soon()), CLEAT_ECUT);
	assert_non_null(strstr(cleat_why(), "receive from "));
	assert_non_null(strstr(cleat_why(), ": stream ended in the middle"));
	assert_next(w, "abc");
	assert_at_end(w);
}

/* A peer that resets in the middle: what had come before is still there. */
static void exactly_reset(struct wire *w)
{
	struct linger now = { .l_onoff = 1 };
	char got[8];

	put(w, "abc", 3);
	assert_int_equal(cleat_recv_exactly(w->c, got, 3, soon()), 3);
	put(w, "abc", 3);
	assert_int_equal(cleat_send(w->c, "unread", 6, soon()), 0);
	while (cleat_recv_exactly(w->c, got, 4, 0) == -ETIMEDOUT &&
	       recv(w->raw, got, 6, MSG_PEEK | MSG_DONTWAIT) != 6)
		sched_yield();
	assert_int_equal(
		setsockopt(w->raw, SOL_SOCKET, SO_LINGER, &now, sizeof(now)),
		0);
	close(w->raw);
	w->raw = -1;
	assert_int_equal(cleat_recv_exactly(w->c, got, 8, soon()), -ECONNRESET);
	assert_next(w, "abc");
}

/* cleat_recv_until */

static void until_lines(struct wire *w)
{
	char got[16];

	put(w, "one\ntwo\r\n\nrest", 14);
	end(w);
	assert_int_equal(cleat_recv_until(w->c, got, 16, "\n", 1, soon()), 4);
	assert_memory_equal(got, "one\n", 4);
	assert_int_equal(cleat_recv_until(w->c, got, 16, "\n", 1, soon()), 5);
	assert_memory_equal(got, "two\r\n", 5);
	assert_int_equal(cleat_recv_until(w->c, got, 16, "\n", 1, soon()), 1);
	assert_memory_equal(got, "\n", 1);
	assert_int_equal(cleat_recv_until(w->c, got, 16, "\n", 1, soon()),
			 CLEAT_ECUT);
	assert_next(w, "rest");
	assert_at_end(w);
}

/* Repeated beginnings are where a search that forgets the seam goes wrong. */
static const struct {
	const char *text, *delim;
} seams[] = {
	{ "GET / HTTP/1.1\r\n\r\n", "\r\n\r\n" },
	{ "a\r\n\r\r\n\r\n", "\r\n\r\n" },
	{ "aaaaab", "aab" },
	{ "ababababc", "ababc" },
	{ "--x--boundary", "--boundary" },
	{ "boundary", "boundary" },
};

static void until_every_seam(struct wire *w)
{
	char got[32];

	for (size_t i = 0; i < COUNT(seams); i++) {
		const char *text = seams[i].text, *delim = seams[i].delim;
		size_t len = strlen(text), dlen = strlen(delim);

		for (size_t k = 0; k < len; k++) {
			put(w, text, k);
			assert_int_equal(
				cleat_recv_until(w->c, got, sizeof(got), delim,
						 dlen, cleat_in(CLEAT_MSEC)),
				-ETIMEDOUT);
			put(w, text + k, len - k);
			put(w, "!", 1);
			assert_int_equal(cleat_recv_until(w->c, got,
							  sizeof(got), delim,
							  dlen, soon()),
					 len);
			assert_memory_equal(got, text, len);
			assert_next(w, "!");
		}
	}
}

static void until_in_pieces(struct wire *w)
{
	static const char text[] = "aa\0\0\0b\0\0\0c\0\0";
	struct sender s = { .w = w, .data = text, .len = 12, .piece = 1 };
	char got[12];

	sender_start(&s);
	assert_int_equal(cleat_recv_until(w->c, got, 12, "\0\0", 2, soon()), 4);
	assert_memory_equal(got, "aa\0\0", 4);
	assert_int_equal(cleat_recv_until(w->c, got, 12, "\0\0", 2, soon()), 4);
	assert_memory_equal(got, "\0b\0\0", 4);
	assert_int_equal(cleat_recv_until(w->c, got, 12, "\0\0", 2, soon()), 4);
	assert_memory_equal(got, "\0c\0\0", 4);
	sender_join(&s);
}

static void until_cap(struct wire *w)
{
	char got[16];

	put(w, "12345\r\nafter", 12);
	assert_int_equal(cleat_recv_until(w->c, got, 0, "\r\n", 2, soon()),
			 -EMSGSIZE);
	assert_int_equal(cleat_recv_until(w->c, got, 1, "\r\n", 2, soon()),
			 -EMSGSIZE);
	assert_int_equal(cleat_recv_until(w->c, got, 6, "\r\n", 2, soon()),
			 -EMSGSIZE);
	assert_non_null(strstr(cleat_why(), ": message too long"));
	assert_int_equal(cleat_recv_until(w->c, got, 16, "\r\n", 0, soon()),
			 -EINVAL);
	assert_int_equal(cleat_recv_until(w->c, got, 7, "\r\n", 2, soon()), 7);
	assert_memory_equal(got, "12345\r\n", 7);
	assert_int_equal(cleat_recv_exactly(w->c, got, 5, soon()), 5);
	assert_memory_equal(got, "after", 5);
}

/* messages */

static const struct {
	struct cleat_frame f;
	size_t len;
	const char *prefix;
	size_t bytes; /* of the prefix */
} layouts[] = {
	{ { 0 }, 5, "\0\0\0\5", 4 },
	{ { .prefix = 1 }, 5, "\5", 1 },
	{ { .prefix = 1 }, 0, "\0", 1 },
	{ { .prefix = 1 }, 255, "\xff", 1 },
	{ { 1, CLEAT_LITTLE_ENDIAN, 0 }, 5, "\5", 1 },
	{ { .prefix = 2 }, 0x102, "\1\2", 2 },
	{ { .prefix = 2 }, 0xffff, "\xff\xff", 2 },
	{ { 2, CLEAT_LITTLE_ENDIAN, 0 }, 0x102, "\2\1", 2 },
	{ { .prefix = 4 }, 0x10203, "\0\1\2\3", 4 },
	{ { 4, CLEAT_LITTLE_ENDIAN, 0 }, 0x10203, "\3\2\1\0", 4 },
	{ { 0, CLEAT_LITTLE_ENDIAN, 0 }, 0, "\0\0\0\0", 4 },
	{ { .prefix = 8 }, 0x10203, "\0\0\0\0\0\1\2\3", 8 },
	{ { 8, CLEAT_LITTLE_ENDIAN, 0 }, 0x10203, "\3\2\1\0\0\0\0\0", 8 },
	{ { 8, CLEAT_BIG_ENDIAN, 3 }, 3, "\0\0\0\0\0\0\0\3", 8 },
};

static void msg_layouts(struct wire *w)
{
	for (size_t i = 0; i < COUNT(layouts); i++) {
		size_t len = layouts[i].len, n = layouts[i].bytes;
		char *data = pattern(len), *got = pattern(len);
		char prefix[8];
		void *taken = NULL;

		memset(got, 0, len);
		assert_int_equal(
			cleat_send_msg(w->c, data, len, &layouts[i].f, soon()),
			0);
		get(w, prefix, n);
		assert_memory_equal(prefix, layouts[i].prefix, n);
		if (len > 0)
			get(w, got, len);
		assert_memory_equal(got, data, len);
		assert_nothing_sent(w);

		for (int k = 0; k < 2; k++) {
			put(w, prefix, n);
			put(w, data, len);
		}
		memset(got, 0, len);
		assert_int_equal(
			cleat_recv_msg(w->c, got, len, &layouts[i].f, soon()),
			len);
		assert_memory_equal(got, data, len);
		assert_int_equal(
			cleat_take_msg(w->c, &taken, &layouts[i].f, soon()),
			len);
		assert_memory_equal(taken, data, len + 1); /* with its NUL */
		free(taken);
		free(data);
		free(got);
	}
	end(w);
	assert_at_end(w);
}

static void msg_no_such_prefix(struct wire *w)
{
	static const unsigned prefixes[] = { 3, 5, 6, 7, 9, 16, 0xffffffff };
	char got[16];
	void *data = got;

	put(w, "\0\0\0\0", 4);
	for (size_t i = 0; i < COUNT(prefixes); i++) {
		struct cleat_frame f = { .prefix = prefixes[i] };

		assert_int_equal(cleat_send_msg(w->c, "x", 1, &f, soon()),
				 -EINVAL);
		assert_int_equal(cleat_recv_msg(w->c, got, 16, &f, soon()),
				 -EINVAL);
		assert_int_equal(cleat_take_msg(w->c, &data, &f, soon()),
				 -EINVAL);
	}
	assert_ptr_equal(data, got);
	assert_nothing_sent(w);
	assert_int_equal(cleat_recv_msg(w->c, got, 16, NULL, soon()), 0);
}

/* What is refused leaves no trace on the wire, and the next one goes out. */
static void msg_send_cap(struct wire *w)
{
	static const struct {
		struct cleat_frame f;
		size_t len;
	} refused[] = {
		{ { .prefix = 1 }, 256 }, { { .prefix = 2 }, 65536 },
		{ { .cap = 10 }, 11 },    { { .prefix = 8, .cap = 10 }, 11 },
		{ { 0 }, 16 * MIB + 1 },
	};
	char *data = pattern(16 * MIB + 1), got[5];

	for (size_t i = 0; i < COUNT(refused); i++) {
		assert_int_equal(cleat_send_msg(w->c, data, refused[i].len,
						&refused[i].f, soon()),
				 -EMSGSIZE);
		assert_non_null(strstr(cleat_why(), "send message to "));
		assert_nothing_sent(w);
	}
	free(data);
	assert_int_equal(cleat_send_msg(w->c, "x", 1, NULL, soon()), 0);
	get(w, got, 5);
	assert_memory_equal(got, "\0\0\0\1x", 5);
}

/* The prefix alone is enough to refuse; it is then still there to be read. */
static void msg_recv_cap(struct wire *w)
{
	static const struct {
		struct cleat_frame f;
		const char *prefix;
		size_t bytes;
	} refused[] = {
		{ { .prefix = 1, .cap = 9 }, "\xa", 1 },
		{ { .prefix = 1 }, "\x11", 1 }, /* no room in the buffer */
		{ { .cap = 9 }, "\0\0\0\xa", 4 },
		{ { 0 }, "\xff\xff\xff\xff", 4 },
		{ { 0 }, "\1\0\0\1", 4 }, /* 16 MiB and one */
		{ { .prefix = 8 }, "\x80\0\0\0\0\0\0\1", 8 },
		{ { .prefix = 8 }, "\0\0\0\1\0\0\0\1", 8 },
	};
	char got[16];
	void *data = got;

	for (size_t i = 0; i < COUNT(refused); i++) {
		size_t n = refused[i].bytes;

		put(w, refused[i].prefix, n);
		for (int k = 0; k < 2; k++)
			assert_int_equal(cleat_recv_msg(w->c, got, 16,
							&refused[i].f, soon()),
					 -EMSGSIZE);
		assert_non_null(strstr(cleat_why(), "receive message from "));
		if (i != 1)
			assert_int_equal(cleat_take_msg(w->c, &data,
							&refused[i].f, soon()),
					 -EMSGSIZE);
		assert_int_equal(cleat_recv_exactly(w->c, got, n, soon()), n);
		assert_memory_equal(got, refused[i].prefix, n);
	}
	assert_ptr_equal(data, got);
}

/* "No cap" must not let a peer's length wrap around. */
static void msg_no_cap(struct wire *w)
{
	const struct cleat_frame f = { .prefix = 8, .cap = SIZE_MAX };
	static const char *const prefixes[] = {
		"\xff\xff\xff\xff\xff\xff\xff\xff",
		"\xff\xff\xff\xff\xff\xff\xff\xfe",
		"\x80\0\0\0\0\0\0\0",
		"\x7f\xff\xff\xff\xff\xff\xff\xff",
	};
	char got[8], untouched;
	void *data = &untouched;

	for (size_t i = 0; i < COUNT(prefixes); i++) {
		ssize_t n;

		put(w, prefixes[i], 8);
		put(w, "body", 4);
		n = cleat_take_msg(w->c, &data, &f, cleat_in(CLEAT_MSEC));
		if (n != -EMSGSIZE && n != -ENOMEM)
			fail_msg("%zu: %zd", i, n);
		assert_ptr_equal(data, &untouched);
		assert_int_equal(cleat_recv_exactly(w->c, got, 8, soon()), 8);
		assert_memory_equal(got, prefixes[i], 8);
		assert_next(w, "body");
	}
}

static void msg_too_long_then_taken(struct wire *w)
{
	void *data;
	char got[3];

	put(w, "\0\0\0\4abcd", 8);
	assert_int_equal(cleat_recv_msg(w->c, got, 3, NULL, soon()), -EMSGSIZE);
	assert_int_equal(cleat_take_msg(w->c, &data, NULL, soon()), 4);
	assert_string_equal(data, "abcd");
	free(data);
}

static void msg_largest(struct wire *w)
{
	size_t len = 16 * MIB;
	char *wire = pattern(4 + len);
	struct sender s = { .w = w, .data = wire, .len = 4 + len };
	void *data;

	memset(wire, 0, 4);
	wire[0] = 1;
	sender_start(&s);
	assert_int_equal(cleat_take_msg(w->c, &data, NULL, soon()), len);
	assert_memory_equal(data, wire + 4, len + 1);
	sender_join(&s);
	free(data);
	free(wire);
}

static const char two_messages[] = "\0\0\0\6abcdef\0\0\0\0";

static void msg_every_deadline(struct wire *w)
{
	char got[6];
	void *data;

	for (size_t k = 0; k < 10; k++) {
		put(w, two_messages, k);
		assert_int_equal(cleat_recv_msg(w->c, got, 6, NULL,
						cleat_in(CLEAT_MSEC)),
				 -ETIMEDOUT);
		assert_int_equal(cleat_take_msg(w->c, &data, NULL, 0),
				 -ETIMEDOUT);
		put(w, two_messages + k, 14 - k);
		if (k % 2) {
			assert_int_equal(
				cleat_recv_msg(w->c, got, 6, NULL, soon()), 6);
		} else {
			assert_int_equal(
				cleat_take_msg(w->c, &data, NULL, soon()), 6);
			memcpy(got, data, 6);
			free(data);
		}
		assert_memory_equal(got, "abcdef", 6);
		assert_int_equal(cleat_recv_msg(w->c, got, 0, NULL, soon()), 0);
	}
}

/* A stream that ends after the first K bytes, for every K. */
static void msg_every_cut(struct wire *given)
{
	for (size_t k = 0; k < 10; k++) {
		int want = k ? CLEAT_ECUT : CLEAT_EEOF;
		char got[16];
		void *data = got;
		struct wire w;

		wire_open(&w, given->tcp);
		put(&w, two_messages, k);
		end(&w);
		assert_int_equal(cleat_recv_msg(w.c, got, 16, NULL, soon()),
				 want);
		assert_int_equal(cleat_take_msg(w.c, &data, NULL, soon()),
				 want);
		assert_ptr_equal(data, got);
		if (k > 0) {
			assert_int_equal(
				cleat_recv_exactly(w.c, got, k, soon()), k);
			assert_memory_equal(got, two_messages, k);
		}
		assert_at_end(&w);
		wire_close(&w);
	}
}

static void msg_in_pieces(struct wire *w)
{
	char wire[14 * 20], got[6];
	struct sender s = { .w = w, .data = wire, .len = sizeof(wire) };

	for (size_t i = 0; i < sizeof(wire); i++)
		wire[i] = two_messages[i % 14];
	for (s.piece = 1; s.piece < 16; s.piece += 2) {
		sender_start(&s);
		for (int i = 0; i < 20; i++) {
			assert_int_equal(
				cleat_recv_msg(w->c, got, 6, NULL, soon()), 6);
			assert_memory_equal(got, "abcdef", 6);
			assert_int_equal(
				cleat_recv_msg(w->c, got, 6, NULL, soon()), 0);
		}
		sender_join(&s);
	}
}

/* Every way of reading, one after the other, from one burst. */
static void mixed(struct wire *w)
{
	static const char burst[] = "line\n\0\0\0\3msgblock\0\0\0\4takeviewed";
	const void *seen;
	char got[8];
	void *data;

	put(w, burst, sizeof(burst) - 1);
	assert_int_equal(cleat_recv_until(w->c, got, 8, "\n", 1, soon()), 5);
	assert_int_equal(cleat_recv_msg(w->c, got, 8, NULL, soon()), 3);
	assert_memory_equal(got, "msg", 3);
	assert_int_equal(cleat_recv_until(w->c, got, 8, "\n", 1, soon()),
			 -EMSGSIZE);
	assert_int_equal(cleat_recv_exactly(w->c, got, 5, soon()), 5);
	assert_memory_equal(got, "block", 5);
	assert_int_equal(cleat_take_msg(w->c, &data, NULL, soon()), 4);
	assert_string_equal(data, "take");
	free(data);
	assert_int_equal(cleat_recv_until(w->c, got, 6, "\n", 1, soon()),
			 -EMSGSIZE);
	assert_int_equal(cleat_view(w->c, &seen, soon()), 6);
	assert_memory_equal(seen, "viewed", 6);
}

/* An independent idea of what '!I' means. */
static void python(struct wire *w)
{
	static const size_t sizes[] = { 0, 1, 255, 256, 65537, 3 * MIB };
	static char script[] =
		"import socket, struct\n"
		"f = socket.socket(fileno=3).makefile('rwb')\n"
		"while head := f.read(4):\n"
		"    body = f.read(struct.unpack('!I', head)[0])[::-1]\n"
		"    f.write(struct.pack('!I', len(body)) + body)\n"
		"    f.flush()\n";
	static char name[] = "python3", option[] = "-c";
	char *argv[] = { name, option, script, NULL };
	posix_spawn_file_actions_t actions;
	extern char **environ;
	int status;
	pid_t pid;

	assert_int_equal(posix_spawn_file_actions_init(&actions), 0);
	/* From 3 to 3 takes close-on-exec off as well. */
	assert_int_equal(posix_spawn_file_actions_adddup2(&actions, w->raw, 3),
			 0);
	assert_int_equal(
		posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ), 0);
	posix_spawn_file_actions_destroy(&actions);
	for (size_t i = 0; i < COUNT(sizes); i++) {
		size_t len = sizes[i];
		char *data = pattern(len), *back;
		void *got;

		assert_int_equal(cleat_send_msg(w->c, data, len, NULL, soon()),
				 0);
		assert_int_equal(cleat_take_msg(w->c, &got, NULL, soon()), len);
		back = got;
		for (size_t k = 0; k < len; k++)
			assert_int_equal(back[k], data[len - 1 - k]);
		free(got);
		free(data);
	}
	assert_int_equal(cleat_shutdown(w->c, CLEAT_WRITE), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* A cancelled fiber loses nothing either. */
struct reader {
	struct cleat_conn *c;
	ssize_t n;
};

static void read_one(void *arg)
{
	struct reader *r = arg;
	char got[6];

	r->n = cleat_recv_msg(r->c, got, 6, NULL, CLEAT_FOREVER);
}

static void msg_cancelled(struct wire *w)
{
	struct reader r = { .c = w->c };
	struct cleat_scope *s;
	char got[6];

	if (!cleat_is_fiber())
		return;
	put(w, two_messages, 7);
	assert_int_equal(cleat_scope_open(&s, 0), 0);
	assert_int_equal(cleat_go(s, read_one, &r, soon()), 0);
	assert_int_equal(cleat_scope_wait(s, cleat_in(10 * CLEAT_MSEC)),
			 -ETIMEDOUT);
	cleat_scope_close(s);
	assert_int_equal(r.n, -ECANCELED);
	put(w, two_messages + 7, 7);
	assert_int_equal(cleat_recv_msg(w->c, got, 6, NULL, soon()), 6);
	assert_memory_equal(got, "abcdef", 6);
}

static const struct {
	const char *name;
	void (*fn)(struct wire *);
} cases[] = {
	{ "exactly_whole", exactly_whole },
	{ "exactly_in_pieces", exactly_in_pieces },
	{ "exactly_large", exactly_large },
	{ "exactly_deadline", exactly_deadline },
	{ "exactly_cut", exactly_cut },
	{ "exactly_reset", exactly_reset },
	{ "until_lines", until_lines },
	{ "until_every_seam", until_every_seam },
	{ "until_in_pieces", until_in_pieces },
	{ "until_cap", until_cap },
	{ "msg_layouts", msg_layouts },
	{ "msg_no_such_prefix", msg_no_such_prefix },
	{ "msg_send_cap", msg_send_cap },
	{ "msg_recv_cap", msg_recv_cap },
	{ "msg_no_cap", msg_no_cap },
	{ "msg_too_long_then_taken", msg_too_long_then_taken },
	{ "msg_largest", msg_largest },
	{ "msg_every_deadline", msg_every_deadline },
	{ "msg_every_cut", msg_every_cut },
	{ "msg_in_pieces", msg_in_pieces },
	{ "msg_cancelled", msg_cancelled },
	{ "mixed", mixed },
	{ "python", python },
};

struct way {
	char name[64];
	void (*fn)(struct wire *);
	bool tcp, fiber;
};

static void on_a_wire(void *arg)
{
	const struct way *way = arg;
	struct wire w;

	wire_open(&w, way->tcp);
	way->fn(&w);
	wire_close(&w);
}

static void run(void **state)
{
	struct way *way = *state;
	struct both_left before = both_count();

	if (way->fiber)
		ok(cleat_run(on_a_wire, way, NULL));
	else
		on_a_wire(way);
	both_assert_nothing_left(before);
}

int main(void)
{
	static struct way ways[4 * COUNT(cases)];
	struct CMUnitTest tests[COUNT(ways)];

	for (unsigned i = 0; i < COUNT(ways); i++) {
		struct way *way = &ways[i];

		way->fn = cases[i / 4].fn;
		way->tcp = i & 1;
		way->fiber = i & 2;
		(void)snprintf(way->name, sizeof(way->name), "%s %s %s",
			       cases[i / 4].name, way->tcp ? "tcp" : "unix",
			       way->fiber ? "fiber" : "thread");
		tests[i] = (struct CMUnitTest){ .name = way->name,
						.test_func = run,
						.teardown_func = both_back,
						.initial_state = way };
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
