/* SPDX-License-Identifier: MIT */
/* What a connection of cleat bench does, if it is a stream.
 *
 * One fiber sends and receives where what is under way is sure to fit the
 * sockets' buffers; else there is a second one that receives, since a service
 * that waits for its answers to be read reads nothing.  Calls wait without a
 * deadline, which spares them timers: look_after() in bench_work.c ends those
 * that wait in vain. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "bench.h"

enum {
	FITS = 32 * 1024, /* bytes under way that surely fit */
};

/* Send LEN bytes more.  Returns 0 or -1. */
static int put(struct link *k, size_t len)
{
	const struct pattern *p = &k->plan->request;

	while (len > 0) {
		const size_t n = len < PATTERN_SPARE ? len : PATTERN_SPARE;
		const int err =
			cleat_send(k->conn, p->data + k->out, n, CLEAT_FOREVER);

		if (err < 0)
			return link_broke(k, err);
		k->out = pattern_move(p, k->out, n);
		len -= n;
	}
	return 0;
}

/* A copy of the pattern, to stamp messages in where they lie.  Who has to wait
 * while he sends keeps one; the others share the next, and what they receive is
 * compared with it, so that as a rule a single one is in the cache. */
struct sheet {
	struct sheet *next;
	struct pattern pattern;
	alignas(CACHE_LINE) unsigned char data[];
};

static struct sheet *take_sheet(struct worker *w)
{
	const struct pattern *p = &w->plan->request;
	const size_t len = p->period + FITS; /* whole lines, as the pattern */
	struct sheet *s = w->sheets;

	if (s) {
		w->sheets = s->next;
		return s;
	}
	s = aligned_alloc(CACHE_LINE, sizeof(*s) + len);
	if (!s)
		return NULL;
	s->pattern = *p;
	s->pattern.data = memcpy(s->data, p->data, len);
	return s;
}

static void give_back(struct worker *w, struct sheet *s)
{
	s->next = w->sheets;
	w->sheets = s;
}

void bench_stream_done(struct worker *w)
{
	while (w->sheets) {
		struct sheet *s = w->sheets;

		w->sheets = s->next;
		free(s);
	}
}

/* Stamp the N messages at AT, from the I-th on; or unstamp them. */
static void stamp(const struct link *k, unsigned char *at, uint64_t i, size_t n)
{
	const struct pattern *p = &k->plan->request;

	for (; n > 0; n--, i++, at += p->message)
		pattern_stamp(p, at, link_number(k, i));
}

/* Send N messages from the I-th on, at most FITS bytes.  Returns 0 or -1. */
static int put_stamped(struct link *k, uint64_t i, size_t n)
{
	struct sheet *s = take_sheet(k->worker);
	const size_t len = n * k->plan->request.message;
	unsigned char *at;
	int err;

	if (!s) {
		link_fail(k, "out of memory");
		return -1;
	}
	at = s->data + k->out;
	stamp(k, at, i, n);
	err = cleat_send(k->conn, at, len, CLEAT_FOREVER);
	stamp(k, at, i, n);
	give_back(k->worker, s);
	k->out = pattern_move(&s->pattern, k->out, len);
	return err < 0 ? link_broke(k, err) : 0;
}

/* Send message I, which is longer: a second piece costs little. */
static int put_large(struct link *k, uint64_t i)
{
	const struct pattern *p = &k->plan->request;
	const size_t len =
		p->message < PATTERN_SPARE ? p->message : PATTERN_SPARE;
	unsigned char *at = p->data + k->out;
	alignas(CACHE_LINE) unsigned char head[CACHE_LINE];
	const struct iovec v[] = {
		{ head, sizeof(head) },
		{ at + sizeof(head), len - sizeof(head) },
	};
	int err;

	memcpy(head, at, sizeof(head));
	pattern_stamp(p, head, link_number(k, i));
	err = cleat_sendv(k->conn, v, 2, CLEAT_FOREVER);
	if (err < 0)
		return link_broke(k, err);
	k->out = pattern_move(p, k->out, len);
	return put(k, p->message - len);
}

/* Send N messages from the I-th on.  Returns 0 or -1. */
static int put_messages(struct link *k, uint64_t i, uint64_t n)
{
	const struct pattern *p = &k->plan->request;
	int err = 0;

	if (p->stamp == 0)
		return put(k, n * p->message);
	if (n * p->message <= FITS)
		return put_stamped(k, i, n);
	for (uint64_t some = 1; n > 0 && err == 0; i += some, n -= some) {
		if (p->message > FITS) {
			err = put_large(k, i);
		} else {
			some = n < FITS / p->message ? n : FITS / p->message;
			err = put_stamped(k, i, some);
		}
	}
	return err;
}

/* Send N messages more, NOW. */
static int ask(struct link *k, uint64_t n, cleat_time now)
{
	const struct bench *o = k->plan->o;

	for (uint64_t i = 0; k->asked_at && i < n; i++) {
		k->asked_at[k->last_asked] = now;
		if (++k->last_asked == o->depth)
			k->last_asked = 0;
	}
	k->asked += n;
	return put_messages(k, k->asked - n, n);
}

/* When the latency of the oldest message began. */
static cleat_time begun(struct link *k)
{
	const cleat_time at = k->asked_at[k->first_asked];

	if (++k->first_asked == k->plan->o->depth)
		k->first_asked = 0;
	return at;
}

/* N messages more were answered NOW. */
static void note(struct link *k, unsigned n, cleat_time now)
{
	struct histogram *h = &k->worker->latency;

	/* Of a stream it is not known when the peer had what. */
	for (unsigned i = 0; !k->plan->o->stream && i < n; i++)
		histogram_add(
			h, now - (k->asked_at ? begun(k)
					      : link_due(k, k->answered + i)));
	link_done(k, n, now);
}

/* What came at the end of the stream, of which N is 0 or a negative code. */
static int ended(struct link *k, ssize_t n)
{
	if (n < 0)
		return link_broke(k, n);
	if (k->is_over)
		return -1;
	if (!k->is_asked || k->answered < k->asked || k->part > 0)
		link_fail(k, "ended by the peer, %s an answer",
			  k->part > 0 ? "in the middle of" : "before");
	return -1;
}

static int wrong(struct link *k, size_t good)
{
	const size_t at = k->part + good, message = k->plan->answer.message;

	link_fail(k, "answer %ju is wrong at byte %zu",
		  (uintmax_t)k->answered + at / message + 1, at % message + 1);
	return -1;
}

/* How many of LEN bytes are right. */
static size_t match(struct link *k, const unsigned char *data, size_t len)
{
	const struct sheet *s = k->worker->sheets;
	const struct pattern *p = s ? &s->pattern : &k->plan->answer;
	size_t done = 0, part = k->part;

	if (p->stamp == 0)
		return pattern_match(p, &k->in, data, len);
	for (uint64_t i = k->answered; done < len; i++, part = 0) {
		const size_t most = p->message - part, left = len - done;
		const size_t n = left < most ? left : most;
		const size_t good = pattern_match_message(
			p, &k->in, link_number(k, i), part, data + done, n);

		done += good;
		if (good < n)
			break;
	}
	return done;
}

/* Wait for bytes and check them.  Returns how many answers they complete; or -1
 * where it is over, one way or the other. */
static int64_t hear(struct link *k)
{
	const size_t message = k->plan->answer.message;
	const void *data;
	const ssize_t n = cleat_view(k->conn, &data, CLEAT_FOREVER);
	uint64_t done = 0;
	size_t good;

	if (n <= 0)
		return ended(k, n);
	good = match(k, data, (size_t)n);
	if (good < (size_t)n)
		return wrong(k, good);
	k->part += good;
	if (k->part == message) { /* by far the most, and without a division */
		k->part = 0;
		done = 1;
	} else if (k->part > message) {
		done = k->part / message;
		k->part %= message;
	}
	if (k->plan->is_paired &&
	    k->answered + done + (k->part > 0) > k->asked) {
		link_fail(k, "more came than was asked for");
		return -1;
	}
	return (int64_t)done;
}

/* Alone: send as much again as was answered. */
static void talk(struct link *k)
{
	cleat_time now = cleat_now();
	uint64_t more = link_may_ask(k, k->plan->o->depth, now);

	while (more == 0 || ask(k, more, now) == 0) {
		int64_t done = 0;

		if (k->answered == k->asked)
			break;
		while (done == 0)
			done = hear(k);
		if (done < 0)
			break;
		now = cleat_now();
		note(k, (unsigned)done, now);
		more = link_may_ask(k, (uint64_t)done, now);
	}
}

/* Of two: receive all that is asked for. */
static void listen_to(void *arg)
{
	struct link *k = arg;

	while (!k->is_asked || k->answered < k->asked) {
		const int64_t done = hear(k);
		const unsigned n = (unsigned)done;

		if (done < 0)
			break;
		if (n == 0)
			continue;
		note(k, n, cleat_now());
		if (k->credit) /* of which there are DEPTH: that is no wait */
			(void)cleat_chan_send(k->credit, &n, CLEAT_FOREVER);
	}
	if (k->credit)
		cleat_chan_finish(k->credit);
	k->is_over = true;
}

/* And send what there is credit for. */
static void ask_on_credit(struct link *k)
{
	cleat_time now = cleat_now();
	unsigned n = k->plan->o->depth;

	do {
		const uint64_t more = link_may_ask(k, n, now);

		if (more == 0 || ask(k, more, now) < 0)
			break;
		if (cleat_chan_recv(k->credit, &n, CLEAT_FOREVER) < 0)
			break;
		now = cleat_now();
	} while (true);
}

/* In time, whatever has been answered. */
static int ask_due(void *arg, cleat_time due)
{
	return ask(arg, 1, due);
}

/* Without a pause. */
static void pour(struct link *k)
{
	cleat_time now = cleat_now();

	while (link_may_ask(k, 1, now) > 0 && ask(k, 1, now) == 0) {
		now = cleat_now();
		if (k->plan->o->stream == CLEAT_WRITE)
			link_done(k, 1, now);
	}
}

/* The peer has all of it once it ends as well. */
static void pour_out(struct link *k)
{
	int err;

	pour(k);
	k->is_over = true;
	if (k->has_failed)
		return;
	k->is_finishing = true;
	err = cleat_finish(k->conn, CLEAT_FOREVER);
	k->is_finishing = false;
	if (err < 0)
		(void)link_broke(k, err);
	else
		k->worker->last = cleat_now();
}

/* Receive until it is over; and then until all is sent, for a service whose
 * answers nobody reads might read nothing. */
static void soak(void *arg)
{
	struct link *k = arg;

	while (!k->is_over || link_still_sends(k)) {
		const int64_t done = hear(k);
		const cleat_time now = cleat_now();

		if (done < 0)
			break;
		if (!k->is_over)
			link_done(k, (unsigned)done, now);
		k->is_over |= now >= k->plan->end || k->answered >= k->quota;
	}
	k->is_over = true;
}

/* Start the fiber that receives.  Returns 0 or -1. */
static int go(struct link *k, void (*receive)(void *))
{
	const int err = cleat_go(k->worker->busy, receive, k, CLEAT_FOREVER);

	return err < 0 ? link_broke(k, err) : 0;
}

/* Nothing more will be sent.  A receiver that has it all waits for more. */
static void end_asking(struct link *k)
{
	k->is_asked = true;
	if (k->answered == k->asked)
		(void)cleat_shutdown(k->conn, CLEAT_READ);
}

static void talk_at_once(struct link *k)
{
	const unsigned depth = k->plan->o->depth;
	const int err = cleat_chan_open(&k->credit, sizeof(unsigned), depth);

	if (err < 0) {
		(void)link_broke(k, err);
	} else if (go(k, listen_to) == 0) {
		ask_on_credit(k);
		end_asking(k);
	}
}

static void talk_on_time(struct link *k)
{
	if (go(k, listen_to) < 0)
		return;
	link_keep_time(k, ask_due, k);
	end_asking(k);
}

/* Both ways; an echo ends when all of it has come back. */
static void stream_both(struct link *k)
{
	if (go(k, k->plan->is_paired ? listen_to : soak) < 0)
		return;
	pour(k);
	k->is_asked = true;
	if (k->plan->is_paired && !k->has_failed)
		(void)cleat_shutdown(k->conn, CLEAT_WRITE);
	if (!k->plan->is_paired && k->is_over)
		(void)cleat_shutdown(k->conn, CLEAT_READ);
}

void bench_stream(void *arg)
{
	struct link *k = arg;
	const struct bench *o = k->plan->o;
	const size_t under_way = k->plan->request.message * o->depth;

	if (o->stream == CLEAT_WRITE)
		pour_out(k);
	else if (o->stream == CLEAT_READ)
		soak(k);
	else if (o->stream)
		stream_both(k);
	else if (o->rate > 0)
		talk_on_time(k);
	else if (under_way > FITS)
		talk_at_once(k);
	else
		talk(k);
}
