/* SPDX-License-Identifier: MIT */
/* Sockets to be inspected, in a network namespace of their own, and snapshots
 * of them.
 */
#ifndef TESTS_INSPECT_H
#define TESTS_INSPECT_H

#include <cleat/inspect.h>

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "both.h"

/* Sockets of a test, closed by the next one. */
static int fds[64];
static unsigned n_fds;

static inline int keep(int fd)
{
	assert_true(fd >= 0);
	assert_true(n_fds < COUNT(fds));
	fds[n_fds++] = fd;
	return fd;
}

static inline struct cleat_sockaddr at(const char *ip, unsigned port)
{
	struct cleat_sockaddr sa = { 0 };

	if (inet_pton(AF_INET, ip, &sa.in.sin_addr) == 1) {
		sa.len = sizeof(sa.in);
		sa.in.sin_family = AF_INET;
		sa.in.sin_port = htons((uint16_t)port);
	} else {
		assert_int_equal(inet_pton(AF_INET6, ip, &sa.in6.sin6_addr), 1);
		sa.len = sizeof(sa.in6);
		sa.in6.sin6_family = AF_INET6;
		sa.in6.sin6_port = htons((uint16_t)port);
	}
	return sa;
}

static inline struct cleat_sockaddr unix_at(const char *name, size_t len)
{
	struct cleat_sockaddr sa = { .un = { .sun_family = AF_UNIX } };

	memcpy(sa.un.sun_path, name, len);
	sa.len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
	return sa;
}

static inline int new_socket(int family, int type)
{
	return keep(socket(family, type | SOCK_CLOEXEC, 0));
}

static inline void set(int fd, int level, int name, int value)
{
	assert_int_equal(setsockopt(fd, level, name, &value, sizeof(value)), 0);
}

static inline void bind_to(int fd, struct cleat_sockaddr sa)
{
	if (bind(fd, &sa.any, sa.len) < 0)
		fail_msg("bind: %s", strerror(errno));
}

static inline int bound(int type, const char *ip, unsigned port)
{
	struct cleat_sockaddr sa = at(ip, port);
	int fd = new_socket(sa.any.sa_family, type);

	if (type == SOCK_STREAM) /* earlier tests left some in TIME_WAIT */
		set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	bind_to(fd, sa);
	return fd;
}

static inline int listening(const char *ip, unsigned port)
{
	int fd = bound(SOCK_STREAM, ip, port);

	assert_int_equal(listen(fd, 5), 0);
	return fd;
}

static inline struct cleat_sockaddr name_of(int fd)
{
	struct cleat_sockaddr sa = { .len = sizeof(sa.storage) };

	assert_int_equal(getsockname(fd, &sa.any, &sa.len), 0);
	return sa;
}

static inline void connect_fd(int fd, struct cleat_sockaddr sa)
{
	if (connect(fd, &sa.any, sa.len) < 0)
		fail_msg("connect: %s", strerror(errno));
}

static inline int connected(int type, int to)
{
	struct cleat_sockaddr sa = name_of(to);
	int fd = new_socket(sa.any.sa_family, type);

	connect_fd(fd, sa);
	return fd;
}

static inline int accepted(int from)
{
	return keep(accept4(from, NULL, NULL, SOCK_CLOEXEC));
}

static inline unsigned inode_of(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return (unsigned)st.st_ino;
}

/* A snapshot, until the next. */
static struct cleat_sockets *snap;

static inline void take(const struct cleat_query *q)
{
	cleat_sockets_free(snap);
	snap = NULL;
	ok(cleat_sockets_new(&snap, q));
}

static inline const struct cleat_socket *seen(int fd)
{
	const struct cleat_socket *found = NULL;

	for (size_t i = 0; i < snap->n; i++) {
		if (snap->v[i].inode != inode_of(fd))
			continue;
		assert_null(found);
		found = &snap->v[i];
	}
	return found;
}

static inline const struct cleat_socket *get(int fd)
{
	const struct cleat_socket *s = seen(fd);

	assert_non_null(s);
	return s;
}

static inline void leave(int fd)
{
	assert_int_equal(fds[n_fds - 1], fd);
	close(fds[--n_fds]);
}

/* A process that holds what this one does, until it is killed. */
static inline pid_t start_child(const char *name)
{
	int ready[2];
	pid_t pid;
	char byte;

	assert_int_equal(pipe(ready), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		(void)prctl(PR_SET_NAME, name);
		close(ready[0]);
		close(ready[1]);
		for (;;)
			(void)pause();
	}
	close(ready[1]);
	(void)!read(ready[0], &byte, 1); /* until it has closed its end */
	close(ready[0]);
	return pid;
}

static inline void end_child(pid_t pid)
{
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* Each test on a thread and on a fiber; what it holds is let go at its end, or
 * before the next if it failed.
 */
static void (*test)(void);

static inline void let_go(void)
{
	cleat_sockets_free(snap);
	snap = NULL;
	while (n_fds > 0)
		close(fds[--n_fds]);
}

static inline void run_tidily(void)
{
	test();
	let_go();
}

static inline void run_in(void (*way)(void **), void **state)
{
	void *fn = (void *)(uintptr_t)run_tidily;

	let_go();
	test = (void (*)(void))(uintptr_t)*state;
	way(&fn);
}

static inline void in_thread(void **state)
{
	run_in(on_thread, state);
}

static inline void in_fiber(void **state)
{
	run_in(on_fiber, state);
}

#define ALONE(fn) BOTH_WAY(fn, in_thread)
#define EITHER(fn) BOTH_WAY(fn, in_thread), BOTH_WAY(fn, in_fiber)

/* What others do on this machine is none of the tests' business. */
static inline bool in_own_namespace(void)
{
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int fd;

	if (unshare(CLONE_NEWNET) < 0 &&
	    unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
		return false;
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &lo) < 0)
		return false;
	close(fd);
	return true;
}

#endif
