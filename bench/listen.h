/* SPDX-License-Identifier: MIT */
/* The listener of every peer that is written in C on bare sockets. */
#ifndef BENCH_LISTEN_H
#define BENCH_LISTEN_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

/* listen_anywhere - on a port of the loopback that the kernel chooses, which is
 * said on stderr.  FLAGS are those of socket(2), as SOCK_NONBLOCK.
 */
static inline int listen_anywhere(int flags)
{
	struct sockaddr_in sa = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t len = sizeof(sa);
	int on = 1;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);

	/* Accepted sockets inherit TCP_NODELAY: one call does for all. */
	if (fd < 0 || bind(fd, (struct sockaddr *)&sa, len) < 0 ||
	    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0 ||
	    listen(fd, SOMAXCONN) < 0 ||
	    getsockname(fd, (struct sockaddr *)&sa, &len) < 0) {
		perror("listen");
		exit(1);
	}
	fprintf(stderr, "listening on 127.0.0.1:%u\n", ntohs(sa.sin_port));
	return fd;
}

/* Who has come and gone already need not be watched, which costs more. */
static inline bool is_gone(int fd)
{
	char first;
	ssize_t n = recv(fd, &first, 1, MSG_PEEK | MSG_DONTWAIT);

	return n == 0 || (n < 0 && errno != EAGAIN);
}

#endif
