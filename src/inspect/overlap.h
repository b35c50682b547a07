/* SPDX-License-Identifier: MIT */
/* The kernel's rules for addresses, as pure functions of what is listed. */
#ifndef CLEAT_INSPECT_OVERLAP_H
#define CLEAT_INSPECT_OVERLAP_H

#include <stdbool.h>

#include <cleat/inspect.h>

/* cleat__overlaps - whether S is in the way of a bind to B, options left aside:
 * the same protocol and port, addresses that include each other, no two
 * different devices (inet_rcv_saddr_equal() and inet_csk_bind_conflict() of
 * the kernel).
 */
bool cleat__overlaps(const struct cleat_socket *s, const struct cleat_bind *b);

/* cleat__would_receive - how well S fits a packet P that comes in by P->device:
 * 0 not at all, and else the more the better.  Of equals the kernel takes the
 * one it lists first.  What SO_REUSEPORT does to the order of UDP sockets is
 * not known from the table.
 */
unsigned cleat__would_receive(const struct cleat_socket *s,
			      const struct cleat_probe *p);

/* cleat__is_same_key - whether A and B can only both be there by sharing. */
bool cleat__is_same_key(const struct cleat_socket *a,
			const struct cleat_socket *b);

#endif
