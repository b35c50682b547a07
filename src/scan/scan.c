/* SPDX-License-Identifier: MIT */
#include <cleat/scan.h>

#include <cleat/fiber.h>

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "base/error.h"
#include "base/sys.h"
#include "scan/banner.h"
#include "scan/hosts.h"
#include "scan/job.h"

enum {
	HOSTS_MOST = 32768, /* remembered by all threads together */
	SHARE_LEAST = 1024, /* places that are worth another thread */
	RATE_LEAST = 1000, /* a rate that is worth another */
	FDS_LEAST = 64, /* descriptors for more than one */
};

#define TICK (100 * CLEAT_MSEC)
#define PAUSE (10 * CLEAT_MSEC) /* before banners are looked for again */

struct worker {
	struct scan *scan;
	struct cleat__hosts hosts;
	pthread_t thread;
	int error;
};

struct scan {
	struct cleat__job job;
	struct cleat_scan_options opt;
	struct worker *workers;
	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t ended;
	unsigned running;
};

static unsigned choose_threads(const struct scan *s, uint64_t places)
{
	const struct cleat_scan_options *opt = &s->opt;
	unsigned n = opt->threads ? opt->threads : sys_cores();

	if (opt->how == CLEAT_SCAN_SYN || sys_fd_limit() < FDS_LEAST ||
	    (opt->rate > 0 && opt->rate < RATE_LEAST))
		return 1;
	if (opt->width > 0 && n > opt->width)
		n = opt->width;
	return n > places / SHARE_LEAST ? (unsigned)(places / SHARE_LEAST) + 1
					: n;
}

static void *work(void *arg)
{
	struct worker *w = arg;
	struct scan *s = w->scan;

	/* Until it is known how many there are. */
	(void)pthread_mutex_lock(&s->lock);
	(void)pthread_mutex_unlock(&s->lock);
	w->error = s->opt.how == CLEAT_SCAN_SYN
			   ? cleat__work_syn(&s->job, &w->hosts)
			   : cleat__work_probes(&s->job, &w->hosts);
	if (w->error < 0)
		atomic_store(&s->job.stop, true);
	(void)pthread_mutex_lock(&s->lock);
	if (--s->running == 0)
		(void)pthread_cond_signal(&s->ended);
	(void)pthread_mutex_unlock(&s->lock);
	return NULL;
}

/* Without a thread for each, fewer do it. */
static int start_workers(struct scan *s)
{
	uint64_t key;
	int err = 0;

	sys_random(&key, sizeof(key));
	s->workers = calloc(s->job.threads, sizeof(*s->workers));
	if (!s->workers)
		return -ENOMEM;
	(void)pthread_mutex_lock(&s->lock);
	for (unsigned i = 0; i < s->job.threads && err == 0; i++) {
		struct worker *w = &s->workers[s->running];

		w->scan = s;
		err = cleat__hosts_init(&w->hosts, HOSTS_MOST / s->job.threads,
					key);
		if (err == 0)
			err = sys_thread(&w->thread, work, w);
		if (err == 0)
			s->running++;
		else
			cleat__hosts_done(&w->hosts);
	}
	s->job.threads = s->running;
	atomic_store(&s->job.able, s->running);
	(void)pthread_mutex_unlock(&s->lock);
	return s->job.threads > 0 ? 0 : err;
}

/* Returns whether they all have. */
static bool wait_for_workers(struct scan *s, cleat_time until)
{
	const struct timespec at = { .tv_sec = until / CLEAT_SEC,
				     .tv_nsec = until % CLEAT_SEC };
	int err = 0;
	bool ended;

	(void)pthread_mutex_lock(&s->lock);
	while (s->running > 0 && err == 0)
		err = pthread_cond_timedwait(&s->ended, &s->lock, &at);
	ended = s->running == 0;
	(void)pthread_mutex_unlock(&s->lock);
	return ended;
}

/* Progress. */

static void read_progress(struct scan *s, struct cleat_scan_progress *p)
{
	struct cleat__job *j = &s->job;

	*p = (struct cleat_scan_progress){
		.seed = s->opt.seed,
		.sent = atomic_load(&j->sent),
		.hosts = cleat__plan_hosts(&j->plan),
		.hosts_answered = cleat__census_count(&j->answered),
		.shortages = atomic_load(&j->shortages),
		.in_flight = atomic_load(&j->in_flight),
		.elapsed_ns = cleat_now() - j->started,
	};
	cleat__ledger_read(&j->ledger, p);
}

static bool tick(struct scan *s)
{
	struct cleat_scan_progress p;

	if (!s->opt.tick)
		return true;
	read_progress(s, &p);
	return s->opt.tick(s->opt.arg, &p);
}

/* What all threads know of a host. */
struct known {
	uint64_t answered, unanswered;
	bool is_silenced, is_ours; /* nobody before knew it */
};

static struct known ask_all(struct scan *s, unsigned i,
			    const struct cleat__host *h)
{
	struct known k = { .is_silenced = true, .is_ours = true };
	struct cleat_sockaddr at;

	cleat__host_at(h, 0, &at);
	for (unsigned n = 0; n < s->job.threads; n++) {
		h = cleat__hosts_find(&s->workers[n].hosts, &at);
		if (!h || h->answered + h->unanswered == 0)
			continue;
		k.answered += h->answered;
		k.unanswered += h->unanswered;
		k.is_silenced = k.is_silenced && cleat__host_is_silenced(h);
		k.is_ours = k.is_ours && n >= i;
	}
	return k;
}

static void sum_up_host(struct scan *s, unsigned i, const struct cleat__host *h,
			struct cleat_scan_progress *p)
{
	const struct known k = ask_all(s, i, h);
	struct cleat_sockaddr at;

	if (!k.is_ours || !k.is_silenced || k.answered == 0)
		return;
	p->hosts_silenced++;
	cleat__host_at(h, 0, &at);
	if (s->opt.silenced)
		s->opt.silenced(s->opt.arg, &at, k.answered, k.unanswered);
}

static void sum_up(struct scan *s, struct cleat_scan_progress *p)
{
	read_progress(s, p);
	for (unsigned i = 0; i < s->job.threads; i++) {
		const struct cleat__hosts *h = &s->workers[i].hosts;

		for (size_t n = 0; n < (size_t)h->sets * CLEAT__HOSTS_SET; n++)
			if (h->v[n].family != AF_UNSPEC)
				sum_up_host(s, i, &h->v[n], p);
	}
}

/* The whole of it. */

static int check_options(const struct cleat_scan_options *o)
{
	if (o->banner_ns > 0 && o->how == CLEAT_SCAN_UDP)
		return cleat__fail(-EINVAL, "scan", NULL,
				   "a banner is for TCP; UDP services wait");
	return 0;
}

static int open_scan(struct scan *s, struct cleat_targets *t,
		     const struct cleat_ports *ports)
{
	struct cleat__job *j = &s->job;
	int err = check_options(&s->opt);

	while (s->opt.seed == 0)
		sys_random(&s->opt.seed, sizeof(s->opt.seed));
	if (err == 0)
		err = cleat__plan_init(&j->plan, t, ports, &s->opt);
	if (err < 0)
		return err;
	if (s->opt.start > j->plan.total)
		return cleat__fail(-EINVAL, "scan", NULL,
				   "it starts behind its end");
	err = cleat__ledger_init(&j->ledger, j->plan.total, s->opt.start);
	if (err == 0)
		err = cleat__census_init(&j->answered, j->plan.hosts);
	if (err == 0 && s->opt.banner_ns > 0)
		err = cleat__banners_new(&j->banners, j);
	if (err < 0)
		return cleat__fail(err, "scan", NULL, NULL);
	j->threads = choose_threads(s, j->plan.total - s->opt.start);
	return 0;
}

static bool is_settled(struct scan *s)
{
	struct cleat_scan_progress p;

	cleat__ledger_read(&s->job.ledger, &p);
	return p.mark == p.total;
}

/* Until all is done, or shall be.  When the workers have ended, banners may
 * still be waited for.  Returns 0, or -ECANCELED.
 */
static int watch(struct scan *s)
{
	atomic_bool *stop = &s->job.stop;
	int err = 0;

	for (;;) {
		const bool have_ended = wait_for_workers(s, cleat_in(TICK));

		if (have_ended && (atomic_load(stop) || is_settled(s)))
			return err;
		if (!atomic_load(stop) && !tick(s)) {
			atomic_store(stop, true);
			err = -ECANCELED;
		}
		if (have_ended)
			(void)cleat_sleep(cleat_in(PAUSE)); /* on no fiber */
	}
}

/* Returns 0, or what the first to fail has said. */
static int join_workers(struct scan *s)
{
	int err = 0;

	for (unsigned i = 0; i < s->job.threads; i++) {
		(void)pthread_join(s->workers[i].thread, NULL);
		if (err == 0)
			err = s->workers[i].error;
	}
	return err;
}

static const char *reason_of(const struct scan *s, int err)
{
	if (err == -EPERM && s->opt.how == CLEAT_SCAN_SYN)
		return "a raw socket needs CAP_NET_RAW";
	if (err == -EADDRNOTAVAIL || err == -EADDRINUSE)
		return "no port is left to send from";
	return NULL;
}

static int run(struct scan *s)
{
	int canceled, err = start_workers(s);

	if (err < 0)
		return cleat__fail(err, "scan", NULL, NULL);
	canceled = watch(s);
	err = join_workers(s);
	if (err < 0)
		return cleat__fail(err, "scan", NULL, reason_of(s, err));
	return canceled;
}

static void close_scan(struct scan *s)
{
	for (unsigned i = 0; s->workers && i < s->job.threads; i++)
		cleat__hosts_done(&s->workers[i].hosts);
	free(s->workers);
	cleat__ledger_done(&s->job.ledger);
	cleat__census_done(&s->job.answered);
	cleat__plan_done(&s->job.plan);
	(void)pthread_cond_destroy(&s->ended);
	(void)pthread_mutex_destroy(&s->lock);
	(void)pthread_mutex_destroy(&s->job.found_lock);
}

static void init_scan(struct scan *s, const struct cleat_scan_options *opt)
{
	pthread_condattr_t attr;

	*s = (struct scan){ .job.started = cleat_now() };
	if (opt)
		s->opt = *opt;
	s->job.opt = &s->opt;
	/* None of these can fail on Linux. */
	(void)pthread_condattr_init(&attr);
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&s->ended, &attr);
	(void)pthread_condattr_destroy(&attr);
	(void)pthread_mutex_init(&s->lock, NULL);
	(void)pthread_mutex_init(&s->job.found_lock, NULL);
}

int cleat_scan(struct cleat_targets *t, const struct cleat_ports *ports,
	       const struct cleat_scan_options *opt,
	       struct cleat_scan_progress *p)
{
	struct cleat_scan_progress sum;
	struct scan s;
	int err;

	init_scan(&s, opt);
	err = open_scan(&s, t, ports);
	if (err == 0) {
		err = run(&s);
		cleat__banners_free(s.job.banners);
		sum_up(&s, p ? p : &sum);
	}
	close_scan(&s);
	return err;
}
