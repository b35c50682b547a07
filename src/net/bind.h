/* SPDX-License-Identifier: MIT */
/* Bound sockets: what listeners and datagram sockets do alike. */
#ifndef CLEAT_NET_BIND_H
#define CLEAT_NET_BIND_H

#include <stdbool.h>

#include <cleat/addr.h>
#include <cleat/options.h>

#include "fiber/wait.h"

/* Whether others may share the port.  A group is founded by a socket that was
 * bound while the port was free: with SO_REUSEPORT from the start it would join
 * a stranger's group without a word.
 */
enum cleat__share {
	CLEAT__ALONE,
	CLEAT__FOUND_GROUP,
};

struct cleat__binding {
	int type; /* SOCK_STREAM or SOCK_DGRAM */
	const struct cleat_options *opt;
	enum cleat__share share;
};

/* cleat__bind_all - a bound socket for each address of A, stored in FD.  Port 0
 * becomes one port for all.  "*" is one socket, dual-stack where there is IPv6.
 *
 * Returns how many, 1 or more, or the noted failure of the first.
 */
int cleat__bind_all(int fd[CLEAT__WATCH_MAX], const struct cleat_addr *a,
		    const struct cleat__binding *b, cleat_time until);

/* cleat__bind_like - another socket in FD's group: its address, its options. */
int cleat__bind_like(int fd, const struct cleat__binding *b);

/* cleat__check_stream - whether A is of a protocol for streams that there is;
 * else a failure noted with STEP.
 */
int cleat__check_stream(const struct cleat_addr *a, const char *step);

/* cleat__bind_one - a socket bound to SA.  Returns it, or a noted failure. */
int cleat__bind_one(const struct cleat_sockaddr *sa, bool v6only,
		    const struct cleat__binding *b);

#endif
