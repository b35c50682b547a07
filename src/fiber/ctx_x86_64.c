/* SPDX-License-Identifier: MIT */
#include "fiber/ctx.h"

#include <stdint.h>

void cleat__ctx_start(void);

/* Laid out as cleat__ctx_swap() pops it. */
struct frame {
	uint32_t mxcsr;
	uint16_t fpucw, pad;
	void *r15, *r14, *r13, *r12, *rbx, *rbp;
	void (*rip)(void); /* popped last: rsp is then the top, aligned */
};

void *cleat__ctx_make(void *base, size_t size, void (*entry)(void *), void *arg)
{
	uintptr_t top = ((uintptr_t)base + size) & ~(uintptr_t)15;
	struct frame *f = (struct frame *)(top - sizeof(*f));

	*f = (struct frame){
		.mxcsr = 0x1f80, /* the values at process start: all */
		.fpucw = 0x037f, /* exceptions masked, round to nearest */
		.rbx = (void *)(uintptr_t)entry,
		.r12 = arg,
		.rip = cleat__ctx_start,
	};
	return f;
}
