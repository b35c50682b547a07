/* SPDX-License-Identifier: MIT */
#include "fiber/sched.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fiber/ctx.h"

/* Switches in a row before the scheduler looks at timers and descriptors. */
#define ROUND 256

#define CACHE_LINE 64
#define AHEAD 5 /* lines: what the stack of a parked handler uses */
#define COLOURS 16
#define COLOUR_SIZE 128

_Thread_local struct cleat__sched *cleat__self;

static void push(struct cleat__queue *q, struct cleat__fiber *f)
{
	f->next = NULL;
	if (q->head)
		q->tail->next = f;
	else
		q->head = f;
	q->tail = f;
}

static struct cleat__fiber *pop(struct cleat__queue *q)
{
	struct cleat__fiber *f = q->head;

	if (f)
		q->head = f->next;
	return f;
}

/* Only for early ends of waits, which are rare. */
static void take_out(struct cleat__queue *q, struct cleat__fiber *f)
{
	struct cleat__fiber *last = NULL;

	for (struct cleat__fiber **at = &q->head; *at; at = &(*at)->next) {
		if (*at == f) {
			*at = f->next;
			if (q->tail == f)
				q->tail = last;
			return;
		}
		last = *at;
	}
}

static void bury(struct cleat__sched *s)
{
	struct cleat__fiber *f = s->dead;

	s->dead = NULL;
	cleat__san_done(&f->ctx.san);
	cleat__stack_put(&s->stacks, f->stack);
	s->live--;
}

/* What every context does first when it has been switched to. */
static void arrive(struct cleat__sched *s, struct cleat__context *me)
{
	cleat__san_enter(&me->san, &s->left->san);
	if (s->dead)
		bury(s);
}

/* Inlined: a return after a switch is one that the CPU tends to mispredict, and
 * there are several for each message.
 */
static inline __attribute__((always_inline)) void
swap(struct cleat__sched *s, struct cleat__context *from,
     struct cleat__context *to)
{
	s->left = from;
	cleat__san_leave(&from->san, &to->san, s->dead != NULL);
	cleat__ctx_swap(&from->sp, to->sp);
	arrive(s, from);
}

static inline void set_current(struct cleat__sched *s, struct cleat__fiber *f)
{
	s->current = f;
	s->streak = 0;
	cleat__failure_at = f ? &f->why : NULL;
}

/* The stack of the fiber after the next is on its way from memory while the
 * next one runs.
 */
static inline void fetch_ahead(const struct cleat__fiber *f)
{
	const char *sp;

	if (!f)
		return;
	sp = f->ctx.sp;
	for (int i = 0; i < AHEAD; i++)
		__builtin_prefetch(sp + i * CACHE_LINE);
}

/* Who is ready, if it is not time to look outside. */
static inline struct cleat__fiber *next(struct cleat__sched *s)
{
	struct cleat__fiber *to = s->budget > 0 ? pop(&s->ready) : NULL;

	if (to) {
		s->budget--;
		fetch_ahead(to->next);
	}
	return to;
}

/* The last switch of F; the thread looks outside. */
static void depart(struct cleat__sched *s, struct cleat__fiber *f)
{
	struct cleat__fiber *to = next(s);

	s->dead = f;
	set_current(s, to);
	swap(s, &f->ctx, to ? &to->ctx : &s->thread);
}

static void fiber_main(void *arg)
{
	struct cleat__fiber *f = arg;
	struct cleat__sched *s = f->sched;

	arrive(s, &f->ctx);
	f->fn(f->arg);
	cleat__scope_left(f);
	depart(s, f);
	abort();
}

/* Were every fiber at the same place in its page, all would compete for the
 * same few sets of the caches: spread them over half of it.
 */
static size_t colour(const struct cleat__sched *s, const void *stack)
{
	return (uintptr_t)stack / s->stacks.size % COLOURS * COLOUR_SIZE;
}

int cleat__spawn(struct cleat__sched *s, struct cleat_scope *scope,
		 void (*fn)(void *), void *arg)
{
	size_t size =
		cleat__stack_bytes(&s->stacks) - sizeof(struct cleat__fiber);
	struct cleat__fiber *f;
	char *stack;

	if (cleat__timers_reserve(&s->timers, s->live + 1) < 0)
		return -ENOMEM;
	stack = cleat__stack_get(&s->stacks);
	if (!stack)
		return -ENOMEM;
	size = (size - colour(s, stack)) & ~(size_t)(CACHE_LINE - 1);
	f = (struct cleat__fiber *)(stack + size);
	memset(f, 0, sizeof(*f));
	cleat__san_new(&f->ctx.san, stack, size);
	f->sched = s;
	f->stack = stack;
	f->scope = scope;
	f->fn = fn;
	f->arg = arg;
	f->ctx.sp = cleat__ctx_make(stack, size, fiber_main, f);
	s->live++;
	cleat__scope_entered(f);
	push(&s->ready, f);
	return 0;
}

static void end_wait(struct cleat__fiber *f, int reason)
{
	void (*abort)(struct cleat__fiber *, int) = f->abort;

	f->abort = NULL;
	if (abort)
		abort(f, reason);
}

static void read_wakes(struct cleat__sched *s)
{
	struct cleat__fiber *f, *next;

	if (!atomic_load_explicit(&s->mail, memory_order_relaxed))
		return;
	(void)pthread_mutex_lock(&s->mail_lock);
	f = atomic_exchange_explicit(&s->mail, NULL, memory_order_acquire);
	(void)pthread_mutex_unlock(&s->mail_lock);
	for (; f; f = next) {
		next = f->mail_next;
		cleat__wake(f, 0);
	}
}

static void read_releases(struct cleat__sched *s)
{
	struct cleat__release *r, *next;

	if (!atomic_load_explicit(&s->releases, memory_order_relaxed))
		return;
	(void)pthread_mutex_lock(&s->mail_lock);
	r = atomic_exchange_explicit(&s->releases, NULL, memory_order_acquire);
	(void)pthread_mutex_unlock(&s->mail_lock);
	for (; r; r = next) {
		next = r->next;
		cleat__watch_release(r->w);
		(void)cleat__parker_wake(&r->done); /* R is gone */
	}
}

static bool has_mail(struct cleat__sched *s)
{
	return atomic_load_explicit(&s->mail, memory_order_relaxed) ||
	       atomic_load_explicit(&s->releases, memory_order_relaxed);
}

static void read_mail(struct cleat__sched *s)
{
	read_wakes(s);
	read_releases(s);
}

static struct cleat__fiber *fiber_of(unsigned *timer_index)
{
	return (struct cleat__fiber *)((char *)timer_index -
				       offsetof(struct cleat__fiber,
						timer_index));
}

static void fire_timers(struct cleat__sched *s)
{
	cleat_time now;

	if (s->timers.n == 0)
		return;
	now = cleat_now();
	while (cleat__timers_next(&s->timers) <= now) {
		struct cleat__fiber *f = fiber_of(s->timers.heap[0].index);

		cleat__timers_remove(&s->timers, &f->timer_index);
		end_wait(f, -ETIMEDOUT);
	}
}

/* With mail it does not wait for the backend's word of it: that may have come
 * already, while a fiber let the backend forget a watch.
 */
static inline __attribute__((always_inline)) void
look_outside(struct cleat__sched *s)
{
	bool busy = s->ready.head || s->later.head || has_mail(s);
	struct cleat__fiber *f;

	s->backend->wait(s, busy ? 0 : cleat__timers_next(&s->timers));
	read_mail(s);
	fire_timers(s);
	while ((f = pop(&s->later)) != NULL)
		cleat__wake(f, 0);
}

/* Who is next, when it takes a look outside to know. */
static inline __attribute__((always_inline)) struct cleat__fiber *
look_for_next(struct cleat__sched *s)
{
	struct cleat__fiber *to;

	do {
		look_outside(s);
		s->budget = ROUND;
	} while (!(to = pop(&s->ready)));
	return to;
}

/* Apart from cleat__park(), whose frame would stay on every parked stack. */
static __attribute__((noinline)) int park(struct cleat__sched *s,
					  struct cleat__fiber *f)
{
	struct cleat__fiber *to = next(s);

	if (!to)
		to = look_for_next(s);
	set_current(s, to);
	if (to != f)
		swap(s, &f->ctx, &to->ctx);
	return f->result;
}

int cleat__park(cleat_time until,
		void (*abort)(struct cleat__fiber *f, int reason),
		void *waiting)
{
	struct cleat__sched *s = cleat__self;
	struct cleat__fiber *f = s->current;

	f->abort = abort;
	f->waiting = waiting;
	if (until != CLEAT_FOREVER)
		cleat__timers_add(&s->timers, &f->timer_index, until);
	return park(s, f);
}

void cleat__step_aside(void)
{
	struct cleat__sched *s = cleat__self;
	struct cleat__fiber *f = s->current;

	if (!s->ready.head)
		return; /* it would be its own next */
	f->abort = NULL;
	push(&s->ready, f);
	(void)park(s, f); /* nothing ends it but its turn */
}

void cleat__wake(struct cleat__fiber *f, int result)
{
	f->abort = NULL;
	f->result = result;
	if (f->timer_index > 0)
		cleat__timers_remove(&cleat__self->timers, &f->timer_index);
	push(&cleat__self->ready, f);
}

void cleat__cancel(struct cleat__fiber *f)
{
	f->cancelled = true;
	end_wait(f, -ECANCELED);
}

void cleat__wake_from_outside(struct cleat__fiber *f)
{
	struct cleat__sched *s = f->sched;

	/* Held until the last touch of S: it may end as soon as F has run. */
	(void)pthread_mutex_lock(&s->mail_lock);
	f->mail_next = atomic_load_explicit(&s->mail, memory_order_relaxed);
	atomic_store_explicit(&s->mail, f, memory_order_release);
	s->backend->wake(s);
	(void)pthread_mutex_unlock(&s->mail_lock);
}

void cleat__release_from_outside(struct cleat__sched *s, struct cleat__watch *w)
{
	struct cleat__release r = { .w = w };

	cleat__parker_init(&r.done);
	(void)pthread_mutex_lock(&s->mail_lock);
	r.next = atomic_load_explicit(&s->releases, memory_order_relaxed);
	atomic_store_explicit(&s->releases, &r, memory_order_release);
	s->backend->wake(s);
	(void)pthread_mutex_unlock(&s->mail_lock);
	cleat__parker_wait_surely(&r.done);
	cleat__parker_done(&r.done);
}

void cleat__on_thread_stack(void (*fn)(void *), void *arg)
{
	struct cleat__sched *s = cleat__self;

	if (!s) {
		fn(arg);
		return;
	}
	s->errand = fn;
	s->errand_arg = arg;
	swap(s, &s->current->ctx, &s->thread);
}

void cleat__detach_self(void)
{
	cleat__self = NULL;
	cleat__failure_at = NULL;
}

static void abort_queued(struct cleat__fiber *f, int reason)
{
	take_out(f->waiting, f);
	cleat__wake(f, reason);
}

int cleat__queue_wait(struct cleat__queue *q, cleat_time until)
{
	struct cleat__fiber *f = cleat__self->current;

	if (f->cancelled)
		return -ECANCELED;
	push(q, f);
	return cleat__park(until, abort_queued, q);
}

int cleat__queue_wait_first(struct cleat__queue *q, cleat_time until)
{
	struct cleat__fiber *f = cleat__self->current;

	if (f->cancelled)
		return -ECANCELED;
	f->next = q->head;
	if (!q->head)
		q->tail = f;
	q->head = f;
	return cleat__park(until, abort_queued, q);
}

void cleat__queue_wait_surely(struct cleat__queue *q)
{
	push(q, cleat__self->current);
	(void)cleat__park(CLEAT_FOREVER, NULL, NULL); /* ends by wake alone */
}

void cleat__queue_wake_one(struct cleat__queue *q)
{
	struct cleat__fiber *f = pop(q);

	if (f)
		cleat__wake(f, 0);
}

void cleat__queue_wake_all(struct cleat__queue *q)
{
	while (q->head)
		cleat__queue_wake_one(q);
}

static int open_backend(struct cleat__sched *s, enum cleat_backend want)
{
	int err = -ENOSYS; /* which is "not in this build" as well */

	s->backend = &cleat__uring;
	if (want != CLEAT_BACKEND_EPOLL)
		err = s->backend->open(s, want);
	if (err != -ENOSYS || want == CLEAT_BACKEND_URING)
		return err;
	s->backend = &cleat__epoll;
	return s->backend->open(s, want);
}

const char *cleat__refusal(int err, enum cleat_backend backend)
{
	if (backend != CLEAT_BACKEND_URING)
		return NULL;
	switch (err) {
	case -EPERM:
		return "io_uring is forbidden here; use epoll or auto";
	case -EINVAL:
	case -ENOSYS:
		return "no io_uring in this kernel or build; use epoll or auto";
	default:
		return NULL;
	}
}

int cleat__sched_open(struct cleat__sched *s,
		      const struct cleat_run_options *opt)
{
	int err;

	memset(s, 0, sizeof(*s));
	err = open_backend(s, opt->backend);
	if (err < 0)
		return err;
	s->hot_size = CLEAT__HOT_SIZE + s->backend->lends;
	/* The kernel copies large messages to and from there 4% faster. */
	err = -posix_memalign(&s->hot, CACHE_LINE, s->hot_size);
	if (err < 0) {
		s->backend->close(s);
		return err;
	}
	s->thread_id = pthread_self();
	(void)pthread_mutex_init(&s->mail_lock, NULL);
	cleat__stack_pool_init(&s->stacks, opt->stack);
	cleat__san_thread(&s->thread.san);
	return 0;
}

void cleat__sched_close(struct cleat__sched *s)
{
	while (s->watches)
		s->backend->forget(s, s->watches);
	read_releases(s);
	s->backend->close(s);
	cleat__timers_done(&s->timers);
	cleat__stack_pool_done(&s->stacks);
	(void)pthread_mutex_destroy(&s->mail_lock);
	free(s->polled);
	free(s->hot);
}

void cleat__sched_loop(struct cleat__sched *s)
{
	while (s->live > 0) {
		struct cleat__fiber *f = pop(&s->ready);

		s->budget = ROUND;
		if (f) {
			set_current(s, f);
			swap(s, &s->thread, &f->ctx);
		}
		while (s->errand) {
			void (*errand)(void *) = s->errand;

			s->errand = NULL;
			f = s->current;
			cleat__self = NULL; /* should it wait: no fiber can */
			errand(s->errand_arg);
			cleat__self = s;
			swap(s, &s->thread, &f->ctx);
		}
		if (s->live > 0)
			look_outside(s);
	}
}
