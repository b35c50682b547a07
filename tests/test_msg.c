/* SPDX-License-Identifier: MIT */
/* Framing by length: messages, with every prefix, cut anywhere. */
#include "wire.h"

#include <spawn.h>
#include <sys/wait.h>

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
			put(w->raw, prefix, n);
			put(w->raw, data, len);
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

	put(w->raw, "\0\0\0\0", 4);
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

		put(w->raw, refused[i].prefix, n);
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

		put(w->raw, prefixes[i], 8);
		put(w->raw, "body", 4);
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

	put(w->raw, "\0\0\0\4abcd", 8);
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
		put(w->raw, two_messages, k);
		assert_int_equal(cleat_recv_msg(w->c, got, 6, NULL,
						cleat_in(CLEAT_MSEC)),
				 -ETIMEDOUT);
		assert_int_equal(cleat_take_msg(w->c, &data, NULL, 0),
				 -ETIMEDOUT);
		put(w->raw, two_messages + k, 14 - k);
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
		put(w.raw, two_messages, k);
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
	put(w->raw, two_messages, 7);
	assert_int_equal(cleat_scope_open(&s, 0), 0);
	assert_int_equal(cleat_go(s, read_one, &r, soon()), 0);
	assert_int_equal(cleat_scope_wait(s, cleat_in(10 * CLEAT_MSEC)),
			 -ETIMEDOUT);
	cleat_scope_close(s);
	assert_int_equal(r.n, -ECANCELED);
	put(w->raw, two_messages + 7, 7);
	assert_int_equal(cleat_recv_msg(w->c, got, 6, NULL, soon()), 6);
	assert_memory_equal(got, "abcdef", 6);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE(msg_layouts),   WIRE(msg_no_such_prefix),
		WIRE(msg_send_cap),  WIRE(msg_recv_cap),
		WIRE(msg_no_cap),    WIRE(msg_too_long_then_taken),
		WIRE(msg_largest),   WIRE(msg_every_deadline),
		WIRE(msg_every_cut), WIRE(msg_in_pieces),
		WIRE(msg_cancelled), WIRE(python),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
