/* SPDX-License-Identifier: MIT */
#include "scan/wheel.h"

#include <stddef.h>

#include "scan/engine.h"

/* So much too late an attempt may be given up: little beside the 100 ms that
 * each waits at least.
 */
#define TICK (8 * CLEAT_MSEC)

void cleat__wheel_init(struct cleat__wheel *w, cleat_time now)
{
	*w = (struct cleat__wheel){ .tick = now / TICK };
}

static struct cleat__probe **slot(struct cleat__wheel *w, int64_t tick)
{
	return &w->slots[tick % CLEAT__WHEEL_SLOTS];
}

/* Never in a slot that has been emptied already in this round. */
void cleat__wheel_add(struct cleat__wheel *w, struct cleat__probe *p)
{
	const int64_t at = p->until / TICK + 1;
	struct cleat__probe **first = slot(w, at > w->tick ? at : w->tick + 1);

	p->next = *first;
	p->link = first;
	if (p->next)
		p->next->link = &p->next;
	*first = p;
}

void cleat__wheel_remove(struct cleat__probe *p)
{
	*p->link = p->next;
	if (p->next)
		p->next->link = p->link;
}

struct cleat__probe *cleat__wheel_next(struct cleat__wheel *w, cleat_time now)
{
	const int64_t last = now / TICK;

	/* One round visits them all. */
	if (last - w->tick > CLEAT__WHEEL_SLOTS)
		w->tick = last - CLEAT__WHEEL_SLOTS;
	for (; w->tick < last; w->tick++) {
		struct cleat__probe *p = *slot(w, w->tick + 1);

		/* Of a later round. */
		while (p && p->until > now)
			p = p->next;
		if (p) {
			cleat__wheel_remove(p);
			return p;
		}
	}
	return NULL;
}

cleat_time cleat__wheel_until(const struct cleat__wheel *w)
{
	for (int i = 1; i <= CLEAT__WHEEL_SLOTS; i++)
		if (w->slots[(w->tick + i) % CLEAT__WHEEL_SLOTS])
			return (w->tick + i) * TICK;
	return CLEAT_FOREVER;
}
