/* SPDX-License-Identifier: MIT */
/* Which hosts have answered: a bit for each, for any thread. */
#ifndef CLEAT_SCAN_CENSUS_H
#define CLEAT_SCAN_CENSUS_H

#include <stdint.h>

struct cleat__census {
	_Atomic uint64_t *bits; /* NULL: of so many it is not known */
	uint64_t hosts;
};

/* cleat__census_init - returns 0, or -ENOMEM. */
int cleat__census_init(struct cleat__census *c, uint64_t hosts);
void cleat__census_done(struct cleat__census *c);

/* cleat__census_add - HOST, a number below HOSTS, has answered. */
void cleat__census_add(struct cleat__census *c, uint64_t host);

/* cleat__census_count - how many have; UINT64_MAX: it is not known. */
uint64_t cleat__census_count(const struct cleat__census *c);

#endif
