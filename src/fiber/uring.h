/* SPDX-License-Identifier: MIT */
/* The inside of the io_uring backend: setup_uring.c has the ring, wait_uring.c
 * the polls in it, bound_uring.c what had better stay out of it, feed_uring.c
 * what is received ahead.
 */
#ifndef CLEAT_FIBER_URING_H
#define CLEAT_FIBER_URING_H

#include <liburing.h>
#include <stdint.h>

#include "fiber/sched.h"
#include "fiber/wait.h"

#define CLEAT__EVENTS 64 /* as in wait_epoll.c */

/* Enough for what a wait brings: the fewer, the more of them are in the cache.
 * The odd line keeps them from all lying at the same place of it.
 */
#define CLEAT__PIECES 64
#define CLEAT__PIECE_SIZE 2048
#define CLEAT__PIECE_STRIDE (CLEAT__PIECE_SIZE + 64)

/* What a buffer holds: those of one watch are a queue. */
struct cleat__piece {
	uint16_t at, len, next;
};

/* A page that is empty in a forked child. */
struct cleat__page {
	struct io_uring_buf buffers[CLEAT__PIECES];
	bool is_ours;
};

struct cleat__uring {
	struct io_uring ring; /* if there is one: */
	bool has_ring;
	bool is_quiet; /* a wait in it is none for a disk: Linux 6.15 */
	bool is_refused; /* by the kernel, or by us: not to be opened again */
	enum cleat_backend want;
	unsigned n_learnt; /* watches, while there was none */
	unsigned enter, registering; /* flags for these calls */
	struct cleat__page *page;
	unsigned n_armed; /* polls and receives */
	unsigned n_listed; /* watches in the epoll: bound ones, and others */
	struct cleat__watch wakeup; /* an eventfd, written by wake */
	struct cleat__watch bound; /* an epoll: see bound_uring.c */
	bool has_more; /* events, which the ring will not tell of again */
	struct io_uring_buf_ring *buffers; /* NULL: none yet, or no more */
	char *memory; /* of the buffers: behind the hot one */
	int lent; /* the piece that is in a view; or -1 */
	cleat__keep *keep;
	struct cleat__piece pieces[CLEAT__PIECES];
	struct io_uring_cqe *events[CLEAT__EVENTS];
};

/* cleat__ring_open, cleat__ring_close - the ring of U.  Returns 0 or -errno. */
int cleat__ring_open(struct cleat__uring *u);
void cleat__ring_close(struct cleat__uring *u);

/* cleat__ring_register - io_uring_register(2), with ARG alone. */
int cleat__ring_register(struct cleat__uring *u, unsigned what, void *arg);

/* cleat__ring_wait - submit what was asked for; or, if that was nothing, wait
 * for events until UNTIL.  Returns as io_uring_enter(2).
 */
int cleat__ring_wait(struct cleat__uring *u, cleat_time until);

/* cleat__uring_ask - room to ask the kernel for something: submitted, at the
 * latest, by the next wait.  NULL if it is refused; then so is, at that wait,
 * all that was armed before.
 */
struct io_uring_sqe *cleat__uring_ask(struct cleat__uring *u);

/* cleat__uring_stop - cancel what of KIND is armed for W.  Its last event, with
 * -ECANCELED, is still to come; or await sees that it is refused.
 */
void cleat__uring_stop(struct cleat__uring *u, struct cleat__watch *w,
		       unsigned kind);

/* cleat__uring_ended - KIND is no more in the kernel for W. */
void cleat__uring_ended(struct cleat__watch *w, unsigned kind);

/* cleat__uring_await - handle events until none of KINDS is armed for W. */
void cleat__uring_await(struct cleat__sched *s, struct cleat__watch *w,
			unsigned kinds);

/* cleat__uring_ready - EVENTS, as poll(2) has them, are there for W. */
void cleat__uring_ready(struct cleat__watch *w, unsigned events);

/* cleat__uring_begin - open the ring of S, unless that was refused, and move in
 * what waits in the epoll but need not.  Returns 0 or -errno.
 */
int cleat__uring_begin(struct cleat__sched *s);

/* Bound sockets, in an epoll of their own. */
int cleat__bound_learn(struct cleat__sched *s, struct cleat__watch *w);
void cleat__bound_forget(struct cleat__uring *u, struct cleat__watch *w);
/* cleat__bound_wait - handle some events, once there are any, or UNTIL. */
void cleat__bound_wait(struct cleat__uring *u, cleat_time until);

/* cleat__feed_handle - an event of W's receive. */
void cleat__feed_handle(struct cleat__uring *u, struct cleat__watch *w,
			const struct io_uring_cqe *e);

/* cleat__feed_end - W, no longer armed, gives its pieces back. */
void cleat__feed_end(struct cleat__uring *u, struct cleat__watch *w);

/* cleat__feed_stop - W's receive is to end. */
void cleat__feed_stop(struct cleat__uring *u, struct cleat__watch *w);

/* As struct cleat__backend has them. */
void cleat__feed(struct cleat__sched *s, struct cleat__watch *w,
		 cleat__keep *keep);
ssize_t cleat__feed_take(struct cleat__sched *s, struct cleat__watch *w,
			 const void **data, void *buf, size_t max);

#endif
