/* SPDX-License-Identifier: MIT */
/* The ring itself: setting it up so that nobody else has a part in it, entering
 * it to wait, and taking it down.
 *
 * What is armed in a ring stays open as long as anybody has it.  So a forked
 * child gets neither the ring's memory nor, where the kernel can do without, a
 * descriptor.  A page that it finds empty tells it so.
 */
#include <errno.h>
#include <sys/mman.h>

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
#define USE_REGISTERED_RING (1u << 31) /* 6.3 */

/* Both fail only for want of memory. */
static void keep_from_children(struct cleat__uring *u)
{
	(void)madvise(u->page, sizeof(*u->page), MADV_WIPEONFORK);
	(void)io_uring_ring_dontfork(&u->ring);
	u->page->is_ours = true;
}

/* A number takes the place of the descriptor, and costs a little less. */
static void hide(struct cleat__uring *u)
{
	struct io_uring *r = &u->ring;

	u->is_quiet = r->features & FEAT_NO_IOWAIT;
	u->enter = IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG;
	u->registering = 0;
	if (u->is_quiet)
		u->enter |= ENTER_NO_IOWAIT;
	if (io_uring_register_ring_fd(r) != 1)
		return;
	u->enter |= IORING_ENTER_REGISTERED_RING;
	if (!u->is_quiet)
		return;
	u->registering = USE_REGISTERED_RING;
	sys_close(r->ring_fd);
	r->ring_fd = -1;
}

static int open_ring(struct io_uring *ring)
{
	struct io_uring_params p = {
		.flags = IORING_SETUP_SINGLE_ISSUER |
			 IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL |
			 IORING_SETUP_CQSIZE,
		.cq_entries = COMPLETIONS,
	};

	return io_uring_queue_init_params(SUBMISSIONS, ring, &p);
}

int cleat__ring_open(struct cleat__uring *u)
{
	void *page = mmap(NULL, sizeof(*u->page), PROT_READ | PROT_WRITE,
			  MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);
	int err;

	if (page == MAP_FAILED)
		return -ENOMEM;
	err = open_ring(&u->ring);
	if (err < 0) {
		(void)munmap(page, sizeof(*u->page)); /* ours, and whole */
		return err;
	}
	cleat__san_mapped(&cleat__uring);
	u->page = page;
	u->has_ring = true;
	keep_from_children(u);
	hide(u);
	return 0;
}

int cleat__ring_register(struct cleat__uring *u, unsigned what, void *arg)
{
	return io_uring_register((unsigned)u->ring.enter_ring_fd,
				 what | u->registering, arg, 1);
}

/* liburing would give the number back by the descriptor. */
static void exit_ring(struct cleat__uring *u)
{
	struct io_uring_rsrc_update number = {
		.offset = (unsigned)u->ring.enter_ring_fd,
	};

	if (u->registering)
		(void)cleat__ring_register(u, IORING_UNREGISTER_RING_FDS,
					   &number); /* it is there */
	io_uring_queue_exit(&u->ring);
}

void cleat__ring_close(struct cleat__uring *u)
{
	cleat__san_unmapped(&cleat__uring);
	if (u->page->is_ours)
		exit_ring(u);
	else if (u->ring.ring_fd >= 0)
		sys_close(u->ring.ring_fd);
	(void)munmap(u->page, sizeof(*u->page)); /* ours, and whole */
	u->buffers = NULL;
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
