/* SPDX-License-Identifier: MIT */
#include "scan/ledger.h"

#include <errno.h>
#include <stdlib.h>

int cleat__ledger_init(struct cleat__ledger *l, uint64_t total, uint64_t start)
{
	*l = (struct cleat__ledger){ .total = total, .start = start };
	/* Zero pages cost nothing until they are written to. */
	l->ring = calloc(CLEAT__BLOCKS_MAX, sizeof(*l->ring));
	if (!l->ring)
		return -ENOMEM;
	(void)pthread_mutex_init(&l->lock, NULL); /* cannot fail on Linux */
	return 0;
}

void cleat__ledger_done(struct cleat__ledger *l)
{
	if (!l->ring)
		return;
	(void)pthread_mutex_destroy(&l->lock);
	free(l->ring);
}

/* The first place of the N-th block, and how many there are. */
static uint64_t first_of(const struct cleat__ledger *l, uint64_t n)
{
	const uint64_t blocks = (l->total - l->start) / CLEAT__BLOCK;

	return n > blocks ? l->total : l->start + n * CLEAT__BLOCK;
}

static unsigned places_of(const struct cleat__ledger *l, uint64_t n)
{
	return (unsigned)(first_of(l, n + 1) - first_of(l, n));
}

static struct cleat__block *block(const struct cleat__ledger *l, uint64_t n)
{
	return &l->ring[n % CLEAT__BLOCKS_MAX];
}

unsigned cleat__ledger_take(struct cleat__ledger *l, uint64_t *first)
{
	unsigned n = 0;

	(void)pthread_mutex_lock(&l->lock);
	*first = first_of(l, l->next);
	if (l->next - l->low < CLEAT__BLOCKS_MAX)
		n = places_of(l, l->next);
	l->next += n > 0;
	(void)pthread_mutex_unlock(&l->lock);
	return n;
}

static void add(struct cleat_scan_count *c, uint32_t counts)
{
	c->open += counts & 0xff;
	c->closed += counts >> 8 & 0xff;
	c->filtered += counts >> 16 & 0xff;
	c->silent += counts >> 24;
}

static uint64_t all_of(const struct cleat__ledger *l, uint64_t n)
{
	const unsigned places = places_of(l, n);

	return places < CLEAT__BLOCK ? (UINT64_C(1) << places) - 1 : UINT64_MAX;
}

/* Leave behind what is done. */
static void advance(struct cleat__ledger *l)
{
	(void)pthread_mutex_lock(&l->lock);
	for (; l->low < l->next; l->low++) {
		struct cleat__block *b = block(l, l->low);

		if (atomic_load(&b->settled) != all_of(l, l->low))
			break;
		add(&l->counts, atomic_load(&b->counts));
		atomic_store(&b->counts, 0);
		atomic_store(&b->settled, 0);
	}
	(void)pthread_mutex_unlock(&l->lock);
}

static uint64_t number_of(const struct cleat__ledger *l, uint64_t place)
{
	return (place - l->start) / CLEAT__BLOCK;
}

void cleat__ledger_count(struct cleat__ledger *l, uint64_t place,
			 enum cleat_port_state state)
{
	(void)atomic_fetch_add(&block(l, number_of(l, place))->counts,
			       UINT32_C(1) << 8 * state);
}

void cleat__ledger_settle(struct cleat__ledger *l, uint64_t place)
{
	const uint64_t n = number_of(l, place);
	const uint64_t bit = UINT64_C(1) << (place - l->start) % CLEAT__BLOCK;

	/* With the last of them the block may be gone. */
	if ((atomic_fetch_or(&block(l, n)->settled, bit) | bit) == all_of(l, n))
		advance(l);
}

void cleat__ledger_read(struct cleat__ledger *l, struct cleat_scan_progress *p)
{
	(void)pthread_mutex_lock(&l->lock);
	p->total = l->total;
	p->mark = first_of(l, l->low);
	p->marked = l->counts;
	p->done = l->counts;
	for (uint64_t n = l->low; n < l->next; n++)
		add(&p->done, atomic_load(&block(l, n)->counts));
	(void)pthread_mutex_unlock(&l->lock);
}
