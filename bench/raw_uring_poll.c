/* SPDX-License-Identifier: MIT */
/* raw_uring_poll: echo on the ring's multishot poll, which tells of an event
 * for less than epoll does; receiving and sending are plain calls with one
 * buffer that stays in the cache.  Beside raw_epoll and raw_uring, what the
 * others are measured by. */
#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "listen.h"

enum {
	MAX_FD = 65536,
	SUBMISSIONS = 512,
	COMPLETIONS = 4096,
	NOBODY = MAX_FD, /* whose completion it is: it does not matter */
};

/* What a peer would not take yet; nothing more is read from it till then. */
struct rest {
	size_t at, len;
	char data[];
};

static struct io_uring ring;
static struct rest *rest[MAX_FD];
static bool ended[MAX_FD]; /* closed when its poll has ended */
static char hot[65536];

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static struct io_uring_sqe *get_sqe(void)
{
	struct io_uring_sqe *sqe;

	while (!(sqe = io_uring_get_sqe(&ring)))
		io_uring_submit(&ring);
	return sqe;
}

/* Each event once, as with EPOLLET. */
static void watch(int fd, unsigned events)
{
	struct io_uring_sqe *sqe = get_sqe();

	io_uring_prep_poll_multishot(sqe, fd, events);
	io_uring_sqe_set_data64(sqe, (uint64_t)fd);
}

/* An armed poll holds the file, and close() would not end the connection. */
static void unwatch(int fd)
{
	struct io_uring_sqe *sqe = get_sqe();

	io_uring_prep_cancel64(sqe, (uint64_t)fd, 0);
	sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
	io_uring_sqe_set_data64(sqe, NOBODY);
}

static void end(int fd)
{
	free(rest[fd]);
	rest[fd] = NULL;
	ended[fd] = true;
	unwatch(fd);
}

static void keep(int fd, const char *data, size_t len)
{
	rest[fd] = malloc(sizeof(*rest[fd]) + len);
	if (!rest[fd])
		die("malloc");
	rest[fd]->at = 0;
	rest[fd]->len = len;
	memcpy(rest[fd]->data, data, len);
}

/* True when all of it went and reading may go on. */
static bool flush(int fd)
{
	struct rest *r = rest[fd];
	ssize_t n = send(fd, r->data + r->at, r->len - r->at, MSG_NOSIGNAL);

	if (n < 0 && errno != EAGAIN) {
		end(fd);
		return false;
	}
	r->at += n > 0 ? (size_t)n : 0;
	if (r->at < r->len)
		return false;
	free(r);
	rest[fd] = NULL;
	return true;
}

/* The same of LEN bytes in HOT. */
static bool answer(int fd, size_t len)
{
	ssize_t n = send(fd, hot, len, MSG_NOSIGNAL);

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

/* A short read means drained: the next byte makes a new event.  Only an end
 * that was announced with the data does not, and is read at once. */
static void echo(int fd, unsigned events)
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
		if (!answer(fd, (size_t)n))
			return;
	} while (n == sizeof(hot) || (events & POLLRDHUP));
}

static void watch_client(int fd)
{
	watch(fd, POLLIN | POLLOUT | POLLRDHUP);
}

static void accept_all(int listener)
{
	int fd;

	while ((fd = accept4(listener, NULL, NULL,
			     SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		if (fd >= MAX_FD || is_gone(fd))
			close(fd);
		else
			watch_client(fd);
	}
	if (errno != EAGAIN && errno != ECONNABORTED)
		die("accept4");
}

/* What came while REST was kept made its event then: it is looked for, and so
 * is an end. */
static void serve(int fd, unsigned events)
{
	if (!rest[fd])
		echo(fd, events);
	else if (flush(fd))
		echo(fd, POLLRDHUP);
}

static void on_client(int fd, const struct io_uring_cqe *cqe)
{
	const bool is_last = !(cqe->flags & IORING_CQE_F_MORE);

	if (!ended[fd] && cqe->res > 0)
		serve(fd, (unsigned)cqe->res);
	if (is_last && ended[fd]) {
		ended[fd] = false;
		close(fd);
	} else if (is_last) {
		watch_client(fd);
	}
}

static void open_ring(void)
{
	struct io_uring_params params = {
		.flags = IORING_SETUP_SINGLE_ISSUER |
			 IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQSIZE,
		.cq_entries = COMPLETIONS,
	};

	errno = -io_uring_queue_init_params(SUBMISSIONS, &ring, &params);
	if (errno != 0)
		die("io_uring_setup");
	(void)io_uring_register_ring_fd(&ring); /* or it costs a little more */
}

int main(void)
{
	const int listener = listen_anywhere(SOCK_NONBLOCK);

	open_ring();
	watch(listener, POLLIN);
	for (;;) {
		struct io_uring_cqe *cqe;
		unsigned head, n = 0;

		io_uring_submit_and_wait(&ring, 1);
		io_uring_for_each_cqe(&ring, head, cqe)
		{
			n++;
			if (cqe->user_data == (uint64_t)listener)
				accept_all(listener);
			else if (cqe->user_data != NOBODY)
				on_client((int)cqe->user_data, cqe);
		}
		io_uring_cq_advance(&ring, n);
	}
}
