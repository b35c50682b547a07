/* SPDX-License-Identifier: MIT */
/* The inside of cleat_serve(): serve.c opens and stops, worker.c accepts,
 * slots.c says how many, seats.c has those served an exchange at a time,
 * handle.c runs one connection in its mode.
 */
#ifndef CLEAT_NET_SERVER_H
#define CLEAT_NET_SERVER_H

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

#include <cleat/chan.h>
#include <cleat/fiber.h>
#include <cleat/serve.h>

#include "base/blocks.h"
#include "fiber/pollset.h"
#include "net/conn.h"
#include "net/dgram.h"
#include "net/listen.h"

/* A shortage (of descriptors, of memory) ends when it ends: look again. */
#define CLEAT__PAUSE (100 * CLEAT_MSEC)

struct cleat__server {
	const struct cleat_service *service;
	const struct cleat_serve_options *opt;
	struct cleat__worker *workers;
	unsigned n_workers;
	unsigned n_threads; /* of workers[1] and so on, not joined yet */
	unsigned n_places; /* listeners, and datagram sockets, of each worker */
	struct cleat_chan *gate; /* finished: all places are ready, or ERR */
	atomic_uint n_ready; /* places, of all workers */
	atomic_int err; /* the first failure of a worker */
	atomic_uint active; /* connections open */
	atomic_uint slots, slots_wanted; /* see slots.c */
	struct cleat_chan *slot_given; /* a word to who wants one */
	atomic_uint n_paused; /* places, and workers that are short */
	atomic_bool is_cut; /* and that has been told */
	unsigned long left; /* until opt.count; used by the one worker alone */
	pthread_mutex_t sources_lock;
	void *sources; /* tsearch(3) tree, see sources.c */
};

/* One connection.  It lies on its fiber's stack, in the page that is in use
 * anyway and at the start of a cache line, or in a seat.
 */
struct cleat__handled {
	struct cleat_conn conn;
	struct cleat__place *place;
	struct cleat__worker *worker;
	cleat_time started;
	pid_t child; /* in CLEAT_SERVE_PROCESSES */
	struct cleat__handled *prev, *next;
};

/* A place that is served: a listener or a datagram socket. */
struct cleat__place {
	struct cleat__worker *worker;
	struct cleat_listener *listener;
	struct cleat_dgram *dgram;
	struct cleat__handled arriving; /* until its fiber has begun */
	struct cleat_conn *waiting; /* accepted, but not yet forked for, nor
				     * seated: one at most, closed by other
				     * children */
	enum cleat_proto proto;
	bool shared; /* inherited, or unix: one queue for all workers */
	bool is_paused;
};

struct cleat__conns {
	struct cleat__handled *first, *last;
};

struct cleat__worker {
	struct cleat__server *server;
	struct cleat__place *places;
	pthread_t thread;
	int wakeup; /* eventfd: counts the stops asked for */
	uint64_t stops; /* those that it has told of */
	struct cleat_scope *accepting, *handling;
	struct cleat__conns conns; /* but those that wait in their places */
	/* Of seats.c: */
	struct cleat__blocks blocks;
	struct cleat__pollset seated;
	struct cleat__timers limits; /* of those at rest, or earlier */
	size_t n_seats;
	unsigned n_free; /* attendants that are in no handler */
	bool is_draining, is_short; /* nobody else comes; no memory */
	bool is_apart; /* handlers run in threads or processes */
};

/* A connection that is served an exchange at a time.  What each message touches
 * is two cache lines.
 */
struct cleat__seat {
	struct cleat__member member; /* first */
	unsigned timer; /* in worker.limits */
	struct cleat__handled h;
	cleat_time until; /* its limit, at rest */
};

void cleat__worker_run(struct cleat__worker *w);

/* cleat__server_stop - once: stop; twice: at once. */
void cleat__server_stop(struct cleat__server *s);

/* cleat__server_fail - stop for ERR, unless something else was first. */
void cleat__server_fail(struct cleat__server *s, int err);

/* cleat__server_join - wait for the other workers; ARG is the server. */
void cleat__server_join(void *arg);

/* cleat__announce - tell of the addresses of W, which are those of all. */
void cleat__announce(const struct cleat__worker *w);

/* cleat__emit - tell opt.event of E, with what E does not say filled in. */
void cleat__emit(struct cleat__server *s, struct cleat_serve_event e);

/* cleat__handle - the fiber of one connection; ARG is where it has arrived, its
 * cleat__place.
 */
void cleat__handle(void *arg);

/* cleat__run_in_mode - run H's handler to its end, which it tells, in this
 * fiber, a thread or a process.
 */
void cleat__run_in_mode(struct cleat__handled *h);

/* cleat__exchange - one exchange of H, of W, in this fiber.  Returns whether H
 * stays; if not, that has been told.
 */
bool cleat__exchange(const struct cleat__worker *w, struct cleat__handled *h);

/* cleat__leave_conn - close H, and make room for another. */
void cleat__leave_conn(struct cleat__handled *h);

/* cleat__tell_end - tell opt.event that H has ended, with ERROR or 0. */
void cleat__tell_end(struct cleat__handled *h, int error);

/* cleat__enlist - put H last in LIST;  cleat__delist - take it out. */
void cleat__enlist(struct cleat__conns *list, struct cleat__handled *h);
void cleat__delist(struct cleat__conns *list, struct cleat__handled *h);

/* cleat__seats_open - let W have seats, and who attends to them, among the
 * handlers: until they are cancelled or, after a drain, the last seat is empty.
 */
int cleat__seats_open(struct cleat__worker *w);
void cleat__seats_close(struct cleat__worker *w);

/* cleat__seats_add - give a seat to who has arrived at P, and HAS_SPOKEN or
 * not. Returns 0, or -errno: then he is still there.
 */
int cleat__seats_add(struct cleat__place *p, bool has_spoken);

/* cleat__seats_drain - no more are added to W's. */
void cleat__seats_drain(struct cleat__worker *w);

/* cleat__say_paused - that there is a shortage, ERR, or is no more, 0: to opt.
 * event, and once for each.  IS_PAUSED is the caller's.
 */
void cleat__say_paused(struct cleat__server *s, bool *is_paused, int err);

/* cleat__cut - make every handler of W that still runs return soon. */
void cleat__cut(struct cleat__worker *w);

/* cleat__is_fault - as of struct cleat_serve_event. */
static inline bool cleat__is_fault(int error)
{
	return error < 0 && error != -ECONNRESET && error != -EPIPE &&
	       error != -ETIMEDOUT && error != -ECANCELED;
}

/* cleat__wants - whether opt.event is to be told of WHAT with ERROR. */
static inline bool cleat__wants(const struct cleat__server *s,
				enum cleat_serve_what what, int error)
{
	bool muted = s->opt->mute >> what & 1;

	if (!s->opt->event)
		return false;
	return !muted || (what == CLEAT_SERVE_ENDED && cleat__is_fault(error));
}

/* cleat__slot_take - leave to have one more connection open; waits for it.
 * Returns 0, or -ECANCELED.
 */
int cleat__slot_take(struct cleat__server *s);
void cleat__slot_give(struct cleat__server *s);

/* cleat__source_enter - count C for its source address; false if that has its
 * cap.  Unix peers are not counted.  Any thread.  Only where there is a cap.
 */
bool cleat__source_enter(struct cleat__server *s, const struct cleat_conn *c);
void cleat__source_leave(struct cleat__server *s, const struct cleat_conn *c);

#endif
