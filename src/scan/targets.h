/* SPDX-License-Identifier: MIT */
#ifndef CLEAT_SCAN_TARGETS_H
#define CLEAT_SCAN_TARGETS_H

#include <cleat/scan.h>

#include "scan/ranges.h"

/* What a text of numbers says. */
struct cleat__numeric {
	struct cleat__range v[2];
	unsigned n;
	char better[96]; /* what to write instead, where that is known */
};

/* cleat__is_numeric - TEXT is, or was meant as, other than a name. */
bool cleat__is_numeric(const char *text);

/* cleat__numeric_scan - what TEXT says, in *S, which is all zero at first.
 * Returns NULL, or what is wrong with it, in static words.
 */
const char *cleat__numeric_scan(struct cleat__numeric *s, const char *text,
				int family);

/* As it was added. */
struct cleat__name {
	struct cleat__name *next;
	size_t number; /* of the names, in the order added */
	char text[];
};

/* An address that was added by a name. */
struct cleat__named {
	struct cleat__ip ip;
	const struct cleat__name *name;
};

struct cleat_targets {
	struct cleat__ranges in, out;
	/* Sorted, if is_sorted, by address and then as added. */
	struct cleat__named *names;
	size_t n_names, names_room;
	bool is_sorted;
	struct cleat__name *last; /* and from there all */
};

/* cleat__targets_sort - make both sets tidy, and sort the names. */
void cleat__targets_sort(struct cleat_targets *t);

/* cleat__targets_name - what IP was first added as, if that was a name; else
 * NULL.  T is sorted.
 */
const char *cleat__targets_name(const struct cleat_targets *t,
				const struct cleat__ip *ip);

#endif
