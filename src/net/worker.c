/* SPDX-License-Identifier: MIT */
/* One worker: it accepts from its own listeners and receives from its own
 * datagram sockets, until it is told to stop, and then drains.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/sys.h"
#include "base/time.h"
#include "net/conn.h"
#include "net/server.h"

#define PACKETS 16
#define PACKET_SIZE 65536 /* more than UDP can carry */

static bool is_enough(const struct cleat__server *s)
{
	return s->opt->count > 0 && s->left == 0;
}

static void stop_if_enough(struct cleat__server *s)
{
	if (s->opt->count > 0 && s->left > 0 && --s->left == 0)
		cleat__server_stop(s);
}

static void limit(const struct cleat__server *s, struct cleat_conn *c)
{
	const struct cleat_serve_options *opt = s->opt;

	if (opt->idle_ns > 0 || opt->lifetime_ns > 0)
		cleat_conn_limit(c, opt->idle_ns,
				 opt->lifetime_ns > 0
					 ? cleat_in(opt->lifetime_ns)
					 : CLEAT_FOREVER);
}

static void tell(struct cleat__place *p, enum cleat_serve_what what,
		 const struct cleat_conn *c)
{
	struct cleat_sockaddr peer = { .len = 0 };
	struct cleat_serve_event e = {
		.what = what,
		.proto = p->proto,
		.peer = &peer,
	};

	(void)cleat_conn_peer(c, &peer); /* of a unix one: perhaps gone */
	cleat__emit(p->worker->server, e);
}

static bool may_enter(struct cleat__place *p, struct cleat_conn *c)
{
	struct cleat__server *s = p->worker->server;

	if (s->opt->max_per_source == 0 || cleat__source_enter(s, c))
		return true;
	if (cleat__wants(s, CLEAT_SERVE_REJECTED, 0))
		tell(p, CLEAT_SERVE_REJECTED, c);
	return false;
}

static void turn_away(struct cleat__server *s, struct cleat_conn *c)
{
	cleat__conn_done(c);
	cleat__slot_give(s);
}

static void undo_entry(struct cleat__place *p, struct cleat_conn *c)
{
	struct cleat__server *s = p->worker->server;

	atomic_fetch_sub(&s->active, 1);
	if (s->opt->max_per_source > 0)
		cleat__source_leave(s, c);
	p->waiting = NULL;
	turn_away(s, c);
}

/* For SAID, what is known of the first byte: as of cleat__conn_peek(). */
static int begin(struct cleat__place *p, ssize_t said)
{
	if (!p->worker->server->service->exchange)
		return cleat_go(p->worker->handling, cleat__handle, p,
				CLEAT_FOREVER);
	if (said > 0 || said == -EAGAIN)
		return cleat__seats_add(p, said > 0);
	return 0;
}

/* Who was gone before he said anything. */
static void end(struct cleat__place *p, int error)
{
	p->waiting = NULL;
	cleat__tell_end(&p->arriving, error);
	cleat__leave_conn(&p->arriving);
}

/* Of who has arrived, for whom there is a slot.  Returns 0 also for one that is
 * turned away.  Its handler runs at once: what has just been touched is in the
 * cache, a connection that is over already leaves its stack to the next, and
 * before another arrives it has moved to its stack or seat, or a child is
 * forked.
 */
static int admit(struct cleat__place *p)
{
	struct cleat_conn *c = &p->arriving.conn;
	struct cleat__server *s = p->worker->server;
	ssize_t said = 1;
	int err;

	if (is_enough(s)) { /* came before the stop that is on its way */
		turn_away(s, c);
		return -ECANCELED;
	}
	if (!may_enter(p, c)) {
		turn_away(s, c);
		return 0;
	}
	p->waiting = c;
	if (s->opt->event)
		p->arriving.started = cleat_now();
	limit(s, c);
	atomic_fetch_add(&s->active, 1);
	if (s->service->exchange)
		said = cleat__conn_peek(c);
	err = begin(p, said);
	if (err < 0) {
		undo_entry(p, c);
		return err;
	}
	if (cleat__wants(s, CLEAT_SERVE_ACCEPTED, 0))
		tell(p, CLEAT_SERVE_ACCEPTED, c);
	stop_if_enough(s);
	if (said > 0)
		cleat__step_aside();
	else if (said != -EAGAIN)
		end(p, (int)said);
	return 0;
}

/* Said once for each shortage, which is over when all who waited are in: not
 * for each try, each one that found room, or each place.
 */
void cleat__say_paused(struct cleat__server *s, bool *is_paused, int err)
{
	struct cleat_serve_event e = {
		.what = err < 0 ? CLEAT_SERVE_PAUSED : CLEAT_SERVE_RESUMED,
		.error = err,
	};
	unsigned others;

	if (*is_paused == (err < 0))
		return;
	*is_paused = err < 0;
	others = err < 0 ? atomic_fetch_add(&s->n_paused, 1)
			 : atomic_fetch_sub(&s->n_paused, 1) - 1;
	if (others == 0)
		cleat__emit(s, e);
}

/* Where all places are ready, or one has failed. */
static int wait_at_gate(struct cleat__server *s)
{
	char none;

	(void)cleat_chan_recv(s->gate, &none, CLEAT_FOREVER); /* its end */
	return atomic_load(&s->err) < 0 ? -ECANCELED : 0;
}

/* P could accept: wait until all could, and that has been announced. */
static int gather(struct cleat__place *p)
{
	struct cleat__server *s = p->worker->server;

	if (atomic_fetch_add(&s->n_ready, 1) + 1 ==
	    s->n_workers * s->n_places) {
		cleat__announce(p->worker);
		cleat_chan_finish(s->gate);
	}
	return wait_at_gate(s);
}

/* The slot is taken once there is somebody for it, or those who wait for
 * clients would have them all.
 */
static int accept_one(struct cleat__place *p)
{
	struct cleat__server *s = p->worker->server;
	int err = cleat__listener_wait(p->listener);

	if (err == 0)
		err = cleat__slot_take(s);
	if (err < 0)
		return err;
	err = cleat__accept_now(p->listener, &p->arriving.conn);
	if (err == 0)
		return admit(p);
	cleat__slot_give(s);
	return err;
}

static void accept_all(void *arg)
{
	struct cleat__place *p = arg;
	int err = gather(p);

	while (err != -ECANCELED) {
		err = accept_one(p);
		if (err == 0 || err == -ECANCELED)
			continue;
		cleat__say_paused(p->worker->server, &p->is_paused,
				  err == -EAGAIN ? 0 : err);
		if (err != -EAGAIN)
			(void)cleat_sleep(cleat_in(CLEAT__PAUSE)); /* asked
								    * above */
	}
}

static void answer(struct cleat__place *p, const struct cleat_packet *v, int n)
{
	struct cleat__server *s = p->worker->server;

	for (int i = 0; i < n && !is_enough(s); i++) {
		if (v[i].truncated)
			continue;
		s->service->dgram(p->dgram, &v[i].addr, v[i].data, v[i].len,
				  s->service->arg);
		stop_if_enough(s);
	}
}

static void receive_all(void *arg)
{
	struct cleat__place *p = arg;
	unsigned room = p->worker->server->opt->count > 0 ? 1 : PACKETS;
	struct cleat_packet v[PACKETS];
	char *data = malloc((size_t)room * PACKET_SIZE);
	int n;

	if (!data) {
		cleat__server_fail(p->worker->server, -ENOMEM);
		return;
	}
	for (unsigned i = 0; i < room; i++) {
		v[i].data = data + (size_t)i * PACKET_SIZE;
		v[i].size = PACKET_SIZE;
	}
	/* A failure is the machine's, for what ICMP says is told to connected
	 * sockets alone. */
	n = gather(p);
	while (n != -ECANCELED) {
		answer(p, v, n);
		n = cleat_recv_batch(p->dgram, v, room, CLEAT_FOREVER);
		if (n < 0 && n != -ECANCELED)
			(void)cleat_sleep(
				cleat_in(CLEAT__PAUSE)); /* asked above */
	}
	free(data);
}

/* 0 once the NTH stop has come; two may come as one event. */
static int wait_for_stop(struct cleat__worker *w, uint64_t nth,
			 cleat_time until)
{
	while (w->stops < nth) {
		uint64_t n = 0;
		int err = cleat_poll(w->wakeup, CLEAT_IN, until);

		if (err < 0)
			return err;
		(void)sys_read(w->wakeup, &n, sizeof(n)); /* ready */
		w->stops += n;
	}
	return 0;
}

static void emit_stage(struct cleat__server *s, enum cleat_serve_what what)
{
	struct cleat_serve_event e = { .what = what };

	cleat__emit(s, e);
}

static void cut(struct cleat__worker *w)
{
	if (!w->conns.first)
		return;
	if (!atomic_exchange(&w->server->is_cut, true))
		emit_stage(w->server, CLEAT_SERVE_CUT);
	cleat__cut(w);
}

/* The stop that came of opt.count sets no limit: handlers have the drain time
 * from when one is asked for, and until another is.
 */
static void cut_in_time(void *arg)
{
	struct cleat__worker *w = arg;
	struct cleat__server *s = w->server;
	uint64_t asked = is_enough(s) ? 2 : 1;
	int err = wait_for_stop(w, asked, CLEAT_FOREVER);

	if (err == 0) {
		if (w == s->workers)
			emit_stage(s, CLEAT_SERVE_DRAINING);
		err = wait_for_stop(w, asked + 1, cleat_in(s->opt->drain_ns));
	}
	if (err != -ECANCELED)
		cut(w);
}

/* One stop for each time that there is something to read; and one if that can
 * no longer be told, for nothing else would end it all.
 */
static void watch_stop_fd(void *arg)
{
	struct cleat__server *s = arg;
	int fd = s->opt->stop_fd, err;
	char unused[128]; /* signalfd(2) wants room for a whole record */

	do {
		err = cleat_poll(fd, CLEAT_IN, CLEAT_FOREVER);
		if (err == -ECANCELED)
			return;
		if (err < 0)
			cleat__server_fail(s, err);
		else
			cleat__server_stop(s);
	} while (err >= 0 && sys_read(fd, unused, sizeof(unused)) > 0);
}

static int start_places(struct cleat__worker *w)
{
	int err = 0;

	for (unsigned i = 0; i < w->server->n_places && err == 0; i++) {
		struct cleat__place *p = &w->places[i];

		err = cleat_go(w->accepting,
			       p->listener ? accept_all : receive_all, p,
			       CLEAT_FOREVER);
	}
	return err;
}

static void close_places(struct cleat__worker *w)
{
	for (unsigned i = 0; i < w->server->n_places; i++) {
		cleat_unlisten(w->places[i].listener);
		cleat_dgram_close(w->places[i].dgram);
		w->places[i].listener = NULL;
		w->places[i].dgram = NULL;
	}
}

static void drain(struct cleat__worker *w, struct cleat_scope *watching)
{
	if (cleat_go(watching, cut_in_time, w, CLEAT_FOREVER) < 0)
		cut(w);
	cleat__seats_drain(w);
	(void)cleat_scope_wait(w->handling, CLEAT_FOREVER); /* not cancelled */
}

static int get_ready(struct cleat__worker *w, struct cleat_scope *watching)
{
	struct cleat__server *s = w->server;
	int err = cleat_scope_open(&w->accepting, 0);

	if (err == 0)
		err = cleat_scope_open(&w->handling, 0);
	if (err == 0 && w == s->workers && s->opt->stop_fd > 0)
		err = cleat_go(watching, watch_stop_fd, s, CLEAT_FOREVER);
	if (err == 0 && s->service->exchange)
		err = cleat__seats_open(w);
	if (err == 0)
		err = start_places(w);
	return err < 0 ? err : wait_at_gate(s);
}

static void serve_and_drain(struct cleat__worker *w,
			    struct cleat_scope *watching)
{
	struct cleat__server *s = w->server;
	int err = wait_for_stop(w, 1, CLEAT_FOREVER);

	if (err < 0)
		cleat__server_fail(s, err);
	cleat_scope_close(w->accepting);
	w->accepting = NULL;
	close_places(w);
	drain(w, watching);
	/* A second stop is for those that still drain; or, where no thread is
	 * to be had, it comes too late for them. */
	if (w == s->workers && s->n_threads > 0)
		(void)cleat_offload(cleat__server_join, s);
}

static void worker_main(void *arg)
{
	struct cleat__worker *w = arg;
	struct cleat_scope *watching = NULL;
	int err = cleat_scope_open(&watching, 0);

	if (err == 0)
		err = get_ready(w, watching);
	if (err == 0)
		serve_and_drain(w, watching);
	else
		cleat__server_fail(w->server, err);
	cleat_scope_close(w->accepting);
	cleat_scope_close(watching); /* first: its fibers look at the next */
	cleat_scope_close(w->handling);
}

void cleat__worker_run(struct cleat__worker *w)
{
	const struct cleat_run_options opt = {
		.backend = w->server->opt->backend,
	};
	int err = cleat_run(worker_main, w, &opt);

	if (err < 0) /* it came to nothing */
		cleat__server_fail(w->server, err);
}
