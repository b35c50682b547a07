/* SPDX-License-Identifier: MIT */
/* cleat bench --connects: connections opened and ended, one after another. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <cleat/error.h>

#include "bench.h"

enum {
	SOURCES = 254, /* 127.0.0.1 and on */
};

/* Who connects, to where and from where. */
struct visitor {
	struct link *k;
	char to[CLEAT_ADDR_MAX];
	char source[sizeof("127.0.0.255:0")];
	struct cleat_options options;
	bool is_loopback; /* of IPv4: all of 127.0.0.0/8 is this machine */
};

/* By number from now on: the time shall not be that of a lookup. */
static void learn(struct visitor *v, const struct cleat_conn *c)
{
	struct cleat_sockaddr peer;

	if (cleat_conn_peer(c, &peer) < 0 || peer.any.sa_family == AF_UNIX)
		return;
	(void)cleat_sockaddr_format(&peer, v->to, sizeof(v->to)); /* it fits */
	v->is_loopback = peer.any.sa_family == AF_INET &&
			 ntohl(peer.in.sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
}

/* Each connection leaves a TIME_WAIT behind, which holds its port for a minute.
 * With half of an address's ports held the kernel goes through all these before
 * it looks at others, for a millisecond (Linux 6.18: one parity at a time).  So
 * they come from addresses of this machine in turn, where there are any. */
static void choose_source(struct visitor *v)
{
	const struct link *k = v->k;

	if (!v->is_loopback || k->plan->o->reset)
		return;
	(void)snprintf(v->source, sizeof(v->source), "127.0.0.%u:0",
		       (unsigned)((k->number + k->asked) % SOURCES) + 1);
	v->options.source = v->source;
}

/* With FIN both ways, unless a reset was asked for. */
static int connect_once(struct visitor *v)
{
	struct link *k = v->k;
	const cleat_time until = cleat_in(k->plan->o->timeout);
	struct cleat_conn *c = NULL;
	int err;

	choose_source(v);
	err = cleat_connect(&c, v->to, &v->options, until);
	if (err == 0 && k->answered == 0)
		learn(v, c);
	if (err == 0 && !k->plan->o->reset)
		err = cleat_finish(c, until);
	cleat_close(c);
	return err;
}

/* Begun, or meant to begin, at SINCE. */
static int connect_one(struct visitor *v, cleat_time since)
{
	struct link *k = v->k;
	const int err = connect_once(v);
	cleat_time now;

	k->asked++;
	if (err == -EADDRNOTAVAIL) {
		link_fail(k, "no port left to connect from%s",
			  k->plan->o->reset ? ""
					    : "; --reset leaves none occupied");
		return -1;
	}
	if (err < 0)
		return link_broke(k, err);
	now = cleat_now();
	histogram_add(&k->worker->latency, now - since);
	link_done(k, 1, now);
	return 0;
}

static int connect_due(void *arg, cleat_time due)
{
	return connect_one(arg, due);
}

void bench_connects(void *arg)
{
	struct link *k = arg;
	struct visitor v = { .k = k };
	cleat_time now = cleat_now();

	(void)snprintf(v.to, sizeof(v.to), "%s", k->plan->addr->text);
	if (k->plan->o->reset)
		v.options.linger = CLEAT_ON;
	if (k->plan->o->rate > 0) {
		link_keep_time(k, connect_due, &v);
		return;
	}
	while (link_may_ask(k, 1, now) > 0 && connect_one(&v, now) == 0)
		now = cleat_now();
}
