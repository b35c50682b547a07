/* SPDX-License-Identifier: MIT */
#ifndef CLEAT_NET_CONN_H
#define CLEAT_NET_CONN_H

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>

#include <cleat/conn.h>

#include "fiber/sched.h"
#include "fiber/wait.h"

/* About 150 bytes: what an idle connection costs besides its fiber's page. What
 * every message touches is next to each other, up to io's links.
 */
struct cleat_conn {
	uint64_t received, sent;
	/* Bytes received but not consumed yet: from AT on, LEN of them. */
	size_t stash_len;
	unsigned char *stash;
	bool cannot_send; /* a send has failed */
	atomic_bool sending; /* a send is under way */
	atomic_bool finished; /* FIN has been sent */
	bool is_limited; /* IDLE_NS or END is set */
	struct cleat__watch io;
	size_t stash_at, stash_room;
	int64_t idle_ns;
	cleat_time end;
	union {
		sa_family_t family; /* AF_UNIX: asked for when needed */
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	} peer;
};

/* cleat__conn_init - make *C the connection of the open socket FD to PEER, and
 * the owner of FD;  cleat__conn_done - cleat_close() without the free().
 */
void cleat__conn_init(struct cleat_conn *c, int fd,
		      const struct cleat_sockaddr *peer);
void cleat__conn_done(struct cleat_conn *c);

/* cleat__conn_new - a connection of the open socket FD to PEER, and from then
 * on its owner.  Returns 0, or -ENOMEM: then FD is still the caller's.
 */
int cleat__conn_new(struct cleat_conn **c, int fd,
		    const struct cleat_sockaddr *peer);

/* cleat__conn_ask_peer - learn from the kernel where C went: connecting to
 * 0.0.0.0 is to 127.0.0.1, and a mapped address is an IPv4 one.
 */
void cleat__conn_ask_peer(struct cleat_conn *c);

/* cleat__conn_recv - one receive into BUF, past the stash; as cleat_recv(), but
 * notes no failure.
 */
ssize_t cleat__conn_recv(struct cleat_conn *c, void *buf, size_t len,
			 cleat_time until);

/* cleat__conn_peek - whether C has something to be received: 1, 0 if it has
 * ended instead, -EAGAIN for neither, or -errno;  cleat__conn_look - the rest
 * of it, where only the kernel or the backend knows.
 */
ssize_t cleat__conn_look(struct cleat_conn *c);

static inline ssize_t cleat__conn_peek(struct cleat_conn *c)
{
	if (c->stash_len > 0 || c->io.n_pieces > 0)
		return 1;
	return cleat__is_quiet(&c->io) ? -EAGAIN : cleat__conn_look(c);
}

/* cleat__conn_shrink - C rests: give back memory that it can do without. */
void cleat__conn_shrink(struct cleat_conn *c);

/* cleat__conn_take - up to LEN bytes out of the stash. */
size_t cleat__conn_take(struct cleat_conn *c, void *buf, size_t len);

/* cleat__conn_put_back - LEN bytes to be received again, before all others.
 * Returns 0 or -ENOMEM.
 */
int cleat__conn_put_back(struct cleat_conn *c, const void *data, size_t len);

/* cleat__conn_bounded - the earliest of UNTIL and C's own limits. */
cleat_time cleat__conn_bounded(const struct cleat_conn *c, cleat_time until);

/* cleat__conn_wait - until C is ready in DIR, or the earliest of UNTIL and its
 * own limits has passed.
 */
int cleat__conn_wait(struct cleat_conn *c, enum cleat__dir dir,
		     cleat_time until);

/* cleat__conn_fail - note that STEP failed with ERR on C; returns ERR. */
__attribute__((cold)) int cleat__conn_fail(const struct cleat_conn *c, int err,
					   const char *step);

/* cleat__check_kind - whether FD can be adopted as a socket of TYPE: 0, or
 * -ENOTSOCK, -EPROTOTYPE, -EAFNOSUPPORT (neither IP nor unix).
 */
int cleat__check_kind(int fd, int type);

/* cleat__local_name - the address that FD is bound to.  Returns 0, or a noted
 * failure.
 */
int cleat__local_name(int fd, struct cleat_sockaddr *sa);

/* The kernel's addresses as ours: IPv4 mapped into IPv6 becomes IPv4. */
void cleat__unmap(struct cleat_sockaddr *sa);

#endif
