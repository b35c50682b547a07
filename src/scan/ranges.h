/* SPDX-License-Identifier: MIT */
/* Sets of addresses, as ranges of them. */
#ifndef CLEAT_SCAN_RANGES_H
#define CLEAT_SCAN_RANGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cleat/addr.h>

/* An address as numbers.  Those that differ in LOW alone lie side by side. */
struct cleat__ip {
	uint64_t net; /* the upper half of IPv6; of IPv4 0 */
	uint64_t low; /* the lower one; of IPv4 all of it */
	uint32_t zone; /* of link-local ones, else 0 */
	sa_family_t family;
};

/* cleat__ip_of - AT without its port; *IP is IPv4 also if it is mapped into
 * IPv6.  False if AT is neither.
 */
bool cleat__ip_of(struct cleat__ip *ip, const struct cleat_sockaddr *at);

/* cleat__ip6 - an IPv6 address as it is. */
struct cleat__ip cleat__ip6(const struct in6_addr *ip6);

/* cleat__ip_is_mapped - IP is of ::ffff:0:0/96; cleat__ip_unmap - make the IPv4
 * address of it.
 */
bool cleat__ip_is_mapped(const struct cleat__ip *ip);
void cleat__ip_unmap(struct cleat__ip *ip);

/* cleat__ip_is_link_local - IP is of fe80::/10: it needs its zone. */
bool cleat__ip_is_link_local(const struct cleat__ip *ip);

/* cleat__ip_compare - as for qsort(3): IPv4 first, then by zone. */
int cleat__ip_compare(const struct cleat__ip *a, const struct cleat__ip *b);

struct cleat__range {
	struct cleat__ip first;
	uint64_t last; /* LOW of its last address */
	uint64_t before; /* in a plan: how many addresses before this range */
};

/* cleat__range_size - how many addresses; UINT64_MAX: as many or more. */
uint64_t cleat__range_size(const struct cleat__range *r);

bool cleat__range_has(const struct cleat__range *r, const struct cleat__ip *ip);

struct cleat__ranges {
	struct cleat__range *v;
	size_t n, room;
	bool is_tidy; /* sorted, disjoint, none next to another */
};

/* cleat__ranges_reserve - room for N more.  Returns 0, or -ENOMEM. */
int cleat__ranges_reserve(struct cleat__ranges *r, size_t n);

/* cleat__ranges_push - add one, for which there is room. */
void cleat__ranges_push(struct cleat__ranges *r,
			const struct cleat__range *new);

void cleat__ranges_tidy(struct cleat__ranges *r);

/* What of the set IN is not in OUT, range by range; both are tidy.  All else is
 * zero at first. */
struct cleat__difference {
	const struct cleat__ranges *in, *out;
	size_t next_in, next_out;
	struct cleat__range rest; /* of the one before the next */
	bool has_rest;
};

/* cleat__difference_next - the next one in *R; false if there is none. */
bool cleat__difference_next(struct cleat__difference *d,
			    struct cleat__range *r);

#endif
