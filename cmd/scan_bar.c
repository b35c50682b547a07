/* SPDX-License-Identifier: MIT */
/* How far cleat scan is: one line on a terminal. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "scan.h"

#define CLEAR "\r\033[K"

enum {
	BAR_LEAST = 10, /* columns of the bar itself, or there is none */
	BAR_MOST = 30,
};

bool bar_is_possible(void)
{
	return isatty(STDERR_FILENO) && tcgetpgrp(STDERR_FILENO) == getpgrp();
}

static size_t columns(void)
{
	struct winsize size = { 0 };

	(void)ioctl(STDERR_FILENO, TIOCGWINSZ, &size); /* or zero */
	return size.ws_col > 0 ? size.ws_col : 80;
}

/* "0:07", "1:02:03", "12 d 3 h" */
static void format_time(char *to, size_t len, double seconds)
{
	const uint64_t s = seconds < 1e9 ? (uint64_t)seconds : 1000000000;

	if (s < 3600)
		(void)snprintf(to, len, "%ju:%02ju", s / 60, s % 60);
	else if (s < 86400)
		(void)snprintf(to, len, "%ju:%02ju:%02ju", s / 3600,
			       s / 60 % 60, s % 60);
	else
		(void)snprintf(to, len, "%ju d %ju h", s / 86400,
			       s / 3600 % 24);
}

/* Seconds: what a rate is measured over, and how long is too short for one. */
#define LATELY 4
#define LEAST 0.05

static void measure(struct bar *b, uint64_t done, int64_t ns)
{
	const double seconds = (double)(ns - b->last_ns) / (double)CLEAT_SEC;
	double now, share = seconds / LATELY;

	if (seconds < LEAST)
		return;
	now = (double)(done - b->last_done) / seconds;
	if (ns < LATELY * CLEAT_SEC)
		share = seconds / ((double)ns / (double)CLEAT_SEC);
	b->rate += (now - b->rate) * share;
	b->last_done = done;
	b->last_ns = ns;
}

static void format(struct bar *b, const struct cleat_scan_progress *p)
{
	const uint64_t done = outcome_done(&p->done);
	const double part = p->total > 0 ? (double)done / (double)p->total : 1;
	char text[160], left[32] = "-:--";
	const size_t width = columns() - 1; /* it shall not wrap */
	size_t len, room, full;
	int n;

	if (b->rate > 0)
		format_time(left, sizeof(left),
			    (double)(p->total - done) / b->rate);
	n = snprintf(text, sizeof(text),
		     "%3.0f%%  %ju/%ju  %.0f/s  %s left  %u in flight",
		     100 * part, (uintmax_t)done, (uintmax_t)p->total, b->rate,
		     left, p->in_flight);
	len = (size_t)n;
	room = width > len + 3 ? width - len - 3 : 0;
	if (room > BAR_MOST)
		room = BAR_MOST;
	if (room < BAR_LEAST) {
		(void)snprintf(b->text, sizeof(b->text), "%.*s", (int)width,
			       text);
		return;
	}
	full = (size_t)(part * (double)room);
	memset(b->text, '#', full);
	memset(b->text + full, '-', room - full);
	(void)snprintf(b->text + room, sizeof(b->text) - room, " %s", text);
}

static void write_line(const char *before, const char *text)
{
	char line[sizeof(((struct bar *)NULL)->text) + sizeof(CLEAR)];
	const int n = snprintf(line, sizeof(line), "%s%s", before, text);

	out_line(STDERR_FILENO, line, (size_t)n);
}

void bar_redraw(struct bar *b)
{
	if (!b->is_wanted || !b->text[0])
		return;
	write_line(CLEAR, b->text);
	b->is_shown = true;
}

void bar_wipe(struct bar *b)
{
	if (b->is_shown)
		write_line(CLEAR, "");
	b->is_shown = false;
}

void bar_update(struct bar *b, const struct cleat_scan_progress *whole,
		int64_t elapsed_ns)
{
	if (!b->is_wanted)
		return;
	measure(b, outcome_done(&whole->done), elapsed_ns);
	format(b, whole);
	bar_redraw(b);
}
