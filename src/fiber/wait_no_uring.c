/* SPDX-License-Identifier: MIT */
/* In place of wait_uring.c where there is no liburing to build it with. */
#include <errno.h>

#include "fiber/wait.h"

static int no_open(struct cleat__sched *s, enum cleat_backend want)
{
	(void)s;
	(void)want;
	return -ENOSYS;
}

const struct cleat__backend cleat__uring = {
	.name = "uring",
	.open = no_open,
};
