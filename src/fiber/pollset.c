/* SPDX-License-Identifier: MIT */
#include "fiber/pollset.h"

int cleat__pollset_add(struct cleat__pollset *set, struct cleat__member *m,
		       struct cleat__watch *w)
{
	*m = (struct cleat__member){
		.op = { .one = w,
			.n = 1,
			.dirs = CLEAT__IN,
			.is_member = true },
		.set = set,
	};
	return cleat__submit(cleat__self, &m->op);
}

void cleat__pollset_put(struct cleat__pollset *set, struct cleat__member *m)
{
	m->set = set;
	cleat__member_done(&m->op, 0);
}

void cleat__pollset_end(struct cleat__member *m, int reason)
{
	cleat__complete(&m->op, reason);
}

void cleat__member_done(struct cleat__op *op, int result)
{
	struct cleat__member *m =
		(struct cleat__member *)((char *)op -
					 offsetof(struct cleat__member, op));
	struct cleat__pollset *set = m->set;

	m->result = result;
	m->next = NULL;
	if (set->first)
		set->last->next = m;
	else
		set->first = m;
	set->last = m;
	cleat__queue_wake_one(&set->waiting);
}

struct cleat__member *cleat__pollset_next(struct cleat__pollset *set)
{
	struct cleat__member *m = set->first;

	if (!m)
		return NULL;
	set->first = m->next;
	if (set->first && set->waiting.head)
		cleat__queue_wake_one(&set->waiting);
	cleat__self->streak = 0;
	return m;
}

int cleat__pollset_wait(struct cleat__pollset *set, cleat_time until)
{
	return set->first ? 0 : cleat__queue_wait_first(&set->waiting, until);
}

void cleat__pollset_stir(struct cleat__pollset *set)
{
	cleat__queue_wake_all(&set->waiting);
}
