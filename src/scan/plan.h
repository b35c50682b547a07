/* SPDX-License-Identifier: MIT */
/* What is to be tried, and in which order: a number for each port of each
 * address, its place, from which both can be told, and the other way round.
 * Made once, then only read, by any thread.
 */
#ifndef CLEAT_SCAN_PLAN_H
#define CLEAT_SCAN_PLAN_H

#include <cleat/scan.h>

#include "scan/order.h"

struct cleat__range;

struct cleat__plan {
	struct cleat__range *ranges; /* sorted, disjoint */
	size_t n_ranges;
	const struct cleat_targets *targets; /* for their names; sorted */
	uint16_t *ports; /* sorted */
	unsigned n_ports;
	/* X / N_PORTS is X * MAGIC >> SHIFT. */
	uint64_t magic;
	unsigned shift;
	uint64_t hosts; /* in all */
	uint64_t total; /* places of this share, from 0 on; may be 0 */
	uint64_t shard, shards; /* from 0; of 1 or more */
	struct cleat__order order;
};

/* cleat__plan_init - of OPT only shard, shards and seed count; a seed of 0 is
 * one like any other.  T is not to change, nor to be freed, before P is done.
 * Returns 0, or with the reason noted -EINVAL, -ENOMEM.
 */
int cleat__plan_init(struct cleat__plan *p, struct cleat_targets *t,
		     const struct cleat_ports *ports,
		     const struct cleat_scan_options *opt);
void cleat__plan_done(struct cleat__plan *p);

/* cleat__plan_at - address and port of PLACE, below TOTAL. */
void cleat__plan_at(const struct cleat__plan *p, uint64_t place,
		    struct cleat_sockaddr *at);

/* cleat__plan_place - the place of AT, which somebody else may have made up:
 * false if it is not in the plan, or in another shard.
 */
bool cleat__plan_place(const struct cleat__plan *p,
		       const struct cleat_sockaddr *at, uint64_t *place);

/* cleat__plan_host - the number of AT's address, which does not depend on its
 * port, nor on the shard; false if it is not in the plan.
 */
bool cleat__plan_host(const struct cleat__plan *p,
		      const struct cleat_sockaddr *at, uint64_t *host);

/* cleat__plan_hosts - how many addresses have a port in this share. */
uint64_t cleat__plan_hosts(const struct cleat__plan *p);

/* cleat__plan_name - what AT was added as, if that was a name; else NULL. */
const char *cleat__plan_name(const struct cleat__plan *p,
			     const struct cleat_sockaddr *at);

#endif
