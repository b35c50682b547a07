/* SPDX-License-Identifier: MIT */
#ifndef CLEAT_NET_RESOLVE_H
#define CLEAT_NET_RESOLVE_H

#include <cleat/addr.h>

/* More addresses than this of one name are not tried. */
#define CLEAT__ADDRS_MAX 16

/* cleat__resolve - cleat_resolve() for an address that has been parsed. */
int cleat__resolve(const struct cleat_addr *a, enum cleat_resolve_for use,
		   struct cleat_sockaddr *to, unsigned max, cleat_time until);

#endif
