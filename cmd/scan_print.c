/* SPDX-License-Identifier: MIT */
/* What cleat scan prints. */
#include <errno.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "answer.h"
#include "ports.h"
#include "scan.h"
#include "table.h"

#define GREEN "\033[32m"
#define PLAIN "\033[0m"

/* Services. */

struct services {
	char *names[65536];
};

/* All of them at once: a lookup reads the whole file. */
struct services *services_new(bool is_udp)
{
	struct services *s = calloc(1, sizeof(*s));
	const struct servent *e;

	if (!s)
		return NULL;
	setservent(1);
	while ((e = getservent())) {
		const unsigned port = ntohs((uint16_t)e->s_port);

		if (!s->names[port] &&
		    strcmp(e->s_proto, is_udp ? "udp" : "tcp") == 0)
			s->names[port] = strdup(e->s_name); /* or none */
	}
	endservent();
	return s;
}

void services_free(struct services *s)
{
	for (unsigned i = 0; s && i < 65536; i++)
		free(s->names[i]);
	free(s);
}

/* Lines. */

enum {
	RTT_MAX = 32,
};

/* "0.04 ms", "12.3 ms"; "" where there was no answer. */
static size_t format_rtt(char to[RTT_MAX], int64_t ns)
{
	if (ns < 0)
		to[0] = '\0';
	else
		(void)snprintf(to, RTT_MAX, "%.*f ms", ns < CLEAT_MSEC ? 2 : 1,
			       (double)ns / (double)CLEAT_MSEC);
	return strlen(to);
}

void print_open(struct out *out, const struct scan *o, const struct finding *f)
{
	const bool colour = out_has_colour(out->f);
	char name[CLEAT_ADDR_MAX], rtt[RTT_MAX];
	char line[CLEAT_ADDR_MAX + 64];
	struct cleat_sockaddr sa;

	finding_sockaddr(&sa, f);
	(void)cleat_sockaddr_format(&sa, name, sizeof(name)); /* it fits */
	(void)format_rtt(rtt, f->rtt_ns);
	(void)snprintf(line, sizeof(line), "%s%s -- %sOPEN%s%s%s%s\n",
		       o->net.udp ? "udp://" : "", name, colour ? GREEN : "",
		       colour ? PLAIN : "", rtt[0] ? " (" : "", rtt,
		       rtt[0] ? ")" : "");
	out_text(out, line);
	out_push(out);
}

/* The table. */

static size_t put(char *to, size_t len, const char *text)
{
	const size_t n = strnlen(text, len - 1);

	memcpy(to, text, n);
	to[n] = '\0';
	return n;
}

static size_t put_text(char *to, size_t len, const char *text)
{
	return put(to, len, text && text[0] ? text : "-");
}

static size_t put_address(char *to, size_t len, const struct finding *f)
{
	char text[CLEAT_ADDR_MAX];

	finding_address(text, f);
	return put(to, len, text);
}

static size_t put_port(char *to, size_t len, const struct finding *f)
{
	return (size_t)snprintf(to, len, "%u", finding_port(f));
}

static size_t put_state(char *to, size_t len, const struct finding *f)
{
	return put(to, len, cleat_port_state_name(f->state));
}

static size_t put_rtt(char *to, size_t len, const struct finding *f)
{
	char rtt[RTT_MAX];

	(void)format_rtt(rtt, f->rtt_ns);
	return put_text(to, len, rtt);
}

static size_t put_reason(char *to, size_t len, const struct finding *f)
{
	return put_text(to, len, f->reason);
}

/* Its first line; all of it, if that is empty. */
static size_t put_banner(char *to, size_t len, const struct finding *f)
{
	size_t n = 0;

	while (n < f->banner_len && f->banner[n] != '\r' &&
	       f->banner[n] != '\n')
		n++;
	if (n == 0)
		n = f->banner_len;
	return n > 0 ? banner_text(to, f->banner, n) : put_text(to, len, NULL);
}

static size_t put_host(char *to, size_t len, const struct finding *f)
{
	return put_text(to, len, f->host);
}

enum {
	ALWAYS,
	IF_NOT_ALL_OPEN,
	IF_BANNER,
	IF_NAMED,
	CELL_MAX = SCAN_BANNER_TEXT,
};

struct column {
	const char *heading;
	size_t (*put)(char *to, size_t len, const struct finding *f);
	unsigned least; /* characters that say something */
	int when;
};

/* clang-format off */
static const struct column columns[] = {
	{ "ADDRESS", put_address, sizeof("255.255.255.255") - 1, ALWAYS },
	{ "PORT", put_port, 5, ALWAYS },
	{ "STATE", put_state, 8, ALWAYS },
	{ "SERVICE", NULL, 6, ALWAYS },
	{ "RTT", put_rtt, 7, ALWAYS },
	{ "REASON", put_reason, 6, IF_NOT_ALL_OPEN },
	{ "BANNER", put_banner, 12, IF_BANNER },
	{ "HOST", put_host, 8, IF_NAMED },
};
/* clang-format on */

#define COLUMNS (sizeof(columns) / sizeof(columns[0]))

/* The lines of a table, and which columns they have. */
struct lines {
	struct table table;
	const struct services *services;
	const struct column *shown[COLUMNS];
};

/* The cells of a line; F is NULL: of the headings. */
static void add_cells(struct lines *l, const struct finding *f)
{
	for (unsigned i = 0; i < l->table.columns; i++) {
		const struct column *c = l->shown[i];
		char *to = table_room(&l->table, CELL_MAX);
		size_t len;

		if (!to)
			return;
		if (!f)
			len = put(to, CELL_MAX, c->heading);
		else if (c->put)
			len = c->put(to, CELL_MAX, f);
		else
			len = put_text(to, CELL_MAX,
				       l->services->names[finding_port(f)]);
		table_add(&l->table, i, len);
	}
}

static void choose_columns(struct lines *l, const struct scan *o,
			   const struct findings *all)
{
	bool has[] = { true, o->closed || o->filtered, o->banner, false };

	for (size_t i = 0; i < all->n; i++)
		has[IF_NAMED] |= all->v[i]->host != NULL;
	for (size_t i = 0; i < COLUMNS; i++) {
		if (has[columns[i].when])
			l->shown[l->table.columns++] = &columns[i];
	}
}

int print_table(const struct scan *o, struct findings *all,
		const struct services *s)
{
	struct lines l = { .services = s };
	unsigned least[COLUMNS];
	const char *cells;

	findings_sort(all);
	choose_columns(&l, o, all);
	add_cells(&l, NULL);
	for (size_t i = 0; i < all->n && !l.table.is_full; i++)
		add_cells(&l, all->v[i]);
	for (unsigned i = 0; i < l.table.columns; i++)
		least[i] = l.shown[i]->least;
	table_fit(&l.table, screen_of_stdout().width, least);
	cells = l.table.cells;
	for (size_t i = 0; i <= all->n && !l.table.is_full; i++) {
		cells = table_print(&l.table, cells);
		(void)putchar('\n'); /* out_flush() tells */
	}
	table_free(&l.table);
	return l.table.is_full ? -ENOMEM : 0;
}

/* The summary. */

static double seconds_of(const struct cleat_scan_progress *p)
{
	return (double)p->elapsed_ns / (double)CLEAT_SEC;
}

/* Ports a second. */
static double rate_of(const struct cleat_scan_progress *p)
{
	const double s = seconds_of(p);

	return s > 0 ? (double)outcome_done(&p->done) / s : 0;
}

static const char *plural(uint64_t n)
{
	return n == 1 ? "" : "s";
}

/* A line below the first, broken where it is too long. */
__attribute__((format(printf, 1, 2))) static void print_note(const char *format,
							     ...)
{
	char text[1024];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args); /* or less of it */
	va_end(args);
	answer_indented("", text);
}

/* Of TCP also the silent ones are filtered. */
static uint64_t filtered_of(const struct scan *o,
			    const struct cleat_scan_count *c)
{
	return c->filtered + (o->net.udp ? 0 : c->silent);
}

static void print_counts(const struct scan *o,
			 const struct cleat_scan_progress *p)
{
	const uint64_t done = outcome_done(&p->done);
	const uint64_t filtered = filtered_of(o, &p->done);

	printf("%ju %s port%s of %ju host%s: %ju open, %ju closed",
	       (uintmax_t)done, o->net.udp ? "UDP" : "TCP", plural(done),
	       (uintmax_t)p->hosts, plural(p->hosts), (uintmax_t)p->done.open,
	       (uintmax_t)p->done.closed);
	if (filtered > 0 || !o->net.udp)
		printf(", %ju filtered", (uintmax_t)filtered);
	if (o->net.udp)
		printf(", %ju open|filtered", (uintmax_t)p->done.silent);
	(void)putchar('\n'); /* out_end() tells */
	if (o->share.n > 1)
		print_note("share %u of %u", o->share.i, o->share.n);
	print_note("%.*f s, %.0f ports a second, %ju attempt%s",
		   seconds_of(p) < 10 ? 2 : 0, seconds_of(p), rate_of(p),
		   (uintmax_t)p->sent, plural(p->sent));
}

static void print_unanswered(const struct scan *o, uint64_t n)
{
	const unsigned attempts = o->attempts > 0 ? o->attempts : 3;

	if (n > 0)
		print_note("%ju port%s did not answer %u attempt%s%s",
			   (uintmax_t)n, plural(n), attempts, plural(attempts),
			   o->attempts > 0 ? "" : " or more");
}

/* That they were asked is not said: there may be no way to them. */
static void print_unheard(const struct outcome *all)
{
	const uint64_t hosts = all->sums.hosts;
	const uint64_t heard = all->sums.hosts_answered; /* or not known */

	if (!all->is_finished || heard >= hosts)
		return;
	if (hosts == 1)
		print_note("the host gave no answer");
	else
		print_note("%ju of %ju hosts gave no answer",
			   (uintmax_t)(hosts - heard), (uintmax_t)hosts);
}

static void print_silenced(const struct outcome *all)
{
	const size_t n = json_array_size(all->silenced);
	uint64_t others = all->sums.hosts_silenced;
	char names[SCAN_NAMED_MAX * CLEAT_ADDR_MAX] = "";
	size_t len = 0;

	for (size_t i = 0; i < n && i < SCAN_NAMED_MAX; i++, others--) {
		const json_t *o = json_array_get(all->silenced, i);

		len += (size_t)snprintf(
			names + len, sizeof(names) - len, "%s%s",
			i > 0 ? ", " : "",
			json_string_value(json_object_get(o, "address")));
	}
	if (len > 0 && others > 0)
		print_note("answered, then no more, and may block this scan: "
			   "%s and %ju more",
			   names, (uintmax_t)others);
	else if (len > 0)
		print_note(
			"answered, then no more, and may block this scan: %s",
			names);
}

void print_summary(const struct scan *o, const struct what *w,
		   const struct outcome *all)
{
	const struct cleat_scan_progress *p = &all->sums;
	const uint64_t left = p->total - outcome_done(&p->done);
	const char *more = o->resume ? "; the same command goes on" : "";

	print_counts(o, p);
	if (w->basis)
		print_note("top %u ports: %s", o->top, w->basis);
	print_unanswered(o, p->done.silent);
	print_unheard(all);
	print_silenced(all);
	if (p->shortages > 0)
		print_note("waited %ju time%s for descriptors, ports or "
			   "buffers of this machine",
			   (uintmax_t)p->shortages, plural(p->shortages));
	if (all->is_finished)
		return;
	if (left > 0)
		print_note("stopped with %ju port%s to go%s", (uintmax_t)left,
			   plural(left), more);
	else if (p->mark < p->total)
		print_note("stopped while banners were awaited%s", more);
}

/* JSON. */

static void print_object(struct out *out, json_t *o)
{
	char *line = json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(9));

	if (line) {
		out_text(out, line);
		out_text(out, "\n");
	} else if (out->error == 0) {
		out->error = -ENOMEM;
	}
	free(line);
	json_decref(o);
}

void print_json(struct out *out, const struct scan *o, const struct finding *f,
		const struct services *s)
{
	char address[CLEAT_ADDR_MAX], banner[SCAN_BANNER_TEXT];

	finding_address(address, f);
	if (f->banner)
		(void)banner_text(banner, f->banner, f->banner_len);
	print_object(
		out,
		json_pack("{s:s,s:s,s:i,s:s,s:s,s:s,s:s?,s:o,s:s?}", "host",
			  f->host ? f->host : address, "address", address,
			  "port", (int)finding_port(f), "proto",
			  o->net.udp ? "udp" : "tcp", "state",
			  cleat_port_state_name(f->state), "reason", f->reason,
			  "service", s->names[finding_port(f)], "rtt_us",
			  f->rtt_ns < 0 ? json_null()
					: json_integer(f->rtt_ns / CLEAT_USEC),
			  "banner", f->banner ? banner : NULL));
	if (f->state == CLEAT_PORT_OPEN)
		out_push(out);
}

void print_json_summary(struct out *out, const struct scan *o,
			const struct what *w, const struct outcome *all)
{
	const struct cleat_scan_progress *p = &all->sums;

	print_object(
		out,
		json_pack("{s:{s:I,s:I,s:I,s:I,s:I,s:I,s:f,s:f,s:I,s:I,s:o,"
			  "s:I,s:O?,s:s?,s:b}}",
			  "summary", "hosts", (json_int_t)p->hosts, "ports",
			  (json_int_t)p->total, "open",
			  (json_int_t)p->done.open, "closed",
			  (json_int_t)p->done.closed, "filtered",
			  (json_int_t)filtered_of(o, &p->done), "open|filtered",
			  (json_int_t)(o->net.udp ? p->done.silent : 0),
			  "seconds", seconds_of(p), "ports_per_s", rate_of(p),
			  "attempts", (json_int_t)p->sent, "unanswered",
			  (json_int_t)p->done.silent, "hosts_answered",
			  p->hosts_answered == UINT64_MAX
				  ? json_null()
				  : json_integer((json_int_t)p->hosts_answered),
			  "shortages", (json_int_t)p->shortages, "silenced",
			  all->silenced, "basis", w->basis, "finished",
			  all->is_finished));
	out_push(out);
}
