/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <cleat/chan.h>

#include "base/error.h"
#include "fiber/park.h"
#include "fiber/sched.h"

/* One that waits, on its own stack. */
struct waiter {
	struct cleat__parker parker;
	struct waiter *prev, *next;
	bool listed;
};

struct line {
	struct waiter *first, *last;
};

struct cleat_chan {
	pthread_mutex_t lock;
	size_t size, capacity;
	size_t first, n; /* the oldest item, and how many there are */
	bool finished;
	struct line senders, receivers;
	unsigned char items[];
};

static void line_append(struct line *l, struct waiter *w)
{
	w->listed = true;
	w->next = NULL;
	w->prev = l->last;
	if (l->last)
		l->last->next = w;
	else
		l->first = w;
	l->last = w;
}

static void line_remove(struct line *l, struct waiter *w)
{
	if (!w->listed)
		return;
	w->listed = false;
	if (w->prev)
		w->prev->next = w->next;
	else
		l->first = w->next;
	if (w->next)
		w->next->prev = w->prev;
	else
		l->last = w->prev;
}

/* One whose deadline passed meanwhile does not count. */
static void line_wake_one(struct line *l)
{
	struct waiter *w;
	bool woken = false;

	while (!woken && (w = l->first) != NULL) {
		line_remove(l, w);
		woken = cleat__parker_wake(&w->parker);
	}
}

int cleat_chan_open(struct cleat_chan **ret, size_t size, size_t capacity)
{
	struct cleat_chan *ch;
	size_t bytes;

	if (size == 0 || capacity == 0)
		return cleat__fail(-EINVAL, "open channel", NULL, NULL);
	if (__builtin_mul_overflow(size, capacity, &bytes) ||
	    bytes > SIZE_MAX / 2)
		return cleat__fail(-ENOMEM, "open channel", NULL, NULL);
	ch = calloc(1, sizeof(*ch) + bytes);
	if (!ch)
		return cleat__fail(-ENOMEM, "open channel", NULL, NULL);
	(void)pthread_mutex_init(&ch->lock, NULL);
	ch->size = size;
	ch->capacity = capacity;
	*ret = ch;
	return 0;
}

void cleat_chan_close(struct cleat_chan *ch)
{
	if (!ch)
		return;
	(void)pthread_mutex_destroy(&ch->lock);
	free(ch);
}

static void *slot(struct cleat_chan *ch, size_t i)
{
	return ch->items + (ch->first + i) % ch->capacity * ch->size;
}

/* Called and returns with the lock held. */
static int wait_in(struct cleat_chan *ch, struct line *l, cleat_time until)
{
	struct waiter w;
	int err;

	cleat__parker_init(&w.parker);
	line_append(l, &w);
	(void)pthread_mutex_unlock(&ch->lock);
	err = cleat__parker_wait(&w.parker, until);
	(void)pthread_mutex_lock(&ch->lock);
	line_remove(l, &w);
	cleat__parker_done(&w.parker);
	return err;
}

static int send_locked(struct cleat_chan *ch, const void *item,
		       cleat_time until)
{
	while (!ch->finished && ch->n == ch->capacity) {
		int err = wait_in(ch, &ch->senders, until);

		if (err < 0)
			return err;
	}
	if (ch->finished)
		return -EPIPE;
	memcpy(slot(ch, ch->n++), item, ch->size);
	line_wake_one(&ch->receivers);
	return 0;
}

static int recv_locked(struct cleat_chan *ch, void *item, cleat_time until)
{
	while (!ch->finished && ch->n == 0) {
		int err = wait_in(ch, &ch->receivers, until);

		if (err < 0)
			return err;
	}
	if (ch->n == 0)
		return CLEAT_EEOF;
	memcpy(item, slot(ch, 0), ch->size);
	ch->first = (ch->first + 1) % ch->capacity;
	ch->n--;
	line_wake_one(&ch->senders);
	return 0;
}

int cleat_chan_send(struct cleat_chan *ch, const void *item, cleat_time until)
{
	int err = cleat__enter();

	if (err == 0) {
		(void)pthread_mutex_lock(&ch->lock);
		err = send_locked(ch, item, until);
		(void)pthread_mutex_unlock(&ch->lock);
	}
	return err < 0 ? cleat__fail(err, "send to channel", NULL, NULL) : 0;
}

int cleat_chan_recv(struct cleat_chan *ch, void *item, cleat_time until)
{
	int err = cleat__enter();

	if (err == 0) {
		(void)pthread_mutex_lock(&ch->lock);
		err = recv_locked(ch, item, until);
		(void)pthread_mutex_unlock(&ch->lock);
	}
	return err < 0 ? cleat__fail(err, "receive from channel", NULL, NULL)
		       : 0;
}

void cleat_chan_finish(struct cleat_chan *ch)
{
	(void)pthread_mutex_lock(&ch->lock);
	ch->finished = true;
	while (ch->senders.first)
		line_wake_one(&ch->senders);
	while (ch->receivers.first)
		line_wake_one(&ch->receivers);
	(void)pthread_mutex_unlock(&ch->lock);
}
