/* SPDX-License-Identifier: MIT */
/* Asking the kernel for sockets, by sock_diag(7). */
#ifndef CLEAT_INSPECT_DIAG_H
#define CLEAT_INSPECT_DIAG_H

#include <stddef.h>

#include <cleat/inspect.h>

struct nlmsghdr;

/* Sockets, as they are found. */
struct cleat__found {
	struct cleat_socket *v;
	size_t n, room;
};

/* cleat__found_add - room for one more, zeroed; or NULL: no memory. */
struct cleat_socket *cleat__found_add(struct cleat__found *f);

/* cleat__diag_dump - add the TCP, UDP and unix sockets that Q asks for, without
 * owners and groups; also some in other states, and some twice.
 * Of Q all zeros are spelt out.  Returns 0, -EOPNOTSUPP (a kernel without
 * sock_diag), or another -errno; F keeps what it has, to be freed by the
 * caller.
 */
int cleat__diag_dump(struct cleat__found *f, const struct cleat_query *q);

/* A way to ask for single sockets; one serves any number of questions. */
struct cleat__diag {
	int fd;
	unsigned seq;
};

/* cleat__diag_open - returns 0, or -errno; if 0, call cleat__diag_close(). */
int cleat__diag_open(struct cleat__diag *d);
void cleat__diag_close(struct cleat__diag *d);

/* cleat__diag_one - the socket that the kernel itself finds for a packet P, all
 * of whose ports and addresses are set, that comes in by P->device.
 *
 * Stores it in *S, without owners and group.  Returns 0, -ENOENT (none), or
 * another -errno.
 */
int cleat__diag_one(struct cleat__diag *d, struct cleat_socket *s,
		    const struct cleat_probe *p);

/* cleat__diag_parse_inet, _unix - one answer to a socket; whatever the bytes
 * are, nothing past LEN of them is looked at.  Return 0, or -EBADMSG.
 */
int cleat__diag_parse_inet(struct cleat_socket *s, int protocol,
			   const void *payload, size_t len);
int cleat__diag_parse_unix(struct cleat_socket *s, const void *payload,
			   size_t len);

/* cleat__raw_read - add the raw sockets of IPv4 or IPv6, which few kernels tell
 * of by sock_diag, from /proc/net.  Returns 0 or -errno.
 */
int cleat__raw_read(struct cleat__found *f, int family);

/* cleat__raw_parse - one line of /proc/net/raw or raw6.  Returns 0 or -EBADMSG.
 */
int cleat__raw_parse(struct cleat_socket *s, int family, const char *line);

#endif
