/* SPDX-License-Identifier: MIT */
#include "base/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/time.h"

static int result(int r)
{
	return r < 0 ? -errno : r;
}

/* -ETIMEDOUT is a deadline of ours.  The kernel's own means that keepalive or
 * TCP_USER_TIMEOUT gave up on the peer: "connection aborted by network".
 */
static ssize_t length(ssize_t n)
{
	if (n >= 0)
		return n;
	return errno == ETIMEDOUT ? -ENETRESET : -errno;
}

int sys_socket(int family, int type, int protocol)
{
	return result(
		socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol));
}

int sys_bind(int fd, const struct sockaddr *sa, socklen_t len)
{
	return result(bind(fd, sa, len));
}

int sys_listen(int fd, int backlog)
{
	return result(listen(fd, backlog));
}

/* Not retried on EINTR: the attempt goes on, and a second call would say
 * EALREADY (connect(2), POSIX).
 */
int sys_connect(int fd, const struct sockaddr *sa, socklen_t len)
{
	int err = result(connect(fd, sa, len));

	return err == -EINTR ? -EINPROGRESS : err;
}

int sys_accept(int fd, struct sockaddr *sa, socklen_t *len)
{
	int r;

	do
		r = accept4(fd, sa, len, SOCK_CLOEXEC | SOCK_NONBLOCK);
	while (r < 0 && errno == EINTR);
	return result(r);
}

int sys_shutdown(int fd, int how)
{
	return result(shutdown(fd, how));
}

int sys_getsockname(int fd, struct sockaddr *sa, socklen_t *len)
{
	return result(getsockname(fd, sa, len));
}

int sys_getpeername(int fd, struct sockaddr *sa, socklen_t *len)
{
	return result(getpeername(fd, sa, len));
}

int sys_setsockopt(int fd, int level, int name, const void *value,
		   socklen_t len)
{
	return result(setsockopt(fd, level, name, value, len));
}

int sys_getsockopt(int fd, int level, int name, void *value, socklen_t *len)
{
	return result(getsockopt(fd, level, name, value, len));
}

/* No EINTR loops from here to sys_sendmmsg: the descriptors are non-blocking,
 * and a call that does not sleep is not interrupted (signal(7)).
 */
ssize_t sys_recv(int fd, void *buf, size_t len)
{
	return length(recv(fd, buf, len, 0));
}

ssize_t sys_peek(int fd, void *buf, size_t len)
{
	return length(recv(fd, buf, len, MSG_PEEK));
}

ssize_t sys_send(int fd, const void *data, size_t len)
{
	return length(send(fd, data, len, MSG_NOSIGNAL));
}

ssize_t sys_sendmsg(int fd, const struct msghdr *m)
{
	return length(sendmsg(fd, m, MSG_NOSIGNAL));
}

ssize_t sys_recvmsg(int fd, struct msghdr *m)
{
	return length(recvmsg(fd, m, MSG_CMSG_CLOEXEC));
}

ssize_t sys_recv_error(int fd, struct msghdr *m)
{
	return length(recvmsg(fd, m, MSG_ERRQUEUE));
}

int sys_recvmmsg(int fd, struct mmsghdr *v, unsigned n)
{
	return result(recvmmsg(fd, v, n, MSG_CMSG_CLOEXEC, NULL));
}

int sys_sendmmsg(int fd, struct mmsghdr *v, unsigned n)
{
	return result(sendmmsg(fd, v, n, MSG_NOSIGNAL));
}

ssize_t sys_read(int fd, void *buf, size_t len)
{
	ssize_t n;

	do
		n = read(fd, buf, len);
	while (n < 0 && errno == EINTR);
	return length(n);
}

int sys_write_u64(int fd, unsigned long long value)
{
	uint64_t v = value;
	ssize_t n;

	do
		n = write(fd, &v, sizeof(v));
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

int sys_nonblock(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 ||
	    fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return -errno;
	return 0;
}

int sys_dup(int fd)
{
	return result(fcntl(fd, F_DUPFD_CLOEXEC, 3));
}

/* -EINTR is the caller's to see: only it knows how much time is left. */
int sys_poll(struct pollfd *v, unsigned n, int ms)
{
	return result(poll(v, n, ms));
}

int sys_eventfd(void)
{
	return result(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
}

int sys_epoll_create(void)
{
	return result(epoll_create1(EPOLL_CLOEXEC));
}

int sys_epoll_ctl(int epoll, int op, int fd, struct epoll_event *e)
{
	return result(epoll_ctl(epoll, op, fd, e));
}

/* epoll_pwait2() takes nanoseconds, but from 5.11 on only; a timer that is up
 * to a millisecond late is never early.
 */
int sys_epoll_wait(int epoll, struct epoll_event *v, int n, cleat_time until)
{
	int ready = epoll_wait(epoll, v, n, cleat__left_ms(until));

	return ready < 0 ? 0 : ready;
}

/* Linux frees the number even on EINTR, so a retry could close another's. */
void sys_close(int fd)
{
	(void)close(fd);
}

unsigned sys_cores(void)
{
	cpu_set_t set;
	long n;

	if (sched_getaffinity(0, sizeof(set), &set) == 0)
		return (unsigned)CPU_COUNT(&set);
	n = sysconf(_SC_NPROCESSORS_ONLN); /* more than fit in SET */
	return n > 0 ? (unsigned)n : 1;
}

unsigned sys_fd_limit(void)
{
	struct rlimit r;

	(void)getrlimit(RLIMIT_NOFILE, &r); /* cannot fail */
	return r.rlim_cur < UINT32_MAX ? (unsigned)r.rlim_cur : UINT32_MAX;
}

int sys_thread(pthread_t *thread, void *(*fn)(void *), void *arg)
{
	sigset_t all, before;
	int err;

	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	err = pthread_create(thread, NULL, fn, arg);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -err;
}

/* So few bytes come whole, once the kernel has any, which is soon after it
 * booted (random(4)).
 */
void sys_random(void *buf, size_t len)
{
	ssize_t n;

	do
		n = getrandom(buf, len, 0);
	while (n < 0 && errno == EINTR);
}

pid_t sys_fork(void)
{
	return result(fork());
}

/* Called by number: glibc before 2.36 and musl have no function for it. */
int sys_pidfd_open(pid_t pid)
{
	return result((int)syscall(SYS_pidfd_open, pid, 0));
}

int sys_kcmp(pid_t a, int fd_a, pid_t b, int fd_b)
{
	const int file = 0; /* KCMP_FILE of linux/kcmp.h */

	return result((int)syscall(SYS_kcmp, a, b, file, fd_a, fd_b));
}

pid_t sys_wait(pid_t pid, int *status, int flags)
{
	pid_t r;

	do
		r = waitpid(pid, status, flags);
	while (r < 0 && errno == EINTR);
	return result(r);
}
