/* SPDX-License-Identifier: MIT */
/* Framing by count and by delimiter, and one way of reading after another. */
#include "wire.h"

/* cleat_recv_exactly */

static void exactly_whole(struct wire *w)
{
	char got[8] = "";

	put(w->raw, "helloworld", 10);
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
	put(w->raw, "abc", 3);
	until = cleat_in(20 * CLEAT_MSEC);
	assert_int_equal(cleat_recv_exactly(w->c, got, 8, until), -ETIMEDOUT);
	assert_true(cleat_now() >= until);
	put(w->raw, "de", 2);
	assert_int_equal(cleat_recv_exactly(w->c, got, 8, cleat_in(CLEAT_MSEC)),
			 -ETIMEDOUT);
	assert_int_equal(cleat_recv_exactly(w->c, got, 8, 0), -ETIMEDOUT);
	put(w->raw, "fgh", 3);
	assert_int_equal(cleat_recv_exactly(w->c, got, 8, soon()), 8);
	assert_string_equal(got, "abcdefgh");

	put(w->raw, "xyz", 3);
	assert_int_equal(cleat_recv_exactly(w->c, got, 8, cleat_in(CLEAT_MSEC)),
			 -ETIMEDOUT);
	assert_int_equal(cleat_view(w->c, &seen, soon()), 3);
	assert_memory_equal(seen, "xyz", 3);
	assert_int_equal(cleat_recv(w->c, got, 8, 0), -ETIMEDOUT);
}

static void exactly_cut(struct wire *w)
{
	char got[8];

	put(w->raw, "abc", 3);
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

	put(w->raw, "abc", 3);
	assert_int_equal(cleat_recv_exactly(w->c, got, 3, soon()), 3);
	put(w->raw, "abc", 3);
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

	put(w->raw, "one\ntwo\r\n\nrest", 14);
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
			put(w->raw, text, k);
			assert_int_equal(
				cleat_recv_until(w->c, got, sizeof(got), delim,
						 dlen, cleat_in(CLEAT_MSEC)),
				-ETIMEDOUT);
			put(w->raw, text + k, len - k);
			put(w->raw, "!", 1);
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

	put(w->raw, "12345\r\nafter", 12);
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

/* Every way of reading, one after the other, from one burst. */
static void mixed(struct wire *w)
{
	static const char burst[] = "line\n\0\0\0\3msgblock\0\0\0\4takeviewed";
	const void *seen;
	char got[8];
	void *data;

	put(w->raw, burst, sizeof(burst) - 1);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE(exactly_whole),   WIRE(exactly_in_pieces),
		WIRE(exactly_large),   WIRE(exactly_deadline),
		WIRE(exactly_cut),     WIRE(exactly_reset),
		WIRE(until_lines),     WIRE(until_every_seam),
		WIRE(until_in_pieces), WIRE(until_cap),
		WIRE(mixed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
