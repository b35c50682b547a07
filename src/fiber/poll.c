/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <cleat/fiber.h>

#include "base/error.h"
#include "base/sys.h"
#include "fiber/sched.h"
#include "fiber/wait.h"

#define BITS (8 * sizeof(unsigned long))

static bool is_open(int fd)
{
	struct pollfd p = { .fd = fd };

	return sys_poll(&p, 1, 0) == 0 || !(p.revents & POLLNVAL);
}

static int grow(struct cleat__sched *s, size_t words)
{
	unsigned long *v = realloc(s->polled, words * sizeof(*v));

	if (!v)
		return -ENOMEM;
	memset(v + s->n_polled, 0, (words - s->n_polled) * sizeof(*v));
	s->polled = v;
	s->n_polled = words;
	return 0;
}

/* Not every backend knows that another fiber polls FD: a bit for each says so.
 */
static int claim(struct cleat__sched *s, int fd)
{
	size_t word = (size_t)fd / BITS;
	unsigned long bit = 1ul << (size_t)fd % BITS;
	int err = 0;

	if (word >= s->n_polled)
		err = is_open(fd) ? grow(s, word + 1) : -EBADF;
	if (err < 0)
		return err;
	if (s->polled[word] & bit)
		return -EBUSY;
	s->polled[word] |= bit;
	return 0;
}

static void unclaim(struct cleat__sched *s, int fd)
{
	s->polled[(size_t)fd / BITS] &= ~(1ul << (size_t)fd % BITS);
}

static int poll_watch(struct cleat__watch *w, unsigned dirs, cleat_time until)
{
	int err;

	w->ready = 0;
	err = cleat__wait(w, dirs, until);
	if (w->home)
		w->home->backend->forget(w->home, w);
	if (err == -EPERM) /* epoll_ctl(2): a file, which never blocks */
		return (int)dirs;
	if (err == -EEXIST) /* it is a connection's or a listener's */
		return -EBUSY;
	return err < 0 ? err : (int)(w->ready & dirs);
}

/* The one of this thread's fibers to poll FD; or a thread, one of any. */
static int poll_alone(int fd, unsigned dirs, cleat_time until)
{
	struct cleat__sched *s = cleat__self;
	struct cleat__watch w;
	int err = s ? claim(s, fd) : 0;

	if (err < 0)
		return err;
	cleat__watch_init(&w, fd);
	w.bound = true; /* for all we know */
	err = poll_watch(&w, dirs, until);
	if (s)
		unclaim(s, fd);
	return err;
}

int cleat_poll(int fd, unsigned events, cleat_time until)
{
	int err = cleat__enter();

	_Static_assert((int)CLEAT_IN == (int)CLEAT__IN &&
			       (int)CLEAT_OUT == (int)CLEAT__OUT,
		       "public and internal directions are the same bits");
	if (err == 0 && (events == 0 || events & ~(CLEAT_IN | CLEAT_OUT)))
		err = -EINVAL;
	if (err == 0 && fd < 0)
		err = -EBADF; /* poll(2) skips these */
	if (err == 0)
		err = poll_alone(fd, events, until);
	return err < 0 ? cleat__fail(err, "poll", NULL, NULL) : err;
}
