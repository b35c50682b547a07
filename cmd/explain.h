/* SPDX-License-Identifier: MIT */
/* Why a bind fails: asked for by cleat why, and told by the commands that bind
 * when they could not. */
#ifndef CMD_EXPLAIN_H
#define CMD_EXPLAIN_H

#include <stdbool.h>

#include <cleat/inspect.h>

#include "addr.h"

enum {
	EXPLAIN_MAX = 16, /* addresses of a name */
};

struct explain {
	struct cleat_bind bind;
	struct cleat_trial *trial;
};

/* explain_try - try each address that A stands for, as cleat_listen() does: for
 * every interface [::], and 0.0.0.0 only if there is no IPv6.
 *
 * Returns how many of them are in V, for explain_free(); or a negative error
 * with its reason in cleat_why(). */
int explain_try(struct explain v[EXPLAIN_MAX], const struct addr *a,
		unsigned device);
void explain_free(struct explain *v, int n);

/* explain_is_absent - whether a bind fails with ERR because the machine lacks
 * the address, or its whole family: then others of the name may do. */
bool explain_is_absent(int err);

/* explain_bind - complain of a call that was to bind the N ADDRS and has just
 * failed with ERR: in the words of cleat_why(), and of what is in the
 * way if that can be told. */
void explain_bind(const char *command, const struct addr *addrs, int n,
		  int err);

#endif
