/* SPDX-License-Identifier: MIT */
/* What cleat bench tells: text for people, JSON for programs. */
#include <math.h>
#include <stdio.h>

#include "answer.h"
#include "bench.h"
#include "out.h"

#define FULL 0.95 /* of a core: interrupts take the rest */
#define SHORT 0.05 /* s: of less no share says anything */

const struct figure_name figure_names[FIGURES] = {
	[FIGURE_MESSAGES] = { NULL, "messages_per_s" },
	[FIGURE_BYTES] = { NULL, "bytes_per_s" },
	[FIGURE_P50] = { "latency_us", "p50" },
	[FIGURE_P90] = { "latency_us", "p90" },
	[FIGURE_P99] = { "latency_us", "p99" },
	[FIGURE_P99_9] = { "latency_us", "p99.9" },
	[FIGURE_MAX] = { "latency_us", "max" },
	[FIGURE_CPU] = { NULL, "cpu_us_per_message" },
	[FIGURE_SERVER_CPU] = { NULL, "server_cpu_us_per_message" },
};

static double per(double value, double of)
{
	return of > 0 && value >= 0 ? value / of : (double)NAN;
}

static double latency(const struct result *r, double share)
{
	return r->latency.n > 0 ? (double)histogram_at(&r->latency, share) / 1e3
				: (double)NAN;
}

/* Bytes one way: what came or, where nothing is to come, what went. */
static uint64_t bytes(const struct plan *plan, const struct result *r)
{
	return plan->o->stream == CLEAT_WRITE ? r->sent : r->received;
}

void bench_figures(double v[FIGURES], const struct plan *plan,
		   const struct result *r)
{
	const double n = (double)r->messages;

	v[FIGURE_MESSAGES] = per(n, r->seconds);
	v[FIGURE_BYTES] = per((double)bytes(plan, r), r->seconds);
	v[FIGURE_P50] = latency(r, 0.5);
	v[FIGURE_P90] = latency(r, 0.9);
	v[FIGURE_P99] = latency(r, 0.99);
	v[FIGURE_P99_9] = latency(r, 0.999);
	v[FIGURE_MAX] = latency(r, 1);
	v[FIGURE_CPU] = per(r->cpu_s * 1e6, n);
	v[FIGURE_SERVER_CPU] = per(r->server_cpu_s * 1e6, n);
}

double bench_share(const struct result *r, double seconds)
{
	return per(seconds, r->seconds);
}

enum limit bench_limit(const struct result *r)
{
	const double here = bench_share(r, r->cpu_s);
	const double there = fmax(0, bench_share(r, r->server_cpu_s));

	if (r->seconds < SHORT)
		return LIMIT_NONE;
	if (r->cores > 0 && here + there >= FULL * r->cores)
		return LIMIT_CORES;
	if (r->busiest < FULL)
		return LIMIT_NONE;
	return there >= FULL ? LIMIT_BOTH : LIMIT_THREAD;
}

static const char *mode(const struct bench *o)
{
	static const char *const streams[] = {
		[CLEAT_READ] = "stream recv",
		[CLEAT_WRITE] = "stream send",
		[CLEAT_BOTH] = "stream both",
	};

	if (o->connects)
		return o->reset ? "connects, reset" : "connects";
	if (o->stream)
		return streams[o->stream];
	if (o->rate > 0)
		return "rate";
	return o->depth > 1 ? "pipelined" : "ping-pong";
}

/* Bytes of what is counted as a message. */
static size_t size(const struct plan *plan)
{
	if (plan->o->connects)
		return 0;
	return plan->o->stream == CLEAT_READ ? plan->answer.message
					     : plan->request.message;
}

/* JSON. */

static json_t *number(double value)
{
	return isnan(value) ? json_null() : json_real(value);
}

static json_t *settings(const struct plan *plan, const struct result *r)
{
	const struct bench *o = plan->o;
	char target[CLEAT_ADDR_MAX];

	(void)out_escape(target, sizeof(target), plan->addr->text);
	return json_pack(
		"{s:s,s:s,s:s,s:I,s:I,s:I,s:I,s:I}", "target", target, "proto",
		answer_proto(plan->addr->parsed.proto), "mode", mode(o),
		"connections", (json_int_t)o->connections, "size",
		(json_int_t)size(plan), "depth", (json_int_t)o->depth, "rate",
		(json_int_t)o->rate, "threads", (json_int_t)r->threads);
}

json_t *bench_json(const struct plan *plan, const struct result *r)
{
	json_t *o = settings(plan, r), *parts = json_object();
	double v[FIGURES];

	(void)json_object_update_new(
		o, json_pack("{s:f,s:I,s:I,s:I,s:I,s:I}", "seconds", r->seconds,
			     "messages", (json_int_t)r->messages, "errors",
			     (json_int_t)r->errors, "lost", (json_int_t)r->lost,
			     "late", (json_int_t)r->late, "unsent",
			     (json_int_t)r->unsent));
	bench_figures(v, plan, r);
	for (unsigned i = 0; i < FIGURES; i++) {
		const struct figure_name *f = &figure_names[i];

		if (f->of)
			(void)json_object_set(o, f->of, parts);
		(void)json_object_set_new(f->of ? parts : o, f->name,
					  number(v[i]));
	}
	json_decref(parts);
	(void)json_object_set_new(o, "cpu_share", json_real(r->busiest));
	(void)json_object_set_new(o, "generator_limited",
				  json_boolean(bench_limit(r)));
	return o;
}

void bench_json_print(json_t *o)
{
	(void)json_dumpf(o, stdout, /* out_flush() tells */
			 JSON_COMPACT | JSON_REAL_PRECISION(9));
	(void)putchar('\n');
	json_decref(o);
}

/* Text. */

void bench_put(char to[BENCH_NUMBER_MAX], double value,
	       const char *const units[], double step)
{
	unsigned i = 0;

	while (value >= step * 0.9995 && units[i + 1]) {
		value /= step;
		i++;
	}
	(void)snprintf(to, BENCH_NUMBER_MAX, "%.*f %s",
		       value < 9.995   ? 2
		       : value < 99.95 ? 1
				       : 0,
		       value, units[i]);
}

void bench_put_time(char to[BENCH_NUMBER_MAX], double us)
{
	static const char *const units[] = { "us", "ms", "s", NULL };

	bench_put(to, us, units, 1000);
}

static void print_head(const struct plan *plan, const struct result *r)
{
	const struct bench *o = plan->o;
	char name[CLEAT_ADDR_MAX];

	(void)out_escape(name, sizeof(name), plan->addr->text);
	(void)printf("%s -- %s", name, mode(o));
	if (o->depth > 1)
		(void)printf(" %u", o->depth);
	if (o->rate > 0)
		(void)printf(" %u/s", o->rate);
	(void)printf(", %u connection%s", o->connections,
		     o->connections == 1 ? "" : "s");
	if (!o->connects)
		(void)printf(", %zu byte%s", size(plan),
			     size(plan) == 1 ? "" : "s");
	(void)printf(", %u thread%s, %.2f s\n", r->threads,
		     r->threads == 1 ? "" : "s", r->seconds);
}

static void print_lost(const struct result *r)
{
	const double share =
		per((double)r->lost, (double)(r->lost + r->messages));

	(void)printf(", %llu lost", (unsigned long long)r->lost);
	if (!isnan(share))
		(void)printf(" (%.2f%%)", 100 * share);
	if (r->late > 0)
		(void)printf(", %llu late or doubled",
			     (unsigned long long)r->late);
}

static void print_rates(const struct plan *plan, const struct result *r,
			const double v[FIGURES])
{
	static const char *const units[] = { "B/s", "kB/s", "MB/s", "GB/s",
					     NULL };
	char text[BENCH_NUMBER_MAX];

	(void)printf("  %-11s %llu",
		     plan->o->connects ? "connections" : "messages",
		     (unsigned long long)r->messages);
	if (!isnan(v[FIGURE_MESSAGES]))
		(void)printf(", %.0f/s", v[FIGURE_MESSAGES]);
	if (!plan->o->connects && !isnan(v[FIGURE_BYTES])) {
		bench_put(text, v[FIGURE_BYTES], units, 1000);
		(void)printf(", %s", text);
	}
	if (plan->is_dgram && !plan->o->stream)
		print_lost(r);
	(void)putchar('\n');
}

static void print_latency(const double v[FIGURES])
{
	char text[BENCH_NUMBER_MAX];

	if (isnan(v[FIGURE_MAX]))
		return;
	(void)printf("  %-11s", "latency");
	for (unsigned i = FIGURE_P50; i <= FIGURE_MAX; i++) {
		bench_put_time(text, v[i]);
		(void)printf("%s %s %s", i > FIGURE_P50 ? "," : "",
			     figure_names[i].name, text);
	}
	(void)putchar('\n');
}

static void print_cpu(const struct plan *plan, const struct result *r,
		      const double v[FIGURES])
{
	char text[BENCH_NUMBER_MAX];

	if (isnan(v[FIGURE_CPU]))
		return;
	bench_put_time(text, v[FIGURE_CPU]);
	(void)printf("  %-11s %s each here, %.0f%% of a core", "CPU", text,
		     100 * bench_share(r, r->cpu_s));
	if (!isnan(v[FIGURE_SERVER_CPU])) {
		bench_put_time(text, v[FIGURE_SERVER_CPU]);
		(void)printf("; %s each of pid %u, %.0f%%", text, plan->o->pid,
			     100 * bench_share(r, r->server_cpu_s));
	}
	(void)putchar('\n');
}

void bench_report(const struct plan *plan, const struct result *r)
{
	double v[FIGURES];

	bench_figures(v, plan, r);
	print_head(plan, r);
	print_rates(plan, r, v);
	print_latency(v);
	print_cpu(plan, r, v);
	if (r->latency.n > 0)
		bench_plot(&r->latency);
}
