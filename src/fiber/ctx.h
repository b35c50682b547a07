/* SPDX-License-Identifier: MIT */
/* Switching stacks: one file a CPU, and ucontext where there is none. */
#ifndef CLEAT_FIBER_CTX_H
#define CLEAT_FIBER_CTX_H

#include <stddef.h>

/* cleat__ctx_make - a context that will run ENTRY(ARG) on the SIZE bytes of
 * stack at BASE, once switched to.  ENTRY must not return.
 */
void *cleat__ctx_make(void *base, size_t size, void (*entry)(void *),
		      void *arg);

/* cleat__ctx_swap - store the running context in *SAVE and go on with LOAD.
 * Returns when somebody swaps to *SAVE.
 */
void cleat__ctx_swap(void **save, void *load);

#endif
