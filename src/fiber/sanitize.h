/* SPDX-License-Identifier: MIT */
/* ASan, TSan and valgrind are told of each stack and each switch; in a plain
 * build every function here is empty.
 */
#ifndef CLEAT_FIBER_SANITIZE_H
#define CLEAT_FIBER_SANITIZE_H

#include <stddef.h>
#include <stdint.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CLEAT__ASAN 1
#endif
#if __has_feature(thread_sanitizer)
#define CLEAT__TSAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define CLEAT__ASAN 1
#endif
#if defined(__SANITIZE_THREAD__)
#define CLEAT__TSAN 1
#endif

/* What they know of one context. */
struct cleat__san {
#ifdef CLEAT__ASAN
	void *fake;
	const void *bottom;
	size_t size;
#endif
#ifdef CLEAT__TSAN
	void *fiber;
#endif
#ifdef HAVE_VALGRIND
	unsigned stack_id;
#endif
	char unused; /* an empty struct is not C */
};

#ifdef HAVE_VALGRIND
#include <valgrind/valgrind.h>

static inline void cleat__san_valgrind_new(struct cleat__san *s, char *base,
					   size_t size)
{
	s->stack_id = VALGRIND_STACK_REGISTER(base, base + size);
}

static inline void cleat__san_valgrind_done(struct cleat__san *s)
{
	VALGRIND_STACK_DEREGISTER(s->stack_id);
}
#else
static inline void cleat__san_valgrind_new(struct cleat__san *s, char *base,
					   size_t size)
{
	(void)s, (void)base, (void)size;
}

static inline void cleat__san_valgrind_done(struct cleat__san *s)
{
	(void)s;
}
#endif

#ifdef CLEAT__ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>

static inline void cleat__san_asan_new(struct cleat__san *s, char *base,
				       size_t size)
{
	__asan_unpoison_memory_region(base, size); /* of its last fiber */
	s->fake = NULL;
	s->bottom = base;
	s->size = size;
}

static inline void cleat__san_asan_leave(struct cleat__san *from,
					 struct cleat__san *to, int dying)
{
	__sanitizer_start_switch_fiber(dying ? NULL : &from->fake, to->bottom,
				       to->size);
}

/* The thread's own stack is learnt here, when its first fiber starts. */
static inline void cleat__san_asan_enter(struct cleat__san *me,
					 struct cleat__san *from)
{
	__sanitizer_finish_switch_fiber(me->fake, &from->bottom, &from->size);
}
#else
static inline void cleat__san_asan_new(struct cleat__san *s, char *base,
				       size_t size)
{
	(void)s, (void)base, (void)size;
}

static inline void cleat__san_asan_leave(struct cleat__san *from,
					 struct cleat__san *to, int dying)
{
	(void)from, (void)to, (void)dying;
}

static inline void cleat__san_asan_enter(struct cleat__san *me,
					 struct cleat__san *from)
{
	(void)me, (void)from;
}
#endif

#ifdef CLEAT__TSAN
#include <sanitizer/tsan_interface.h>

static inline void cleat__san_tsan_thread(struct cleat__san *s)
{
	s->fiber = __tsan_get_current_fiber();
}

static inline void cleat__san_tsan_new(struct cleat__san *s)
{
	s->fiber = __tsan_create_fiber(0);
}

static inline void cleat__san_tsan_leave(struct cleat__san *to)
{
	__tsan_switch_to_fiber(to->fiber, 0);
}

static inline void cleat__san_tsan_done(struct cleat__san *s)
{
	__tsan_destroy_fiber(s->fiber);
}

/* liburing maps and unmaps by system calls of its own, unseen: memory that one
 * thread has left may be new in another.  The calls share the TAG.
 */
static inline void cleat__san_mapped(const void *tag)
{
	__tsan_acquire((void *)(uintptr_t)tag);
}

static inline void cleat__san_unmapped(const void *tag)
{
	__tsan_release((void *)(uintptr_t)tag);
}
#else
static inline void cleat__san_mapped(const void *tag)
{
	(void)tag;
}

static inline void cleat__san_unmapped(const void *tag)
{
	(void)tag;
}

static inline void cleat__san_tsan_thread(struct cleat__san *s)
{
	(void)s;
}

static inline void cleat__san_tsan_new(struct cleat__san *s)
{
	(void)s;
}

static inline void cleat__san_tsan_leave(struct cleat__san *to)
{
	(void)to;
}

static inline void cleat__san_tsan_done(struct cleat__san *s)
{
	(void)s;
}
#endif

/* A context on the SIZE bytes of stack at BASE. */
static inline void cleat__san_new(struct cleat__san *s, void *base, size_t size)
{
	cleat__san_asan_new(s, base, size);
	cleat__san_tsan_new(s);
	cleat__san_valgrind_new(s, base, size);
}

/* The context of the running thread. */
static inline void cleat__san_thread(struct cleat__san *s)
{
	*s = (struct cleat__san){ 0 };
	cleat__san_tsan_thread(s);
}

static inline void cleat__san_done(struct cleat__san *s)
{
	cleat__san_tsan_done(s);
	cleat__san_valgrind_done(s);
}

/* Around each switch: before it, in FROM, and after it, in the one entered. */
static inline void cleat__san_leave(struct cleat__san *from,
				    struct cleat__san *to, int dying)
{
	cleat__san_asan_leave(from, to, dying);
	cleat__san_tsan_leave(to);
}

static inline void cleat__san_enter(struct cleat__san *me,
				    struct cleat__san *from)
{
	cleat__san_asan_enter(me, from);
}

#endif
