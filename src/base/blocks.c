/* SPDX-License-Identifier: MIT */
#include "base/blocks.h"

#include <errno.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#define ALIGN 64 /* a cache line */

struct block {
	struct block *next;
};

/* At the start of a page; its blocks follow. */
struct cleat__page {
	_Alignas(ALIGN) struct cleat__page *prev;
	struct cleat__page *next; /* of those with room */
	struct block *free;
	unsigned n_used;
};

static void link_page(struct cleat__blocks *b, struct cleat__page *p)
{
	p->prev = NULL;
	p->next = b->roomy;
	if (p->next)
		p->next->prev = p;
	b->roomy = p;
}

static void unlink_page(struct cleat__blocks *b, struct cleat__page *p)
{
	if (p->prev)
		p->prev->next = p->next;
	else
		b->roomy = p->next;
	if (p->next)
		p->next->prev = p->prev;
}

static void unmap(struct cleat__blocks *b, struct cleat__page *p)
{
	unlink_page(b, p);
	b->n_empty--;
	(void)munmap(p, b->page); /* ours, and whole */
}

void cleat__blocks_close(struct cleat__blocks *b)
{
	while (b->roomy)
		unmap(b, b->roomy);
}

static struct cleat__page *map(struct cleat__blocks *b)
{
	char *at = mmap(NULL, b->page, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct cleat__page *p = (struct cleat__page *)(void *)at;

	if (at == MAP_FAILED)
		return NULL;
	for (size_t i = sizeof(*p); i + b->size <= b->page; i += b->size) {
		struct block *block = (struct block *)(void *)(at + i);

		block->next = p->free;
		p->free = block;
	}
	link_page(b, p);
	b->n_empty++;
	return p;
}

int cleat__blocks_open(struct cleat__blocks *b, size_t size)
{
	*b = (struct cleat__blocks){
		.page = (size_t)sysconf(_SC_PAGESIZE),
		.size = (size + ALIGN - 1) / ALIGN * ALIGN,
	};
	return map(b) ? 0 : -ENOMEM;
}

void *cleat__blocks_get(struct cleat__blocks *b)
{
	struct cleat__page *p = b->roomy ? b->roomy : map(b);
	struct block *block;

	if (!p)
		return NULL;
	block = p->free;
	p->free = block->next;
	if (p->n_used++ == 0)
		b->n_empty--;
	if (!p->free)
		unlink_page(b, p);
	return block;
}

/* One empty page is kept: it spares the next block a map(). */
void cleat__blocks_put(struct cleat__blocks *b, void *block)
{
	struct cleat__page *p =
		(struct cleat__page *)((uintptr_t)block & ~(b->page - 1));
	struct block *freed = block;

	if (!p->free)
		link_page(b, p);
	freed->next = p->free;
	p->free = freed;
	if (--p->n_used > 0)
		return;
	if (++b->n_empty > 1)
		unmap(b, p);
}
