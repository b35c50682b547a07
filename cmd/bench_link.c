/* SPDX-License-Identifier: MIT */
/* What the connections of every mode have in common: failing, counting, and
 * sending on time. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <cleat/error.h>

#include "bench.h"

#define LATE (50 * CLEAT_MSEC)

void link_fail(struct link *k, const char *format, ...)
{
	struct worker *w = k->worker;
	va_list args;
	int n;

	if (k->has_failed || w->is_stopped)
		return;
	k->has_failed = true;
	if (w->errors++ == 0) {
		n = snprintf(w->why, sizeof(w->why),
			     "connection %u: ", k->number + 1);
		va_start(args, format);
		(void)vsnprintf(w->why + n, sizeof(w->why) - (size_t)n, format,
				args);
		va_end(args);
	}
	if (k->conn) /* whoever waits on it shall look up */
		(void)cleat_shutdown(k->conn, CLEAT_BOTH);
}

int link_broke(struct link *k, ssize_t err)
{
	if (err != -ECANCELED)
		link_fail(k, "%s", cleat_why());
	return -1;
}

bool link_still_sends(const struct link *k)
{
	return k->plan->o->stream == CLEAT_BOTH && !k->plan->is_paired &&
	       !k->is_asked;
}

cleat_time link_due(const struct link *k, uint64_t n)
{
	const struct bench *o = k->plan->o;
	const double place = (double)n * o->connections + k->number;

	return k->plan->start + (cleat_time)(place * 1e9 / o->rate);
}

void link_done(struct link *k, unsigned n, cleat_time now)
{
	struct worker *w = k->worker;
	const uint64_t before =
		atomic_load_explicit(&w->messages, memory_order_relaxed);

	/* This thread alone writes it. */
	atomic_store_explicit(&w->messages, before + n, memory_order_relaxed);
	k->answered += n;
	w->last = now;
}

uint64_t link_may_ask(const struct link *k, uint64_t n, cleat_time now)
{
	const uint64_t left = k->quota - k->asked;

	if (now >= k->plan->end || k->has_failed)
		return 0;
	return n < left ? n : left;
}

/* A timer of its own, since the scheduler's count in milliseconds. */
static int wait_until(int timer, cleat_time until)
{
	const struct itimerspec t = {
		.it_value = { until / CLEAT_SEC, until % CLEAT_SEC },
	};

	if (timerfd_settime(timer, TFD_TIMER_ABSTIME, &t, NULL) < 0)
		return -errno;
	return cleat_poll(timer, CLEAT_IN, CLEAT_FOREVER);
}

/* The last ones may be a little late.  What is due by the end, and is so late
 * that it is not sent at all, is told of: without it a service that cannot keep
 * up would look good. */
void link_keep_time(struct link *k, int (*send_one)(void *arg, cleat_time due),
		    void *arg)
{
	const int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	int err = timer < 0 ? -errno : 0;
	cleat_time now = cleat_now();

	while (err >= 0 && k->asked < k->quota && !k->has_failed &&
	       now - LATE < k->plan->end) {
		const cleat_time due = link_due(k, k->asked);

		if (due > now)
			err = wait_until(timer, due);
		if (err >= 0 && send_one(arg, due) < 0)
			break;
		now = cleat_now();
	}
	if (timer >= 0)
		(void)close(timer);
	if (err < 0 && err != -ECANCELED)
		link_fail(k, "timer: %s", cleat_strerror(err));
	if (!k->has_failed && !k->worker->is_stopped)
		k->worker->unsent += k->quota - k->asked;
}
