/* SPDX-License-Identifier: MIT */
/* cleat bench - latency and throughput of a service.
 *
 * Exits with 0 if all went well, 1 if it cannot be reached, an answer was wrong
 * or a connection broke, 2 if misused; and as the shell has it where a signal
 * ended it early, 130 for Ctrl-C, having told what was measured.
 */
#include <errno.h>
#include <math.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include <cleat/error.h>

#include "bench.h"
#include "cmd.h"
#include "out.h"

enum {
	STATUS_SIGNAL = 128, /* and its number, as shells have it */
	DGRAM_MAX = 65507,
	DEPTH_MAX = 65536, /* more would only wait here */
	MESSAGE = 64,
	STREAM_MESSAGE = PATTERN_SPARE, /* in one system call */
};

#define TIME (5 * CLEAT_SEC)
#define TIMEOUT (5 * CLEAT_SEC)
#define DGRAM_TIMEOUT (1 * CLEAT_SEC)

static const char *parse_stream(void *to, const char *text)
{
	static const struct {
		const char *name;
		unsigned way;
	} ways[] = {
		{ "send", CLEAT_WRITE },
		{ "recv", CLEAT_READ },
		{ "both", CLEAT_BOTH },
	};

	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		if (strcmp(text, ways[i].name) == 0) {
			*(unsigned *)to = ways[i].way;
			return NULL;
		}
	}
	return "no way to stream; write send, recv or both";
}

/* clang-format off */
static const struct opt options[] = {
	{ 'c', "connections", opt_count, offsetof(struct bench, connections),
	  "N", "at once (default 1)" },
	{ 's', "size", opt_size, offsetof(struct bench, size), "BYTES",
	  "of a message, as 64, 16k or 1M (default 64; 128k with\n"
	  "--stream)" },
	{ 't', "time", opt_timeout, offsetof(struct bench, time), "TIME",
	  "for TIME, as 500ms or 10s (default 5s)" },
	{ 'n', "count", opt_count, offsetof(struct bench, count), "N",
	  "N messages, on all connections together" },
	{ 'd', "depth", opt_count, offsetof(struct bench, depth), "N",
	  "keep N messages under way on each connection\n"
	  "(default 1, at most 65536)" },
	{ 'r', "rate", opt_count, offsetof(struct bench, rate), "N",
	  "send N messages a second, on all connections\n"
	  "together, whether or not there are answers; a\n"
	  "latency begins when a message was to be sent" },
	{ 0, "request", opt_text, offsetof(struct bench, request), "FILE",
	  "send what is in FILE, as one message" },
	{ 0, "answer", opt_text, offsetof(struct bench, answer), "FILE",
	  "expect what is in FILE for an answer, byte for byte\n"
	  "(default: what was sent)" },
	{ 0, "answer-size", opt_size, offsetof(struct bench, answer_size),
	  "BYTES", "expect so many bytes for an answer, whatever they are" },
	{ 0, "stream", parse_stream, offsetof(struct bench, stream), "WAY",
	  "without a pause: send, to a service that discards;\n"
	  "recv, from one that talks; both, to one that echoes" },
	{ 0, "connects", NULL, offsetof(struct bench, connects), NULL,
	  "open connections and end them, and send nothing" },
	{ 0, "reset", NULL, offsetof(struct bench, reset), NULL,
	  "end those of --connects by RST, which leaves no port\n"
	  "occupied" },
	{ 0, "threads", opt_count, offsetof(struct bench, threads), "N",
	  "of the generator (default: one for two cores, and no\n"
	  "more than connections)" },
	{ 'w', "timeout", opt_timeout, offsetof(struct bench, timeout), "TIME",
	  "give up a connection on which nothing comes for TIME\n"
	  "(default 5s); for datagrams, one not answered in TIME\n"
	  "is lost (default 1s)" },
	{ 0, "pid", opt_count, offsetof(struct bench, pid), "PID",
	  "tell the CPU time that this process, the server,\n"
	  "takes for a message" },
	{ 0, "json", NULL, offsetof(struct bench, json), NULL,
	  "one JSON object" },
	{ 0, "hdr", opt_text, offsetof(struct bench, hdr), "FILE",
	  "write the percentiles to FILE, as HdrHistogram does" },
	{ 0, "compare", opt_text, offsetof(struct bench, compare), "FILE",
	  "and compare with FILE, the --json of an earlier run" },
	OPT_NET(struct bench, net),
	{ 0 },
};
/* clang-format on */

const struct usage bench_usage = {
	"bench",
	"ADDR",
	"latency and throughput of a service",
	"Sends a message on each connection, waits for its answer, checks "
	"every\n"
	"byte of it, and sends the next; then tells how many, how fast, and "
	"for\n"
	"how much CPU time. A message is answered by itself, as an echo does,\n"
	"unless an option says what the answer is.\n"
	"Exits with 0 if all went well; 1 if ADDR cannot be reached, an "
	"answer\n"
	"was wrong or a connection broke. Ctrl-C ends it early, with the "
	"report.\n\n" ADDR_ABOUT,
	options,
	"cleat bench 35555\n"
	"cleat bench -c 50 -t 10s --json 127.0.0.1:35555\n"
	"cleat bench -c 100 --rate 20000 --hdr latency.hgrm db:5432\n"
	"cleat bench -c 8 --request ask.txt --answer-size 238 localhost:8080\n"
	"cleat bench --stream send -c 4 discard.example:9\n"
	"cleat bench --connects --reset -n 100000 [::1]:8080",
};

/* What contradicts what; or NULL. */
static const char *contradiction(const struct bench *o, bool is_dgram)
{
	const bool has_content = o->request || o->answer || o->answer_size > 0;

	if (o->answer && o->answer_size > 0)
		return "--answer and --answer-size: write one of them";
	if (o->request && o->size > 0)
		return "--request and --size: write one of them";
	if (o->json && o->compare)
		return "--json and --compare: write one of them";
	if (o->rate > 0 && (o->stream || o->depth > 0))
		return "--rate: not with --stream or --depth, which have no "
		       "pause";
	if (o->connects && (o->stream || o->depth > 0 || has_content ||
			    o->size > 0 || is_dgram))
		return "--connects: sends nothing, and is for streams";
	if (o->reset && !o->connects)
		return "--reset: is for --connects";
	if (o->stream && o->depth > 0)
		return "--stream and --depth: write one of them";
	if (o->depth > DEPTH_MAX)
		return "--depth: 65536 at most";
	if (o->stream && o->hdr)
		return "--stream and --hdr: a stream has no latencies";
	if (o->stream && is_dgram && o->stream != CLEAT_WRITE)
		return "--stream: datagrams can only be sent";
	if (o->stream == CLEAT_WRITE && (o->answer || o->answer_size > 0))
		return "--stream send: has no answer";
	if (o->stream == CLEAT_READ && o->request)
		return "--stream recv: has no request";
	if (is_dgram && o->size > DGRAM_MAX)
		return "--size: a datagram has 65507 bytes at most";
	return NULL;
}

static unsigned choose_threads(const struct bench *o)
{
	cpu_set_t set;
	unsigned n = 1;

	if (sched_getaffinity(0, sizeof(set), &set) == 0)
		n = (unsigned)CPU_COUNT(&set) / 2;
	if (n > o->connections)
		n = o->connections;
	return n > 0 ? n : 1;
}

static void set_defaults(struct bench *o, bool is_dgram)
{
	if (o->threads == 0)
		o->threads = choose_threads(o);
	if (o->threads > o->connections)
		o->threads = o->connections;
	if (o->size == 0)
		o->size = !o->stream ? MESSAGE
			  : is_dgram ? 1024
				     : STREAM_MESSAGE;
	if (o->time == 0 && o->count == 0)
		o->time = TIME;
	if (o->timeout == 0)
		o->timeout = is_dgram ? DGRAM_TIMEOUT : TIMEOUT;
	if (o->depth == 0)
		o->depth = 1;
}

static int load(struct pattern *p, const char *path, const char *option)
{
	const int err = pattern_file(p, path);

	if (err == -ENODATA)
		complain("bench", "%s %s: is empty", option, path);
	else if (err < 0)
		complain("bench", "%s %s: %s", option, path,
			 cleat_strerror(err));
	return err;
}

/* What is sent and what is expected.  Returns 0 or a negative code. */
static int load_patterns(struct plan *plan)
{
	const struct bench *o = plan->o;
	int err;

	if (o->request) {
		err = load(&plan->request, o->request, "--request");
	} else {
		err = pattern_random(&plan->request, o->size);
		if (err < 0)
			complain("bench", "%s", cleat_strerror(err));
	}
	plan->is_echo = !o->answer && o->answer_size == 0 &&
			(!o->stream || o->stream == CLEAT_BOTH);
	plan->is_paired =
		!o->stream || (o->stream == CLEAT_BOTH && plan->is_echo);
	if (err == 0 && o->answer)
		return load(&plan->answer, o->answer, "--answer");
	if (plan->is_echo && !o->request)
		pattern_number(&plan->request);
	if (plan->is_echo)
		plan->answer = plan->request;
	else
		plan->answer.message =
			o->answer_size > 0 ? o->answer_size : o->size;
	return err;
}

static void free_patterns(struct plan *plan)
{
	if (plan->is_echo)
		plan->answer.data = NULL;
	pattern_done(&plan->request);
	pattern_done(&plan->answer);
}

/* Of a stream bytes are enough, though they fill no message. */
static bool has_come(const struct plan *plan, const struct result *r)
{
	return r->messages > 0 || (plan->o->stream && r->received > 0);
}

static void warn_of_limit(const struct plan *plan, const struct result *r)
{
	const double there = fmax(0, bench_share(r, r->server_cpu_s));
	char pid[32];

	switch (bench_limit(r)) {
	case LIMIT_NONE:
		break;
	case LIMIT_THREAD:
		complain("bench",
			 "a thread of this generator was busy %.0f%% of the "
			 "time: it was the limit, rather than the service; try "
			 "more --threads, or another machine",
			 100 * r->busiest);
		break;
	case LIMIT_BOTH:
		complain("bench",
			 "a thread of this generator was busy %.0f%% of the "
			 "time, and pid %u %.0f%%: either may have been the "
			 "limit",
			 100 * r->busiest, plan->o->pid, 100 * there);
		break;
	case LIMIT_CORES:
		(void)snprintf(pid, sizeof(pid), " and pid %u", plan->o->pid);
		complain("bench",
			 "this generator%s took %.2f of %u core%s: there was "
			 "no more to be had; try another machine",
			 there > 0 ? pid : "", bench_share(r, r->cpu_s) + there,
			 r->cores, r->cores == 1 ? "" : "s");
		break;
	}
}

/* What makes the figures another's than the service's. */
static void warn(const struct plan *plan, const struct result *r)
{
	if (r->errors > 0)
		complain("bench", "%llu error%s%s: %s",
			 (unsigned long long)r->errors,
			 r->errors == 1 ? "" : "s",
			 r->errors == 1 ? "" : "; the first", r->why);
	else if (!has_come(plan, r))
		complain("bench",
			 plan->o->stream ? "nothing came" : "no answer came");
	if (r->unsent > 0)
		complain("bench",
			 "%llu messages were due and not sent: --rate %u was "
			 "too high",
			 (unsigned long long)r->unsent, plan->o->rate);
	warn_of_limit(plan, r);
	if (plan->o->pid > 0 && r->server_cpu_s < 0)
		complain("bench", "--pid %u: has ended", plan->o->pid);
}

/* What the report goes to and is compared with. */
struct files {
	FILE *hdr; /* or NULL */
	json_t *then; /* or NULL */
};

/* Returns a status: what is wrong with them is better told before the run. */
static int open_files(struct files *f, const struct plan *plan)
{
	const struct bench *o = plan->o;

	if (plan->is_dgram && plan->request.message > DGRAM_MAX) {
		complain("bench",
			 "--request %s: a datagram has %d bytes at most",
			 o->request, DGRAM_MAX);
		return STATUS_MISUSED;
	}
	if (o->pid > 0 && bench_server_time(o) < 0) {
		complain("bench", "--pid %u: no such process", o->pid);
		return STATUS_FAILED;
	}
	if (o->compare && !(f->then = bench_compare_load(o->compare)))
		return STATUS_FAILED;
	if (o->hdr && !(f->hdr = bench_hdr_open(o->hdr)))
		return STATUS_FAILED;
	return STATUS_DONE;
}

static void close_files(struct files *f)
{
	json_decref(f->then);
	if (f->hdr)
		(void)fclose(f->hdr); /* flushed */
}

/* Returns a status. */
static int tell(const struct plan *plan, const struct result *r,
		const struct files *f)
{
	const struct bench *o = plan->o;
	int status = STATUS_DONE;

	if (o->connects && r->messages == 0 && r->errors > 0) {
		complain("bench", "%s", r->why);
		return STATUS_FAILED;
	}
	if (o->json)
		bench_json_print(bench_json(plan, r));
	else
		bench_report(plan, r);
	if (f->then)
		bench_compare(f->then, bench_json(plan, r));
	if (out_flush("bench") != STATUS_DONE)
		status = STATUS_FAILED;
	warn(plan, r);
	if (f->hdr && bench_hdr(&r->latency, f->hdr, o->hdr) < 0)
		status = STATUS_FAILED;
	if (r->errors > 0 || !has_come(plan, r))
		status = STATUS_FAILED;
	return status;
}

/* Returns a status. */
static int bench(struct plan *plan)
{
	struct result r = { .signal = 0 };
	struct files files = { NULL, NULL };
	int status = STATUS_FAILED;

	if (load_patterns(plan) == 0)
		status = open_files(&files, plan);
	if (status == STATUS_DONE)
		status = bench_run(plan, &r) == 0 ? tell(plan, &r, &files)
						  : STATUS_FAILED;
	if (r.signal > 0)
		status = STATUS_SIGNAL + r.signal;
	close_files(&files);
	histogram_done(&r.latency);
	free_patterns(plan);
	return status;
}

int cmd_bench(int argc, char **argv)
{
	struct bench o = { .connections = 1 };
	struct words words;
	struct addr addr;
	struct plan plan = { .o = &o, .addr = &addr };
	const char *why;
	int status = opt_parse(&bench_usage, &o, argc, argv, &words);

	if (status != OPT_GO_ON)
		return status;
	if (addr_one(&addr, &words, &o.net, "bench") < 0)
		return STATUS_MISUSED;
	plan.is_dgram = addr_is_datagram(&addr);
	why = contradiction(&o, plan.is_dgram);
	if (why) {
		complain("bench", "%s", why);
		return STATUS_MISUSED;
	}
	set_defaults(&o, plan.is_dgram);
	return bench(&plan);
}
