/* SPDX-License-Identifier: MIT */
/* Framing against a model: however a stream is cut into pieces and whatever is
 * asked of it, each answer follows from the bytes that have come, and each byte
 * is handed out once.
 *
 * Input: a byte of flags (1: on a fiber), the number of steps, two bytes for
 * each step (what to do, an argument), and then the stream.
 */
#include <cleat/error.h>
#include <cleat/fiber.h>
#include <cleat/frame.h>

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

struct play {
	const uint8_t *steps;
	size_t n_steps;
	const uint8_t *stream;
	size_t len, sent, read; /* read <= sent <= len */
	bool ended;
	int raw; /* the far end */
	struct cleat_conn *c;
};

static void must(bool truth)
{
	if (!truth)
		abort();
}

static size_t unread(const struct play *p)
{
	return p->sent - p->read;
}

static void push(struct play *p, size_t n)
{
	if (n > p->len - p->sent)
		n = p->len - p->sent;
	if (p->ended || n == 0)
		return;
	must(send(p->raw, p->stream + p->sent, n, MSG_NOSIGNAL) == (ssize_t)n);
	p->sent += n;
}

static void end(struct play *p)
{
	must(shutdown(p->raw, SHUT_WR) == 0);
	p->ended = true;
}

/* What is said when more than the unread bytes is needed. */
static ssize_t more_needed(const struct play *p)
{
	if (!p->ended)
		return -ETIMEDOUT;
	return unread(p) > 0 ? CLEAT_ECUT : CLEAT_EEOF;
}

/* The call returned GOT where WANT was due; if bytes, those in BUF, which lie
 * SKIP bytes (a prefix) further on in the stream.
 */
static void check(struct play *p, ssize_t got, ssize_t want, const void *buf,
		  size_t skip)
{
	must(got == want);
	if (want < 0)
		return;
	must(want == 0 ||
	     memcmp(buf, p->stream + p->read + skip, (size_t)want) == 0);
	p->read += skip + (size_t)want;
}

static void exactly(struct play *p, size_t len)
{
	char buf[256];

	check(p, cleat_recv_exactly(p->c, buf, len, 0),
	      unread(p) >= len ? (ssize_t)len : more_needed(p), buf, 0);
}

static ssize_t line_due(const struct play *p, size_t len, const char *delim,
			size_t dlen)
{
	const uint8_t *from = p->stream + p->read;

	for (size_t i = 0; i + dlen <= len && i + dlen <= unread(p); i++) {
		if (memcmp(from + i, delim, dlen) == 0)
			return (ssize_t)(i + dlen);
	}
	return unread(p) >= len ? -EMSGSIZE : more_needed(p);
}

static void line(struct play *p, unsigned which, size_t len)
{
	static const struct {
		const char *bytes;
		size_t len;
	} delims[] = {
		{ "\n", 1 }, { "\r\n\r\n", 4 }, { "aab", 3 }, { "", 1 }
	};
	const char *delim = delims[which % 4].bytes;
	size_t dlen = delims[which % 4].len;
	ssize_t due = line_due(p, len, delim, dlen);
	char buf[256];

	check(p, cleat_recv_until(p->c, buf, len, delim, dlen, 0), due, buf, 0);
}

static ssize_t message_due(const struct play *p, const struct cleat_frame *f,
			   size_t cap)
{
	uint64_t len = 0;

	if (unread(p) < f->prefix)
		return more_needed(p);
	for (unsigned i = 0; i < f->prefix; i++) {
		unsigned k =
			f->endian == CLEAT_BIG_ENDIAN ? i : f->prefix - 1 - i;

		len = len << 8 | p->stream[p->read + k];
	}
	if (len > cap)
		return -EMSGSIZE;
	return unread(p) - f->prefix >= len ? (ssize_t)len : more_needed(p);
}

static struct cleat_frame frame_of(unsigned which)
{
	return (struct cleat_frame){
		.prefix = 1u << (which & 3),
		.endian = which & 4 ? CLEAT_LITTLE_ENDIAN : CLEAT_BIG_ENDIAN,
		.cap = which & 8 ? 100 : 70000,
	};
}

static void message(struct play *p, unsigned which, size_t len)
{
	const struct cleat_frame f = frame_of(which);
	ssize_t due = message_due(p, &f, len < f.cap ? len : f.cap);
	char buf[256];

	check(p, cleat_recv_msg(p->c, buf, len, &f, 0), due, buf, f.prefix);
}

static void taken(struct play *p, unsigned which)
{
	const struct cleat_frame f = frame_of(which);
	ssize_t due = message_due(p, &f, f.cap);
	void *data = NULL;

	check(p, cleat_take_msg(p->c, &data, &f, 0), due, data, f.prefix);
	must((due < 0) == !data);
	must(due < 0 || ((char *)data)[due] == '\0');
	free(data);
}

/* These may stop short, but not at nothing. */
static void check_some(struct play *p, ssize_t n, const void *buf)
{
	if (unread(p) == 0)
		must(n == (p->ended ? 0 : -ETIMEDOUT));
	else
		must(n > 0 && (size_t)n <= unread(p));
	if (n > 0)
		check(p, n, n, buf, 0);
}

static void some(struct play *p, size_t len)
{
	char buf[256];
	ssize_t n = cleat_recv(p->c, buf, len, 0);

	must(n <= (ssize_t)len);
	check_some(p, n, buf);
}

static void viewed(struct play *p)
{
	const void *seen = NULL;
	ssize_t n = cleat_view(p->c, &seen, 0);

	check_some(p, n, seen);
}

static void step(struct play *p, unsigned what, unsigned arg)
{
	switch (what & 7) {
	case 0:
		push(p, arg);
		break;
	case 1:
		end(p);
		break;
	case 2:
		exactly(p, arg);
		break;
	case 3:
		line(p, what >> 3, arg);
		break;
	case 4:
		message(p, what >> 3, arg);
		break;
	case 5:
		taken(p, what >> 3);
		break;
	case 6:
		some(p, arg + 1);
		break;
	default:
		viewed(p);
	}
}

static void play(void *arg)
{
	struct play *p = arg;
	int fd[2];

	must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd) == 0);
	must(cleat_adopt(&p->c, fd[0]) == 0);
	p->raw = fd[1];
	for (size_t i = 0; i < p->n_steps; i++)
		step(p, p->steps[2 * i], p->steps[2 * i + 1]);
	end(p);
	while (unread(p) > 0)
		some(p, 256);
	some(p, 256);
	must(cleat_conn_counts(p->c).received == p->sent);
	cleat_close(p->c);
	close(p->raw);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct play p = { 0 };

	if (len < 2 || len > 65536) /* all of it fits a socket's buffer */
		return 0;
	p.n_steps = data[1] < (len - 2) / 2 ? data[1] : (len - 2) / 2;
	p.steps = data + 2;
	p.stream = p.steps + 2 * p.n_steps;
	p.len = len - 2 - 2 * p.n_steps;
	if (data[0] & 1)
		must(cleat_run(play, &p, NULL) == 0);
	else
		play(&p);
	return 0;
}
