/* SPDX-License-Identifier: MIT */
#include <cleat/inspect.h>

#include <arpa/inet.h>
#include <errno.h>
#include <stdatomic.h>
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

/* A snapshot, owners and all, for as long as an answer points into it. */
struct view {
	struct cleat_sockets *sockets;
	atomic_size_t users;
};

struct answer {
	struct cleat_lookup pub;
	struct cleat__case why;
	struct cleat__story story;
	struct cleat_socket found; /* by the very pair of addresses */
	bool is_found, is_heard;
	struct view *view;
	const struct cleat_sockets *seen; /* in there */
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

static bool is_local(const struct answer *a)
{
	return a->why.route.kind == CLEAT__ROUTE_LOCAL;
}

/* Of TCP the listeners, which are quickly found, and what is found; and if
 * nobody hears it, who has bound the port and does not listen.
 */
static unsigned states_for(const struct answer *a)
{
	unsigned states = 1u << CLEAT_STATE_LISTEN;

	if (a->why.route.packet.type == SOCK_DGRAM)
		return ~0u;
	if (!a->is_heard)
		states |= 1u << CLEAT_STATE_BOUND;
	if (a->is_found)
		states |= 1u << a->found.state;
	return states;
}

/* Let Q ask for what A needs as well. */
static void widen(struct cleat_query *q, const struct answer *a)
{
	const struct cleat_probe *p = &a->why.route.packet;
	const unsigned port = cleat_sockaddr_port(&p->to);

	q->kinds |= p->type == SOCK_STREAM ? CLEAT_KIND_TCP : CLEAT_KIND_UDP;
	q->states |= states_for(a);
	if (q->port == 0 || port < q->port)
		q->port = port;
	if (port > q->last_port)
		q->last_port = port;
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

static int gather(struct answer *a, const struct cleat_probe *p)
{
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

	/* From port 0 to begin with, which no peer has, though they may have
	 * all others. */
	for (unsigned i = 0; i < N_PORTS && tries > 0 && got < members; i++) {
		const unsigned port =
			i > 0 ? FIRST_PORT + i * STRIDE % N_PORTS : 0;
		int err;

		set_port(&p.from, port);
		err = cleat__diag_one(d, &s, &p);
		if (err < 0)
			return err == -ENOENT ? 0 : err;
		if (port > 0 && cleat_sockaddr_port(&s.peer) == port)
			continue;
		tries--;
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

/* From any free port, which 0 stands for: nobody is connected from there. */
static bool has_hearer(struct cleat__diag *d, struct cleat_probe p)
{
	struct cleat_socket s;

	set_port(&p.from, 0);
	return cleat__diag_one(d, &s, &p) == 0;
}

/* What is there by the very pair of addresses, and whether anybody is. */
static int ask_ahead(struct answer *a, struct cleat__diag *d)
{
	const struct cleat_probe *p = &a->why.route.packet;
	int err = -ENOENT;

	if (cleat_sockaddr_port(&p->from) != 0)
		err = cleat__diag_one(d, &a->found, p);
	if (err < 0 && err != -ENOENT)
		return err;
	a->is_found = err == 0;
	/* It gives way to a new connection (RFC 6191). */
	if (a->is_found && a->found.state == CLEAT_STATE_TIME_WAIT) {
		a->why.lingering = a->found;
		a->is_found = false;
	}
	a->is_heard = has_hearer(d, *p);
	return 0;
}

static int find_receivers(struct answer *a, struct cleat__diag *d)
{
	const struct cleat_probe *p = &a->why.route.packet;
	const bool has_port = cleat_sockaddr_port(&p->from) != 0;
	int err = gather(a, p);

	if (err == 0 && a->is_found)
		(void)mark(a, &a->found);
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

/* Of that port, and not asked for because of another packet. */
static bool is_other(const struct cleat_socket *s, const struct cleat_probe *p)
{
	return s->type == p->type &&
	       cleat_sockaddr_port(&s->local) == cleat_sockaddr_port(&p->to) &&
	       (s->type == SOCK_DGRAM || s->state == CLEAT_STATE_LISTEN ||
		s->state == CLEAT_STATE_BOUND);
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
		const struct cleat_socket *s = &a->seen->v[i];

		if (is_other(s, p) && !is_silent(s, p))
			a->sockets[n++] = *s;
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

/* One snapshot for all: to look for owners takes long, and as long for many. */
static int look(struct answer **v, size_t n)
{
	struct cleat_query q = { 0 };
	struct view *view;
	int err;

	for (size_t i = 0; i < n; i++) {
		if (is_local(v[i]))
			widen(&q, v[i]);
	}
	if (q.kinds == 0)
		return 0;
	view = calloc(1, sizeof(*view));
	if (!view)
		return -ENOMEM;
	err = cleat_sockets_new(&view->sockets, &q);
	if (err < 0) {
		free(view);
		return err;
	}
	atomic_init(&view->users, n);
	for (size_t i = 0; i < n; i++) {
		v[i]->view = view;
		v[i]->seen = view->sockets;
	}
	return 0;
}

static void view_leave(struct view *view)
{
	if (!view || atomic_fetch_sub(&view->users, 1) > 1)
		return;
	cleat_sockets_free(view->sockets);
	free(view);
}

static int begin(struct answer *a, struct cleat__diag *d,
		 const struct cleat_probe *p)
{
	int err = cleat__route_find(&a->why.route, p);

	if (err < 0)
		return err;
	if (a->why.route.kind == CLEAT__ROUTE_MANY)
		return -EINVAL;
	a->pub.answer = CLEAT_ANSWER_UNREACHABLE;
	return is_local(a) ? ask_ahead(a, d) : 0;
}

static int finish(struct answer *a, struct cleat__diag *d)
{
	int err = is_local(a) ? find_receivers(a, d) : 0;

	if (err == 0 && is_local(a))
		err = sort_out(a);
	if (err < 0)
		return err;
	cleat__explain(&a->story, &a->pub, &a->why);
	a->pub.explanation = cleat__said(&a->story);
	return 0;
}

/* Of a failure of no single one the first tells. */
static int find_answers(struct answer **v, const struct cleat_probe *p,
			size_t n, struct cleat__diag *d)
{
	size_t i = 0;
	int err = 0;

	while (err == 0 && i < n) {
		err = begin(v[i], d, &p[i]);
		i += err == 0;
	}
	if (err == 0) {
		i = 0;
		err = look(v, n);
	}
	while (err == 0 && i < n) {
		err = finish(v[i], d);
		i += err == 0;
	}
	if (err < 0)
		cleat__note_at(err, "look up", &p[i].to);
	if (err == -EINVAL)
		cleat__fail_because("multicast, broadcast, or two versions of "
				    "IP");
	return err;
}

static void free_answers(struct answer **v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		cleat_lookup_free(&v[i]->pub);
	free(v);
}

/* N of them, or NULL. */
static struct answer **new_answers(size_t n)
{
	struct answer **v = calloc(n, sizeof(struct answer *));

	for (size_t i = 0; v && i < n; i++) {
		v[i] = calloc(1, sizeof(*v[i]));
		if (!v[i]) {
			free_answers(v, i);
			return NULL;
		}
	}
	return v;
}

int cleat_lookup_all(struct cleat_lookup **l, const struct cleat_probe *p,
		     size_t n)
{
	struct cleat__diag d;
	struct answer **v;
	int err;

	for (size_t i = 0; i < n; i++) {
		if (!is_probe(&p[i]))
			return cleat__fail(-EINVAL, "look up", NULL,
					   "an IP address and a port are "
					   "needed");
	}
	err = cleat__diag_open(&d);
	if (err < 0)
		return cleat__fail_at(err, "look up", &p->to);
	v = new_answers(n);
	err = v ? find_answers(v, p, n, &d)
		: cleat__fail_at(-ENOMEM, "look up", &p->to);
	cleat__diag_close(&d);
	if (err < 0) {
		if (v)
			free_answers(v, n);
		return err;
	}
	for (size_t i = 0; i < n; i++)
		l[i] = &v[i]->pub;
	free(v);
	return 0;
}

int cleat_lookup_new(struct cleat_lookup **l, const struct cleat_probe *p)
{
	return cleat_lookup_all(l, p, 1);
}

void cleat_lookup_free(struct cleat_lookup *l)
{
	struct answer *a = (struct answer *)l; /* its first member */

	if (!a)
		return;
	view_leave(a->view);
	free(a->v);
	free(a->sockets);
	free(a);
}
