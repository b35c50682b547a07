/* SPDX-License-Identifier: MIT */
/* Where SYNs go out and replies come in: raw sockets, and the port that all
 * SYNs are sent from.  One thread's.
 */
#ifndef CLEAT_SCAN_SYN_WIRE_H
#define CLEAT_SCAN_SYN_WIRE_H

#include <cleat/time.h>

#include "scan/segment.h"

struct cleat__wire;

enum {
	CLEAT__WIRE_BATCH = 64
};

/* cleat__wire_open - returns 0 and *W, or -EPERM (no CAP_NET_RAW), -ENOMEM, ...
 */
int cleat__wire_open(struct cleat__wire **w);
void cleat__wire_close(struct cleat__wire *w);

/* cleat__wire_put - a SYN to AT shall go out with the next flush; of those
 * there are CLEAT__WIRE_BATCH at most.  Returns 0, or -errno: no SYN can be
 * sent there.
 */
int cleat__wire_put(struct cleat__wire *w, const struct cleat_sockaddr *at,
		    uint64_t place);

/* cleat__wire_renew - forget which address SYNs go out from: routes and
 * addresses may have changed.
 */
void cleat__wire_renew(struct cleat__wire *w);

/* cleat__wire_flush - send them.  FAILED is told of each that could not be, and
 * why.  Returns 0; or -EAGAIN: for lack of buffers some are left, call it again
 * later.
 */
int cleat__wire_flush(struct cleat__wire *w,
		      void (*failed)(void *arg, uint64_t place, int err),
		      void *arg);

/* cleat__wire_wait - until there is something to read, or UNTIL; or, if some
 * are left to be sent, there may be room.
 */
void cleat__wire_wait(struct cleat__wire *w, cleat_time until);

/* cleat__wire_read - tell HEARD of each reply to a SYN of ours that the wait
 * has found.
 */
void cleat__wire_read(struct cleat__wire *w,
		      void (*heard)(void *arg, const struct cleat__reply *r),
		      void *arg);

/* cleat__wire_dropped - how many replies were lost for lack of buffers since
 * this was last asked.
 */
unsigned cleat__wire_dropped(struct cleat__wire *w);

#endif
