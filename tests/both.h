/* SPDX-License-Identifier: MIT */
/* Each network test runs on a plain thread and on a fiber, and leaves neither a
 * descriptor nor a thread behind.
 */
#ifndef TESTS_BOTH_H
#define TESTS_BOTH_H

#include <cleat/error.h>
#include <cleat/fiber.h>
#include <cleat/time.h>

#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "fiber/sched.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* The program runs once for each backend, which its environment names: on epoll
 * where that says nothing.
 */
static inline enum cleat_backend both_backend(void)
{
	const char *name = getenv("CLEAT_TEST_BACKEND");

	if (name && strcmp(name, "uring") == 0)
		return CLEAT_BACKEND_URING;
	return name && strcmp(name, "auto") == 0 ? CLEAT_BACKEND_AUTO
						 : CLEAT_BACKEND_EPOLL;
}

static inline int both_run(void (*fn)(void *), void *arg)
{
	const struct cleat_run_options opt = { .backend = both_backend() };

	return cleat_run(fn, arg, &opt);
}

/* Before main(): a kernel that refuses the backend skips the program. */
__attribute__((constructor)) static inline void both_probe(void)
{
	const struct cleat_run_options opt = { .backend = both_backend() };
	struct cleat__sched s;
	int err = cleat__sched_open(&s, &opt);

	if (err == 0) {
		cleat__sched_close(&s);
		return;
	}
	printf("skipped: no %s: %s\n", s.backend->name, cleat_strerror(err));
	(void)fflush(NULL);
	_exit(77);
}

/* For what should not take long; a test that gets here has failed. */
static inline cleat_time soon(void)
{
	return cleat_in(20 * CLEAT_SEC);
}

/* A call that must succeed; the line for people tells why it did not. */
#define ok(call) both_ok((call), #call, __LINE__)

static inline void both_ok(ssize_t n, const char *call, int line)
{
	if (n < 0)
		fail_msg("line %d: %s: %zd: %s", line, call, n, cleat_why());
}

static inline unsigned both_entries(const char *path)
{
	DIR *dir = opendir(path);
	unsigned n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

struct both_left {
	unsigned fds, threads;
};

static inline void *both_thread(void *arg)
{
	return arg;
}

/* TSan starts a thread of its own beside a program's first. */
static inline void both_first_thread(void)
{
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, both_thread, NULL), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
}

static inline struct both_left both_count(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	(void)pthread_once(&once, both_first_thread);
	return (struct both_left){
		.fds = both_entries("/proc/self/fd"),
		.threads = both_entries("/proc/self/task"),
	};
}

/* A helper thread may take a moment to end. */
static inline void both_assert_nothing_left(struct both_left before)
{
	struct both_left now = both_count();

	for (cleat_time end = soon();
	     now.threads > before.threads && cleat_now() < end;
	     now = both_count())
		(void)sched_yield();
	now = both_count(); /* without what they had open */
	assert_in_range(now.threads, 1, before.threads);
	assert_int_equal(now.fds, before.fds);
}

struct both_call {
	void (*fn)(void);
};

static inline void both_call(void *arg)
{
	const struct both_call *call = arg;

	call->fn();
}

static inline void on_thread(void **state)
{
	struct both_call call = { (void (*)(void))(uintptr_t)*state };
	struct both_left before = both_count();

	both_call(&call);
	both_assert_nothing_left(before);
}

static inline void on_fiber(void **state)
{
	struct both_call call = { (void (*)(void))(uintptr_t)*state };
	struct both_left before = both_count();

	ok(both_run(both_call, &call));
	both_assert_nothing_left(before);
}

/* A failed assertion has left the fiber's stack; the next test runs without. */
static inline int both_back(void **state)
{
	(void)state;
	if (cleat_is_fiber())
		cleat__detach_self();
	return 0;
}

/* For the table in main(): the test FN, on a thread, on a fiber, or both. */
#define BOTH_WAY(fn, way)                                                      \
	{                                                                      \
#fn " " #way, way, NULL, both_back, (void *)(uintptr_t)(fn)    \
	}
#define THREAD(fn) BOTH_WAY(fn, on_thread)
#define FIBER(fn) BOTH_WAY(fn, on_fiber)
#define BOTH(fn) THREAD(fn), FIBER(fn)

/* Something that happens while the caller waits: FN(ARG) runs on a thread of
 * its own, as soon as the caller sleeps.  both_join() ends it.
 */
struct both_later {
	pthread_t thread;
	pid_t caller;
	void (*fn)(void *);
	void *arg;
};

static inline bool both_sleeps(pid_t tid)
{
	char path[64], line[256] = "";
	const char *end;
	FILE *f;

	(void)snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
	f = fopen(path, "re");
	if (!f)
		return true;
	if (!fgets(line, sizeof(line), f))
		line[0] = '\0';
	(void)fclose(f);
	end = strrchr(line, ')');
	return end && end[1] == ' ' && end[2] == 'S';
}

static inline void *both_later_main(void *arg)
{
	const struct both_later *l = arg;

	for (cleat_time end = soon(); cleat_now() < end;) {
		if (both_sleeps(l->caller))
			break;
		(void)sched_yield();
	}
	l->fn(l->arg);
	return NULL;
}

static inline void both_later(struct both_later *l, void (*fn)(void *),
			      void *arg)
{
	l->caller = (pid_t)syscall(SYS_gettid);
	l->fn = fn;
	l->arg = arg;
	assert_int_equal(pthread_create(&l->thread, NULL, both_later_main, l),
			 0);
}

static inline void both_join(struct both_later *l)
{
	assert_int_equal(pthread_join(l->thread, NULL), 0);
}

#endif
