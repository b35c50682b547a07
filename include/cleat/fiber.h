/* SPDX-License-Identifier: MIT */
/* Fibers: thousands of straight-line tasks on one thread.
 *
 * A fiber stays on the thread of its cleat_run() and gives way only inside
 * calls that wait.  Fibers live in scopes: closing one cancels and joins them.
 */
#ifndef CLEAT_FIBER_H
#define CLEAT_FIBER_H

#include <stdbool.h>
#include <stddef.h>

#include <cleat/time.h>

#ifdef __cplusplus
extern "C" {
#endif

struct cleat_scope;

/* How fibers wait for descriptors. */
enum cleat_backend {
	/* epoll; and io_uring, from Linux 6.15 on, once it is worth the 0.1 ms
	 * that it takes to set up: with many descriptors, or a connection that
	 * views many small messages.  A message costs up to 6% less then.
	 * Where it is forbidden, as often in containers, or is later on, it
	 * stays with epoll, or returns to it. */
	CLEAT_BACKEND_AUTO,
	CLEAT_BACKEND_EPOLL,
	/* io_uring at once, or an error; from Linux 6.1 on, but before 6.15 a
	 * core that is idle seems to wait for a disk. */
	CLEAT_BACKEND_URING,
};

/* All zero is the default; NULL too. */
struct cleat_run_options {
	size_t stack; /* bytes for each fiber; 0 is 64 KiB, at least 16 KiB */
	enum cleat_backend backend;
};

/* cleat_run - turn this thread into a scheduler and run FN(ARG) as its first
 * fiber.  Returns when FN has; fibers still running are cancelled and joined.
 *
 * While it runs, a fiber that runs into the guard page at the end of its stack
 * is named on stderr and the process exits with status 70: cleat_run() puts a
 * handler before SIGSEGV's for this, once, and hands every other fault on.
 *
 * Returns 0, or -EBUSY (on a fiber already), -ENOMEM, -EMFILE, ...; where
 * io_uring was asked for by name: -EPERM (forbidden), -EINVAL (Linux before
 * 6.1), -ENOSYS (before 5.1, or not built in).
 */
int cleat_run(void (*fn)(void *), void *arg,
	      const struct cleat_run_options *opt);

/* cleat_is_fiber - whether the caller runs on a fiber.  Any thread. */
bool cleat_is_fiber(void);

/* cleat_scope_open - a scope for at most WIDTH fibers at once; 0: no limit.
 *
 * Returns 0, or -ENOTSUP (not on a fiber), -ENOMEM.  The caller ends it with
 * cleat_scope_close().
 */
int cleat_scope_open(struct cleat_scope **s, unsigned width);

/* cleat_go - run FN(ARG) as a fiber of S, after the caller next waits.
 *
 * Waits until UNTIL for a free place in S.  ARG is the caller's.  Returns 0,
 * or -ENOMEM (more fibers than vm.max_map_count allows among others),
 * -ETIMEDOUT, -ECANCELED.
 */
int cleat_go(struct cleat_scope *s, void (*fn)(void *), void *arg,
	     cleat_time until);

/* cleat_scope_wait - until every fiber of S has returned.
 * Returns 0, or -ETIMEDOUT, -ECANCELED.
 */
int cleat_scope_wait(struct cleat_scope *s, cleat_time until);

/* cleat_scope_cancel - every call that waits returns -ECANCELED, now and later,
 * to the fibers of S.  Does not wait for them.
 */
void cleat_scope_cancel(struct cleat_scope *s);

/* cleat_scope_close - cancel, join and free; NULL is fine.  Waits for fibers
 * to return, which cancelled ones do soon.
 */
void cleat_scope_close(struct cleat_scope *s);

/* cleat_sleep - until UNTIL.  Returns 0, or -ECANCELED. */
int cleat_sleep(cleat_time until);

/* cleat_yield - let the others run.  Returns 0, or -ECANCELED. */
int cleat_yield(void);

/* cleat_offload - run FN(ARG), which may block, on a helper thread, and wait
 * for it to return; other fibers run meanwhile.  Not cut short by
 * cancellation, since ARG is in use.  At most 16 at once for each scheduler.
 *
 * Returns 0 once FN has run, or -EAGAIN (no thread to be had), -ECANCELED
 * (before it began).
 */
int cleat_offload(void (*fn)(void *), void *arg);

enum cleat_poll_events {
	CLEAT_IN = 1, /* readable, or ended */
	CLEAT_OUT = 2, /* writable, or broken */
};

/* cleat_poll - wait until the foreign descriptor FD is readable or writable,
 * as EVENTS says.  For descriptors that other libraries own; a file is always
 * ready.  Returns the events (CLEAT_IN, CLEAT_OUT or both), or -EBADF,
 * -EBUSY (another fiber of this thread polls it), -ETIMEDOUT, -ECANCELED.
 */
int cleat_poll(int fd, unsigned events, cleat_time until);

#ifdef __cplusplus
}
#endif
#endif
