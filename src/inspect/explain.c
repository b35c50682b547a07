/* SPDX-License-Identifier: MIT */
#include "inspect/explain.h"

#include <errno.h>
#include <string.h>

#include "inspect/ip.h"
#include "inspect/overlap.h"

#define NAMED_MAX 3u /* sockets named one by one */

size_t cleat__count_full(const struct cleat_lookup *l)
{
	size_t n = 0;

	for (size_t i = 0; i < l->n_receivers; i++) {
		const struct cleat_socket *s = &l->receivers[i];

		n += s->state == CLEAT_STATE_LISTEN &&
		     s->queue_used > s->queue_max;
	}
	return n;
}

static bool is_connected(const struct cleat_socket *s)
{
	return s->peer.len > 0;
}

/* Who is to accept the connection that receives it. */
static const struct cleat_socket *listener_of(const struct cleat_lookup *l)
{
	for (size_t i = 0; i < l->n_shadowed; i++) {
		if (l->shadowed[i].state == CLEAT_STATE_LISTEN)
			return &l->shadowed[i];
	}
	return NULL;
}

/* What it does there: "nginx (pid 812) listens on [::]:80". */
static void say_deed(struct cleat__story *st, const struct cleat_lookup *l)
{
	const struct cleat_socket *s = l->receivers;
	const struct cleat_socket *to_accept =
		cleat__is_waiting(s) ? listener_of(l) : NULL;

	cleat__say_owner(st, to_accept ? to_accept : s);
	if (to_accept)
		cleat__say(st, ", which has not accepted it yet,");
	if (is_connected(s))
		cleat__say(st, " is connected from ");
	else if (s->state == CLEAT_STATE_LISTEN)
		cleat__say(st, " listens on ");
	else
		cleat__say(st, " is bound to ");
	cleat__say_addr(st, &s->local);
	if (is_connected(s)) {
		cleat__say(st, " to ");
		cleat__say_addr(st, &s->peer);
	}
}

/* Why the kernel finds it at all, as a clause that follows its deed. */
static void say_fit(struct cleat__story *st, const struct cleat_socket *s,
		    const struct cleat_probe *p)
{
	const struct cleat__ip to = cleat__ip_of(&p->to);
	const struct cleat__ip at = cleat__ip_of(&s->local);

	if (is_connected(s))
		cleat__say(st, ", and what comes from its peer is its own");
	else if (!at.is_any)
		cleat__say(st, ", this very address");
	else if (s->family == AF_INET6 && to.is_v4 && !at.is_v4)
		cleat__say(st, ", which without IPV6_V6ONLY takes IPv4 too");
	else if (s->family == AF_INET || s->v6only == CLEAT_ON)
		cleat__say(st, ", which is every IPv%d address",
			   s->family == AF_INET ? 4 : 6);
	else
		cleat__say(st, ", which is every address");
	if (s->device != 0) {
		cleat__say(st, ", at ");
		cleat__say_device(st, s->device);
		cleat__say(st, ", the interface it comes in by");
	}
}

/* Why A comes before B. */
static const char *rule(const struct cleat_socket *a,
			const struct cleat_socket *b)
{
	const bool is_any = cleat__ip_of(&a->local).is_any;

	if (is_connected(a) && !is_connected(b))
		return "a connection comes before what is only bound";
	if (!is_any && cleat__ip_of(&b->local).is_any)
		return "a bound address comes before a wildcard";
	if (a->family == AF_INET && b->family == AF_INET6)
		return "an IPv4 socket comes before an IPv6 one that takes "
		       "IPv4 too";
	if (a->type == SOCK_STREAM && a->family == AF_INET)
		return "of those that share the port by SO_REUSEPORT the "
		       "newest "
		       "comes first";
	if (a->type == SOCK_STREAM)
		return "of those that share the port by SO_REUSEPORT the "
		       "oldest "
		       "comes first, of IPv6";
	if (a->device != 0 && b->device == 0)
		return "a socket bound to the interface comes before one that "
		       "is not";
	return "of equals the kernel takes the one it comes upon first";
}

/* The same where A and B have the same address. */
static const char *sharing_rule(const struct cleat_socket *a,
				const struct cleat_probe *p)
{
	if (a->type == SOCK_STREAM || cleat_sockaddr_port(&p->from) != 0)
		return "of those that share the address the kernel chooses by "
		       "a hash of both ends";
	return "of those that share the address by SO_REUSEADDR the kernel "
	       "takes the one bound last";
}

static bool is_alike(const struct cleat_socket *a, const struct cleat_socket *b)
{
	return a->n_owners > 0 && b->n_owners > 0 &&
	       a->owners[0].pid == b->owners[0].pid && a->device == b->device &&
	       a->local.len == b->local.len &&
	       memcmp(&a->local.any, &b->local.any, a->local.len) == 0;
}

typedef void say_fn(struct cleat__story *st, const struct cleat_socket *s);

/* Those of one process, at one address, next to each other are named once. */
static void say_list(struct cleat__story *st, const struct cleat_socket *v,
		     size_t n, say_fn *say)
{
	unsigned named = 0;
	size_t i = 0;

	for (; i < n; i++) {
		if (i > 0 && is_alike(&v[i], &v[i - 1]))
			continue;
		if (named == NAMED_MAX)
			break;
		if (named++ > 0)
			cleat__say(st, ", ");
		say(st, &v[i]);
	}
	if (i < n)
		cleat__say(st, " and %zu more", n - i);
}

static void say_shadowed(struct cleat__story *st, const struct cleat_lookup *l,
			 const struct cleat_probe *p)
{
	const struct cleat_socket *a = l->receivers, *b = l->shadowed;

	if (l->n_shadowed == 0) {
		cleat__say(st, "; nobody else would take it");
		return;
	}
	cleat__say(st, "; it shadows ");
	say_list(st, b, l->n_shadowed, cleat__say_socket);
	cleat__say(st, ": %s",
		   cleat__is_same_key(a, b) ? sharing_rule(a, p) : rule(a, b));
}

static void say_one(struct cleat__story *st, const struct cleat_lookup *l,
		    const struct cleat_probe *p)
{
	const struct cleat_socket *s = l->receivers;

	say_deed(st, l);
	say_fit(st, s, p);
	if (l->answer == CLEAT_ANSWER_DROPPED)
		cleat__say(
			st,
			"; but its accept queue is full (%u waiting, %u "
			"allowed by listen()), so that the kernel drops the "
			"packet, and the sender tries again until it gives up",
			s->queue_used, s->queue_max);
	else if (is_connected(s) && s->type == SOCK_STREAM)
		cleat__say(st, "; a SYN is out of place there, and no new "
			       "connection comes of it");
}

static void say_any(struct cleat__story *st, const struct cleat_lookup *l,
		    const struct cleat_probe *p)
{
	const size_t full = cleat__count_full(l);

	cleat__say(st, "%zu sockets share ", l->n_receivers);
	cleat__say_addr(st, &l->receivers->local);
	say_fit(st, l->receivers, p);
	cleat__say(st, ", by SO_REUSEPORT, and the kernel chooses one by a "
		       "hash of both ends: ");
	say_list(st, l->receivers, l->n_receivers, cleat__say_owner);
	if (full == l->n_receivers)
		cleat__say(st, "; but their accept queues are full, so that "
			       "the kernel drops the packet");
	else if (full > 0)
		cleat__say(st,
			   "; %zu of their accept queues are full, and what "
			   "falls to these is dropped",
			   full);
}

static void say_other(struct cleat__story *st, const struct cleat_socket *s)
{
	cleat__say_socket(st, s);
	if (s->type == SOCK_STREAM && s->state == CLEAT_STATE_BOUND)
		cleat__say(st, " (not listening)");
	if (s->v6only == CLEAT_ON && cleat__ip_of(&s->local).is_any)
		cleat__say(st, " (IPv6 only)");
}

/* Who has the port, but not for this packet. */
static void say_others(struct cleat__story *st, const struct cleat__case *c)
{
	const struct cleat_socket *v = c->others;
	const size_t n = c->n_silent;

	if (n > 0) {
		cleat__say(st, "; ");
		say_list(st, v, n, cleat__say_owner);
		cleat__say(st, n == 1 || is_alike(&v[0], &v[n - 1])
				       ? " has bound it, but does not listen"
				       : " have bound it, but do not listen");
	}
	if (c->n_others > n) {
		cleat__say(st, "; the port is taken elsewhere, by ");
		say_list(st, v + n, c->n_others - n, say_other);
	}
}

static void say_refused(struct cleat__story *st, const struct cleat__case *c)
{
	const struct cleat_probe *p = &c->route.packet;

	if (p->type == SOCK_STREAM) {
		cleat__say(st, "nobody listens on ");
		cleat__say_addr(st, &p->to);
		cleat__say(st, ", so that the kernel answers with RST: "
			       "connection refused");
	} else {
		cleat__say(st, "nobody is bound to UDP ");
		cleat__say_addr(st, &p->to);
		cleat__say(st, ", so that the kernel answers with ICMP, port "
			       "unreachable: connection refused");
	}
	say_others(st, c);
}

static const char *dead_end(int error)
{
	switch (error) {
	case -ENETUNREACH:
		return "there is no route to it: network is unreachable";
	case -EACCES:
		return "a route prohibits it";
	case -EINVAL:
		return "it is not to be sent to: a blackhole, or a link-local "
		       "address of no or another interface";
	default:
		return "a route says that it is unreachable: no route to host";
	}
}

static void say_unreachable(struct cleat__story *st,
			    const struct cleat__route *r)
{
	cleat__say_ip(st, &r->packet.to);
	if (r->kind == CLEAT__ROUTE_NONE) {
		cleat__say(st, " is not reached: %s", dead_end(r->error));
		return;
	}
	cleat__say(st, " is not an address of this machine");
	if (r->packet.device != 0) {
		cleat__say(st, ": the packet leaves by ");
		cleat__say_device(st, r->packet.device);
	}
	cleat__say(st, ", and who answers is settled elsewhere");
}

/* What was taken into account besides. */
static void say_circumstances(struct cleat__story *st,
			      const struct cleat_lookup *l,
			      const struct cleat__case *c)
{
	const struct cleat_probe *p = &c->route.packet;

	if (c->route.is_foreign) {
		cleat__say(st, "; ");
		cleat__say_ip(st, &p->from);
		cleat__say(st, " is another machine's address");
	}
	if (c->route.is_foreign && p->device != 0) {
		cleat__say(st, ", and what it sends is taken to come in by ");
		cleat__say_device(st, p->device);
	}
	if (c->lingering.local.len > 0)
		cleat__say(st,
			   "; a connection of these two ends lingers in "
			   "TIME_WAIT, %s",
			   l->n_receivers > 0 ? "and gives way to a new one"
					      : "which alone accepts nothing");
}

void cleat__explain(struct cleat__story *st, const struct cleat_lookup *l,
		    const struct cleat__case *c)
{
	if (l->answer == CLEAT_ANSWER_UNREACHABLE)
		say_unreachable(st, &c->route);
	else if (l->answer == CLEAT_ANSWER_REFUSED)
		say_refused(st, c);
	else if (l->n_receivers > 1)
		say_any(st, l, &c->route.packet);
	else
		say_one(st, l, &c->route.packet);
	if (l->n_receivers > 0)
		say_shadowed(st, l, &c->route.packet);
	say_circumstances(st, l, c);
	cleat__say(st, ".");
}
