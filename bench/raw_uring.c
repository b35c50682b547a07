/* SPDX-License-Identifier: MIT */
/* raw_uring: echo with nothing between it and the kernel's ring; beside
 * raw_epoll and raw_uring_poll, what the others are measured by.
 *
 * One thread; multishot accept, and multishot receive into a ring of provided
 * buffers.  What has come is sent from where it lies, by a plain call: that is
 * cheaper than a submission and its completion, and gives the buffer back at
 * once, so that few do, which stay in the cache.  A system call receives
 * whatever has come since the last. */
#include <errno.h>
#include <liburing.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "listen.h"

enum {
	MAX_FD = 65536,
	SUBMISSIONS = 512,
	COMPLETIONS = 4096,
	/* The kernel receives for 20 connections in one go.  The odd line keeps
	 * buffers from being all at the same place in the cache. */
	BUFFERS = 32,
	SIZE = 16384,
	STRIDE = SIZE + 64,
	GROUP = 0,
	NONE = -1,
};

enum what {
	ACCEPT,
	RECV,
	SEND,
	CLOSE,
	CANCEL
};

/* A buffer with what the peer would not take yet: those of one connection are
 * a queue, which the ring sends. */
struct piece {
	unsigned at, len;
	int next;
};

struct conn {
	int first, last; /* pieces to send; the first is being sent */
	bool ended; /* receives no more */
	bool starved; /* found no buffer */
};

static struct io_uring ring;
static struct io_uring_buf_ring *buffers;
static char *memory;
static struct piece pieces[BUFFERS];
static struct conn conns[MAX_FD];
static int n_starved;

static void die(const char *what, int err)
{
	fprintf(stderr, "%s: %s\n", what, strerror(-err));
	exit(1);
}

static struct io_uring_sqe *get_sqe(void)
{
	struct io_uring_sqe *sqe;

	while (!(sqe = io_uring_get_sqe(&ring)))
		io_uring_submit(&ring);
	return sqe;
}

static uint64_t id_of(int fd, enum what what)
{
	return (uint64_t)fd << 3 | what;
}

static void tag(struct io_uring_sqe *sqe, int fd, enum what what)
{
	io_uring_sqe_set_data64(sqe, id_of(fd, what));
}

static void start_accept(int listener)
{
	struct io_uring_sqe *sqe = get_sqe();

	io_uring_prep_multishot_accept(sqe, listener, NULL, NULL, SOCK_CLOEXEC);
	tag(sqe, listener, ACCEPT);
}

/* Nothing is there yet, as a rule: do not look first. */
static void start_recv(int fd)
{
	struct io_uring_sqe *sqe = get_sqe();

	io_uring_prep_recv_multishot(sqe, fd, NULL, 0, 0);
	sqe->flags |= IOSQE_BUFFER_SELECT;
	sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
	sqe->buf_group = GROUP;
	tag(sqe, fd, RECV);
}

static char *buffer(int id)
{
	return memory + (size_t)id * STRIDE;
}

static void start_send(int fd)
{
	int id = conns[fd].first;
	struct piece *p = &pieces[id];
	struct io_uring_sqe *sqe = get_sqe();

	io_uring_prep_send(sqe, fd, buffer(id) + p->at, p->len,
			   MSG_NOSIGNAL | MSG_WAITALL);
	tag(sqe, fd, SEND);
}

/* A send that failed has taken the error away, and the receive would wait for
 * ever. */
static void cancel_recv(int fd)
{
	struct io_uring_sqe *sqe = get_sqe();

	io_uring_prep_cancel64(sqe, id_of(fd, RECV), 0);
	sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
	tag(sqe, fd, CANCEL);
}

static void start_close(int fd)
{
	struct io_uring_sqe *sqe = get_sqe();

	io_uring_prep_close(sqe, fd);
	sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
	tag(sqe, fd, CLOSE);
}

static void give_back(int id)
{
	io_uring_buf_ring_add(buffers, buffer(id), SIZE, (unsigned short)id,
			      io_uring_buf_ring_mask(BUFFERS), 0);
	io_uring_buf_ring_advance(buffers, 1);
}

static void feed_starved(void)
{
	for (int fd = 0; fd < MAX_FD && n_starved > 0; fd++) {
		if (!conns[fd].starved)
			continue;
		conns[fd].starved = false;
		n_starved--;
		start_recv(fd);
	}
}

static void drop_all(struct conn *c)
{
	while (c->first != NONE) {
		give_back(c->first);
		c->first = pieces[c->first].next;
	}
}

static void on_accept(const struct io_uring_cqe *cqe)
{
	if (!(cqe->flags & IORING_CQE_F_MORE))
		start_accept((int)(cqe->user_data >> 3));
	if (cqe->res < 0)
		return;
	if (cqe->res >= MAX_FD || is_gone(cqe->res)) {
		close(cqe->res);
		return;
	}
	conns[cqe->res] = (struct conn){ .first = NONE, .last = NONE };
	start_recv(cqe->res);
}

static void keep(int fd, int id, unsigned at, unsigned len)
{
	struct conn *c = &conns[fd];

	pieces[id] = (struct piece){ .at = at, .len = len, .next = NONE };
	if (c->first == NONE) {
		c->first = c->last = id;
		start_send(fd);
	} else {
		pieces[c->last].next = id;
		c->last = id;
	}
}

static void answer(int fd, int id, unsigned len)
{
	ssize_t n = 0;

	if (conns[fd].first == NONE)
		n = send(fd, buffer(id), len, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n < 0 && errno == EAGAIN)
		n = 0;
	if (n < 0)
		cancel_recv(fd);
	if (n < 0 || n == len)
		give_back(id);
	else
		keep(fd, id, (unsigned)n, len - (unsigned)n);
}

static void on_recv(const struct io_uring_cqe *cqe)
{
	int fd = (int)(cqe->user_data >> 3);
	struct conn *c = &conns[fd];

	if (cqe->res > 0) {
		answer(fd, (int)(cqe->flags >> IORING_CQE_BUFFER_SHIFT),
		       (unsigned)cqe->res);
		if (!(cqe->flags & IORING_CQE_F_MORE))
			start_recv(fd);
		return;
	}
	if (cqe->res == -ENOBUFS) {
		c->starved = true;
		n_starved++;
		return;
	}
	c->ended = true;
	if (c->first == NONE)
		start_close(fd);
}

static void on_send(const struct io_uring_cqe *cqe)
{
	int fd = (int)(cqe->user_data >> 3);
	struct conn *c = &conns[fd];
	struct piece *p = &pieces[c->first];
	int id = c->first;

	if (cqe->res < 0) {
		drop_all(c);
		if (!c->ended)
			cancel_recv(fd);
	} else if ((unsigned)cqe->res < p->len) {
		p->at += (unsigned)cqe->res;
		p->len -= (unsigned)cqe->res;
	} else {
		c->first = p->next;
		give_back(id);
	}
	if (c->first != NONE)
		start_send(fd);
	else if (c->ended)
		start_close(fd);
}

static void handle(const struct io_uring_cqe *cqe)
{
	switch ((enum what)(cqe->user_data & 7)) {
	case ACCEPT:
		on_accept(cqe);
		break;
	case RECV:
		on_recv(cqe);
		break;
	case SEND:
		on_send(cqe);
		break;
	case CLOSE:
	case CANCEL:
		break; /* only of one that failed */
	}
}

static void open_ring(void)
{
	struct io_uring_params params = {
		.flags = IORING_SETUP_SINGLE_ISSUER |
			 IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQSIZE,
		.cq_entries = COMPLETIONS,
	};
	int err = io_uring_queue_init_params(SUBMISSIONS, &ring, &params);

	if (err < 0)
		die("io_uring_setup", err);
	(void)io_uring_register_ring_fd(&ring); /* or it costs a little more */
}

static void open_buffers(void)
{
	struct io_uring_buf_reg reg = { .ring_entries = BUFFERS,
					.bgid = GROUP };
	int err;

	memory = malloc((size_t)BUFFERS * STRIDE);
	buffers = mmap(NULL, BUFFERS * sizeof(struct io_uring_buf),
		       PROT_READ | PROT_WRITE, MAP_ANONYMOUS | MAP_PRIVATE, -1,
		       0);
	if (!memory || buffers == MAP_FAILED)
		die("buffers", -ENOMEM);
	reg.ring_addr = (uint64_t)(uintptr_t)buffers;
	err = io_uring_register_buf_ring(&ring, &reg, 0);
	if (err < 0)
		die("register buffers", err);
	io_uring_buf_ring_init(buffers);
	for (int id = 0; id < BUFFERS; id++)
		give_back(id);
}

int main(void)
{
	open_ring();
	open_buffers();
	start_accept(listen_anywhere(0));
	for (;;) {
		struct io_uring_cqe *cqe;
		unsigned head, n = 0;

		io_uring_submit_and_wait(&ring, 1);
		io_uring_for_each_cqe(&ring, head, cqe)
		{
			handle(cqe);
			n++;
		}
		io_uring_cq_advance(&ring, n);
		if (n_starved > 0)
			feed_starved();
	}
}
