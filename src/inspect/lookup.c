/* SPDX-License-Identifier: MIT */
#include <cleat/inspect.h>

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>

#include "base/error.h"
#include "inspect/diag.h"
#include "inspect/explain.h"
#include "inspect/overlap.h"
#include "inspect/route.h"

/* Source ports to try where any may be taken: a prime apart. */
#define FIRST_PORT 32768u
#define N_PORTS 28232u
#define STRIDE 7919u

/* Of M that share a port by hash, one is missed by 32 M tries once in e^32. */
#define TRIES_PER_MEMBER 32u

struct candidate {
	struct cleat_socket socket;
	unsigned score;
	bool receives;
};

struct answer {
	struct cleat_lookup pub;
	struct cleat__case why;
	struct cleat__story story;
	struct cleat_sockets *seen; /* owners are in here */
	struct candidate *v; /* whoever fits, best first */
	size_t n;
	/* Receivers, then shadowed; without a receiver all that are seen. */
	struct cleat_socket *sockets;
};

static bool is_ip(const struct cleat_sockaddr *sa)
{
	return sa->len > 0 &&
	       (sa->any.sa_family == AF_INET || sa->any.sa_family == AF_INET6);
}

static bool is_probe(const struct cleat_probe *p)
{
	return (p->type == SOCK_STREAM || p->type == SOCK_DGRAM) &&
	       is_ip(&p->to) && cleat_sockaddr_port(&p->to) != 0 &&
	       (p->from.len == 0 || is_ip(&p->from));
}

/* Of TCP the listeners, which are quickly found, and FOUND; and if nobody hears
 * it, who has bound the port and does not listen.
 */
static int look(struct answer *a, const struct cleat_probe *p,
		const struct cleat_socket *found, bool is_heard)
{
	struct cleat_query q = {
		.kinds = CLEAT_KIND_UDP,
		.port = cleat_sockaddr_port(&p->to),
	};

	if (p->type == SOCK_STREAM) {
		q.kinds = CLEAT_KIND_TCP;
		q.states = 1u << CLEAT_STATE_LISTEN;
		if (!is_heard)
			q.states |= 1u << CLEAT_STATE_BOUND;
		if (found)
			q.states |= 1u << found->state;
	}
	return cleat_sockets_new(&a->seen, &q);
}

/* Equals stay in the kernel's order. */
static void insert(struct answer *a, const struct cleat_socket *s,
		   unsigned score)
{
	size_t i = a->n++;

	for (; i > 0 && a->v[i - 1].score < score; i--)
		a->v[i] = a->v[i - 1];
	a->v[i] = (struct candidate){ .socket = *s, .score = score };
}

static int gather(struct answer *a, const struct cleat_probe *p,
		  const struct cleat_socket *found, bool is_heard)
{
	int err = look(a, p, found, is_heard);

	if (err < 0)
		return err;
	/* And one that came to be since. */
	a->v = calloc(a->seen->n + 1, sizeof(*a->v));
	if (!a->v)
		return -ENOMEM;
	for (size_t i = 0; i < a->seen->n; i++) {
		const struct cleat_socket *s = &a->seen->v[i];
		const unsigned score = cleat__would_receive(s, p);

		if (score > 0)
			insert(a, s, score);
	}
	return 0;
}

/* S receives it.  Returns whether that is news. */
static bool mark(struct answer *a, const struct cleat_socket *s)
{
	size_t i = 0;

	while (i < a->n && a->v[i].socket.cookie != s->cookie)
		i++;
	if (i == a->n) {
		if (i > a->seen->n)
			return false;
		insert(a, s, 0);
	}
	if (a->v[i].receives)
		return false;
	a->v[i].receives = true;
	return true;
}

static size_t count_alike(const struct answer *a, const struct cleat_socket *s)
{
	size_t n = 0;

	for (size_t i = 0; i < a->n; i++)
		n += cleat__is_same_key(&a->v[i].socket, s);
	return n;
}

static void set_port(struct cleat_sockaddr *sa, unsigned port)
{
	sa->in.sin_port = htons((in_port_t)port); /* where sin6_port is, too */
}

/* From any free port: not from that of a peer which is connected. */
static int try_ports(struct answer *a, struct cleat__diag *d,
		     struct cleat_probe p)
{
	size_t members = 1, got = 0;
	unsigned tries = TRIES_PER_MEMBER;
	struct cleat_socket s;

	for (unsigned i = 0; i < tries && got < members; i++) {
		const unsigned port = FIRST_PORT + i * STRIDE % N_PORTS;
		int err;

		set_port(&p.from, port);
		err = cleat__diag_one(d, &s, &p);
		if (err < 0)
			return err == -ENOENT ? 0 : err;
		if (cleat_sockaddr_port(&s.peer) == port)
			continue;
		if (got == 0) {
			members = count_alike(a, &s);
			if (members > N_PORTS / TRIES_PER_MEMBER)
				tries = N_PORTS;
			else
				tries = (unsigned)members * TRIES_PER_MEMBER;
		}
		got += mark(a, &s);
	}
	return 0;
}

static bool has_hearer(struct cleat__diag *d, struct cleat_probe p)
{
	struct cleat_socket s;

	if (cleat_sockaddr_port(&p.from) == 0)
		set_port(&p.from, FIRST_PORT);
	return cleat__diag_one(d, &s, &p) == 0;
}

static int ask(struct answer *a, struct cleat__diag *d,
	       const struct cleat_probe *p)
{
	const bool has_port = cleat_sockaddr_port(&p->from) != 0;
	struct cleat_socket s, *found = NULL;
	int err = has_port ? cleat__diag_one(d, &s, p) : -ENOENT;

	if (err < 0 && err != -ENOENT)
		return err;
	if (err == 0)
		found = &s;
	/* It gives way to a new connection (RFC 6191). */
	if (found && found->state == CLEAT_STATE_TIME_WAIT) {
		a->why.lingering = s;
		found = NULL;
	}
	err = gather(a, p, found, has_hearer(d, *p));
	if (err == 0 && found)
		(void)mark(a, found);
	else if (err == 0 && (!has_port || a->why.lingering.local.len > 0))
		err = try_ports(a, d, *p);
	return err;
}

static enum cleat_answer judge(const struct cleat_lookup *l)
{
	if (l->n_receivers == 0)
		return CLEAT_ANSWER_REFUSED;
	if (cleat__count_full(l) == l->n_receivers)
		return CLEAT_ANSWER_DROPPED;
	return l->n_receivers > 1 ? CLEAT_ANSWER_ANY_OF : CLEAT_ANSWER_ONE;
}

/* Bound to where P goes; if it listened it would receive it. */
static bool is_silent(const struct cleat_socket *s, const struct cleat_probe *p)
{
	struct cleat_socket listener = *s;

	listener.state = CLEAT_STATE_LISTEN;
	return s->type == SOCK_STREAM && s->state == CLEAT_STATE_BOUND &&
	       cleat__would_receive(&listener, p) > 0;
}

static void sort_refused(struct answer *a)
{
	const struct cleat_probe *p = &a->why.route.packet;
	size_t n = 0;

	for (size_t i = 0; i < a->seen->n; i++) {
		if (is_silent(&a->seen->v[i], p))
			a->sockets[n++] = a->seen->v[i];
	}
	a->why.n_silent = n;
	for (size_t i = 0; i < a->seen->n; i++) {
		if (!is_silent(&a->seen->v[i], p))
			a->sockets[n++] = a->seen->v[i];
	}
	a->why.n_others = n;
	a->why.others = a->sockets;
}

/* Without a receiver nobody is in the shadow. */
static int sort_out(struct answer *a)
{
	size_t n = 0;

	/* A receiver may have come to be since. */
	a->sockets = calloc(a->seen->n + 1, sizeof(*a->sockets));
	if (!a->sockets)
		return -ENOMEM;
	for (size_t i = 0; i < a->n; i++) {
		if (a->v[i].receives)
			a->sockets[n++] = a->v[i].socket;
	}
	a->pub.receivers = a->sockets;
	a->pub.n_receivers = n;
	for (size_t i = 0; n > 0 && i < a->n; i++) {
		if (!a->v[i].receives)
			a->sockets[n++] = a->v[i].socket;
	}
	a->pub.shadowed = a->sockets + a->pub.n_receivers;
	a->pub.n_shadowed = n - a->pub.n_receivers;
	a->pub.answer = judge(&a->pub);
	if (n == 0)
		sort_refused(a);
	return 0;
}

static int find_receivers(struct answer *a)
{
	struct cleat__diag d;
	int err = cleat__diag_open(&d);

	if (err < 0)
		return err;
	err = ask(a, &d, &a->why.route.packet);
	cleat__diag_close(&d);
	return err < 0 ? err : sort_out(a);
}

static int find_answer(struct answer *a, const struct cleat_probe *p)
{
	struct cleat__route *r = &a->why.route;
	int err = cleat__route_find(r, p);

	if (err < 0)
		return err;
	if (r->kind == CLEAT__ROUTE_MANY)
		return -EINVAL;
	a->pub.answer = CLEAT_ANSWER_UNREACHABLE;
	if (r->kind == CLEAT__ROUTE_LOCAL)
		err = find_receivers(a);
	return err;
}

int cleat_lookup_new(struct cleat_lookup **l, const struct cleat_probe *p)
{
	struct answer *a;
	int err;

	if (!is_probe(p))
		return cleat__fail(-EINVAL, "look up", NULL,
				   "an IP address and a port are needed");
	a = calloc(1, sizeof(*a));
	if (!a)
		return cleat__fail_at(-ENOMEM, "look up", &p->to);
	err = find_answer(a, p);
	if (err < 0) {
		cleat_lookup_free(&a->pub);
		cleat__note_at(err, "look up", &p->to);
		if (err == -EINVAL)
			cleat__fail_because("multicast, broadcast, or two "
					    "versions of IP");
		return err;
	}
	cleat__explain(&a->story, &a->pub, &a->why);
	a->pub.explanation = cleat__said(&a->story);
	*l = &a->pub;
	return 0;
}

void cleat_lookup_free(struct cleat_lookup *l)
{
	struct answer *a = (struct answer *)l; /* its first member */

	if (!a)
		return;
	cleat_sockets_free(a->seen);
	free(a->v);
	free(a->sockets);
	free(a);
}
