/* SPDX-License-Identifier: MIT */
/* raw_scan: the loop over all ports of 127.0.0.1 that `cleat scan` is held
 * against.
 *
 *     raw_scan          a socket for each port: socket, connect, the socket's
 *                       error, close
 *     raw_scan reuse    the same socket until it connects, as connect(2) allows
 *                       after it was refused: connect, and connect again for
 *                       the answer
 *
 * Prints what is open.  Like any such loop it takes a connection to its own
 * port for one to a listener. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static int fresh(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		die("socket");
	return fd;
}

static int start(int fd, const struct sockaddr_in *sa)
{
	if (connect(fd, (const struct sockaddr *)sa, sizeof(*sa)) == 0)
		return 0;
	return errno;
}

static int error_of(int fd)
{
	int err;
	socklen_t len = sizeof(err);

	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
		die("getsockopt");
	return err;
}

static void wait_for(int fd)
{
	struct pollfd want = { .fd = fd, .events = POLLOUT };

	if (poll(&want, 1, -1) < 0)
		die("poll");
}

/* No error yet is either a connection or no answer: to wait for the answer
 * costs nothing but where that is in question. */
static int settle(int fd)
{
	int err = error_of(fd);

	if (err != 0)
		return err;
	wait_for(fd);
	return error_of(fd);
}

static bool is_open(const struct sockaddr_in *sa)
{
	int fd = fresh();
	int err = start(fd, sa);

	if (err == EINPROGRESS)
		err = settle(fd);
	close(fd);
	return err == 0;
}

/* The socket knows that it was refused, and may be used again, only once
 * connect() has said so. */
static bool is_open_by(int *fd, const struct sockaddr_in *sa)
{
	int err = start(*fd, sa);

	if (err == EINPROGRESS)
		err = start(*fd, sa);
	while (err == EALREADY) {
		wait_for(*fd);
		err = start(*fd, sa);
	}
	if (err == ECONNREFUSED)
		return false;
	close(*fd);
	*fd = fresh();
	return err == 0 || err == EISCONN;
}

int main(int argc, char **argv)
{
	bool reuses = argc > 1 && strcmp(argv[1], "reuse") == 0;
	struct sockaddr_in sa = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	int fd = fresh();

	for (unsigned port = 1; port <= 65535; port++) {
		sa.sin_port = htons((uint16_t)port);
		if (reuses ? is_open_by(&fd, &sa) : is_open(&sa))
			printf("%u\n", port);
	}
	return 0;
}
