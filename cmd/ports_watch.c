/* SPDX-License-Identifier: MIT */
/* cleat ports --watch: the list again and again, with what changed.
 *
 * On a terminal a screen of its own, and the old one again in the end.  Else
 * the list once, and then a line for each change. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include <cleat/time.h>

#include "ports.h"
#include "process.h"

/* The other screen, without a cursor; and back. */
#define ENTER "\033[?1049h\033[?25l"
#define LEAVE "\033[?25h\033[?1049l"
#define HOME "\033[H"
#define CLEAR_LINE "\033[K"
#define CLEAR_REST "\033[J"

/* They end, interrupt or hasten the wait. */
static const int awaited[] = { SIGINT, SIGQUIT, SIGTERM,
			       SIGHUP, SIGTSTP, SIGWINCH };

/* Stop as Ctrl-Z asks for, with the terminal as it was. */
static void pause_here(bool is_terminal)
{
	if (is_terminal)
		(void)fputs(LEAVE, stdout);
	(void)fflush(stdout); /* the next flush tells */
	(void)raise(SIGSTOP);
	if (is_terminal)
		(void)fputs(ENTER, stdout);
}

/* Until it is time to look again.  Returns 1; 0 to end; or -EPIPE where nobody
 * reads any more, for there may be nothing to write for long. */
static int wait_for(int signals, int64_t ns, bool is_terminal)
{
	struct pollfd p[] = { { signals, POLLIN, 0 }, { STDOUT_FILENO, 0, 0 } };
	const struct timespec t = { ns / CLEAT_SEC, ns % CLEAT_SEC };
	struct signalfd_siginfo info = { 0 };

	(void)ppoll(p, 2, &t, NULL); /* if it is early, it is early */
	if (p[1].revents & (POLLERR | POLLHUP))
		return -EPIPE;
	if (read(signals, &info, sizeof(info)) < 0)
		return 1; /* none: the time is up */
	if (info.ssi_signo == SIGTSTP)
		pause_here(is_terminal);
	return info.ssi_signo == SIGTSTP || info.ssi_signo == SIGWINCH;
}

static size_t count(const struct view *w, char mark)
{
	size_t n = 0;

	for (size_t i = 0; i < w->n; i++)
		n += w->v[i].mark == mark;
	return n;
}

static int redraw(const struct ports *o, const struct view *both)
{
	struct screen screen = screen_of_stdout();
	const size_t gone = count(both, '-');
	const time_t now = time(NULL);
	char text[128], clock[16] = "";
	struct tm tm;
	int err;

	screen.line = CLEAR_LINE;
	if (localtime_r(&now, &tm))
		(void)strftime(clock, sizeof(clock), "%H:%M:%S", &tm);
	(void)snprintf(text, sizeof(text),
		       "%s  %zu listed, +%zu -%zu; Ctrl-C ends", clock,
		       both->n - gone, count(both, '+'), gone);
	(void)printf(HOME CLEAR_LINE "%.*s\n", (int)screen.width, text);
	/* One line is the first, and the last stays empty: no scrolling. */
	err = draw(o, both, &screen, screen.height > 2 ? screen.height - 2 : 1);
	(void)fputs(CLEAR_REST, stdout); /* out_flush() tells */
	return err;
}

/* The rows of BOTH that are marked. */
static void keep_changes(struct view *both)
{
	size_t n = 0;

	for (size_t i = 0; i < both->n; i++) {
		if (both->v[i].mark != ' ')
			both->v[n++] = both->v[i];
	}
	both->n = n;
}

/* Show NOW, and how it differs from OLD. */
static int show(const struct ports *o, const struct view *old,
		const struct view *now, const struct screen *screen)
{
	const bool is_first = !old->sockets;
	struct view both = { .n = 0 };
	int err = view_compare(&both, o, is_first ? now : old, now);

	if (err == 0 && screen->is_terminal) {
		err = redraw(o, &both);
	} else if (err == 0) {
		if (!is_first)
			keep_changes(&both);
		if (both.n > 0)
			err = draw(o, &both, screen, screen->height);
	}
	view_free(&both);
	return err;
}

int watch(const struct ports *o, struct view *first)
{
	const struct screen screen = screen_of_stdout();
	const int signals =
		signals_open(awaited, sizeof(awaited) / sizeof(awaited[0]));
	struct view now = *first, old = { .n = 0 };
	int err = 0;

	*first = (struct view){ .n = 0 };
	if (signals < 0)
		err = -errno;
	else if (screen.is_terminal)
		(void)fputs(ENTER, stdout); /* out_flush() tells */
	while (err == 0) {
		err = show(o, &old, &now, &screen);
		if (err < 0 || fflush(stdout) != 0)
			break;
		view_free(&old);
		old = now;
		now = (struct view){ .n = 0 };
		err = wait_for(signals, o->watch, screen.is_terminal);
		if (err <= 0)
			break;
		err = view_take(&now, o);
	}
	if (signals >= 0)
		(void)close(signals);
	if (screen.is_terminal)
		(void)fputs(LEAVE, stdout);
	view_free(&old);
	view_free(&now);
	return err;
}
