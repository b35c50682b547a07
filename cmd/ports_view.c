/* SPDX-License-Identifier: MIT */
/* Which sockets cleat ports lists, and in which order. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ports.h"
#include "sockets.h"

void view_free(struct view *w)
{
	cleat_sockets_free(w->sockets);
	free(w->v);
}

static int view_add(struct view *w, struct row row)
{
	const size_t room = w->room > 0 ? 2 * w->room : 256;
	struct row *more;

	if (w->n == w->room) {
		more = realloc(w->v, room * sizeof(*more));
		if (!more)
			return -ENOMEM;
		w->v = more;
		w->room = room;
	}
	w->v[w->n++] = row;
	return 0;
}

/* Order. */

static int compare(uint64_t a, uint64_t b)
{
	return (a > b) - (a < b);
}

/* TCP and UDP by port, then raw, then unix sockets; nameless ones last. */
static unsigned rank(const struct cleat_socket *s)
{
	if (s->family == AF_UNIX)
		return s->local.len > sizeof(sa_family_t) ? 2 : 3;
	return s->type == SOCK_RAW;
}

static int compare_addresses(const struct cleat_sockaddr *a,
			     const struct cleat_sockaddr *b)
{
	const socklen_t shorter = a->len < b->len ? a->len : b->len;
	int d;

	if (shorter == 0)
		return compare(a->len, b->len);
	if (a->any.sa_family == AF_INET)
		return compare(ntohl(a->in.sin_addr.s_addr),
			       ntohl(b->in.sin_addr.s_addr));
	if (a->any.sa_family == AF_INET6)
		return memcmp(&a->in6.sin6_addr, &b->in6.sin6_addr,
			      sizeof(a->in6.sin6_addr));
	d = memcmp(a->un.sun_path, b->un.sun_path,
		   shorter - sizeof(sa_family_t));
	return d ? d : compare(a->len, b->len);
}

/* 0 only for what is the same socket, at another moment too. */
static int compare_sockets(const struct cleat_socket *a,
			   const struct cleat_socket *b)
{
	int d = compare(rank(a), rank(b));

	if (d == 0)
		d = compare(cleat_sockaddr_port(&a->local),
			    cleat_sockaddr_port(&b->local));
	if (d == 0)
		d = compare(a->protocol, b->protocol);
	if (d == 0)
		d = compare(a->family, b->family); /* IPv4 is the lower */
	if (d == 0)
		d = compare_addresses(&a->local, &b->local);
	if (d == 0)
		d = compare(a->device, b->device);
	if (d == 0)
		d = compare_addresses(&a->peer, &b->peer);
	if (d == 0)
		d = compare(cleat_sockaddr_port(&a->peer),
			    cleat_sockaddr_port(&b->peer));
	if (d == 0)
		d = compare(a->inode, b->inode);
	return d ? d : compare(a->cookie, b->cookie);
}

/* What nobody has comes last. */
static int compare_processes(const struct cleat_owner *a,
			     const struct cleat_owner *b)
{
	int d = compare(!a, !b);

	if (d == 0 && a)
		d = strcmp(a->command, b->command);
	if (d == 0 && a)
		d = compare((uint64_t)a->pid, (uint64_t)b->pid);
	return d;
}

static int by_socket(const void *a, const void *b)
{
	const struct row *r = a, *q = b;

	return compare_sockets(r->s, q->s);
}

static int by_process(const void *a, const void *b)
{
	const struct row *r = a, *q = b;
	int d = compare_processes(r->owner, q->owner);

	return d ? d : compare_sockets(r->s, q->s);
}

typedef int comparison(const void *, const void *);

static comparison *order_of(const struct ports *o)
{
	return o->tree ? by_process : by_socket;
}

bool view_is_one_process(const struct row *a, const struct row *b)
{
	return compare_processes(a->owner, b->owner) == 0;
}

/* Which. */

static struct cleat_query query(const struct ports *o)
{
	struct cleat_query q = {
		.kinds = (o->tcp ? CLEAT_KIND_TCP : 0u) |
			 (o->net.udp ? CLEAT_KIND_UDP : 0u) |
			 (o->is_unix ? CLEAT_KIND_UNIX : 0u) |
			 (o->raw ? CLEAT_KIND_RAW : 0u),
		.family = o->net.ipv6 ? AF_INET6 : AF_UNSPEC,
		.states = o->states,
		.listening = !o->all && o->states == 0,
	};

	if (q.kinds == 0 && !o->all)
		q.kinds = CLEAT_KIND_TCP | CLEAT_KIND_UDP |
			  (filter_has_unix(&o->filter) ? CLEAT_KIND_UNIX : 0u);
	filter_narrow(&o->filter, &q);
	return q;
}

static bool fits(const struct ports *o, const struct cleat_socket *s)
{
	if (o->net.ipv4 && !socket_has_family(s, AF_INET))
		return false;
	if (o->net.ipv6 && !socket_has_family(s, AF_INET6))
		return false;
	if (o->user != NO_USER && (s->inode == 0 || s->uid != o->user))
		return false;
	return filter_fits(&o->filter, s);
}

static bool fits_owner(const struct ports *o, const struct cleat_owner *owner)
{
	return (o->pid == 0 || (unsigned)owner->pid == o->pid) &&
	       (!filter_has_process(&o->filter) ||
		filter_fits_process(&o->filter, owner->command));
}

/* The rows of S: one; or, by process, one for each. */
static int add_socket(struct view *w, const struct ports *o,
		      const struct cleat_socket *s)
{
	const bool is_any = o->pid == 0 && !filter_has_process(&o->filter);
	int err = 0;

	w->unknown += s->inode > 0 && s->n_owners == 0;
	if (is_any && s->n_owners == 0)
		return view_add(w, (struct row){ s, NULL, ' ' });
	for (unsigned i = 0; i < s->n_owners && err == 0; i++) {
		const struct cleat_owner *owner = &s->owners[i];

		if ((i > 0 && owner->pid == owner[-1].pid) ||
		    !fits_owner(o, owner))
			continue;
		err = view_add(w, (struct row){ s, owner, ' ' });
		if (!o->tree)
			break;
	}
	return err;
}

int view_take(struct view *w, const struct ports *o)
{
	const struct cleat_query q = query(o);
	int err = cleat_sockets_new(&w->sockets, &q);

	if (err < 0)
		return err;
	for (size_t i = 0; i < w->sockets->n && err == 0; i++) {
		const struct cleat_socket *s = &w->sockets->v[i];

		if (fits(o, s))
			err = add_socket(w, o, s);
	}
	if (w->n > 0)
		qsort(w->v, w->n, sizeof(*w->v), order_of(o));
	return err;
}

/* Both are in order: go along them side by side. */
int view_compare(struct view *both, const struct ports *o,
		 const struct view *old, const struct view *now)
{
	comparison *const order = order_of(o);
	size_t i = 0, j = 0;
	int err = 0;

	while (err == 0 && (i < old->n || j < now->n)) {
		const int d = i == old->n   ? 1
			      : j == now->n ? -1
					    : order(&old->v[i], &now->v[j]);
		struct row row = d < 0 ? old->v[i] : now->v[j];

		row.mark = " +-"[(d > 0) + 2 * (d < 0)];
		err = view_add(both, row);
		i += d <= 0;
		j += d >= 0;
	}
	return err;
}
