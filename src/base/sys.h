/* SPDX-License-Identifier: MIT */
/* System calls in house form: the result, or -errno.  errno is read here and
 * nowhere else, right after the call; EINTR is retried where a retry is right.
 */
#ifndef CLEAT_BASE_SYS_H
#define CLEAT_BASE_SYS_H

#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#include <cleat/time.h>

struct epoll_event;
struct mmsghdr;

/* Every descriptor is born close-on-exec and non-blocking. */
int sys_socket(int family, int type, int protocol);
int sys_bind(int fd, const struct sockaddr *sa, socklen_t len);
int sys_listen(int fd, int backlog);
int sys_connect(int fd, const struct sockaddr *sa, socklen_t len);
int sys_accept(int fd, struct sockaddr *sa, socklen_t *len);
int sys_shutdown(int fd, int how);
int sys_getsockname(int fd, struct sockaddr *sa, socklen_t *len);
int sys_getpeername(int fd, struct sockaddr *sa, socklen_t *len);
int sys_setsockopt(int fd, int level, int name, const void *value,
		   socklen_t len);
int sys_getsockopt(int fd, int level, int name, void *value, socklen_t *len);

ssize_t sys_recv(int fd, void *buf, size_t len);
ssize_t sys_peek(int fd, void *buf, size_t len);
ssize_t sys_send(int fd, const void *data, size_t len);
ssize_t sys_sendmsg(int fd, const struct msghdr *m);
ssize_t sys_recvmsg(int fd, struct msghdr *m);
/* From the queue of errors (IP_RECVERR) instead. */
ssize_t sys_recv_error(int fd, struct msghdr *m);
int sys_recvmmsg(int fd, struct mmsghdr *v, unsigned n);
int sys_sendmmsg(int fd, struct mmsghdr *v, unsigned n);

ssize_t sys_read(int fd, void *buf, size_t len);
int sys_write_u64(int fd, unsigned long long value);
int sys_nonblock(int fd);
int sys_dup(int fd);
int sys_poll(struct pollfd *v, unsigned n, int ms);
int sys_eventfd(void);
int sys_epoll_create(void);
int sys_epoll_ctl(int epoll, int op, int fd, struct epoll_event *e);
/* How many events; 0 once UNTIL has passed, or a signal came. */
int sys_epoll_wait(int epoll, struct epoll_event *v, int n, cleat_time until);
void sys_close(int fd);

/* Files, by a path relative to the directory DIR, or AT_FDCWD. */
int sys_openat(int dir, const char *path, int flags);
ssize_t sys_readlinkat(int dir, const char *path, char *buf, size_t len);
/* In bytes; of /proc/PID/fd how many are open, or 0 before Linux 6.2. */
long long sys_size(int fd);
int sys_seek(int fd, long long to);
/* Entries of a directory, as getdents64(2) packs them: bytes, 0 at the end. */
ssize_t sys_getdents(int fd, void *buf, size_t len);

/* What this process may use: CPUs, and descriptors, whose numbers are below. */
unsigned sys_cores(void);
unsigned sys_fd_limit(void);

/* A thread, to be joined, that no signal is sent to: those are for the
 * program's own.  Returns 0, or -EAGAIN. */
int sys_thread(pthread_t *thread, void *(*fn)(void *), void *arg);

/* LEN random bytes, at most 256. */
void sys_random(void *buf, size_t len);

/* How the open files behind two descriptors of two processes compare: 0, they
 * are one; or a positive number. */
int sys_kcmp(pid_t a, int fd_a, pid_t b, int fd_b);

pid_t sys_fork(void);
int sys_pidfd_open(pid_t pid); /* Linux 5.3 */
/* Wait for a child to end, or with WNOHANG look: its id, or 0 (not yet). */
pid_t sys_wait(pid_t pid, int *status, int flags);

#endif
