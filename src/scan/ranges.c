/* SPDX-License-Identifier: MIT */
#include "scan/ranges.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

bool cleat__ip_is_mapped(const struct cleat__ip *ip)
{
	return ip->family == AF_INET6 && ip->net == 0 &&
	       ip->low >> 32 == 0xffff;
}

void cleat__ip_unmap(struct cleat__ip *ip)
{
	*ip = (struct cleat__ip){
		.family = AF_INET,
		.low = (uint32_t)ip->low,
	};
}

bool cleat__ip_is_link_local(const struct cleat__ip *ip)
{
	return ip->family == AF_INET6 && ip->net >> 54 == 0xfe80 >> 6;
}

struct cleat__ip cleat__ip6(const struct in6_addr *ip6)
{
	uint64_t half[2];

	memcpy(half, ip6, sizeof(half));
	return (struct cleat__ip){
		.family = AF_INET6,
		.net = be64toh(half[0]),
		.low = be64toh(half[1]),
	};
}

bool cleat__ip_of(struct cleat__ip *ip, const struct cleat_sockaddr *at)
{
	if (at->len >= sizeof(at->in) && at->any.sa_family == AF_INET) {
		*ip = (struct cleat__ip){
			.family = AF_INET,
			.low = ntohl(at->in.sin_addr.s_addr),
		};
		return true;
	}
	if (at->len < sizeof(at->in6) || at->any.sa_family != AF_INET6)
		return false;
	*ip = cleat__ip6(&at->in6.sin6_addr);
	if (cleat__ip_is_mapped(ip))
		cleat__ip_unmap(ip);
	else if (cleat__ip_is_link_local(ip))
		ip->zone = at->in6.sin6_scope_id;
	return true;
}

static int compare(uint64_t a, uint64_t b)
{
	return (a > b) - (a < b);
}

/* The same for all addresses that lie side by side. */
static int compare_nets(const struct cleat__ip *a, const struct cleat__ip *b)
{
	if (a->family != b->family)
		return compare(a->family, b->family);
	if (a->zone != b->zone)
		return compare(a->zone, b->zone);
	return compare(a->net, b->net);
}

int cleat__ip_compare(const struct cleat__ip *a, const struct cleat__ip *b)
{
	const int nets = compare_nets(a, b);

	return nets ? nets : compare(a->low, b->low);
}

uint64_t cleat__range_size(const struct cleat__range *r)
{
	const uint64_t more = r->last - r->first.low;

	return more < UINT64_MAX ? more + 1 : UINT64_MAX;
}

bool cleat__range_has(const struct cleat__range *r, const struct cleat__ip *ip)
{
	return compare_nets(&r->first, ip) == 0 && r->first.low <= ip->low &&
	       ip->low <= r->last;
}

int cleat__ranges_reserve(struct cleat__ranges *r, size_t n)
{
	size_t room = r->room ? r->room : 16;
	void *v;

	if (r->room - r->n >= n)
		return 0;
	/* What was added twice, or in order, needs no more room. */
	cleat__ranges_tidy(r);
	while (room / 2 < r->n + n)
		room *= 2;
	if (room <= r->room)
		return 0;
	v = realloc(r->v, room * sizeof(r->v[0]));
	if (!v)
		return -ENOMEM;
	r->v = v;
	r->room = room;
	return 0;
}

void cleat__ranges_push(struct cleat__ranges *r, const struct cleat__range *new)
{
	r->v[r->n++] = *new;
	r->is_tidy = false;
}

static int compare_ranges(const void *a, const void *b)
{
	const struct cleat__range *ra = a, *rb = b;

	return cleat__ip_compare(&ra->first, &rb->first);
}

/* B, which does not start before A, starts in it or right behind it. */
static bool is_joined(const struct cleat__range *a,
		      const struct cleat__range *b)
{
	return compare_nets(&a->first, &b->first) == 0 &&
	       (b->first.low <= a->last || b->first.low - a->last == 1);
}

void cleat__ranges_tidy(struct cleat__ranges *r)
{
	size_t n = 0;

	if (r->is_tidy || r->n == 0)
		return;
	qsort(r->v, r->n, sizeof(r->v[0]), compare_ranges);
	for (size_t i = 1; i < r->n; i++) {
		if (!is_joined(&r->v[n], &r->v[i]))
			r->v[++n] = r->v[i];
		else if (r->v[n].last < r->v[i].last)
			r->v[n].last = r->v[i].last;
	}
	r->n = n + 1;
	r->is_tidy = true;
}

/* All of A is before B. */
static bool is_before(const struct cleat__range *a,
		      const struct cleat__range *b)
{
	const int nets = compare_nets(&a->first, &b->first);

	return nets ? nets < 0 : a->last < b->first.low;
}

/* Take from the rest what lies before OUT, and drop what lies in it: true, and
 * *R, if something lay before.
 */
static bool cut(struct cleat__difference *d, const struct cleat__range *out,
		struct cleat__range *r)
{
	const bool has_head = d->rest.first.low < out->first.low;

	if (has_head) {
		*r = d->rest;
		r->last = out->first.low - 1;
	}
	d->has_rest = out->last < d->rest.last;
	if (d->has_rest)
		d->rest.first.low = out->last + 1;
	return has_head;
}

/* The first of what is out that is not all before the rest; or NULL. */
static const struct cleat__range *next_out(struct cleat__difference *d)
{
	for (; d->next_out < d->out->n; d->next_out++) {
		const struct cleat__range *out = &d->out->v[d->next_out];

		if (!is_before(out, &d->rest))
			return out;
	}
	return NULL;
}

bool cleat__difference_next(struct cleat__difference *d, struct cleat__range *r)
{
	while (d->has_rest || d->next_in < d->in->n) {
		const struct cleat__range *out;

		if (!d->has_rest)
			d->rest = d->in->v[d->next_in++];
		d->has_rest = true;
		out = next_out(d);
		if (!out || is_before(&d->rest, out)) {
			*r = d->rest;
			d->has_rest = false;
			return true;
		}
		if (cut(d, out, r))
			return true;
	}
	return false;
}
