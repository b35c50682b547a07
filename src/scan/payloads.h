/* SPDX-License-Identifier: MIT */
/* What to say to a UDP port, so that the service that is usual there answers.
 */
#ifndef CLEAT_SCAN_PAYLOADS_H
#define CLEAT_SCAN_PAYLOADS_H

#include <stddef.h>
#include <stdint.h>

struct cleat__payload {
	uint16_t port;
	const void *data;
	size_t len;
};

/* cleat__payload - what to send to PORT in the ATTEMPT-th attempt, from 0: of a
 * service that comes in several versions each has its turn.  Static.
 */
const struct cleat__payload *cleat__payload(unsigned port, unsigned attempt);

#endif
