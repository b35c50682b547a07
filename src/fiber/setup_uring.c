/* SPDX-License-Identifier: MIT */
/* The ring itself: setting it up, and entering it to wait. */
#include <errno.h>

#include "base/sys.h"
#include "base/time.h"
#include "fiber/uring.h"

#define SUBMISSIONS 256
/* What cannot be put here at once the kernel keeps elsewhere, and ends the poll
 * that it is of.  It also sizes the table in which the kernel looks for the
 * poll to cancel: with these, the largest that it makes.
 */
#define COMPLETIONS 8192

/* Newer than the headers of liburing 2.3: Linux 6.15.  Before it, a wait in the
 * ring counts as one for a disk; and poll(2), which would not, hears nothing of
 * a ring whose work is deferred.
 */
#define FEAT_NO_IOWAIT (1u << 17)
#define ENTER_NO_IOWAIT (1u << 7)

int cleat__ring_open(struct cleat__uring *u)
{
	struct io_uring_params p = {
		.flags = IORING_SETUP_SINGLE_ISSUER |
			 IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL |
			 IORING_SETUP_CQSIZE,
		.cq_entries = COMPLETIONS,
	};
	int err = io_uring_queue_init_params(SUBMISSIONS, &u->ring, &p);

	if (err < 0)
		return err;
	cleat__san_mapped(&cleat__uring);
	u->has_ring = true;
	u->enter = IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG;
	if (p.features & FEAT_NO_IOWAIT)
		u->enter |= ENTER_NO_IOWAIT;
	if (io_uring_register_ring_fd(&u->ring) == 1)
		u->enter |= IORING_ENTER_REGISTERED_RING; /* a little less */
	return 0;
}

void cleat__ring_close(struct cleat__uring *u)
{
	cleat__san_unmapped(&cleat__uring);
	io_uring_queue_exit(&u->ring);
	u->has_ring = false;
}

int cleat__ring_wait(struct cleat__uring *u, cleat_time until)
{
	int64_t left = cleat__left(until);
	struct __kernel_timespec ts = {
		.tv_sec = left / CLEAT_SEC,
		.tv_nsec = left % CLEAT_SEC,
	};
	struct io_uring_getevents_arg arg = {
		.ts = until == CLEAT_FOREVER ? 0 : (uintptr_t)&ts,
	};

	if (left == 0 || io_uring_sq_ready(&u->ring) > 0)
		return io_uring_submit_and_get_events(&u->ring);
	if (io_uring_cq_ready(&u->ring) > 0)
		return 0;
	return io_uring_enter2((unsigned)u->ring.enter_ring_fd, 0, 1, u->enter,
			       (sigset_t *)(void *)&arg, sizeof(arg));
}
