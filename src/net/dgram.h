/* SPDX-License-Identifier: MIT */
#ifndef CLEAT_NET_DGRAM_H
#define CLEAT_NET_DGRAM_H

#include <cleat/dgram.h>

#include "fiber/wait.h"
#include "net/bind.h"

struct cleat_dgram {
	unsigned n;
	unsigned last; /* the one that received: answers go out of it, and
			* the others have their turn first */
	char path[CLEAT__PATH_SIZE]; /* ours to remove; or "" */
	struct cleat__watch io[CLEAT__WATCH_MAX];
	sa_family_t family[CLEAT__WATCH_MAX];
};

/* cleat__mapped - the IPv4 address TO as a dual-stack socket wants it, mapped
 * into IPv6 (RFC 4291, section 2.5.5.2).
 */
struct cleat_sockaddr cleat__mapped(const struct cleat_sockaddr *to);

/* cleat__dgram_bind - a socket bound to A, perhaps in a group. */
int cleat__dgram_bind(struct cleat_dgram **d, const struct cleat_addr *a,
		      const struct cleat_options *opt, enum cleat__share share,
		      cleat_time until);

/* cleat__dgram_beside - as cleat__listen_beside(). */
int cleat__dgram_beside(struct cleat_dgram **d, const struct cleat_dgram *like,
			const struct cleat_options *opt, bool group);

#endif
