/* SPDX-License-Identifier: MIT */
/* The descriptors of all processes, by /proc/PID/fd. */
#ifndef CLEAT_INSPECT_WALK_H
#define CLEAT_INSPECT_WALK_H

#include <stddef.h>

#include <cleat/inspect.h>

#include "inspect/index.h"

/* A descriptor of a socket that is wanted. */
struct cleat__hit {
	size_t number; /* of the socket, as in the index */
	struct cleat_owner owner;
};

struct cleat__hits {
	struct cleat__hit *v;
	size_t n, room;
};

/* cleat__walk - add all descriptors of the sockets whose inodes, N of them, are
 * in WANTED, as far as this process may see them, in no order.
 *
 * Returns 0, also if nothing may be seen; or -ENOMEM, -EMFILE, -ENFILE.  H is
 * to be freed by the caller, also then.
 */
int cleat__walk(struct cleat__hits *h, const struct cleat__index *wanted,
		size_t n);

/* cleat__link_inode - the inode that the LEN bytes "socket:[123]" tell, as a
 * link in /proc/PID/fd says; or 0: no socket.
 */
unsigned cleat__link_inode(const char *link, size_t len);

/* cleat__command_set - the command from the LEN bytes of /proc/PID/comm. */
void cleat__command_set(char command[16], const char *text, size_t len);

#endif
