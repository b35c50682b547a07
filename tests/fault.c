/* SPDX-License-Identifier: MIT */
#include "fault.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <search.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static atomic_long live, left; /* calls until the fault; 0: disarmed */
static atomic_int armed_kind;
static const char *_Atomic failed;
bool fault_old_kernel;

void fault_arm(enum fault_kind kind, unsigned long n)
{
	atomic_store(&failed, NULL);
	atomic_store(&armed_kind, (int)kind);
	atomic_store(&left, (long)n);
}

const char *fault_disarm(void)
{
	atomic_store(&left, 0);
	return atomic_load(&failed);
}

long fault_live(void)
{
	return atomic_load(&live);
}

bool fault_is_due(enum fault_kind kind, const char *name)
{
	if ((int)kind != atomic_load(&armed_kind) || atomic_load(&left) <= 0 ||
	    atomic_fetch_sub(&left, 1) != 1)
		return false;
	atomic_store(&failed, name);
	return true;
}

/* Each macro makes __wrap_NAME, which the linker puts for NAME, out of
 * __real_NAME, which is the one of libc.
 */
#define DECLARE(type, name, ...)                                               \
	type __real_##name(__VA_ARGS__);                                       \
	type __wrap_##name(__VA_ARGS__);                                       \
	type __wrap_##name(__VA_ARGS__)

#define CALL(type, name, error, args, ...)                                     \
	DECLARE(type, name, __VA_ARGS__)                                       \
	{                                                                      \
		if (fault_is_due(FAULT_ERROR, #name)) {                        \
			errno = error;                                         \
			return (type)-1;                                       \
		}                                                              \
		if (can_eintr(#name) && fault_is_due(FAULT_EINTR, #name)) {    \
			errno = EINTR;                                         \
			return (type)-1;                                       \
		}                                                              \
		return __real_##name args;                                     \
	}

/* Those that sleep, or may: signal(7). */
static bool can_eintr(const char *name)
{
	static const char *const names[] = { "accept4", "poll", "epoll_wait",
					     "read" };

	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(names[i], name) == 0)
			return true;
	}
	return false;
}

/* clang-format off */
CALL(int, socket, EMFILE, (f, t, p), int f, int t, int p)
CALL(int, bind, ENOMEM, (fd, sa, len), int fd, const struct sockaddr *sa, socklen_t len)
CALL(int, listen, ENOBUFS, (fd, n), int fd, int n)
CALL(int, connect, EADDRNOTAVAIL, (fd, sa, len), int fd, const struct sockaddr *sa, socklen_t len)
CALL(int, accept4, EMFILE, (fd, sa, len, flags), int fd, struct sockaddr *sa, socklen_t *len, int flags)
CALL(int, shutdown, ENOTCONN, (fd, how), int fd, int how)
CALL(int, getsockname, ENOBUFS, (fd, sa, len), int fd, struct sockaddr *sa, socklen_t *len)
CALL(int, getpeername, ENOBUFS, (fd, sa, len), int fd, struct sockaddr *sa, socklen_t *len)
CALL(int, setsockopt, ENOMEM, (fd, l, n, v, len), int fd, int l, int n, const void *v, socklen_t len)
CALL(int, getsockopt, ENOBUFS, (fd, l, n, v, len), int fd, int l, int n, void *v, socklen_t *len)
CALL(ssize_t, recv, ENOMEM, (fd, buf, len, flags), int fd, void *buf, size_t len, int flags)
CALL(ssize_t, send, ENOBUFS, (fd, buf, len, flags), int fd, const void *buf, size_t len, int flags)
CALL(ssize_t, recvmsg, ENOMEM, (fd, m, flags), int fd, struct msghdr *m, int flags)
CALL(ssize_t, sendmsg, ENOBUFS, (fd, m, flags), int fd, const struct msghdr *m, int flags)
CALL(int, recvmmsg, ENOMEM, (fd, v, n, flags, t), int fd, struct mmsghdr *v, unsigned n, int flags, struct timespec *t)
CALL(int, sendmmsg, ENOBUFS, (fd, v, n, flags), int fd, struct mmsghdr *v, unsigned n, int flags)
CALL(int, poll, ENOMEM, (v, n, ms), struct pollfd *v, nfds_t n, int ms)
CALL(int, eventfd, EMFILE, (n, flags), unsigned n, int flags)
CALL(int, epoll_create1, EMFILE, (flags), int flags)
CALL(int, epoll_wait, EINTR, (fd, v, n, ms), int fd, struct epoll_event *v, int n, int ms)
CALL(int, unlink, EPERM, (path), const char *path)
CALL(pid_t, fork, EAGAIN, (), void)
CALL(int, mprotect, ENOMEM, (at, len, p), void *at, size_t len, int p)
/* clang-format on */

/* With 64-bit file offsets, as they are anyway here, glibc knows these by
 * another name; musl does not.
 */

DECLARE(int, openat, int dir, const char *path, int flags)
{
	if (fault_is_due(FAULT_ERROR, "openat")) {
		errno = EMFILE;
		return -1;
	}
	return __real_openat(dir, path, flags); /* none of those creates */
}

int __wrap_openat64(int dir, const char *path, int flags)
	__attribute__((alias("__wrap_openat")));

DECLARE(int, lstat, const char *path, struct stat *st)
{
	if (fault_is_due(FAULT_ERROR, "lstat")) {
		errno = EACCES;
		return -1;
	}
	return __real_lstat(path, st);
}

int __wrap_lstat64(const char *path, struct stat *st)
	__attribute__((alias("__wrap_lstat")));

DECLARE(void *, mmap, void *at, size_t len, int prot, int flags, int fd,
	off_t off)
{
	if (fault_is_due(FAULT_ERROR, "mmap")) {
		errno = ENOMEM;
		return MAP_FAILED;
	}
	return __real_mmap(at, len, prot, flags, fd, off);
}

void *__wrap_mmap64(void *at, size_t len, int prot, int flags, int fd,
		    off_t off) __attribute__((alias("__wrap_mmap")));

/* Only what can fail of it does: a descriptor that is known is forgotten. */
DECLARE(int, epoll_ctl, int fd, int op, int what, struct epoll_event *e)
{
	if (op == EPOLL_CTL_ADD && fault_is_due(FAULT_ERROR, "epoll_ctl")) {
		errno = ENOSPC;
		return -1;
	}
	return __real_epoll_ctl(fd, op, what, e);
}

/* An eventfd that is written cannot fail; a read may be interrupted. */
DECLARE(ssize_t, read, int fd, void *buf, size_t len)
{
	if (fault_is_due(FAULT_EINTR, "read")) {
		errno = EINTR;
		return -1;
	}
	return __real_read(fd, buf, len);
}

DECLARE(int, fcntl, int fd, int op, ...)
{
	va_list list;
	long arg;

	va_start(list, op);
	arg = va_arg(list, long); /* none of those used takes more */
	va_end(list);
	if (op == F_DUPFD_CLOEXEC && fault_is_due(FAULT_ERROR, "fcntl")) {
		errno = EMFILE;
		return -1;
	}
	return __real_fcntl(fd, op, arg);
}

int __wrap_fcntl64(int fd, int op, ...) __attribute__((alias("__wrap_fcntl")));

/* Of those called by number, pidfd_open(2). */
DECLARE(long, syscall, long number, ...)
{
	va_list list;
	long a[5];

	va_start(list, number);
	for (int i = 0; i < 5; i++) /* none of those used takes more */
		a[i] = va_arg(list, long);
	va_end(list);
	if (number == SYS_pidfd_open && fault_is_due(FAULT_ERROR, "syscall")) {
		errno = EMFILE;
		return -1;
	}
	return __real_syscall(number, a[0], a[1], a[2], a[3], a[4]);
}

/* These tell their error otherwise. */

DECLARE(int, pthread_create, pthread_t *t, const pthread_attr_t *attr,
	void *(*fn)(void *), void *arg)
{
	if (fault_is_due(FAULT_ERROR, "pthread_create"))
		return EAGAIN;
	return __real_pthread_create(t, attr, fn, arg);
}

DECLARE(int, getaddrinfo, const char *host, const char *service,
	const struct addrinfo *hints, struct addrinfo **list)
{
	if (fault_is_due(FAULT_ERROR, "getaddrinfo"))
		return EAI_MEMORY;
	return __real_getaddrinfo(host, service, hints, list);
}

DECLARE(void *, tsearch, const void *key, void **root,
	int (*compare)(const void *, const void *))
{
	if (fault_is_due(FAULT_ERROR, "tsearch"))
		return NULL;
	return __real_tsearch(key, root, compare);
}

/* Memory, which is counted too. */

static bool is_out(const char *name)
{
	if (!fault_is_due(FAULT_ERROR, name))
		return false;
	errno = ENOMEM;
	return true;
}

static void *counted(void *p)
{
	if (p)
		atomic_fetch_add(&live, 1);
	return p;
}

DECLARE(void *, malloc, size_t n)
{
	return is_out("malloc") ? NULL : counted(__real_malloc(n));
}

DECLARE(int, posix_memalign, void **p, size_t align, size_t n)
{
	int err = is_out("posix_memalign") ? ENOMEM
					   : __real_posix_memalign(p, align, n);

	if (err == 0)
		(void)counted(*p);
	return err;
}

DECLARE(void *, calloc, size_t n, size_t size)
{
	return is_out("calloc") ? NULL : counted(__real_calloc(n, size));
}

DECLARE(void *, realloc, void *p, size_t n)
{
	if (is_out("realloc"))
		return NULL;
	return p ? __real_realloc(p, n) : counted(__real_realloc(p, n));
}

DECLARE(char *, strdup, const char *s)
{
	return is_out("strdup") ? NULL : counted(__real_strdup(s));
}

DECLARE(void, free, void *p)
{
	if (p)
		atomic_fetch_sub(&live, 1);
	__real_free(p);
}
