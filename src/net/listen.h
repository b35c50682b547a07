/* SPDX-License-Identifier: MIT */
#ifndef CLEAT_NET_LISTEN_H
#define CLEAT_NET_LISTEN_H

#include <cleat/conn.h>

#include "fiber/wait.h"
#include "net/bind.h"
#include "net/unix.h"

struct cleat_listener {
	unsigned n;
	unsigned next; /* the one to try first, so that each has its turn */
	struct cleat__path path;
	struct cleat__watch io[CLEAT__WATCH_MAX];
};

/* cleat__listen - cleat_listen() for a parsed address, perhaps in a group. */
int cleat__listen(struct cleat_listener **l, const struct cleat_addr *a,
		  const struct cleat_options *opt, enum cleat__share share);

/* cleat__listen_beside - another listener for another worker: in the group of
 * LIKE, or, where GROUP is false, on the same queue.
 */
int cleat__listen_beside(struct cleat_listener **l,
			 const struct cleat_listener *like,
			 const struct cleat_options *opt, bool group);

/* cleat__listener_wait - until there may be a connection to accept.  Returns 0
 * or -ECANCELED, ...
 */
int cleat__listener_wait(struct cleat_listener *l);

/* cleat__accept_now - as cleat_accept(), but into *C, to be ended with
 * cleat__conn_done(); and -EAGAIN instead of a wait.
 */
int cleat__accept_now(struct cleat_listener *l, struct cleat_conn *c);

#endif
