/* SPDX-License-Identifier: MIT */
/* When each probe in flight is given up: a timer wheel, whose operations cost
 * the same however many there are.
 */
#ifndef CLEAT_SCAN_WHEEL_H
#define CLEAT_SCAN_WHEEL_H

#include <stdint.h>

#include <cleat/time.h>

struct cleat__probe;

enum {
	CLEAT__WHEEL_SLOTS = 1024
};

struct cleat__wheel {
	int64_t tick; /* up to which all is done */
	struct cleat__probe *slots[CLEAT__WHEEL_SLOTS];
};

void cleat__wheel_init(struct cleat__wheel *w, cleat_time now);

/* cleat__wheel_add - P, which is in no list, until p->until. */
void cleat__wheel_add(struct cleat__wheel *w, struct cleat__probe *p);
void cleat__wheel_remove(struct cleat__probe *p);

/* cleat__wheel_next - one whose time has come, removed; NULL: none by NOW. */
struct cleat__probe *cleat__wheel_next(struct cleat__wheel *w, cleat_time now);

/* cleat__wheel_until - when to look again, at the latest. */
cleat_time cleat__wheel_until(const struct cleat__wheel *w);

#endif
