/* SPDX-License-Identifier: MIT */
#include "fiber/stack.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* A guard page splits its mapping: two of vm.max_map_count (65530) a stack. */
#define PER_SLAB 64
#define DEFAULT_SIZE (64 * 1024)
#define LEAST_SIZE (16 * 1024)
#define KEEP_WARM 256

struct cleat__slab {
	struct cleat__slab *next;
	char *base;
};

void cleat__stack_pool_init(struct cleat__stack_pool *p, size_t size)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	if (size == 0)
		size = DEFAULT_SIZE;
	if (size < LEAST_SIZE)
		size = LEAST_SIZE;
	if (size > SIZE_MAX / 4 / PER_SLAB) /* mmap() will refuse it */
		size = SIZE_MAX / 4 / PER_SLAB;
	*p = (struct cleat__stack_pool){
		.size = (size + page - 1) / page * page + page,
		.page = page,
	};
	if (size == DEFAULT_SIZE && page < size)
		p->size = size; /* 64 KiB with the guard: slabs stay aligned */
}

void cleat__stack_pool_done(struct cleat__stack_pool *p)
{
	struct cleat__slab *s;

	while ((s = p->slabs) != NULL) {
		p->slabs = s->next;
		(void)munmap(s->base, PER_SLAB * p->size);
		free(s);
	}
	free(p->idle);
}

/* Room on the idle list is made here, so that giving back cannot fail. */
static int slab_new(struct cleat__stack_pool *p)
{
	void **idle = realloc(p->idle, (p->made + PER_SLAB) * sizeof(*idle));
	struct cleat__slab *s;
	void *base;

	if (!idle)
		return -1;
	p->idle = idle;
	s = malloc(sizeof(*s));
	if (!s)
		return -1;
	base = mmap(NULL, PER_SLAB * p->size, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1,
		    0);
	if (base == MAP_FAILED) {
		free(s);
		return -1;
	}
	*s = (struct cleat__slab){ .next = p->slabs, .base = base };
	p->slabs = s;
	p->fresh = PER_SLAB;
	return 0;
}

static void *stack_new(struct cleat__stack_pool *p)
{
	char *guard;

	if (p->fresh == 0 && slab_new(p) < 0)
		return NULL;
	guard = p->slabs->base + (PER_SLAB - p->fresh) * p->size;
	if (mprotect(guard, p->page, PROT_NONE) < 0)
		return NULL;
	p->fresh--;
	p->made++;
	return guard + p->page;
}

void *cleat__stack_get(struct cleat__stack_pool *p)
{
	void *base = p->n_idle > 0 ? p->idle[--p->n_idle] : stack_new(p);

	if (p->n_cold > p->n_idle)
		p->n_cold = p->n_idle;
	if (base)
		p->live++;
	return base;
}

/* After a peak the memory goes back to the system, the coldest first, and two
 * at a time, since a falling number of fibers makes two too many each time.
 */
static void cool(struct cleat__stack_pool *p)
{
	for (int i = 0; i < 2; i++) {
		if (p->n_idle - p->n_cold <= p->live + KEEP_WARM)
			return;
		(void)madvise(p->idle[p->n_cold++], cleat__stack_bytes(p),
			      MADV_DONTNEED);
	}
}

void cleat__stack_put(struct cleat__stack_pool *p, void *base)
{
	p->live--;
	p->idle[p->n_idle++] = base;
	cool(p);
}
