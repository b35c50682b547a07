/* SPDX-License-Identifier: MIT */
/* Bound sockets, listeners above all, stay out of the ring: what is armed there
 * the kernel lets go of only some time after the process has ended, and the
 * next one would find the address in use.  So do foreign descriptors, which may
 * be such sockets, and which their owner may close while they are polled: that
 * would not end them.  They, and those that are too many for the ring, have an
 * epoll of their own, which holds no file, and the ring polls that; or it is
 * waited for by itself, while nothing else is in the ring.
 */
#include <sys/epoll.h>

#include "base/sys.h"
#include "fiber/uring.h"

int cleat__bound_learn(struct cleat__sched *s, struct cleat__watch *w)
{
	struct cleat__uring *u = s->backend_state;
	struct epoll_event e = {
		.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | EPOLLET,
		.data.ptr = w,
	};
	int err = sys_epoll_ctl(u->bound.fd, EPOLL_CTL_ADD, w->fd, &e);

	if (err < 0)
		return err;
	if (!w->armed)
		cleat__watch_link(s, w);
	w->armed |= CLEAT__LISTED;
	u->n_listed++;
	return 0;
}

void cleat__bound_forget(struct cleat__uring *u, struct cleat__watch *w)
{
	struct epoll_event unused = { 0 };

	(void)sys_epoll_ctl(u->bound.fd, EPOLL_CTL_DEL, w->fd, &unused);
	cleat__uring_ended(w, CLEAT__LISTED);
}

/* None may mean that a signal came. */
void cleat__bound_wait(struct cleat__uring *u, cleat_time until)
{
	struct epoll_event e[CLEAT__EVENTS];
	int n = sys_epoll_wait(u->bound.fd, e, CLEAT__EVENTS, until);

	if (n == 0)
		n = sys_epoll_wait(u->bound.fd, e, CLEAT__EVENTS, 0);
	for (int i = 0; i < n; i++) {
		cleat__fetch(i + 2 < n ? e[i + 2].data.ptr : NULL,
			     i + 4 < n ? e[i + 4].data.ptr : NULL);
		cleat__uring_ready(e[i].data.ptr, e[i].events);
	}
	u->has_more = n == CLEAT__EVENTS;
}
