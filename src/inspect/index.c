/* SPDX-License-Identifier: MIT */
#include "inspect/index.h"

#include <errno.h>
#include <stdlib.h>

struct cleat__slot {
	uint64_t key;
	size_t number; /* 0: free */
};

int cleat__index_init(struct cleat__index *x, size_t n)
{
	size_t size = 16;

	while (size < 2 * n)
		size *= 2;
	x->mask = size - 1;
	x->slots = calloc(size, sizeof(x->slots[0]));
	return x->slots ? 0 : -ENOMEM;
}

void cleat__index_done(struct cleat__index *x)
{
	free(x->slots);
}

/* Where KEY is, or would be.  Multiplied, since inodes are handed out in turn:
 * side by side they would be one long run of slots.
 */
static struct cleat__slot *slot_of(const struct cleat__index *x, uint64_t key)
{
	size_t i = key * 0x9e3779b97f4a7c15u >> 32;

	for (i &= x->mask; x->slots[i].number != 0; i = (i + 1) & x->mask) {
		if (x->slots[i].key == key)
			break;
	}
	return &x->slots[i];
}

size_t cleat__index_put(struct cleat__index *x, uint64_t key, size_t number)
{
	struct cleat__slot *slot = slot_of(x, key);

	if (slot->number == 0)
		*slot = (struct cleat__slot){ key, number };
	return slot->number;
}

size_t cleat__index_find(const struct cleat__index *x, uint64_t key)
{
	return slot_of(x, key)->number;
}
