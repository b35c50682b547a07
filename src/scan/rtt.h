/* SPDX-License-Identifier: MIT */
/* How long to wait for an answer (RFC 6298). */
#ifndef CLEAT_SCAN_RTT_H
#define CLEAT_SCAN_RTT_H

#include <cleat/time.h>

/* All zero: nothing is known. */
struct cleat__rtt {
	int64_t smoothed, variation; /* ns; no SMOOTHED: no sample yet */
};

/* cleat__rtt_add - SAMPLE, in ns, of an answer that is surely to the attempt
 * it is measured from.
 */
void cleat__rtt_add(struct cleat__rtt *r, int64_t sample);

/* cleat__rtt_timeout - for the ATTEMPT-th, from 0: each waits twice as long as
 * the one before, but never longer than MOST.
 */
int64_t cleat__rtt_timeout(const struct cleat__rtt *r, unsigned attempt,
			   int64_t most);

#endif
