/* SPDX-License-Identifier: MIT */
/* What the files of cleat bench share: bench.c (options), bench_run.c (from
 * start to end), bench_work.c (a thread), bench_stream.c, bench_dgram.c and
 * bench_connects.c (what a connection does), bench_link.c (what they have in
 * common), bench_pattern.c (what is sent), bench_report.c, bench_plot.c and
 * bench_compare.c (what is told of it). */
#ifndef CMD_BENCH_H
#define CMD_BENCH_H

#include <pthread.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

#include <jansson.h>

#include <cleat/chan.h>
#include <cleat/conn.h>
#include <cleat/dgram.h>
#include <cleat/fiber.h>

#include "addr.h"
#include "histogram.h"

enum {
	BENCH_WHY_MAX = 640,
	BENCH_NUMBER_MAX = 32,
	CACHE_LINE = 64,
	PATTERN_SPARE = 128 * 1024,
	PATTERN_FILE_MAX = 64 * 1024 * 1024,
};

/* What is asked for. */
struct bench {
	struct net net;
	unsigned connections, threads, depth, count, rate, pid; /* 0: none */
	size_t size, answer_size; /* 0: as the mode has it */
	int64_t time, timeout; /* ns; 0: the same */
	unsigned stream; /* of enum cleat_direction; 0: answers to requests */
	bool connects, reset, json;
	const char *request, *answer, *hdr, *compare; /* files, or NULL */
};

/* What is sent or expected, over and over.  DATA is longer than its PERIOD by
 * PATTERN_SPARE, so that this many bytes from any place stand in a row. */
struct pattern {
	unsigned char *data; /* NULL: any bytes are good */
	size_t period;
	size_t message; /* bytes of one */
	size_t stamp; /* of these, those that tell its number; or 0 */
};

/* pattern_random - messages of LEN bytes, each unlike hundreds before it.
 * pattern_file - the file at PATH, which is one message.
 *
 * Return 0, or a negative code, -ENODATA for an empty file. */
int pattern_random(struct pattern *p, size_t len);
int pattern_file(struct pattern *p, const char *path);

/* pattern_number - messages are to be stamped with their numbers, and thus be
 * unlike all others; but those of less than eight bytes, only unlike many. */
void pattern_number(struct pattern *p);
void pattern_done(struct pattern *p);

/* The place LEN bytes, at most PATTERN_SPARE, behind AT. */
static inline size_t pattern_move(const struct pattern *p, size_t at,
				  size_t len)
{
	at += len;
	return at < p->period ? at : at % p->period;
}

/* pattern_match - how many of LEN bytes are those from *AT on, which is moved
 * behind them. */
size_t pattern_match(const struct pattern *p, size_t *at, const void *data,
		     size_t len);

/* pattern_stamp - MESSAGE is to be that of NUMBER; or, if it is, it is not any
 * more. */
void pattern_stamp(const struct pattern *p, unsigned char *message,
		   uint64_t number);

/* pattern_match_message - the same from the PART-th byte of message NUMBER on,
 * and no further than its end. */
size_t pattern_match_message(const struct pattern *p, size_t *at,
			     uint64_t number, size_t part,
			     const unsigned char *data, size_t len);

/* The same for all threads, and constant once they run. */
struct plan {
	const struct bench *o;
	const struct addr *addr;
	bool is_dgram;
	bool is_echo; /* what is sent is expected */
	bool is_paired; /* to every message there is an answer */
	struct pattern request, answer; /* of an echo the same */
	cleat_time start, end; /* END may be CLEAT_FOREVER */
};

/* One connection, and where it is in its conversation.  What every message
 * touches comes first, in two cache lines. */
struct link {
	alignas(CACHE_LINE) struct cleat_conn *conn; /* or dgram */
	const struct plan *plan;
	struct worker *worker;
	uint64_t quota; /* messages to send, at most */
	uint64_t asked, answered; /* messages sent, and answers to them */
	size_t out, in; /* places in the patterns */
	size_t part; /* bytes of the answer that has begun */
	cleat_time *asked_at; /* of those without answer; NULL: by --rate */
	unsigned first_asked, last_asked; /* in this ring of DEPTH */
	cleat_time one_asked_at; /* that ring, where DEPTH is 1 */
	bool is_asked; /* no more will be sent */
	bool has_failed, is_over;
	bool is_finishing; /* what was sent is on its way */
	unsigned number;
	struct cleat_chan *credit; /* how many more to ask; or NULL */
	struct cleat_dgram *dgram;
	struct talk *talk; /* what bench_dgram.c keeps; or NULL */
	uint64_t moved; /* bytes, at the last look */
	cleat_time moved_at; /* when that was first seen */
};

/* A thread, with its share of the connections. */
struct worker {
	const struct plan *plan;
	struct run *run;
	pthread_t thread;
	struct link *links;
	unsigned n;
	struct cleat_scope *busy; /* connecting, then talking */
	struct sheet *sheets; /* what bench_stream.c keeps */
	bool is_stopped;
	struct histogram latency;
	_Atomic uint64_t messages; /* others look at it */
	uint64_t lost, late, errors, unsent, sent, received;
	cleat_time last; /* when the last message was done */
	cleat_time over; /* when it had nothing more to do */
	int64_t cpu_ns;
	char why[BENCH_WHY_MAX]; /* of the first error */
};

/* What all threads found. */
struct result {
	struct histogram latency;
	uint64_t messages, errors, lost, late, unsent, sent, received;
	unsigned threads;
	double seconds;
	double cpu_s, server_cpu_s; /* the latter below 0: not known */
	double busiest; /* of the threads: its share of a core */
	unsigned cores; /* that this program or the server may use */
	int signal; /* that ended it early; or 0 */
	char why[BENCH_WHY_MAX];
};

/* What is told to the one who conducts. */
enum news {
	NEWS_READY, /* a worker's connections are made, or cannot be */
	NEWS_DONE, /* a worker's work */
	NEWS_SIGNAL,
};

/* All threads. */
struct run {
	struct plan *plan;
	struct worker *workers;
	struct result *result;
	unsigned n; /* of the workers, initialized */
	unsigned threads; /* of these, started; the first needs none */
	int signals; /* signalfd */
	struct cleat_chan *news; /* enum news */
	struct cleat_chan *start; /* an item for each worker */
	struct cleat_chan *stop; /* finished: leave off at once */
	_Atomic bool is_hopeless; /* some connection could not be made */
	bool is_measured;
};

/* The number of this link's N-th message, among those of all. */
static inline uint64_t link_number(const struct link *k, uint64_t n)
{
	return n * k->plan->o->connections + k->number;
}

/* link_fail - count an error and end this link; the first one of a thread is
 * kept.  A link fails once, and a cancelled one does not. */
void link_fail(struct link *k, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* link_broke - the same for the code of a call, which cleat_why() explains.
 * Returns -1. */
int link_broke(struct link *k, ssize_t err);

/* link_done - N messages were answered NOW.  link_due is when the N-th is to be
 * sent, by --rate. */
void link_done(struct link *k, unsigned n, cleat_time now);
cleat_time link_due(const struct link *k, uint64_t n);

/* link_still_sends - whether a stream of two ways that have nothing to do with
 * each other has not sent all yet. */
bool link_still_sends(const struct link *k);

/* link_may_ask - how many of N more messages may be sent NOW. */
uint64_t link_may_ask(const struct link *k, uint64_t n, cleat_time now);

/* link_keep_time - have SEND_ONE send each message when it is due, until the
 * end or until it returns a negative number. */
void link_keep_time(struct link *k, int (*send_one)(void *arg, cleat_time due),
		    void *arg);

/* A connection's whole life, as a fiber; ARG is its link. */
void bench_stream(void *arg);
void bench_dgram(void *arg);
void bench_dgram_done(struct link *k);
void bench_stream_done(struct worker *w);
void bench_connects(void *arg);

/* worker_init - the I-th of N threads, with every N-th connection.  Returns 0
 * or -ENOMEM; worker_done() is due in any case. */
int worker_init(struct worker *w, struct run *run, unsigned i, unsigned n);
void worker_done(struct worker *w);

/* worker_count - add up the bytes of its connections. */
void worker_count(struct worker *w);

/* bench_work - a worker's first fiber; the other is a thread that runs it. */
void bench_work(void *arg);
void *bench_work_on_thread(void *arg);

/* bench_tell - NEWS to the one who conducts; does not wait. */
void bench_tell(struct run *run, enum news news);

/* bench_clock - ns; -1 if there is no such clock. */
int64_t bench_clock(clockid_t clock);

/* bench_server_time - the CPU time of --pid, and of its threads; -1: there is
 * none. */
int64_t bench_server_time(const struct bench *o);

/* bench_run - do it.  Returns 0; or -1 where nothing was measured, having
 * complained unless a signal ended it.  *R is filled in any case, and
 * the caller frees its latency. */
int bench_run(struct plan *plan, struct result *r);

/* The figures, in the order in which they are told. */
enum {
	FIGURE_MESSAGES,
	FIGURE_BYTES,
	FIGURE_P50,
	FIGURE_P90,
	FIGURE_P99,
	FIGURE_P99_9,
	FIGURE_MAX,
	FIGURE_CPU,
	FIGURE_SERVER_CPU,
	FIGURES,
};

/* As JSON has them: those of the latency are in an object of their own. */
struct figure_name {
	const char *of; /* that object, or NULL */
	const char *name;
};
extern const struct figure_name figure_names[FIGURES];

/* bench_figures - NAN where there is none. */
void bench_figures(double v[FIGURES], const struct plan *plan,
		   const struct result *r);

/* bench_report - print it for people; bench_json - for programs. */
void bench_report(const struct plan *plan, const struct result *r);
json_t *bench_json(const struct plan *plan, const struct result *r);
void bench_json_print(json_t *o); /* lets go of it */

/* bench_put - a number of three digits, in the largest unit that has one before
 * the point; UNITS, ended by NULL, are STEP apart. */
void bench_put(char to[BENCH_NUMBER_MAX], double value,
	       const char *const units[], double step);
void bench_put_time(char to[BENCH_NUMBER_MAX], double us);

/* What kept the generator from asking for more, if anything did. */
enum limit {
	LIMIT_NONE,
	LIMIT_THREAD, /* one of ours had no time left */
	LIMIT_BOTH, /* the server's process was as busy */
	LIMIT_CORES, /* ours, or ours and the server's, had no core left */
};
enum limit bench_limit(const struct result *r);

/* bench_share - of a core, what SECONDS of CPU time are. */
double bench_share(const struct result *r, double seconds);

/* bench_plot - print how the latencies are spread. */
void bench_plot(const struct histogram *h);

/* bench_hdr_open - open the file at PATH, and leave in it what it has until
 * there is something to write.  Returns NULL having complained.
 * bench_hdr - write the percentiles to F.  Returns 0 or -1, having complained.
 */
FILE *bench_hdr_open(const char *path);
int bench_hdr(const struct histogram *h, FILE *f, const char *path);

/* bench_compare_load - the run in the file at PATH; or NULL, having complained.
 * bench_compare - print THEN beside NOW, which is let go of. */
json_t *bench_compare_load(const char *path);
void bench_compare(const json_t *then, json_t *now);

#endif
