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

static int add(struct state *st, struct cleat__watch *w)
{
	struct epoll_event e = {
		.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | EPOLLET,
		.data.ptr = w,
	};

	return sys_epoll_ctl(st->epoll, EPOLL_CTL_ADD, w->fd, &e);
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

static int epoll_learn(struct cleat__sched *s, struct cleat__watch *w,
		       unsigned dirs)
{
	int err = add(s->backend_state, w);

	(void)dirs; /* all are told of */
	if (err < 0)
		return err;
	cleat__watch_link(s, w);
	w->armed = CLEAT__LISTED;
	return 0;
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
	w->armed = 0;
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
	.learn = epoll_learn,
	.forget = epoll_forget,
	.wait = epoll_wait_until,
	.wake = epoll_wake,
};
