/* SPDX-License-Identifier: MIT */
/* Naming the fiber that ran into the guard page of its stack. */
#ifndef CLEAT_FIBER_OVERFLOW_H
#define CLEAT_FIBER_OVERFLOW_H

#include <signal.h>

struct cleat__overflow {
	stack_t before;
	void *stack;
};

/* cleat__overflow_watch - give this thread a signal stack, and the process the
 * handler if it has not got it yet.  Returns 0 or -ENOMEM.
 */
int cleat__overflow_watch(struct cleat__overflow *o);
void cleat__overflow_unwatch(struct cleat__overflow *o);

#endif
