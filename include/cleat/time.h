/* SPDX-License-Identifier: MIT */
/* Time: every call that may block takes an absolute deadline, last. */
#ifndef CLEAT_TIME_H
#define CLEAT_TIME_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Nanoseconds of CLOCK_MONOTONIC.  0 as a deadline means "now": try once. */
typedef int64_t cleat_time;

#define CLEAT_FOREVER INT64_MAX
#define CLEAT_USEC INT64_C(1000)
#define CLEAT_MSEC INT64_C(1000000)
#define CLEAT_SEC INT64_C(1000000000)

/* cleat_now - the present moment.  Any thread; does not block. */
cleat_time cleat_now(void);

/* cleat_in - the moment NS nanoseconds from now, as in cleat_in(5 * CLEAT_SEC).
 *
 * Saturates at CLEAT_FOREVER; a negative NS is a moment that has passed.
 * Any thread; does not block.
 */
cleat_time cleat_in(int64_t ns);

#ifdef __cplusplus
}
#endif
#endif
