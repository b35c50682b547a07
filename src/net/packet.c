/* SPDX-License-Identifier: MIT */
/* Datagrams out and in, one by one and in batches. */
#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "base/sys.h"
#include "base/time.h"
#include "fiber/sched.h"
#include "net/conn.h"
#include "net/dgram.h"

/* One try on one socket; bytes or datagrams, or an error. */
typedef int attempt(struct cleat_dgram *d, unsigned i, void *arg);

static int try_readable(struct cleat_dgram *d, attempt *try, void *arg)
{
	for (unsigned k = 0; k < d->n; k++) {
		unsigned i = (d->last + 1 + k) % d->n;
		int n;

		if (!cleat__is_ready(&d->io[i], CLEAT__IN))
			continue;
		n = try(d, i, arg);
		if (n != -EAGAIN) {
			d->last = i;
			return n;
		}
		cleat__clear_ready(&d->io[i], CLEAT__IN);
	}
	return -EAGAIN;
}

static int receive(struct cleat_dgram *d, attempt *try, void *arg,
		   cleat_time until)
{
	struct cleat__watch *on[CLEAT__WATCH_MAX];
	int err = cleat__enter();

	if (err < 0)
		return err;
	for (unsigned i = 0; i < d->n; i++)
		on[i] = &d->io[i];
	for (;;) {
		int n = try_readable(d, try, arg);

		if (n != -EAGAIN)
			return n;
		if (err == -ETIMEDOUT)
			return err;
		err = cleat__wait_any(on, d->n, CLEAT__IN, until);
		if (err < 0 && err != -ETIMEDOUT)
			return err;
		for (unsigned i = 0; err < 0 && i < d->n; i++)
			cleat__set_ready(on[i], CLEAT__IN); /* the last look */
	}
}

/* A failure is the peer's, if there is one, or else the socket's. */
static int fail_with_peer(const struct cleat_dgram *d, int err,
			  const char *step, const char *alone)
{
	struct cleat_sockaddr peer = { .len = sizeof(peer.storage) };

	if (sys_getpeername(d->io[0].fd, &peer.any, &peer.len) < 0)
		return cleat__fail(err, alone, NULL, NULL);
	return cleat__fail_at(err, step, &peer);
}

static int try_recvmsg(struct cleat_dgram *d, unsigned i, void *arg)
{
	return (int)sys_recvmsg(d->io[i].fd, arg);
}

ssize_t cleat_recvfrom(struct cleat_dgram *d, void *buf, size_t len,
		       struct cleat_sockaddr *from, cleat_time until)
{
	struct cleat_sockaddr sa;
	union cleat__control control;
	struct iovec v = { .iov_base = buf, .iov_len = len };
	struct msghdr m = {
		.msg_name = &sa.any,
		.msg_namelen = sizeof(sa.storage),
		.msg_iov = &v,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = d->is_wild ? sizeof(control) : 0,
	};
	int n = receive(d, try_recvmsg, &m, until);

	if (n < 0)
		return fail_with_peer(d, n, "receive from", "receive datagram");
	sa.len = m.msg_namelen;
	if (sa.len == 0) /* unix(7): from an unbound socket */
		sa.any.sa_family = AF_UNSPEC;
	cleat__unmap(&sa);
	if (d->is_wild)
		cleat__asked_note(d, 0, &sa, &m);
	if (from)
		*from = sa;
	if (m.msg_flags & MSG_TRUNC)
		return cleat__fail(-EMSGSIZE, "receive datagram", NULL,
				   "longer than the room for it");
	return n;
}

/* Packets as the kernel takes them. */
struct batch {
	struct mmsghdr m[CLEAT__BATCH_MAX];
	struct iovec v[CLEAT__BATCH_MAX];
	union cleat__control control[CLEAT__BATCH_MAX];
	unsigned n;
};

static void batch_prepare(struct batch *b, struct cleat_packet *p, unsigned n)
{
	b->n = n < CLEAT__BATCH_MAX ? n : CLEAT__BATCH_MAX;
	for (unsigned i = 0; i < b->n; i++) {
		b->v[i].iov_base = p[i].data;
		b->m[i] = (struct mmsghdr){
			.msg_hdr = { .msg_name = &p[i].addr.any,
				     .msg_iov = &b->v[i],
				     .msg_iovlen = 1 },
		};
	}
}

static int try_recvmmsg(struct cleat_dgram *d, unsigned i, void *arg)
{
	struct batch *b = arg;
	int n = sys_recvmmsg(d->io[i].fd, b->m, b->n);

	/* Fewer than there was room for: no more, or an error that a further
	 * call will tell. */
	if (n > 0 && (unsigned)n < b->n && !d->io[i].exact)
		cleat__clear_ready(&d->io[i], CLEAT__IN);
	return n;
}

int cleat_recv_batch(struct cleat_dgram *d, struct cleat_packet *v, unsigned n,
		     cleat_time until)
{
	struct batch b;
	int got;

	if (n == 0)
		return cleat__fail(-EINVAL, "receive datagrams", NULL, NULL);
	batch_prepare(&b, v, n);
	for (unsigned i = 0; i < b.n; i++) {
		b.v[i].iov_len = v[i].size;
		b.m[i].msg_hdr.msg_namelen = sizeof(v[i].addr.storage);
		b.m[i].msg_hdr.msg_control = &b.control[i];
		if (d->is_wild)
			b.m[i].msg_hdr.msg_controllen = sizeof(b.control[i]);
	}
	got = receive(d, try_recvmmsg, &b, until);
	if (got < 0)
		return fail_with_peer(d, got, "receive from",
				      "receive datagrams");
	for (int i = 0; i < got; i++) {
		v[i].len = b.m[i].msg_len;
		v[i].truncated = b.m[i].msg_hdr.msg_flags & MSG_TRUNC;
		v[i].addr.len = b.m[i].msg_hdr.msg_namelen;
		if (v[i].addr.len == 0)
			v[i].addr.any.sa_family = AF_UNSPEC;
		cleat__unmap(&v[i].addr);
		if (d->is_wild)
			cleat__asked_note(d, (unsigned)i, &v[i].addr,
					  &b.m[i].msg_hdr);
	}
	return got;
}

struct cleat_sockaddr cleat__mapped(const struct cleat_sockaddr *to)
{
	struct cleat_sockaddr sa = {
		.len = sizeof(sa.in6),
		.in6 = { .sin6_family = AF_INET6,
			 .sin6_port = to->in.sin_port },
	};

	sa.in6.sin6_addr.s6_addr[10] = sa.in6.sin6_addr.s6_addr[11] = 0xff;
	memcpy(&sa.in6.sin6_addr.s6_addr[12], &to->in.sin_addr, 4);
	return sa;
}

/* Which of the sockets sends to TO, and TO as that one wants it. */
static int choose(const struct cleat_dgram *d, const struct cleat_sockaddr *to,
		  struct cleat_sockaddr *as)
{
	for (unsigned k = 0; k < d->n; k++) {
		unsigned i = (d->last + k) % d->n;

		*as = *to;
		if (to->len == 0 || d->family[i] == to->any.sa_family)
			return (int)i;
	}
	for (unsigned k = 0; k < d->n; k++) {
		unsigned i = (d->last + k) % d->n;

		if (d->family[i] == AF_INET6 && to->any.sa_family == AF_INET) {
			*as = cleat__mapped(to);
			return (int)i;
		}
	}
	return -EAFNOSUPPORT;
}

/* Nothing tells an unconnected unix socket that the queue of whom it sends to
 * has room again; poll(2) knows its own buffer alone.
 */
static int wait_for_room(struct cleat_dgram *d, int i, bool connected,
			 cleat_time until)
{
	if (d->family[i] != AF_UNIX || connected)
		return cleat__wait(&d->io[i], CLEAT__OUT, until);
	return cleat__unix_pause(until);
}

static ssize_t send_one(struct cleat_dgram *d, int i, const struct msghdr *m,
			cleat_time until)
{
	int err = 0;

	for (;;) {
		ssize_t n = sys_sendmsg(d->io[i].fd, m);

		if (n != -EAGAIN)
			return n;
		if (err == -ETIMEDOUT)
			return err;
		err = wait_for_room(d, i, !m->msg_name, until);
		if (err < 0 && err != -ETIMEDOUT)
			return err;
	}
}

int cleat_sendto(struct cleat_dgram *d, const void *data, size_t len,
		 const struct cleat_sockaddr *to, cleat_time until)
{
	static const struct cleat_sockaddr peer = { .len = 0 };
	struct cleat_sockaddr sa = { .len = 0 };
	struct iovec v = { .iov_base = (void *)(uintptr_t)data,
			   .iov_len = len };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };
	union cleat__control control;
	ssize_t n = cleat__enter_with(data);

	if (n == 0)
		n = choose(d, to ? to : &peer, &sa);
	if (n >= 0 && sa.len > 0) {
		m.msg_name = &sa.any;
		m.msg_namelen = sa.len;
		if (d->is_wild)
			cleat__asked_answer(d, (unsigned)n, to, &m, &control);
	}
	if (n >= 0)
		n = send_one(d, (int)n, &m, until);
	if (n >= 0)
		return 0;
	return to && to->len > 0
		       ? cleat__fail_at((int)n, "send datagram to", to)
		       : fail_with_peer(d, (int)n, "send to", "send datagram");
}

/* As many as go to one socket, and with one system call. */
static int send_run(struct cleat_dgram *d, struct cleat_packet *v, unsigned n,
		    cleat_time until)
{
	struct cleat_sockaddr as[CLEAT__BATCH_MAX];
	struct batch b;
	int first = choose(d, &v[0].addr, &as[0]), sent, err = 0;
	unsigned i;

	if (first < 0)
		return first;
	batch_prepare(&b, v, n);
	for (i = 0; i < b.n; i++) {
		if (choose(d, &v[i].addr, &as[i]) != first)
			break;
		b.v[i].iov_len = v[i].len;
		b.m[i].msg_hdr.msg_name = as[i].len ? &as[i].any : NULL;
		b.m[i].msg_hdr.msg_namelen = as[i].len;
		if (d->is_wild && as[i].len > 0)
			cleat__asked_answer(d, (unsigned)first, &v[i].addr,
					    &b.m[i].msg_hdr, &b.control[i]);
	}
	do {
		sent = sys_sendmmsg(d->io[first].fd, b.m, i);
		if (sent != -EAGAIN || err == -ETIMEDOUT)
			break;
		err = wait_for_room(d, first, !b.m[0].msg_hdr.msg_name, until);
	} while (err == 0 || err == -ETIMEDOUT);
	return sent == -EAGAIN ? err : sent;
}

int cleat_send_batch(struct cleat_dgram *d, struct cleat_packet *v, unsigned n,
		     cleat_time until)
{
	unsigned sent = 0;
	int err = cleat__enter();

	while (err >= 0 && sent < n) {
		err = send_run(d, v + sent, n - sent, until);
		if (err >= 0)
			sent += (unsigned)err;
	}
	if (sent > 0 || err == 0)
		return (int)sent;
	return fail_with_peer(d, err, "send to", "send datagrams");
}
