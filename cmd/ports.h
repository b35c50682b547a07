/* SPDX-License-Identifier: MIT */
/* What the files of cleat ports share: ports.c (options), ports_view.c (which
 * sockets, in which order), ports_draw.c (lines) and ports_watch.c. */
#ifndef CMD_PORTS_H
#define CMD_PORTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <cleat/inspect.h>

#include "addr.h"
#include "filter.h"

#define NO_USER ((uid_t)-1)

/* What is asked for. */
struct ports {
	struct net net;
	bool all, tcp, is_unix, raw, json, tree;
	unsigned states, pid; /* 0: any */
	uid_t user; /* or NO_USER */
	const char *interval; /* of --watch, as written; or NULL */
	int64_t watch; /* the same; 0: once */
	const char *netns;
	struct filter filter;
};

/* A line of the list. */
struct row {
	const struct cleat_socket *s;
	const struct cleat_owner *owner; /* the first asked for; or NULL */
	char mark; /* appeared '+', vanished '-', else ' ' */
};

/* All that is asked for, at one moment, in order.  All zero is an empty one. */
struct view {
	struct cleat_sockets *sockets; /* whose the rows are */
	struct row *v;
	size_t n, room;
	size_t unknown; /* sockets whose owners are not seen */
};

/* view_take - fill W, which is empty.  Returns 0 or -errno; W is to be freed.
 */
int view_take(struct view *w, const struct ports *o);
void view_free(struct view *w);

/* view_compare - what NOW has: all of it, marked where OLD has it not, and what
 * only OLD has.  What its rows are of is theirs, and they are to outlive it.
 * Returns 0 or -errno. */
int view_compare(struct view *both, const struct ports *o,
		 const struct view *old, const struct view *now);

/* view_is_one_process - whether lines of A and B stand under the same. */
bool view_is_one_process(const struct row *a, const struct row *b);

/* Where the lines go. */
struct screen {
	size_t width, height; /* of a terminal; else unlimited */
	bool is_terminal, has_colour;
	const char *line; /* what begins one */
};

struct screen screen_of_stdout(void);

/* draw - print W, as many lines as fit HEIGHT.  Returns 0 or -errno. */
int draw(const struct ports *o, const struct view *w,
	 const struct screen *screen, size_t height);

/* watch - draw again and again until SIGINT, SIGQUIT, SIGTERM or SIGHUP.  FIRST
 * is taken over.  Returns 0 or -errno; what could not be written is told by
 * out_flush(). */
int watch(const struct ports *o, struct view *first);

#endif
