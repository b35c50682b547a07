/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>

#include <cleat/fiber.h>

#include "fiber/sched.h"

struct cleat_scope {
	struct cleat__sched *sched;
	struct cleat_scope *prev, *next; /* of the scheduler's open scopes */
	struct cleat__fiber *fibers;
	unsigned n, width;
	struct cleat__queue places; /* who waits for a free one */
	struct cleat__queue empty; /* who waits for the last to return */
};

int cleat_scope_open(struct cleat_scope **ret, unsigned width)
{
	struct cleat__sched *sched = cleat__self;
	struct cleat_scope *s;

	if (!sched)
		return cleat__fail(-ENOTSUP, "open scope", NULL,
				   "not on a fiber; call it under cleat_run()");
	s = calloc(1, sizeof(*s));
	if (!s)
		return cleat__fail(-ENOMEM, "open scope", NULL, NULL);
	s->sched = sched;
	s->width = width ? width : UINT32_MAX;
	s->next = sched->scopes;
	if (s->next)
		s->next->prev = s;
	sched->scopes = s;
	*ret = s;
	return 0;
}

static int wait_for_place(struct cleat_scope *s, cleat_time until)
{
	while (s->n >= s->width) {
		int err = cleat__queue_wait(&s->places, until);

		if (err < 0)
			return err;
	}
	return 0;
}

int cleat_go(struct cleat_scope *s, void (*fn)(void *), void *arg,
	     cleat_time until)
{
	int err = cleat__enter();

	if (err == 0)
		err = wait_for_place(s, until);
	if (err == 0) {
		err = cleat__spawn(s->sched, s, fn, arg);
		if (err < 0)
			cleat__queue_wake_one(&s->places);
	}
	return err < 0 ? cleat__fail(err, "start fiber", NULL, NULL) : 0;
}

void cleat__scope_entered(struct cleat__fiber *f)
{
	struct cleat_scope *s = f->scope;

	if (!s)
		return;
	f->scope_next = s->fibers;
	if (s->fibers)
		s->fibers->scope_prev = f;
	s->fibers = f;
	s->n++;
}

void cleat__scope_left(struct cleat__fiber *f)
{
	struct cleat_scope *s = f->scope;

	if (!s)
		return;
	if (f->scope_prev)
		f->scope_prev->scope_next = f->scope_next;
	else
		s->fibers = f->scope_next;
	if (f->scope_next)
		f->scope_next->scope_prev = f->scope_prev;
	s->n--;
	cleat__queue_wake_one(&s->places);
	if (s->n == 0)
		cleat__queue_wake_all(&s->empty);
	cleat__queue_wake_all(&s->sched->ended);
}

int cleat_scope_wait(struct cleat_scope *s, cleat_time until)
{
	while (s->n > 0) {
		int err = cleat__queue_wait(&s->empty, until);

		if (err < 0)
			return cleat__fail(err, "wait for scope", NULL, NULL);
	}
	return 0;
}

void cleat_scope_cancel(struct cleat_scope *s)
{
	for (struct cleat__fiber *f = s->fibers; f; f = f->scope_next)
		cleat__cancel(f);
}

static void unlink_scope(struct cleat_scope *s)
{
	if (s->prev)
		s->prev->next = s->next;
	else
		s->sched->scopes = s->next;
	if (s->next)
		s->next->prev = s->prev;
}

void cleat_scope_close(struct cleat_scope *s)
{
	if (!s)
		return;
	cleat_scope_cancel(s);
	while (s->n > 0)
		cleat__queue_wait_surely(&s->empty);
	unlink_scope(s);
	free(s);
}

void cleat__scopes_end(struct cleat__sched *sched)
{
	while (sched->live > 1) {
		for (struct cleat_scope *s = sched->scopes; s; s = s->next)
			cleat_scope_cancel(s);
		cleat__queue_wait_surely(&sched->ended);
	}
	for (struct cleat_scope *s = sched->scopes, *next; s; s = next) {
		next = s->next;
		cleat_scope_close(s);
	}
}
