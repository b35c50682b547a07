/* SPDX-License-Identifier: MIT */
/* Who listens at a unix address, answered as cleat_lookup_new() does for the
 * others. */
#ifndef CMD_WHO_UNIX_H
#define CMD_WHO_UNIX_H

#include <cleat/inspect.h>

/* who_unix_new - the caller frees *L with who_unix_free().  Returns 0 or a
 * negative error, as cleat_sockets_new(). */
int who_unix_new(struct cleat_lookup **l, int type,
		 const struct cleat_sockaddr *to);
void who_unix_free(struct cleat_lookup *l);

#endif
