/* SPDX-License-Identifier: MIT */
/* The cap on connections: one has a slot, whichever worker it is on. */
#include <cleat/chan.h>

#include "net/server.h"

static bool try_take(struct cleat__server *s)
{
	unsigned n = atomic_load(&s->slots);

	while (n > 0) {
		if (atomic_compare_exchange_weak(&s->slots, &n, n - 1))
			return true;
	}
	return false;
}

/* Who wants one says so and looks again; who gives one adds it and looks for
 * who wants it: one of the two sees the other.
 */
int cleat__slot_take(struct cleat__server *s)
{
	char word;
	int err = 0;

	if (try_take(s))
		return 0;
	atomic_fetch_add(&s->slots_wanted, 1);
	while (err == 0 && !try_take(s))
		err = cleat_chan_recv(s->slot_given, &word, CLEAT_FOREVER);
	atomic_fetch_sub(&s->slots_wanted, 1);
	return err;
}

void cleat__slot_give(struct cleat__server *s)
{
	const char word = 0;

	atomic_fetch_add(&s->slots, 1);
	if (atomic_load(&s->slots_wanted) > 0)
		/* Full: there is a word for each that may wait. */
		(void)cleat_chan_send(s->slot_given, &word, 0);
}
