/* SPDX-License-Identifier: MIT */
/* When each probe is sent, sent again and given up.  One thread works on its
 * own share of the places, with hosts, windows and sockets of its own.
 *
 * A probe is free, waits behind its host's window, is in flight, or is settled
 * and free again.  What this machine answers itself is settled in the call that
 * sends it, and never in flight.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/sys.h"
#include "base/time.h"
#include "scan/banner.h"
#include "scan/engine.h"
#include "scan/pool.h"
#include "scan/wheel.h"

enum {
	WAITING_MOST = 4096, /* probes behind their hosts' windows, or so */
	ROUND = 256, /* probes sent before answers are looked for */
	EVENTS = 256,
	/* Windows at first.  RFC 6928 begins with ten segments, which are as
	 * many bytes as 240 SYNs. */
	HOST_FIRST = 64,
	HOST_SILENT = 1000, /* up to which silence lets a host's window grow */
	ALL_FIRST = 1024,
	ATTEMPTS_ALONE = 5, /* when nothing else is asked of a host */
	FDS_SPARED = 64, /* for the rest of the process */
};

#define TIMEOUT_MOST (4 * CLEAT_SEC)
/* Of a host that has answered: to double a wait again and again helps against
 * congestion, which the window takes care of, and not against loss by chance.
 */
#define LONG_ENOUGH CLEAT_SEC
#define OUTAGE CLEAT_SEC /* is outlasted */
#define LOOK_UP (50 * CLEAT_MSEC) /* whether to stop */
#define BURST (10 * CLEAT_MSEC) /* of a rate */
#define SHORTAGE (10 * CLEAT_MSEC) /* is waited for */
#define SHORTAGE_MOST (10 * CLEAT_SEC) /* with nothing in flight */

struct prober {
	struct cleat__job *job;
	const struct cleat__engine *engine;
	struct cleat__hosts *hosts;
	struct cleat__pool pool;
	cleat_time now;

	struct cleat__probe *probes, *free;
	unsigned n_probes, n_used, live;

	uint64_t place; /* the next of the block taken */
	unsigned left; /* of it */
	bool are_all_taken;

	struct cleat__host *ready, **ready_end; /* may send, and want to */
	struct cleat__wheel wheel;
	struct cleat__window window; /* of all hosts together */
	unsigned in_flight;
	double width, most; /* how many can be; shortages narrow it */
	cleat_time resume; /* after a shortage */
	cleat_time starving; /* since when nothing could be sent; or 0 */
	int error; /* of the shortage */
	int64_t interval; /* between attempts, of a rate */
	cleat_time next; /* attempt */
	struct cleat__loss loss;

	uint64_t sent; /* not yet in the job's count, like these */
	unsigned flying;
};

static int64_t longer(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

/* Probes. */

/* One that is free; or NULL. */
static struct cleat__probe *get_probe(struct prober *q)
{
	struct cleat__probe *p = q->free;

	if (p)
		q->free = p->next;
	else if (q->n_used < q->n_probes)
		p = &q->probes[q->n_used++];
	q->live += p != NULL;
	return p;
}

static void free_probe(struct prober *q, struct cleat__probe *p)
{
	p->next = q->free;
	q->free = p;
	q->live--;
}

/* Whether there is another place to try, at *AT, now. */
static bool next_place(struct prober *q, struct cleat_sockaddr *at)
{
	if (q->left == 0 && !q->are_all_taken) {
		q->left = cleat__ledger_take(&q->job->ledger, &q->place);
		q->are_all_taken =
			q->left == 0 && q->place == q->job->ledger.total;
	}
	if (q->left > 0)
		cleat__plan_at(&q->job->plan, q->place, at);
	return q->left > 0;
}

/* A probe of the next place; or NULL: there is none, or no room for it now. */
static struct cleat__probe *begin(struct prober *q)
{
	struct cleat_sockaddr at;
	struct cleat__host *h =
		next_place(q, &at) ? cleat__hosts_get(q->hosts, &at) : NULL;
	struct cleat__probe *p = h ? get_probe(q) : NULL;

	if (!p)
		return NULL;
	if (h->window.most == 0)
		cleat__window_init(&h->window, HOST_FIRST, q->most);
	*p = (struct cleat__probe){
		.place = q->place++,
		.host = h,
		.port = (uint16_t)cleat_sockaddr_port(&at),
		.fd = -1,
	};
	q->left--;
	return p;
}

/* Hosts. */

/* One that answers but so many is asked for one at a time. */
static bool host_may_send(const struct cleat__host *h)
{
	return h->in_flight < (h->is_limited ? 1 : h->window.size);
}

static void make_ready(struct prober *q, struct cleat__host *h)
{
	if (h->is_ready || !h->first || !host_may_send(h))
		return;
	h->is_ready = true;
	h->next_ready = NULL;
	*q->ready_end = h;
	q->ready_end = &h->next_ready;
}

static void wait_last(struct prober *q, struct cleat__probe *p)
{
	struct cleat__host *h = p->host;

	p->next = NULL;
	if (h->first)
		h->last->next = p;
	else
		h->first = p;
	h->last = p;
	make_ready(q, h);
}

static void wait_first(struct prober *q, struct cleat__probe *p)
{
	struct cleat__host *h = p->host;

	p->next = h->first;
	if (!h->first)
		h->last = p;
	h->first = p;
	make_ready(q, h);
}

/* A probe of a host that may send; hosts take turns. */
static struct cleat__probe *next_waiting(struct prober *q)
{
	struct cleat__host *h = q->ready;
	struct cleat__probe *p;

	if (!h)
		return NULL;
	q->ready = h->next_ready;
	if (!q->ready)
		q->ready_end = &q->ready;
	h->is_ready = false;
	if (!host_may_send(h)) /* any more: an answer will make it ready */
		return next_waiting(q);
	p = h->first;
	h->first = p->next;
	return p;
}

static struct cleat__probe *next_probe(struct prober *q)
{
	struct cleat__probe *p = next_waiting(q);

	while (!p && (p = begin(q))) {
		if (host_may_send(p->host))
			break;
		wait_last(q, p);
		p = NULL;
	}
	return p;
}

/* Ends of an attempt. */

static void land(struct prober *q, struct cleat__probe *p)
{
	cleat__wheel_remove(p);
	p->host->in_flight--;
	q->in_flight--;
}

/* Whether the attempt before P's was lost, as the answer to P's says; not if
 * that took as long as the other was waited for: then it was too early to give
 * it up.
 */
static bool has_lost(const struct prober *q, const struct cleat__probe *p)
{
	return p->attempt > 0 && q->now - p->sent < p->sent - p->lost;
}

/* What is lost was too much in flight; or else it was chance, which cannot be
 * told.
 */
static void heard(struct prober *q, const struct cleat__probe *p)
{
	struct cleat__host *h = p->host;
	const double part = (h->in_flight + 1.0) / (q->in_flight + 1);
	const unsigned lost = has_lost(q, p) ? p->attempt : 0;

	cleat__rtt_add(&h->rtt, q->now - p->sent);
	cleat__host_heard(h, p->first);
	cleat__loss_add(&h->loss, lost);
	if (q->engine->is_limited)
		cleat__host_learn(h, lost, q->now);
	if (!h->is_limited) /* which says nothing of others */
		cleat__loss_add(&q->loss, lost);
	if (lost == 0) {
		cleat__window_grow(&h->window);
		cleat__window_grow(&q->window);
	} else if (cleat__window_shrink(&h->window, p->lost, q->now)) {
		cleat__window_yield(&q->window, part);
	}
}

static void settle(struct prober *q, struct cleat__probe *p,
		   const struct cleat__verdict *v)
{
	struct cleat__host *h = p->host;
	struct cleat_sockaddr at;

	cleat__host_at(h, p->port, &at);
	cleat__job_settle(q->job, p->place, &at, v);
	free_probe(q, p);
	make_ready(q, h);
}

/* P is not in flight, and V says why. */
static void answered(struct prober *q, struct cleat__probe *p,
		     struct cleat__verdict *v)
{
	if (v->rtt == 0) {
		v->rtt = q->now - p->sent;
		heard(q, p);
	}
	if (v->state == CLEAT_PORT_CLOSED && !p->is_spent)
		cleat__pool_keep(&q->pool, p);
	else
		cleat__pool_close(&q->pool, p);
	if (q->width < q->most)
		q->width += 1 / q->width;
	settle(q, p, v);
}

static unsigned attempts_of(const struct prober *q, const struct cleat__host *h)
{
	if (q->job->opt->attempts > 0)
		return q->job->opt->attempts;
	if (h->is_limited)
		return ATTEMPTS_ALONE; /* what was lost was not by chance */
	return cleat__attempts_for(&h->loss, &q->loss, q->job->plan.n_ports);
}

/* Whether P may have met with silence because others of its host, which gives
 * but so many answers, were answered meanwhile.
 */
static bool is_doubtful(const struct prober *q, const struct cleat__probe *p)
{
	const struct cleat__host *h = p->host;
	const bool was_alone = h->is_limited && p->since > h->turned;

	return q->job->opt->attempts == 0 && h->limited > p->since &&
	       !was_alone;
}

static void gave_up(struct prober *q, struct cleat__probe *p)
{
	struct cleat__host *h = p->host;
	const struct cleat__verdict v = {
		.state = CLEAT_PORT_SILENT,
		.reason = "no answer",
		.rtt = -1,
	};

	cleat__pool_close(&q->pool, p);
	p->is_spent = false;
	p->lost = p->sent;
	p->attempt++;
	if (h->window.size < HOST_SILENT && !h->is_limited)
		cleat__window_grow(&h->window);
	cleat__window_grow(&q->window);
	if (is_doubtful(q, p))
		p->attempt = 0;
	if (p->attempt < attempts_of(q, h)) {
		if (h->is_limited && p->attempt > 0)
			wait_first(q, p);
		else
			wait_last(q, p);
		return;
	}
	cleat__host_unheard(h, p->first);
	settle(q, p, &v);
}

/* Sending. */

/* What is lacking may be there again when others are done. */
static void run_short(struct prober *q, struct cleat__probe *p, int err)
{
	cleat__pool_close(&q->pool, p);
	p->is_spent = false;
	wait_first(q, p);
	atomic_fetch_add(&q->job->shortages, 1);
	q->width = q->in_flight > 1 ? q->in_flight : 1;
	q->resume = q->now + SHORTAGE;
	if (q->in_flight > 0)
		q->starving = 0;
	else if (q->starving == 0)
		q->starving = q->now;
	else if (q->now - q->starving > SHORTAGE_MOST)
		q->error = err;
}

/* How long P's attempt waits.  The last of several comes so late that an outage
 * of a moment is over.
 */
static int64_t patience(const struct prober *q, const struct cleat__probe *p)
{
	const struct cleat__host *h = p->host;
	const int64_t most = q->job->opt->timeout_ns > 0
				     ? q->job->opt->timeout_ns
				     : TIMEOUT_MOST;
	int64_t wait = cleat__rtt_timeout(&h->rtt, p->attempt, most);

	if (h->answered > 0 && wait > LONG_ENOUGH)
		wait = longer(LONG_ENOUGH,
			      cleat__rtt_timeout(&h->rtt, 1, most));
	if (p->attempt + 2u == attempts_of(q, h))
		wait = longer(wait, p->since + OUTAGE - p->sent);
	return cleat__earlier(wait, most);
}

static void fly(struct prober *q, struct cleat__probe *p)
{
	p->until = p->sent + patience(q, p);
	cleat__wheel_add(&q->wheel, p);
	p->host->in_flight++;
	q->in_flight++;
	make_ready(q, p->host);
}

/* Returns 0, or negative if something lacks. */
static int send_one(struct prober *q, struct cleat__probe *p)
{
	struct cleat__verdict v = { .rtt = -1 };
	struct cleat_sockaddr at;
	int rc = cleat__pool_take(&q->pool, p);

	cleat__host_at(p->host, p->port, &at);
	p->sent = q->now;
	if (p->attempt == 0)
		p->since = p->sent;
	if (p->first == 0)
		p->first = p->sent;
	if (rc == 0)
		rc = q->engine->send(p, &at, &v);
	q->now = cleat_now();
	if (rc == 0)
		rc = cleat__pool_watch(&q->pool, p);
	if (rc < 0) {
		run_short(q, p, rc);
		return rc;
	}
	q->starving = 0;
	q->sent++;
	q->next += q->interval;
	if (rc > 0)
		answered(q, p, &v);
	else
		fly(q, p);
	return 0;
}

static bool may_send(const struct prober *q)
{
	return q->in_flight < q->width && q->in_flight < q->window.size &&
	       q->now >= q->resume && q->now >= q->next;
}

/* Returns whether there may be more to send at once. */
static bool send_some(struct prober *q)
{
	if (q->next < q->now - BURST)
		q->next = q->now - BURST;
	for (int i = 0; i < ROUND; i++) {
		struct cleat__probe *p = may_send(q) ? next_probe(q) : NULL;

		if (!p || send_one(q, p) < 0)
			return false;
	}
	return true;
}

/* Waiting. */

static void look(struct prober *q, struct cleat__probe *p)
{
	struct cleat__verdict v;
	struct cleat_sockaddr at;

	cleat__host_at(p->host, p->port, &at);
	if (q->engine->look(p, &at, &v) > 0) {
		land(q, p);
		answered(q, p, &v);
	}
}

static cleat_time wait_until(const struct prober *q, bool has_more)
{
	cleat_time until = q->now + LOOK_UP;

	if (has_more)
		return 0;
	if (q->now < q->next)
		until = cleat__earlier(until, q->next);
	if (q->now < q->resume)
		until = cleat__earlier(until, q->resume);
	return cleat__earlier(until, cleat__wheel_until(&q->wheel));
}

static void wait_some(struct prober *q, bool has_more)
{
	struct cleat__probe *p, *v[EVENTS];
	unsigned n;

	if (has_more && q->in_flight == 0)
		return;
	n = cleat__pool_wait(&q->pool, v, EVENTS, wait_until(q, has_more));
	q->now = cleat_now();
	for (unsigned i = 0; i < n; i++)
		if (v[i])
			look(q, v[i]);
	while ((p = cleat__wheel_next(&q->wheel, q->now))) {
		p->host->in_flight--;
		q->in_flight--;
		gave_up(q, p);
	}
}

static void count(struct prober *q)
{
	atomic_fetch_add(&q->job->sent, q->sent);
	atomic_fetch_add(&q->job->in_flight, q->in_flight - q->flying);
	q->sent = 0;
	q->flying = q->in_flight;
}

static bool is_over(const struct prober *q)
{
	return (q->are_all_taken && q->live == 0) || q->error < 0 ||
	       atomic_load(&q->job->stop);
}

static int probe_all(struct prober *q)
{
	while (!is_over(q)) {
		const bool has_more = send_some(q);

		if (!is_over(q))
			wait_some(q, has_more);
		count(q);
	}
	return q->error;
}

/* Beginning and end. */

/* A part of N for each thread, but 1 at least. */
static unsigned share_of(const struct cleat__job *j, uint64_t n)
{
	return n > j->threads ? (unsigned)(n / j->threads) : 1;
}

static unsigned choose_width(const struct cleat__job *j)
{
	const unsigned fds = sys_fd_limit();
	unsigned spared = FDS_SPARED, most;

	if (j->banners)
		spared += CLEAT__BANNERS_WIDTH;
	most = fds - (spared < fds / 4 ? spared : fds / 4);

	if (j->opt->width > 0 && j->opt->width < most)
		return share_of(j, j->opt->width);
	return share_of(j, most);
}

static int open_prober(struct prober *q)
{
	const unsigned width = choose_width(q->job);

	q->most = width;
	q->width = width;
	q->ready_end = &q->ready;
	cleat__window_init(&q->window, ALL_FIRST, width);
	cleat__wheel_init(&q->wheel, q->now);
	if (q->job->opt->rate > 0)
		q->interval = (int64_t)((uint64_t)CLEAT_SEC * q->job->threads /
					q->job->opt->rate);
	q->n_probes = width + WAITING_MOST;
	q->probes = calloc(q->n_probes, sizeof(*q->probes));
	if (!q->probes)
		return -ENOMEM;
	return cleat__pool_init(&q->pool, q->engine, width);
}

static void close_prober(struct prober *q)
{
	for (unsigned i = 0; i < q->n_used; i++)
		cleat__pool_close(&q->pool, &q->probes[i]);
	cleat__pool_done(&q->pool);
	free(q->probes);
	q->in_flight = 0;
	count(q);
}

int cleat__work_probes(struct cleat__job *j, struct cleat__hosts *hosts)
{
	struct prober q = {
		.job = j,
		.engine = j->opt->how == CLEAT_SCAN_UDP
				  ? &cleat__engine_udp
				  : &cleat__engine_connect,
		.hosts = hosts,
		.pool.epoll = -1,
		.now = cleat_now(),
	};
	int err = open_prober(&q);

	if (err == 0)
		err = probe_all(&q);
	else if (atomic_fetch_sub(&j->able, 1) > 1)
		err = 0; /* what lacks is enough for others, who do it all */
	close_prober(&q);
	return err;
}
