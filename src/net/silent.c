/* SPDX-License-Identifier: MIT */
/* Connections that have not said anything, of a service whose clients speak
 * first: a block of memory each, and one fiber for all of a worker's.
 */
#include <errno.h>
#include <stddef.h>

#include "base/time.h"
#include "net/server.h"

/* The oldest that waits.  Others before it have spoken, and their fibers have
 * not run yet.
 */
static struct cleat__silent *first_unheard(const struct cleat__worker *w)
{
	struct cleat__handled *h = w->silent.first;

	while (h && !h->conn.io.in)
		h = h->next;
	return (struct cleat__silent *)h; /* its first member */
}

/* All have the same limits, so who came first reaches his first. */
int cleat__silent_add(struct cleat__place *p)
{
	struct cleat__worker *w = p->worker;
	struct cleat__silent *q = cleat__blocks_get(&w->blocks);
	int err;

	if (!q)
		return -ENOMEM;
	q->h = p->arriving;
	q->until = cleat__conn_bounded(&q->h.conn, CLEAT_FOREVER);
	err = cleat__pollset_add(&w->unheard, &q->member, &q->h.conn.io);
	if (err < 0) {
		cleat__blocks_put(&w->blocks, q);
		return err;
	}
	p->waiting = NULL;
	cleat__enlist(&w->silent, &q->h);
	if (q->until != CLEAT_FOREVER && first_unheard(w) == q)
		cleat__pollset_stir(&w->unheard); /* it waits for ever */
	return 0;
}

static void end(struct cleat__handled *h, int error)
{
	struct cleat__worker *w = h->worker;

	cleat__tell_end(h, error);
	cleat__delist(&w->silent, h);
	cleat__leave_conn(h);
	cleat__blocks_put(&w->blocks, h);
}

/* The block goes: a handled connection costs its page, and no more. */
void cleat__silent_leave(struct cleat__handled *h, struct cleat__handled *to)
{
	struct cleat__worker *w = h->worker;

	cleat__delist(&w->silent, h);
	cleat__watch_move(&h->conn.io, &to->conn.io);
	cleat__blocks_put(&w->blocks, h);
}

/* More than 0 if Q is to be handled; else what it has ended with. */
static ssize_t outcome(struct cleat__silent *q)
{
	int err = q->member.result;
	ssize_t said = 1;

	if (err < 0 || q->h.conn.io.exact)
		said = cleat__conn_peek(&q->h.conn);
	if (said == -EAGAIN)
		return err < 0 ? err : 1; /* urgent data alone */
	return said;
}

/* Nobody who has spoken is lost for lack of memory.  Returns 0 or -ECANCELED.
 */
static int call(struct cleat__silent *q)
{
	struct cleat__worker *w = q->h.worker;
	int err;

	for (;;) {
		err = cleat_go(w->handling, cleat__handle, &q->h,
			       CLEAT_FOREVER);
		if (err == 0 || err == -ECANCELED)
			return err;
		cleat__say_paused(w->server, &w->is_short, err);
		(void)cleat_sleep(cleat_in(CLEAT__PAUSE)); /* asked above */
	}
}

static void see_to_done(struct cleat__worker *w)
{
	struct cleat__member *m;

	while ((m = cleat__pollset_next(&w->unheard)) != NULL) {
		struct cleat__silent *q =
			(struct cleat__silent *)((char *)m -
						 offsetof(struct cleat__silent,
							  member));
		ssize_t said = outcome(q);

		if (said > 0)
			said = call(q) < 0 ? -ECANCELED : 1;
		if (said <= 0)
			end(&q->h, (int)said);
	}
	cleat__say_paused(w->server, &w->is_short, 0);
}

/* Those who waited until NOW, or less. */
static void end_waits(const struct cleat__worker *w, cleat_time now, int reason)
{
	for (struct cleat__handled *h = w->silent.first; h; h = h->next) {
		struct cleat__silent *q = (struct cleat__silent *)h;

		if (q->until > now)
			break;
		if (h->conn.io.in)
			cleat__pollset_end(&q->member, reason);
	}
}

static void attend(void *arg)
{
	struct cleat__worker *w = arg;
	int err = 0;

	while (err != -ECANCELED) {
		const struct cleat__silent *q = first_unheard(w);

		if (!q && w->is_draining)
			break;
		err = cleat__pollset_wait(&w->unheard,
					  q ? q->until : CLEAT_FOREVER);
		if (err == -ETIMEDOUT)
			end_waits(w, cleat_now(), err);
		else if (err == -ECANCELED)
			end_waits(w, CLEAT_FOREVER, err);
		see_to_done(w);
	}
}

int cleat__silent_open(struct cleat__worker *w)
{
	int err = cleat__blocks_open(&w->blocks, sizeof(struct cleat__silent));

	if (err == 0)
		err = cleat_go(w->handling, attend, w, CLEAT_FOREVER);
	return err;
}

void cleat__silent_drain(struct cleat__worker *w)
{
	w->is_draining = true;
	cleat__pollset_stir(&w->unheard);
}
