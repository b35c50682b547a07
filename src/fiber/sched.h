/* SPDX-License-Identifier: MIT */
/* The scheduler: one a thread, while its cleat_run() lasts. */
#ifndef CLEAT_FIBER_SCHED_H
#define CLEAT_FIBER_SCHED_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cleat/fiber.h>
#include <cleat/time.h>

#include "base/error.h"
#include "fiber/park.h"
#include "fiber/sanitize.h"
#include "fiber/stack.h"
#include "fiber/timers.h"
#include "fiber/wait.h"

struct cleat__context {
	void *sp; /* while it does not run */
	struct cleat__san san;
};

/* Lies at the top of its own stack: a parked fiber costs one page. */
struct cleat__fiber {
	/* What a wait and a wake touch: one cache line. */
	struct cleat__context ctx;
	struct cleat__fiber *next; /* in the one queue it is in */
	/* While parked: how to end the wait early (NULL: not at all). */
	void (*abort)(struct cleat__fiber *f, int reason);
	unsigned timer_index; /* in sched.timers */
	int result; /* what the wait ended with */
	struct cleat__op op;
	bool cancelled;
	void *waiting; /* for abort */
	struct cleat__sched *sched;
	void *stack;
	void (*fn)(void *);
	void *arg;
	struct cleat__fiber *mail_next;
	struct cleat_scope *scope; /* NULL for the first one */
	struct cleat__fiber *scope_prev, *scope_next;
	struct cleat__failure why;
};

static inline struct cleat__fiber *cleat__fiber_of(struct cleat__op *op)
{
	return (struct cleat__fiber *)((char *)op -
				       offsetof(struct cleat__fiber, op));
}

struct cleat__queue {
	struct cleat__fiber *head, *tail;
};

#define CLEAT__HOT_SIZE (64 * 1024)

/* A watch that another thread wants released, and waits for. */
struct cleat__release {
	struct cleat__watch *w;
	struct cleat__parker done;
	struct cleat__release *next;
};

struct cleat__sched {
	struct cleat__fiber *current; /* NULL: on the thread's own stack */
	struct cleat__queue ready;
	struct cleat__queue later; /* yielded: after the next look outside */
	unsigned budget; /* switches until that look */
	unsigned streak; /* calls the fiber made without giving way */
	size_t live;
	struct cleat__context thread;
	struct cleat__context *left; /* the one just switched away from */
	struct cleat__fiber *dead; /* to be freed by the next one */
	void (*errand)(void *); /* to run on the thread's own stack */
	void *errand_arg;
	struct cleat__timers timers;
	struct cleat__stack_pool stacks;
	const struct cleat__backend *backend;
	void *backend_state;
	struct cleat__watch *watches;
	unsigned long *polled; /* bits: what cleat_poll() waits for */
	size_t n_polled; /* words of them */
	struct cleat_scope *scopes; /* open ones */
	struct cleat__queue ended; /* who waits for any fiber to return */
	void *hot; /* CLEAT__HOT_SIZE bytes that all its fibers share */
	size_t hot_size; /* with what a backend lends besides */
	unsigned helpers; /* threads at work for it, see offload.c */
	struct cleat__queue helpers_wanted;
	pthread_t thread_id;
	/* What other threads woke, and want released. */
	pthread_mutex_t mail_lock;
	_Atomic(struct cleat__fiber *) mail;
	_Atomic(struct cleat__release *) releases;
};

/* The calling thread's scheduler while a fiber runs on it, or NULL. */
extern _Thread_local struct cleat__sched *cleat__self
	__attribute__((visibility("hidden")));

int cleat__sched_open(struct cleat__sched *s,
		      const struct cleat_run_options *opt);
void cleat__sched_close(struct cleat__sched *s);

/* cleat__refusal - for the text of a failure ERR to open a scheduler: that it
 * is for the BACKEND, or NULL.
 */
const char *cleat__refusal(int err, enum cleat_backend backend);

/* cleat__sched_loop - run fibers, on the thread's own stack, until the last has
 * returned.
 */
void cleat__sched_loop(struct cleat__sched *s);

/* cleat__spawn - a new ready fiber, or -ENOMEM. */
int cleat__spawn(struct cleat__sched *s, struct cleat_scope *scope,
		 void (*fn)(void *), void *arg);

/* cleat__park - give way until woken, UNTIL, or cancelled.
 *
 * ABORT(fiber, reason) must bring about a cleat__wake() with that reason, now
 * or later, and is called at most once; without it nothing ends the wait early.
 * Returns what cleat__wake() said: not negative unless from ABORT.
 */
int cleat__park(cleat_time until,
		void (*abort)(struct cleat__fiber *f, int reason),
		void *waiting);

/* cleat__step_aside - let the fibers that are ready run first. */
void cleat__step_aside(void);

/* cleat__wake - make a parked fiber ready; its park returns RESULT. */
void cleat__wake(struct cleat__fiber *f, int result);

/* cleat__wake_from_outside - the same with result 0, from any thread. */
void cleat__wake_from_outside(struct cleat__fiber *f);

/* cleat__release_from_outside - release W, whose home is S, on the thread of S;
 * waits for it.
 */
void cleat__release_from_outside(struct cleat__sched *s,
				 struct cleat__watch *w);

/* cleat__cancel - every wait of F returns -ECANCELED from now on. */
void cleat__cancel(struct cleat__fiber *f);

/* cleat__on_thread_stack - run FN(ARG) at once, on the thread's own stack: for
 * work that would touch more of a fiber's stack than it is worth.  FN must not
 * wait.  On a plain thread, a call.
 */
void cleat__on_thread_stack(void (*fn)(void *), void *arg);

/* cleat__detach_self - for a forked child: this thread has no scheduler any
 * more, and its fibers never run again here.
 */
void cleat__detach_self(void);

/* Queues of parked fibers of one thread.  The second wait nothing can end but
 * a wake.
 */
int cleat__queue_wait(struct cleat__queue *q, cleat_time until);
int cleat__queue_wait_first(struct cleat__queue *q, cleat_time until);
void cleat__queue_wait_surely(struct cleat__queue *q);
void cleat__queue_wake_one(struct cleat__queue *q);
void cleat__queue_wake_all(struct cleat__queue *q);

/* F starts, or has returned: its scope (NULL: none) keeps count (scope.c). */
void cleat__scope_entered(struct cleat__fiber *f);
void cleat__scope_left(struct cleat__fiber *f);

/* cleat__scopes_end - cancel and join what runs besides the caller, and free
 * the scopes that were left open.
 */
void cleat__scopes_end(struct cleat__sched *s);

/* cleat__enter - at the start of every call that may wait: -ECANCELED, or 0
 * after giving way if the fiber has not for long.
 */
int cleat__enter_slow(struct cleat__sched *s);

#define CLEAT__STREAK 64

/* Whether the fiber that runs on S may make another call without giving way. */
static inline bool cleat__goes_on(struct cleat__sched *s)
{
	return !s->current->cancelled && ++s->streak < CLEAT__STREAK;
}

static inline int cleat__enter(void)
{
	struct cleat__sched *s = cleat__self;

	if (!s || cleat__goes_on(s))
		return 0;
	return cleat__enter_slow(s);
}

/* Whether DATA is borrowed from cleat_view(): the next fiber overwrites it. */
static inline bool cleat__is_hot(const void *data)
{
	const struct cleat__sched *s = cleat__self;

	return s && (uintptr_t)data - (uintptr_t)s->hot < s->hot_size;
}

/* cleat__enter_with - the same for a call that is handed DATA: it does not give
 * way if that is borrowed.
 */
static inline int cleat__enter_with(const void *data)
{
	struct cleat__sched *s = cleat__self;

	if (!s || (!s->current->cancelled &&
		   (++s->streak < CLEAT__STREAK || cleat__is_hot(data))))
		return 0;
	return cleat__enter_slow(s);
}

#endif
