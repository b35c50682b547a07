/* SPDX-License-Identifier: MIT */
#include "fiber/ctx.h"

#include <stdint.h>

void cleat__ctx_start(void);

/* Laid out as cleat__ctx_swap() loads it. */
struct frame {
	void *x19, *x20, *x21_28[8], *fp;
	void (*lr)(void);
	double d8_15[8];
	uint64_t fpcr; /* 0, as at process start: round to nearest */
	uint64_t alignment; /* sp is a multiple of 16 */
};

void *cleat__ctx_make(void *base, size_t size, void (*entry)(void *), void *arg)
{
	uintptr_t top = ((uintptr_t)base + size) & ~(uintptr_t)15;
	struct frame *f = (struct frame *)(top - sizeof(*f));

	*f = (struct frame){
		.x19 = (void *)(uintptr_t)entry,
		.x20 = arg,
		.lr = cleat__ctx_start,
	};
	return f;
}
