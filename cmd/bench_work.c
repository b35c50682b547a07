/* SPDX-License-Identifier: MIT */
/* A thread of cleat bench: it makes its connections, waits to be started, runs
 * a fiber for each of them, and ends those that wait in vain. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include <linux/sockios.h>

#include <cleat/error.h>

#include "bench.h"

enum {
	WIDTH = 64, /* connections of a thread being made at once */
	LOOKS = 8, /* for silence, in what --timeout allows */
	FAR_APART = 155 * CACHE_LINE, /* bytes, the streams of two of them */
};

int64_t bench_clock(clockid_t clock)
{
	struct timespec t;

	if (clock_gettime(clock, &t) < 0)
		return -1;
	return t.tv_sec * CLEAT_SEC + t.tv_nsec;
}

/* Where in its pattern each one's stream begins: not where another's does. */
static int init_link(struct link *k, struct worker *w, unsigned number)
{
	const struct plan *plan = w->plan;
	const struct bench *o = plan->o;

	*k = (struct link){ .plan = plan, .worker = w, .number = number };
	if (!o->request)
		k->out = (size_t)number * FAR_APART % plan->request.period;
	if (plan->is_echo)
		k->in = k->out;
	if (plan->is_dgram || o->stream || o->connects || o->rate > 0)
		return 0;
	k->asked_at = &k->one_asked_at;
	if (o->depth > 1)
		k->asked_at = calloc(o->depth, sizeof(*k->asked_at));
	return k->asked_at ? 0 : -ENOMEM;
}

/* Every N-th connection, from the I-th, is this worker's. */
int worker_init(struct worker *w, struct run *run, unsigned i, unsigned n)
{
	const unsigned all = run->plan->o->connections;
	int err = histogram_init(&w->latency);

	w->plan = run->plan;
	w->run = run;
	w->links = aligned_alloc(CACHE_LINE, (all / n + 1) * sizeof(*w->links));
	if (!w->links)
		return -ENOMEM;
	for (unsigned k = i; k < all && err == 0; k += n)
		err = init_link(&w->links[w->n++], w, k);
	return err;
}

/* Without a name of its own a unix socket could not be answered. */
static int open_dgram(struct link *k, cleat_time until)
{
	const struct addr *to = k->plan->addr;
	char name[64];

	(void)snprintf(name, sizeof(name), "unixgram:@cleat-%d-%u",
		       (int)getpid(), k->number);
	return cleat_dgram_open(
		&k->dgram, to->parsed.proto == CLEAT_UNIXGRAM ? name : NULL,
		to->text, NULL, until);
}

static int open_link(struct link *k)
{
	const cleat_time until = cleat_in(k->plan->o->timeout);

	return k->plan->is_dgram ? open_dgram(k, until)
				 : cleat_connect(&k->conn, k->plan->addr->text,
						 NULL, until);
}

static void connect_link(void *arg)
{
	struct link *k = arg;
	const int err = open_link(k);
	const char *why = err < 0 ? addr_why(k->plan->addr, err) : NULL;

	if (why)
		link_fail(k, "%s: %s", k->plan->addr->text, why);
	else if (err < 0)
		(void)link_broke(k, err);
	if (err < 0) /* so no others need be made */
		atomic_store(&k->worker->run->is_hopeless, true);
}

/* What has come or, where nothing is to come, has arrived: what waits here to
 * be sent has not. */
static uint64_t moved(const struct link *k)
{
	const struct cleat_counts n = cleat_conn_counts(k->conn);
	int waiting = 0;

	if (k->plan->o->stream != CLEAT_WRITE && !k->is_over)
		return n.received;
	(void)ioctl(cleat_conn_fd(k->conn), SIOCOUTQ, &waiting); /* or 0 */
	return n.sent - (uint64_t)waiting;
}

static bool is_waiting(const struct link *k)
{
	if (!k->conn || k->has_failed)
		return false;
	if (k->is_over)
		return link_still_sends(k) || k->is_finishing;
	return k->plan->o->stream || k->answered < k->asked;
}

/* End each wait that has been in vain for too long. */
static void look_after(struct worker *w, cleat_time now)
{
	for (unsigned i = 0; i < w->n; i++) {
		struct link *k = &w->links[i];
		uint64_t at;

		if (!is_waiting(k)) {
			k->moved_at = now;
			continue;
		}
		at = moved(k);
		if (at != k->moved || k->moved_at == 0) {
			k->moved = at;
			k->moved_at = now;
		} else if (now - k->moved_at >= w->plan->o->timeout) {
			link_fail(k, "timed out");
		}
	}
}

static bool goes_on(const struct worker *w)
{
	return !w->is_stopped && !atomic_load(&w->run->is_hopeless);
}

/* Run FN for each link, WIDTH at once; 0: all. */
static void for_each(struct worker *w, unsigned width, void (*fn)(void *))
{
	const int64_t tick = w->plan->o->timeout / LOOKS + CLEAT_MSEC;
	int err = cleat_scope_open(&w->busy, width);

	for (unsigned i = 0; i < w->n && err == 0 && goes_on(w); i++) {
		struct link *k = &w->links[i];

		err = cleat_go(w->busy, fn, k, CLEAT_FOREVER);
		if (err < 0)
			(void)link_broke(k, err);
	}
	/* The cancelling may have come while one was being started, which it
	 * did not reach. */
	if (w->busy && w->is_stopped)
		cleat_scope_cancel(w->busy);
	while (w->busy &&
	       cleat_scope_wait(w->busy, cleat_in(tick)) == -ETIMEDOUT)
		look_after(w, cleat_now());
	cleat_scope_close(w->busy);
	w->busy = NULL;
}

static void obey(void *arg)
{
	struct worker *w = arg;
	char item;

	if (cleat_chan_recv(w->run->stop, &item, CLEAT_FOREVER) != CLEAT_EEOF)
		return; /* it is over */
	w->is_stopped = true;
	if (w->busy)
		cleat_scope_cancel(w->busy);
}

void bench_tell(struct run *run, enum news news)
{
	/* There is room for two of each worker and a signal: that is no wait.
	 */
	(void)cleat_chan_send(run->news, &news, CLEAT_FOREVER);
}

/* How many messages of this link are due by the end. */
static uint64_t due_messages(const struct link *k)
{
	const struct plan *plan = k->plan;
	const struct bench *o = plan->o;
	const double seconds = (double)(plan->end - plan->start) / 1e9;
	const double n = (seconds * o->rate - k->number) / o->connections;

	if (n >= 1e18) /* which no one will live to see */
		return UINT64_MAX;
	return n > 0 ? (uint64_t)ceil(n) : 0;
}

static void set_quota(struct link *k)
{
	const struct bench *o = k->plan->o;
	uint64_t due;

	k->quota = UINT64_MAX;
	if (o->count > 0)
		k->quota = o->count / o->connections +
			   (k->number < o->count % o->connections);
	if (o->rate == 0 || k->plan->end == CLEAT_FOREVER)
		return;
	due = due_messages(k);
	k->quota = due < k->quota ? due : k->quota;
}

static void talk(struct worker *w)
{
	const struct bench *o = w->plan->o;
	const int64_t before = bench_clock(CLOCK_THREAD_CPUTIME_ID);

	for (unsigned i = 0; i < w->n; i++)
		set_quota(&w->links[i]);
	w->last = w->plan->start;
	for_each(w, 0,
		 o->connects         ? bench_connects
		 : w->plan->is_dgram ? bench_dgram
				     : bench_stream);
	w->cpu_ns = bench_clock(CLOCK_THREAD_CPUTIME_ID) - before;
	w->over = cleat_now();
}

/* The first fiber of a thread. */
void bench_work(void *arg)
{
	struct worker *w = arg;
	struct cleat_scope *s = NULL;
	char item;
	int err = cleat_scope_open(&s, 0);

	if (err == 0)
		err = cleat_go(s, obey, w, CLEAT_FOREVER);
	if (err < 0)
		(void)link_broke(&w->links[0], err);
	else if (!w->plan->o->connects)
		for_each(w, WIDTH, connect_link);
	if (w->errors > 0)
		atomic_store(&w->run->is_hopeless, true);
	bench_tell(w->run, NEWS_READY);
	if (cleat_chan_recv(w->run->start, &item, CLEAT_FOREVER) == 0)
		talk(w);
	bench_tell(w->run, NEWS_DONE);
	cleat_scope_close(s);
}

void *bench_work_on_thread(void *arg)
{
	struct worker *w = arg;
	const int err = cleat_run(bench_work, w, NULL);

	if (err < 0) {
		(void)link_broke(&w->links[0], err);
		atomic_store(&w->run->is_hopeless, true);
		bench_tell(w->run, NEWS_READY);
	}
	return NULL;
}

/* Of streams, which count for themselves. */
void worker_count(struct worker *w)
{
	for (unsigned i = 0; i < w->n; i++) {
		const struct cleat_conn *c = w->links[i].conn;
		const struct cleat_counts n =
			c ? cleat_conn_counts(c) : (struct cleat_counts){ 0 };

		w->sent += n.sent;
		w->received += n.received;
	}
}

void worker_done(struct worker *w)
{
	for (unsigned i = 0; i < w->n; i++) {
		struct link *k = &w->links[i];

		cleat_close(k->conn);
		cleat_dgram_close(k->dgram);
		cleat_chan_close(k->credit);
		bench_dgram_done(k);
		if (k->asked_at != &k->one_asked_at)
			free(k->asked_at);
	}
	bench_stream_done(w);
	free(w->links);
	histogram_done(&w->latency);
}
