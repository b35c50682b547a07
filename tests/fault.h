/* SPDX-License-Identifier: MIT */
/* Calls of libc that can be made to fail: fault.c (and fault_uring.c, for
 * liburing) stands between them and the
 * library, by the linker's --wrap.  meson.build names the same calls.
 */
#ifndef TESTS_FAULT_H
#define TESTS_FAULT_H

#include <stdbool.h>

enum fault_kind {
	FAULT_ERROR, /* the call fails, in a way it may */
	FAULT_EINTR, /* a signal came: not a failure */
};

/* fault_arm - from now on the N-th call that can fail does, once. */
void fault_arm(enum fault_kind kind, unsigned long n);

/* fault_disarm - no more.  Returns the name of what failed, or NULL. */
const char *fault_disarm(void);

/* fault_is_due - for what stands between: whether this call, NAME, is to fail.
 */
bool fault_is_due(enum fault_kind kind, const char *name);

/* Before Linux 6.15, as far as io_uring goes. */
extern bool fault_old_kernel;

/* fault_live - blocks of memory allocated and not yet freed. */
long fault_live(void);

#endif
