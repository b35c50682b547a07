/* SPDX-License-Identifier: MIT */
/* load: the load generator.  It prints JSON, and exits with 1 when an answer
 * is wrong or does not come.
 *
 *     load echo PORT PID CONNS SIZE
 *     load talk PORT PID CONNS SIZE
 *     load stream PORT PID CONNS send|both
 *     load conn PORT PID CONNS fin|reset
 *     load idle PORT CONNS spoken|silent
 *
 * echo: one message of SIZE on every connection, then all the answers, and
 * again.  The server gets its work in such batches and can do no better than
 * serve them; on the same core its CPU time is then free of chance.  Each line
 * of input asks for a window of that many seconds; its end, to stop.
 * talk: the same without waiting for each other: every answer is followed by
 * the next message on its connection.  It is the least that a generator can do,
 * which is what others are held against.
 * stream: 64 KiB at a time without a pause, to a server that discards them, or
 * to one that returns them; a message of the report is 64 KiB.
 * conn: CONNS connections opened and ended, by a FIN, whose answer is then
 * waited for, or by a reset.
 * idle: CONNS connections that spoke once, or never, all of them accepted; says
 * so, and once its input ends makes sure that all of them answer.
 *
 * PID is the server, whose CPU time is read at both ends of the window. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
	STEP = 64, /* opened at once: asyncio's backlog is 100 */
	PATIENCE_MS = 20000, /* without any answer */
	SOURCES = 16, /* addresses to connect from */
	CHUNK = 65536, /* of a stream */
};

struct conn {
	int fd;
	size_t sent, got;
	uint64_t round; /* of its message */
};

struct stamp {
	uint64_t conn, round;
};

struct load {
	struct sockaddr_in to;
	clockid_t server;
	int ep;
	struct conn *conns;
	unsigned n;
	char *message; /* also what is expected back */
	size_t size;
};

struct times {
	int64_t wall, server, self;
};

__attribute__((format(printf, 1, 2), noreturn)) static void
die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("load: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	exit(1);
}

static int64_t read_clock(clockid_t clock)
{
	struct timespec t;

	if (clock_gettime(clock, &t) < 0)
		die("clock_gettime: %m");
	return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static struct times read_times(const struct load *l)
{
	return (struct times){
		.wall = read_clock(CLOCK_MONOTONIC),
		.server = read_clock(l->server),
		.self = read_clock(CLOCK_PROCESS_CPUTIME_ID),
	};
}

static void report(const struct load *l, const struct times *from,
		   unsigned long long done)
{
	struct times to = read_times(l);

	printf("{\"messages\": %llu, \"seconds\": %.6f, "
	       "\"cpu_us_server\": %.3f, \"cpu_us_self\": %.3f}\n",
	       done, (double)(to.wall - from->wall) / 1e9,
	       (double)(to.server - from->server) / 1e3,
	       (double)(to.self - from->self) / 1e3);
	fflush(stdout);
}

static int wait_events(const struct load *l, struct epoll_event *ev, int max)
{
	int n = epoll_wait(l->ep, ev, max, PATIENCE_MS);

	if (n < 0)
		die("epoll_wait: %m");
	if (n == 0)
		die("no answer in %d s", PATIENCE_MS / 1000);
	return n;
}

/* The kernel completes a loopback handshake within connect(), as a rule: see
 * await_handshakes().
 */
static void dial(struct load *l, unsigned i, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.u32 = i };
	struct sockaddr_in from = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + i % SOURCES),
	};
	int on = 1;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0 ||
	    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0 ||
	    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on,
		       sizeof(on)) < 0 ||
	    bind(fd, (struct sockaddr *)&from, sizeof(from)) < 0 ||
	    (connect(fd, (struct sockaddr *)&l->to, sizeof(l->to)) < 0 &&
	     errno != EINPROGRESS) ||
	    epoll_ctl(l->ep, EPOLL_CTL_ADD, fd, &ev) < 0)
		die("connection %u: %m", i);
	/* No message is under way. */
	l->conns[i] =
		(struct conn){ .fd = fd, .sent = l->size, .got = l->size };
}

static void await(const struct load *l, unsigned i, short events)
{
	struct pollfd p = { .fd = l->conns[i].fd, .events = events };

	if (poll(&p, 1, PATIENCE_MS) != 1 || (p.revents & POLLERR))
		die("connection %u: no answer", i);
}

/* Where a thread of the kernel has taken over what arrives, it completes none.
 * To wait for each would let the server run in between.
 */
static void await_handshakes(const struct load *l, unsigned from, unsigned to)
{
	for (unsigned i = from; i < to; i++)
		await(l, i, POLLOUT);
}

/* Each message of each connection is another. */
static void stamp(struct load *l, const struct conn *c)
{
	struct stamp s = { (uint64_t)(c - l->conns), c->round };

	memcpy(l->message, &s, sizeof(s));
}

static void push(struct load *l, struct conn *c)
{
	ssize_t n;

	stamp(l, c);
	n = send(c->fd, l->message + c->sent, l->size - c->sent,
		 MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n < 0 && errno != EAGAIN)
		die("send: %m");
	c->sent += n > 0 ? (size_t)n : 0;
}

static void pull(struct load *l, struct conn *c)
{
	static char buf[65536];
	ssize_t n;

	do {
		n = recv(c->fd, buf, sizeof(buf), MSG_DONTWAIT);
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0)
			die("recv: %m");
		if (n == 0)
			die("closed by the server");
		stamp(l, c);
		if ((size_t)n > l->size - c->got ||
		    memcmp(l->message + c->got, buf, (size_t)n) != 0)
			die("wrong answer");
		c->got += (size_t)n;
	} while (n == sizeof(buf));
}

static void say(struct load *l, struct conn *c)
{
	c->round++;
	c->sent = c->got = 0;
	push(l, c);
}

/* What there is to send and to receive.  Whether that completes an answer. */
static bool go_on(struct load *l, struct conn *c)
{
	const bool was_done = c->got == l->size;

	if (c->sent < l->size)
		push(l, c);
	pull(l, c);
	return !was_done && c->got == l->size;
}

/* One message and its answer on each of the connections FROM to TO. */
static void run_batch(struct load *l, unsigned from, unsigned to)
{
	struct epoll_event ev[256];
	unsigned left = to - from;

	for (unsigned i = from; i < to; i++)
		say(l, &l->conns[i]);
	while (left > 0) {
		int n = wait_events(l, ev, 256);

		for (int i = 0; i < n; i++)
			left -= go_on(l, &l->conns[ev[i].data.u32]);
	}
}

static void close_by_reset(int fd)
{
	static const struct linger none = { .l_onoff = 1 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
}

/* It ends with a reset, to leave no TIME_WAIT behind for the next run. */
static void dial_talker(struct load *l, unsigned i)
{
	dial(l, i, EPOLLIN | EPOLLOUT | EPOLLET);
	close_by_reset(l->conns[i].fd);
}

static unsigned dial_step(struct load *l, unsigned from)
{
	const unsigned to = from + STEP < l->n ? from + STEP : l->n;

	for (unsigned i = from; i < to; i++)
		dial_talker(l, i);
	await_handshakes(l, from, to);
	return to;
}

static void open_all(struct load *l)
{
	for (unsigned at = 0, to; at < l->n; at = to) {
		to = dial_step(l, at);
		run_batch(l, at, to);
	}
}

/* A last one speaks, and goes again: once it is answered, those before it have
 * been accepted. */
static void open_silent(struct load *l)
{
	for (unsigned at = 0; at < l->n;) {
		at = dial_step(l, at);
		dial_talker(l, l->n);
		await_handshakes(l, l->n, l->n + 1);
		run_batch(l, l->n, l->n + 1);
		close(l->conns[l->n].fd);
	}
}

/* Buffers that grow by themselves make a stream fall into one of several
 * rhythms, one of which costs the server a third more than another. */
static void fix_buffers(int fd)
{
	const int size = 4 * CHUNK;

	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)) < 0)
		die("setsockopt: %m");
}

static void open_streams(struct load *l)
{
	memcpy(l->message + CHUNK, l->message, CHUNK); /* it goes on so */
	for (unsigned i = 0; i < l->n; i++) {
		dial(l, i, EPOLLIN | EPOLLOUT);
		fix_buffers(l->conns[i].fd);
		close_by_reset(l->conns[i].fd);
	}
}

static unsigned long long run_for(struct load *l, double seconds)
{
	int64_t until = read_clock(CLOCK_MONOTONIC) + (int64_t)(seconds * 1e9);
	unsigned long long messages = 0;

	do {
		run_batch(l, 0, l->n);
		messages += l->n;
	} while (read_clock(CLOCK_MONOTONIC) < until);
	return messages;
}

/* The last answers are waited for. */
static unsigned long long talk_for(struct load *l, double seconds)
{
	const int64_t until =
		read_clock(CLOCK_MONOTONIC) + (int64_t)(seconds * 1e9);
	struct epoll_event ev[64];
	unsigned long long messages = 0;
	unsigned left = l->n;
	bool is_over = false;

	for (unsigned i = 0; i < l->n; i++)
		say(l, &l->conns[i]);
	while (left > 0) {
		int n = wait_events(l, ev, 64);

		for (int i = 0; i < n; i++) {
			struct conn *c = &l->conns[ev[i].data.u32];

			if (!go_on(l, c))
				continue;
			messages++;
			if (is_over)
				left--;
			else
				say(l, c);
		}
		is_over = read_clock(CLOCK_MONOTONIC) >= until;
	}
	return messages;
}

/* Returns how many bytes went. */
static size_t push_chunk(struct load *l, struct conn *c)
{
	ssize_t n = send(c->fd, l->message + c->sent % CHUNK, CHUNK,
			 MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n < 0 && errno != EAGAIN)
		die("send: %m");
	n = n > 0 ? n : 0;
	c->sent += (size_t)n;
	return (size_t)n;
}

static size_t pull_chunk(struct load *l, struct conn *c)
{
	static char buf[CHUNK];
	ssize_t n = recv(c->fd, buf, sizeof(buf), MSG_DONTWAIT);

	if (n < 0 && errno == EAGAIN)
		return 0;
	if (n <= 0)
		die("closed by the server: %m");
	if (memcmp(l->message + c->got % CHUNK, buf, (size_t)n) != 0)
		die("wrong answer");
	c->got += (size_t)n;
	return (size_t)n;
}

/* The chunks that went, or those that came back. */
static unsigned long long stream_for(struct load *l, double seconds,
				     bool is_both)
{
	const int64_t until =
		read_clock(CLOCK_MONOTONIC) + (int64_t)(seconds * 1e9);
	struct epoll_event ev[64];
	unsigned long long sent = 0, got = 0;

	do {
		int n = wait_events(l, ev, 64);

		for (int i = 0; i < n; i++) {
			struct conn *c = &l->conns[ev[i].data.u32];

			if (ev[i].events & EPOLLOUT)
				sent += push_chunk(l, c);
			if (ev[i].events & EPOLLIN)
				got += pull_chunk(l, c);
		}
	} while (read_clock(CLOCK_MONOTONIC) < until);
	return (is_both ? got : sent) / CHUNK;
}

static unsigned long long send_for(struct load *l, double seconds)
{
	return stream_for(l, seconds, false);
}

static unsigned long long send_both_for(struct load *l, double seconds)
{
	return stream_for(l, seconds, true);
}

/* What it does in a window of SECONDS; returns how many messages went. */
typedef unsigned long long run_fn(struct load *l, double seconds);

static void load_windows(struct load *l, run_fn *run)
{
	char line[32];

	while (fgets(line, sizeof(line), stdin)) {
		double seconds = atof(line);
		struct times from;

		run(l, seconds / 10); /* the caches were another's */
		from = read_times(l);
		report(l, &from, run(l, seconds));
	}
}

static void hang_up(struct load *l, unsigned n)
{
	struct epoll_event ev[STEP];
	char c;

	for (unsigned i = 0; i < n; i++)
		if (shutdown(l->conns[i].fd, SHUT_WR) < 0)
			die("shutdown: %m");
	await(l, n - 1, POLLRDHUP);
	for (unsigned left = n; left > 0;) {
		int got = wait_events(l, ev, STEP);

		for (int i = 0; i < got; i++) {
			int fd = l->conns[ev[i].data.u32].fd;
			ssize_t len = recv(fd, &c, 1, MSG_DONTWAIT);

			if (len < 0 && errno == EAGAIN)
				continue;
			if (len != 0)
				die("no clean end: %m");
			close(fd);
			left--;
		}
	}
}

static void reset(struct load *l, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		close_by_reset(l->conns[i].fd);
		close(l->conns[i].fd);
	}
}

/* With FIN both ways, as clients do, or with a reset, which is cheaper.  The
 * price of the first is a TIME_WAIT each, so they come from many addresses. */
static void load_conn(struct load *l, void (*end)(struct load *, unsigned))
{
	struct times from = { 0 };
	unsigned warm_up = l->n / 10 / STEP * STEP;
	unsigned done = 0;

	for (unsigned at = 0; at < l->n + warm_up; at += STEP) {
		if (at == warm_up)
			from = read_times(l);
		for (unsigned i = 0; i < STEP; i++)
			dial(l, i, EPOLLIN | EPOLLRDHUP | EPOLLET);
		await_handshakes(l, 0, STEP);
		end(l, STEP);
		done += at < warm_up ? 0 : STEP;
	}
	report(l, &from, done);
}

static void load_idle(struct load *l)
{
	char c;

	printf("{\"connections\": %u}\n", l->n);
	fflush(stdout);
	while (read(STDIN_FILENO, &c, 1) > 0)
		;
	for (unsigned at = 0, to; at < l->n; at = to) {
		to = at + STEP < l->n ? at + STEP : l->n;
		run_batch(l, at, to);
	}
}

static unsigned long number(const char *text)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (end == text || *end)
		die("%s: not a number", text);
	return n;
}

static void prepare(struct load *l, const char *port, const char *conns,
		    size_t size)
{
	l->to.sin_family = AF_INET;
	l->to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	l->to.sin_port = htons((uint16_t)number(port));
	l->n = (unsigned)number(conns);
	l->size = size < sizeof(struct stamp) ? sizeof(struct stamp) : size;
	l->conns = calloc(l->n + STEP, sizeof(*l->conns));
	l->message = malloc(l->size);
	l->ep = epoll_create1(EPOLL_CLOEXEC);
	if (!l->conns || !l->message || l->ep < 0)
		die("out of memory or descriptors");
	for (size_t i = 0; i < l->size; i++)
		l->message[i] = (char)(i * 31 % 251);
}

static void watch_server(struct load *l, const char *pid)
{
	int err = clock_getcpuclockid((pid_t)number(pid), &l->server);

	if (err != 0)
		die("process %s: %s", pid, strerror(err));
}

static int usage(void)
{
	fputs("usage: load echo|talk PORT PID CONNS SIZE\n"
	      "       load stream PORT PID CONNS send|both\n"
	      "       load conn PORT PID CONNS fin|reset\n"
	      "       load idle PORT CONNS spoken|silent\n",
	      stderr);
	return 2;
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";
	const char *last = argc > 1 ? argv[argc - 1] : "";
	struct load l = { 0 };

	if (argc == 5 && strcmp(mode, "idle") == 0) {
		prepare(&l, argv[2], argv[3], 64);
		(strcmp(last, "silent") == 0 ? open_silent : open_all)(&l);
		load_idle(&l);
		return 0;
	}
	if (argc != 6)
		return usage();
	if (strcmp(mode, "echo") == 0 || strcmp(mode, "talk") == 0) {
		prepare(&l, argv[2], argv[4], number(last));
		watch_server(&l, argv[3]);
		open_all(&l);
		load_windows(&l, mode[0] == 'e' ? run_for : talk_for);
	} else if (strcmp(mode, "stream") == 0) {
		prepare(&l, argv[2], argv[4], 2 * CHUNK);
		watch_server(&l, argv[3]);
		open_streams(&l);
		load_windows(&l, last[0] == 's' ? send_for : send_both_for);
	} else if (strcmp(mode, "conn") == 0) {
		prepare(&l, argv[2], argv[4], 0);
		watch_server(&l, argv[3]);
		load_conn(&l, last[0] == 'f' ? hang_up : reset);
	} else {
		return usage();
	}
	return 0;
}
