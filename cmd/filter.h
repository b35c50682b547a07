/* SPDX-License-Identifier: MIT */
/* Which sockets the operands of cleat ports ask for.
 *
 * Each word is a port, an address, or a process.  A socket has to fit one of
 * each sort that there is. */
#ifndef CMD_FILTER_H
#define CMD_FILTER_H

#include <stdbool.h>

#include <cleat/inspect.h>

#define FILTER_ABOUT                                                           \
	"FILTER is one of these; of each sort, any has to fit:\n"              \
	"  8080  8000-8100  :https      its own port\n"                        \
	"  10.0.0.2  [::1]:80  udp://*:53  unix:/run/x.sock\n"                 \
	"                               its own address, as in cleat(7)\n"     \
	"  nginx  'python*'             a process that has it, by name\n"

struct filter_term;

struct filter {
	struct filter_term *v;
	unsigned n;
};

/* filter_parse - read N words; to be freed, also after a failure, which it has
 * complained of.  Returns 0 or -1. */
int filter_parse(struct filter *f, char **v, int n);
void filter_free(struct filter *f);

/* filter_has_unix - whether it asks for a unix socket by its name. */
bool filter_has_unix(const struct filter *f);

/* filter_narrow - have Q asked for no more than what may fit. */
void filter_narrow(const struct filter *f, struct cleat_query *q);

/* filter_fits - whether S has a port and an address that are asked for. */
bool filter_fits(const struct filter *f, const struct cleat_socket *s);

/* filter_has_process - whether there is any, of which filter_fits_process()
 * is then to say whether COMMAND is one. */
bool filter_has_process(const struct filter *f);
bool filter_fits_process(const struct filter *f, const char *command);

#endif
