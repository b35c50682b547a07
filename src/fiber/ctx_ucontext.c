/* SPDX-License-Identifier: MIT */
/* For CPUs without a file of their own.  Costs two signal-mask system calls a
 * switch, and a kilobyte of each stack.
 */
#include "fiber/ctx.h"

#include <stdint.h>
#include <ucontext.h>

struct start {
	ucontext_t uc;
	void (*entry)(void *);
	void *arg;
};

/* makecontext() passes ints: a pointer travels in two. */
static void start(unsigned high, unsigned low)
{
	uintptr_t p = ((uintptr_t)high << 16 << 16) | low;
	struct start *s = (struct start *)p;

	s->entry(s->arg);
}

void *cleat__ctx_make(void *base, size_t size, void (*entry)(void *), void *arg)
{
	uintptr_t top = ((uintptr_t)base + size - sizeof(struct start)) &
			~(uintptr_t)63;
	struct start *s = (struct start *)top;

	(void)getcontext(&s->uc); /* cannot fail on Linux */
	s->entry = entry;
	s->arg = arg;
	s->uc.uc_stack.ss_sp = base;
	s->uc.uc_stack.ss_size = top - (uintptr_t)base;
	s->uc.uc_link = NULL;
	makecontext(&s->uc, (void (*)(void))(uintptr_t)start, 2,
		    (unsigned)(top >> 16 >> 16), (unsigned)top);
	return &s->uc;
}

void cleat__ctx_swap(void **save, void *load)
{
	ucontext_t here;

	*save = &here;
	(void)swapcontext(&here, load); /* fails only for want of a stack */
}
