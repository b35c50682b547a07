/* SPDX-License-Identifier: MIT */
/* What open services say first: each is connected to once more, on a fiber of a
 * thread of its own, and read from.
 */
#ifndef CLEAT_SCAN_BANNER_H
#define CLEAT_SCAN_BANNER_H

#include "scan/job.h"

enum {
	CLEAT__BANNERS_WIDTH = 64, /* connections at once */
};

/* cleat__banners_new - start for J, whose opt says how long and how much.
 * Returns 0, or -ENOMEM, -EAGAIN (no thread), ...
 */
int cleat__banners_new(struct cleat__banners **b, struct cleat__job *j);

/* cleat__banners_add - PLACE at AT is open, as V says; cleat__job_tell() will
 * be called for it.  Any thread; waits while very many are waiting already.
 */
void cleat__banners_add(struct cleat__banners *b, uint64_t place,
			const struct cleat_sockaddr *at,
			const struct cleat__verdict *v);

/* cleat__banners_free - wait until all are told of, and end.  If j->stop is set
 * by then, who has not spoken yet is told of at once.  NULL is fine.
 */
void cleat__banners_free(struct cleat__banners *b);

#endif
