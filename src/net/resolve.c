/* SPDX-License-Identifier: MIT */
#include "net/resolve.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netdb.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "fiber/offload.h"
#include "fiber/park.h"
#include "fiber/sched.h"

/* One getaddrinfo(3), which nothing can interrupt: whoever is last to need
 * this, the helper thread or the one that may have given up, frees it.
 */
struct lookup {
	pthread_mutex_t lock;
	unsigned holders;
	struct cleat__parker *waiting; /* NULL once nobody waits */
	char host[CLEAT_HOST_MAX], service[CLEAT_SERVICE_MAX];
	struct addrinfo hints;
	struct addrinfo *list;
	int rc;
};

static void lookup_let_go(struct lookup *l)
{
	bool last;

	(void)pthread_mutex_lock(&l->lock);
	last = --l->holders == 0;
	(void)pthread_mutex_unlock(&l->lock);
	if (!last)
		return;
	if (l->list)
		freeaddrinfo(l->list);
	(void)pthread_mutex_destroy(&l->lock);
	free(l);
}

static void *lookup_run(void *arg)
{
	struct lookup *l = arg;

	l->rc = getaddrinfo(l->host[0] ? l->host : NULL, l->service, &l->hints,
			    &l->list);
	(void)pthread_mutex_lock(&l->lock);
	if (l->waiting)
		(void)cleat__parker_wake(l->waiting); /* or it just gave up */
	(void)pthread_mutex_unlock(&l->lock);
	lookup_let_go(l);
	return NULL;
}

/* Start it and wait; afterwards, unless 0 is returned, L is not to be read. */
static int lookup_wait(struct lookup *l, cleat_time until)
{
	struct cleat__parker parker;
	int err;

	cleat__parker_init(&parker);
	l->waiting = &parker;
	l->holders = 2;
	err = cleat__helper_start(lookup_run, l);
	if (err < 0)
		l->holders = 1;
	else
		err = cleat__parker_wait(&parker, until);
	(void)pthread_mutex_lock(&l->lock);
	l->waiting = NULL;
	(void)pthread_mutex_unlock(&l->lock);
	cleat__parker_done(&parker);
	return err;
}

static struct lookup *lookup_new(const struct cleat_addr *a, bool has_host)
{
	struct lookup *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	(void)pthread_mutex_init(&l->lock, NULL);
	if (has_host)
		memcpy(l->host, a->host, sizeof(l->host));
	memcpy(l->service, a->service, sizeof(l->service));
	l->hints.ai_family = a->family;
	l->hints.ai_socktype = a->proto == CLEAT_UDP ? SOCK_DGRAM : SOCK_STREAM;
	return l;
}

static int gai_failure(const struct cleat_addr *a, const struct lookup *l)
{
	const char *object = l->host[0] ? a->host : a->service;

	switch (l->rc) {
	case EAI_NONAME:
#ifdef EAI_NODATA
	case EAI_NODATA:
#endif
		return cleat__fail(CLEAT_ENONAME, "look up", object,
				   l->host[0] ? "no such host"
					      : "no such service");
	case EAI_SERVICE:
		return cleat__fail(CLEAT_ENONAME, "look up", a->service,
				   "no such service");
	case EAI_AGAIN:
		return cleat__fail(CLEAT_EDNSAGAIN, "look up", object, NULL);
	case EAI_MEMORY:
		return cleat__fail(-ENOMEM, "look up", object, NULL);
	default:
		return cleat__fail(CLEAT_EDNS, "look up", object,
				   gai_strerror(l->rc));
	}
}

/* Families alternate, starting with that of the best: RFC 8305, section 4. */
static unsigned interleave(const struct addrinfo *list,
			   struct cleat_sockaddr *to, unsigned max)
{
	const struct addrinfo *next[2] = { list, list };
	int first = list->ai_family;
	unsigned n = 0;

	for (unsigned turn = 0; n < max && (next[0] || next[1]); turn ^= 1) {
		const struct addrinfo *a = next[turn];

		while (a && (a->ai_family == first) != (turn == 0))
			a = a->ai_next;
		next[turn] = a ? a->ai_next : NULL;
		if (!a)
			continue;
		to[n].len = a->ai_addrlen;
		memcpy(&to[n++].any, a->ai_addr, a->ai_addrlen);
	}
	return n;
}

static int by_name(const struct cleat_addr *a, bool has_host,
		   struct cleat_sockaddr *to, unsigned max, cleat_time until)
{
	struct lookup *l;
	int err = cleat__helper_enter(until);

	if (err < 0)
		return cleat__fail(err, "look up", a->host, NULL);
	l = lookup_new(a, has_host);
	err = l ? lookup_wait(l, until) : -ENOMEM;
	cleat__helper_leave();
	if (err < 0)
		cleat__note(err, "look up", a->host, NULL);
	else if (l->rc != 0)
		err = gai_failure(a, l);
	else
		err = (int)interleave(l->list, to, max);
	if (l)
		lookup_let_go(l);
	return err;
}

static bool numeric_port(const struct cleat_addr *a, in_port_t *port)
{
	char *end;
	unsigned long n = strtoul(a->service, &end, 10);

	*port = htons((uint16_t)n);
	return *end == '\0'; /* in range: the parser has seen to that */
}

static struct cleat_sockaddr ipv4(in_addr_t host, in_port_t port)
{
	return (struct cleat_sockaddr){
		.len = sizeof(struct sockaddr_in),
		.in = { .sin_family = AF_INET,
			.sin_port = port,
			.sin_addr.s_addr = htonl(host) },
	};
}

static struct cleat_sockaddr ipv6(struct in6_addr host, in_port_t port)
{
	return (struct cleat_sockaddr){
		.len = sizeof(struct sockaddr_in6),
		.in6 = { .sin6_family = AF_INET6,
			 .sin6_port = port,
			 .sin6_addr = host },
	};
}

/* Both forms that a host without a name stands for, narrowed to a family. */
static int no_name(const struct cleat_addr *a, enum cleat_resolve_for use,
		   in_port_t port, struct cleat_sockaddr *to, unsigned max)
{
	bool all = a->host[0] == '*' && use == CLEAT_TO_BIND;
	struct cleat_sockaddr both[2] = {
		ipv4(all ? INADDR_ANY : INADDR_LOOPBACK, port),
		ipv6(all ? in6addr_any : in6addr_loopback, port),
	};
	unsigned n = 0;

	/* The dual-stack wildcard stands for both, so it comes first. */
	for (unsigned i = 0; i < 2 && n < max; i++) {
		const struct cleat_sockaddr *sa = &both[all ? 1 - i : i];

		if (a->family == AF_UNSPEC || a->family == sa->any.sa_family)
			to[n++] = *sa;
	}
	return (int)n;
}

/* 1 but for the port, or 0 if the host is a name; zones are those of
 * if_nametoindex(3). */
static int literal(const struct cleat_addr *a, struct cleat_sockaddr *to)
{
	char host[CLEAT_HOST_MAX];
	char *zone, *end;
	struct in_addr v4;
	struct in6_addr v6;
	unsigned long scope;

	if (inet_pton(AF_INET, a->host, &v4) == 1) {
		*to = ipv4(ntohl(v4.s_addr), 0);
		return 1;
	}
	memcpy(host, a->host, sizeof(host));
	zone = strchr(host, '%');
	if (zone)
		*zone++ = '\0';
	if (inet_pton(AF_INET6, host, &v6) != 1)
		return 0;
	*to = ipv6(v6, 0);
	if (!zone)
		return 1;
	scope = if_nametoindex(zone);
	if (scope == 0) {
		scope = strtoul(zone, &end, 10);
		if (*end || scope == 0)
			return cleat__fail(-ENODEV, "look up", a->host,
					   "no such network interface");
	}
	to->in6.sin6_scope_id = (uint32_t)scope;
	return 1;
}

static int unix_path(const struct cleat_addr *a, struct cleat_sockaddr *to)
{
	size_t len = strlen(a->host);

	*to = (struct cleat_sockaddr){ .un.sun_family = AF_UNIX };
	memcpy(to->un.sun_path, a->host, len);
	if (a->host[0] == '@')
		to->un.sun_path[0] = '\0'; /* unix(7): abstract */
	else
		len++; /* with its NUL */
	to->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
	return 1;
}

static int port_of(const struct cleat_addr *a, in_port_t *port,
		   cleat_time until)
{
	struct cleat_sockaddr service;
	int n;

	if (numeric_port(a, port))
		return 0;
	n = by_name(a, false, &service, 1, until);
	if (n > 0)
		*port = htons((uint16_t)cleat_sockaddr_port(&service));
	return n;
}

int cleat__resolve(const struct cleat_addr *a, enum cleat_resolve_for use,
		   struct cleat_sockaddr *to, unsigned max, cleat_time until)
{
	bool has_host = a->host[0] != '\0' && a->host[0] != '*';
	in_port_t port;
	int err, n = 0;

	if (max == 0)
		return cleat__fail(-EINVAL, "look up", a->host, NULL);
	if (a->family == AF_UNIX)
		return unix_path(a, to);
	if (has_host)
		n = literal(a, to);
	if (n < 0)
		return n;
	if (has_host && n == 0)
		return by_name(a, true, to, max, until);
	err = port_of(a, &port, until);
	if (err < 0)
		return err;
	if (!has_host)
		return no_name(a, use, port, to, max);
	to->in.sin_port = port; /* where sin6_port is, too */
	return n;
}

int cleat_resolve(const char *addr, enum cleat_resolve_for use,
		  struct cleat_sockaddr *to, unsigned max, cleat_time until)
{
	struct cleat_addr a;
	int err = cleat_addr_parse(&a, addr);

	return err < 0 ? err : cleat__resolve(&a, use, to, max, until);
}
