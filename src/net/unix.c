/* SPDX-License-Identifier: MIT */
#include "net/unix.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cleat/fiber.h>

#include "base/sys.h"
#include "base/time.h"

#define FULL_PAUSE (5 * CLEAT_MSEC)

void cleat__path_keep(struct cleat__path *p, const struct cleat_addr *a)
{
	struct stat st;

	p->name[0] = '\0';
	if (a->family != AF_UNIX || a->host[0] == '@' ||
	    lstat(a->host, &st) < 0)
		return;
	memcpy(p->name, a->host, strlen(a->host) + 1); /* has been bound */
	p->dev = st.st_dev;
	p->ino = st.st_ino;
}

void cleat__path_remove(const struct cleat__path *p)
{
	struct stat st;

	if (p->name[0] && lstat(p->name, &st) == 0 && st.st_dev == p->dev &&
	    st.st_ino == p->ino)
		(void)unlink(p->name); /* somebody may have been before us */
}

/* Asked with a socket for datagrams, which no server takes for a client: one
 * for streams, listening or not, is of the wrong type (EPROTOTYPE), one for
 * datagrams does not hear of it.
 */
bool cleat__path_is_dead(const struct cleat_sockaddr *sa)
{
	struct stat st;
	int fd, err;

	if (sa->any.sa_family != AF_UNIX || sa->un.sun_path[0] == '\0' ||
	    lstat(sa->un.sun_path, &st) < 0 || !S_ISSOCK(st.st_mode))
		return false;
	fd = sys_socket(AF_UNIX, SOCK_DGRAM, 0);
	if (fd < 0)
		return false;
	err = sys_connect(fd, &sa->any, sa->len);
	sys_close(fd);
	return err == -ECONNREFUSED;
}

int cleat__unix_pause(cleat_time until)
{
	if (cleat__left(until) == 0)
		return -ETIMEDOUT;
	return cleat_sleep(cleat__earlier(until, cleat_in(FULL_PAUSE)));
}
