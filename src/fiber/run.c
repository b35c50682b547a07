/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <poll.h>

#include <cleat/fiber.h>

#include "base/error.h"
#include "base/sys.h"
#include "base/time.h"
#include "fiber/overflow.h"
#include "fiber/sched.h"

struct first {
	void (*fn)(void *);
	void *arg;
};

static void run_first(void *arg)
{
	struct first *first = arg;

	cleat__self->current->fn = first->fn; /* its name, should it overflow */
	first->fn(first->arg);
	cleat__scopes_end(cleat__self);
}

static int run_in(struct cleat__sched *s, struct first *first)
{
	struct cleat__overflow guard;
	int err = cleat__spawn(s, NULL, run_first, first);

	if (err < 0)
		return err;
	err = cleat__overflow_watch(&guard);
	if (err < 0)
		return err;
	cleat__self = s;
	cleat__sched_loop(s);
	cleat__self = NULL;
	cleat__failure_at = NULL;
	cleat__overflow_unwatch(&guard);
	return 0;
}

int cleat_run(void (*fn)(void *), void *arg,
	      const struct cleat_run_options *opt)
{
	static const struct cleat_run_options none = { 0 };
	struct first first = { .fn = fn, .arg = arg };
	struct cleat__sched s;
	int err;

	if (cleat__self)
		return cleat__fail(-EBUSY, "run", NULL,
				   "this thread runs fibers already");
	opt = opt ? opt : &none;
	err = cleat__sched_open(&s, opt);
	if (err < 0)
		return cleat__fail(err, "run", NULL,
				   cleat__refusal(err, opt->backend));
	err = run_in(&s, &first);
	cleat__sched_close(&s);
	return err < 0 ? cleat__fail(err, "run", NULL, NULL) : 0;
}

bool cleat_is_fiber(void)
{
	return cleat__self != NULL;
}

int cleat__enter_slow(struct cleat__sched *s)
{
	return cleat__queue_wait(&s->later, CLEAT_FOREVER);
}

int cleat_yield(void)
{
	struct cleat__sched *s = cleat__self;
	int err = s ? cleat__queue_wait(&s->later, CLEAT_FOREVER) : 0;

	return err < 0 ? cleat__fail(err, "yield", NULL, NULL) : 0;
}

static void wake_with(struct cleat__fiber *f, int reason)
{
	cleat__wake(f, reason);
}

static int sleep_fiber(struct cleat__fiber *f, cleat_time until)
{
	int err = -ECANCELED;

	if (!f->cancelled)
		err = cleat__park(until, wake_with, NULL);
	return err == -ETIMEDOUT ? 0 : cleat__fail(err, "sleep", NULL, NULL);
}

int cleat_sleep(cleat_time until)
{
	if (cleat__self)
		return sleep_fiber(cleat__self->current, until);
	while (cleat__left(until) > 0)
		(void)sys_poll(NULL, 0, cleat__left_ms(until)); /* or EINTR */
	return 0;
}
