/* SPDX-License-Identifier: MIT */
/* Datagram sockets: opening, adopting, closing.  packet.c sends and receives.
 */
#include "net/dgram.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/sys.h"
#include "net/conn.h"
#include "net/options.h"
#include "net/resolve.h"

static struct cleat_dgram *dgram_new(void)
{
	struct cleat_dgram *d = calloc(1, sizeof(*d));

	if (d)
		(void)pthread_mutex_init(&d->asked_lock, NULL);
	else
		cleat__note(-ENOMEM, "open socket", NULL, NULL);
	return d;
}

/* D owns FD once this has succeeded. */
static int add(struct cleat_dgram *d, int fd)
{
	int family;
	socklen_t len = sizeof(family);
	int err = sys_getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &len);

	if (err < 0)
		return cleat__fail(err, "open socket", NULL, NULL);
	d->family[d->n] = (sa_family_t)family;
	cleat__watch_init(&d->io[d->n], fd);
	d->io[d->n++].bound = true;
	return 0;
}

static int add_or_close(struct cleat_dgram *d, int fd)
{
	int err = add(d, fd);

	if (err < 0)
		sys_close(fd);
	return err;
}

void cleat_dgram_close(struct cleat_dgram *d)
{
	if (!d)
		return;
	cleat__path_remove(&d->path);
	while (d->n > 0)
		cleat__watch_close(&d->io[--d->n]);
	(void)pthread_mutex_destroy(&d->asked_lock);
	free(d);
}

static int check_dgram(const struct cleat_addr *a)
{
	if (a->proto == CLEAT_UDP || a->proto == CLEAT_UNIXGRAM)
		return 0;
	return cleat__fail(-EPROTOTYPE, "open", a->host,
			   "not for datagrams; use udp:// or unixgram:");
}

static int parse(struct cleat_addr *a, const char *text)
{
	int err = cleat_addr_parse(a, text);

	return err < 0 ? err : check_dgram(a);
}

static int bind_into(struct cleat_dgram *d, const struct cleat_addr *a,
		     const struct cleat__binding *b, cleat_time until)
{
	int fd[CLEAT__WATCH_MAX];
	int n = cleat__bind_all(fd, a, b, until);
	int err = n < 0 ? n : 0;

	if (n > 0)
		cleat__path_keep(&d->path, a);
	for (int i = 0; i < n; i++) {
		int added = add_or_close(d, fd[i]);

		if (err == 0)
			err = added;
	}
	cleat__asked_watch(d);
	return err;
}

int cleat__dgram_bind(struct cleat_dgram **ret, const struct cleat_addr *a,
		      const struct cleat_options *opt, enum cleat__share share,
		      cleat_time until)
{
	struct cleat__binding b = {
		.type = SOCK_DGRAM,
		.opt = cleat__options_or_default(opt),
		.share = share,
	};
	struct cleat_dgram *d = dgram_new();
	int err = d ? bind_into(d, a, &b, until) : -ENOMEM;

	if (err == 0)
		*ret = d;
	else
		cleat_dgram_close(d);
	return err;
}

int cleat__dgram_beside(struct cleat_dgram **ret,
			const struct cleat_dgram *like,
			const struct cleat_options *opt, bool group)
{
	struct cleat__binding b = {
		.type = SOCK_DGRAM,
		.opt = cleat__options_or_default(opt),
	};
	struct cleat_dgram *d = dgram_new();
	int err = d ? 0 : -ENOMEM;

	for (unsigned i = 0; i < like->n && err == 0; i++) {
		int fd = group ? cleat__bind_like(like->io[i].fd, &b)
			       : sys_dup(like->io[i].fd);

		err = fd < 0 ? fd : add_or_close(d, fd);
	}
	if (err == 0) {
		cleat__asked_watch(d);
		*ret = d;
	} else {
		cleat_dgram_close(d);
	}
	return err < 0 ? cleat__fail(err, "open socket", NULL, NULL) : 0;
}

/* Whether FD has IPv4 too, since it is bound to [::]. */
static bool is_dual_stack(int fd)
{
	struct cleat_sockaddr sa = { .len = sizeof(sa.storage) };
	int v6only = 1;

	return sys_getsockname(fd, &sa.any, &sa.len) == 0 &&
	       sa.any.sa_family == AF_INET6 &&
	       IN6_IS_ADDR_UNSPECIFIED(&sa.in6.sin6_addr) &&
	       cleat_get(fd, CLEAT_V6ONLY, &v6only) == 0 && !v6only;
}

static int connect_socket(struct cleat_dgram *d, unsigned k,
			  const struct cleat_sockaddr *to)
{
	struct cleat_sockaddr as = *to;

	if (d->family[k] != to->any.sa_family) {
		if (to->any.sa_family != AF_INET || !is_dual_stack(d->io[k].fd))
			return -EAFNOSUPPORT;
		as = cleat__mapped(to);
	}
	return sys_connect(d->io[k].fd, &as.any, as.len);
}

static void keep_only(struct cleat_dgram *d, unsigned k)
{
	for (unsigned i = 0; i < d->n; i++) {
		if (i != k)
			cleat__watch_close(&d->io[i]);
	}
	d->io[0] = d->io[k];
	d->family[0] = d->family[k];
	d->n = 1;
}

/* Connect one socket to the first of TO that it can reach. */
static int connect_one(struct cleat_dgram *d, const struct cleat_sockaddr *to,
		       int n)
{
	int first = -EAFNOSUPPORT;

	for (int i = 0; i < n; i++) {
		for (unsigned k = 0; k < d->n; k++) {
			int err = connect_socket(d, k, &to[i]);

			if (err == 0) {
				keep_only(d, k);
				return 0;
			}
			if (first == -EAFNOSUPPORT)
				first = err;
		}
	}
	return cleat__fail_at(first, "connect to", &to[0]);
}

/* Without a local address: an unbound socket of the peer's first family. */
static int open_for(struct cleat_dgram *d, const struct cleat_sockaddr *to,
		    const struct cleat_options *opt)
{
	int family = to->any.sa_family;
	int fd = sys_socket(family, SOCK_DGRAM, 0);
	int err;

	if (fd < 0)
		return cleat__fail_at(fd, "open socket for", to);
	err = cleat__apply(fd, family, SOCK_DGRAM, opt);
	if (err == 0)
		err = add(d, fd);
	if (err < 0)
		sys_close(fd);
	return err;
}

static int open_connected(struct cleat_dgram *d, const char *peer,
			  const struct cleat_options *opt, cleat_time until)
{
	struct cleat_sockaddr to[CLEAT__ADDRS_MAX];
	struct cleat_addr a;
	int err = parse(&a, peer), n;

	if (err < 0)
		return err;
	n = cleat__resolve(&a, CLEAT_TO_CONNECT, to, CLEAT__ADDRS_MAX, until);
	if (n < 0)
		return n;
	if (d->n > 0)
		return connect_one(d, to, n);
	/* The next address only where the machine lacks this one's family. */
	for (int i = 0; i < n; i++) {
		err = open_for(d, &to[i], opt);
		if (err == 0)
			err = connect_one(d, &to[i], 1);
		if (err == 0)
			return 0;
		while (d->n > 0)
			cleat__watch_close(&d->io[--d->n]);
	}
	return err;
}

static int open_into(struct cleat_dgram *d, const char *local, const char *peer,
		     const struct cleat_options *opt, cleat_time until)
{
	struct cleat__binding b = { .type = SOCK_DGRAM, .opt = opt };
	struct cleat_addr a;
	int err = 0;

	if (!local && !peer)
		return cleat__fail(-EINVAL, "open", NULL,
				   "neither a local address nor a peer");
	if (local)
		err = parse(&a, local);
	if (err == 0 && local)
		err = bind_into(d, &a, &b, until);
	if (err == 0 && peer)
		err = open_connected(d, peer, opt, until);
	return err;
}

int cleat_dgram_open(struct cleat_dgram **ret, const char *local,
		     const char *peer, const struct cleat_options *opt,
		     cleat_time until)
{
	struct cleat_dgram *d = dgram_new();
	int err = d ? open_into(d, local, peer, cleat__options_or_default(opt),
				until)
		    : -ENOMEM;

	if (err == 0)
		*ret = d;
	else
		cleat_dgram_close(d);
	return err;
}

int cleat_raw_open(struct cleat_dgram **ret, int family, int protocol,
		   const struct cleat_options *opt)
{
	struct cleat_dgram *d = dgram_new();
	int fd, err;

	if (!d)
		return -ENOMEM;
	fd = sys_socket(family, SOCK_RAW, protocol);
	err = fd < 0 ? cleat__fail(fd, "open raw socket", NULL, NULL)
		     : add_or_close(d, fd);
	if (err == 0)
		err = cleat__apply(fd, family, SOCK_RAW,
				   cleat__options_or_default(opt));
	if (err == 0)
		*ret = d;
	else
		cleat_dgram_close(d);
	return err;
}

int cleat_adopt_dgram(struct cleat_dgram **ret, int fd)
{
	struct cleat_dgram *d;
	int err = cleat__check_kind(fd, SOCK_DGRAM);

	if (err < 0)
		return cleat__fail(err, "adopt datagram socket", NULL, NULL);
	d = dgram_new();
	if (!d)
		return -ENOMEM;
	err = add(d, fd);
	if (err == 0)
		err = sys_nonblock(fd); /* last: it changes FD */
	if (err < 0) {
		d->n = 0; /* FD is not ours */
		cleat_dgram_close(d);
		return cleat__fail(err, "adopt datagram socket", NULL, NULL);
	}
	cleat__asked_watch(d);
	*ret = d;
	return 0;
}

int cleat_dgram_fd(const struct cleat_dgram *d, unsigned i)
{
	return i < d->n ? d->io[i].fd : -ERANGE;
}

int cleat_dgram_local(const struct cleat_dgram *d, unsigned i,
		      struct cleat_sockaddr *sa)
{
	if (i >= d->n)
		return cleat__fail(-ERANGE, "name of socket", NULL, NULL);
	return cleat__local_name(d->io[i].fd, sa);
}
