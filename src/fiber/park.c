/* SPDX-License-Identifier: MIT */
#include "fiber/park.h"

#include <errno.h>
#include <time.h>

#include "base/time.h"
#include "fiber/sched.h"

enum state {
	WAITING,
	WOKEN, /* if a fiber: it will be made ready, or has been */
	GONE, /* the wait ended otherwise */
};

/* Who decides how the wait ends: the waker, or the deadline. */
static bool decide(struct cleat__parker *p, int state)
{
	int waiting = WAITING;

	return atomic_compare_exchange_strong(&p->state, &waiting, state);
}

void cleat__parker_init(struct cleat__parker *p)
{
	pthread_condattr_t attr;

	p->fiber = cleat__self ? cleat__self->current : NULL;
	atomic_init(&p->state, WAITING);
	if (p->fiber)
		return;
	(void)pthread_condattr_init(&attr); /* glibc and musl: cannot fail */
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void)pthread_mutex_init(&p->lock, NULL);
	(void)pthread_cond_init(&p->woken, &attr);
	(void)pthread_condattr_destroy(&attr);
}

void cleat__parker_done(struct cleat__parker *p)
{
	if (p->fiber)
		return;
	(void)pthread_cond_destroy(&p->woken);
	(void)pthread_mutex_destroy(&p->lock);
}

static void abort_parker(struct cleat__fiber *f, int reason)
{
	if (decide(f->waiting, GONE))
		cleat__wake(f, reason);
}

static int wait_fiber(struct cleat__parker *p, cleat_time until)
{
	if (p->fiber->cancelled && decide(p, GONE))
		return -ECANCELED;
	return cleat__park(until, abort_parker, p);
}

static int wait_thread(struct cleat__parker *p, cleat_time until)
{
	struct timespec at = {
		.tv_sec = (time_t)(until / CLEAT_SEC),
		.tv_nsec = (long)(until % CLEAT_SEC),
	};
	int err = 0;

	(void)pthread_mutex_lock(&p->lock);
	while (atomic_load(&p->state) == WAITING && err == 0) {
		if (until == CLEAT_FOREVER)
			err = pthread_cond_wait(&p->woken, &p->lock);
		else
			err = pthread_cond_timedwait(&p->woken, &p->lock, &at);
	}
	(void)pthread_mutex_unlock(&p->lock);
	return err != 0 && decide(p, GONE) ? -ETIMEDOUT : 0;
}

int cleat__parker_wait(struct cleat__parker *p, cleat_time until)
{
	return p->fiber ? wait_fiber(p, until) : wait_thread(p, until);
}

void cleat__parker_wait_surely(struct cleat__parker *p)
{
	if (p->fiber)
		(void)cleat__park(CLEAT_FOREVER, NULL, NULL);
	else
		(void)wait_thread(p, CLEAT_FOREVER);
}

static bool wake_thread(struct cleat__parker *p)
{
	bool mine;

	/* The lock is held throughout, so that P is not gone too early. */
	(void)pthread_mutex_lock(&p->lock);
	mine = decide(p, WOKEN);
	if (mine)
		(void)pthread_cond_signal(&p->woken);
	(void)pthread_mutex_unlock(&p->lock);
	return mine;
}

bool cleat__parker_wake(struct cleat__parker *p)
{
	struct cleat__fiber *f = p->fiber;

	if (!f)
		return wake_thread(p);
	if (!decide(p, WOKEN))
		return false;
	if (f->sched == cleat__self)
		cleat__wake(f, 0);
	else
		cleat__wake_from_outside(f);
	return true;
}
