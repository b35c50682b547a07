/* SPDX-License-Identifier: MIT */
/* Stacks: their size, what happens at their end, their memory.  Each test runs
 * cleat_run() in a child of its own: its SIGSEGV is one that nobody caught
 * before, and it may die.
 */
#include "both.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "fiber/stack.h"
#include "fiber/symbol.h"

#define KIB 1024
#define MIB (1024 * KIB)

static char *forbidden; /* a page that nobody may touch */

/* In a child an assertion would go on with the parent's next test. */
static void must(bool it, const char *what)
{
	if (it)
		return;
	(void)fprintf(stderr, "not so: %s: %s\n", what, cleat_why());
	_exit(1);
}

#define MUST(it) must((it), #it)

struct outcome {
	int status; /* of waitpid(2) */
	char said[2048]; /* on stderr */
};

static void child_main(void (*fn)(void), int out)
{
	struct sigaction sa = { .sa_handler = SIG_DFL };
	struct rlimit no_core = { 0, 0 };

	(void)setrlimit(RLIMIT_CORE, &no_core);
	forbidden =
		mmap(NULL, KIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	MUST(forbidden != MAP_FAILED);
	MUST(sigaction(SIGSEGV, &sa, NULL) == 0);
	MUST(dup2(out, STDERR_FILENO) == STDERR_FILENO);
	fn();
	_exit(0);
}

static struct outcome in_child(void (*fn)(void))
{
	struct outcome o = { .status = -1 };
	size_t n = 0;
	ssize_t got;
	int fd[2];
	pid_t child;

	assert_int_equal(pipe2(fd, O_CLOEXEC), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0)
		child_main(fn, fd[1]);
	(void)close(fd[1]);
	while (n + 1 < sizeof(o.said) &&
	       (got = read(fd[0], o.said + n, sizeof(o.said) - 1 - n)) > 0)
		n += (size_t)got;
	(void)close(fd[0]);
	assert_int_equal(waitpid(child, &o.status, 0), child);
	return o;
}

static void assert_exited(const struct outcome *o, int status)
{
	if (!WIFEXITED(o->status) || WEXITSTATUS(o->status) != status)
		fail_msg("ended with 0x%x, not exit status %d: %s",
			 (unsigned)o->status, status, o->said);
}

static void assert_killed(const struct outcome *o, int sig)
{
	if (!WIFSIGNALED(o->status) || WTERMSIG(o->status) != sig)
		fail_msg("ended with 0x%x, not by signal %d: %s",
			 (unsigned)o->status, sig, o->said);
}

/* Use BYTES of stack below TOP, waiting on the way, and check what was written.
 * A local array is not always on the stack under ASan; the frame is.
 */
static __attribute__((noinline)) void use(const char *top, size_t bytes,
					  bool wait)
{
	volatile unsigned char here[256];
	const char *frame = __builtin_frame_address(0);
	size_t deep = (size_t)(top - frame);

	for (size_t i = 0; i < sizeof(here); i++)
		here[i] = (unsigned char)(deep + i);
	if (wait)
		MUST(cleat_yield() == 0);
	if (deep < bytes)
		use(top, bytes, wait);
	for (size_t i = 0; i < sizeof(here); i++)
		MUST(here[i] == (unsigned char)(deep + i));
}

struct using
{
	size_t bytes;
	bool wait;
};

static void use_stack(void *arg)
{
	const struct using *u = arg;

	use(__builtin_frame_address(0), u->bytes, u->wait);
}

static void use_in_many(void *arg)
{
	struct cleat_scope *s;

	MUST(cleat_scope_open(&s, 0) == 0);
	for (int i = 0; i < 20; i++)
		MUST(cleat_go(s, use_stack, arg, CLEAT_FOREVER) == 0);
	use_stack(arg);
	MUST(cleat_scope_wait(s, CLEAT_FOREVER) == 0);
	cleat_scope_close(s);
}

/* Of each size, what its name promises but for the guard page and what we keep
 * there ourselves.
 */
static void use_all_sizes(void)
{
	static const struct {
		size_t stack, bytes;
	} cases[] = {
		{ 0, 52 * KIB },
		{ 1, 8 * KIB },
		{ 16 * KIB, 8 * KIB },
		{ 64 * KIB, 52 * KIB },
		{ 64 * KIB + 1, 56 * KIB },
		{ MIB, MIB - 8 * KIB },
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		const struct cleat_run_options opt = { .stack = cases[i].stack,
						       .backend =
							       both_backend() };
		struct using u = { cases[i].bytes, false };

		MUST(cleat_run(use_in_many, &u, &opt) == 0);
		if (u.bytes < MIB / 2) {
			u.wait = true;
			u.bytes -= 4 * KIB;
			MUST(cleat_run(use_in_many, &u, &opt) == 0);
		}
	}
}

static void sizes(void)
{
	struct outcome o = in_child(use_all_sizes);

	assert_exited(&o, 0);
}

/* Overflow */

void overflowing_entry(void *arg); /* not static: it is to be named */

void overflowing_entry(void *arg)
{
	use(__builtin_frame_address(0), SIZE_MAX, false);
	(void)arg;
}

static void overflow_first(void)
{
	MUST(both_run(overflowing_entry, NULL) == 0);
}

static void sleep_for_ever(void *arg)
{
	(void)arg;
	(void)cleat_sleep(CLEAT_FOREVER);
}

static void overflow_among_others(void *arg)
{
	struct cleat_scope *s;

	(void)arg;
	MUST(cleat_scope_open(&s, 0) == 0);
	for (int i = 0; i < 10; i++)
		MUST(cleat_go(s, i == 5 ? overflowing_entry : sleep_for_ever,
			      NULL, CLEAT_FOREVER) == 0);
	(void)cleat_scope_wait(s, CLEAT_FOREVER);
}

static void overflow_in_a_crowd(void)
{
	(void)both_run(overflow_among_others, NULL);
}

static void do_nothing(void *arg)
{
	(void)arg;
}

static void overflow_in_a_later_run(void)
{
	for (int i = 0; i < 3; i++)
		MUST(both_run(do_nothing, NULL) == 0);
	overflow_first();
}

static void *overflow_thread(void *arg)
{
	(void)arg;
	overflow_first();
	return NULL;
}

static void overflow_in_another_thread(void)
{
	pthread_t thread;

	MUST(pthread_create(&thread, NULL, overflow_thread, NULL) == 0);
	(void)pthread_join(thread, NULL);
}

static void overflow_large(void)
{
	const struct cleat_run_options opt = { .stack = MIB,
					       .backend = both_backend() };

	(void)cleat_run(overflow_among_others, NULL, &opt);
}

static void overflow_is_named(void)
{
	static void (*const ways[])(void) = {
		overflow_first,          overflow_in_a_crowd,
		overflow_in_a_later_run, overflow_in_another_thread,
		overflow_large,
	};

	for (size_t i = 0; i < COUNT(ways); i++) {
		struct outcome o = in_child(ways[i]);

		assert_exited(&o, 70);
		if (!strstr(o.said, "overflowing_entry"))
			fail_msg("says only: %s", o.said);
		assert_ptr_equal(strchr(o.said, '\n'),
				 o.said + strlen(o.said) - 1);
	}
}

static void nameless_entry(void *arg)
{
	overflowing_entry(arg);
}

static void overflow_without_name(void)
{
	(void)both_run(nameless_entry, NULL);
}

/* The dynamic linker has no name for it. */
static void static_entry_is_named(void)
{
	struct outcome o = in_child(overflow_without_name);

	assert_exited(&o, 70);
	if (!strstr(o.said, "fiber nameless_entry (") || !strstr(o.said, "+0x"))
		fail_msg("says only: %s", o.said);
}

static size_t read_self(char **data)
{
	FILE *f = fopen("/proc/self/exe", "re");
	size_t n;

	assert_non_null(f);
	assert_int_equal(fseek(f, 0, SEEK_END), 0);
	n = (size_t)ftell(f);
	*data = malloc(n);
	rewind(f);
	assert_int_equal(fread(*data, 1, n, f), n);
	(void)fclose(f);
	return n;
}

static const char *symbol_in(const char *data, size_t len)
{
	char path[] = "/tmp/cleat-symbol-XXXXXX";
	int fd = mkstemp(path);
	const char *name;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, len), len);
	(void)close(fd);
	name = cleat__symbol((const void *)(uintptr_t)nameless_entry, path,
			     data); /* which is no base of ours */
	(void)unlink(path);
	return name;
}

/* Of files that are not what they seem, nothing is believed. */
static void cut_files_have_no_names(void)
{
	char *data;
	size_t len = read_self(&data);

	for (size_t i = 0; i < 20; i++)
		(void)symbol_in(data, len * i / 20);
	assert_null(symbol_in(data, 10));
	assert_null(symbol_in(data, 100));
	memset(data + 16, 0xff, 48); /* the rest of its header */
	assert_null(symbol_in(data, len));
	assert_null(symbol_in("not at all", 10));
	assert_null(cleat__symbol(data, "/nonexistent", data));
	free(data);
}

/* Other faults */

static void write_there(void *arg)
{
	(void)arg;
	*(volatile char *)forbidden = 1;
}

static void fault_on_a_fiber(void)
{
	(void)both_run(write_there, NULL);
}

static void fault_after_a_run(void)
{
	MUST(both_run(do_nothing, NULL) == 0);
	write_there(NULL);
}

static void raise_it(void *arg)
{
	(void)arg;
	(void)raise(SIGSEGV);
}

static void raise_on_a_fiber(void)
{
	(void)both_run(raise_it, NULL);
}

static void raise_after_a_run(void)
{
	MUST(both_run(do_nothing, NULL) == 0);
	raise_it(NULL);
}

static void fault_in_a_helper(void *arg)
{
	(void)arg;
	(void)cleat_offload(write_there, NULL);
}

static void fault_while_offloaded(void)
{
	(void)both_run(fault_in_a_helper, NULL);
}

static void other_faults_kill(void)
{
	static void (*const ways[])(void) = {
		fault_on_a_fiber,  fault_after_a_run,     raise_on_a_fiber,
		raise_after_a_run, fault_while_offloaded,
	};

	for (size_t i = 0; i < COUNT(ways); i++) {
		struct outcome o = in_child(ways[i]);

		assert_killed(&o, SIGSEGV);
		assert_null(strstr(o.said, "stack overflow"));
	}
}

static void own_handler(int sig, siginfo_t *info, void *uc)
{
	(void)uc;
	_exit(sig == SIGSEGV && info->si_addr == forbidden ? 33 : 34);
}

static void old_handler(int sig)
{
	_exit(sig == SIGSEGV ? 35 : 36);
}

static void fault_with_own_handler(void)
{
	struct sigaction sa = { .sa_sigaction = own_handler,
				.sa_flags = SA_SIGINFO };

	MUST(sigaction(SIGSEGV, &sa, NULL) == 0);
	fault_on_a_fiber();
}

static void fault_with_old_handler(void)
{
	struct sigaction sa = { .sa_handler = old_handler };

	MUST(sigaction(SIGSEGV, &sa, NULL) == 0);
	fault_on_a_fiber();
}

static void overflow_with_own_handler(void)
{
	struct sigaction sa = { .sa_sigaction = own_handler,
				.sa_flags = SA_SIGINFO };

	MUST(sigaction(SIGSEGV, &sa, NULL) == 0);
	overflow_first();
}

static void handlers_before_ours(void)
{
	struct outcome o = in_child(fault_with_own_handler);

	assert_exited(&o, 33);
	o = in_child(fault_with_old_handler);
	assert_exited(&o, 35);
	o = in_child(overflow_with_own_handler);
	assert_exited(&o, 70);
}

/* The thread's own signal stack is as it was. */
static void compare_signal_stacks(void)
{
	static char mine[64 * KIB];
	stack_t before = { .ss_sp = mine, .ss_size = sizeof(mine) }, after;

	MUST(sigaltstack(&before, NULL) == 0);
	MUST(both_run(do_nothing, NULL) == 0);
	MUST(sigaltstack(NULL, &after) == 0);
	MUST(after.ss_sp == mine && after.ss_size == sizeof(mine));
}

static void signal_stack_is_restored(void)
{
	struct outcome o = in_child(compare_signal_stacks);

	assert_exited(&o, 0);
}

/* Memory */

/* Resident, as the second number of statm(5) says. */
static size_t resident(void)
{
	FILE *f = fopen("/proc/self/statm", "re");
	unsigned long pages = 0;

	MUST(f && fscanf(f, "%*u %lu", &pages) == 1);
	(void)fclose(f);
	return pages * (size_t)sysconf(_SC_PAGESIZE);
}

#define PEAK 2000 /* fibers */
#define DEEP ((size_t)40 * KIB)

static void touch_and_sleep(void *arg)
{
	use(__builtin_frame_address(0), DEEP, false);
	(void)cleat_sleep(CLEAT_FOREVER);
	(void)arg;
}

static void peak_and_fall(void *arg)
{
	size_t before = resident(), low = before;

	(void)arg;
	for (int round = 0; round < 3; round++) {
		struct cleat_scope *s;
		size_t peak, after;

		MUST(cleat_scope_open(&s, 0) == 0);
		for (int i = 0; i < PEAK; i++)
			MUST(cleat_go(s, touch_and_sleep, NULL,
				      CLEAT_FOREVER) == 0);
		MUST(cleat_yield() == 0);
		peak = resident();
		cleat_scope_close(s);
		after = resident();
		(void)fprintf(stderr, "%zu, %zu at the peak, %zu MiB after\n",
			      before / MIB, peak / MIB, after / MIB);
		MUST(peak >= before + PEAK * DEEP);
		MUST(after < before + (peak - before) / 3);
		MUST(round == 0 || after < low + PEAK * DEEP / 10);
		low = after;
	}
}

static void peaks(void)
{
	MUST(both_run(peak_and_fall, NULL) == 0);
}

static void memory_is_given_back(void)
{
	struct outcome o = in_child(peaks);

	assert_exited(&o, 0);
}

static void pool_uses_stacks_again(void)
{
	enum {
		MANY = 1000
	};
	static void *stacks[MANY];
	struct cleat__stack_pool p;
	size_t made;

	cleat__stack_pool_init(&p, 0);
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < MANY; i++) {
			stacks[i] = cleat__stack_get(&p);
			assert_non_null(stacks[i]);
			memset(stacks[i], round, cleat__stack_bytes(&p));
		}
		assert_int_equal(p.live, MANY);
		if (round == 0)
			made = p.made;
		assert_int_equal(p.made, made);
		for (int i = 0; i < MANY; i++)
			cleat__stack_put(&p, stacks[i]);
		assert_int_equal(p.live, 0);
		assert_int_equal(p.n_idle, MANY);
	}
	cleat__stack_pool_done(&p);
}

/* Fibers come and go; what has been given back is new again and works. */
static void pool_stays_whole(void)
{
	enum {
		MANY = 1500
	};
	static unsigned *stacks[MANY];
	struct cleat__stack_pool p;
	unsigned seed = 1;

	cleat__stack_pool_init(&p, 16 * KIB);
	for (unsigned step = 0; step < 20000; step++) {
		unsigned **at;

		seed = seed * 1103515245 + 12345;
		/* Waves, so that it cools and warms. */
		at = &stacks[(seed >> 8) % (step / 2000 % 2 ? MANY : 50)];
		if (*at) {
			assert_int_equal(**at, (unsigned)(at - stacks));
			cleat__stack_put(&p, *at);
			*at = NULL;
		} else {
			*at = cleat__stack_get(&p);
			assert_non_null(*at);
			**at = (unsigned)(at - stacks);
		}
		assert_true(p.n_cold <= p.n_idle);
		assert_int_equal(p.made, p.live + p.n_idle);
	}
	cleat__stack_pool_done(&p);
}

/* No more address space: said so, and survived. */

struct shortage {
	size_t fibers;
	int err;
};

static void go_on_and_on(void *arg)
{
	struct shortage *sh = arg;
	struct cleat_scope *s;

	MUST(cleat_scope_open(&s, 0) == 0);
	sh->err = 0;
	for (sh->fibers = 0; sh->err == 0 && sh->fibers < 4000; sh->fibers++)
		sh->err = cleat_go(s, sleep_for_ever, NULL, CLEAT_FOREVER);
	MUST(cleat_sleep(cleat_in(CLEAT_MSEC)) == 0);
	cleat_scope_close(s);
	MUST(cleat_scope_open(&s, 0) == 0);
	for (int i = 0; i < 100; i++)
		MUST(cleat_go(s, do_nothing, NULL, CLEAT_FOREVER) == 0);
	MUST(cleat_scope_wait(s, CLEAT_FOREVER) == 0);
	cleat_scope_close(s);
}

static size_t address_space(void)
{
	FILE *f = fopen("/proc/self/statm", "re");
	unsigned long pages = 0;

	MUST(f && fscanf(f, "%lu", &pages) == 1);
	(void)fclose(f);
	return pages * (size_t)sysconf(_SC_PAGESIZE);
}

static void run_short(void)
{
	struct rlimit r = { .rlim_cur = address_space() + 64 * MIB };
	struct shortage sh;

	r.rlim_max = r.rlim_cur;
	MUST(setrlimit(RLIMIT_AS, &r) == 0);
	MUST(both_run(go_on_and_on, &sh) == 0);
	/* An emulator has no such limit. */
	MUST(sh.err == -ENOMEM || sh.fibers == 4000);
	if (sh.err == -ENOMEM)
		MUST(sh.fibers > 100);
}

static void no_more_memory(void)
{
	struct outcome o = in_child(run_short);

	assert_exited(&o, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		THREAD(sizes),
		THREAD(overflow_is_named),
		THREAD(static_entry_is_named),
		THREAD(cut_files_have_no_names),
		THREAD(other_faults_kill),
		THREAD(handlers_before_ours),
		THREAD(signal_stack_is_restored),
		THREAD(memory_is_given_back),
		THREAD(pool_uses_stacks_again),
		THREAD(pool_stays_whole),
		THREAD(no_more_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
