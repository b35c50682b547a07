/* SPDX-License-Identifier: MIT */
/* Whose a socket is: which processes have a descriptor of it, by /proc. */
#ifndef CLEAT_INSPECT_OWNERS_H
#define CLEAT_INSPECT_OWNERS_H

#include <stddef.h>

#include <cleat/inspect.h>

/* cleat__owners_find - fill in the owners of the N sockets at V.
 *
 * Stores in *ALL what they point into, for the caller to free().  Returns how
 * many sockets with a descriptor have no owner that this process may see; or
 * -ENOMEM, -EMFILE, -ENFILE.  Without any right to look there is nothing found,
 * and no error.
 */
long cleat__owners_find(struct cleat_owner **all, struct cleat_socket *v,
			size_t n);

#endif
