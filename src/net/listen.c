/* SPDX-License-Identifier: MIT */
#include "net/listen.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/sys.h"
#include "base/time.h"
#include "net/conn.h"
#include "net/options.h"

static void add(struct cleat_listener *l, int fd)
{
	cleat__watch_init(&l->io[l->n], fd);
	l->io[l->n++].bound = true;
}

/* Linux lowers what is over net.core.somaxconn to it (listen(2)). */
static int start(int fd, const struct cleat_options *opt)
{
	struct cleat_sockaddr sa = { .len = sizeof(sa.storage) };
	int err = opt->backlog < 0 ? -EINVAL
				   : sys_listen(fd, opt->backlog ? opt->backlog
								 : INT_MAX);

	if (err == 0)
		return 0;
	if (sys_getsockname(fd, &sa.any, &sa.len) < 0)
		return cleat__fail(err, "listen", NULL, NULL);
	return cleat__fail_at(err, "listen on", &sa);
}

static int start_all(struct cleat_listener *l, const struct cleat_options *opt)
{
	int err = 0;

	for (unsigned i = 0; i < l->n && err == 0; i++)
		err = start(l->io[i].fd, opt);
	return err;
}

int cleat__listen(struct cleat_listener **ret, const struct cleat_addr *a,
		  const struct cleat_options *opt, enum cleat__share share)
{
	struct cleat__binding b = {
		.type = SOCK_STREAM,
		.opt = cleat__options_or_default(opt),
		.share = share,
	};
	int fd[CLEAT__WATCH_MAX];
	struct cleat_listener *l;
	int n, err = cleat__check_stream(a, "listen on");

	if (err < 0)
		return err;
	l = calloc(1, sizeof(*l));
	if (!l)
		return cleat__fail(-ENOMEM, "listen on", a->host, NULL);
	n = cleat__bind_all(fd, a, &b, CLEAT_FOREVER);
	for (int i = 0; i < n; i++)
		add(l, fd[i]);
	if (n > 0)
		cleat__path_keep(&l->path, a);
	err = n < 0 ? n : start_all(l, b.opt);
	if (err == 0)
		*ret = l;
	else
		cleat_unlisten(l);
	return err;
}

int cleat_listen(struct cleat_listener **l, const char *addr,
		 const struct cleat_options *opt)
{
	struct cleat_addr a;
	int err = cleat_addr_parse(&a, addr);

	return err < 0 ? err : cleat__listen(l, &a, opt, CLEAT__ALONE);
}

int cleat__listen_beside(struct cleat_listener **ret,
			 const struct cleat_listener *like,
			 const struct cleat_options *opt, bool group)
{
	struct cleat__binding b = {
		.type = SOCK_STREAM,
		.opt = cleat__options_or_default(opt),
	};
	struct cleat_listener *l = calloc(1, sizeof(*l));
	int err = l ? 0 : -ENOMEM;

	for (unsigned i = 0; i < like->n && err == 0; i++) {
		int fd = group ? cleat__bind_like(like->io[i].fd, &b)
			       : sys_dup(like->io[i].fd);

		if (fd >= 0)
			add(l, fd);
		else
			err = fd;
	}
	if (err == 0 && group)
		err = start_all(l, b.opt);
	if (err == 0)
		*ret = l;
	else
		cleat_unlisten(l);
	return err < 0 ? cleat__fail(err, "listen", NULL, NULL) : 0;
}

void cleat_unlisten(struct cleat_listener *l)
{
	if (!l)
		return;
	cleat__path_remove(&l->path);
	while (l->n > 0)
		cleat__watch_close(&l->io[--l->n]);
	free(l);
}

int cleat_adopt_listener(struct cleat_listener **ret, int fd)
{
	struct cleat_listener *l;
	int listening = 0;
	socklen_t len = sizeof(listening);
	int err = cleat__check_kind(fd, SOCK_STREAM);

	if (err == 0)
		err = sys_getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening,
				     &len);
	if (err == 0 && !listening)
		return cleat__fail(-EINVAL, "adopt listener", NULL,
				   "does not listen");
	if (err < 0)
		return cleat__fail(err, "adopt listener", NULL, NULL);
	l = calloc(1, sizeof(*l));
	err = l ? sys_nonblock(fd) : -ENOMEM; /* last: it changes FD */
	if (err < 0) {
		free(l);
		return cleat__fail(err, "adopt listener", NULL, NULL);
	}
	add(l, fd);
	*ret = l;
	return 0;
}

int cleat_listener_fd(const struct cleat_listener *l, unsigned i)
{
	return i < l->n ? l->io[i].fd : -ERANGE;
}

int cleat_listener_local(const struct cleat_listener *l, unsigned i,
			 struct cleat_sockaddr *sa)
{
	if (i >= l->n)
		return cleat__fail(-ERANGE, "name of socket", NULL, NULL);
	return cleat__local_name(l->io[i].fd, sa);
}

/* Errors of the connection that was to be accepted, not of the listener:
 * accept(2) passes on what the network has already said of it.
 */
static bool is_of_connection(int err)
{
	switch (err) {
	case -ECONNABORTED:
	case -ENETDOWN:
	case -EPROTO:
	case -ENOPROTOOPT:
	case -EHOSTDOWN:
	case -ENONET:
	case -EHOSTUNREACH:
	case -EOPNOTSUPP:
	case -ENETUNREACH:
	case -EPERM:
		return true;
	default:
		return false;
	}
}

static int accept_fd(struct cleat_listener *l, struct cleat_sockaddr *peer)
{
	for (unsigned i = 0; i < l->n; i++) {
		unsigned at = l->next;
		struct cleat__watch *w = &l->io[at];
		int fd;

		l->next = at + 1 < l->n ? at + 1 : 0;
		if (!cleat__is_ready(w, CLEAT__IN))
			continue;
		do {
			peer->len = sizeof(peer->storage);
			fd = sys_accept(w->fd, &peer->any, &peer->len);
		} while (is_of_connection(fd));
		if (fd != -EAGAIN)
			return fd;
		cleat__clear_ready(w, CLEAT__IN);
	}
	return -EAGAIN;
}

static int wait_for_one(struct cleat_listener *l, cleat_time until)
{
	struct cleat__watch *on[CLEAT__WATCH_MAX];

	for (unsigned i = 0; i < l->n; i++)
		on[i] = &l->io[i];
	return cleat__wait_any(on, l->n, CLEAT__IN, until);
}

/* The last look, or with UNTIL 0 the first. */
static int accept_or_time_out(struct cleat_listener *l,
			      struct cleat_sockaddr *peer)
{
	int fd;

	for (unsigned i = 0; i < l->n; i++)
		cleat__set_ready(&l->io[i], CLEAT__IN);
	fd = accept_fd(l, peer);
	return fd == -EAGAIN ? -ETIMEDOUT : fd;
}

static int accept_until(struct cleat_listener *l, struct cleat_sockaddr *peer,
			cleat_time until)
{
	for (;;) {
		int err, fd = accept_fd(l, peer);

		if (fd != -EAGAIN)
			return fd;
		err = wait_for_one(l, until);
		if (err == -ETIMEDOUT)
			return accept_or_time_out(l, peer);
		if (err < 0)
			return err;
	}
}

int cleat_accept(struct cleat_listener *l, struct cleat_conn **c,
		 cleat_time until)
{
	struct cleat_sockaddr peer;
	int fd = cleat__enter();
	int err = fd;

	if (err == 0)
		fd = err = accept_until(l, &peer, until);
	if (fd >= 0) {
		cleat__unmap(&peer);
		err = cleat__conn_new(c, fd, &peer);
		if (err < 0)
			sys_close(fd);
	}
	return err < 0 ? cleat__fail(err, "accept", NULL, NULL) : 0;
}

int cleat__accept_now(struct cleat_listener *l, struct cleat_conn *c)
{
	struct cleat_sockaddr peer;
	int fd = accept_fd(l, &peer);

	if (fd < 0)
		return fd == -EAGAIN ? fd
				     : cleat__fail(fd, "accept", NULL, NULL);
	cleat__unmap(&peer);
	cleat__conn_init(c, fd, &peer);
	return 0;
}

int cleat__listener_wait(struct cleat_listener *l)
{
	int err = cleat__enter();

	for (unsigned i = 0; i < l->n; i++) {
		if (err < 0 || cleat__is_ready(&l->io[i], CLEAT__IN))
			return err;
	}
	return wait_for_one(l, CLEAT_FOREVER);
}
