/* SPDX-License-Identifier: MIT */
/* An answer in words. */
#ifndef CLEAT_INSPECT_EXPLAIN_H
#define CLEAT_INSPECT_EXPLAIN_H

#include "inspect/route.h"
#include "inspect/words.h"

/* What led to an answer, as far as the answer itself does not say. */
struct cleat__case {
	struct cleat__route route;
	struct cleat_socket
		lingering; /* TIME_WAIT of this very pair, or len 0 */
	/* Of the port, if nobody receives it.  First come N_SILENT that are
	 * bound to where it goes, and do not listen. */
	const struct cleat_socket *others;
	size_t n_silent, n_others;
};

/* cleat__count_full - receivers whose accept queue has no room. */
size_t cleat__count_full(const struct cleat_lookup *l);

/* cleat__explain - tell in a paragraph, on one line, why L is the answer. */
void cleat__explain(struct cleat__story *st, const struct cleat_lookup *l,
		    const struct cleat__case *c);

#endif
