/* SPDX-License-Identifier: MIT */
/* Sockets by a number of theirs: their inode, their cookie, a hash. */
#ifndef CLEAT_INSPECT_INDEX_H
#define CLEAT_INSPECT_INDEX_H

#include <stddef.h>
#include <stdint.h>

struct cleat__index {
	struct cleat__slot *slots;
	size_t mask;
};

/* cleat__index_init - room for N keys.  Returns 0 or -ENOMEM; if 0, call
 * cleat__index_done().
 */
int cleat__index_init(struct cleat__index *x, size_t n);
void cleat__index_done(struct cleat__index *x);

/* cleat__index_put - enter NUMBER, from 1 on, under KEY.  Returns it, or the
 * number that is there already, and then enters nothing.
 */
size_t cleat__index_put(struct cleat__index *x, uint64_t key, size_t number);

/* cleat__index_find - the number under KEY, or 0. */
size_t cleat__index_find(const struct cleat__index *x, uint64_t key);

#endif
