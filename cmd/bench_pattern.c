/* SPDX-License-Identifier: MIT */
/* The bytes that cleat bench sends and expects.
 *
 * A connection sends one endless stream, that repeats after some 16 KiB of
 * random bytes, and cuts its messages out of it.  So each message begins at
 * another place than hundreds before it: an answer that is old, shifted or
 * another's does not match, and to make and to check one takes no more than a
 * send and a memcmp(3). */
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
