/* SPDX-License-Identifier: MIT */
/* Helper threads: one for each blocking call, and it ends with the call. */
#ifndef CLEAT_FIBER_OFFLOAD_H
#define CLEAT_FIBER_OFFLOAD_H

#include <cleat/time.h>

/* cleat__helper_enter - wait for one of the scheduler's places for helpers; to
 * be given back by cleat__helper_leave().  On a plain thread both do nothing.
 * Returns 0, or -ETIMEDOUT, -ECANCELED.
 */
int cleat__helper_enter(cleat_time until);
void cleat__helper_leave(void);

/* cleat__helper_start - run FN(ARG) on a thread of its own, with every signal
 * blocked.  Returns 0, or -EAGAIN.
 */
int cleat__helper_start(void *(*fn)(void *), void *arg);

#endif
