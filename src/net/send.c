/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "net/conn.h"

#define PIECES_MAX 1024 /* IOV_MAX of Linux, in one system call */

/* One try, and a wait where the peer has no room.  Bytes sent, or an error. */
static ssize_t send_some(struct cleat_conn *c, const struct msghdr *m,
			 cleat_time until)
{
	ssize_t n;
	int err = 0;

	for (;;) {
		if (cleat__is_ready(&c->io, CLEAT__OUT) || err == -ETIMEDOUT) {
			n = sys_sendmsg(c->io.fd, m);
			if (n != -EAGAIN)
				return n;
			cleat__clear_ready(&c->io, CLEAT__OUT);
		}
		if (err == -ETIMEDOUT)
			return err;
		atomic_store_explicit(&c->sending, true, memory_order_relaxed);
		err = cleat__conn_wait(c, CLEAT__OUT, until);
		/* No last try where a limit of C has passed: the kernel takes a
		 * little each time, and the limit would start afresh. */
		if (err < 0 && (err != -ETIMEDOUT || cleat_now() < until))
			return err;
	}
}

static int send_rest(struct cleat_conn *c, const char *data, size_t len,
		     cleat_time until)
{
	while (len > 0) {
		struct iovec v = { .iov_base = (char *)(uintptr_t)data,
				   .iov_len = len };
		struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };
		ssize_t n = send_some(c, &m, until);

		if (n < 0)
			return (int)n;
		c->sent += (uint64_t)n;
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

static int send_copy(struct cleat_conn *c, const void *data, size_t len,
		     cleat_time until)
{
	void *copy = malloc(len);
	int err;

	if (!copy)
		return -ENOMEM;
	memcpy(copy, data, len);
	err = send_rest(c, copy, len, until);
	free(copy);
	return err;
}

/* What a first send left: N is what it said. */
static int send_more(struct cleat_conn *c, const void *data, size_t len,
		     ssize_t n, cleat_time until)
{
	if (n == -EAGAIN) {
		cleat__clear_ready(&c->io, CLEAT__OUT);
		n = 0;
	}
	if (n < 0)
		return (int)n;
	c->sent += (uint64_t)n;
	data = (const char *)data + n;
	len -= (size_t)n;
	if (len == 0)
		return 0;
	return cleat__is_hot(data) ? send_copy(c, data, len, until)
				   : send_rest(c, data, len, until);
}

/* One sends at a time.  A fiber has the turn as long as it does not wait, and
 * claims it in send_some() when it does; a thread claims it at once.
 */
static bool is_my_turn(struct cleat_conn *c)
{
	if (!cleat__self)
		return !atomic_exchange(&c->sending, true);
	return !atomic_load_explicit(&c->sending, memory_order_relaxed);
}

/* The kernel tells once why a connection broke, and of a fed one it may have
 * told the receive that was ahead: whoever calls first is to hear it.
 */
static int why_broken(struct cleat__watch *w)
{
	int err = -w->broken;

	if (err == 0 || w->home != cleat__self)
		return -EPIPE;
	w->broken = 0;
	return err;
}

/* The end of a turn: after a failure that direction is dead. */
static int sent(struct cleat_conn *c, int err)
{
	if (err == -EPIPE && !c->cannot_send)
		err = why_broken(&c->io);
	if (err < 0)
		c->cannot_send = true;
	if (atomic_load_explicit(&c->sending, memory_order_relaxed))
		atomic_store_explicit(&c->sending, false, memory_order_release);
	return err < 0 ? cleat__conn_fail(c, err, "send to") : 0;
}

static int may_send(const struct cleat_conn *c, const void *data)
{
	int err = cleat__enter_with(data);

	return err == 0 && c->cannot_send ? -EPIPE : err;
}

static __attribute__((noinline)) int send_slowly(struct cleat_conn *c,
						 const void *data, size_t len,
						 cleat_time until)
{
	ssize_t n = 0;
	int err;

	if (!is_my_turn(c))
		return cleat__conn_fail(c, -EBUSY, "send to");
	err = may_send(c, data);
	if (err == 0 && len > 0 && cleat__is_ready(&c->io, CLEAT__OUT))
		n = sys_send(c->io.fd, data, len);
	if (err == 0)
		err = send_more(c, data, len, n, until);
	return sent(c, err);
}

/* Whether a fiber has only to send: as it is for most messages. */
static inline bool is_simple(struct cleat__sched *s, const struct cleat_conn *c)
{
	return s && !c->cannot_send &&
	       !atomic_load_explicit(&c->sending, memory_order_relaxed) &&
	       cleat__is_ready(&c->io, CLEAT__OUT) && cleat__goes_on(s);
}

/* Short, as cleat_view() is. */
int cleat_send(struct cleat_conn *c, const void *data, size_t len,
	       cleat_time until)
{
	ssize_t n;

	if (len == 0 || !is_simple(cleat__self, c))
		return send_slowly(c, data, len, until);
	n = sys_send(c->io.fd, data, len);
	if (n != (ssize_t)len)
		return sent(c, send_more(c, data, len, n, until));
	c->sent += len;
	return 0;
}

/* Step over N bytes that went out: the piece that was cut is finished alone,
 * so that the caller's array stays as it is.  Returns pieces done, or an error.
 */
static int step_over(struct cleat_conn *c, const struct iovec *v, size_t n,
		     cleat_time until)
{
	int i = 0;

	while (n > 0 && n >= v[i].iov_len)
		n -= v[i++].iov_len;
	if (n > 0) {
		int err = send_rest(c, (const char *)v[i].iov_base + n,
				    v[i].iov_len - n, until);

		if (err < 0)
			return err;
		i++;
	}
	return i;
}

static int send_pieces(struct cleat_conn *c, const struct iovec *v, unsigned n,
		       cleat_time until)
{
	while (n > 0) {
		struct msghdr m = {
			.msg_iov = (struct iovec *)(uintptr_t)v,
			.msg_iovlen = n < PIECES_MAX ? n : PIECES_MAX,
		};
		ssize_t done;

		if (v->iov_len == 0) {
			v++, n--;
			continue;
		}
		done = send_some(c, &m, until);
		if (done < 0)
			return (int)done;
		c->sent += (uint64_t)done;
		done = step_over(c, v, (size_t)done, until);
		if (done < 0)
			return (int)done;
		v += done;
		n -= (unsigned)done;
	}
	return 0;
}

static char *gather(const struct iovec *v, unsigned n, size_t len)
{
	char *all = malloc(len), *at = all;

	for (unsigned i = 0; all && i < n; i++) {
		if (v[i].iov_len > 0)
			memcpy(at, v[i].iov_base, v[i].iov_len);
		at += v[i].iov_len;
	}
	return all;
}

/* Borrowed bytes among the pieces would be lost in a wait: unless all go at
 * once, copy them first.
 */
static int send_borrowed(struct cleat_conn *c, const struct iovec *v,
			 unsigned n, size_t len, cleat_time until)
{
	struct msghdr m = { .msg_iov = (struct iovec *)(uintptr_t)v,
			    .msg_iovlen = n };
	ssize_t done = n <= PIECES_MAX ? sys_sendmsg(c->io.fd, &m) : 0;
	char *all;
	int err;

	if (done == -EAGAIN)
		done = 0;
	if (done < 0)
		return (int)done;
	c->sent += (uint64_t)done;
	if ((size_t)done == len)
		return 0;
	all = gather(v, n, len);
	if (!all)
		return -ENOMEM;
	err = send_rest(c, all + done, len - (size_t)done, until);
	free(all);
	return err;
}

int cleat_sendv(struct cleat_conn *c, const struct iovec *v, unsigned n,
		cleat_time until)
{
	size_t len = 0;
	const void *hot = NULL; /* a piece that is borrowed */
	int err;

	for (unsigned i = 0; i < n; i++) {
		if (v[i].iov_len > SSIZE_MAX - len)
			return cleat__conn_fail(c, -EINVAL, "send to");
		len += v[i].iov_len;
		if (cleat__is_hot(v[i].iov_base))
			hot = v[i].iov_base;
	}
	if (!is_my_turn(c))
		return cleat__conn_fail(c, -EBUSY, "send to");
	err = may_send(c, hot);
	if (err == 0 && len > 0)
		err = hot ? send_borrowed(c, v, n, len, until)
			  : send_pieces(c, v, n, until);
	return sent(c, err);
}
