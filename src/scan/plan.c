/* SPDX-License-Identifier: MIT */
/* The ports of all addresses are numbered, address by address.  A shard has
 * those numbers that its own is the remainder of, divided by the number of
 * shards: for each place the order tells the quotient.
 */
#include "scan/plan.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "scan/targets.h"

#define TOTAL_BITS 62 /* of a number, at most */
#define TOTAL_MAX (UINT64_C(1) << TOTAL_BITS)

__extension__ typedef unsigned __int128 u128;

static int refuse(const char *why)
{
	return cleat__fail(-EINVAL, "scan", NULL, why);
}

/* Exact for numbers of TOTAL_BITS: with 2^(b - 1) < N <= 2^b the multiplier is
 * off by a factor of less than 1 + 2^-TOTAL_BITS (Granlund and Montgomery,
 * Division by Invariant Integers using Multiplication, 1994).
 */
static void prepare_division(struct cleat__plan *p)
{
	p->shift = TOTAL_BITS;
	while (1u << (p->shift - TOTAL_BITS) < p->n_ports)
		p->shift++;
	p->magic = (uint64_t)(((u128)1 << p->shift) / p->n_ports + 1);
}

static uint64_t divide(const struct cleat__plan *p, uint64_t number)
{
	return (uint64_t)((u128)number * p->magic >> p->shift);
}

static int init_ports(struct cleat__plan *p, const struct cleat_ports *ports)
{
	unsigned n = 0;

	p->n_ports = cleat_ports_count(ports);
	if (p->n_ports == 0)
		return refuse("no port");
	p->ports = malloc(p->n_ports * sizeof(p->ports[0]));
	if (!p->ports)
		return -ENOMEM;
	for (unsigned port = 0; port < 65536; port++) {
		if (cleat_ports_has(ports, port))
			p->ports[n++] = (uint16_t)port;
	}
	prepare_division(p);
	return 0;
}

static size_t count_ranges(const struct cleat_targets *t)
{
	struct cleat__difference d = { .in = &t->in, .out = &t->out };
	struct cleat__range r;
	size_t n = 0;

	while (cleat__difference_next(&d, &r))
		n++;
	return n;
}

static int init_ranges(struct cleat__plan *p, struct cleat_targets *t)
{
	struct cleat__difference d = { .in = &t->in, .out = &t->out };

	cleat__targets_sort(t);
	p->n_ranges = count_ranges(t);
	if (p->n_ranges == 0)
		return refuse(t->in.n > 0 ? "all addresses are excluded"
					  : "no address");
	p->ranges = malloc(p->n_ranges * sizeof(p->ranges[0]));
	if (!p->ranges)
		return -ENOMEM;
	for (size_t i = 0; i < p->n_ranges; i++) {
		struct cleat__range *r = &p->ranges[i];

		(void)cleat__difference_next(&d, r); /* there are so many */
		r->before = p->hosts;
		if (cleat__range_size(r) > TOTAL_MAX / p->n_ports - p->hosts)
			return refuse("more than 2^62 ports of addresses; "
				      "take fewer");
		p->hosts += cleat__range_size(r);
	}
	return 0;
}

static int init_share(struct cleat__plan *p,
		      const struct cleat_scan_options *opt)
{
	const uint64_t all = p->hosts * p->n_ports;

	if (opt->shard > opt->shards || (opt->shard == 0 && opt->shards > 0))
		return refuse("a shard is one from 1 to the number of shards");
	p->shards = opt->shards > 0 ? opt->shards : 1;
	p->shard = opt->shard > 0 ? opt->shard - 1 : 0;
	p->total = all / p->shards + (p->shard < all % p->shards);
	if (p->total > 0)
		cleat__order_init(&p->order, p->total, opt->seed);
	return 0;
}

int cleat__plan_init(struct cleat__plan *p, struct cleat_targets *t,
		     const struct cleat_ports *ports,
		     const struct cleat_scan_options *opt)
{
	int err;

	*p = (struct cleat__plan){ .targets = t };
	err = init_ports(p, ports);
	if (err == 0)
		err = init_ranges(p, t);
	if (err == 0)
		err = init_share(p, opt);
	if (err == 0)
		return 0;
	if (err == -ENOMEM)
		cleat__note(err, "scan", NULL, NULL);
	cleat__plan_done(p);
	return err;
}

void cleat__plan_done(struct cleat__plan *p)
{
	free(p->ranges);
	free(p->ports);
	p->ranges = NULL;
	p->ports = NULL;
}

/* The one that has the HOST-th address. */
static const struct cleat__range *range_of(const struct cleat__plan *p,
					   uint64_t host)
{
	const struct cleat__range *r = p->ranges;

	for (size_t n = p->n_ranges; n > 1;) {
		const size_t half = n / 2;

		r = r[half].before <= host ? r + half : r;
		n -= half;
	}
	return r;
}

static void set_ip4(struct cleat_sockaddr *at, uint64_t ip, uint16_t port)
{
	at->len = sizeof(at->in);
	at->in = (struct sockaddr_in){
		.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl((uint32_t)ip),
	};
}

static void set_ip6(struct cleat_sockaddr *at, const struct cleat__ip *net,
		    uint64_t low, uint16_t port)
{
	const uint64_t half[2] = { htobe64(net->net), htobe64(low) };

	at->len = sizeof(at->in6);
	at->in6 = (struct sockaddr_in6){
		.sin6_family = AF_INET6,
		.sin6_port = htons(port),
		.sin6_scope_id = net->zone,
	};
	memcpy(&at->in6.sin6_addr, half, sizeof(half));
}

void cleat__plan_at(const struct cleat__plan *p, uint64_t place,
		    struct cleat_sockaddr *at)
{
	const uint64_t number =
		cleat__order_at(&p->order, place) * p->shards + p->shard;
	const uint64_t host = divide(p, number);
	const uint16_t port = p->ports[number - host * p->n_ports];
	const struct cleat__range *r = range_of(p, host);
	const uint64_t low = r->first.low + (host - r->before);

	if (r->first.family == AF_INET)
		set_ip4(at, low, port);
	else
		set_ip6(at, &r->first, low, port);
}

/* Of fewer ports than shards an address has one or none in a share. */
uint64_t cleat__plan_hosts(const struct cleat__plan *p)
{
	return p->n_ports < p->shards ? p->total : p->hosts;
}

bool cleat__plan_host(const struct cleat__plan *p,
		      const struct cleat_sockaddr *at, uint64_t *host)
{
	const struct cleat__range *r = p->ranges;
	struct cleat__ip ip;

	if (!cleat__ip_of(&ip, at))
		return false;
	for (size_t n = p->n_ranges; n > 1;) {
		const size_t half = n / 2;

		if (cleat__ip_compare(&r[half].first, &ip) <= 0)
			r += half;
		n -= half;
	}
	*host = r->before + (ip.low - r->first.low);
	return cleat__range_has(r, &ip);
}

static bool find_port(const struct cleat__plan *p, unsigned port,
		      uint64_t *index)
{
	const uint16_t *v = p->ports;

	for (unsigned n = p->n_ports; n > 1;) {
		const unsigned half = n / 2;

		v = v[half] <= port ? v + half : v;
		n -= half;
	}
	*index = (uint64_t)(v - p->ports);
	return *v == port;
}

bool cleat__plan_place(const struct cleat__plan *p,
		       const struct cleat_sockaddr *at, uint64_t *place)
{
	uint64_t host, port, number;

	if (!cleat__plan_host(p, at, &host) ||
	    !find_port(p, cleat_sockaddr_port(at), &port))
		return false;
	number = host * p->n_ports + port;
	if (number % p->shards != p->shard)
		return false;
	*place = cleat__order_place(&p->order, number / p->shards);
	return true;
}

const char *cleat__plan_name(const struct cleat__plan *p,
			     const struct cleat_sockaddr *at)
{
	struct cleat__ip ip;

	return cleat__ip_of(&ip, at) ? cleat__targets_name(p->targets, &ip)
				     : NULL;
}
