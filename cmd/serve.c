/* SPDX-License-Identifier: MIT */
/* cleat serve - answer clients.
 *
 * Exits with 0 after an orderly stop, 1 if it could not serve, 2 if misused.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cleat/error.h>
#include <cleat/serve.h>

#include "addr.h"
#include "cmd.h"
#include "explain.h"
#include "log.h"
#include "out.h"
#include "process.h"
#include "services.h"

struct serve {
	struct net net;
	const char *prefix;
	bool lines, once, quiet;
	enum cleat_serve_mode mode;
	enum cleat_backend backend;
	unsigned workers, max_conns, max_per_source;
	int64_t idle, lifetime, drain;
	enum log_format log_format;
};

/* The index of TEXT among the N names, or -1. */
static int find(const char *text, const char *const *names, int n)
{
	for (int i = 0; i < n; i++) {
		if (strcmp(text, names[i]) == 0)
			return i;
	}
	return -1;
}

static const char *parse_mode(void *to, const char *text)
{
	static const char *const names[] = {
		[CLEAT_SERVE_FIBERS] = "fibers",
		[CLEAT_SERVE_ONE] = "one",
		[CLEAT_SERVE_THREADS] = "threads",
		[CLEAT_SERVE_PROCESSES] = "processes",
	};
	int i = find(text, names, sizeof(names) / sizeof(names[0]));

	if (i < 0)
		return "not a mode; write fibers, threads, processes or one";
	*(enum cleat_serve_mode *)to = (enum cleat_serve_mode)i;
	return NULL;
}

static const char *parse_backend(void *to, const char *text)
{
	static const char *const names[] = {
		[CLEAT_BACKEND_AUTO] = "auto",
		[CLEAT_BACKEND_EPOLL] = "epoll",
		[CLEAT_BACKEND_URING] = "uring",
	};
	int i = find(text, names, sizeof(names) / sizeof(names[0]));

	if (i < 0)
		return "not a backend; write auto, epoll or uring";
	*(enum cleat_backend *)to = (enum cleat_backend)i;
	return NULL;
}

/* clang-format off */
static const struct opt options[] = {
	{ 0, "prefix", opt_text, offsetof(struct serve, prefix), "TEXT",
	  "echo and upper: put TEXT before each answer" },
	{ 0, "lines", NULL, offsetof(struct serve, lines), NULL,
	  "echo and upper: answer each line, of at most 64 KiB;\n"
	  "those of one datagram in one" },
	{ 0, "once", NULL, offsetof(struct serve, once), NULL,
	  "take one connection or datagram, answer once, and exit" },
	{ 0, "mode", parse_mode, offsetof(struct serve, mode), "MODE",
	  "how connections run: fibers on every core (default),\n"
	  "threads, processes, or one at a time" },
	{ 0, "workers", opt_count, offsetof(struct serve, workers), "N",
	  "threads that fibers run on (default: one per core)" },
	{ 0, "backend", parse_backend, offsetof(struct serve, backend), "NAME",
	  "how to wait: epoll, uring (io_uring), or auto, what is\n"
	  "better and allowed (default)" },
	{ 0, "max-conns", opt_count, offsetof(struct serve, max_conns), "N",
	  "connections at once (default: what ulimit -n leaves);\n"
	  "not with --mode one" },
	{ 0, "max-per-source", opt_count,
	  offsetof(struct serve, max_per_source), "N",
	  "connections at once from one IP address" },
	{ 0, "idle", opt_time, offsetof(struct serve, idle), "TIME",
	  "end a connection silent for TIME, as 300ms or 2s" },
	{ 0, "lifetime", opt_time, offsetof(struct serve, lifetime), "TIME",
	  "end a connection that is older than TIME" },
	{ 0, "drain", opt_time, offsetof(struct serve, drain), "TIME",
	  "let connections finish for TIME after SIGINT or\n"
	  "SIGTERM (default 5s); a second signal exits at once" },
	{ 0, "log", opt_log_format, offsetof(struct serve, log_format),
	  "FORMAT", "text (default), or json, one object per line" },
	{ 'q', "quiet", NULL, offsetof(struct serve, quiet), NULL,
	  "log warnings and errors only" },
	OPT_NET(struct serve, net),
	{ 0 },
};
/* clang-format on */

const struct usage serve_usage = {
	"serve",
	"SERVICE ADDR...",
	"answer clients: echo, upper, discard and others",
	"Answers clients on every ADDR until SIGINT or SIGTERM. The services,\n"
	"each over TCP, UDP and unix sockets:\n"
	"  echo     what was sent (RFC 862)\n"
	"  upper    the same in capitals\n"
	"  discard  nothing (RFC 863)\n"
	"  chargen  a pattern, on and on (RFC 864)\n"
	"  daytime  the date and time, once (RFC 867)\n"
	"What it listens on is logged on stderr; port 0 asks the system for a\n"
	"free one. Sockets handed over by LISTEN_FDS (systemd) are served as\n"
	"well, and then ADDR may be left out.\n\n" ADDR_ABOUT,
	options,
	"cleat serve echo 127.0.0.1:35555\n"
	"cleat serve echo :7 udp://:7 unix:/run/echo.sock\n"
	"cleat serve upper --lines --prefix 'Echo: ' 8080\n"
	"cleat serve daytime --mode threads --log json '*' 13",
};

/* What happens, as a log line. */

/* "5 s", "300 ms" */
static void format_time(char *text, size_t len, int64_t ns)
{
	if (ns % CLEAT_SEC == 0)
		(void)snprintf(text, len, "%jd s", (intmax_t)(ns / CLEAT_SEC));
	else
		(void)snprintf(text, len, "%jd ms",
			       (intmax_t)(ns / CLEAT_MSEC));
}

static const struct {
	const char *name; /* in JSON */
	enum log_level level;
} events[] = {
	[CLEAT_SERVE_REJECTED] = { "rejected", LOG_WARNING },
	[CLEAT_SERVE_PAUSED] = { "paused", LOG_WARNING },
	[CLEAT_SERVE_RESUMED] = { "resumed", LOG_INFO },
	[CLEAT_SERVE_DRAINING] = { "draining", LOG_INFO },
	[CLEAT_SERVE_CUT] = { "cut", LOG_WARNING },
};

/* The events that are not of one connection which was let in. */
static void format_event(char *text, size_t len,
			 const struct cleat_serve_event *e, int64_t drain)
{
	char about[CLEAT_ADDR_MAX] = "";

	switch (e->what) {
	case CLEAT_SERVE_REJECTED:
		(void)cleat_sockaddr_format(e->peer, about, sizeof(about));
		(void)snprintf(text, len,
			       "rejected %s: too many connections from there",
			       about);
		break;
	case CLEAT_SERVE_PAUSED:
		(void)snprintf(text, len, "paused accepting, %u open: %s",
			       e->active, cleat_strerror(e->error));
		break;
	case CLEAT_SERVE_RESUMED:
		(void)snprintf(text, len, "resumed accepting");
		break;
	case CLEAT_SERVE_DRAINING:
		format_time(about, sizeof(about), drain);
		if (e->active > 0)
			(void)snprintf(text, len,
				       "stopping: %u open, with %s to finish",
				       e->active, about);
		else
			(void)snprintf(text, len, "stopping");
		break;
	default: /* CLEAT_SERVE_CUT */
		(void)snprintf(text, len, "stopping: %u open, closing them",
			       e->active);
		break;
	}
}

static void log_event(const struct log *l, const struct cleat_serve_event *e,
		      int64_t drain)
{
	const enum log_level level = events[e->what].level;
	char text[CLEAT_ADDR_MAX + 64];

	format_event(text, sizeof(text), e, drain);
	log_write(l, level, text,
		  LOG_FIELDS(l, "{s:s,s:I}", "event", events[e->what].name,
			     "active", (json_int_t)e->active));
}

/* Of these there may be thousands a second: not even told, if not logged. */
#define QUIET (1u << CLEAT_SERVE_ACCEPTED | 1u << CLEAT_SERVE_ENDED)

struct observer {
	struct log log;
	enum cleat_serve_mode mode;
	int64_t drain;
	/* What a unix client without a name came to, if that is sure. */
	struct cleat_sockaddr path;
	unsigned n_paths;
};

/* A process that was killed, or crashed, could not tell. */
static bool has_counts(const struct observer *o,
		       const struct cleat_serve_event *e)
{
	return o->mode != CLEAT_SERVE_PROCESSES ||
	       (e->error != -ECANCELED && e->error != -ECONNABORTED);
}

/* All of these come before the others. */
static void on_listening(struct observer *o, const struct cleat_serve_event *e)
{
	if (e->proto == CLEAT_UNIX) {
		o->path = *e->local;
		o->n_paths++;
	}
	log_listening(&o->log, e->proto, e->local);
}

static void on_event(const struct cleat_serve_event *e, void *arg)
{
	struct observer *o = arg;
	const struct cleat_sockaddr *local =
		e->proto == CLEAT_UNIX && o->n_paths == 1 ? &o->path : NULL;

	if (e->what == CLEAT_SERVE_LISTENING)
		on_listening(o, e);
	else if (e->what == CLEAT_SERVE_ACCEPTED)
		log_accepted(&o->log, local, e->peer);
	else if (e->what == CLEAT_SERVE_ENDED)
		log_ended(&o->log, local, e->peer,
			  has_counts(o, e) ? &e->bytes : NULL, e->duration_ns,
			  e->error, e->is_fault);
	else
		log_event(&o->log, e, o->drain);
}

/* Where to listen. */

/* The sockets handed over, as sd_listen_fds(3) counts them: from 3 on.  The
 * first that is not there is the last: it will be complained of. */
static unsigned inherited_fds(int **fds)
{
	const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
	unsigned n = 1, told = 0;

	if (!pid || !count || strtol(pid, NULL, 10) != getpid() ||
	    opt_count(&told, count) != NULL)
		return 0;
	while (n < told && fcntl((int)n + 2, F_GETFD) >= 0)
		n++;
	*fds = calloc(n, sizeof(**fds));
	if (!*fds)
		return 0;
	for (unsigned i = 0; i < n; i++)
		(*fds)[i] = (int)i + 3;
	return n;
}

/* The texts of N addresses, ended by NULL; or NULL. */
static const char **texts_of(const struct addr *addrs, int n)
{
	const char **texts = calloc((size_t)n + 1, sizeof(*texts));

	for (int i = 0; texts && i < n; i++)
		texts[i] = addrs[i].text;
	return texts;
}

/* An address that is among the N twice, but for those with port 0; or NULL. */
static const char *find_twice(const struct addr *addrs, int n)
{
	for (int i = 1; i < n; i++) {
		for (int k = 0; k < i; k++) {
			if (strcmp(addrs[i].text, addrs[k].text) == 0 &&
			    strcmp(addrs[i].parsed.service, "0") != 0)
				return addrs[i].text;
		}
	}
	return NULL;
}

/* Look names up while a signal still ends the program: that may take long, and
 * nothing can interrupt it.  Or complain. */
static bool look_up(const struct addr *addrs, int n)
{
	struct cleat_sockaddr at;

	for (int i = 0; i < n; i++) {
		if (cleat_resolve(addrs[i].text, CLEAT_TO_BIND, &at, 1,
				  CLEAT_FOREVER) < 0) {
			complain("serve", "%s", cleat_why());
			return false;
		}
	}
	return true;
}

static int serve(const struct serve *s, const struct cleat_service *service,
		 const struct log *log, const struct addr *addrs, int n)
{
	static const int ends[] = { SIGINT, SIGTERM };
	struct observer observer = {
		.log = *log,
		.mode = s->mode,
		.drain = s->drain,
	};
	int *fds = NULL;
	unsigned n_fds = inherited_fds(&fds);
	const char **texts = texts_of(addrs, n);
	const struct cleat_serve_options o = {
		.addrs = texts,
		.fds = fds,
		.n_fds = n_fds,
		.mode = s->mode,
		.workers = s->workers,
		.backend = s->backend,
		.max_conns = s->max_conns,
		.max_per_source = s->max_per_source,
		.count = s->once ? 1 : 0,
		.idle_ns = s->idle,
		.lifetime_ns = s->lifetime,
		.drain_ns = s->drain,
		.stop_fd = signals_open(ends, 2),
		.event = on_event,
		.event_arg = &observer,
		.mute = s->quiet ? QUIET : 0,
	};
	int status = STATUS_FAILED;

	if (n == 0 && n_fds == 0) {
		complain("serve", "no address; write 127.0.0.1:PORT, or 0 for "
				  "a free port");
		status = STATUS_MISUSED;
	} else if (!texts || o.stop_fd < 0) {
		complain("serve", "%s", cleat_strerror(errno));
	} else {
		int err = cleat_serve(service, &o);

		if (err < 0)
			explain_bind("serve", addrs, n, err);
		else
			status = STATUS_DONE;
	}
	if (o.stop_fd >= 0)
		(void)close(o.stop_fd);
	free(texts);
	free(fds);
	return status;
}

int cmd_serve(int argc, char **argv)
{
	struct serve s = { .prefix = "", .drain = 5 * CLEAT_SEC };
	struct words words;
	int n, status = opt_parse(&serve_usage, &s, argc, argv, &words);
	const struct log log = { "serve", s.log_format, s.quiet };
	struct answer answer = {
		.log = &log,
		.prefix = s.prefix,
		.lines = s.lines,
		.once = s.once,
	};
	struct cleat_service service;
	struct addr *addrs;
	const char *why, *twice;

	if (status != OPT_GO_ON)
		return status;
	if (words.n == 0) {
		complain("serve", "no service; write cleat serve echo ADDR");
		return STATUS_MISUSED;
	}
	if (s.workers > 0 && s.mode != CLEAT_SERVE_FIBERS) {
		complain("serve", "--workers: for --mode fibers only");
		return STATUS_MISUSED;
	}
	if (s.max_conns > 0 && s.mode == CLEAT_SERVE_ONE) {
		complain("serve", "--max-conns: not for --mode one");
		return STATUS_MISUSED;
	}
	why = service_pick(&service, words.v[0], &answer);
	if (why) {
		complain("serve", "%s: %s", words.v[0], why);
		return STATUS_MISUSED;
	}
	n = addr_list(&addrs, words.v + 1, words.n - 1, &s.net, "serve");
	if (n < 0)
		return STATUS_MISUSED;
	twice = find_twice(addrs, n);
	if (twice) {
		complain("serve", "%s: given twice", twice);
		status = STATUS_MISUSED;
	} else if (!look_up(addrs, n)) {
		status = STATUS_FAILED;
	} else {
		status = serve(&s, &service, &log, addrs, n);
	}
	free(addrs);
	return status;
}
