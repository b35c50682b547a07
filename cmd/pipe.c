/* SPDX-License-Identifier: MIT */
/* Two threads, since stdin and stdout are shared with whoever started us and
 * must stay blocking.  The sender copies stdin to the peer; the receiver is the
 * caller's thread, and decides when it is over.  Neither waits without looking
 * at an eventfd by which the other can call it. */
#include "pipe.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include <cleat/error.h>
#include <cleat/time.h>

#include "hex.h"

enum {
	BUFFER = 128 * 1024,
	PIPE_SIZE = 2 * BUFFER,
	DGRAM_MAX = 65507, /* UDP over IPv4 */
	FDS_MAX = 16,
};

/* What stdin gets to say its first word once the peer has ended: it may be
 * somebody's that nobody speaks on, and never ends. */
#define GRACE (500 * CLEAT_MSEC)

/* A peer that has ended may listen on, or be gone.  TCP does not say; but a
 * system asked in keepalive probes remembers who is gone for a minute at most,
 * and then refuses. */
enum {
	PROBE_S = 5,
	PROBES = 12,
};

/* How far the sender is to go on. */
enum go_on {
	GO_ON,
	GO_ON_ALONE, /* the peer has ended, and may listen on */
	GO_ON_WHILE_READY, /* the peer is gone: what is there already */
	STOP,
};

/* One thread's part. */
struct side {
	int call; /* eventfd: readable when it is to look up */
	char *buffer;
	uint64_t offset; /* for the dump */
	enum pipe_result result;
	char why[PIPE_WHY_MAX];
};

struct pipe {
	const struct pipe_end *end;
	const struct pipe_options *o;
	struct out *hex;
	struct side sender, receiver;
	_Atomic enum go_on go_on; /* for the sender */
	_Atomic bool stdin_ended;
	_Atomic int64_t until; /* for the receiver */
	_Atomic int64_t moved; /* when a byte last did */
	cleat_time ended; /* when the peer did; before GO_ON_ALONE */
};

size_t pipe_crlf(char *to, const char *from, size_t len, char *last)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		if (from[i] == '\n' && *last != '\r')
			to[n++] = '\r';
		to[n++] = *last = from[i];
	}
	return n;
}

/* What both sides do. */

static void call(const struct side *s)
{
	(void)eventfd_write(s->call, 1); /* only fails when it is readable */
}

static void fail(struct side *s, enum pipe_result result, const char *object,
		 const char *why)
{
	s->result = result;
	(void)snprintf(s->why, sizeof(s->why), "%s%s", object, why);
}

/* poll(2), until the moment UNTIL. */
static void wait_for(struct pollfd *v, unsigned n, cleat_time until)
{
	cleat_time left = until - cleat_now();
	struct timespec t;

	if (left < 0)
		left = 0;
	t.tv_sec = (time_t)(left / CLEAT_SEC);
	t.tv_nsec = (long)(left % CLEAT_SEC);
	if (ppoll(v, n, until == CLEAT_FOREVER ? NULL : &t, NULL) >= 0)
		return;
	for (unsigned i = 0; i < n; i++) /* EINTR: nothing is ready */
		v[i].revents = 0;
}

static void note(struct pipe *p, struct side *s, char mark, const void *data,
		 size_t len)
{
	if (p->o->idle > 0)
		p->moved = cleat_now();
	hex_dump(p->hex, mark, &s->offset, data, len);
}

static cleat_time idle_end(const struct pipe *p)
{
	return p->o->idle > 0 ? p->moved + p->o->idle : CLEAT_FOREVER;
}

/* For the receiver, who looks after the clock. */
static bool is_idle(struct pipe *p)
{
	if (cleat_now() < idle_end(p))
		return false;
	fail(&p->receiver, PIPE_BROKEN,
	     "connection: ", "idle for longer than --idle allows");
	return true;
}

/* What an eventfd says is that something has changed; that is looked at. */
static void answer(struct side *s)
{
	eventfd_t ignored;

	(void)eventfd_read(s->call, &ignored); /* or another's call it was */
}

/* The sender. */

/* Until when stdin, which has said SO_FAR bytes, may be silent. */
static cleat_time patience(const struct pipe *p, uint64_t so_far)
{
	const enum go_on how = p->go_on;

	if (how == GO_ON)
		return CLEAT_FOREVER;
	/* At a terminal the user sees that the peer has ended. */
	if (how != GO_ON_ALONE || isatty(STDIN_FILENO))
		return 0;
	return so_far > 0 ? CLEAT_FOREVER : p->ended + GRACE;
}

/* What stdin has; 0 at its end or when there is no more use for it. */
static ssize_t read_stdin(struct pipe *p, char *buf, size_t len,
			  uint64_t so_far)
{
	struct pollfd v[] = {
		{ .fd = STDIN_FILENO, .events = POLLIN },
		{ .fd = p->sender.call, .events = POLLIN },
	};

	while (p->go_on != STOP) {
		const cleat_time until = patience(p, so_far);
		ssize_t n;

		wait_for(v, 2, until);
		if (v[1].revents)
			answer(&p->sender);
		if (v[0].revents == 0 && cleat_now() >= until)
			return 0;
		if (v[0].revents == 0)
			continue;
		n = read(STDIN_FILENO, buf, len);
		if (n >= 0 || (errno != EAGAIN && errno != EINTR))
			return n < 0 ? -errno : n;
	}
	return 0;
}

/* Datagrams go out in short waits, since nothing else can end them; a stream's
 * are ended by cleat_shutdown(). */
static int send_all(struct pipe *p, const void *data, size_t len)
{
	int err;

	if (p->end->conn)
		return cleat_send(p->end->conn, data, len, CLEAT_FOREVER);
	do
		err = cleat_sendto(p->end->dgram, data, len, p->end->peer,
				   cleat_in(100 * CLEAT_MSEC));
	while (err == -ETIMEDOUT && p->go_on != STOP);
	return err;
}

static cleat_time linger_end(const struct pipe *p)
{
	if (p->o->linger != PIPE_NO_LINGER)
		return cleat_in(p->o->linger);
	return p->end->conn ? CLEAT_FOREVER : cleat_in(CLEAT_SEC);
}

/* Tell the peer and the receiver that stdin is over. */
static void end_sending(struct pipe *p)
{
	const bool is_over = p->sender.result == PIPE_STUCK ||
			     (p->sender.result != PIPE_DONE && p->end->dgram);

	p->until = is_over ? 0 : linger_end(p);
	p->stdin_ended = true; /* before what looks like the peer's end */
	if (p->end->conn && !p->o->no_shutdown)
		(void)cleat_shutdown(p->end->conn,
				     CLEAT_WRITE); /* or it died */
	call(&p->receiver);
}

static void *sender(void *arg)
{
	struct pipe *p = arg;
	struct side *s = &p->sender;
	char *converted = s->buffer + BUFFER, last = '\0';
	uint64_t so_far = 0;
	const size_t most = p->end->dgram ? DGRAM_MAX : BUFFER;
	const size_t room = p->o->crlf ? most / 2 : most;
	ssize_t n;

	/* If stdin is a pipe, its usual 64 KiB would cost a tenth in speed; and
	 * a mebibyte as much, for it would not stay in the cache. */
	(void)fcntl(STDIN_FILENO, F_SETPIPE_SZ, PIPE_SIZE);
	while ((n = read_stdin(p, s->buffer, room, so_far)) > 0) {
		const char *data = s->buffer;
		size_t len = (size_t)n;

		so_far += len;
		if (p->o->crlf) {
			len = pipe_crlf(converted, data, len, &last);
			data = converted;
		}
		note(p, s, '>', data, len);
		if (send_all(p, data, len) < 0) {
			fail(s, PIPE_BROKEN, "", cleat_why());
			break;
		}
	}
	if (n < 0)
		fail(s, PIPE_STUCK, "standard input: ", cleat_strerror((int)n));
	end_sending(p);
	return NULL;
}

/* The receiver. */

/* Wait for room at stdout, as long as --idle allows; whether there is some. */
static bool has_room(const struct pipe *p)
{
	struct pollfd out = { .fd = STDOUT_FILENO, .events = POLLOUT };

	do
		wait_for(&out, 1, idle_end(p));
	while (!out.revents && cleat_now() < idle_end(p));
	return out.revents;
}

/* A blocking write cannot be called off.  Where --idle may want to, it is done
 * in pieces, for which there is room. */
static int write_stdout(struct pipe *p, const char *data, size_t len)
{
	const size_t most = p->o->idle > 0 ? PIPE_BUF : len;
	bool wait = p->o->idle > 0;

	while (len > 0) {
		ssize_t n;

		if (wait && !has_room(p))
			return -ETIMEDOUT;
		n = write(STDOUT_FILENO, data, len < most ? len : most);
		if (n < 0 && errno == EAGAIN)
			wait = true;
		else if (n < 0 && errno != EINTR)
			return -errno;
		if (n <= 0)
			continue;
		data += n;
		len -= (size_t)n;
		p->moved = cleat_now();
	}
	return 0;
}

static bool deliver(struct pipe *p, const void *data, size_t len)
{
	struct side *s = &p->receiver;
	int err;

	note(p, s, '<', data, len);
	if (p->end->dgram && p->stdin_ended)
		p->until = linger_end(p);
	err = write_stdout(p, data, len);
	if (err < 0 && !is_idle(p))
		fail(s, PIPE_STUCK, "standard output: ", cleat_strerror(err));
	return err == 0;
}

static bool is_same(const struct cleat_sockaddr *a,
		    const struct cleat_sockaddr *b)
{
	return a->len == b->len && memcmp(&a->any, &b->any, a->len) == 0;
}

/* What has come: its length, and 0 at the end of a stream; or -ETIMEDOUT if
 * there is nothing. */
static ssize_t try_recv(struct pipe *p)
{
	struct cleat_sockaddr from;
	ssize_t n;

	if (p->end->conn)
		return cleat_recv(p->end->conn, p->receiver.buffer, BUFFER, 0);
	do
		n = cleat_recvfrom(p->end->dgram, p->receiver.buffer,
				   2 * BUFFER, &from, 0);
	while (n == 0 ||
	       (n > 0 && p->end->peer && !is_same(&from, p->end->peer)));
	return n;
}

/* Wait until the peer may have something, the sender calls or time is up;
 * whether it was the first. */
static bool wait_for_peer(struct pipe *p)
{
	struct pollfd v[1 + FDS_MAX] = {
		{ .fd = p->receiver.call, .events = POLLIN },
	};
	const cleat_time idle = idle_end(p), until = p->until;
	unsigned n = 1;
	bool something = false;
	int fd;

	if (p->end->conn)
		v[n++].fd = cleat_conn_fd(p->end->conn);
	while (p->end->dgram && n <= FDS_MAX &&
	       (fd = cleat_dgram_fd(p->end->dgram, n - 1)) >= 0)
		v[n++].fd = fd;
	for (unsigned i = 1; i < n; i++)
		v[i].events = POLLIN;
	wait_for(v, n, idle < until ? idle : until);
	if (v[0].revents)
		answer(&p->receiver);
	for (unsigned i = 1; i < n; i++)
		something = something || v[i].revents;
	return something;
}

/* Receive once.  Returns whether to go on. */
static bool receive(struct pipe *p)
{
	struct side *s = &p->receiver;
	const ssize_t n = wait_for_peer(p) ? try_recv(p) : -ETIMEDOUT;

	if (n > 0)
		return deliver(p, s->buffer, (size_t)n);
	if (n == 0)
		return false;
	if (n != -ETIMEDOUT) {
		fail(s, PIPE_BROKEN, "", cleat_why());
		return false;
	}
	return !is_idle(p);
}

/* The peer has ended. */

static void tell_sender(struct pipe *p, enum go_on how)
{
	p->go_on = how;
	call(&p->sender);
}

static void probe(int fd)
{
	/* A unix socket refuses, and needs none: it tells of a peer's close. */
	(void)cleat_set(fd, CLEAT_KEEPALIVE, 1);
	(void)cleat_set(fd, CLEAT_KEEPALIVE_IDLE_S, PROBE_S);
	(void)cleat_set(fd, CLEAT_KEEPALIVE_INTERVAL_S, PROBE_S);
	(void)cleat_set(fd, CLEAT_KEEPALIVE_COUNT, PROBES);
}

/* The peer is gone: why that is a failure, or NULL.  After its end TCP reports
 * a refusal as EPIPE, which is one if it was of something that was sent. */
static const char *loss(int fd)
{
	int left = 0, err = 0;
	socklen_t len = sizeof(err);

	(void)cleat_get_raw(fd, SOL_SOCKET, SO_ERROR, &err, &len);
	if (err != 0 && err != EPIPE)
		return cleat_strerror(err);
	(void)ioctl(fd, TIOCOUTQ, &left); /* what has no answer: tcp(7) */
	return left > 0 ? "the peer left before it had all" : NULL;
}

/* Until the sender has said what it has to say, or nobody is there to hear. */
static void outlast_sender(struct pipe *p)
{
	struct side *s = &p->receiver;
	const int fd = cleat_conn_fd(p->end->conn);
	struct pollfd v[] = {
		{ .fd = s->call, .events = POLLIN },
		{ .fd = fd, .events = 0 }, /* that tells of its death */
	};

	p->ended = cleat_now();
	tell_sender(p, GO_ON_ALONE);
	probe(fd);
	while (s->result == PIPE_DONE && !p->stdin_ended && !is_idle(p)) {
		wait_for(v, 2, idle_end(p));
		if (v[0].revents)
			answer(s);
		if (v[1].revents && !p->stdin_ended) {
			const char *why = loss(fd);

			if (why)
				fail(s, PIPE_BROKEN, "connection: ", why);
			v[1].fd = -1;
			tell_sender(p, GO_ON_WHILE_READY);
		}
	}
}

/* Both together. */

static void run(struct pipe *p)
{
	struct side *s = &p->receiver;
	pthread_t thread;
	bool goes_on;
	int err = pthread_create(&thread, NULL, sender, p);

	if (err != 0) {
		fail(s, PIPE_STUCK, "thread: ", cleat_strerror(err));
		return;
	}
	goes_on = deliver(p, p->end->first, p->end->first_len);
	while (goes_on && cleat_now() < p->until)
		goes_on = receive(p);
	if (s->result == PIPE_DONE && p->end->conn && !p->stdin_ended)
		outlast_sender(p);
	if (s->result != PIPE_DONE && p->end->conn)
		(void)cleat_shutdown(p->end->conn, CLEAT_BOTH); /* or it died */
	tell_sender(p, s->result == PIPE_DONE ? GO_ON_WHILE_READY : STOP);
	(void)pthread_join(thread, NULL);
}

static bool side_open(struct side *s)
{
	s->buffer = malloc(2 * BUFFER);
	s->call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return s->buffer && s->call >= 0;
}

static void side_close(struct side *s)
{
	free(s->buffer);
	if (s->call >= 0)
		(void)close(s->call);
}

enum pipe_result pipe_run(const struct pipe_end *end,
			  const struct pipe_options *o, struct out *hex,
			  char why[PIPE_WHY_MAX])
{
	struct pipe p = {
		.end = end,
		.o = o,
		.hex = hex,
		.until = CLEAT_FOREVER,
		.moved = cleat_now(),
	};
	const bool opened[] = { side_open(&p.sender), side_open(&p.receiver) };
	const struct side *s = &p.receiver;

	if (opened[0] && opened[1])
		run(&p);
	else
		fail(&p.receiver, PIPE_STUCK, "", cleat_strerror(errno));
	side_close(&p.sender);
	side_close(&p.receiver);
	if (s->result == PIPE_DONE)
		s = &p.sender;
	memcpy(why, s->why, sizeof(s->why));
	return s->result;
}
