/* SPDX-License-Identifier: MIT */
#include "net/conn.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/sys.h"
#include "base/time.h"

#define SMALL 1024 /* bytes; what is larger had better be received */
#define SMALL_RUN 16

void cleat__unmap(struct cleat_sockaddr *sa)
{
	struct sockaddr_in in = { .sin_family = AF_INET };

	if (sa->any.sa_family != AF_INET6 ||
	    !IN6_IS_ADDR_V4MAPPED(&sa->in6.sin6_addr))
		return;
	in.sin_port = sa->in6.sin6_port;
	memcpy(&in.sin_addr, &sa->in6.sin6_addr.s6_addr[12], 4);
	sa->in = in;
	sa->len = sizeof(in);
}

static void set_peer(struct cleat_conn *c, const struct cleat_sockaddr *peer)
{
	c->peer.family = peer->any.sa_family;
	if (peer->any.sa_family != AF_UNIX)
		memcpy(&c->peer, &peer->any,
		       peer->len < sizeof(c->peer) ? peer->len
						   : sizeof(c->peer));
}

void cleat__conn_init(struct cleat_conn *c, int fd,
		      const struct cleat_sockaddr *peer)
{
	memset(c, 0, sizeof(*c));
	cleat__watch_init(&c->io, fd);
	c->end = CLEAT_FOREVER;
	c->io.exact = peer->any.sa_family == AF_UNIX;
	set_peer(c, peer);
}

int cleat__conn_new(struct cleat_conn **ret, int fd,
		    const struct cleat_sockaddr *peer)
{
	struct cleat_conn *c = malloc(sizeof(*c));

	if (!c)
		return -ENOMEM;
	cleat__conn_init(c, fd, peer);
	*ret = c;
	return 0;
}

/* What was received ahead is unread as well, but the kernel cannot know. */
static void reset_if_unread(struct cleat_conn *c)
{
	static const struct linger none = { .l_onoff = 1 };
	size_t had = c->stash_len;

	cleat__watch_release(&c->io);
	if (c->stash_len > had) /* at worst a FIN */
		(void)sys_setsockopt(c->io.fd, SOL_SOCKET, SO_LINGER, &none,
				     sizeof(none));
}

void cleat__conn_done(struct cleat_conn *c)
{
	if (cleat__is_fed(&c->io))
		reset_if_unread(c);
	cleat__watch_close(&c->io);
	free(c->stash);
}

void cleat_close(struct cleat_conn *c)
{
	if (!c)
		return;
	cleat__conn_done(c);
	free(c);
}

/* A unix path, or an abstract name, both as the kernel counts them. */
static int name_of(int fd, int (*ask)(int, struct sockaddr *, socklen_t *),
		   struct cleat_sockaddr *sa)
{
	struct cleat_sockaddr got = { .len = sizeof(got.storage) };
	int err = ask(fd, &got.any, &got.len);

	if (err < 0)
		return err;
	cleat__unmap(&got);
	*sa = got;
	return 0;
}

static int ask_name(int fd, int (*ask)(int, struct sockaddr *, socklen_t *),
		    struct cleat_sockaddr *sa)
{
	int err = name_of(fd, ask, sa);

	return err < 0 ? cleat__fail(err, "name of socket", NULL, NULL) : 0;
}

int cleat__local_name(int fd, struct cleat_sockaddr *sa)
{
	return ask_name(fd, sys_getsockname, sa);
}

int cleat_conn_peer(const struct cleat_conn *c, struct cleat_sockaddr *sa)
{
	if (c->peer.family == AF_UNIX)
		return ask_name(c->io.fd, sys_getpeername, sa);
	*sa = (struct cleat_sockaddr){ .len = sizeof(struct sockaddr_in6) };
	if (c->peer.family == AF_INET)
		sa->len = sizeof(struct sockaddr_in);
	memcpy(&sa->any, &c->peer, sa->len);
	return 0;
}

void cleat__conn_ask_peer(struct cleat_conn *c)
{
	struct cleat_sockaddr sa;

	if (name_of(c->io.fd, sys_getpeername, &sa) == 0)
		set_peer(c, &sa);
}

int cleat_conn_local(const struct cleat_conn *c, struct cleat_sockaddr *sa)
{
	return cleat__local_name(c->io.fd, sa);
}

int cleat_conn_fd(const struct cleat_conn *c)
{
	return c->io.fd;
}

struct cleat_counts cleat_conn_counts(const struct cleat_conn *c)
{
	return (struct cleat_counts){ c->received, c->sent };
}

void cleat_conn_limit(struct cleat_conn *c, int64_t idle_ns, cleat_time end)
{
	c->idle_ns = idle_ns;
	c->end = end;
	c->is_limited = idle_ns > 0 || end != CLEAT_FOREVER;
}

int cleat__conn_fail(const struct cleat_conn *c, int err, const char *step)
{
	struct cleat_sockaddr peer;

	if (cleat_conn_peer(c, &peer) < 0)
		return cleat__fail(err, step, "peer", NULL);
	return cleat__fail_at(err, step, &peer);
}

cleat_time cleat__conn_bounded(const struct cleat_conn *c, cleat_time until)
{
	if (c->idle_ns > 0)
		until = cleat__earlier(until, cleat_in(c->idle_ns));
	return cleat__earlier(until, c->end);
}

int cleat__conn_wait(struct cleat_conn *c, enum cleat__dir dir,
		     cleat_time until)
{
	return cleat__wait(&c->io, dir,
			   c->is_limited ? cleat__conn_bounded(c, until)
					 : until);
}

/* After less than was asked for there is no more, and an event will tell when
 * there is: no second call to learn it from -EAGAIN.  See watch.exact.
 */
static inline ssize_t recv_now(struct cleat_conn *c, void *buf, size_t len)
{
	ssize_t n = sys_recv(c->io.fd, buf, len);

	if (n > 0) {
		c->received += (uint64_t)n;
		if ((size_t)n < len && !c->io.exact)
			cleat__drained(&c->io);
	} else if (n == -EAGAIN) {
		cleat__drained(&c->io);
	}
	return n;
}

/* The last look, or with UNTIL 0 the first. */
static ssize_t recv_or_time_out(struct cleat_conn *c, void *buf, size_t len)
{
	ssize_t n = recv_now(c, buf, len);

	return n == -EAGAIN ? -ETIMEDOUT : n;
}

/* Inlined into its callers, which are on every message's path. */
static inline __attribute__((always_inline)) ssize_t
recv_until(struct cleat_conn *c, void *buf, size_t len, cleat_time until)
{
	if (c->is_limited && cleat_now() >= c->end)
		return -ETIMEDOUT;
	for (;;) {
		int err;

		if (cleat__is_ready(&c->io, CLEAT__IN)) {
			ssize_t n = recv_now(c, buf, len);

			if (n != -EAGAIN)
				return n;
		}
		err = cleat__conn_wait(c, CLEAT__IN, until);
		if (err == -ETIMEDOUT)
			return recv_or_time_out(c, buf, len);
		if (err < 0)
			return err;
	}
}

void cleat__conn_shrink(struct cleat_conn *c)
{
	if (!c->stash || c->stash_len > 0)
		return;
	free(c->stash);
	c->stash = NULL;
	c->stash_room = 0;
}

/* C may be read, or was fed until there was an error or something else. */
ssize_t cleat__conn_look(struct cleat_conn *c)
{
	struct cleat__sched *s = c->io.home;
	char first;
	ssize_t n = -EAGAIN;

	if (cleat__is_fed(&c->io))
		n = s->backend->take(s, &c->io, NULL, &first, sizeof(first));
	if (n != -EAGAIN)
		return n;
	n = sys_peek(c->io.fd, &first, 1);
	if (n == -EAGAIN)
		cleat__clear_ready(&c->io, CLEAT__IN);
	return n;
}

size_t cleat__conn_take(struct cleat_conn *c, void *buf, size_t len)
{
	if (len > c->stash_len)
		len = c->stash_len;
	if (len == 0)
		return 0;
	memcpy(buf, c->stash + c->stash_at, len);
	c->stash_at += len;
	c->stash_len -= len;
	return len;
}

/* Room for NEED bytes in all, with FRONT free before those that stay. */
static int make_room(struct cleat_conn *c, size_t front, size_t need)
{
	unsigned char *stash;

	if (c->stash_room >= need) {
		memmove(c->stash + front, c->stash + c->stash_at, c->stash_len);
		return 0;
	}
	stash = malloc(need);
	if (!stash)
		return -ENOMEM;
	if (c->stash_len > 0)
		memcpy(stash + front, c->stash + c->stash_at, c->stash_len);
	free(c->stash);
	c->stash = stash;
	c->stash_room = need;
	return 0;
}

int cleat__conn_put_back(struct cleat_conn *c, const void *data, size_t len)
{
	if (len == 0)
		return 0;
	if (c->stash_len == 0)
		c->stash_at = c->stash_room;
	if (len > c->stash_at) {
		if (make_room(c, len, len + c->stash_len) < 0)
			return -ENOMEM;
		c->stash_at = len;
	}
	c->stash_at -= len;
	c->stash_len += len;
	memcpy(c->stash + c->stash_at, data, len);
	return 0;
}

/* Bytes that were received ahead follow those in the stash. */
static int keep(struct cleat__watch *w, const void *data, size_t len)
{
	struct cleat_conn *c =
		(struct cleat_conn *)((char *)w -
				      offsetof(struct cleat_conn, io));
	size_t had = c->stash_len;
	unsigned char *stash = malloc(had + len);

	if (!stash)
		return -ENOMEM;
	(void)cleat__conn_take(c, stash, had); /* all of it */
	memcpy(stash + had, data, len);
	free(c->stash);
	c->stash = stash;
	c->stash_at = 0;
	c->stash_len = c->stash_room = had + len;
	c->received += len;
	return 0;
}

/* Refused, or fed no more, C is asked for again after the next run. */
static __attribute__((noinline)) void feed(struct cleat_conn *c)
{
	struct cleat__sched *s = cleat__self;

	c->io.small = 0;
	if (s && s->backend->feed)
		s->backend->feed(s, &c->io, keep);
}

/* Who views many small messages in a row is fed them: spared a call for each.
 */
static inline void count_small(struct cleat_conn *c, ssize_t n)
{
	if (n > SMALL || c->io.exact)
		c->io.small = 0;
	else if (++c->io.small >= SMALL_RUN)
		feed(c);
}

static ssize_t view_stash(struct cleat_conn *c, const void **data)
{
	size_t n = c->stash_len;

	*data = c->stash + c->stash_at;
	c->stash_len = 0;
	return (ssize_t)n;
}

/* To another thread C goes like any other, with what had come. */
static ssize_t take_over(struct cleat_conn *c, const void **data, void *buf,
			 size_t max)
{
	cleat__watch_release(&c->io);
	if (c->stash_len == 0)
		return -EAGAIN;
	return buf ? (ssize_t)cleat__conn_take(c, buf, max)
		   : view_stash(c, data);
}

/* What was received ahead, as backend.take has it; or -EAGAIN: C is not fed any
 * more, and what is left of *UNTIL is for a receive.
 */
static ssize_t take_until(struct cleat_conn *c, const void **data, void *buf,
			  size_t max, cleat_time *until)
{
	struct cleat__sched *s = cleat__self;

	if (s != c->io.home)
		return take_over(c, data, buf, max);
	if (c->is_limited && cleat_now() >= c->end)
		return -ETIMEDOUT;
	while (cleat__is_fed(&c->io)) {
		ssize_t n = s->backend->take(s, &c->io, data, buf, max);
		int err = 0;

		if (n > 0)
			c->received += (uint64_t)n;
		if (n != -EAGAIN)
			return n;
		if (cleat__is_fed(&c->io))
			err = cleat__conn_wait(c, CLEAT__IN, *until);
		if (err == -ETIMEDOUT) {
			/* There may be something all the same. */
			s->backend->starve(s, &c->io);
			*until = 0;
		} else if (err < 0) {
			return err;
		}
	}
	return -EAGAIN;
}

ssize_t cleat__conn_recv(struct cleat_conn *c, void *buf, size_t len,
			 cleat_time until)
{
	ssize_t n = -EAGAIN;

	if (cleat__is_fed(&c->io))
		n = take_until(c, NULL, buf, len, &until);
	return n == -EAGAIN ? recv_until(c, buf, len, until) : n;
}

ssize_t cleat_recv(struct cleat_conn *c, void *buf, size_t len,
		   cleat_time until)
{
	ssize_t n = cleat__enter();

	if (n == 0 && c->stash_len > 0)
		return (ssize_t)cleat__conn_take(c, buf, len);
	if (n == 0 && len > 0)
		n = cleat__conn_recv(c, buf, len, until);
	return n < 0 ? cleat__conn_fail(c, (int)n, "receive from") : n;
}

/* Plain threads have no buffer in common: the stash serves them. */
static void *view_buffer(struct cleat_conn *c)
{
	if (cleat__self)
		return cleat__self->hot;
	if (c->stash_room < CLEAT__HOT_SIZE &&
	    make_room(c, 0, CLEAT__HOT_SIZE) < 0)
		return NULL;
	return c->stash;
}

static ssize_t view_received(struct cleat_conn *c, const void **data,
			     cleat_time until)
{
	void *buf = view_buffer(c);
	ssize_t n;

	if (!buf)
		return -ENOMEM;
	n = recv_until(c, buf, CLEAT__HOT_SIZE, until);
	if (n > 0)
		count_small(c, n);
	*data = buf;
	return n;
}

static __attribute__((noinline)) ssize_t
view_slowly(struct cleat_conn *c, const void **data, cleat_time until)
{
	ssize_t n = cleat__enter();
	const void *found = NULL;

	if (n == 0 && c->stash_len > 0)
		return view_stash(c, data);
	if (n == 0)
		n = cleat__is_fed(&c->io)
			    ? take_until(c, &found, NULL, 0, &until)
			    : -EAGAIN;
	if (n == -EAGAIN)
		n = view_received(c, &found, until);
	if (n < 0)
		return cleat__conn_fail(c, (int)n, "receive from");
	*data = found;
	return n;
}

/* Whether a fiber has only to receive, or to take what has come: as it is for
 * most messages.
 */
static inline bool is_simple(struct cleat__sched *s, const struct cleat_conn *c)
{
	bool is_there = cleat__is_fed(&c->io)
				? c->io.home == s && c->io.n_pieces > 0
				: cleat__is_ready(&c->io, CLEAT__IN);

	return s && is_there && c->stash_len == 0 && !c->is_limited &&
	       cleat__goes_on(s);
}

/* What a message costs is here and in cleat_send(): the rest of both is apart,
 * so that this is short.
 */
ssize_t cleat_view(struct cleat_conn *c, const void **data, cleat_time until)
{
	struct cleat__sched *s = cleat__self;
	ssize_t n;

	if (!is_simple(s, c))
		return view_slowly(c, data, until);
	if (cleat__is_fed(&c->io)) {
		n = s->backend->take(s, &c->io, data, NULL, 0);
		c->received += (uint64_t)n; /* there is some */
		return n;
	}
	n = recv_now(c, s->hot, CLEAT__HOT_SIZE);
	if (n == -EAGAIN)
		return view_slowly(c, data, until);
	if (n < 0)
		return cleat__conn_fail(c, (int)n, "receive from");
	count_small(c, n);
	*data = s->hot;
	return n;
}

int cleat_shutdown(struct cleat_conn *c, enum cleat_direction d)
{
	static const int how[] = {
		[CLEAT_READ] = SHUT_RD,
		[CLEAT_WRITE] = SHUT_WR,
		[CLEAT_BOTH] = SHUT_RDWR,
	};
	int err = sys_shutdown(c->io.fd, how[d]);

	if (err < 0)
		return cleat__conn_fail(c, err, "shut down");
	if (d & CLEAT_WRITE)
		atomic_store(&c->finished, true);
	return 0;
}

/* Of a TCP connection that both have ended nothing is left to shut down, and
 * the kernel says ENOTCONN, as it does after a reset: hence c->finished.
 */
int cleat_finish(struct cleat_conn *c, cleat_time until)
{
	const void *unread;
	ssize_t n = 0;

	if (!atomic_load(&c->finished))
		n = cleat_shutdown(c, CLEAT_WRITE);
	if (n < 0)
		return (int)n;
	do
		n = cleat_view(c, &unread, until);
	while (n > 0 && cleat__left(until) > 0);
	if (n > 0) /* it never stops: nothing waited, so nothing timed out */
		n = cleat__conn_fail(c, -ETIMEDOUT, "finish with");
	if (n == 0 && c->cannot_send) /* so it has not everything */
		n = cleat__conn_fail(c, -EPIPE, "finish with");
	return (int)n;
}

int cleat__check_kind(int fd, int type)
{
	int got, family;
	socklen_t len = sizeof(int);
	int err = sys_getsockopt(fd, SOL_SOCKET, SO_TYPE, &got, &len);

	if (err == 0 && got != type)
		err = -EPROTOTYPE;
	if (err == 0)
		err = sys_getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &len);
	if (err < 0)
		return err;
	switch (family) {
	case AF_INET:
	case AF_INET6:
	case AF_UNIX:
		return 0;
	default:
		return -EAFNOSUPPORT;
	}
}

int cleat_adopt(struct cleat_conn **c, int fd)
{
	struct cleat_conn *made = NULL;
	struct cleat_sockaddr name;
	int err = cleat__check_kind(fd, SOCK_STREAM);

	if (err == 0)
		err = name_of(fd, sys_getpeername, &name);
	if (err == 0)
		err = cleat__conn_new(&made, fd, &name);
	if (err == 0)
		err = sys_nonblock(fd); /* last: it changes FD */
	if (err < 0) {
		free(made); /* without FD */
		return cleat__fail(err, "adopt", NULL, NULL);
	}
	*c = made;
	return 0;
}
