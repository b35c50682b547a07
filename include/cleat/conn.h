/* SPDX-License-Identifier: MIT */
/* Streams: TCP and unix connections, and the listeners they come from.
 *
 * One fiber (or thread) may read a connection while one other writes it; a
 * second reader or writer gets -EBUSY.  A connection that a fiber has waited
 * on stays with that fiber's thread until its cleat_run() ends.
 *
 * Any call that waits may also return -ETIMEDOUT (UNTIL passed) and, on a
 * fiber, -ECANCELED (its scope is being closed).  Where the kernel gave up on
 * the peer (keepalive, TCP_USER_TIMEOUT) it is -ENETRESET.
 */
#ifndef CLEAT_CONN_H
#define CLEAT_CONN_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include <cleat/addr.h>
#include <cleat/options.h>
#include <cleat/time.h>

#ifdef __cplusplus
extern "C" {
#endif

struct cleat_conn;
struct cleat_listener;

/* cleat_connect - connect to ADDR ("host:port", "tcp6://...", "unix:/path").
 *
 * Resolves off the loop, then races the addresses: 250 ms apart, families
 * interleaved, the first to answer wins (RFC 8305).  OPT may be NULL.
 * On success stores a connection in *C; the caller frees it with cleat_close().
 *
 * Returns 0, or -ECONNREFUSED, -ENETUNREACH, -EHOSTUNREACH, -EINVAL (ADDR
 * malformed), -EPROTOTYPE (not a stream), -EPROTONOSUPPORT (tls, for now),
 * CLEAT_ENONAME, CLEAT_EDNSAGAIN, or another -errno: that of the address
 * tried first.
 */
int cleat_connect(struct cleat_conn **c, const char *addr,
		  const struct cleat_options *opt, cleat_time until);

/* cleat_listen - accept connections on ADDR.
 *
 * "8080" listens on both loopbacks, with one port; a name on each address it
 * has.  Port 0 asks the kernel: cleat_listener_local() tells which it chose.
 * A unix path left behind by a server that is gone is replaced; one that this
 * made is removed by cleat_unlisten().  OPT may be NULL.  A name is looked up
 * first, and that blocks; nothing else here does.
 *
 * Returns 0, or -EADDRINUSE, -EACCES (a privileged port), -EADDRNOTAVAIL (not
 * an address of this machine), -EINVAL (ADDR malformed), CLEAT_ENONAME, ...
 */
int cleat_listen(struct cleat_listener **l, const char *addr,
		 const struct cleat_options *opt);

/* cleat_accept - the next connection.  Waits until UNTIL.
 *
 * Returns 0, or -EMFILE, -ENFILE (no descriptors left: the connection stays
 * queued), -ENOMEM.  What the network did to a connection before it was
 * accepted (ECONNABORTED and kin, accept(2)) is skipped, not reported.
 */
int cleat_accept(struct cleat_listener *l, struct cleat_conn **c,
		 cleat_time until);

/* cleat_listener_local - the I-th address it listens on, counted from 0.
 * Returns 0, or -ERANGE past the last.  Does not block.
 */
int cleat_listener_local(const struct cleat_listener *l, unsigned i,
			 struct cleat_sockaddr *sa);

/* cleat_listener_fd - the I-th descriptor, still owned by L; or -ERANGE. */
int cleat_listener_fd(const struct cleat_listener *l, unsigned i);

/* cleat_unlisten - stop listening and free L; connections it gave live on. */
void cleat_unlisten(struct cleat_listener *l);

/* cleat_recv - at least one byte, at most LEN.  Waits until UNTIL.
 *
 * Returns how many, 0 at the end of the stream (or if LEN is 0), or
 * -ECONNRESET, ...
 */
ssize_t cleat_recv(struct cleat_conn *c, void *buf, size_t len,
		   cleat_time until);

/* cleat_view - like cleat_recv(), but the bytes stay the library's.
 *
 * *DATA is valid until this fiber next waits or C is read again, whichever is
 * first; cleat_send() may be handed it as it is.  Spares a buffer for each
 * connection: on a fiber all share one that is warm in the cache.
 * Where many small views follow each other it may receive ahead: from then on
 * bytes that have come need not be in the socket any more.
 */
ssize_t cleat_view(struct cleat_conn *c, const void **data, cleat_time until);

/* cleat_send - all LEN bytes.  Waits until UNTIL for a slow reader.
 *
 * Returns 0, or -EPIPE, -ECONNRESET, ...  After any failure part may have gone
 * out: that direction is dead and every later send returns -EPIPE.
 */
int cleat_send(struct cleat_conn *c, const void *data, size_t len,
	       cleat_time until);

/* cleat_sendv - the same for N pieces, in order.  Returns as cleat_send(), or
 * -EINVAL where they add up to more than SSIZE_MAX.
 */
int cleat_sendv(struct cleat_conn *c, const struct iovec *v, unsigned n,
		cleat_time until);

enum cleat_direction {
	CLEAT_READ = 1,
	CLEAT_WRITE = 2,
	CLEAT_BOTH = 3,
};

/* cleat_shutdown - end one direction: CLEAT_WRITE sends FIN after what was
 * sent, CLEAT_READ makes reads return 0.  Wakes whoever waits on that side.
 * Returns 0 or -ENOTCONN.  Any thread; does not block.
 */
int cleat_shutdown(struct cleat_conn *c, enum cleat_direction d);

/* cleat_finish - send FIN, then read to the peer's; what it still says is
 * discarded.  The peer has everything when this returns 0.
 */
int cleat_finish(struct cleat_conn *c, cleat_time until);

/* cleat_close - free C and its descriptor; NULL is fine.  Does not wait for
 * the peer; unread data makes the kernel send RST (RFC 2525 section 2.17),
 * which may overtake what was sent last: cleat_finish() first, where that
 * matters.  On another thread than that of its fibers it may wait until that
 * has a moment.  In a forked child, close(2) the descriptor instead: what the
 * scheduler knows of it is the parent's.
 */
void cleat_close(struct cleat_conn *c);

/* cleat_adopt - make a connection of FD, a connected stream socket of any
 * origin.  It becomes non-blocking, close-on-exec and, on success, C's own.
 *
 * Returns 0, or -ENOTSOCK, -EPROTOTYPE (not a stream), -EAFNOSUPPORT (neither
 * IP nor unix), -ENOTCONN; then FD is untouched.
 */
int cleat_adopt(struct cleat_conn **c, int fd);

/* cleat_adopt_listener - the same for a listening socket; -EINVAL if it does
 * not listen.
 */
int cleat_adopt_listener(struct cleat_listener **l, int fd);

/* The two names of a connection; IPv4 mapped into IPv6 is given as IPv4.
 * Return 0, or -ENOTCONN for the peer of a unix connection that is gone.  Do
 * not block.
 */
int cleat_conn_peer(const struct cleat_conn *c, struct cleat_sockaddr *sa);
int cleat_conn_local(const struct cleat_conn *c, struct cleat_sockaddr *sa);

/* cleat_conn_fd - its descriptor, still owned by C.  To set options and the
 * like: what is to be read may be with the library already.
 */
int cleat_conn_fd(const struct cleat_conn *c);

/* Bytes that the program has received and sent. */
struct cleat_counts {
	uint64_t received, sent;
};
struct cleat_counts cleat_conn_counts(const struct cleat_conn *c);

/* cleat_conn_limit - bound every later wait on C, whatever its UNTIL says:
 * to IDLE_NS without a byte in the direction waited for (0: no limit), and to
 * the moment END (CLEAT_FOREVER: none).  Either ends as -ETIMEDOUT.
 */
void cleat_conn_limit(struct cleat_conn *c, int64_t idle_ns, cleat_time end);

#ifdef __cplusplus
}
#endif
#endif
