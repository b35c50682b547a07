/* SPDX-License-Identifier: MIT */
/* Receiving ahead: the kernel puts what comes for a watch into buffers, by a
 * multishot receive, and the reader takes it from there: no system call, and no
 * copy.  Worth it for small messages only.  The buffers are few: a watch that
 * leaves many pieces lie, or gets large ones, is no longer fed, and neither is
 * who finds no buffer; they receive as they did before.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "fiber/uring.h"

#define GROUP 0
#define PIECES_MAX 4 /* of one watch, before it is stopped */
/* Watches, fed or not: a thousand connections, and what else there is.  With
 * more of them the kernel's memory for a receive, larger and colder than that
 * for a poll, costs more than the calls that it spares.
 */
#define MANY 1100

static char *memory_of(const struct cleat__uring *u, unsigned id)
{
	return u->memory + (size_t)id * CLEAT__PIECE_STRIDE;
}

static void give_back(struct cleat__uring *u, unsigned id)
{
	if (!u->buffers)
		return; /* the ring is gone */
	io_uring_buf_ring_add(u->buffers, memory_of(u, id), CLEAT__PIECE_SIZE,
			      (unsigned short)id,
			      io_uring_buf_ring_mask(CLEAT__PIECES), 0);
	io_uring_buf_ring_advance(u->buffers, 1);
}

static int register_buffers(struct cleat__uring *u)
{
	struct io_uring_buf_reg reg = {
		.ring_addr = (uint64_t)(uintptr_t)u->page->buffers,
		.ring_entries = CLEAT__PIECES,
		.bgid = GROUP,
	};

	return cleat__ring_register(u, IORING_REGISTER_PBUF_RING, &reg);
}

/* Only who is fed needs them. */
static bool has_buffers(struct cleat__sched *s)
{
	struct cleat__uring *u = s->backend_state;

	if (u->buffers)
		return true;
	if (!u->has_ring && cleat__uring_begin(s) < 0)
		return false;
	if (register_buffers(u) < 0)
		return false;
	u->memory = (char *)s->hot + CLEAT__HOT_SIZE;
	u->buffers = (struct io_uring_buf_ring *)u->page->buffers;
	io_uring_buf_ring_init(u->buffers);
	for (unsigned id = 0; id < CLEAT__PIECES; id++)
		give_back(u, id);
	return true;
}

void cleat__feed(struct cleat__sched *s, struct cleat__watch *w,
		 cleat__keep *keep)
{
	struct cleat__uring *u = s->backend_state;
	struct io_uring_sqe *sqe;

	if (w->home != s || w->bound || (w->armed & CLEAT__RECV) ||
	    u->n_armed + u->n_listed > MANY || !has_buffers(s))
		return;
	sqe = cleat__uring_ask(u);
	if (!sqe)
		return;
	u->keep = keep;
	io_uring_prep_recv_multishot(sqe, w->fd, NULL, 0, 0);
	io_uring_sqe_set_data64(sqe, (uintptr_t)w | CLEAT__RECV);
	sqe->flags |= IOSQE_BUFFER_SELECT;
	sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
	sqe->buf_group = GROUP;
	w->armed |= CLEAT__RECV | CLEAT__FED;
	u->n_armed++;
	if (w->armed & CLEAT__POLL)
		cleat__uring_stop(u, w, CLEAT__POLL);
	if (w->armed & CLEAT__LISTED)
		cleat__bound_forget(u, w);
}

void cleat__feed_stop(struct cleat__uring *u, struct cleat__watch *w)
{
	if ((w->armed & (CLEAT__RECV | CLEAT__STOPPING)) != CLEAT__RECV)
		return;
	w->armed |= CLEAT__STOPPING;
	cleat__uring_stop(u, w, CLEAT__RECV);
}

static void add(struct cleat__uring *u, struct cleat__watch *w, unsigned id,
		unsigned len)
{
	u->pieces[id].at = 0;
	u->pieces[id].len = (uint16_t)len;
	if (w->n_pieces == 0)
		w->first = (uint16_t)id;
	else
		u->pieces[w->last].next = (uint16_t)id;
	w->last = (uint16_t)id;
	w->n_pieces++;
	if (len == CLEAT__PIECE_SIZE || w->n_pieces >= PIECES_MAX)
		cleat__feed_stop(u, w);
}

static unsigned pop(struct cleat__uring *u, struct cleat__watch *w)
{
	unsigned id = w->first;

	w->first = u->pieces[id].next;
	w->n_pieces--;
	return id;
}

/* An end is found again by a receive; of an error this was the only word. */
void cleat__feed_handle(struct cleat__uring *u, struct cleat__watch *w,
			const struct io_uring_cqe *e)
{
	if (e->res > 0)
		add(u, w, e->flags >> IORING_CQE_BUFFER_SHIFT,
		    (unsigned)e->res);
	else if (e->res < 0 && e->res != -ENOBUFS && e->res != -ECANCELED)
		w->broken =
			(uint8_t)(e->res == -ETIMEDOUT ? ENETRESET : -e->res);
	if (!(e->flags & IORING_CQE_F_MORE))
		cleat__uring_ended(w, CLEAT__RECV | CLEAT__STOPPING);
	cleat__became_ready(w, CLEAT__IN);
}

/* All that is left of W's first piece. */
static ssize_t lend(struct cleat__uring *u, struct cleat__watch *w,
		    const void **data)
{
	unsigned id = pop(u, w);

	*data = memory_of(u, id) + u->pieces[id].at;
	u->lent = (int)id;
	return u->pieces[id].len;
}

static ssize_t copy(struct cleat__uring *u, struct cleat__watch *w, void *buf,
		    size_t max)
{
	struct cleat__piece *p = &u->pieces[w->first];
	size_t n = p->len < max ? p->len : max;

	memcpy(buf, memory_of(u, w->first) + p->at, n);
	p->at = (uint16_t)(p->at + n);
	p->len = (uint16_t)(p->len - n);
	if (p->len == 0)
		give_back(u, pop(u, w));
	return (ssize_t)n;
}

ssize_t cleat__feed_take(struct cleat__sched *s, struct cleat__watch *w,
			 const void **data, void *buf, size_t max)
{
	struct cleat__uring *u = s->backend_state;
	int err = -w->broken;

	if (!buf && u->lent >= 0) {
		give_back(u, (unsigned)u->lent);
		u->lent = -1;
	}
	if (w->n_pieces > 0)
		return buf ? copy(u, w, buf, max) : lend(u, w, data);
	w->broken = 0;
	if (err < 0)
		return err;
	if (!(w->armed & CLEAT__RECV)) {
		cleat__set_ready(w, CLEAT__IN);
		cleat__uring_ended(w, CLEAT__FED);
	}
	return -EAGAIN;
}

/* The stream has lost bytes, or the word of its reset: only an error must come
 * of it now, no end.
 */
static void break_off(const struct cleat__watch *w)
{
	static const struct sockaddr nowhere = { .sa_family = AF_UNSPEC };

	(void)sys_connect(w->fd, &nowhere, sizeof(nowhere)); /* or it is over */
}

void cleat__feed_end(struct cleat__uring *u, struct cleat__watch *w)
{
	int err = 0;

	while (w->n_pieces > 0) {
		unsigned id = pop(u, w);
		const struct cleat__piece *p = &u->pieces[id];

		if (err == 0)
			err = u->keep(w, memory_of(u, id) + p->at, p->len);
		give_back(u, id);
	}
	if (err < 0 || w->broken)
		break_off(w);
	w->broken = 0;
	cleat__set_ready(w, CLEAT__IN);
}
