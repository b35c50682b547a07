/* SPDX-License-Identifier: MIT */
/* One connection, or one exchange of it, in each of the modes.  In all it has a
 * fiber meanwhile: in CLEAT_SERVE_THREADS and _PROCESSES that waits for the
 * thread, or the child, which runs the handler to the connection's end.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "base/sys.h"
#include "fiber/offload.h"
#include "fiber/park.h"
#include "fiber/sched.h"
#include "net/conn.h"
#include "net/server.h"

static void emit_end(struct cleat__handled *h, int error)
{
	struct cleat_sockaddr peer = { .len = 0 };
	struct cleat_serve_event e = {
		.what = CLEAT_SERVE_ENDED,
		.error = error,
		.is_fault = cleat__is_fault(error),
		.proto = h->place->proto,
		.peer = &peer,
		.bytes = cleat_conn_counts(&h->conn),
		.duration_ns = cleat_now() - h->started,
	};

	(void)cleat_conn_peer(&h->conn,
			      &peer); /* of a unix one: perhaps gone */
	cleat__emit(h->worker->server, e);
}

/* What the handler last ran into, if that is worth telling. */
static int last_error(void)
{
	int err = cleat__failure_last();

	return err == CLEAT_EEOF ? 0 : err; /* how most loops end */
}

struct ended {
	struct cleat__handled *h;
	int error;
};

static void emit_end_of(void *arg)
{
	struct ended *e = arg;

	emit_end(e->h, e->error);
}

/* Making text of it would touch a second page of every fiber's stack. */
void cleat__tell_end(struct cleat__handled *h, int error)
{
	struct ended e = { .h = h, .error = error };

	if (cleat__wants(h->worker->server, CLEAT_SERVE_ENDED, error))
		cleat__on_thread_stack(emit_end_of, &e);
}

bool cleat__exchange(const struct cleat__worker *w, struct cleat__handled *h)
{
	const struct cleat_service *s = w->server->service;

	cleat__failure_forget();
	if (s->exchange(&h->conn, s->arg))
		return true;
	cleat__tell_end(h, last_error());
	return false;
}

/* Whether something has come of C, be it its end.  An error is told once. */
static bool await_more(struct cleat_conn *c)
{
	ssize_t err = cleat__conn_peek(c);

	if (err == -EAGAIN)
		err = cleat__conn_wait(c, CLEAT__IN, CLEAT_FOREVER);
	return err >= 0 || cleat__conn_fail(c, (int)err, "wait for") == 0;
}

static void run_to_end(struct cleat__handled *h)
{
	const struct cleat_service *s = h->worker->server->service;

	if (s->exchange) {
		while (s->exchange(&h->conn, s->arg) && await_more(&h->conn))
			cleat__failure_forget();
	} else {
		s->stream(&h->conn, s->arg);
	}
	cleat__tell_end(h, last_error());
}

struct threaded {
	struct cleat__handled *h;
	struct cleat__parker done;
};

static void *thread_main(void *arg)
{
	struct threaded *t = arg;

	run_to_end(t->h);
	(void)cleat__parker_wake(&t->done); /* nothing else ends the wait */
	return NULL;
}

static void in_thread(struct cleat__handled *h)
{
	struct threaded t = { .h = h };
	int err;

	cleat__watch_release(&h->conn.io); /* the thread's, to poll */
	cleat__parker_init(&t.done);
	do /* a shortage of threads, or of memory for one, ends */
		err = cleat__helper_start(thread_main, &t);
	while (err < 0 && cleat_sleep(cleat_in(CLEAT__PAUSE)) == 0);
	if (err == 0)
		cleat__parker_wait_surely(&t.done);
	else
		cleat__tell_end(h, err);
	cleat__parker_done(&t.done);
}

static void close_place(const struct cleat__place *p,
			const struct cleat_conn *except)
{
	for (unsigned i = 0; p->listener && i < p->listener->n; i++)
		sys_close(p->listener->io[i].fd);
	for (unsigned i = 0; p->dgram && i < p->dgram->n; i++)
		sys_close(p->dgram->io[i].fd);
	if (p->waiting && p->waiting != except)
		sys_close(p->waiting->io.fd);
}

/* The child has its parent's sockets, and keeps only the connection. */
static void child_main(struct cleat__handled *h)
{
	struct cleat__worker *w = h->worker;
	struct cleat__failure why = { 0 };

	cleat__detach_self();
	cleat__failure_at = &why; /* nothing has failed here yet */
	h->conn.io.home = NULL; /* the parent's, not ours to change */
	for (unsigned i = 0; i < w->server->n_places; i++)
		close_place(&w->places[i], &h->conn);
	for (const struct cleat__handled *q = w->conns.first; q; q = q->next) {
		if (q != h && q->conn.io.fd >= 0)
			sys_close(q->conn.io.fd);
	}
	run_to_end(h);
	sys_close(h->conn.io.fd);
	(void)fflush(NULL); /* the handler's own: see fork_child() */
	_exit(0);
}

/* On the thread's own stack, so that the handler has all of it. */
static void fork_child(void *arg)
{
	struct cleat__handled *h = arg;

	(void)fflush(NULL); /* or the child would write it once more */
	h->child = sys_fork();
	if (h->child == 0)
		child_main(h);
}

/* Without a descriptor to wait for (there may be none left), look often.  A
 * cancelled fiber need not be patient: cleat__cut() has killed the child.
 * Returns what wait(2) says of it.
 */
static int reap(pid_t child)
{
	int pidfd = sys_pidfd_open(child), err = pidfd, status = 0;

	while (sys_wait(child, &status, WNOHANG) == 0) {
		if (pidfd >= 0)
			err = cleat_poll(pidfd, CLEAT_IN, CLEAT_FOREVER);
		if (err < 0 && err != -ECANCELED)
			err = cleat_sleep(cleat_in(20 * CLEAT_MSEC));
		if (err == -ECANCELED) {
			(void)sys_wait(child, &status, 0); /* it is there */
			break;
		}
		err = pidfd;
	}
	if (pidfd >= 0)
		sys_close(pidfd);
	return status;
}

static void in_process(struct cleat__handled *h)
{
	struct cleat__place *p = h->place;

	cleat__on_thread_stack(fork_child, h);
	if (p->waiting == &h->conn)
		p->waiting = NULL;
	if (h->child < 0) {
		cleat__tell_end(h, h->child);
		return;
	}
	cleat__watch_close(&h->conn.io); /* the child's now, and its FIN too */
	h->conn.io.fd = -1;
	if (reap(h->child) != 0) /* so it could not tell */
		cleat__tell_end(h, cleat__enter() < 0 ? -ECANCELED
						      : -ECONNABORTED);
}

void cleat__run_in_mode(struct cleat__handled *h)
{
	switch (h->worker->server->opt->mode) {
	case CLEAT_SERVE_THREADS:
		in_thread(h);
		break;
	case CLEAT_SERVE_PROCESSES:
		in_process(h);
		break;
	case CLEAT_SERVE_FIBERS:
	case CLEAT_SERVE_ONE:
		run_to_end(h);
		break;
	}
}

void cleat__enlist(struct cleat__conns *list, struct cleat__handled *h)
{
	h->next = NULL;
	h->prev = list->last;
	if (h->prev)
		h->prev->next = h;
	else
		list->first = h;
	list->last = h;
}

void cleat__delist(struct cleat__conns *list, struct cleat__handled *h)
{
	if (h->prev)
		h->prev->next = h->next;
	else
		list->first = h->next;
	if (h->next)
		h->next->prev = h->prev;
	else
		list->last = h->prev;
}

void cleat__leave_conn(struct cleat__handled *h)
{
	struct cleat__server *s = h->worker->server;

	if (s->opt->max_per_source > 0)
		cleat__source_leave(s, &h->conn);
	cleat__conn_done(&h->conn);
	atomic_fetch_sub(&s->active, 1);
	cleat__slot_give(s);
}

void cleat__handle(void *arg)
{
	struct cleat__place *p = arg;
	_Alignas(64) struct cleat__handled h = p->arriving;
	struct cleat__worker *w = p->worker;

	p->waiting = &h.conn;
	cleat__enlist(&w->conns, &h);
	cleat__run_in_mode(&h);
	cleat__delist(&w->conns, &h);
	cleat__leave_conn(&h);
}

void cleat__cut(struct cleat__worker *w)
{
	cleat_scope_cancel(w->handling);
	for (struct cleat__handled *h = w->conns.first; h; h = h->next) {
		if (h->child > 0)
			(void)kill(h->child, SIGKILL); /* a child of ours */
		else if (w->server->opt->mode == CLEAT_SERVE_THREADS &&
			 !h->conn.io.in) /* nor at rest: see seats.c */
			(void)cleat_shutdown(&h->conn,
					     CLEAT_BOTH); /* or gone */
	}
}
