/* SPDX-License-Identifier: MIT */
/* io_uring as a source of readiness: a multishot poll for each descriptor, from
 * when it is first waited on.  The calls themselves are made as with epoll.
 *
 * An armed poll holds the open file: close() alone would neither end the poll
 * nor the connection.  So forget cancels it, and takes events until the poll
 * has told of its end, its last; none can come for a watch that is gone.
 *
 * Only on kernels with IORING_SETUP_DEFER_TASKRUN (Linux 6.1).  On older ones
 * each event interrupts the thread, and epoll is the better choice.
 */
#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>

#include "base/sys.h"
#include "base/time.h"
#include "fiber/sched.h"
#include "fiber/wait.h"

#define BATCH 64 /* as in wait_epoll.c */
#define SUBMISSIONS 256
/* What cannot be put here at once the kernel keeps elsewhere, and ends the poll
 * that it is of.  It also sizes the table in which the kernel looks for the
 * poll to cancel: with these, the largest that it makes.
 */
#define COMPLETIONS 8192

struct state {
	struct io_uring ring;
	struct cleat__watch wakeup; /* an eventfd, written by wake */
	struct io_uring_cqe *events[BATCH];
};

/* Room to ask the kernel for something; what was there before is submitted, at
 * the latest, by the next wait.
 */
static struct io_uring_sqe *ask(struct state *st)
{
	struct io_uring_sqe *sqe;

	while (!(sqe = io_uring_get_sqe(&st->ring)))
		(void)io_uring_submit(&st->ring); /* short of memory: again */
	return sqe;
}

static void learn(struct cleat__sched *s, struct cleat__watch *w)
{
	struct io_uring_sqe *sqe = ask(s->backend_state);

	io_uring_prep_poll_multishot(sqe, w->fd,
				     POLLIN | POLLOUT | POLLRDHUP | POLLPRI |
					     POLLRDBAND);
	io_uring_sqe_set_data(sqe, w);
	cleat__watch_link(s, w);
}

static int open_ring(struct io_uring *ring)
{
	struct io_uring_params p = {
		.flags = IORING_SETUP_SINGLE_ISSUER |
			 IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL |
			 IORING_SETUP_CQSIZE,
		.cq_entries = COMPLETIONS,
	};
	int err = io_uring_queue_init_params(SUBMISSIONS, ring, &p);

	if (err < 0)
		return err;
	(void)io_uring_register_ring_fd(ring); /* or it costs a little more */
	return 0;
}

static void uring_close(struct cleat__sched *s)
{
	struct state *st = s->backend_state;

	io_uring_queue_exit(&st->ring);
	sys_close(st->wakeup.fd);
	free(st);
}

/* The first submission shows whether a filter lets the ring be used. */
static int begin(struct cleat__sched *s, struct state *st)
{
	int n;

	s->backend_state = st;
	learn(s, &st->wakeup);
	n = io_uring_submit(&st->ring);
	if (n > 0)
		return 0;
	cleat__watch_unlink(&st->wakeup);
	uring_close(s);
	return n < 0 ? n : -EAGAIN;
}

static int uring_open(struct cleat__sched *s)
{
	struct state *st = malloc(sizeof(*st));
	int err;

	if (!st)
		return -ENOMEM;
	err = open_ring(&st->ring);
	if (err < 0) {
		free(st);
		return err;
	}
	cleat__watch_init(&st->wakeup, sys_eventfd());
	if (st->wakeup.fd >= 0)
		return begin(s, st);
	err = st->wakeup.fd;
	io_uring_queue_exit(&st->ring);
	free(st);
	return err;
}

static int submit_new(struct cleat__sched *s, struct cleat__op *op)
{
	for (unsigned i = 0; i < op->n; i++) {
		struct cleat__watch *w = cleat__watch_of(op, i);

		if (!w->home)
			learn(s, w);
		cleat__arm(w, op);
	}
	return 0;
}

/* Apart, and short: this is on every message's path. */
static int uring_submit(struct cleat__sched *s, struct cleat__op *op)
{
	if (op->n != 1 || !op->one->home)
		return submit_new(s, op);
	cleat__arm(op->one, op);
	return 0;
}

/* Nothing of OP is in the kernel, so it ends at once. */
static void uring_cancel(struct cleat__sched *s, struct cleat__op *op,
			 int reason)
{
	(void)s;
	cleat__complete(op, reason);
}

static void end_waits(struct cleat__watch *w, int err)
{
	if (w->in)
		cleat__complete(w->in, err);
	if (w->out)
		cleat__complete(w->out, err);
}

/* The poll of W is over: cancelled by forget, refused (-EBADF), or, with RES at
 * least 0, given up by a kernel short of room.  Then all may be tried, and the
 * next wait arms another.
 */
static void handle_end(struct cleat__watch *w, int res)
{
	cleat__watch_unlink(w);
	if (res < 0)
		end_waits(w, res);
	else
		cleat__became_ready(w, CLEAT__IN | CLEAT__OUT);
}

/* Of a first wakeup the kernel passes on what it was for, as the socket says
 * it, without asking the socket how things are; and of new data each socket
 * says POLLPRI and POLLRDBAND as well, whether there is any of these or not.
 * Only a POLLPRI alone tells of urgent data.
 *
 * That must not be missed, for reads stop there, and no event tells of the rest
 * (see exact).  But urgent data wakes a second time, besides what it came with.
 * Either the kernel sees both wakeups together, and then it asks the socket; or
 * there are two events, and so two reads that may come short (see again).
 */
static void handle_events(struct cleat__watch *w, int events)
{
	const int ends = POLLRDHUP | POLLHUP | POLLERR;
	unsigned dirs = 0;

	if ((events & ends) || (events & (POLLPRI | POLLRDBAND)) == POLLPRI)
		w->exact = true;
	if (events & (POLLIN | POLLPRI | ends))
		dirs |= CLEAT__IN;
	if (events & (POLLOUT | POLLHUP | POLLERR))
		dirs |= CLEAT__OUT;
	if ((dirs & CLEAT__IN) && cleat__is_ready(w, CLEAT__IN))
		w->again = true;
	cleat__became_ready(w, dirs);
}

static void handle(const struct io_uring_cqe *e)
{
	struct cleat__watch *w = io_uring_cqe_get_data(e);

	if (!w)
		return; /* of a cancellation that found nothing */
	if (e->flags & IORING_CQE_F_MORE)
		handle_events(w, e->res);
	else
		handle_end(w, e->res);
}

/* With thousands of connections each is cold: see wait_epoll.c. */
static void fetch_ahead(const struct state *st, unsigned i, unsigned n)
{
	if (i + 4 < n)
		__builtin_prefetch(io_uring_cqe_get_data(st->events[i + 4]));
	if (i + 2 < n) {
		const struct cleat__watch *w =
			io_uring_cqe_get_data(st->events[i + 2]);

		if (w)
			__builtin_prefetch(w->in);
	}
}

static void handle_all(struct state *st)
{
	unsigned n = io_uring_peek_batch_cqe(&st->ring, st->events, BATCH);

	for (unsigned i = 0; i < n; i++) {
		fetch_ahead(st, i, n);
		handle(st->events[i]);
	}
	io_uring_cq_advance(&st->ring, n);
}

/* Whoever waits on other watches is only made ready meanwhile. */
static void uring_forget(struct cleat__sched *s, struct cleat__watch *w)
{
	struct state *st = s->backend_state;
	struct io_uring_sqe *sqe = ask(st);

	/* Not POLL_REMOVE, which says -EALREADY while an event is on its way
	 * and would have to be tried again. */
	io_uring_prep_cancel(sqe, w, 0);
	io_uring_sqe_set_data(sqe, NULL);
	io_uring_sqe_set_flags(sqe, IOSQE_CQE_SKIP_SUCCESS);
	while (w->home) {
		(void)io_uring_submit_and_get_events(&st->ring);
		handle_all(st);
	}
}

static void uring_wait_until(struct cleat__sched *s, cleat_time until)
{
	struct state *st = s->backend_state;
	int64_t left = cleat__left(until);
	struct __kernel_timespec ts = {
		.tv_sec = left / CLEAT_SEC,
		.tv_nsec = left % CLEAT_SEC,
	};
	struct io_uring_cqe *unused;

	if (!st->wakeup.home)
		learn(s, &st->wakeup);
	/* What these say the completions say too, or the next call. */
	if (left == 0)
		(void)io_uring_submit_and_get_events(&st->ring);
	else
		(void)io_uring_submit_and_wait_timeout(
			&st->ring, &unused, 1,
			until == CLEAT_FOREVER ? NULL : &ts, NULL);
	handle_all(st);
}

/* Each write is an event, so nobody need read what it adds up to. */
static void uring_wake(struct cleat__sched *s)
{
	struct state *st = s->backend_state;

	(void)sys_write_u64(st->wakeup.fd, 1); /* full in 500,000 years */
}

const struct cleat__backend cleat__uring = {
	.name = "uring",
	.open = uring_open,
	.close = uring_close,
	.submit = uring_submit,
	.cancel = uring_cancel,
	.forget = uring_forget,
	.wait = uring_wait_until,
	.wake = uring_wake,
};
