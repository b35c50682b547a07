/* SPDX-License-Identifier: MIT */
/* Blocks of one size, for one thread, in pages of their own: after a peak these
 * go back to the system, which malloc() does not promise.
 */
#ifndef CLEAT_BASE_BLOCKS_H
#define CLEAT_BASE_BLOCKS_H

#include <stddef.h>

/* All zero is not open. */
struct cleat__blocks {
	size_t page, size;
	struct cleat__page *roomy; /* the pages with free blocks */
	size_t n_empty; /* of them */
};

/* cleat__blocks_open - of SIZE bytes, at most some hundred; the first page of
 * them is there.  Returns 0 or -ENOMEM.  cleat__blocks_close - when all have
 * been put back.
 */
int cleat__blocks_open(struct cleat__blocks *b, size_t size);
void cleat__blocks_close(struct cleat__blocks *b);

/* cleat__blocks_get - a block, or NULL for lack of memory. */
void *cleat__blocks_get(struct cleat__blocks *b);
void cleat__blocks_put(struct cleat__blocks *b, void *block);

#endif
