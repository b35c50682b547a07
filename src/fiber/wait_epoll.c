/* SPDX-License-Identifier: MIT */
/* epoll, edge-triggered: the reference backend.  A descriptor is registered
 * once, for everything, when it is first waited on: what is accepted, read and
 * closed without a wait never is.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "base/sys.h"
#include "base/time.h"
#include "fiber/sched.h"
#include "fiber/wait.h"

/* Of more events the first would have left the cache again, watch and fiber,
 * before those of the last have run.
 */
#define BATCH 64

struct state {
	int epoll;
	struct cleat__watch wakeup; /* an eventfd, written by wake */
	struct epoll_event events[BATCH];
};

static void epoll_close(struct cleat__sched *s)
{
	struct state *st = s->backend_state;

	sys_close(st->wakeup.fd);
	sys_close(st->epoll);
	free(st);
}

static int control(struct state *st, int what, struct cleat__watch *w,
		   uint32_t events)
{
	struct epoll_event e = {
		.events = events | EPOLLRDHUP | EPOLLPRI | EPOLLET,
		.data.ptr = w,
	};

	return sys_epoll_ctl(st->epoll, what, w->fd, &e);
}

static int add(struct state *st, struct cleat__watch *w)
{
	return control(st, EPOLL_CTL_ADD, w, EPOLLIN | EPOLLOUT);
}

static int epoll_open(struct cleat__sched *s, enum cleat_backend want)
{
	struct state *st = malloc(sizeof(*st));
	int err;

	(void)want;
	if (!st)
		return -ENOMEM;
	st->epoll = sys_epoll_create();
	if (st->epoll < 0) {
		err = st->epoll;
		free(st);
		return err;
	}
	cleat__watch_init(&st->wakeup, sys_eventfd());
	err = st->wakeup.fd < 0 ? st->wakeup.fd : add(st, &st->wakeup);
	s->backend_state = st;
	if (err < 0)
		epoll_close(s);
	return err;
}

/* A member waits for one event, and is spared that of room to send. */
static int learn(struct cleat__sched *s, struct cleat__watch *w,
		 const struct cleat__op *op)
{
	struct state *st = s->backend_state;
	int err = op->is_member ? control(st, EPOLL_CTL_ADD, w, EPOLLIN)
				: add(st, w);

	if (err == 0)
		cleat__watch_link(s, w);
	return err;
}

static int submit_new(struct cleat__sched *s, struct cleat__op *op)
{
	for (unsigned i = 0; i < op->n; i++) {
		struct cleat__watch *w = cleat__watch_of(op, i);
		int err = w->home ? 0 : learn(s, w, op);

		if (err < 0)
			return err;
	}
	for (unsigned i = 0; i < op->n; i++)
		cleat__arm(cleat__watch_of(op, i), op);
	return 0;
}

/* Apart, and short: this is on every message's path. */
static int epoll_submit(struct cleat__sched *s, struct cleat__op *op)
{
	if (op->n != 1 || !op->one->home)
		return submit_new(s, op);
	cleat__arm(op->one, op);
	return 0;
}

/* Nothing of OP is in the kernel, so it ends at once. */
static void epoll_cancel(struct cleat__sched *s, struct cleat__op *op,
			 int reason)
{
	(void)s;
	cleat__complete(op, reason);
}

/* Not left to close(): where the socket has been duplicated, by dup() or by a
 * fork, its events would outlive W.
 */
static void epoll_forget(struct cleat__sched *s, struct cleat__watch *w)
{
	struct state *st = s->backend_state;
	struct epoll_event unused = { 0 };

	(void)sys_epoll_ctl(st->epoll, EPOLL_CTL_DEL, w->fd, &unused);
	cleat__watch_unlink(w);
}

static void epoll_move(struct cleat__sched *s, struct cleat__watch *from,
		       struct cleat__watch *to)
{
	*to = *from;
	if (control(s->backend_state, EPOLL_CTL_MOD, to, EPOLLIN | EPOLLOUT) <
	    0) {
		epoll_forget(s, from);
		to->home = NULL;
		return;
	}
	cleat__watch_unlink(from);
	cleat__watch_link(s, to);
}

static void handle(const struct epoll_event *e)
{
	const uint32_t ends = EPOLLRDHUP | EPOLLHUP | EPOLLERR;
	struct cleat__watch *w = e->data.ptr;
	unsigned dirs = 0;

	if (e->events & (EPOLLIN | EPOLLPRI | ends))
		dirs |= CLEAT__IN;
	if (e->events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
		dirs |= CLEAT__OUT;
	if (e->events & (EPOLLPRI | ends))
		w->exact = true;
	cleat__became_ready(w, dirs);
}

static void fetch_ahead(const struct state *st, int i, int n)
{
	cleat__fetch(i + 2 < n ? st->events[i + 2].data.ptr : NULL,
		     i + 4 < n ? st->events[i + 4].data.ptr : NULL);
}

/* No fiber runs before all events are handled: none can be for a watch that a
 * fiber has closed meanwhile.
 */
static void epoll_wait_until(struct cleat__sched *s, cleat_time until)
{
	struct state *st = s->backend_state;
	int n = sys_epoll_wait(st->epoll, st->events, BATCH, until);

	for (int i = 0; i < n; i++) {
		fetch_ahead(st, i, n);
		if (st->events[i].data.ptr == &st->wakeup) {
			uint64_t count;

			(void)sys_read(st->wakeup.fd, &count, sizeof(count));
		} else {
			handle(&st->events[i]);
		}
	}
}

static void epoll_wake(struct cleat__sched *s)
{
	struct state *st = s->backend_state;

	(void)sys_write_u64(st->wakeup.fd, 1); /* full: it is awake anyway */
}

const struct cleat__backend cleat__epoll = {
	.name = "epoll",
	.open = epoll_open,
	.close = epoll_close,
	.submit = epoll_submit,
	.cancel = epoll_cancel,
	.forget = epoll_forget,
	.move = epoll_move,
	.wait = epoll_wait_until,
	.wake = epoll_wake,
};
