/* SPDX-License-Identifier: MIT */
#include "net/bind.h"

#include <errno.h>
#include <unistd.h>

#include "base/error.h"
#include "base/sys.h"
#include "net/options.h"
#include "net/resolve.h"
#include "net/unix.h"

#define PORT_TRIES 16

static bool is_ip(const struct cleat_sockaddr *sa)
{
	return sa->any.sa_family != AF_UNIX;
}

static int prepare(int fd, const struct cleat_sockaddr *sa, bool v6only,
		   const struct cleat__binding *b)
{
	int err = 0;

	/* Said either way: net.ipv6.bindv6only may be set. */
	if (sa->any.sa_family == AF_INET6)
		err = cleat_set(fd, CLEAT_V6ONLY, v6only);
	if (err == 0 && b->type == SOCK_STREAM && is_ip(sa) &&
	    b->opt->reuseaddr == CLEAT_DEFAULT)
		err = cleat_set(fd, CLEAT_REUSEADDR, 1);
	if (err == 0)
		err = cleat__apply(fd, sa->any.sa_family, b->type, b->opt);
	return err;
}

static int bind_fd(int fd, const struct cleat_sockaddr *sa)
{
	int err = sys_bind(fd, &sa->any, sa->len);

	if (err == -EADDRINUSE && cleat__path_is_dead(sa) &&
	    unlink(sa->un.sun_path) == 0)
		err = sys_bind(fd, &sa->any, sa->len);
	if (err == 0)
		return 0;
	cleat__note_at(err, "bind", sa);
	if (err == -EACCES && is_ip(sa))
		cleat__fail_because("permission denied; low ports take root or "
				    "CAP_NET_BIND_SERVICE");
	return err;
}

int cleat__bind_one(const struct cleat_sockaddr *sa, bool v6only,
		    const struct cleat__binding *b)
{
	int fd = sys_socket(sa->any.sa_family, b->type, 0);
	int err;

	if (fd < 0)
		return cleat__fail_at(fd, "open socket for", sa);
	err = prepare(fd, sa, v6only, b);
	if (err == 0)
		err = bind_fd(fd, sa);
	if (err == 0 && b->share == CLEAT__FOUND_GROUP && is_ip(sa))
		err = cleat_set(fd, CLEAT_REUSEPORT, 1);
	if (err == 0)
		return fd;
	sys_close(fd);
	return err;
}

int cleat__bind_like(int fd, const struct cleat__binding *b)
{
	struct cleat_sockaddr sa = { .len = sizeof(sa.storage) };
	struct cleat_options opt = *b->opt;
	struct cleat__binding member = { .type = b->type, .opt = &opt };
	int v6only = 0;
	int err = sys_getsockname(fd, &sa.any, &sa.len);

	if (err == 0 && sa.any.sa_family == AF_INET6)
		err = cleat_get(fd, CLEAT_V6ONLY, &v6only);
	if (err < 0)
		return err;
	opt.reuseport = CLEAT_ON;
	return cleat__bind_one(&sa, v6only, &member);
}

static void close_all(const int *fd, int n)
{
	while (n > 0)
		sys_close(fd[--n]);
}

static in_port_t port_of(int fd)
{
	struct cleat_sockaddr sa = { .len = sizeof(sa.storage) };

	/* Of a socket that has just been bound: cannot fail. */
	(void)sys_getsockname(fd, &sa.any, &sa.len);
	return sa.in.sin_port; /* where sin6_port is, too */
}

/* One of several addresses may be of a family that this machine has not. */
static bool is_absent(int err)
{
	return err == -EAFNOSUPPORT || err == -EADDRNOTAVAIL;
}

static int bind_list(int fd[CLEAT__WATCH_MAX], struct cleat_sockaddr *sa, int n,
		     const struct cleat_addr *a, const struct cleat__binding *b)
{
	bool v6only = b->opt->v6only == CLEAT_DEFAULT
			      ? a->family == AF_INET6
			      : b->opt->v6only == CLEAT_ON;
	bool any_port = is_ip(&sa[0]) && sa[0].in.sin_port == 0;
	int got = 0, err = 0;

	for (int i = 0; i < n && got < CLEAT__WATCH_MAX; i++) {
		if (any_port && got > 0)
			sa[i].in.sin_port = port_of(fd[0]);
		err = cleat__bind_one(&sa[i], v6only, b);
		if (err >= 0)
			fd[got++] = err;
		else if (!is_absent(err))
			break;
		if (got > 0 && a->host[0] == '*')
			return got;
	}
	if (got > 0 && (err >= 0 || is_absent(err)))
		return got;
	close_all(fd, got);
	return err;
}

int cleat__bind_all(int fd[CLEAT__WATCH_MAX], const struct cleat_addr *a,
		    const struct cleat__binding *b, cleat_time until)
{
	struct cleat_sockaddr sa[CLEAT__ADDRS_MAX];
	int n = cleat__resolve(a, CLEAT_TO_BIND, sa, CLEAT__ADDRS_MAX, until);
	bool any_port = n > 0 && is_ip(&sa[0]) && sa[0].in.sin_port == 0;
	int err = n;

	/* A port that is free on one address may be taken on the next. */
	for (int i = 0; n > 0 && i < PORT_TRIES; i++) {
		if (any_port)
			for (int k = 0; k < n; k++)
				sa[k].in.sin_port = 0;
		err = bind_list(fd, sa, n, a, b);
		if (err != -EADDRINUSE || !any_port)
			break;
	}
	return err;
}

int cleat__check_stream(const struct cleat_addr *a, const char *step)
{
	char text[CLEAT_ADDR_MAX] = "";

	if (a->proto == CLEAT_TCP || a->proto == CLEAT_UNIX)
		return 0;
	(void)cleat_addr_format(a, text, sizeof(text)); /* has been parsed */
	if (a->proto == CLEAT_TLS)
		return cleat__fail(-EPROTONOSUPPORT, step, text,
				   "tls is not supported yet");
	return cleat__fail(-EPROTOTYPE, step, text,
			   "not a stream; use tcp or unix");
}
