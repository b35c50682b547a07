/* SPDX-License-Identifier: MIT */
#include "scan/rtt.h"

#include "base/time.h"

/* RFC 6298 section 2.1; and instead of its second (2.4) a tenth, for a probe
 * that is repeated too early costs a packet, and no stream its rate.
 */
#define UNKNOWN CLEAT_SEC
#define LEAST (100 * CLEAT_MSEC)

/* RFC 6298 sections 2.2 and 2.3. */
void cleat__rtt_add(struct cleat__rtt *r, int64_t sample)
{
	const int64_t off = sample - r->smoothed;

	if (r->smoothed == 0) {
		r->smoothed = sample > 0 ? sample : 1;
		r->variation = sample / 2;
		return;
	}
	r->variation += ((off < 0 ? -off : off) - r->variation) / 4;
	r->smoothed += off / 8;
	if (r->smoothed < 1)
		r->smoothed = 1;
}

int64_t cleat__rtt_timeout(const struct cleat__rtt *r, unsigned attempt,
			   int64_t most)
{
	int64_t t = r->smoothed > 0 ? r->smoothed + 4 * r->variation : UNKNOWN;

	if (t < LEAST)
		t = LEAST;
	for (; attempt > 0 && t < most; attempt--)
		t *= 2; /* section 5.5 */
	return cleat__earlier(t, most);
}
