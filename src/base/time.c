/* SPDX-License-Identifier: MIT */
#include "base/time.h"

#include <time.h>

cleat_time cleat_now(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t); /* cannot fail: valid clock */
	return t.tv_sec * CLEAT_SEC + t.tv_nsec;
}

cleat_time cleat_in(int64_t ns)
{
	cleat_time now = cleat_now();

	return ns > CLEAT_FOREVER - now ? CLEAT_FOREVER : now + ns;
}

int64_t cleat__left(cleat_time until)
{
	cleat_time now;

	if (until == CLEAT_FOREVER)
		return CLEAT_FOREVER;
	now = cleat_now();
	return until > now ? until - now : 0;
}

int cleat__left_ms(cleat_time until)
{
	int64_t left = cleat__left(until);

	if (left == CLEAT_FOREVER)
		return -1;
	if (left > INT32_MAX * CLEAT_MSEC)
		return INT32_MAX;
	return (int)((left + CLEAT_MSEC - 1) / CLEAT_MSEC);
}
