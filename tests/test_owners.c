/* SPDX-License-Identifier: MIT */
/* Whose sockets are, also while processes come and go; and snapshots when
 * memory or descriptors run out.
 */
#include "inspect.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "fault.h"
#include "inspect/walk.h"

static unsigned port_of(int fd)
{
	const struct cleat_sockaddr name = name_of(fd);

	return cleat_sockaddr_port(&name);
}

static void check_children(int fd, int twin, unsigned n)
{
	const struct cleat_socket *k = get(fd);

	assert_int_equal(k->n_owners, 2 * (n + 1));
	for (unsigned i = 0; i < k->n_owners; i++) {
		const struct cleat_owner *o = &k->owners[i];

		assert_string_equal(o->command, o->pid == getpid()
							? "test_owners"
							: "child");
		assert_int_equal(o->fd, i % 2 ? twin : fd);
		if (i > 0)
			assert_true(o[-1].pid <= o->pid);
	}
}

/* Asked for all sockets, and for this one alone. */
static void many_owners(void)
{
	int fd = listening("127.0.0.1", 0), twin = keep(dup(fd));
	const struct cleat_query alone = { .port = port_of(fd) };
	pid_t children[5];

	for (size_t i = 0; i < COUNT(children); i++)
		children[i] = start_child("child");
	take(NULL);
	check_children(fd, twin, COUNT(children));
	take(&alone);
	check_children(fd, twin, COUNT(children));
	for (size_t i = 0; i < COUNT(children); i++)
		end_child(children[i]);
	take(NULL);
	assert_int_equal(get(fd)->n_owners, 2);
	take(&alone);
	assert_int_equal(get(fd)->n_owners, 2);
}

static unsigned count_owners(const struct cleat_socket *s, pid_t pid, int fd)
{
	unsigned n = 0;

	for (unsigned i = 0; i < s->n_owners; i++)
		n += s->owners[i].pid == pid && s->owners[i].fd == fd;
	return n;
}

/* A descriptor like FD, from FIRST on. */
static int copy(int fd, int first)
{
	return keep(fcntl(fd, F_DUPFD_CLOEXEC, first));
}

/* One after another, with gaps of one, of several, and of nearly all. */
static void scattered(void)
{
	static const int steps[] = { 1, 1, 1, 1, 1, 1, 1,  1,  1,  1,   2,
				     1, 1, 2, 1, 1, 1, 10, 90, 30, 1000 };
	int fd = listening("127.0.0.1", 0), at[COUNT(steps)], last = fd;

	for (size_t n = 0; n < COUNT(steps); n++) {
		at[n] = last = copy(fd, last + steps[n]);
		take(NULL);
		assert_int_equal(get(fd)->n_owners, n + 2);
		assert_int_equal(count_owners(get(fd), getpid(), fd), 1);
		for (size_t i = 0; i <= n; i++)
			assert_int_equal(count_owners(get(fd), getpid(), at[i]),
					 1);
	}
}

static void open_and_close(void)
{
	for (;;) {
		int v[8];

		for (size_t i = 0; i < COUNT(v); i++)
			v[i] = dup(0);
		for (size_t i = 0; i < COUNT(v); i++)
			close(v[i]);
	}
}

/* How many descriptors there are then says little about which there are. */
static void beside_those_that_come_and_go(void)
{
	const int fd = listening("127.0.0.1", 0), high = copy(fd, fd + 20);
	const struct cleat_query q = { .port = port_of(fd) };
	pid_t pid;

	pid = fork();
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		open_and_close();
	}
	for (int i = 0; i < 100; i++) {
		take(&q);
		assert_int_equal(count_owners(get(fd), pid, fd), 1);
		assert_int_equal(count_owners(get(fd), pid, high), 1);
	}
	end_child(pid);
}

/* Has the socket for good as HIGH, and as FD for moments. */
static void take_and_leave(int fd, int high)
{
	const int other = open("/dev/null", O_RDONLY);

	for (;;) {
		(void)dup2(other, fd);
		(void)dup2(high, fd);
		close(fd);
		(void)dup2(high, fd);
	}
}

/* Never has the socket by one number for long, nor by the same again. */
static void move(int fd, int high)
{
	const struct timespec moment = { .tv_nsec = 20 * 1000 };
	int to;

	close(high);
	while ((to = fcntl(fd, F_DUPFD_CLOEXEC, fd + 1)) >= 0) {
		close(fd);
		fd = to;
		(void)nanosleep(&moment, NULL); /* the numbers have to last */
	}
	for (;;)
		(void)pause();
}

/* What other descriptors are compared with does not last. */
static void beside_an_unsteady_one(void (*unsettle)(int fd, int high))
{
	const int fd = listening("127.0.0.1", 0), high = copy(fd, fd + 9);
	const struct cleat_query q = { .port = port_of(fd) };
	pid_t unsteady = fork(), steady;

	if (unsteady == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		unsettle(fd, high);
	}
	steady = start_child("steady");
	leave(high);
	leave(fd);
	for (int i = 0; i < 100; i++) {
		take(&q);
		assert_int_equal(snap->n, 1);
		assert_int_equal(count_owners(snap->v, steady, fd), 1);
		assert_int_equal(count_owners(snap->v, steady, high), 1);
	}
	end_child(unsteady);
	end_child(steady);
}

static void beside_one_that_is_there_at_times(void)
{
	beside_an_unsteady_one(take_and_leave);
}

static void beside_one_that_moves(void)
{
	beside_an_unsteady_one(move);
}

static void no_owners(void)
{
	const struct cleat_query q = { .owners = CLEAT_OFF };
	int fd = listening("127.0.0.1", 0);

	take(&q);
	assert_int_equal(get(fd)->n_owners, 0);
	assert_int_equal(snap->hidden, 0);
}

static void command_names(void)
{
	static const char *const names[] = {
		"two words",       "(sd-pam)",    "a)b (c",   "\n",
		"line\nline",      "\033[31mred", "\x7f\xff", "",
		"fifteen letters", " x\n\n",
	};
	int fd = listening("127.0.0.1", 0);

	for (size_t i = 0; i < COUNT(names); i++) {
		pid_t c = start_child(names[i]);
		const struct cleat_socket *k;

		take(NULL);
		k = get(fd);
		assert_int_equal(k->n_owners, 2);
		assert_string_equal(k->owners[k->owners[0].pid != c].command,
				    names[i]);
		end_child(c);
	}
}

/* A descriptor that is in flight is nobody's. */
static void hidden(void)
{
	int fd[2], away = listening("127.0.0.1", 0);
	unsigned inode = inode_of(away);
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(int))];
	} control = { .align = { .cmsg_level = SOL_SOCKET,
				 .cmsg_type = SCM_RIGHTS,
				 .cmsg_len = CMSG_LEN(sizeof(int)) } };
	struct iovec v = { (char[1]){ 'x' }, 1 };
	struct msghdr m = { .msg_iov = &v,
			    .msg_iovlen = 1,
			    .msg_control = &control,
			    .msg_controllen = sizeof(control) };
	size_t found = 0;

	memcpy(CMSG_DATA(&control.align), &away, sizeof(int));
	take(NULL);
	assert_int_equal(snap->hidden, 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd),
			 0);
	assert_int_equal(sendmsg(fd[0], &m, 0), 1);
	leave(away);
	keep(fd[0]);
	keep(fd[1]);
	take(NULL);
	assert_int_equal(snap->hidden, 1);
	for (size_t i = 0; i < snap->n; i++) {
		if (snap->v[i].inode != inode)
			continue;
		assert_int_equal(snap->v[i].n_owners, 0);
		found++;
	}
	assert_int_equal(found, 1);
}

static void in_child(int (*look)(int fd))
{
	const int fd = listening("127.0.0.1", 0);
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(look(fd));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(status, 0);
}

/* Another user sees the sockets, but not whose they are: 0 if so. */
static int look_as_nobody(int fd)
{
	const unsigned inode = inode_of(fd);
	const uid_t uid = getuid();
	struct cleat_sockets *s;

	close(fd);
	if (setresuid(65534, 65534, 65534) < 0)
		return 77;
	if (cleat_sockets_new(&s, NULL) < 0)
		return 1;
	for (size_t i = 0; i < s->n; i++) {
		const struct cleat_socket *k = &s->v[i];

		if (k->inode == inode)
			return k->n_owners == 0 && k->uid == uid &&
					       s->hidden > 0
				       ? 0
				       : 2;
	}
	return 3;
}

static void as_nobody(void)
{
	in_child(look_as_nobody);
}

/* 0 if the parent, whose number is PARENT, and one more have FD. */
static int look_for_two(int fd, pid_t parent)
{
	const struct cleat_query q = { .port = port_of(fd) };
	struct cleat_sockets *s;

	if (cleat_sockets_new(&s, &q) < 0)
		return 1;
	if (s->n != 1 || s->v->n_owners < 2)
		return 2;
	return count_owners(s->v, parent, fd) == 1 ? 0 : 3;
}

/* Files cannot be compared here, as in many a container. */
static int look_without_kcmp(int fd)
{
	static struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_kcmp, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	static const struct sock_fprog program = { COUNT(code), code };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
		return 77;
	return look_for_two(fd, getppid());
}

static void without_kcmp(void)
{
	in_child(look_without_kcmp);
}

/* The numbers in /proc are those of another PID namespace. */
static int look_from_inside(int fd)
{
	const pid_t parent = getppid();
	int status;
	pid_t pid;

	if (unshare(CLONE_NEWPID) < 0)
		return 77;
	pid = fork();
	if (pid == 0)
		_exit(look_for_two(fd, parent));
	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return 4;
	return WEXITSTATUS(status);
}

static void from_inside(void)
{
	in_child(look_from_inside);
}

/* Forks and ends children for as long as it is let, each with all that this
 * process has.
 */
static void churn_processes(void)
{
	const pid_t parent = getppid();

	while (getppid() == parent) {
		pid_t pid = fork();

		if (pid == 0)
			_exit(0);
		(void)waitpid(pid, NULL, 0);
	}
}

static void vanishing(void)
{
	int fd = listening("127.0.0.1", 0);
	pid_t pids[3];

	for (size_t i = 0; i < COUNT(pids); i++) {
		pids[i] = fork();
		if (pids[i] == 0) {
			churn_processes();
			_exit(0);
		}
	}
	for (int i = 0; i < 100; i++) {
		take(NULL);
		assert_int_equal(count_owners(get(fd), getpid(), fd), 1);
	}
	for (size_t i = 0; i < COUNT(pids); i++)
		end_child(pids[i]);
}

/* More processes than one walker takes. */
static void many_processes(void)
{
	int fd = listening("127.0.0.1", 0);
	pid_t children[40];

	for (size_t i = 0; i < COUNT(children); i++)
		children[i] = start_child("child");
	take(NULL);
	assert_int_equal(get(fd)->n_owners, COUNT(children) + 1);
	assert_int_equal(snap->hidden, 0);
	for (size_t i = 0; i < COUNT(children); i++)
		end_child(children[i]);
}

static void *take_many(void *arg)
{
	const struct cleat_query q = { .kinds = CLEAT_KIND_TCP };
	int fd = *(const int *)arg;

	for (int i = 0; i < 20; i++) {
		struct cleat_sockets *s;
		size_t n = 0;

		if (cleat_sockets_new(&s, &q) < 0)
			return arg;
		for (size_t k = 0; k < s->n; k++)
			n += s->v[k].inode == inode_of(fd) &&
			     s->v[k].n_owners == 1;
		cleat_sockets_free(s);
		if (n != 1)
			return arg;
	}
	return NULL;
}

static void on_many_threads(void)
{
	int fd = listening("127.0.0.1", 0);
	pthread_t threads[4];
	void *failed;

	for (size_t i = 0; i < COUNT(threads); i++)
		assert_int_equal(
			pthread_create(&threads[i], NULL, take_many, &fd), 0);
	for (size_t i = 0; i < COUNT(threads); i++) {
		assert_int_equal(pthread_join(threads[i], &failed), 0);
		assert_null(failed);
	}
}

static void links(void)
{
	static const struct {
		const char *link;
		unsigned want;
	} cases[] = {
		{ "socket:[123]", 123 },
		{ "socket:[4294967295]", 4294967295u },
		{ "socket:[4294967296]", 0 },
		{ "socket:[99999999999999999999999]", 0 },
		{ "socket:[0]", 0 },
		{ "socket:[]", 0 },
		{ "socket:[12", 0 },
		{ "socket:[12]]", 0 },
		{ "socket:[1x]", 0 },
		{ "socket:", 0 },
		{ "socket:[", 0 },
		{ "pipe:[123]", 0 },
		{ "/dev/null", 0 },
		{ "", 0 },
	};

	for (size_t i = 0; i < COUNT(cases); i++)
		assert_int_equal(
			cleat__link_inode(cases[i].link, strlen(cases[i].link)),
			cases[i].want);
}

/* What can fail, does */

static int scenario(void)
{
	struct cleat_sockets *s = NULL;
	int err = cleat_sockets_new(&s, NULL);

	if (err < 0) {
		assert_null(s);
		assert_non_null(strstr(cleat_why(), "list sockets: "));
	}
	cleat_sockets_free(s);
	return err;
}

/* Sockets and processes enough for every path there is. */
static void faults(void)
{
	pid_t children[40];
	struct both_left before;
	unsigned long n = 0;
	const char *failed;

	for (int i = 0; i < 40; i++)
		keep(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
	for (size_t i = 0; i < COUNT(children); i++)
		children[i] = start_child("child");
	before = both_count();
	do {
		long live = fault_live();
		int err;

		fault_arm(FAULT_ERROR, ++n);
		err = scenario();
		failed = fault_disarm();
		if (err < 0 && !failed)
			fail_msg("%d for no reason", err);
		if (fault_live() != live)
			fail_msg("%ld blocks left after %s (call %lu) failed",
				 fault_live() - live, failed, n);
		both_assert_nothing_left(before);
	} while (failed);
	assert_true(n > 10);
	for (size_t i = 0; i < COUNT(children); i++)
		end_child(children[i]);
}

/* Without a descriptor to spare nothing could be told: that is an error. */
static void no_descriptors(void)
{
	struct rlimit old, few;
	struct cleat_sockets *s;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	few = old;
	few.rlim_cur = (rlim_t)new_socket(AF_INET, SOCK_STREAM) + 1;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	assert_int_equal(cleat_sockets_new(&s, NULL), -EMFILE);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_string_equal(
		cleat_why(),
		"list sockets: too many open files; raise ulimit -n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		EITHER(many_owners),
		EITHER(no_owners),
		EITHER(scattered),
		ALONE(beside_those_that_come_and_go),
		ALONE(command_names),
		EITHER(hidden),
		ALONE(beside_one_that_is_there_at_times),
		ALONE(beside_one_that_moves),
		ALONE(as_nobody),
		ALONE(without_kcmp),
		ALONE(from_inside),
		ALONE(vanishing),
		EITHER(many_processes),
		ALONE(on_many_threads),
		ALONE(links),
		ALONE(faults),
		EITHER(no_descriptors),
	};

	if (!in_own_namespace()) {
		puts("skipped: no network namespace of its own to be had");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
