/* SPDX-License-Identifier: MIT */
/* Stacks: address space reserved in slabs, a guard page under each, pooled. */
#ifndef CLEAT_FIBER_STACK_H
#define CLEAT_FIBER_STACK_H

#include <stddef.h>

struct cleat__stack_pool {
	size_t size; /* of one stack, its guard page included */
	size_t page;
	void **idle; /* stacks to give out, the hottest last */
	size_t n_idle;
	size_t n_cold; /* the first of them, whose memory was given back */
	size_t live; /* stacks given out */
	size_t made; /* in all */
	size_t fresh; /* of the newest slab, not made yet */
	struct cleat__slab *slabs;
};

/* SIZE is rounded up to pages; 0 is 64 KiB, and 16 KiB the least. */
void cleat__stack_pool_init(struct cleat__stack_pool *p, size_t size);
void cleat__stack_pool_done(struct cleat__stack_pool *p);

/* cleat__stack_get - a stack, lowest usable address first; its usable bytes
 * are cleat__stack_bytes().  NULL when the kernel gives no more mappings.
 */
void *cleat__stack_get(struct cleat__stack_pool *p);
void cleat__stack_put(struct cleat__stack_pool *p, void *base);

static inline size_t cleat__stack_bytes(const struct cleat__stack_pool *p)
{
	return p->size - p->page;
}

#endif
