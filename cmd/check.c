/* SPDX-License-Identifier: MIT */
/* cleat check - is it open?
 *
 * Exits with 0 if every target is open, 1 if not, 2 if misused; with a COMMAND
 * as that does, 127 if there is no such command, 126 if it cannot be run.
 */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <jansson.h>

#include <cleat/conn.h>
#include <cleat/dgram.h>
#include <cleat/error.h>
#include <cleat/fiber.h>

#include "addr.h"
#include "cmd.h"
#include "out.h"

enum {
	WIDTH = 256, /* targets in flight, at most */
	FDS_EACH = 4, /* a socket; or what a lookup of a name opens */
	TRIED_MAX = 8, /* addresses of a name */
	STATUS_CANNOT_RUN = 126, /* as shells have it */
	STATUS_NO_COMMAND = 127,
};

struct check {
	struct net net;
	int64_t timeout, wait;
	bool json;
};

/* clang-format off */
static const struct opt options[] = {
	{ 'w', "timeout", opt_timeout, offsetof(struct check, timeout), "TIME",
	  "give up on a target after TIME, as 300ms or 2s\n"
	  "(default 2s)" },
	{ 0, "wait", opt_time, offsetof(struct check, wait), "TIME",
	  "retry until all are open, for at most TIME" },
	{ 0, "json", NULL, offsetof(struct check, json), NULL,
	  "one JSON object per line" },
	OPT_NET(struct check, net),
	{ 0 },
};
/* clang-format on */

const struct usage check_usage = {
	"check",
	"ADDR... [-- CMD]",
	"open, closed or filtered; --wait until it opens",
	"Tries every ADDR at once and prints, in the order given:\n"
	"  OPEN           a connection was made, or a datagram answered\n"
	"  CLOSED         it was refused\n"
	"  FILTERED       nothing came back, or it cannot be reached\n"
	"  OPEN|FILTERED  UDP: a datagram of one byte was neither answered\n"
	"                 nor refused\n"
	"  UNRESOLVED     the name has no address\n"
	"Exits with 0 if all are OPEN, else with 1. Then runs CMD, without a\n"
	"shell, if one is given behind --; the results are then on stderr,\n"
	"for stdout is CMD's.\n\n" ADDR_ABOUT,
	options,
	"cleat check 127.0.0.1:80 example.com https\n"
	"cleat check -w 300ms udp://127.0.0.1:53\n"
	"cleat check --wait 30s db:5432 cache:6379 -- ./start --fast",
};

/* Of several addresses the first of these counts. */
enum state {
	OPEN,
	UNTRIED, /* for lack of something here, which says nothing of it */
	OPEN_OR_FILTERED,
	CLOSED,
	FILTERED,
	UNRESOLVED,
};

static const struct {
	const char *text, *json, *colour;
} states[] = {
	[OPEN] = { "OPEN", "open", "\033[32m" },
	[CLOSED] = { "CLOSED", "closed", "\033[31m" },
	[FILTERED] = { "FILTERED", "filtered", "\033[33m" },
	[OPEN_OR_FILTERED] = { "OPEN|FILTERED", "open|filtered", "\033[33m" },
	[UNRESOLVED] = { "UNRESOLVED", "unresolved", "\033[31m" },
	[UNTRIED] = { NULL, NULL, NULL },
};

struct checks;

struct target {
	const struct addr *addr;
	struct checks *all;
	bool is_done;
	enum state state;
	int error; /* 0 or negative */
	struct cleat_sockaddr at; /* len 0: not known */
	int64_t rtt; /* ns, of OPEN and CLOSED */
};

struct checks {
	const struct check *o;
	struct out out;
	struct target *v;
	unsigned n, printed;
	cleat_time give_up; /* 0: after one attempt */
	int error;
};

/* What a failure to connect says of the port. */
static enum state state_of(int err)
{
	switch (err) {
	case 0:
		return OPEN;
	case -ECONNREFUSED:
	case -ECONNRESET:
	case -ENOENT: /* unix: nothing there */
	case -EPROTOTYPE: /* unix: something else there */
		return CLOSED;
	case -EADDRNOTAVAIL: /* no port is left to connect from */
	case -EAGAIN: /* nor a thread for a lookup */
	case -EMFILE:
	case -ENFILE:
	case -ENOBUFS:
	case -ENOMEM:
	case -ENOSPC: /* epoll_ctl(2) */
		return UNTRIED;
	case CLEAT_ENONAME:
	case CLEAT_EDNSAGAIN:
	case CLEAT_EDNS:
		return UNRESOLVED;
	default:
		return FILTERED;
	}
}

/* So that there is a time to tell. */
static bool has_answer(const struct target *t)
{
	return t->state == OPEN || t->state == CLOSED;
}

/* Printing. */

static const char *reason(const struct target *t)
{
	const char *why = addr_why(t->addr, t->error);

	if (why)
		return why;
	if (t->error == -EADDRNOTAVAIL)
		return t->state == UNTRIED ? "no port left to connect from"
					   : "no address to connect from";
	return t->error ? cleat_strerror(t->error) : NULL;
}

static void print_text(struct out *out, const struct target *t)
{
	const bool colour = out_has_colour(out->f);
	const char *why = reason(t);
	char name[CLEAT_ADDR_MAX], time[32] = "", line[2 * CLEAT_ADDR_MAX];

	(void)out_escape(name, sizeof(name), t->addr->text);
	if (has_answer(t))
		(void)snprintf(time, sizeof(time), "%.1f ms",
			       (double)t->rtt / (double)CLEAT_MSEC);
	(void)snprintf(line, sizeof(line), "%s -- %s%s%s%s%s%s%s%s\n", name,
		       colour ? states[t->state].colour : "",
		       states[t->state].text, colour ? "\033[0m" : "",
		       why || time[0] ? " (" : "", why ? why : "",
		       why && time[0] ? ", " : "", time,
		       why || time[0] ? ")" : "");
	out_text(out, line);
}

/* The address without its port, or null. */
static json_t *json_address(const struct cleat_sockaddr *at)
{
	char text[CLEAT_ADDR_MAX] = "", safe[CLEAT_ADDR_MAX];

	if (at->len == 0)
		return json_null();
	if (at->any.sa_family == AF_UNIX) {
		(void)cleat_sockaddr_format(at, text, sizeof(text));
		(void)out_escape(safe, sizeof(safe), text + strlen("unix:"));
	} else {
		(void)getnameinfo(&at->any, at->len, safe, sizeof(safe), NULL,
				  0, NI_NUMERICHOST);
	}
	return json_string(safe);
}

static void print_json(struct out *out, const struct target *t)
{
	static const char *const protos[] = {
		[CLEAT_TCP] = "tcp",           [CLEAT_UDP] = "udp",
		[CLEAT_TLS] = "tls",           [CLEAT_UNIX] = "unix",
		[CLEAT_UNIXGRAM] = "unixgram",
	};
	const bool has_port = t->at.len > 0 && t->at.any.sa_family != AF_UNIX;
	char name[CLEAT_ADDR_MAX], line[8 * CLEAT_ADDR_MAX];
	size_t n;
	json_t *o;

	(void)out_escape(name, sizeof(name), t->addr->text);
	o = json_pack(
		"{s:s,s:s,s:s?,s:o,s:o,s:o,s:s?}", "target", name, "proto",
		protos[t->addr->parsed.proto], "state", states[t->state].json,
		"address", json_address(&t->at), "port",
		has_port ? json_integer(cleat_sockaddr_port(&t->at))
			 : json_null(),
		"rtt_us",
		has_answer(t) ? json_integer(t->rtt / CLEAT_USEC) : json_null(),
		"error", reason(t));
	n = json_dumpb(o, line, sizeof(line) - 2, JSON_COMPACT); /* it fits */
	memcpy(line + n, "\n", 2);
	out_text(out, line);
	json_decref(o);
}

/* Print what is done and has nothing undone before it. */
static void print_done(struct checks *c)
{
	while (c->printed < c->n && c->v[c->printed].is_done) {
		const struct target *t = &c->v[c->printed++];

		if (t->state == UNTRIED)
			complain("check", "%s: %s", t->addr->text, reason(t));
		if (c->o->json)
			print_json(&c->out, t);
		else if (t->state != UNTRIED)
			print_text(&c->out, t);
		out_push(&c->out);
	}
}

/* Probing. */

static int probe_stream(const char *text, cleat_time until)
{
	struct cleat_conn *c = NULL;
	int err = cleat_connect(&c, text, NULL, until);

	cleat_close(c);
	return err;
}

/* A newline, since some servers take an empty datagram for an end.  A unix
 * address that can be connected to has a receiver, and needs none. */
static int probe_dgram(const struct target *t, const char *text,
		       cleat_time until)
{
	struct cleat_dgram *d = NULL;
	ssize_t n = cleat_dgram_open(&d, NULL, text, NULL, until);
	char answer[1];

	if (n == 0 && t->addr->parsed.proto == CLEAT_UDP) {
		n = cleat_sendto(d, "\n", 1, NULL, until);
		if (n == 0)
			n = cleat_recvfrom(d, answer, sizeof(answer), NULL,
					   until);
	}
	cleat_dgram_close(d);
	return n >= 0 || n == -EMSGSIZE ? 0 : (int)n;
}

/* Whether this machine has an address from which AT can be reached, as far as
 * it knows.  That takes no packet. */
static bool has_way(const struct cleat_sockaddr *at)
{
	struct cleat_dgram *d = NULL;
	char text[CLEAT_ADDR_MAX] = "udp://";
	const size_t skip = strlen(text);
	int err;

	(void)cleat_sockaddr_format(at, text + skip,
				    sizeof(text) - skip); /* it fits */
	err = cleat_dgram_open(&d, NULL, text, NULL, 0);
	cleat_dgram_close(d);
	return err != -EADDRNOTAVAIL;
}

static void probe_at(struct target *t, const struct cleat_sockaddr *at,
		     cleat_time until)
{
	const bool is_udp = t->addr->parsed.proto == CLEAT_UDP;
	char text[CLEAT_ADDR_MAX] = "udp://";
	const size_t skip = is_udp ? strlen(text) : 0;
	const cleat_time start = cleat_now();

	/* By number, so that the time is not that of another lookup. */
	if (at->any.sa_family == AF_UNIX)
		memcpy(text, t->addr->text, sizeof(text));
	else
		(void)cleat_sockaddr_format(at, text + skip,
					    sizeof(text) - skip); /* it fits */
	t->at = *at;
	t->error = addr_is_datagram(t->addr) ? probe_dgram(t, text, until)
					     : probe_stream(text, until);
	t->rtt = cleat_now() - start;
	t->state = state_of(t->error);
	if (t->error == -EADDRNOTAVAIL && !has_way(at))
		t->state = FILTERED;
	if (is_udp && t->error == -ETIMEDOUT) {
		t->state = OPEN_OR_FILTERED;
		t->error = 0;
	}
}

/* Whether descriptors can be had.  A lookup without them finds nothing. */
static bool has_fds(void)
{
	const int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	if (fd >= 0)
		(void)close(fd);
	return fd >= 0;
}

/* Each address gets its share of the time left. */
static void probe_once(struct target *t, cleat_time until)
{
	struct cleat_sockaddr at[TRIED_MAX];
	int n = cleat_resolve(t->addr->text, CLEAT_TO_CONNECT, at, TRIED_MAX,
			      until);

	if (n < 0 && !has_fds())
		n = -EMFILE;
	t->state = n < 0 && state_of(n) == UNTRIED ? UNTRIED : UNRESOLVED;
	t->error = n < 0 ? n : 0;
	t->at.len = 0;
	for (int i = 0; i < n && t->state != OPEN; i++) {
		const struct target best = *t;
		const cleat_time now = cleat_now();

		probe_at(t, &at[i], now + (until - now) / (n - i));
		if (best.state < t->state)
			*t = best;
	}
}

/* What is short here may be there again when others have ended.  Half of the
 * time is left for an answer. */
static void probe(struct target *t, cleat_time until)
{
	const cleat_time start = cleat_now();
	const cleat_time half = start + (until - start) / 2;

	for (;;) {
		probe_once(t, until);
		if (t->state != UNTRIED || cleat_now() >= half)
			break;
		(void)cleat_sleep(
			cleat_in(20 * CLEAT_MSEC)); /* not cancelled */
	}
}

/* How long to pause before another attempt, the N-th; 0: there is no time for
 * one.  The last leaves some for an answer. */
static int64_t pause_before(unsigned n, int64_t left)
{
	const int64_t pause = n < 4 ? (100 * CLEAT_MSEC) << n : CLEAT_SEC;

	if (left < 100 * CLEAT_MSEC)
		return 0;
	return pause < left / 2 ? pause : left / 2;
}

static void check_one(void *arg)
{
	struct target *t = arg;
	struct checks *c = t->all;
	int64_t pause;
	unsigned n = 0;

	do {
		cleat_time until = cleat_in(c->o->timeout);

		if (c->give_up > 0 && until > c->give_up)
			until = c->give_up;
		probe(t, until);
		pause = pause_before(n++, c->give_up - cleat_now());
		if (t->state != OPEN && pause > 0)
			(void)cleat_sleep(cleat_in(pause)); /* not cancelled */
	} while (t->state != OPEN && pause > 0);
	t->is_done = true;
	print_done(c);
}

/* How many to have in flight: the descriptors that are left set a limit. */
static unsigned choose_width(void)
{
	const int next = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0);
	struct rlimit most;
	rlim_t n;

	if (next < 0)
		return 1;
	(void)close(next);
	(void)getrlimit(RLIMIT_NOFILE, &most); /* cannot fail */
	n = (most.rlim_cur - (rlim_t)next) / FDS_EACH;
	if (n < 1)
		return 1;
	return n < WIDTH ? (unsigned)n : WIDTH;
}

static void check_all(void *arg)
{
	struct checks *c = arg;
	struct cleat_scope *s = NULL;

	c->error = cleat_scope_open(&s, choose_width());
	if (c->error < 0)
		return;
	for (unsigned i = 0; i < c->n; i++) {
		/* Without memory for a fiber it is done here. */
		if (cleat_go(s, check_one, &c->v[i], CLEAT_FOREVER) < 0)
			check_one(&c->v[i]);
	}
	(void)cleat_scope_wait(s, CLEAT_FOREVER); /* not cancelled */
	cleat_scope_close(s);
}

/* Check N addresses and print what was found.  Returns a status. */
static int check(const struct check *o, const struct addr *addrs, int n,
		 FILE *out)
{
	struct checks c = { .o = o, .out = { out, 0 }, .n = (unsigned)n };
	unsigned open = 0;
	int err = -ENOMEM;

	if (o->wait > 0)
		c.give_up = cleat_in(o->wait);
	c.v = calloc(c.n, sizeof(*c.v));
	for (unsigned i = 0; c.v && i < c.n; i++) {
		c.v[i].addr = &addrs[i];
		c.v[i].all = &c;
	}
	if (c.v)
		err = cleat_run(check_all, &c, NULL);
	if (err == 0)
		err = c.error;
	for (unsigned i = 0; i < c.printed; i++)
		open += c.v[i].state == OPEN;
	free(c.v);
	if (err < 0)
		complain("check", "%s", cleat_strerror(err));
	if (out == stdout &&
	    out_end(&c.out, "check", "standard output") != STATUS_DONE)
		return STATUS_FAILED;
	return open == c.n ? STATUS_DONE : STATUS_FAILED;
}

/* Become the command ARGV.  Returns a status if it cannot be. */
static int run_command(char **argv)
{
	const struct sigaction normal = { .sa_handler = SIG_DFL };
	int err;

	(void)sigaction(SIGPIPE, &normal, NULL); /* ignoring it is inherited */
	(void)execvp(argv[0], argv);
	err = errno;
	complain("check", "cannot run %s: %s", argv[0], cleat_strerror(err));
	return err == ENOENT ? STATUS_NO_COMMAND : STATUS_CANNOT_RUN;
}

int cmd_check(int argc, char **argv)
{
	struct check o = { .timeout = 2 * CLEAT_SEC };
	struct words words;
	int n, status = opt_parse(&check_usage, &o, argc, argv, &words);
	struct addr *addrs;
	char **command;

	if (status != OPT_GO_ON)
		return status;
	command = words.v + words.before; /* argv's NULL ends it */
	n = addr_list(&addrs, words.v, words.before, &o.net, "check");
	if (n < 0)
		return STATUS_MISUSED;
	if (n == 0) {
		complain("check", "no address; write cleat check HOST:PORT");
		free(addrs);
		return STATUS_MISUSED;
	}
	status = check(&o, addrs, n, *command ? stderr : stdout);
	free(addrs);
	return status == STATUS_DONE && *command ? run_command(command)
						 : status;
}
