/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/sys.h"

/* None of these sleeps where it is used, on /proc: no EINTR (signal(7)). */
static ssize_t result(ssize_t n)
{
	return n < 0 ? -errno : n;
}

int sys_openat(int dir, const char *path, int flags)
{
	return (int)result(openat(dir, path, flags | O_CLOEXEC));
}

ssize_t sys_readlinkat(int dir, const char *path, char *buf, size_t len)
{
	return result(readlinkat(dir, path, buf, len));
}

/* Called by number: glibc before 2.30 and musl have no such function. */
ssize_t sys_getdents(int fd, void *buf, size_t len)
{
	return result(syscall(SYS_getdents64, fd, buf, len));
}

long long sys_size(int fd)
{
	struct stat st;

	return fstat(fd, &st) < 0 ? -errno : st.st_size;
}

int sys_seek(int fd, long long to)
{
	return lseek(fd, to, SEEK_SET) < 0 ? -errno : 0;
}
