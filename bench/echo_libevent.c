/* SPDX-License-Identifier: MIT */
/* echo_libevent: the echo server of libevent's book: a bufferevent for each
 * connection, its input moved to its output without a copy. */
#include <arpa/inet.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>

static void die(const char *what)
{
	fprintf(stderr, "echo_libevent: %s failed\n", what);
	exit(1);
}

static void on_read(struct bufferevent *bev, void *arg)
{
	(void)arg;
	if (evbuffer_add_buffer(bufferevent_get_output(bev),
				bufferevent_get_input(bev)) < 0)
		die("evbuffer_add_buffer");
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
	(void)arg;
	if (what & (BEV_EVENT_EOF | BEV_EVENT_ERROR))
		bufferevent_free(bev);
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd,
		      struct sockaddr *peer, int len, void *arg)
{
	struct event_base *base = evconnlistener_get_base(listener);
	struct bufferevent *bev =
		bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE);

	(void)peer, (void)len, (void)arg;
	if (!bev)
		die("bufferevent_socket_new");
	bufferevent_setcb(bev, on_read, NULL, on_event, NULL);
	if (bufferevent_enable(bev, EV_READ | EV_WRITE) < 0)
		die("bufferevent_enable");
}

/* It writes 16 KiB in four parts, which Nagle's algorithm would hold back.
 * Accepted sockets inherit this. */
static void no_delay(evutil_socket_t fd)
{
	int on = 1;

	if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0)
		die("setsockopt");
}

static void announce(struct evconnlistener *listener)
{
	struct sockaddr_in sa;
	socklen_t len = sizeof(sa);

	if (getsockname(evconnlistener_get_fd(listener), (struct sockaddr *)&sa,
			&len) < 0)
		die("getsockname");
	fprintf(stderr, "listening on 127.0.0.1:%u\n", ntohs(sa.sin_port));
}

int main(void)
{
	struct sockaddr_in sa = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	struct event_base *base = event_base_new();
	struct evconnlistener *listener;

	if (!base)
		die("event_base_new");
	listener = evconnlistener_new_bind(base, on_accept, NULL,
					   LEV_OPT_CLOSE_ON_FREE, SOMAXCONN,
					   (struct sockaddr *)&sa, sizeof(sa));
	if (!listener)
		die("evconnlistener_new_bind");
	no_delay(evconnlistener_get_fd(listener));
	announce(listener);
	return event_base_dispatch(base);
}
