/* SPDX-License-Identifier: MIT */
/* raw_pipe: the 64 KiB send and recv loop that `cleat connect` is held
 * against.
 *
 *     raw_pipe PORT          standard input to the peer, peer to output
 *     raw_pipe PORT BYTES    BYTES from memory, what comes back thrown away:
 *                            no more than send and recv
 *
 * At the input's end it half-closes and waits for the peer's end. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

struct pipe {
	int fd;
	bool from_memory;
	unsigned long long left; /* bytes to make up, from memory */
	size_t at, end; /* of UP, what is still to be sent */
	bool input_over, peer_over;
	char up[65536], down[65536];
};

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static int dial(const char *port)
{
	struct sockaddr_in sa = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
		.sin_port = htons((uint16_t)strtoul(port, NULL, 10)),
	};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		die("connect");
	return fd;
}

static void fill(struct pipe *p)
{
	size_t most = sizeof(p->up);
	ssize_t n;

	if (p->from_memory) {
		n = (ssize_t)(p->left < most ? p->left : most);
		p->left -= (size_t)n;
	} else {
		n = read(STDIN_FILENO, p->up, most);
	}
	if (n < 0)
		die("read");
	p->at = 0;
	p->end = (size_t)n;
	p->input_over = n == 0;
	if (p->input_over && shutdown(p->fd, SHUT_WR) < 0)
		die("shutdown");
}

static void push(struct pipe *p)
{
	ssize_t n = send(p->fd, p->up + p->at, p->end - p->at,
			 MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n >= 0)
		p->at += (size_t)n;
	else if (errno != EAGAIN)
		die("send");
}

static void pull(struct pipe *p)
{
	ssize_t n = recv(p->fd, p->down, sizeof(p->down), MSG_DONTWAIT);

	if (n < 0 && errno != EAGAIN)
		die("recv");
	p->peer_over = n == 0;
	if (p->from_memory)
		return;
	for (ssize_t at = 0, m; at < n; at += m) {
		m = write(STDOUT_FILENO, p->down + at, (size_t)(n - at));
		if (m < 0)
			die("write");
	}
}

/* Waits for what can be done next, and does it. */
static void step(struct pipe *p)
{
	if (p->from_memory && p->at == p->end && !p->input_over)
		fill(p);

	bool full = p->at < p->end;
	bool hungry = !full && !p->input_over;
	struct pollfd want[] = {
		{ .fd = hungry ? STDIN_FILENO : -1, .events = POLLIN },
		{ .fd = p->fd, .events = full ? POLLIN | POLLOUT : POLLIN },
	};

	if (poll(want, 2, -1) < 0)
		die("poll");
	if (want[0].revents)
		fill(p);
	if (p->at < p->end)
		push(p);
	if (want[1].revents & ~POLLOUT)
		pull(p);
}

int main(int argc, char **argv)
{
	static struct pipe p;

	if (argc < 2)
		return 2;
	p.fd = dial(argv[1]);
	p.from_memory = argc > 2;
	p.left = argc > 2 ? strtoull(argv[2], NULL, 10) : 0;
	while (!p.peer_over)
		step(&p);
	return 0;
}
