/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cleat/frame.h>

#include "base/error.h"
#include "net/conn.h"

#define DEFAULT_CAP (16u << 20)

/* The first N bytes of a unit that could not be had whole go back, so that
 * nothing is lost.  Returns why, with the end of the stream told apart.
 */
static int give_back(struct cleat_conn *c, const void *data, size_t n,
		     ssize_t err)
{
	if (err == 0)
		err = n > 0 ? CLEAT_ECUT : CLEAT_EEOF;
	if (cleat__conn_put_back(c, data, n) < 0)
		return -ENOMEM;
	return (int)err;
}

static int fill(struct cleat_conn *c, void *buf, size_t len, cleat_time until)
{
	size_t n = cleat__conn_take(c, buf, len);

	while (n < len) {
		ssize_t got =
			cleat__conn_recv(c, (char *)buf + n, len - n, until);

		if (got <= 0)
			return give_back(c, buf, n, got);
		n += (size_t)got;
	}
	return 0;
}

ssize_t cleat_recv_exactly(struct cleat_conn *c, void *buf, size_t len,
			   cleat_time until)
{
	int err = cleat__enter();

	if (err == 0)
		err = fill(c, buf, len, until);
	return err < 0 ? cleat__conn_fail(c, err, "receive from")
		       : (ssize_t)len;
}

/* What is received goes straight to the caller's memory; what lies behind the
 * delimiter goes back.  Each byte is searched once, but for a delimiter's
 * length at the seams.
 */
static ssize_t search(struct cleat_conn *c, char *buf, size_t len,
		      const void *delim, size_t dlen, cleat_time until)
{
	size_t n = cleat__conn_take(c, buf, len), searched = 0;
	const char *at;

	while (!(at = memmem(buf + searched, n - searched, delim, dlen))) {
		ssize_t got;

		if (n == len)
			return give_back(c, buf, n, -EMSGSIZE);
		searched = n >= dlen ? n - dlen + 1 : 0;
		got = cleat__conn_recv(c, buf + n, len - n, until);
		if (got <= 0)
			return give_back(c, buf, n, got);
		n += (size_t)got;
	}
	len = (size_t)(at - buf) + dlen;
	if (cleat__conn_put_back(c, buf + len, n - len) < 0)
		return -ENOMEM;
	return (ssize_t)len;
}

/* What is kept already, without moving the lines behind it; 0 if not whole. */
static ssize_t take_kept(struct cleat_conn *c, void *buf, size_t len,
			 const void *delim, size_t dlen)
{
	const char *from = (const char *)c->stash + c->stash_at;
	const char *at = memmem(from, len < c->stash_len ? len : c->stash_len,
				delim, dlen);
	size_t n = at ? (size_t)(at - from) + dlen : 0;

	return (ssize_t)cleat__conn_take(c, buf, n);
}

ssize_t cleat_recv_until(struct cleat_conn *c, void *buf, size_t len,
			 const void *delim, size_t dlen, cleat_time until)
{
	ssize_t n = dlen > 0 ? cleat__enter() : -EINVAL;

	if (n == 0 && c->stash_len > 0)
		n = take_kept(c, buf, len, delim, dlen);
	if (n == 0)
		n = search(c, buf, len, delim, dlen, until);
	return n < 0 ? cleat__conn_fail(c, (int)n, "receive from") : n;
}

static int frame_of(const struct cleat_frame *f, struct cleat_frame *out)
{
	*out = f ? *f : (struct cleat_frame){ 0 };
	if (out->prefix == 0)
		out->prefix = 4;
	if (out->cap == 0)
		out->cap = DEFAULT_CAP;
	if (out->cap >= SSIZE_MAX) /* room for a NUL, and to return it */
		out->cap = SSIZE_MAX - 1;
	switch (out->prefix) {
	case 1:
	case 2:
	case 4:
	case 8:
		return 0;
	default:
		return -EINVAL;
	}
}

/* The I-th byte on the wire carries these bits of the length. */
static unsigned shift_of(const struct cleat_frame *f, unsigned i)
{
	return 8 * (f->endian == CLEAT_BIG_ENDIAN ? f->prefix - 1 - i : i);
}

static void put_length(const struct cleat_frame *f, unsigned char *p,
		       uint64_t len)
{
	for (unsigned i = 0; i < f->prefix; i++)
		p[i] = (unsigned char)(len >> shift_of(f, i));
}

static uint64_t get_length(const struct cleat_frame *f, const unsigned char *p)
{
	uint64_t len = 0;

	for (unsigned i = 0; i < f->prefix; i++)
		len |= (uint64_t)p[i] << shift_of(f, i);
	return len;
}

static bool fits(const struct cleat_frame *f, uint64_t len)
{
	return len <= f->cap && (f->prefix == 8 || len >> 8 * f->prefix == 0);
}

int cleat_send_msg(struct cleat_conn *c, const void *data, size_t len,
		   const struct cleat_frame *frame, cleat_time until)
{
	unsigned char prefix[8];
	struct cleat_frame f;
	struct iovec v[2];
	int err = frame_of(frame, &f);

	if (err == 0 && !fits(&f, len))
		err = -EMSGSIZE;
	if (err < 0)
		return cleat__conn_fail(c, err, "send message to");
	put_length(&f, prefix, len);
	v[0] = (struct iovec){ .iov_base = prefix, .iov_len = f.prefix };
	v[1] = (struct iovec){ .iov_base = (void *)(uintptr_t)data,
			       .iov_len = len };
	return cleat_sendv(c, v, 2, until);
}

/* The length, of at most MAX bytes: a longer one is put back unread. */
static int recv_length(struct cleat_conn *c, const struct cleat_frame *f,
		       unsigned char prefix[8], size_t *len, cleat_time until)
{
	uint64_t n;
	int err = fill(c, prefix, f->prefix, until);

	if (err < 0)
		return err;
	n = get_length(f, prefix);
	if (n > f->cap)
		return give_back(c, prefix, f->prefix, -EMSGSIZE);
	*len = (size_t)n;
	return 0;
}

static int recv_body(struct cleat_conn *c, const struct cleat_frame *f,
		     const unsigned char prefix[8], void *buf, size_t len,
		     cleat_time until)
{
	int err = fill(c, buf, len, until);

	if (err == CLEAT_EEOF)
		err = CLEAT_ECUT; /* between prefix and body is inside, too */
	return err < 0 ? give_back(c, prefix, f->prefix, err) : 0;
}

static ssize_t recv_msg(struct cleat_conn *c, void *buf,
			const struct cleat_frame *f, cleat_time until)
{
	unsigned char prefix[8];
	size_t len;
	int err = recv_length(c, f, prefix, &len, until);

	if (err == 0)
		err = recv_body(c, f, prefix, buf, len, until);
	return err < 0 ? err : (ssize_t)len;
}

ssize_t cleat_recv_msg(struct cleat_conn *c, void *buf, size_t len,
		       const struct cleat_frame *frame, cleat_time until)
{
	struct cleat_frame f;
	ssize_t n = cleat__enter();

	if (n == 0)
		n = frame_of(frame, &f);
	if (n == 0) {
		f.cap = len < f.cap ? len : f.cap;
		n = recv_msg(c, buf, &f, until);
	}
	return n < 0 ? cleat__conn_fail(c, (int)n, "receive message from") : n;
}

static ssize_t take_msg(struct cleat_conn *c, void **data,
			const struct cleat_frame *f, cleat_time until)
{
	unsigned char prefix[8];
	size_t len;
	char *buf;
	int err = recv_length(c, f, prefix, &len, until);

	if (err < 0)
		return err;
	buf = malloc(len + 1);
	if (!buf)
		return give_back(c, prefix, f->prefix, -ENOMEM);
	err = recv_body(c, f, prefix, buf, len, until);
	if (err < 0) {
		free(buf);
		return err;
	}
	buf[len] = '\0';
	*data = buf;
	return (ssize_t)len;
}

ssize_t cleat_take_msg(struct cleat_conn *c, void **data,
		       const struct cleat_frame *frame, cleat_time until)
{
	struct cleat_frame f;
	ssize_t n = cleat__enter();

	if (n == 0)
		n = frame_of(frame, &f);
	if (n == 0)
		n = take_msg(c, data, &f, until);
	return n < 0 ? cleat__conn_fail(c, (int)n, "receive message from") : n;
}
