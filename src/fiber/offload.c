/* SPDX-License-Identifier: MIT */
#include "fiber/offload.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>

#include <cleat/fiber.h>

#include "fiber/park.h"
#include "fiber/sched.h"

#define MAX_HELPERS 16 /* of one scheduler */

struct job {
	void (*fn)(void *);
	void *arg;
	struct cleat__parker parker;
};

int cleat__helper_enter(cleat_time until)
{
	struct cleat__sched *s = cleat__self;

	if (!s)
		return 0;
	if (s->current->cancelled)
		return -ECANCELED;
	while (s->helpers >= MAX_HELPERS) {
		int err = cleat__queue_wait(&s->helpers_wanted, until);

		if (err < 0)
			return err;
	}
	s->helpers++;
	return 0;
}

void cleat__helper_leave(void)
{
	struct cleat__sched *s = cleat__self;

	if (!s)
		return;
	s->helpers--;
	cleat__queue_wake_one(&s->helpers_wanted);
}

/* Signals are for the program's own threads. */
int cleat__helper_start(void *(*fn)(void *), void *arg)
{
	pthread_attr_t attr;
	pthread_t thread;
	sigset_t all, before;
	int err;

	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	(void)pthread_attr_init(&attr);
	(void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	err = pthread_create(&thread, &attr, fn, arg);
	(void)pthread_attr_destroy(&attr);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -err;
}

static void *run_job(void *arg)
{
	struct job *job = arg;

	job->fn(job->arg);
	(void)cleat__parker_wake(&job->parker); /* nothing else ends the wait */
	return NULL;
}

static int run_elsewhere(void (*fn)(void *), void *arg)
{
	struct job job = { .fn = fn, .arg = arg };
	int err;

	cleat__parker_init(&job.parker);
	err = cleat__helper_start(run_job, &job);
	if (err == 0)
		cleat__parker_wait_surely(&job.parker);
	cleat__parker_done(&job.parker);
	return err;
}

int cleat_offload(void (*fn)(void *), void *arg)
{
	int err = cleat__helper_enter(CLEAT_FOREVER);

	if (err == 0) {
		err = run_elsewhere(fn, arg);
		cleat__helper_leave();
	}
	return err < 0 ? cleat__fail(err, "offload", NULL, NULL) : 0;
}
