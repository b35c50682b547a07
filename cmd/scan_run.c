/* SPDX-License-Identifier: MIT */
/* A run of cleat scan: what is shown and written down while it lasts, and how
 * it ends. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cleat/error.h>

#include "cmd.h"
#include "process.h"
#include "scan.h"

enum {
	STATUS_SIGNAL = 128, /* and its number */
	SILENCED_MAX = 1000, /* that are named in JSON */
	/* Writing the resume file may take one part of so many of the time. */
	RESUME_PARTS = 20,
};

/* The signals that end a scan. */
static const int ends[] = { SIGINT, SIGTERM, SIGHUP };

#define ENDS (sizeof(ends) / sizeof(ends[0]))

unsigned scan_states(const struct scan *o)
{
	unsigned states = 1u << CLEAT_PORT_OPEN;

	if (o->closed)
		states |= 1u << CLEAT_PORT_CLOSED;
	if (o->filtered)
		states |= 1u << CLEAT_PORT_FILTERED | 1u << CLEAT_PORT_SILENT;
	return states;
}

struct run {
	const struct scan *o;
	const struct what *what;
	struct services *services;
	struct outcome before, whole;
	int signals; /* as a descriptor */
	int signal; /* that ended it, or 0 */
	int64_t write_next; /* the resume file; cleat_now() */
	int write_error; /* the first; 0 or negative */
	/* Of what follows, and of both screens. */
	pthread_mutex_t lock;
	struct findings found;
	struct out out;
	struct bar bar;
	bool has_lines; /* of open ports */
	int error; /* that ends it; 0 or negative */
};

/* Whether what is found has to be kept. */
static bool is_kept(const struct scan *o)
{
	return !o->json || o->resume;
}

static void show(struct run *r, const struct finding *f)
{
	if (r->o->json) {
		print_json(&r->out, r->o, f, r->services);
	} else if (f->state == CLEAT_PORT_OPEN) {
		bar_wipe(&r->bar);
		print_open(&r->out, r->o, f);
		bar_redraw(&r->bar);
		r->has_lines = true;
	}
}

/* On a thread of the scan. */
static void found(void *arg, const struct cleat_scan_result *result)
{
	struct run *r = arg;
	struct finding *f = finding_new(result);

	(void)pthread_mutex_lock(&r->lock); /* cannot fail */
	if (f)
		show(r, f);
	if (!f || is_kept(r->o)) {
		if (findings_add(&r->found, f) < 0)
			r->error = -ENOMEM;
	} else {
		free(f);
	}
	(void)pthread_mutex_unlock(&r->lock);
}

static void silenced(void *arg, const struct cleat_sockaddr *host,
		     uint64_t answered, uint64_t unanswered)
{
	struct run *r = arg;
	struct finding f = { .state = CLEAT_PORT_FILTERED };
	char address[CLEAT_ADDR_MAX];

	memcpy(&f.at, &host->storage, sizeof(f.at));
	finding_address(address, &f);
	/* Of the run before, which this one may confirm. */
	for (size_t i = 0; i < json_array_size(r->whole.silenced); i++) {
		json_t *o = json_array_get(r->whole.silenced, i);

		if (strcmp(json_string_value(json_object_get(o, "address")),
			   address) == 0)
			return;
	}
	if (json_array_size(r->whole.silenced) < SILENCED_MAX)
		(void)json_array_append_new(
			r->whole.silenced,
			json_pack("{s:s,s:I,s:I}", "address", address,
				  "answered", (json_int_t)answered,
				  "unanswered", (json_int_t)unanswered));
}

/* The resume file could not be written: say so, once. */
static void note_unwritten(struct run *r, int err)
{
	if (r->write_error < 0)
		return;
	r->write_error = err;
	(void)pthread_mutex_lock(&r->lock); /* cannot fail */
	bar_wipe(&r->bar);
	complain("scan", "--resume %s: cannot be written: %s", r->o->resume,
		 cleat_strerror(err));
	(void)pthread_mutex_unlock(&r->lock);
}

/* Write down how far it is, unless something found is lost. */
static void save(struct run *r)
{
	const int64_t start = cleat_now();
	char *text = NULL;
	int err = -ENOMEM;

	(void)pthread_mutex_lock(&r->lock); /* cannot fail */
	if (r->error != -ENOMEM)
		text = resume_text(r->what->digest, &r->whole, &r->found);
	(void)pthread_mutex_unlock(&r->lock);
	if (text)
		err = resume_write(r->o->resume, text);
	free(text);
	if (err < 0)
		note_unwritten(r, err);
	r->write_next =
		cleat_now() + CLEAT_SEC + RESUME_PARTS * (cleat_now() - start);
}

/* From here on a signal ends the program. */
static void let_signals(void)
{
	sigset_t none;

	(void)sigemptyset(&none);
	(void)pthread_sigmask(SIG_SETMASK, &none, NULL); /* cannot fail */
}

static void ignore(int number)
{
	(void)number;
}

/* What is left to do is to write and print, which may take for ever: a signal
 * does not end that, but the same again does.
 */
static void expect_signal(const struct run *r)
{
	const struct sigaction once = {
		.sa_handler = ignore,
		.sa_flags = (int)(SA_RESETHAND | SA_RESTART),
	};
	struct sigaction old;

	for (size_t i = 0; i < ENDS && r->signal == 0; i++) {
		if (sigaction(ends[i], NULL, &old) == 0 &&
		    old.sa_handler == SIG_DFL)
			(void)sigaction(ends[i], &once, NULL); /* cannot fail */
	}
	let_signals();
}

/* Since expect_signal(): one that has come is back to its default. */
static void note_signal(struct run *r)
{
	struct sigaction now;

	for (size_t i = 0; i < ENDS && r->signal == 0; i++) {
		if (sigaction(ends[i], NULL, &now) == 0 &&
		    now.sa_handler == SIG_DFL)
			r->signal = ends[i];
	}
}

/* Take a signal that asks for the end.  The next one does not ask. */
static void take_signal(struct run *r)
{
	struct signalfd_siginfo info;

	if (read(r->signals, &info, sizeof(info)) != sizeof(info))
		return;
	r->signal = (int)info.ssi_signo;
	let_signals();
}

/* Whether nobody reads any more, for there may be nothing to write for long. */
static bool is_stdout_gone(void)
{
	struct pollfd p = { STDOUT_FILENO, 0, 0 };

	(void)poll(&p, 1, 0); /* or nothing is known */
	return p.revents & (POLLERR | POLLHUP);
}

static bool tick(void *arg, const struct cleat_scan_progress *p)
{
	struct run *r = arg;

	(void)pthread_mutex_lock(&r->lock); /* cannot fail */
	outcome_add(&r->whole, &r->before, p);
	bar_update(&r->bar, &r->whole.sums, p->elapsed_ns);
	out_push(&r->out);
	if (r->error == 0 && is_stdout_gone())
		r->error = -EPIPE;
	if (r->error == 0)
		r->error = r->out.error;
	(void)pthread_mutex_unlock(&r->lock);
	if (r->o->resume && cleat_now() >= r->write_next)
		save(r);
	take_signal(r);
	return r->signal == 0 && r->error == 0;
}

/* A signal that is ignored, as under nohup(1), stays so. */
static int open_signals(void)
{
	struct sigaction old;
	int heeded[ENDS];
	size_t n = 0;

	for (size_t i = 0; i < ENDS; i++) {
		if (sigaction(ends[i], NULL, &old) == 0 &&
		    old.sa_handler != SIG_IGN)
			heeded[n++] = ends[i];
	}
	return signals_open(heeded, n);
}

/* Why cleat_scan() failed, which says of itself that it did. */
static const char *reason(void)
{
	const char *why = cleat_why();

	return strncmp(why, "scan: ", 6) == 0 ? why + 6 : why;
}

static int scan(struct run *r)
{
	const struct scan *o = r->o;
	const struct cleat_scan_options opt = {
		.how = o->net.udp ? CLEAT_SCAN_UDP
		       : o->syn   ? CLEAT_SCAN_SYN
				  : CLEAT_SCAN_CONNECT,
		.width = o->width,
		.rate = o->rate,
		.timeout_ns = o->timeout,
		.attempts = o->attempts,
		.shard = o->share.i,
		.shards = o->share.n,
		.seed = r->before.sums.seed,
		.start = r->before.sums.mark,
		.banner_ns = o->banner ? CLEAT_SEC : 0,
		.banner_max = o->banner ? SCAN_BANNER_MAX : 0,
		.states = scan_states(o),
		.found = found,
		.tick = tick,
		.silenced = silenced,
		.arg = r,
	};
	struct cleat_scan_progress end = { .total = 0 };
	int err;

	raise_fd_limit();
	r->bar.is_wanted = bar_is_possible();
	r->bar.last_done = r->before.sums.mark;
	err = cleat_scan(r->what->targets, &r->what->ports, &opt, &end);
	take_signal(r);
	expect_signal(r);
	bar_wipe(&r->bar);
	if (err < 0 && err != -ECANCELED)
		complain("scan", "%s", reason());
	outcome_add(&r->whole, &r->before, &end);
	if (r->whole.sums.hosts_silenced < json_array_size(r->whole.silenced))
		r->whole.sums.hosts_silenced =
			json_array_size(r->whole.silenced);
	/* The end may come before a signal is obeyed. */
	r->whole.is_finished =
		r->error == 0 &&
		(err == 0 || (err == -ECANCELED && end.mark == end.total));
	return err;
}

/* What there is to say in the end.  Returns 0 or -ENOMEM. */
static int conclude(struct run *r)
{
	int err = 0;

	if (r->o->json) {
		print_json_summary(&r->out, r->o, r->what, &r->whole);
		return 0;
	}
	if (r->has_lines)
		(void)putchar('\n'); /* out_end() tells */
	if (r->found.n > 0) {
		err = print_table(r->o, &r->found, r->services);
		(void)putchar('\n');
	}
	print_summary(r->o, r->what, &r->whole);
	return err;
}

/* Scan, and print what was found.  Returns a status. */
static int run(struct run *r)
{
	int err = 0, status = STATUS_DONE;

	for (size_t i = 0; r->o->json && i < r->found.n; i++)
		show(r, r->found.v[i]);
	if (r->before.is_finished) {
		r->whole.sums = r->before.sums;
		r->whole.is_finished = true;
		expect_signal(r);
	} else {
		if (r->o->resume)
			save(r); /* if it cannot be, say so now */
		if (r->write_error < 0)
			return STATUS_FAILED;
		err = scan(r);
		if (r->o->resume && (err == 0 || r->whole.sums.sent > 0))
			save(r);
	}
	if ((err == 0 || r->whole.sums.sent > 0) && conclude(r) < 0)
		r->error = -ENOMEM;
	if (r->error == -ENOMEM)
		complain("scan", "out of memory");
	if (r->error == -EPIPE && r->out.error == 0)
		r->out.error = -EPIPE;
	if (out_end(&r->out, "scan", "standard output") != STATUS_DONE ||
	    r->error < 0 || r->write_error < 0)
		status = STATUS_FAILED;
	note_signal(r);
	if (r->signal > 0)
		status = STATUS_SIGNAL + r->signal;
	else if (err < 0)
		status = err == -EINVAL ? STATUS_MISUSED : STATUS_FAILED;
	return status;
}

int scan_run(const struct scan *o, const struct what *w)
{
	struct run r = { .o = o, .what = w, .out = { stdout, 0 } };
	int status = OPT_GO_ON;

	if (o->resume)
		status = resume_read(o->resume, w->digest, &r.before, &r.found);
	if (status == OPT_GO_ON) {
		(void)pthread_mutex_init(&r.lock, NULL); /* cannot fail */
		r.services = services_new(o->net.udp);
		r.whole = r.before;
		r.whole.silenced = r.before.silenced
					   ? json_incref(r.before.silenced)
					   : json_array();
		r.signals = open_signals();
		if (r.services && r.whole.silenced && r.signals >= 0) {
			status = run(&r);
		} else {
			complain("scan", "%s",
				 cleat_strerror(r.signals < 0 ? EMFILE
							      : ENOMEM));
			status = STATUS_FAILED;
		}
		if (r.signals >= 0)
			(void)close(r.signals);
		(void)pthread_mutex_destroy(&r.lock);
	}
	json_decref(r.whole.silenced);
	json_decref(r.before.silenced);
	services_free(r.services);
	findings_free(&r.found);
	return status;
}
