/* SPDX-License-Identifier: MIT */
#include "scan/census.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

enum {
	WORD = 64,
	HOSTS_MOST = 1 << 26, /* 8 MiB */
};

static uint64_t words(const struct cleat__census *c)
{
	return (c->hosts + WORD - 1) / WORD;
}

int cleat__census_init(struct cleat__census *c, uint64_t hosts)
{
	*c = (struct cleat__census){ .hosts = hosts };
	if (hosts > HOSTS_MOST)
		return 0;
	/* Zero pages cost nothing until they are written to. */
	c->bits = calloc(words(c), sizeof(*c->bits));
	return c->bits ? 0 : -ENOMEM;
}

void cleat__census_done(struct cleat__census *c)
{
	free(c->bits);
}

void cleat__census_add(struct cleat__census *c, uint64_t host)
{
	const uint64_t bit = UINT64_C(1) << host % WORD;

	/* Only the first time it costs more than a look. */
	if (c->bits && !(atomic_load_explicit(&c->bits[host / WORD],
					      memory_order_relaxed) &
			 bit))
		(void)atomic_fetch_or(&c->bits[host / WORD], bit);
}

uint64_t cleat__census_count(const struct cleat__census *c)
{
	uint64_t n = 0;

	if (!c->bits)
		return UINT64_MAX;
	for (uint64_t i = 0; i < words(c); i++)
		n += (unsigned)__builtin_popcountll(atomic_load(&c->bits[i]));
	return n;
}
