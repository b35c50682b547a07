/* SPDX-License-Identifier: MIT */
#include "fiber/wait.h"

#include <assert.h>
#include <errno.h>

#include <cleat/fiber.h>

#include "base/sys.h"
#include "base/time.h"
#include "fiber/pollset.h"
#include "fiber/sched.h"

void cleat__watch_init(struct cleat__watch *w, int fd)
{
	*w = (struct cleat__watch){
		.fd = fd,
		.ready = CLEAT__IN | CLEAT__OUT,
	};
}

/* Whose thread runs an errand has no fiber, and may yet be the home's. */
static bool is_at_home(const struct cleat__watch *w)
{
	return w->home == cleat__self ||
	       pthread_equal(w->home->thread_id, pthread_self());
}

/* Meanwhile events of others may come, and fibers be woken. */
static void release_here(struct cleat__sched *s, struct cleat__watch *w)
{
	struct cleat__sched *self = cleat__self;

	cleat__self = s;
	s->backend->forget(s, w);
	cleat__became_ready(w, CLEAT__IN | CLEAT__OUT);
	cleat__self = self;
}

void cleat__watch_release(struct cleat__watch *w)
{
	struct cleat__sched *s = w->home;

	if (!s)
		return;
	if (is_at_home(w))
		release_here(s, w);
	else
		cleat__release_from_outside(s, w);
}

void cleat__watch_close(struct cleat__watch *w)
{
	cleat__watch_release(w);
	sys_close(w->fd);
}

void cleat__watch_link(struct cleat__sched *s, struct cleat__watch *w)
{
	w->home = s;
	w->prev = NULL;
	w->next = s->watches;
	if (w->next)
		w->next->prev = w;
	s->watches = w;
}

void cleat__watch_unlink(struct cleat__watch *w)
{
	if (w->prev)
		w->prev->next = w->next;
	else
		w->home->watches = w->next;
	if (w->next)
		w->next->prev = w->prev;
	w->home = NULL;
}

static void disarm(struct cleat__watch *w, const struct cleat__op *op)
{
	if (op->dirs & CLEAT__IN)
		w->in = NULL;
	if (op->dirs & CLEAT__OUT)
		w->out = NULL;
}

static void disarm_all(const struct cleat__op *op)
{
	for (unsigned i = 0; i < op->n; i++)
		disarm(op->any[i], op);
}

void cleat__complete(struct cleat__op *op, int result)
{
	if (op->n == 1)
		disarm(op->one, op);
	else
		disarm_all(op);
	if (op->is_member)
		cleat__member_done(op, result);
	else
		cleat__wake(cleat__fiber_of(op), result);
}

void cleat__became_ready(struct cleat__watch *w, unsigned dirs)
{
	cleat__set_ready(w, dirs);
	if (w->in && (dirs & CLEAT__IN))
		cleat__complete(w->in, 0);
	if (w->out && (dirs & CLEAT__OUT))
		cleat__complete(w->out, 0);
}

static void abort_op(struct cleat__fiber *f, int reason)
{
	cleat__complete(&f->op, reason);
}

int cleat__submit_new(struct cleat__sched *s, struct cleat__op *op)
{
	for (unsigned i = 0; i < op->n; i++) {
		struct cleat__watch *w = cleat__watch_of(op, i);
		int err = 0;

		if (!cleat__is_told(w, op->dirs))
			err = s->backend->learn(s, w, op->dirs);
		if (err < 0)
			return err;
	}
	for (unsigned i = 0; i < op->n; i++)
		cleat__arm(cleat__watch_of(op, i), op);
	return 0;
}

static bool is_taken(const struct cleat__watch *w, const struct cleat__sched *s,
		     unsigned dirs)
{
	return (w->in && (dirs & CLEAT__IN)) ||
	       (w->out && (dirs & CLEAT__OUT)) || (w->home && w->home != s);
}

static int park_for(struct cleat__sched *s, cleat_time until)
{
	struct cleat__fiber *f = s->current;
	int err;

	if (f->cancelled)
		return -ECANCELED;
	err = cleat__submit(s, &f->op);
	return err < 0 ? err : cleat__park(until, abort_op, NULL);
}

static int park_for_any(struct cleat__sched *s, struct cleat__watch *const *on,
			unsigned n, unsigned dirs, cleat_time until)
{
	struct cleat__op *op = &s->current->op;

	assert(n <= CLEAT__WATCH_MAX);
	for (unsigned i = 0; i < n; i++) {
		if (is_taken(on[i], s, dirs))
			return -EBUSY;
	}
	op->any = on;
	op->n = (uint8_t)n;
	op->dirs = (uint8_t)dirs;
	return park_for(s, until);
}

static int poll_until(struct pollfd *v, unsigned n, cleat_time until)
{
	int err;

	do
		err = sys_poll(v, n, cleat__left_ms(until));
	while (err == -EINTR || (err == 0 && cleat__left(until) > 0));
	return err == 0 ? -ETIMEDOUT : err;
}

static unsigned dirs_of(short revents)
{
	const short broken = POLLERR | POLLHUP;
	unsigned dirs = 0;

	if (revents & (POLLIN | broken))
		dirs |= CLEAT__IN;
	if (revents & (POLLOUT | broken))
		dirs |= CLEAT__OUT;
	return dirs;
}

static int poll_for(struct cleat__watch *const *on, unsigned n, unsigned dirs,
		    cleat_time until)
{
	struct pollfd v[CLEAT__WATCH_MAX];
	int events = (dirs & CLEAT__IN ? POLLIN : 0) |
		     (dirs & CLEAT__OUT ? POLLOUT : 0);
	int err;

	assert(n <= CLEAT__WATCH_MAX);
	for (unsigned i = 0; i < n; i++) {
		v[i] = (struct pollfd){
			.fd = on[i]->fd,
			.events = (short)events,
		};
	}
	err = poll_until(v, n, until);
	if (err < 0)
		return err;
	for (unsigned i = 0; i < n; i++) {
		if (v[i].revents & POLLNVAL)
			return -EBADF;
		cleat__set_ready(on[i], dirs_of(v[i].revents) & dirs);
	}
	return 0;
}

/* One thread waits in each direction; whether another does is seen here. */
static int poll_alone(struct cleat__watch *const *on, unsigned n, unsigned dirs,
		      cleat_time until)
{
	unsigned taken = 0;
	int err = 0;

	while (taken < n && err == 0) {
		unsigned had =
			atomic_fetch_or(&on[taken]->polled, (uint8_t)dirs);

		if (had & dirs)
			err = -EBUSY;
		else
			taken++;
	}
	if (err == 0)
		err = poll_for(on, n, dirs, until);
	while (taken > 0)
		atomic_fetch_and(&on[--taken]->polled, (uint8_t)~dirs);
	return err;
}

/* Apart from cleat__wait(), so that that ends in a jump to cleat__park(). */
static __attribute__((noinline)) int poll_one(struct cleat__watch *w,
					      unsigned dirs, cleat_time until)
{
	return poll_alone(&w, 1, dirs, until);
}

int cleat__wait_any(struct cleat__watch *const *on, unsigned n, unsigned dirs,
		    cleat_time until)
{
	if (n == 1)
		return cleat__wait(on[0], dirs, until);
	return cleat__self ? park_for_any(cleat__self, on, n, dirs, until)
			   : poll_alone(on, n, dirs, until);
}

int cleat__wait(struct cleat__watch *w, unsigned dirs, cleat_time until)
{
	struct cleat__sched *s = cleat__self;
	struct cleat__op *op;

	if (!s)
		return poll_one(w, dirs, until);
	if (is_taken(w, s, dirs))
		return -EBUSY;
	op = &s->current->op;
	op->one = w;
	op->n = 1;
	op->dirs = (uint8_t)dirs;
	return park_for(s, until);
}
