/* SPDX-License-Identifier: MIT */
#include "scan/loss.h"

#include <stddef.h>

#define MISSED_MOST 1e-3

void cleat__loss_add(struct cleat__loss *l, unsigned lost)
{
	l->attempts += lost + 1u;
	l->lost += lost;
}

void cleat__loss_take_back(struct cleat__loss *l)
{
	l->lost -= l->lost > 0;
}

double cleat__loss_part(const struct cleat__loss *l)
{
	return l->attempts > 0 ? (double)l->lost / (double)l->attempts : 0;
}

unsigned cleat__attempts_for(const struct cleat__loss *host,
			     const struct cleat__loss *all, unsigned ports)
{
	const uint64_t answered = all->attempts - all->lost;
	double missed = answered > ports ? (double)answered : ports;
	double part = cleat__loss_part(all);
	unsigned n = 0;

	if (host && cleat__loss_part(host) > part)
		part = cleat__loss_part(host);
	for (; missed > MISSED_MOST && n < CLEAT__ATTEMPTS_MOST; n++)
		missed *= part;
	return n > CLEAT__ATTEMPTS ? n : CLEAT__ATTEMPTS;
}
