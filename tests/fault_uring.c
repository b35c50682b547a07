/* SPDX-License-Identifier: MIT */
/* As fault.c, where there is liburing. */
#include "fault.h"

#include <errno.h>
#include <liburing.h>

int __real_io_uring_queue_init_params(unsigned n, struct io_uring *ring,
				      struct io_uring_params *p);
int __wrap_io_uring_queue_init_params(unsigned n, struct io_uring *ring,
				      struct io_uring_params *p);
int __wrap_io_uring_queue_init_params(unsigned n, struct io_uring *ring,
				      struct io_uring_params *p)
{
	if (fault_is_due(FAULT_ERROR, "io_uring_queue_init_params"))
		return -ENOMEM;
	return __real_io_uring_queue_init_params(n, ring, p);
}

int __real_io_uring_submit(struct io_uring *ring);
int __wrap_io_uring_submit(struct io_uring *ring);
int __wrap_io_uring_submit(struct io_uring *ring)
{
	if (fault_is_due(FAULT_ERROR, "io_uring_submit"))
		return -EAGAIN;
	return __real_io_uring_submit(ring);
}

int __real_io_uring_submit_and_get_events(struct io_uring *ring);
int __wrap_io_uring_submit_and_get_events(struct io_uring *ring);
int __wrap_io_uring_submit_and_get_events(struct io_uring *ring)
{
	if (fault_is_due(FAULT_EINTR, "io_uring_submit_and_get_events"))
		return -EINTR;
	return __real_io_uring_submit_and_get_events(ring);
}

int __real_io_uring_submit_and_wait_timeout(struct io_uring *ring,
					    struct io_uring_cqe **cqe,
					    unsigned n,
					    struct __kernel_timespec *ts,
					    sigset_t *mask);
int __wrap_io_uring_submit_and_wait_timeout(struct io_uring *ring,
					    struct io_uring_cqe **cqe,
					    unsigned n,
					    struct __kernel_timespec *ts,
					    sigset_t *mask);
int __wrap_io_uring_submit_and_wait_timeout(struct io_uring *ring,
					    struct io_uring_cqe **cqe,
					    unsigned n,
					    struct __kernel_timespec *ts,
					    sigset_t *mask)
{
	if (fault_is_due(FAULT_EINTR, "io_uring_submit_and_wait_timeout"))
		return -EINTR;
	return __real_io_uring_submit_and_wait_timeout(ring, cqe, n, ts, mask);
}
