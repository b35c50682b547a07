/* SPDX-License-Identifier: MIT */
/* echo_libev: an ev_io for each connection, which reads until a write does not
 * go, and then writes.  libev leaves buffers to its user: one that all share
 * is the best there is. */
#include <errno.h>
#include <ev.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "listen.h"

struct client {
	ev_io io;
	char *rest; /* what the peer would not take yet */
	size_t at, len;
};

static char hot[65536];

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void end(struct ev_loop *loop, struct client *c)
{
	ev_io_stop(loop, &c->io);
	close(c->io.fd);
	free(c->rest);
	free(c);
}

static void wait_for(struct ev_loop *loop, struct client *c, int events)
{
	ev_io_stop(loop, &c->io);
	ev_io_set(&c->io, c->io.fd, events);
	ev_io_start(loop, &c->io);
}

static void keep(struct ev_loop *loop, struct client *c, const char *data,
		 size_t len)
{
	c->rest = malloc(len);
	if (!c->rest)
		die("malloc");
	memcpy(c->rest, data, len);
	c->at = 0;
	c->len = len;
	wait_for(loop, c, EV_WRITE);
}

static void flush(struct ev_loop *loop, struct client *c)
{
	ssize_t n =
		send(c->io.fd, c->rest + c->at, c->len - c->at, MSG_NOSIGNAL);

	if (n < 0 && errno != EAGAIN) {
		end(loop, c);
		return;
	}
	c->at += n > 0 ? (size_t)n : 0;
	if (c->at < c->len)
		return;
	free(c->rest);
	c->rest = NULL;
	wait_for(loop, c, EV_READ);
}

static void on_event(struct ev_loop *loop, ev_io *io, int events)
{
	struct client *c = (struct client *)io;
	ssize_t n, sent;

	if (events & EV_WRITE) {
		flush(loop, c);
		return;
	}
	n = recv(io->fd, hot, sizeof(hot), 0);
	if (n < 0 && errno == EAGAIN)
		return;
	sent = n > 0 ? send(io->fd, hot, (size_t)n, MSG_NOSIGNAL) : 0;
	if (n <= 0 || (sent < 0 && errno != EAGAIN)) {
		end(loop, c);
		return;
	}
	sent = sent > 0 ? sent : 0;
	if (sent < n)
		keep(loop, c, hot + sent, (size_t)(n - sent));
}

static void on_accept(struct ev_loop *loop, ev_io *io, int events)
{
	struct client *c;
	int fd;

	(void)events;
	while ((fd = accept4(io->fd, NULL, NULL,
			     SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		c = calloc(1, sizeof(*c));
		if (!c)
			die("calloc");
		ev_io_init(&c->io, on_event, fd, EV_READ);
		ev_io_start(loop, &c->io);
	}
	if (errno != EAGAIN && errno != ECONNABORTED)
		die("accept4");
}

int main(void)
{
	struct ev_loop *loop = ev_default_loop(EVBACKEND_EPOLL);
	ev_io listener;

	if (!loop)
		die("ev_default_loop");
	ev_io_init(&listener, on_accept, listen_anywhere(SOCK_NONBLOCK),
		   EV_READ);
	ev_io_start(loop, &listener);
	ev_run(loop, 0);
	return 0;
}
