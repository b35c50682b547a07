/* SPDX-License-Identifier: MIT */
/* The lines of cleat ports. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "out.h"
#include "ports.h"
#include "sockets.h"
#include "table.h"

/* Cells. */

static size_t put(char *to, size_t len, const char *text)
{
	const size_t n = strnlen(text, len - 1);

	memcpy(to, text, n);
	to[n] = '\0';
	return n;
}

static size_t put_proto(char *to, size_t len, const struct row *r)
{
	return put(to, len, socket_proto(r->s));
}

static size_t put_state(char *to, size_t len, const struct row *r)
{
	return put(to, len, cleat_state_name(r->s->state));
}

static size_t put_local(char *to, size_t len, const struct row *r)
{
	const size_t n = socket_local(to, len, r->s);

	return r->s->reuseport_group > 0 ? n + put(to + n, len - n, " shared")
					 : n;
}

static size_t put_peer(char *to, size_t len, const struct row *r)
{
	const size_t n = socket_peer(to, len, r->s);

	return n > 0 ? n : put(to, len, "-");
}

static size_t put_queue(char *to, size_t len, const struct row *r)
{
	const struct cleat_socket *s = r->s;

	if (s->queue_max == 0 && s->queue_used == 0)
		return put(to, len, "-");
	return socket_queue(to, len, s);
}

static size_t put_user(char *to, size_t len, const struct row *r)
{
	/* Where no descriptor is left the kernel does not tell. */
	return put(to, len, r->s->inode > 0 ? socket_user(r->s->uid) : "-");
}

static size_t put_owners(char *to, size_t len, const struct row *r)
{
	return r->owner ? socket_owner(to, len, r->s, r->owner)
			: put(to, len, "-");
}

/* By process: those of one. */
static size_t put_fds(char *to, size_t len, const struct row *r)
{
	const struct cleat_owner *o = r->owner;
	const struct cleat_owner *end = r->s->owners + r->s->n_owners;
	size_t n;

	if (!o)
		return put(to, len, "-");
	n = (size_t)snprintf(to, len, "fd %d", o->fd);
	for (o++; o < end && o->pid == r->owner->pid && n + 32 < len; o++)
		n += (size_t)snprintf(to + n, len - n, ", %d", o->fd);
	return n;
}

struct column {
	const char *heading;
	size_t (*put)(char *to, size_t len, const struct row *r);
	unsigned least; /* characters that say something */
	bool is_of_all; /* not shown where all are listening */
};

/* clang-format off */
static const struct column columns[] = {
	{ "PROTO", put_proto, 3, false },
	{ "STATE", put_state, 6, true },
	{ "ADDRESS", put_local, sizeof("255.255.255.255:65535") - 1, false },
	{ "PEER", put_peer, sizeof("255.255.255.255:65535") - 1, true },
	{ "QUEUE", put_queue, 3, false },
	{ "USER", put_user, 4, false },
	{ "PROCESS", put_owners, 6, false },
};
/* clang-format on */

#define COLUMNS (sizeof(columns) / sizeof(columns[0]))

static bool is_shown(const struct column *c, const struct ports *o)
{
	return !c->is_of_all || o->all || o->states > 0;
}

/* Printing. */

#define RED "\033[31m"
#define GREEN "\033[32m"
#define YELLOW "\033[33m"
#define PLAIN "\033[0m"

struct screen screen_of_stdout(void)
{
	struct screen s = { SIZE_MAX, SIZE_MAX, isatty(STDOUT_FILENO),
			    out_has_colour(stdout), "" };
	struct winsize size = { 0 };

	if (s.is_terminal) {
		(void)ioctl(STDOUT_FILENO, TIOCGWINSZ, &size); /* or zero */
		s.width = size.ws_col > 0 ? size.ws_col : 80;
		s.height = size.ws_row > 0 ? size.ws_row : 24;
	}
	return s;
}

static const char *colour_of(const struct row *r)
{
	const struct cleat_socket *s = r->s;

	if (r->mark != ' ')
		return r->mark == '+' ? GREEN : RED;
	if (s->state == CLEAT_STATE_LISTEN && s->queue_used > s->queue_max)
		return YELLOW;
	return NULL;
}

/* The cells of a row; NULL: of the headings. */
static void add_cells(struct table *t, const struct ports *o,
		      const struct row *r)
{
	unsigned n = 0;

	for (const struct column *c = columns; c < columns + COLUMNS; c++) {
		char *to = table_room(t, SOCKET_TEXT_MAX);
		size_t len = SOCKET_TEXT_MAX;

		if (!to || !is_shown(c, o))
			continue;
		if (!r)
			len = put(to, len, c->heading);
		else if (o->tree && c->put == put_owners)
			len = put_fds(to, len, r);
		else
			len = c->put(to, len, r);
		table_add(t, n++, len);
	}
	t->columns = n;
}

static void fit(struct table *t, const struct ports *o, size_t width)
{
	unsigned least[TABLE_COLUMNS_MAX], n = 0;

	for (const struct column *c = columns; c < columns + COLUMNS; c++) {
		if (is_shown(c, o))
			least[n++] = c->least;
	}
	table_fit(t, width, least);
}

/* The line of a process, above those of its sockets. */
static void print_process(const struct screen *screen,
			  const struct cleat_owner *o)
{
	char name[4 * sizeof(o->command)];
	char text[sizeof(name) + 32] = "no process known";

	if (o) {
		(void)out_escape(name, sizeof(name), o->command);
		(void)snprintf(text, sizeof(text), "%s (pid %d)", name,
			       (int)o->pid);
	}
	(void)fputs_unlocked(screen->line, stdout); /* out_flush() tells */
	(void)table_print_text(text, screen->width);
	(void)putchar('\n');
}

static const char *print_row(const struct screen *screen, const struct table *t,
			     const char *lead, const char *colour,
			     const char *cells)
{
	if (!screen->has_colour)
		colour = NULL;
	(void)fputs_unlocked(screen->line, stdout); /* out_flush() tells */
	(void)fputs_unlocked(colour ? colour : "", stdout);
	(void)fputs_unlocked(lead, stdout);
	cells = table_print(t, cells);
	(void)fputs_unlocked(colour ? PLAIN "\n" : "\n", stdout);
	return cells;
}

/* The cells of all lines, the headings' first; T is to be freed. */
static int fill(struct table *t, const struct ports *o, const struct view *w,
		const struct screen *screen, size_t indent)
{
	if (screen->is_terminal)
		add_cells(t, o, NULL);
	for (size_t i = 0; i < w->n; i++)
		add_cells(t, o, &w->v[i]);
	if (t->is_full)
		return -ENOMEM;
	fit(t, o, screen->width > indent ? screen->width - indent : 1);
	return 0;
}

/* Returns how many rows it has printed. */
static size_t print_rows(const struct ports *o, const struct view *w,
			 const struct table *t, const struct screen *screen,
			 size_t height)
{
	const char *cells = t->cells;
	char lead[] = "  ";
	size_t printed = 0;

	if (o->watch == 0 && !o->tree)
		lead[0] = '\0';
	if (screen->is_terminal) {
		cells = print_row(screen, t, lead, NULL, cells);
		printed++;
	}
	for (size_t i = 0; i < w->n; i++) {
		const struct row *r = &w->v[i];
		const bool has_head =
			o->tree && (i == 0 || !view_is_one_process(r, r - 1));

		/* One line is for what is left out, unless nothing is. */
		printed += 1u + has_head;
		if (printed + (i + 1 < w->n) > height)
			return i;
		if (has_head)
			print_process(screen, r->owner);
		if (o->watch > 0)
			lead[0] = r->mark;
		cells = print_row(screen, t, lead, colour_of(r), cells);
	}
	return w->n;
}

static void print_rest(const struct screen *screen, size_t n)
{
	char text[64];

	(void)snprintf(text, sizeof(text), "... and %zu more", n);
	(void)fputs(screen->line, stdout); /* out_flush() tells */
	(void)table_print_text(text, screen->width);
	(void)putchar('\n');
}

int draw(const struct ports *o, const struct view *w,
	 const struct screen *screen, size_t height)
{
	struct table t = { .columns = 0 };
	int err = fill(&t, o, w, screen, o->watch > 0 || o->tree ? 2 : 0);
	size_t n;

	if (err == 0) {
		n = print_rows(o, w, &t, screen, height);
		if (n < w->n)
			print_rest(screen, w->n - n);
	}
	table_free(&t);
	return err;
}
