/* SPDX-License-Identifier: MIT */
/* Where the kernel would send a packet to, by rtnetlink(7). */
#ifndef CLEAT_INSPECT_ROUTE_H
#define CLEAT_INSPECT_ROUTE_H

#include <cleat/inspect.h>

struct cleat__route {
	enum {
		CLEAT__ROUTE_LOCAL, /* to this machine itself */
		CLEAT__ROUTE_AWAY, /* to another one */
		CLEAT__ROUTE_MANY, /* broadcast, multicast */
		CLEAT__ROUTE_NONE, /* ERROR says why */
	} kind;
	int error;
	bool is_foreign; /* sent by another machine: the source is not ours */
	/* As it is received: IPv4 is AF_INET, 0.0.0.0 and :: are a loopback
	 * address, the source has one; DEVICE is the one it comes in by, or if
	 * it goes AWAY the one it goes out by.
	 */
	struct cleat_probe packet;
};

/* cleat__route_find - the way of P.  Returns 0, or -errno if the kernel could
 * not be asked.
 */
int cleat__route_find(struct cleat__route *r, const struct cleat_probe *p);

#endif
