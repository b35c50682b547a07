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
#include <poll.h>
#include <stdlib.h>

#include "base/sys.h"
#include "fiber/uring.h"

/* Why POLLRDBAND is among them see cleat__uring_ready(). */
#define EVENTS (POLLIN | POLLOUT | POLLRDHUP | POLLPRI | POLLRDBAND)

#define FEW 64
/* With more polls the kernel's memory for each, larger and colder than what an
 * epoll has, costs more than they spare.
 */
#define MANY 1024

/* Neither refused, nor of a parent that has forked us. */
static bool may_enter(const struct cleat__uring *u)
{
	return u->has_ring && !u->is_refused && u->page->is_ours;
}

struct io_uring_sqe *cleat__uring_ask(struct cleat__uring *u)
{
	struct io_uring_sqe *sqe = NULL;

	while (may_enter(u) && !(sqe = io_uring_get_sqe(&u->ring)))
		u->is_refused = io_uring_submit(&u->ring) <= 0;
	return sqe;
}

static int start_poll(struct cleat__sched *s, struct cleat__watch *w)
{
	struct cleat__uring *u = s->backend_state;
	struct io_uring_sqe *sqe = cleat__uring_ask(u);

	if (!sqe)
		return -EAGAIN;
	io_uring_prep_poll_multishot(sqe, w->fd, EVENTS);
	io_uring_sqe_set_data64(sqe, (uintptr_t)w | CLEAT__POLL);
	if (!w->armed)
		cleat__watch_link(s, w);
	w->armed |= CLEAT__POLL;
	u->n_armed++;
	return 0;
}

/* A program with few connections gets along without a ring, which takes as long
 * to set up as some hundred messages; and who may be fed has it at once.
 */
static bool has_ring(struct cleat__sched *s)
{
	struct cleat__uring *u = s->backend_state;

	return u->has_ring ||
	       (++u->n_learnt > FEW && cleat__uring_begin(s) == 0);
}

static bool may_be_polled(const struct cleat__watch *w)
{
	return !w->bound && !w->strict;
}

static bool suits_ring(struct cleat__sched *s, const struct cleat__watch *w)
{
	const struct cleat__uring *u = s->backend_state;

	return may_be_polled(w) && u->n_armed < MANY && has_ring(s);
}

static int learn(struct cleat__sched *s, struct cleat__watch *w)
{
	if (suits_ring(s, w) && start_poll(s, w) == 0)
		return 0;
	return cleat__bound_learn(s, w);
}

static int uring_learn(struct cleat__sched *s, struct cleat__watch *w,
		       unsigned dirs)
{
	int err = learn(s, w);

	if (err == 0 &&
	    (dirs & CLEAT__OUT)) /* much goes to and fro: see feed */
		cleat__feed_stop(s->backend_state, w);
	return err;
}

/* Not POLL_REMOVE, which says -EALREADY while an event is on its way and would
 * have to be tried again.
 */
void cleat__uring_stop(struct cleat__uring *u, struct cleat__watch *w,
		       unsigned kind)
{
	struct io_uring_sqe *sqe = cleat__uring_ask(u);

	if (!sqe)
		return;
	io_uring_prep_cancel64(sqe, (uintptr_t)w | kind, 0);
	io_uring_sqe_set_data(sqe, NULL);
	io_uring_sqe_set_flags(sqe, IOSQE_CQE_SKIP_SUCCESS);
}

void cleat__uring_ended(struct cleat__watch *w, unsigned kind)
{
	struct cleat__uring *u = w->home->backend_state;

	if (w->armed & kind & CLEAT__KINDS)
		u->n_armed--; /* one of them at a time */
	if (w->armed & kind & CLEAT__LISTED)
		u->n_listed--;
	w->armed &= (uint8_t)~kind;
	if (!w->armed)
		cleat__watch_unlink(w);
}

static int open_own(struct cleat__sched *s)
{
	struct cleat__uring *u = s->backend_state;

	cleat__watch_init(&u->wakeup, sys_eventfd());
	u->wakeup.bound = true; /* it is to outlast the ring */
	cleat__watch_init(&u->bound, sys_epoll_create());
	if (u->wakeup.fd < 0 || u->bound.fd < 0)
		return u->wakeup.fd < 0 ? u->wakeup.fd : u->bound.fd;
	return cleat__bound_learn(s, &u->wakeup);
}

static void close_own(struct cleat__uring *u)
{
	if (u->wakeup.home)
		cleat__bound_forget(u, &u->wakeup);
	if (u->wakeup.fd >= 0)
		sys_close(u->wakeup.fd);
	if (u->bound.fd >= 0)
		sys_close(u->bound.fd);
}

static void uring_close(struct cleat__sched *s)
{
	struct cleat__uring *u = s->backend_state;

	if (u->has_ring)
		cleat__ring_close(u);
	close_own(u);
	free(u);
}

/* The first submission shows whether a filter lets the ring be used. */
static int try_ring(struct cleat__sched *s)
{
	struct cleat__uring *u = s->backend_state;
	int n;

	if (!u->is_quiet && u->want == CLEAT_BACKEND_AUTO)
		return -EINVAL;
	(void)start_poll(s, &u->bound); /* there is room */
	n = io_uring_submit(&u->ring);
	if (n > 0)
		return 0;
	cleat__uring_ended(&u->bound, CLEAT__POLL);
	return n < 0 ? n : -EAGAIN;
}

static int open_ring(struct cleat__sched *s)
{
	struct cleat__uring *u = s->backend_state;
	int err = cleat__ring_open(u);

	if (err < 0)
		return err;
	err = try_ring(s);
	if (err < 0)
		cleat__ring_close(u);
	return err;
}

int cleat__uring_begin(struct cleat__sched *s)
{
	struct cleat__uring *u = s->backend_state;
	int err = u->is_refused ? -EPERM : open_ring(s);
	struct cleat__watch *next;

	u->is_refused = err < 0;
	for (struct cleat__watch *w = s->watches; w && err == 0; w = next) {
		next = w->next;
		if (may_be_polled(w) && w->armed == CLEAT__LISTED) {
			cleat__bound_forget(u, w);
			(void)start_poll(s, w); /* few */
		}
	}
	return err;
}

static int uring_open(struct cleat__sched *s, enum cleat_backend want)
{
	struct cleat__uring *u = calloc(1, sizeof(*u));
	int err;

	if (!u)
		return -ENOMEM;
	s->backend_state = u;
	u->want = want;
	u->lent = -1;
	err = open_own(s);
	if (err >= 0 && want == CLEAT_BACKEND_URING)
		err = cleat__uring_begin(s);
	if (err < 0)
		uring_close(s);
	return err;
}

static void end_waits(struct cleat__watch *w, int err)
{
	if (w->in)
		cleat__complete(w->in, err);
	if (w->out)
		cleat__complete(w->out, err);
}

/* Who still waits on W needs another way to hear of it. */
static void learn_again(struct cleat__sched *s, struct cleat__watch *w)
{
	int err = w->in || w->out ? learn(s, w) : 0;

	if (err < 0)
		end_waits(w, err);
}

/* The poll of W is over: refused (-EBADF); or cancelled, by forget or to feed
 * W instead; or given up by a kernel short of room.
 */
static void handle_end(struct cleat__sched *s, struct cleat__watch *w, int res)
{
	cleat__uring_ended(w, CLEAT__POLL);
	if (res < 0 && res != -ECANCELED)
		end_waits(w, res);
	if (res > 0)
		cleat__uring_ready(w, (unsigned)res);
	if (!cleat__is_told(w, w->out ? CLEAT__OUT : CLEAT__IN))
		learn_again(s, w);
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
void cleat__uring_ready(struct cleat__watch *w, unsigned events)
{
	const unsigned ends = POLLRDHUP | POLLHUP | POLLERR;
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

/* The low bits of the address say which of KINDS it is. */
static struct cleat__watch *watch_of(const struct io_uring_cqe *e)
{
	return (struct cleat__watch *)(uintptr_t)(e->user_data &
						  ~(uint64_t)CLEAT__KINDS);
}

static void handle(struct cleat__sched *s, const struct io_uring_cqe *e)
{
	struct cleat__uring *u = s->backend_state;
	struct cleat__watch *w = watch_of(e);

	if (!w)
		return; /* of a cancellation that found nothing */
	if (w == &u->bound)
		cleat__bound_wait(u, 0);
	if (e->user_data & CLEAT__RECV)
		cleat__feed_handle(u, w, e);
	else if (e->flags & IORING_CQE_F_MORE)
		cleat__uring_ready(w, (unsigned)e->res);
	else
		handle_end(s, w, e->res);
}

static void fetch_ahead(const struct cleat__uring *u, unsigned i, unsigned n)
{
	cleat__fetch(i + 2 < n ? watch_of(u->events[i + 2]) : NULL,
		     i + 4 < n ? watch_of(u->events[i + 4]) : NULL);
}

static void handle_all(struct cleat__sched *s)
{
	struct cleat__uring *u = s->backend_state;
	unsigned n =
		io_uring_peek_batch_cqe(&u->ring, u->events, CLEAT__EVENTS);

	for (unsigned i = 0; i < n; i++) {
		fetch_ahead(u, i, n);
		handle(s, u->events[i]);
	}
	io_uring_cq_advance(&u->ring, n);
}

static void move_out(struct cleat__sched *s, struct cleat__watch *w,
		     unsigned lost)
{
	const struct cleat__uring *u = s->backend_state;
	int err = 0;

	if (!(w->armed & lost))
		return;
	cleat__uring_ended(w, lost);
	if (w != &u->bound && !(w->armed & CLEAT__LISTED))
		err = cleat__bound_learn(s, w);
	if (err < 0)
		end_waits(w, err);
}

/* The parent's epoll is not for its child. */
static void renew_epoll(struct cleat__uring *u)
{
	sys_close(u->bound.fd);
	u->bound.fd = sys_epoll_create();
}

/* The kernel refuses what it did not before: because of a filter that was put
 * on since, or for want of memory; or it has lost an event; or we are a child,
 * and the ring is our parent's.  So from now on all is in the epoll.  What came
 * before counts.
 */
static void retreat(struct cleat__sched *s)
{
	struct cleat__uring *u = s->backend_state;
	unsigned lost = CLEAT__KINDS | CLEAT__STOPPING;
	struct cleat__watch *next;

	u->is_refused = true;
	while (u->page->is_ours && io_uring_cq_ready(&u->ring) > 0)
		handle_all(s);
	if (!u->page->is_ours) {
		lost |= CLEAT__LISTED;
		renew_epoll(u);
	}
	for (struct cleat__watch *w = s->watches; w; w = next) {
		next = w->next;
		move_out(s, w, lost);
	}
	u->n_armed = 0;
	cleat__ring_close(u);
}

/* Of a call that ended with ERR. */
static void handle_or_retreat(struct cleat__sched *s, int err)
{
	struct cleat__uring *u = s->backend_state;
	bool failed = err < 0 && err != -EINTR && err != -ETIME;

	if (failed || !may_enter(u))
		retreat(s);
	else
		handle_all(s);
}

/* Whoever waits on other watches is only made ready meanwhile. */
void cleat__uring_await(struct cleat__sched *s, struct cleat__watch *w,
			unsigned kinds)
{
	struct cleat__uring *u = s->backend_state;

	while (w->armed & kinds) {
		int err = may_enter(u)
				  ? io_uring_submit_and_get_events(&u->ring)
				  : 0;

		handle_or_retreat(s, err);
	}
}

static void uring_forget(struct cleat__sched *s, struct cleat__watch *w)
{
	struct cleat__uring *u = s->backend_state;

	if (w->armed & CLEAT__POLL)
		cleat__uring_stop(u, w, CLEAT__POLL);
	if (w->armed & CLEAT__RECV)
		cleat__uring_stop(u, w, CLEAT__RECV);
	cleat__uring_await(s, w, CLEAT__KINDS);
	if (w->armed & CLEAT__LISTED)
		cleat__bound_forget(u, w);
	if (w->armed & CLEAT__FED) {
		cleat__feed_end(u, w);
		cleat__uring_ended(w, CLEAT__FED);
	}
}

static void uring_starve(struct cleat__sched *s, struct cleat__watch *w)
{
	cleat__feed_stop(s->backend_state, w);
	cleat__uring_await(s, w, CLEAT__RECV);
}

/* Through the ring the epoll is dearer than by itself, so as long as there is
 * nothing else it is waited for without.
 */
static void uring_wait_until(struct cleat__sched *s, cleat_time until)
{
	struct cleat__uring *u = s->backend_state;

	if (u->n_armed == (u->bound.home ? 1 : 0)) {
		cleat__bound_wait(u, until);
		return;
	}
	if (u->has_more) {
		cleat__bound_wait(u, 0);
		until = 0;
	}
	if (!u->bound.home)
		(void)start_poll(s, &u->bound); /* or it is all over */
	handle_or_retreat(s, may_enter(u) ? cleat__ring_wait(u, until) : 0);
}

/* Each write is an event, so nobody need read what it adds up to. */
static void uring_wake(struct cleat__sched *s)
{
	struct cleat__uring *u = s->backend_state;

	(void)sys_write_u64(u->wakeup.fd, 1); /* full in 500,000 years */
}

const struct cleat__backend cleat__uring = {
	.name = "uring",
	.lends = CLEAT__PIECES * CLEAT__PIECE_STRIDE,
	.open = uring_open,
	.close = uring_close,
	.learn = uring_learn,
	.forget = uring_forget,
	.wait = uring_wait_until,
	.wake = uring_wake,
	.feed = cleat__feed,
	.starve = uring_starve,
	.take = cleat__feed_take,
};
