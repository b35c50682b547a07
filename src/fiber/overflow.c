/* SPDX-License-Identifier: MIT */
#include "fiber/overflow.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fiber/sched.h"
#include "fiber/symbol.h"

#define SIGNAL_STACK (32 * 1024) /* room for AVX-512 state, and dladdr() */
#define EXIT_OVERFLOW 70 /* EX_SOFTWARE of sysexits(3) */

/* The library has no globals but this, since a signal has one disposition for
 * the whole process: what SIGSEGV did before, and goes on doing.
 */
static struct sigaction before;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static bool in_guard(const struct cleat__fiber *f, const void *addr)
{
	uintptr_t low = (uintptr_t)f->stack - f->sched->stacks.page;

	return (uintptr_t)addr >= low && (uintptr_t)addr < (uintptr_t)f->stack;
}

/* Names need dladdr(), which a signal handler should not call; but this thread
 * was in code of its own when it faulted, and it is about to end.
 */
static void report(const struct cleat__fiber *f)
{
	void *entry = (void *)(uintptr_t)f->fn;
	Dl_info at = { 0 };
	const char *name;
	char line[256];
	int n;

	(void)dladdr(entry, &at); /* without it, the address alone */
	name = at.dli_sname;
	if (!name)
		name = cleat__symbol(entry, at.dli_fname, at.dli_fbase);
	n = snprintf(line, sizeof(line),
		     "cleat: stack overflow in fiber %s (%s+0x%zx%s): %zu "
		     "bytes were too few; see cleat_run_options.stack\n",
		     name ? name : "?", at.dli_fname ? at.dli_fname : "?",
		     (size_t)((char *)entry - (char *)at.dli_fbase),
		     name ? "" : "; addr2line -f tells",
		     cleat__stack_bytes(&f->sched->stacks));
	(void)!write(STDERR_FILENO, line, (size_t)n); /* nothing else to do */
}

/* Another fault than ours: as if we had never been here.  Back where it came
 * from it happens again, but for one that kill(2) sent.
 */
static void hand_on(int sig, siginfo_t *info, void *uc)
{
	if (before.sa_flags & SA_SIGINFO) {
		before.sa_sigaction(sig, info, uc);
	} else if (before.sa_handler != SIG_DFL &&
		   before.sa_handler != SIG_IGN) {
		before.sa_handler(sig);
	} else {
		(void)sigaction(sig, &before, NULL);
		if (info->si_code <= 0)
			(void)raise(sig);
	}
}

static void on_fault(int sig, siginfo_t *info, void *uc)
{
	const struct cleat__sched *s = cleat__self;

	if (s && s->current && in_guard(s->current, info->si_addr)) {
		report(s->current);
		_exit(EXIT_OVERFLOW);
	}
	hand_on(sig, info, uc);
}

static void install(void)
{
	struct sigaction sa = {
		.sa_sigaction = on_fault,
		.sa_flags = SA_SIGINFO | SA_ONSTACK,
	};

	(void)sigemptyset(&sa.sa_mask);
	(void)sigaction(SIGSEGV, &sa, &before); /* fails for bad numbers only */
}

int cleat__overflow_watch(struct cleat__overflow *o)
{
	stack_t mine = { .ss_size = SIGNAL_STACK };

	o->stack = mine.ss_sp = malloc(SIGNAL_STACK);
	if (!o->stack)
		return -ENOMEM;
	(void)sigaltstack(&mine, &o->before); /* valid, and not in use */
	(void)pthread_once(&once, install);
	return 0;
}

void cleat__overflow_unwatch(struct cleat__overflow *o)
{
	(void)sigaltstack(&o->before, NULL);
	free(o->stack);
}
