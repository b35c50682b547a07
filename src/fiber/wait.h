/* SPDX-License-Identifier: MIT */
/* Waiting for descriptors: the front that src/net calls, and the contract that
 * a backend fulfils for it.
 *
 * An operation (struct cleat__op) says what a fiber waits for.  It is
 * submitted, and completed once: with 0 when there may be something to do, and
 * the caller does the system call; or with the reason it was cancelled for.
 * Nothing of it is in the kernel, so it can end at any time.  What the kernel
 * does ahead (io_uring's receives) belongs to the watch, not to an operation.
 */
#ifndef CLEAT_FIBER_WAIT_H
#define CLEAT_FIBER_WAIT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <cleat/fiber.h>
#include <cleat/time.h>

struct cleat__sched;
struct cleat__fiber;

/* Directions, as bits. */
enum cleat__dir {
	CLEAT__IN = 1,
	CLEAT__OUT = 2,
};

/* Of a watch, as bits: */
enum {
	CLEAT__FED = 1, /* what comes is to be taken, not received */
	CLEAT__POLL = 2, /* a multishot poll is in the kernel */
	CLEAT__RECV = 4, /* a multishot receive is */
	CLEAT__STOPPING = 8, /* and is being cancelled */
	CLEAT__LISTED = 16, /* an epoll knows it */
	/* What only its home's thread can end. */
	CLEAT__KINDS = CLEAT__POLL | CLEAT__RECV,
};

/* A descriptor that is waited on, embedded in what owns it. */
struct cleat__watch {
	int fd;
	/* Directions, as bits, worth trying before a wait.  Cleared by a call
	 * that found nothing, or less than it asked for; set by an event.
	 * Where one thread reads and another writes, a change may be lost:
	 * that costs a try or a poll. */
	_Atomic uint8_t ready;
	/* A short count does not mean drained: the peer has ended, sent urgent
	 * data (a read stops there), or the socket is a unix one (a read stops
	 * at passed descriptors).  Try until -EAGAIN. */
	bool exact;
	/* An event came while IN was set already: a short count does not mean
	 * drained once more. */
	bool again;
	_Atomic uint8_t polled; /* directions that plain threads wait in */
	_Atomic uint8_t armed; /* bits: those above */
	/* While W is fed: what has come and was not taken, a queue of buffers,
	 * and what the stream broke with after it, as an errno. */
	uint8_t n_pieces, broken;
	uint8_t small; /* small messages in a row: see net/conn.c */
	uint16_t first, last;
	struct cleat__sched *home; /* whose backend knows FD; or NULL */
	struct cleat__op *in, *out; /* who waits */
	struct cleat__watch *prev, *next; /* of the same home */
	/* Whoever waits is to hear of nothing that he has read already: as a
	 * ring's poll would tell him. */
	bool strict;
	/* It keeps an address from others, who must find it free as soon as the
	 * process has ended; or may, or be closed by its owner meanwhile. */
	bool bound;
};

/* Part of its fiber, which waits for one thing at a time; or of a member of a
 * pollset.
 */
struct cleat__op {
	union {
		struct cleat__watch *one; /* if N is 1, as it is as a rule */
		struct cleat__watch *const *any; /* else */
	};
	uint8_t n;
	uint8_t dirs;
	bool is_member;
};

/* The bytes DATA of W come before all that are received.  Returns 0 or -errno.
 */
typedef int cleat__keep(struct cleat__watch *w, const void *data, size_t len);

/* One for each way to wait; wait_epoll.c is the reference.  Calls run on the
 * scheduler's own thread, but for wake.  They return 0 or -errno.
 */
struct cleat__backend {
	const char *name;
	size_t lends; /* bytes, behind those of sched.hot */
	int (*open)(struct cleat__sched *s, enum cleat_backend want);
	void (*close)(struct cleat__sched *s);
	/* From now on, until forgotten, W's home is S, and its events are told
	 * to cleat__became_ready(): at least those of DIRS. */
	int (*learn)(struct cleat__sched *s, struct cleat__watch *w,
		     unsigned dirs);
	/* Called before W's descriptor is closed; nobody waits on it.  No
	 * event of W arrives after this. */
	void (*forget)(struct cleat__sched *s, struct cleat__watch *w);
	/* Complete what is done; return when there was some, the scheduler
	 * was woken or UNTIL has passed. */
	void (*wait)(struct cleat__sched *s, cleat_time until);
	void (*wake)(struct cleat__sched *s); /* any thread */

	/* For backends that can receive ahead; else NULL.  FEED asks for it:
	 * perhaps W is fed from now on, and until TAKE says otherwise.  What is
	 * left at a forget is handed to KEEP. */
	void (*feed)(struct cleat__sched *s, struct cleat__watch *w,
		     cleat__keep *keep);
	/* Receive no more ahead; what has come is there to be taken. */
	void (*starve)(struct cleat__sched *s, struct cleat__watch *w);
	/* What came next: up to MAX bytes, copied to BUF; or, where that is
	 * NULL, any number, lent in *DATA until they are next asked for so, of
	 * whichever watch.  Returns how many, or an error of the stream, or
	 * -EAGAIN: wait, if W is still fed. */
	ssize_t (*take)(struct cleat__sched *s, struct cleat__watch *w,
			const void **data, void *buf, size_t max);
};

extern const struct cleat__backend cleat__epoll, cleat__uring;

static inline struct cleat__watch *cleat__watch_of(const struct cleat__op *op,
						   unsigned i)
{
	return op->n == 1 ? op->one : op->any[i];
}

static inline bool cleat__is_fed(const struct cleat__watch *w)
{
	return w->armed & CLEAT__FED;
}

static inline bool cleat__is_ready(const struct cleat__watch *w, unsigned dirs)
{
	return atomic_load_explicit(&w->ready, memory_order_relaxed) & dirs;
}

/* Whether W, of which nothing has been received ahead, will tell of whatever
 * comes next, its end too.
 */
static inline bool cleat__is_quiet(const struct cleat__watch *w)
{
	return cleat__is_fed(w) ? (w->armed & CLEAT__RECV) != 0
				: !cleat__is_ready(w, CLEAT__IN);
}

static inline void cleat__set_ready(struct cleat__watch *w, unsigned dirs)
{
	unsigned had = atomic_load_explicit(&w->ready, memory_order_relaxed);

	atomic_store_explicit(&w->ready, (uint8_t)(had | dirs),
			      memory_order_relaxed);
}

static inline void cleat__clear_ready(struct cleat__watch *w, unsigned dirs)
{
	unsigned had = atomic_load_explicit(&w->ready, memory_order_relaxed);

	atomic_store_explicit(&w->ready, (uint8_t)(had & ~dirs),
			      memory_order_relaxed);
}

/* A read of W gave less than was asked for, or nothing. */
static inline void cleat__drained(struct cleat__watch *w)
{
	if (w->again)
		w->again = false;
	else
		cleat__clear_ready(w, CLEAT__IN);
}

/* Everything is worth a first try. */
void cleat__watch_init(struct cleat__watch *w, int fd);

/* cleat__watch_release - W is to have no home, wherever that is; if it is
 * another thread's scheduler, which may be handling an event of it, this waits
 * until that gets to it.  Who waits on W looks again.
 */
void cleat__watch_release(struct cleat__watch *w);

/* cleat__watch_close - release W and close its descriptor. */
void cleat__watch_close(struct cleat__watch *w);

/* cleat__wait_any - park the fiber, or poll the thread, until one of the N
 * watches ON may proceed in one of DIRS; its ready bits say which.
 *
 * Returns 0, or -ETIMEDOUT, -ECANCELED, -EBUSY (another waits there, or the
 * watch belongs to another thread), -ENOMEM.
 */
#define CLEAT__WATCH_MAX 8 /* of N */
int cleat__wait_any(struct cleat__watch *const *on, unsigned n, unsigned dirs,
		    cleat_time until);
int cleat__wait(struct cleat__watch *w, unsigned dirs, cleat_time until);

/* Whether W's home is told of events in DIRS. */
static inline bool cleat__is_told(const struct cleat__watch *w, unsigned dirs)
{
	unsigned armed = w->armed;

	return (armed & (CLEAT__POLL | CLEAT__LISTED)) ||
	       (dirs == CLEAT__IN && (armed & CLEAT__RECV));
}

/* Let W tell OP of events. */
static inline void cleat__arm(struct cleat__watch *w, struct cleat__op *op)
{
	if (op->dirs & CLEAT__IN)
		w->in = op;
	if (op->dirs & CLEAT__OUT)
		w->out = op;
}

/* cleat__submit - OP is completed when one of its watches may be ready, has
 * ended or is broken; or before.  Returns 0 or -errno.
 */
int cleat__submit_new(struct cleat__sched *s, struct cleat__op *op);

static inline int cleat__submit(struct cleat__sched *s, struct cleat__op *op)
{
	if (op->n != 1 || !cleat__is_told(op->one, op->dirs))
		return cleat__submit_new(s, op);
	cleat__arm(op->one, op);
	return 0;
}

/* cleat__complete - OP is done, with RESULT; its fiber, if it has one, becomes
 * ready.
 */
void cleat__complete(struct cleat__op *op, int result);

/* For backends: with thousands of connections each is cold.  Let the few that
 * have events next, and the fibers that wait on them, come from memory at the
 * same time: SOON has been fetched, or is NULL.
 */
static inline void cleat__fetch(const struct cleat__watch *soon,
				const struct cleat__watch *later)
{
	__builtin_prefetch(later);
	if (soon)
		__builtin_prefetch(soon->in);
}

/* For backends: W may proceed in DIRS. */
void cleat__became_ready(struct cleat__watch *w, unsigned dirs);

/* For backends: remember W as known to S, and forget it again. */
void cleat__watch_link(struct cleat__sched *s, struct cleat__watch *w);
void cleat__watch_unlink(struct cleat__watch *w);

#endif
