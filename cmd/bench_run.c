/* SPDX-License-Identifier: MIT */
/* The threads of cleat bench, from the first connection to the last answer.
 *
 * Each thread runs its share of the connections, a fiber each, and counts for
 * itself.  A fiber of the first one starts all together once they are
 * connected, shows how far they are, and looks out for Ctrl-C.  That one is the
 * program's own: system calls cost more where there is a second thread. */
#include <errno.h>
#include <math.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include <cleat/error.h>

#include "bench.h"
#include "out.h"
#include "process.h"

#define TICK (200 * CLEAT_MSEC) /* of the progress */
#define CLEAR "\r\033[K"

/* Messages so far. */
static uint64_t count(const struct run *run)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < run->n; i++)
		n += atomic_load_explicit(&run->workers[i].messages,
					  memory_order_relaxed);
	return n;
}

struct progress {
	uint64_t n; /* messages, at the last look */
	cleat_time at; /* when that was */
};

/* A line that the next one, or the report, is written over. */
static void show_progress(const struct run *run, struct progress *p)
{
	const struct progress now = { count(run), cleat_now() };
	const double seconds = (double)(now.at - p->at) / 1e9;
	char line[128];
	int len;

	len = snprintf(line, sizeof(line), CLEAR "%.1f s, %llu done, %.0f/s",
		       (double)(now.at - run->plan->start) / 1e9,
		       (unsigned long long)now.n,
		       (double)(now.n - p->n) / seconds);
	out_line(STDERR_FILENO, line, (size_t)len);
	*p = now;
}

/* Wait until each worker has told WHAT.  Returns 0, or -EINTR if a signal was
 * faster. */
static int wait_for(const struct run *run, enum news what)
{
	const bool has_progress = what == NEWS_DONE && isatty(STDERR_FILENO);
	const cleat_time start = run->plan->start;
	struct progress p = { .at = start };
	unsigned n = 0;
	int err = 0;

	while (n < run->n && err == 0) {
		enum news news;

		err = cleat_chan_recv(run->news, &news,
				      has_progress ? p.at + TICK
						   : CLEAT_FOREVER);
		if (err == 0 && news == what)
			n++;
		else if (err == 0)
			err = -EINTR;
		if (err == -ETIMEDOUT) {
			show_progress(run, &p);
			err = 0;
		}
	}
	if (has_progress)
		out_line(STDERR_FILENO, CLEAR, strlen(CLEAR));
	return err;
}

int64_t bench_server_time(const struct bench *o)
{
	clockid_t clock;

	if (o->pid == 0 || clock_getcpuclockid((pid_t)o->pid, &clock) != 0)
		return -1;
	return bench_clock(clock);
}

/* Those of this program, and of the server's process; 0: not known. */
static unsigned cores(const struct bench *o)
{
	cpu_set_t all, server;

	if (sched_getaffinity(0, sizeof(all), &all) < 0)
		return 0;
	if (o->pid > 0 &&
	    sched_getaffinity((pid_t)o->pid, sizeof(server), &server) == 0)
		CPU_OR(&all, &all, &server);
	return (unsigned)CPU_COUNT(&all);
}

/* All are connected. */
static void measure(struct run *run)
{
	struct plan *plan = run->plan;
	const struct bench *o = plan->o;
	const int64_t before = bench_server_time(o);
	const char go = 1;
	int64_t after;

	run->is_measured = true;
	run->result->cores = cores(o);
	plan->start = cleat_now();
	plan->end = CLEAT_FOREVER;
	if (o->time > 0 && o->time < CLEAT_FOREVER - plan->start)
		plan->end = plan->start + o->time;
	for (unsigned i = 0; i < run->n; i++)
		(void)cleat_chan_send(run->start, &go, CLEAT_FOREVER);
	(void)wait_for(run, NEWS_DONE); /* if a signal was faster, so be it */
	after = bench_server_time(o);
	if (before >= 0 && after >= 0)
		run->result->server_cpu_s = (double)(after - before) / 1e9;
}

static void heed_signals(void *arg)
{
	struct run *run = arg;
	struct signalfd_siginfo info;

	if (cleat_poll(run->signals, CLEAT_IN, CLEAT_FOREVER) < 0 ||
	    read(run->signals, &info, sizeof(info)) < 0)
		return; /* cancelled: it is over */
	run->result->signal = (int)info.ssi_signo;
	bench_tell(run, NEWS_SIGNAL);
}

/* All workers end by it; those that have not begun do not. */
static void stop(struct run *run)
{
	cleat_chan_finish(run->start);
	cleat_chan_finish(run->stop);
}

static void conduct(void *arg)
{
	struct run *run = arg;

	if (wait_for(run, NEWS_READY) == 0 && !atomic_load(&run->is_hopeless))
		measure(run);
	stop(run);
}

/* The first fiber of the first thread. */
static void work_and_conduct(void *arg)
{
	struct run *run = arg;
	struct cleat_scope *s = NULL, *signals = NULL;
	int err = cleat_scope_open(&s, 0);

	if (err == 0)
		err = cleat_scope_open(&signals, 0);
	if (err == 0)
		err = cleat_go(signals, heed_signals, run, CLEAT_FOREVER);
	if (err == 0)
		err = cleat_go(s, conduct, run, CLEAT_FOREVER);
	if (err < 0) {
		(void)link_broke(&run->workers[0].links[0], err);
		stop(run);
	}
	bench_work(&run->workers[0]);
	if (s)
		(void)cleat_scope_wait(s, CLEAT_FOREVER); /* not cancelled */
	cleat_scope_close(signals);
	cleat_scope_close(s);
}

static void merge(struct result *r, const struct worker *w)
{
	if (r->errors == 0 && w->errors > 0)
		memcpy(r->why, w->why, sizeof(r->why));
	histogram_merge(&r->latency, &w->latency);
	r->messages += w->messages;
	r->errors += w->errors;
	r->lost += w->lost;
	r->late += w->late;
	r->unsent += w->unsent;
	r->sent += w->sent;
	r->received += w->received;
}

/* Whether --count is reached before --time is over. */
static bool is_counted(const struct plan *plan)
{
	const struct bench *o = plan->o;
	const double seconds = (double)(plan->end - plan->start) / 1e9;

	return o->count > 0 && (plan->end == CLEAT_FOREVER || o->rate == 0 ||
				seconds * o->rate >= o->count);
}

/* When the time ends that all rates are of, where the last message was done at
 * LAST and the last thread at OVER.  A service that fell silent was asked until
 * the end all the same. */
static cleat_time end_of(const struct plan *plan, const struct result *r,
			 cleat_time last, cleat_time over)
{
	const bool is_cut = r->signal > 0 || r->messages == 0 ||
			    r->errors == plan->o->connections;
	cleat_time end = plan->end;

	if (over < end && is_cut)
		end = over;
	else if (over < end && is_counted(plan))
		end = last;
	return last > end ? last : end;
}

/* Of what came after that, tidying up, the CPU time is not told. */
static void share_cpu(const struct run *run, int64_t span)
{
	struct result *r = run->result;

	for (unsigned i = 0; i < run->n; i++) {
		const int64_t cpu = run->workers[i].cpu_ns;
		const int64_t ns = cpu < span ? cpu : span;

		r->cpu_s += (double)ns / 1e9;
		if (span > 0)
			r->busiest =
				fmax(r->busiest, (double)ns / (double)span);
	}
}

static void conclude(const struct run *run)
{
	const cleat_time start = run->plan->start;
	struct result *r = run->result;
	cleat_time last = start, over = start;
	int64_t span;

	for (unsigned i = 0; i < run->n; i++) {
		const struct worker *w = &run->workers[i];

		merge(r, w);
		last = w->last > last ? w->last : last;
		over = w->over > over ? w->over : over;
	}
	span = end_of(run->plan, r, last, over) - start;
	r->threads = run->n;
	r->seconds = (double)span / 1e9;
	share_cpu(run, span);
}

static int open_run(struct run *run)
{
	static const int ends[] = { SIGINT, SIGTERM };
	const unsigned n = run->plan->o->threads;
	int err = histogram_init(&run->result->latency);

	run->signals = signals_open(ends, 2);
	if (run->signals < 0)
		return -errno;
	if (err == 0)
		err = cleat_chan_open(&run->news, sizeof(enum news), 2 * n + 1);
	if (err == 0)
		err = cleat_chan_open(&run->start, 1, n);
	if (err == 0)
		err = cleat_chan_open(&run->stop, 1, 1);
	run->workers = calloc(n, sizeof(*run->workers));
	if (!run->workers)
		return -ENOMEM;
	for (; run->n < n && err == 0; run->n++)
		err = worker_init(&run->workers[run->n], run, run->n, n);
	return err;
}

static void close_run(struct run *run)
{
	for (unsigned i = 0; i < run->n; i++)
		worker_done(&run->workers[i]);
	free(run->workers);
	cleat_chan_close(run->news);
	cleat_chan_close(run->start);
	cleat_chan_close(run->stop);
	if (run->signals >= 0)
		(void)close(run->signals);
}

static int run_all(struct run *run)
{
	int err = 0;

	for (run->threads = 1; run->threads < run->n && err == 0;) {
		struct worker *w = &run->workers[run->threads];

		err = -pthread_create(&w->thread, NULL, bench_work_on_thread,
				      w);
		run->threads += err == 0;
	}
	if (err == 0)
		err = cleat_run(work_and_conduct, run, NULL);
	stop(run);
	for (unsigned i = 1; i < run->threads; i++)
		(void)pthread_join(run->workers[i].thread, NULL);
	return err;
}

int bench_run(struct plan *plan, struct result *r)
{
	struct run run = { .plan = plan, .result = r };
	int err;

	*r = (struct result){ .server_cpu_s = -1 };
	raise_fd_limit(); /* a connection takes one, or two */
	err = open_run(&run);
	if (err == 0)
		err = run_all(&run);
	for (unsigned i = 0; i < run.n; i++)
		worker_count(&run.workers[i]);
	if (err == 0)
		conclude(&run);
	if (err < 0)
		complain("bench", "%s", cleat_strerror(err));
	else if (!run.is_measured && r->signal == 0)
		complain("bench", "%s", r->why);
	close_run(&run);
	return run.is_measured ? 0 : -1;
}
