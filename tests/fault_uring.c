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
	int err;

	if (fault_is_due(FAULT_ERROR, "io_uring_queue_init_params"))
		return -ENOMEM;
	err = __real_io_uring_queue_init_params(n, ring, p);
	if (fault_old_kernel)
		ring->features = p->features &= ~(1u << 17);
	return err;
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
	if (fault_is_due(FAULT_ERROR, "io_uring_submit_and_get_events"))
		return -EBADR; /* an event was lost */
	return __real_io_uring_submit_and_get_events(ring);
}

int __real_io_uring_enter2(unsigned fd, unsigned submit, unsigned wait,
			   unsigned flags, sigset_t *arg, size_t size);
int __wrap_io_uring_enter2(unsigned fd, unsigned submit, unsigned wait,
			   unsigned flags, sigset_t *arg, size_t size);
int __wrap_io_uring_enter2(unsigned fd, unsigned submit, unsigned wait,
			   unsigned flags, sigset_t *arg, size_t size)
{
	if (fault_is_due(FAULT_EINTR, "io_uring_enter2"))
		return -EINTR;
	if (fault_is_due(FAULT_ERROR, "io_uring_enter2"))
		return -ENOMEM;
	return __real_io_uring_enter2(fd, submit, wait, flags, arg, size);
}
