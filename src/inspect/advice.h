/* SPDX-License-Identifier: MIT */
/* What is in the way of a bind, and what to do about it, in words. */
#ifndef CLEAT_INSPECT_ADVICE_H
#define CLEAT_INSPECT_ADVICE_H

#include "inspect/words.h"

/* What there is where a unix socket is to be bound. */
enum cleat__path {
	CLEAT__PATH_FREE,
	CLEAT__PATH_SERVED, /* somebody has a socket bound to it */
	CLEAT__PATH_LEFT, /* a socket's file, and nobody behind it */
	CLEAT__PATH_OTHER, /* not a socket */
};

#define CLEAT__ADVICE_MAX 8u

/* cleat__advise - tell what T, of a bind to B, means: the summary in *SUMMARY,
 * and in ADVICE what to do.  Returns how many of these there are.
 */
size_t cleat__advise(struct cleat__story *st, const struct cleat_trial *t,
		     const struct cleat_bind *b, enum cleat__path path,
		     const char **summary,
		     const char *advice[CLEAT__ADVICE_MAX]);

#endif
