/* SPDX-License-Identifier: MIT */
/* Channels: bounded queues between fibers, between threads, and across. */
#ifndef CLEAT_CHAN_H
#define CLEAT_CHAN_H

#include <stddef.h>

#include <cleat/time.h>

#ifdef __cplusplus
extern "C" {
#endif

struct cleat_chan;

/* cleat_chan_open - a queue of at most CAPACITY items of SIZE bytes each.
 *
 * Returns 0, or -EINVAL (CAPACITY or SIZE is 0), -ENOMEM.  Freed with
 * cleat_chan_close(), by one owner, when nobody uses it any more.
 */
int cleat_chan_open(struct cleat_chan **ch, size_t size, size_t capacity);

/* cleat_chan_send - append a copy of *ITEM; waits while the queue is full.
 * Returns 0, or -EPIPE (finished), -ETIMEDOUT, -ECANCELED.  Any thread.
 */
int cleat_chan_send(struct cleat_chan *ch, const void *item, cleat_time until);

/* cleat_chan_recv - take the oldest item; waits while the queue is empty.
 * Returns 0, or CLEAT_EEOF (finished and empty), -ETIMEDOUT, -ECANCELED.
 * Any thread.
 */
int cleat_chan_recv(struct cleat_chan *ch, void *item, cleat_time until);

/* cleat_chan_finish - no more items: senders get -EPIPE, receivers what is
 * left and then CLEAT_EEOF.  Any thread; does not block.
 */
void cleat_chan_finish(struct cleat_chan *ch);

/* cleat_chan_close - free it; NULL is fine.  Items left are dropped. */
void cleat_chan_close(struct cleat_chan *ch);

#ifdef __cplusplus
}
#endif
#endif
