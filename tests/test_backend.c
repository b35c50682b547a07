/* SPDX-License-Identifier: MIT */
/* Choosing a backend, being refused one, and what one leaves behind. */
#include "held.h"
#include "pair.h"

#include <limits.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <sys/wait.h>

#define CONNS 200000
#define WARM_UP 2000

/* TSan takes the child of a fiber for one of its thread. */
#ifdef CLEAT__TSAN
#define CAN_FORK false
#else
#define CAN_FORK true
#endif

static void note_name(void *arg)
{
	*(const char **)arg = cleat__self->backend->name;
}

static const char *run_on(enum cleat_backend backend, int want)
{
	const struct cleat_run_options opt = { .backend = backend };
	const char *name = NULL;

	assert_int_equal(cleat_run(note_name, &name, &opt), want);
	return name;
}

static void by_name(void)
{
	assert_string_equal(run_on(CLEAT_BACKEND_EPOLL, 0), "epoll");
	assert_non_null(run_on(CLEAT_BACKEND_AUTO, 0));
	if (both_backend() == CLEAT_BACKEND_URING)
		assert_string_equal(run_on(CLEAT_BACKEND_URING, 0), "uring");
}

static bool kernel_is_before(int major, int minor)
{
	struct utsname u;
	int has[2] = { 0 };

	assert_int_equal(uname(&u), 0);
	assert_int_equal(sscanf(u.release, "%d.%d", &has[0], &has[1]), 2);
	return has[0] < major || (has[0] == major && has[1] < minor);
}

static void expect_nothing(struct cleat_conn *c)
{
	char byte;

	assert_int_equal(cleat_recv(c, &byte, 1, 0), -ETIMEDOUT);
}

static void converse(struct pair *p, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		const void *data;
		char byte;

		ok(cleat_send(p->a, "?", 1, soon()));
		assert_int_equal(cleat_view(p->b, &data, soon()), 1);
		ok(cleat_send(p->b, data, 1, soon()));
		assert_int_equal(cleat_recv(p->a, &byte, 1, soon()), 1);
	}
}

/* Whether this process has a ring: that is, its memory. */
static bool has_ring(void)
{
	FILE *f = fopen("/proc/self/maps", "re");
	char line[512];
	bool found = false;

	while (fgets(line, sizeof(line), f))
		found |= strstr(line, "[io_uring]") != NULL;
	(void)fclose(f);
	return found;
}

/* With these it is worth its cost. */
static void need_ring(void *arg)
{
	static struct pair p[70];
	bool *has = arg;

	for (size_t i = 0; i < COUNT(p); i++) {
		pair_open(&p[i], "127.0.0.1:0");
		expect_nothing(p[i].b);
	}
	*has = has_ring();
	for (size_t i = 0; i < COUNT(p); i++) {
		converse(&p[i], 40);
		pair_close(&p[i]);
	}
}

/* A pair, from few messages to many: has it a ring before, and after? */
static void one_pair(void *arg)
{
	struct pair p;
	bool *has = arg;

	pair_open(&p, "127.0.0.1:0");
	expect_nothing(p.b);
	converse(&p, 5);
	has[0] = has_ring();
	converse(&p, 40);
	has[1] = has_ring();
	pair_close(&p);
}

/* Where it is allowed, and does not seem to wait for a disk. */
static void chosen(void)
{
	const bool want = !kernel_is_before(6, 15);
	bool has[2];

	if (both_backend() != CLEAT_BACKEND_URING)
		return; /* perhaps not built */
	ok(cleat_run(need_ring, has, NULL));
	assert_int_equal(has[0], want);
	ok(cleat_run(one_pair, has, NULL));
	assert_false(has[0]);
	assert_int_equal(has[1], want);
}

/* From now on the system call NR fails with EPERM. */
static void forbid(unsigned nr)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { COUNT(filter), filter };

	assert_int_equal(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	assert_int_equal(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program),
			 0);
}

static void refused_by(unsigned nr)
{
	pid_t child = fork();
	bool has = true;
	int status;

	if (child == 0) {
		forbid(nr);
		(void)run_on(CLEAT_BACKEND_URING, -EPERM);
		ok(cleat_run(need_ring, &has, NULL));
		assert_false(has);
		_exit(0);
	}
	assert_true(child > 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static void refused(void)
{
	if (both_backend() != CLEAT_BACKEND_URING)
		return; /* perhaps not built */
	refused_by(SYS_io_uring_setup);
	refused_by(SYS_io_uring_enter);
}

/* Connections of a scheduler whose ring is refused while it is in use. */
struct later {
	struct cleat_scope *s;
	struct pair idle, fed, waiting;
	int received; /* by those that waited */
};

static void recv_later(void *arg)
{
	struct later *l = arg;
	char byte;

	assert_int_equal(cleat_recv(l->waiting.b, &byte, 1, soon()), 1);
	l->received++;
}

static void later_open(struct later *l)
{
	char byte;

	ok(cleat_scope_open(&l->s, 0));
	pair_open(&l->idle, "127.0.0.1:0");
	assert_int_equal(cleat_recv(l->idle.b, &byte, 1, 0), -ETIMEDOUT);
	assert_int_equal(cleat_recv(l->idle.b, &byte, 1, cleat_in(1)),
			 -ETIMEDOUT);
	pair_open(&l->fed, "127.0.0.1:0");
	converse(&l->fed, 40);
	ok(cleat_send(l->fed.a, "unread", 6, soon()));
	pair_open(&l->waiting, "127.0.0.1:0");
	ok(cleat_go(l->s, recv_later, l, CLEAT_FOREVER));
	ok(cleat_yield());
}

static void later_close(struct later *l)
{
	char got[8];

	assert_int_equal(cleat_recv_exactly(l->fed.b, got, 6, soon()), 6);
	assert_memory_equal(got, "unread", 6);
	converse(&l->fed, 40);
	ok(cleat_send(l->waiting.a, "x", 1, soon()));
	ok(cleat_scope_wait(l->s, soon()));
	assert_int_equal(l->received, 1);
	converse(&l->idle, 40);
	pair_close(&l->idle);
	pair_close(&l->fed);
	pair_close(&l->waiting);
	cleat_scope_close(l->s);
}

static void nothing(void *arg)
{
	(void)arg;
}

static void refused_later(void *arg)
{
	struct later l = { 0 };
	struct pair new;

	(void)arg;
	later_open(&l);
	forbid(SYS_io_uring_enter);
	ok(cleat_offload(nothing, NULL));
	pair_open(&new, "127.0.0.1:0");
	converse(&new, 40);
	pair_close(&new);
	later_close(&l);
}

/* The first to notice is a close. */
static void refused_at_close(void *arg)
{
	struct later l = { 0 };

	(void)arg;
	later_open(&l);
	forbid(SYS_io_uring_enter);
	cleat_close(l.idle.b);
	l.idle.b = NULL;
	pair_close(&l.idle);
	pair_open(&l.idle, "127.0.0.1:0");
	later_close(&l);
}

static void refused_while(void (*fn)(void *))
{
	pid_t child = fork();
	int status;

	if (child == 0) {
		(void)alarm(30);
		ok(both_run(fn, NULL));
		_exit(0);
	}
	assert_true(child > 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static void refused_in_use(void)
{
	if (both_backend() != CLEAT_BACKEND_URING)
		return;
	refused_while(refused_later);
	refused_while(refused_at_close);
}

static void expect_end(struct cleat_conn *c)
{
	char byte;

	assert_int_equal(cleat_recv(c, &byte, 1, soon()), 0);
}

/* A process that is killed, and the child that it leaves behind. */
struct left {
	struct cleat_listener *l;
	int ready[2], over[2];
};

static void outlive(const struct left *left)
{
	char byte;

	close(left->over[1]);
	(void)!write(left->ready[1], "x", 1);
	(void)!read(left->over[0], &byte, 1);
	_exit(0);
}

/* One connection is polled, and one fed, if the backend can. */
static void leave_child(void *arg)
{
	const struct left *left = arg;
	struct cleat_conn *c[2];
	const void *data;
	char byte;

	connect_to(&c[0], left->l);
	connect_to(&c[1], left->l);
	assert_int_equal(cleat_recv(c[0], &byte, 1, cleat_in(1)), -ETIMEDOUT);
	for (int i = 0; i < 40; i++) {
		assert_int_equal(cleat_view(c[1], &data, soon()), 1);
		ok(cleat_send(c[1], data, 1, soon()));
	}
	if (fork() == 0) {
		close(cleat_conn_fd(c[0]));
		close(cleat_conn_fd(c[1]));
		outlive(left);
	}
	assert_int_equal(read(left->ready[0], &byte, 1), 1);
	(void)kill(getpid(), SIGKILL);
}

static void answer_all(struct cleat_conn *c)
{
	char byte;

	for (int i = 0; i < 40; i++) {
		ok(cleat_send(c, "x", 1, soon()));
		assert_int_equal(cleat_recv(c, &byte, 1, soon()), 1);
	}
}

/* The end of a process ends its connections, whatever its children do. */
static void left_behind(void)
{
	struct cleat_conn *c[2];
	struct left left;
	int status;
	pid_t child;

	if (both_backend() == CLEAT_BACKEND_URING && kernel_is_before(6, 15))
		return;
	ok(cleat_listen(&left.l, "127.0.0.1:0", NULL));
	assert_int_equal(pipe(left.ready), 0);
	assert_int_equal(pipe(left.over), 0);
	child = fork();
	if (child == 0) {
		(void)alarm(30);
		ok(both_run(leave_child, &left));
	}
	ok(cleat_accept(left.l, &c[0], soon()));
	ok(cleat_accept(left.l, &c[1], soon()));
	answer_all(c[1]);
	expect_end(c[0]);
	expect_end(c[1]);
	assert_int_equal(waitpid(child, &status, 0), child);
	for (int i = 0; i < 2; i++) {
		cleat_close(c[i]);
		close(left.ready[i]);
		close(left.over[i]);
	}
	cleat_unlisten(left.l);
}

/* A child that has not heard that it should not do this. */
static void go_on(struct pair *p)
{
	struct pair new;

	converse(p, 40);
	cleat_close(p->a);
	cleat_close(p->b);
	pair_open(&new, "127.0.0.1:0");
	converse(&new, 40);
	pair_close(&new);
	ok(cleat_sleep(cleat_in(CLEAT_MSEC)));
	_exit(0);
}

static void forked(void)
{
	struct pair polled, fed;
	pid_t child;
	int status;

	if (both_backend() != CLEAT_BACKEND_URING || !CAN_FORK)
		return; /* of an epoll the child would have a half */
	pair_open(&polled, "127.0.0.1:0");
	pair_open(&fed, "127.0.0.1:0");
	converse(&polled, 5);
	converse(&fed, 40);
	child = fork();
	if (child == 0) {
		(void)alarm(30);
		cleat_close(polled.b);
		go_on(&fed);
	}
	assert_true(child > 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	converse(&polled, 40);
	pair_close(&polled);
	pair_close(&fed);
}

/* Threads that wait, each on a ring of its own if that is the backend. */
struct idler {
	pthread_t thread;
	_Atomic pid_t tid;
	int fd[2];
};

static void recv_byte(void *arg)
{
	struct idler *i = arg;
	struct cleat_conn *c;
	char byte;

	ok(cleat_adopt(&c, i->fd[1]));
	i->tid = (pid_t)syscall(SYS_gettid);
	assert_int_equal(cleat_recv(c, &byte, 1, soon()), 1);
	cleat_close(c);
}

static void *idle_main(void *arg)
{
	ok(both_run(recv_byte, arg));
	return NULL;
}

static void idle_begin(struct idler *i)
{
	cleat_time end = soon();

	assert_int_equal(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, i->fd), 0);
	assert_int_equal(pthread_create(&i->thread, NULL, idle_main, i), 0);
	while ((i->tid == 0 || !both_sleeps(i->tid)) && cleat_now() < end)
		(void)sched_yield();
}

static void idle_end(struct idler *i)
{
	put(i->fd[0], "x", 1);
	assert_int_equal(pthread_join(i->thread, NULL), 0);
	close(i->fd[0]);
}

/* Tasks of the machine that wait for a disk: the fewest of some moments. */
static long waiting_for_disk(void)
{
	long least = LONG_MAX;

	for (int i = 0; i < 50; i++) {
		char line[4096];
		FILE *f = fopen("/proc/stat", "re");

		while (fgets(line, sizeof(line), f)) {
			if (strncmp(line, "procs_blocked ", 14) == 0 &&
			    strtol(line + 14, NULL, 10) < least)
				least = strtol(line + 14, NULL, 10);
		}
		(void)fclose(f);
	}
	return least;
}

/* A wait for the network is none for a disk, and does not look like one. */
static void idle(void)
{
	struct idler idlers[16] = { 0 };
	long before = waiting_for_disk(), now;

	if (both_backend() == CLEAT_BACKEND_URING && kernel_is_before(6, 15))
		return;
	for (size_t i = 0; i < COUNT(idlers); i++)
		idle_begin(&idlers[i]);
	now = waiting_for_disk();
	for (size_t i = 0; i < COUNT(idlers); i++)
		idle_end(&idlers[i]);
	/* Other programs may do what they like. */
	assert_in_range(now, 0, before + COUNT(idlers) / 2);
}

static void recv_one(void *arg)
{
	char byte;

	(void)cleat_recv(arg, &byte, 1, CLEAT_FOREVER);
}

static void ended_by_peer(struct pair *p)
{
	ok(cleat_shutdown(p->a, CLEAT_WRITE));
	expect_end(p->b);
}

static void ended_by_both(struct pair *p)
{
	ended_by_peer(p);
	ok(cleat_shutdown(p->b, CLEAT_WRITE));
	expect_end(p->a);
}

/* Closed while the event is on its way. */
static void unread(struct pair *p)
{
	ok(cleat_send(p->a, "x", 1, soon()));
}

static void unread_end(struct pair *p)
{
	unread(p);
	ok(cleat_shutdown(p->a, CLEAT_WRITE));
}

static void cancelled(struct pair *p)
{
	struct cleat_scope *s;

	ok(cleat_scope_open(&s, 0));
	ok(cleat_go(s, recv_one, p->b, CLEAT_FOREVER));
	ok(cleat_yield());
	cleat_scope_close(s);
}

static void as_it_is(struct pair *p)
{
	(void)p;
}

static void (*const endings[])(struct pair *) = {
	as_it_is, ended_by_peer, ended_by_both, unread, unread_end, cancelled,
};

/* With a reset at the end, as TIME_WAIT would keep the port. */
static void end(struct pair *p, unsigned i)
{
	static const struct linger none = { .l_onoff = 1 };

	endings[i % COUNT(endings)](p);
	assert_int_equal(setsockopt(cleat_conn_fd(p->a), SOL_SOCKET, SO_LINGER,
				    &none, sizeof(none)),
			 0);
	if (i / COUNT(endings) % 2) {
		cleat_close(p->a);
		cleat_close(p->b);
	} else {
		cleat_close(p->b);
		cleat_close(p->a);
	}
}

static void come_and_go(struct cleat_listener *l, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct pair p = { .l = l };

		connect_to(&p.a, l);
		ok(cleat_accept(l, &p.b, soon()));
		expect_nothing(p.b);
		if (i % 3)
			expect_nothing(p.a);
		if (i % 100 == 0)
			converse(&p, 20); /* so it is fed */
		end(&p, i);
	}
}

static void nothing_left(void)
{
	struct cleat_listener *l;
	struct held before;

	ok(cleat_listen(&l, "127.0.0.1:0", NULL));
	come_and_go(l, WARM_UP);
	before = held();
	come_and_go(l, CONNS);
	holds_no_more_than(&before);
	cleat_unlisten(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		THREAD(by_name), THREAD(chosen),
		THREAD(refused), THREAD(refused_in_use),
		THREAD(idle),    THREAD(left_behind),
		FIBER(forked),   FIBER(nothing_left),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
