/* SPDX-License-Identifier: MIT */
/* The bytes that cleat bench sends and expects.
 *
 * A connection sends one endless stream, that repeats after some 16 KiB of
 * random bytes, and cuts its messages out of it.  So each message begins at
 * another place than hundreds before it: an answer that is shifted or has
 * another's end does not match, and to make and to check one takes no more than
 * a send and a memcmp(3).  Where an answer is what was sent, the first bytes
 * are changed by the message's number as well: no other's matches, however old.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"

/* The period is a prime number of cache lines, for to copy from the middle of
 * one costs more: messages of whole lines shall begin with one.  They begin at
 * few places only if their length is a multiple of the prime: then take the
 * other. */
enum {
	LINES = 251,
	OTHER_LINES = 257,
	STAMP = sizeof(uint64_t),
};

/* Behind the period comes what it begins with, as often as it takes. */
static void repeat(struct pattern *p)
{
	for (size_t i = 0; i < PATTERN_SPARE; i++)
		p->data[p->period + i] = p->data[i];
}

int pattern_random(struct pattern *p, size_t len)
{
	const size_t lines = len % LINES ? LINES : OTHER_LINES;
	uint64_t x = 88172645463325252; /* xorshift64 */

	*p = (struct pattern){ .period = lines * CACHE_LINE, .message = len };
	p->data = aligned_alloc(CACHE_LINE, p->period + PATTERN_SPARE);
	if (!p->data)
		return -ENOMEM;
	for (size_t i = 0; i < p->period; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		p->data[i] = (unsigned char)(x >> 32);
	}
	repeat(p);
	return 0;
}

/* The bytes of FD, at most LEN; or a negative code. */
static ssize_t read_all(int fd, unsigned char *to, size_t len)
{
	size_t got = 0;

	while (got < len) {
		const ssize_t n = read(fd, to + got, len - got);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 0)
			break;
		got += n > 0 ? (size_t)n : 0;
	}
	return (ssize_t)got;
}

int pattern_file(struct pattern *p, const char *path)
{
	const int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -errno : -ENOMEM;
	unsigned char *data = NULL;

	if (fd >= 0)
		data = malloc(PATTERN_FILE_MAX + 1);
	if (data)
		n = read_all(fd, data, PATTERN_FILE_MAX + 1);
	if (fd >= 0)
		(void)close(fd);
	if (n == 0)
		n = -ENODATA;
	if (n > PATTERN_FILE_MAX)
		n = -EFBIG;
	*p = (struct pattern){ .period = (size_t)n, .message = (size_t)n };
	if (n > 0)
		p->data = realloc(data, (size_t)n + PATTERN_SPARE);
	if (!p->data)
		free(data);
	if (n > 0 && !p->data)
		n = -ENOMEM;
	if (n < 0)
		return (int)n;
	repeat(p);
	return 0;
}

void pattern_number(struct pattern *p)
{
	p->stamp = p->message < STAMP ? p->message : STAMP;
}

void pattern_done(struct pattern *p)
{
	free(p->data);
	p->data = NULL;
}

static size_t same(const unsigned char *a, const unsigned char *b, size_t len)
{
	size_t n = 0;

	if (memcmp(a, b, len) == 0)
		return len;
	while (a[n] == b[n])
		n++;
	return n;
}

/* A bijection: no two numbers have the same stamp.  Of a shorter one too, the
 * first bytes of this, those are far apart whose numbers are close: it is the
 * golden ratio's fraction that they are multiplied by. */
static uint64_t stamp_of(uint64_t number)
{
	return htobe64((number + 1) * 0x9e3779b97f4a7c15);
}

/* The LEN bytes at DATA are changed by those of STAMP, or back. */
static inline void change(void *data, const void *stamp, size_t len)
{
	uint64_t a = 0, b = 0;

	memcpy(&a, data, len);
	memcpy(&b, stamp, len);
	a ^= b;
	memcpy(data, &a, len);
}

void pattern_stamp(const struct pattern *p, unsigned char *message,
		   uint64_t number)
{
	const uint64_t stamp = stamp_of(number);

	if (p->stamp == STAMP) /* by far the most, and no call */
		change(message, &stamp, STAMP);
	else
		change(message, &stamp, p->stamp);
}

size_t pattern_match(const struct pattern *p, size_t *at, const void *data,
		     size_t len)
{
	const unsigned char *s = data;
	size_t done = 0;

	if (!p->data)
		return len;
	while (done < len) {
		const size_t left = len - done;
		const size_t n = left < PATTERN_SPARE ? left : PATTERN_SPARE;
		const size_t good = same(p->data + *at, s + done, n);

		*at = pattern_move(p, *at, good);
		done += good;
		if (good < n)
			break;
	}
	return done;
}

/* How many bytes of a stamp are right, from the PART-th on. */
static size_t match_stamp(const struct pattern *p, size_t at, uint64_t number,
			  size_t part, const unsigned char *data, size_t len)
{
	uint64_t stamp = stamp_of(number);
	unsigned char *want = (unsigned char *)&stamp + part;
	const size_t left = p->stamp - part;
	const size_t n = len < left ? len : left;

	if (n == STAMP) { /* the same */
		change(want, p->data + at, STAMP);
		if (memcmp(want, data, STAMP) == 0)
			return STAMP;
		return same(want, data, STAMP);
	}
	change(want, p->data + at, n);
	return same(want, data, n);
}

size_t pattern_match_message(const struct pattern *p, size_t *at,
			     uint64_t number, size_t part,
			     const unsigned char *data, size_t len)
{
	size_t done = 0;

	if (part < p->stamp) {
		done = match_stamp(p, *at, number, part, data, len);
		*at = pattern_move(p, *at, done);
		if (done < len && part + done < p->stamp)
			return done;
	}
	return done + pattern_match(p, at, data + done, len - done);
}
