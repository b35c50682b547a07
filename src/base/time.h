/* SPDX-License-Identifier: MIT */
#ifndef CLEAT_BASE_TIME_H
#define CLEAT_BASE_TIME_H

#include <cleat/time.h>

/* cleat__left - nanoseconds left until UNTIL: 0 once it has passed,
 * CLEAT_FOREVER for ever.
 */
int64_t cleat__left(cleat_time until);

/* cleat__left_ms - the same for poll(2): rounded up, so that a wait never ends
 * early, and -1 for ever.
 */
int cleat__left_ms(cleat_time until);

static inline cleat_time cleat__earlier(cleat_time a, cleat_time b)
{
	return a < b ? a : b;
}

#endif
