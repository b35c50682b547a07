/* SPDX-License-Identifier: MIT */
/* What a connection of cleat bench does, if it is for datagrams.
 *
 * Answers may be lost, late, doubled or out of order, so each message has a
 * slot.  What is not answered in time is lost; an answer to what was answered
 * or lost before is late; one to nothing that was sent is wrong. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

enum {
	SLOTS_LEAST = 64,
	SLOTS_MOST = 1 << 20,
};

struct slot {
	cleat_time since; /* when its latency began */
	cleat_time sent;
	size_t at; /* its place in the pattern */
	bool is_waiting;
};

struct talk {
	struct link *k;
	struct slot *slots;
	uint64_t mask; /* of them, a power of two, less one */
	uint64_t oldest; /* message that may be waiting */
	uint64_t next; /* message whose answer is most likely the next */
	uint64_t waiting;
	unsigned char *room; /* for an answer, and a byte that is too many */
	unsigned char *request; /* what is sent */
};

static struct slot *slot_of(const struct talk *t, uint64_t message)
{
	return &t->slots[message & t->mask];
}

static void settle(struct talk *t, struct slot *s)
{
	s->is_waiting = false;
	t->waiting--;
	while (t->oldest < t->k->asked && !slot_of(t, t->oldest)->is_waiting)
		t->oldest++;
}

static void lose(struct talk *t, struct slot *s)
{
	t->k->worker->lost++;
	settle(t, s);
}

/* Send one NOW, which was to be sent at SINCE. */
static int send_one(struct talk *t, cleat_time since, cleat_time now)
{
	struct link *k = t->k;
	const struct pattern *p = &k->plan->request;
	struct slot *s = slot_of(t, k->asked);
	const void *data = p->data + k->out;
	int err;

	if (s->is_waiting) /* so long ago that it was lapped */
		lose(t, s);
	*s = (struct slot){ since, now, k->out, true };
	t->waiting++;
	if (p->stamp > 0) {
		memcpy(t->request, data, p->message);
		pattern_stamp(p, t->request, link_number(k, k->asked));
		data = t->request;
	}
	k->asked++;
	k->worker->sent += p->message;
	err = cleat_sendto(k->dgram, data, p->message, NULL, CLEAT_FOREVER);
	k->out = (k->out + p->message) % p->period;
	return err < 0 ? link_broke(k, err) : 0;
}

/* When the oldest that is waiting will be lost. */
static cleat_time lost_at(const struct talk *t)
{
	const int64_t timeout = t->k->plan->o->timeout;
	cleat_time sent;

	if (t->waiting == 0)
		return CLEAT_FOREVER;
	sent = slot_of(t, t->oldest)->sent;
	return timeout < CLEAT_FOREVER - sent ? sent + timeout : CLEAT_FOREVER;
}

static void expire(struct talk *t, cleat_time now)
{
	while (lost_at(t) <= now)
		lose(t, slot_of(t, t->oldest));
}

/* Whether the LEN bytes are the answer to message I, which was at AT. */
static bool is_answer(const struct talk *t, uint64_t i, size_t at, size_t len)
{
	const struct pattern *p = &t->k->plan->answer;

	if (!t->k->plan->is_echo)
		at = 0;
	return len == p->message &&
	       pattern_match_message(p, &at, link_number(t->k, i), 0, t->room,
				     len) == len;
}

/* The waiting message that is answered: in the order in which they were sent,
 * but for those that were overtaken. */
static struct slot *find(struct talk *t, size_t len)
{
	for (uint64_t pass = 0; pass < 2; pass++) {
		const uint64_t end = pass ? t->next : t->k->asked;
		uint64_t i = pass || t->next < t->oldest ? t->oldest : t->next;

		for (; i < end; i++) {
			struct slot *s = slot_of(t, i);

			if (s->is_waiting && is_answer(t, i, s->at, len)) {
				t->next = i + 1;
				return s;
			}
		}
	}
	return NULL;
}

/* Whether it answers what is not waiting any more: the slots do not know, but
 * all messages can be gone through again, which takes as long as it is late. */
static bool is_old(const struct talk *t, size_t len)
{
	const struct pattern *p = &t->k->plan->request;
	const size_t step = p->period - p->message % p->period;
	size_t at = t->k->out;

	if (t->waiting == t->k->asked)
		return false;
	for (uint64_t i = t->k->asked; i > 0; i--) {
		at = pattern_move(p, at, step);
		if (is_answer(t, i - 1, at, len))
			return true;
		if (p->stamp == 0) /* all are the same */
			return false;
	}
	return false;
}

static int take(struct talk *t, size_t len)
{
	struct slot *s = find(t, len);
	struct link *k = t->k;

	if (s) {
		const cleat_time now = cleat_now();

		histogram_add(&k->worker->latency, now - s->since);
		settle(t, s);
		link_done(k, 1, now);
		k->worker->received += len;
		return 0;
	}
	if (is_old(t, len)) {
		k->worker->late++;
		return 0;
	}
	link_fail(k, "a datagram came that answers none, of %zu bytes", len);
	return -1;
}

/* Wait for a datagram until UNTIL, or until one is lost.  Returns 0, also
 * without one; or -1. */
static int hear(struct talk *t, cleat_time until)
{
	struct link *k = t->k;
	const cleat_time first = lost_at(t);
	ssize_t n;

	n = cleat_recvfrom(k->dgram, t->room, k->plan->answer.message + 1, NULL,
			   first < until ? first : until);
	if (n == -EMSGSIZE) /* no answer is so long */
		n = (ssize_t)k->plan->answer.message + 1;
	if (n >= 0)
		return take(t, (size_t)n);
	expire(t, cleat_now());
	return n == -ETIMEDOUT ? 0 : link_broke(k, n);
}

/* Answer by answer, with DEPTH under way. */
static void talk(struct talk *t)
{
	struct link *k = t->k;
	const unsigned depth = k->plan->o->depth;

	for (;;) {
		const cleat_time now = cleat_now();

		while (t->waiting < depth && link_may_ask(k, 1, now) > 0) {
			if (send_one(t, now, now) < 0)
				return;
		}
		if (t->waiting == 0 || hear(t, CLEAT_FOREVER) < 0)
			return;
	}
}

/* By --rate another fiber sends.  Its end is not told of: look for it. */
static void listen_to(void *arg)
{
	struct talk *t = arg;
	struct link *k = t->k;

	while ((!k->is_asked || t->waiting > 0) && !k->has_failed) {
		if (hear(t, cleat_in(50 * CLEAT_MSEC)) < 0)
			break;
	}
}

static int send_due(void *arg, cleat_time due)
{
	return send_one(arg, due, cleat_now());
}

static void talk_on_time(struct talk *t)
{
	struct link *k = t->k;
	const int err = cleat_go(k->worker->busy, listen_to, t, CLEAT_FOREVER);

	if (err < 0) {
		(void)link_broke(k, err);
		return;
	}
	link_keep_time(k, send_due, t);
	k->is_asked = true;
}

/* Nothing is known of what becomes of them, but for a refusal. */
static void pour(struct link *k)
{
	const struct pattern *p = &k->plan->request;
	cleat_time now = cleat_now();

	while (link_may_ask(k, 1, now) > 0) {
		const int err = cleat_sendto(k->dgram, p->data + k->out,
					     p->message, NULL, CLEAT_FOREVER);

		if (err < 0) {
			(void)link_broke(k, err);
			return;
		}
		k->out = (k->out + p->message) % p->period;
		k->asked++;
		k->worker->sent += p->message;
		now = cleat_now();
		link_done(k, 1, now);
	}
}

/* Slots for all that may be under way, and for some that have been. */
static uint64_t slots_for(const struct bench *o)
{
	const double under_way = o->rate > 0
					 ? (double)o->rate / o->connections *
						   ((double)o->timeout / 1e9)
					 : o->depth;
	uint64_t n = SLOTS_LEAST;

	while (n < SLOTS_MOST && (double)n < 2 * under_way)
		n *= 2;
	return n;
}

void bench_dgram_done(struct link *k)
{
	if (!k->talk)
		return;
	free(k->talk->slots);
	free(k->talk->room);
	free(k->talk->request);
	free(k->talk);
}

static int prepare(struct link *k)
{
	const struct bench *o = k->plan->o;
	const uint64_t n = slots_for(o);

	k->talk = calloc(1, sizeof(*k->talk));
	if (!k->talk)
		return -ENOMEM;
	*k->talk = (struct talk){
		.k = k,
		.slots = calloc(n, sizeof(*k->talk->slots)),
		.mask = n - 1,
		.room = malloc(k->plan->answer.message + 1),
		.request = malloc(k->plan->request.message),
	};
	return k->talk->slots && k->talk->room && k->talk->request ? 0
								   : -ENOMEM;
}

void bench_dgram(void *arg)
{
	struct link *k = arg;
	const struct bench *o = k->plan->o;

	if (o->stream)
		pour(k);
	else if (prepare(k) < 0)
		link_fail(k, "out of memory");
	else if (o->rate > 0)
		talk_on_time(k->talk);
	else
		talk(k->talk);
}
