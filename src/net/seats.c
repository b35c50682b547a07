/* SPDX-License-Identifier: MIT */
/* Connections of a service that is called for each exchange.  Each has a seat,
 * a block of memory, from its first byte to its last, and between exchanges
 * nothing else.  A few fibers, the attendants, serve those who have spoken, one
 * after another; while a handler waits, another attendant takes over.
 */
#include <errno.h>
#include <stddef.h>

#include "base/time.h"
#include "net/server.h"

/* Attendants, when no more are needed: one serves, one stands by. */
#define KEPT 2

static struct cleat__seat *seat_of_timer(unsigned *timer)
{
	return (struct cleat__seat *)((char *)timer -
				      offsetof(struct cleat__seat, timer));
}

static struct cleat__seat *seat_of(struct cleat__handled *h)
{
	return (struct cleat__seat *)((char *)h -
				      offsetof(struct cleat__seat, h));
}

static bool is_at_rest(const struct cleat__seat *q)
{
	return q->h.conn.io.in == &q->member.op;
}

static bool is_over(const struct cleat__worker *w)
{
	return w->is_draining && !w->conns.first;
}

/* The timer rings at Q's limit or, if it is set already, before: most of those
 * who rest speak in time, and then it need not be moved.
 */
static void set_limit(struct cleat__worker *w, struct cleat__seat *q)
{
	cleat_time until = q->until =
		cleat__conn_bounded(&q->h.conn, CLEAT_FOREVER);

	if (q->timer > 0 && w->limits.heap[q->timer - 1].at <= until)
		return;
	cleat__timers_remove(&w->limits, &q->timer);
	cleat__timers_add(&w->limits, &q->timer, until);
	if (q->timer == 1)
		cleat__pollset_stir(&w->seated); /* all wait for a later one */
}

/* Returns 0 or -errno. */
static int rest(struct cleat__worker *w, struct cleat__seat *q)
{
	int err = cleat__pollset_add(&w->seated, &q->member, &q->h.conn.io);

	if (err == 0 && (q->h.conn.is_limited || q->timer > 0))
		set_limit(w, q);
	return err;
}

int cleat__seats_add(struct cleat__place *p, bool has_spoken)
{
	struct cleat__worker *w = p->worker;
	struct cleat__seat *q = cleat__blocks_get(&w->blocks);
	int err;

	if (!q)
		return -ENOMEM;
	q->h = p->arriving;
	q->h.conn.io.strict = true;
	q->timer = 0;
	err = cleat__timers_reserve(&w->limits, w->n_seats + 1);
	if (err == 0 && !has_spoken)
		err = rest(w, q);
	if (err < 0) {
		cleat__blocks_put(&w->blocks, q);
		return err;
	}
	if (has_spoken)
		cleat__pollset_put(&w->seated, &q->member);
	p->waiting = NULL;
	cleat__enlist(&w->conns, &q->h);
	w->n_seats++;
	return 0;
}

static __attribute__((noinline)) void leave(struct cleat__worker *w,
					    struct cleat__seat *q)
{
	cleat__timers_remove(&w->limits, &q->timer);
	cleat__delist(&w->conns, &q->h);
	cleat__leave_conn(&q->h);
	cleat__blocks_put(&w->blocks, q);
	w->n_seats--;
}

/* Whether W may be ready for nothing: who is fed is told of what he has taken
 * already, and of the end of it; and urgent data is not received.
 */
static bool may_be_nothing(const struct cleat__watch *w)
{
	return w->exact || cleat__is_fed(w);
}

/* More than 0 if Q, who rested, is to be served, and -EAGAIN if he is to rest
 * on; else what he has ended with.
 */
static ssize_t outcome(struct cleat__seat *q)
{
	int err = q->member.result;
	ssize_t said = 1;

	if (err < 0)
		cleat__set_ready(&q->h.conn.io, CLEAT__IN); /* a last look */
	if (err < 0 || may_be_nothing(&q->h.conn.io))
		said = cleat__conn_peek(&q->h.conn);
	return said == -EAGAIN && err < 0 ? err : said;
}

static void attend(void *arg);

static __attribute__((cold)) int start_attendant(struct cleat__worker *w)
{
	int err = cleat_go(w->handling, attend, w, CLEAT_FOREVER);

	if (err == 0)
		w->n_free++;
	return err;
}

/* Somebody is to take over should the handler wait, and nobody who has spoken
 * is lost for lack of memory.  Returns 0 or -ECANCELED.
 */
static __attribute__((cold)) int call_another(struct cleat__worker *w)
{
	while (w->n_free < 2) {
		int err = start_attendant(w);

		if (err == -ECANCELED)
			return err;
		if (err < 0) {
			cleat__say_paused(w->server, &w->is_short, err);
			(void)cleat_sleep(cleat_in(CLEAT__PAUSE)); /* asked
								    * above */
		}
	}
	cleat__say_paused(w->server, &w->is_short, 0);
	return 0;
}

/* After a cut no handler begins. */
static int stand_by(struct cleat__worker *w)
{
	if (cleat__self->current->cancelled)
		return -ECANCELED;
	return w->n_free < 2 ? call_another(w) : 0;
}

/* Returns whether Q stays; if not, that has been told. */
static bool exchange(const struct cleat__worker *w, struct cleat__seat *q)
{
	if (!w->is_apart)
		return cleat__exchange(w, &q->h);
	cleat__run_in_mode(&q->h);
	return false;
}

/* All that Q has to say for now.  Who attends to him meanwhile is not free, not
 * even while others have their turn.  Returns -EAGAIN if Q is to rest, 1 if he
 * leaves and that has been told, else what he has ended with.
 */
static ssize_t serve(struct cleat__worker *w, struct cleat__seat *q)
{
	ssize_t said = 1;

	w->n_free--;
	while (said > 0 && exchange(w, q)) {
		said = cleat__conn_peek(&q->h.conn);
		if (said > 0 && cleat__enter() < 0) /* others wait, too */
			said = -ECANCELED;
	}
	w->n_free++;
	return said;
}

/* Returns whether Q stays; if not, that has been told. */
static bool handle(struct cleat__worker *w, struct cleat__seat *q)
{
	ssize_t said = outcome(q);

	if (said > 0)
		said = stand_by(w) < 0 ? -ECANCELED : serve(w, q);
	if (said > 0)
		return false;
	if (said == -EAGAIN && cleat__self->current->cancelled)
		said = -ECANCELED; /* nobody will attend to him */
	if (said == -EAGAIN) {
		cleat__conn_shrink(&q->h.conn);
		said = rest(w, q);
		if (said == 0)
			return true;
	}
	cleat__tell_end(&q->h, (int)said);
	return false;
}

static __attribute__((cold)) void end_overdue(struct cleat__worker *w,
					      cleat_time now)
{
	while (cleat__timers_next(&w->limits) <= now) {
		struct cleat__seat *q = seat_of_timer(w->limits.heap[0].index);

		cleat__timers_remove(&w->limits, &q->timer);
		if (!is_at_rest(q))
			continue; /* set again when he is */
		if (q->until <= now)
			cleat__pollset_end(&q->member, -ETIMEDOUT);
		else
			cleat__timers_add(&w->limits, &q->timer, q->until);
	}
}

static __attribute__((cold)) void end_all(struct cleat__worker *w)
{
	for (struct cleat__handled *h = w->conns.first; h; h = h->next) {
		struct cleat__seat *q = seat_of(h);

		if (is_at_rest(q))
			cleat__pollset_end(&q->member, -ECANCELED);
	}
}

static void attend(void *arg)
{
	struct cleat__worker *w = arg;
	struct cleat__member *m;
	int err = 0;

	while (err != -ECANCELED && w->n_free <= KEPT && !is_over(w)) {
		err = cleat__pollset_wait(&w->seated,
					  cleat__timers_next(&w->limits));
		if (err == -ETIMEDOUT)
			end_overdue(w, cleat_now());
		else if (err == -ECANCELED)
			end_all(w);
		while ((m = cleat__pollset_next(&w->seated)) != NULL) {
			struct cleat__seat *q = (struct cleat__seat *)m;

			if (!handle(w, q))
				leave(w, q);
		}
	}
	w->n_free--;
	if (is_over(w))
		cleat__pollset_stir(&w->seated); /* so that all go */
}

int cleat__seats_open(struct cleat__worker *w)
{
	enum cleat_serve_mode mode = w->server->opt->mode;
	int err = cleat__blocks_open(&w->blocks, sizeof(struct cleat__seat));

	w->is_apart =
		mode == CLEAT_SERVE_THREADS || mode == CLEAT_SERVE_PROCESSES;
	return err < 0 ? err : start_attendant(w);
}

void cleat__seats_drain(struct cleat__worker *w)
{
	w->is_draining = true;
	cleat__pollset_stir(&w->seated);
}

void cleat__seats_close(struct cleat__worker *w)
{
	cleat__timers_done(&w->limits);
	cleat__blocks_close(&w->blocks);
}
