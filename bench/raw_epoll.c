/* SPDX-License-Identifier: MIT */
/* raw_epoll: echo with nothing between it and the kernel; what the others
 * are measured by.
 *
 *     raw_epoll [discard|http]
 *
 * One thread, edge-triggered epoll and one buffer that stays in the cache.
 * With "discard" it answers each connection, at its end, with the number of
 * bytes that came; with "http" each request without a body, always the same. */
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "listen.h"

enum {
	MAX_FD = 65536,
	READ = EPOLLIN | EPOLLRDHUP | EPOLLET
};

/* What a peer would not take yet; nothing more is read from it till then. */
struct rest {
	size_t at, len;
	char data[];
};

static struct rest *rest[MAX_FD];
static uint64_t seen[MAX_FD]; /* bytes discarded */
static char hot[65536];
static bool discard, http;
static int ep;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void watch(int op, int fd, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.fd = fd };

	if (epoll_ctl(ep, op, fd, &ev) < 0)
		die("epoll_ctl");
}

static void end(int fd)
{
	char count[32];

	if (discard) {
		int n = snprintf(count, sizeof(count), "%" PRIu64 "\n",
				 seen[fd]);

		/* A peer that is gone does not want the count. */
		(void)send(fd, count, (size_t)n, MSG_NOSIGNAL);
		seen[fd] = 0;
	}
	free(rest[fd]);
	rest[fd] = NULL;
	close(fd);
}

static void keep(int fd, const char *data, size_t len)
{
	rest[fd] = malloc(sizeof(*rest[fd]) + len);
	if (!rest[fd])
		die("malloc");
	rest[fd]->at = 0;
	rest[fd]->len = len;
	memcpy(rest[fd]->data, data, len);
	watch(EPOLL_CTL_MOD, fd, EPOLLOUT | EPOLLET);
}

static void flush(int fd)
{
	struct rest *r = rest[fd];
	ssize_t n = send(fd, r->data + r->at, r->len - r->at, MSG_NOSIGNAL);

	if (n < 0 && errno != EAGAIN) {
		end(fd);
		return;
	}
	r->at += n > 0 ? (size_t)n : 0;
	if (r->at < r->len)
		return;
	free(r);
	rest[fd] = NULL;
	watch(EPOLL_CTL_MOD, fd, READ); /* tells again of what has come since */
}

/* Put, over the LEN bytes of requests in HOT, an answer to each, which is
 * no longer than what wrk asks.  Returns how long they are. */
static size_t respond(size_t len)
{
	static const char reply[] = "HTTP/1.1 200 OK\r\n"
				    "Content-Length: 0\r\n\r\n";
	const char *next = hot;
	size_t n = 0;

	while ((next = memmem(next, len - (size_t)(next - hot), "\r\n\r\n",
			      4)) != NULL) {
		next += 4;
		n++;
	}
	for (size_t i = 0; i < n; i++)
		memcpy(hot + i * (sizeof(reply) - 1), reply, sizeof(reply) - 1);
	return n * (sizeof(reply) - 1);
}

/* True when all of it went and reading may go on. */
static bool answer(int fd, size_t len)
{
	ssize_t n;

	if (discard) {
		seen[fd] += len;
		return true;
	}
	n = send(fd, hot, len, MSG_NOSIGNAL);
	if (n == (ssize_t)len)
		return true;
	if (n < 0 && errno != EAGAIN) {
		end(fd);
		return false;
	}
	n = n > 0 ? n : 0;
	keep(fd, hot + n, len - (size_t)n);
	return false;
}

/* A short read means drained: the next byte makes a new edge.  Only an end
 * that was announced with the data does not, and is read at once. */
static void echo(int fd, uint32_t events)
{
	ssize_t n;

	do {
		n = recv(fd, hot, sizeof(hot), 0);
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0) {
			end(fd);
			return;
		}
		if (!answer(fd, http ? respond((size_t)n) : (size_t)n))
			return;
	} while (n == sizeof(hot) || (events & EPOLLRDHUP));
}

static void accept_all(int listener)
{
	int fd;

	while ((fd = accept4(listener, NULL, NULL,
			     SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		if (fd >= MAX_FD)
			close(fd);
		else if (is_gone(fd))
			end(fd);
		else
			watch(EPOLL_CTL_ADD, fd, READ);
	}
	if (errno != EAGAIN && errno != ECONNABORTED)
		die("accept4");
}

int main(int argc, char **argv)
{
	struct epoll_event ev[256];
	int listener = listen_anywhere(SOCK_NONBLOCK);

	discard = argc > 1 && strcmp(argv[1], "discard") == 0;
	http = argc > 1 && strcmp(argv[1], "http") == 0;
	ep = epoll_create1(EPOLL_CLOEXEC);
	watch(EPOLL_CTL_ADD, listener, EPOLLIN);
	for (;;) {
		int n = epoll_wait(ep, ev, 256, -1);

		for (int i = 0; i < n; i++) {
			int fd = ev[i].data.fd;

			if (fd == listener)
				accept_all(listener);
			else if (rest[fd])
				flush(fd);
			else
				echo(fd, ev[i].events);
		}
	}
}
