/* SPDX-License-Identifier: MIT */
/* SYNs from raw sockets.  A reply says itself which place it is of; all that is
 * kept of a place is a bit, in its group: the places that are tried together,
 * at the same times.
 *
 * A retry is the same SYN again: a target that has heard the first takes it for
 * a retransmission.
 */
#include "scan/syn.h"

#include <errno.h>
#include <stdlib.h>

#include "base/time.h"

enum {
	GROUP = 64, /* places, at most */
	NONE = CLEAT__SYN_RING, /* no group */
	/* Without a rate so many a second may always be sent: loss that is no
	 * congestion shall not make it crawl. */
	RATE_LEAST = 1000,
	IN_FLIGHT_MOST = 1 << 20,
};

#define MOST_WAIT (4 * CLEAT_SEC)

/* Silence is not final before: there are hosts farther away than others. */
#define LAST_WAIT CLEAT_SEC

#define TICK (50 * CLEAT_MSEC) /* at most between two looks at j->stop */
#define BURST (10 * CLEAT_MSEC) /* of the rate at once, at most */
#define DROPS_EVERY (10 * CLEAT_MSEC)
#define RENEW_EVERY (10 * CLEAT_SEC)

#define LOSS_BY_CHANCE 0.5 /* at most */

static unsigned count(uint64_t bits)
{
	return (unsigned)__builtin_popcountll(bits);
}

static void append(struct cleat__syn *s, struct cleat__groups *l,
		   struct cleat__group *g)
{
	const uint32_t i = (uint32_t)(g - s->ring);

	g->next = NONE;
	g->is_listed = true;
	if (l->first == NONE)
		l->first = i;
	else
		s->ring[l->last].next = i;
	l->last = i;
}

static struct cleat__group *head(const struct cleat__syn *s,
				 const struct cleat__groups *l)
{
	return l->first == NONE ? NULL : &s->ring[l->first];
}

static struct cleat__group *take_head(struct cleat__syn *s,
				      struct cleat__groups *l)
{
	struct cleat__group *g = head(s, l);

	if (g) {
		l->first = g->next;
		g->is_listed = false;
	}
	return g;
}

/* Attempts. */

static unsigned tries_of(const struct cleat__syn *s,
			 const struct cleat__host *h)
{
	return s->job->opt->attempts > 0
		       ? s->job->opt->attempts
		       : cleat__attempts_for(h ? &h->loss : NULL, &s->loss,
					     s->job->plan.n_ports);
}

static unsigned tries_least(const struct cleat__syn *s)
{
	return s->job->opt->attempts > 0 ? s->job->opt->attempts
					 : CLEAT__ATTEMPTS;
}

/* Give up those places of G that have been tried often enough. */
static void sort_out(struct cleat__syn *s, struct cleat__group *g)
{
	for (uint64_t left = g->left; left != 0; left &= left - 1) {
		const uint64_t place =
			g->first + (unsigned)__builtin_ctzll(left);
		struct cleat_sockaddr at;
		struct cleat__host *h;

		cleat__plan_at(&s->job->plan, place, &at);
		h = cleat__hosts_find(s->hosts, &at);
		if (g->attempt + 1u >= tries_of(s, h))
			cleat__syn_give_up(s, g, place, &at, h);
	}
}

static unsigned list_of(const struct cleat__group *g)
{
	return g->attempt < CLEAT__ATTEMPTS_MOST ? g->attempt
						 : CLEAT__ATTEMPTS_MOST - 1;
}

static void end_attempt(struct cleat__syn *s, struct cleat__group *g)
{
	for (unsigned n = count(g->left); n > 0; n--)
		cleat__window_grow(&s->window);
	s->in_flight -= count(g->left);
	g->is_in_flight = false;
	if (g->attempt + 1 < tries_least(s))
		append(s, &s->due, g);
	else
		append(s, &s->resting[list_of(g)], g);
}

static void end_rest(struct cleat__syn *s, struct cleat__group *g)
{
	sort_out(s, g);
	if (g->left != 0)
		append(s, &s->due, g);
}

/* To END with those of L that were sent WAIT ago.  Returns when the next will
 * be.
 */
static cleat_time
expire(struct cleat__syn *s, struct cleat__groups *l, int64_t wait,
       void (*end)(struct cleat__syn *s, struct cleat__group *g))
{
	struct cleat__group *g = head(s, l);

	for (; g && g->sent + wait <= s->now; g = head(s, l))
		end(s, take_head(s, l));
	return g ? g->sent + wait : CLEAT_FOREVER;
}

/* To double the wait again and again helps against congestion, not against loss
 * by chance.
 */
static int64_t longest_wait(const struct cleat__syn *s)
{
	const int64_t first = cleat__rtt_timeout(&s->rtt, 0, s->most);
	const int64_t enough = 2 * first > LAST_WAIT ? 2 * first : LAST_WAIT;

	if (cleat__loss_part(&s->loss) > LOSS_BY_CHANCE)
		return s->most;
	return cleat__earlier(enough, s->most);
}

static cleat_time expire_all(struct cleat__syn *s)
{
	const int64_t last = cleat__earlier(LAST_WAIT, s->most);
	const int64_t most = longest_wait(s);
	cleat_time next = CLEAT_FOREVER;

	for (unsigned i = 0; i < CLEAT__ATTEMPTS_MOST; i++) {
		const int64_t wait = cleat__rtt_timeout(&s->rtt, i, most);

		next = cleat__earlier(
			next, expire(s, &s->waiting[i], wait, end_attempt));
		next = cleat__earlier(
			next, expire(s, &s->resting[i], last, end_rest));
	}
	return next;
}

/* Sending. */

static void flush(struct cleat__syn *s)
{
	s->is_stuck = cleat__wire_flush(s->wire, cleat__syn_failed, s) < 0;
	if (s->is_stuck)
		atomic_fetch_add(&s->job->shortages, 1);
}

static void send_group(struct cleat__syn *s, struct cleat__group *g)
{
	const unsigned n = count(g->left);

	g->sent = cleat_now();
	if (g->born == 0)
		g->born = g->sent;
	else
		g->attempt++;
	g->is_in_flight = true;
	s->in_flight += n;
	s->tokens -= n;
	if (s->tokens < 0)
		s->tokens = 0; /* the window has allowed it */
	atomic_fetch_add(&s->job->sent, n);
	append(s, &s->waiting[list_of(g)], g);
	for (uint64_t left = g->left; left != 0; left &= left - 1) {
		const uint64_t place =
			g->first + (unsigned)__builtin_ctzll(left);
		struct cleat_sockaddr at;
		int err;

		cleat__plan_at(&s->job->plan, place, &at);
		err = cleat__wire_put(s->wire, &at, place);
		if (err < 0)
			cleat__syn_failed(s, place, err);
	}
	flush(s);
}

/* Blocks come in order, for nobody else takes any. */
static void take_places(struct cleat__syn *s)
{
	while (s->end - s->next < s->step && !s->has_taken_all) {
		uint64_t first;
		const unsigned n = cleat__ledger_take(&s->job->ledger, &first);

		s->has_taken_all = n == 0 && first == s->job->plan.total;
		if (n == 0)
			return;
		s->end = first + n;
	}
}

/* A group that has not been tried yet, or NULL. */
static struct cleat__group *new_group(struct cleat__syn *s)
{
	struct cleat__group *g = cleat__syn_group(s, s->next);
	unsigned n = s->step;

	take_places(s);
	if (s->end - s->next < n)
		n = s->has_taken_all ? (unsigned)(s->end - s->next) : 0;
	if (n == 0 || g->left != 0 || g->is_listed)
		return NULL;
	*g = (struct cleat__group){
		.first = s->next,
		.left = UINT64_MAX >> (GROUP - n),
		.n = (uint8_t)n,
	};
	s->next += n;
	s->left += n;
	return g;
}

/* What is to be sent next, or NULL. */
static struct cleat__group *next_due(struct cleat__syn *s)
{
	struct cleat__group *g = head(s, &s->due);

	for (; g && g->left == 0; g = head(s, &s->due))
		(void)take_head(s, &s->due);
	if (!g) {
		g = new_group(s);
		if (g)
			append(s, &s->due, g);
	}
	return g;
}

/* Where most is lost, that is no chance: somebody answers only so many a
 * second, and it takes fewer to hear them all.
 */
static double rate(const struct cleat__syn *s)
{
	const double heard = 1 - cleat__loss_part(&s->loss);

	return s->job->opt->rate > 0 ? (double)s->job->opt->rate
				     : RATE_LEAST * heard * heard;
}

static void fill(struct cleat__syn *s)
{
	const double most = rate(s) * BURST / CLEAT_SEC;

	s->tokens += (double)(s->now - s->filled) * rate(s) / CLEAT_SEC;
	s->filled = s->now;
	if (s->tokens > (most > s->step ? most : s->step))
		s->tokens = most > s->step ? most : s->step;
}

/* Whether N may be sent, or else UNTIL when not, if nothing comes. */
static bool may_send(const struct cleat__syn *s, unsigned n, cleat_time *until)
{
	const struct cleat_scan_options *opt = s->job->opt;
	const double lacking = n - s->tokens;

	if (s->is_stuck || (opt->width > 0 && s->in_flight + n > opt->width))
		return false;
	if (lacking <= 0 ||
	    (opt->rate == 0 && s->in_flight + n <= s->window.size))
		return true;
	*until = cleat__earlier(
		*until, s->now + (int64_t)(lacking * CLEAT_SEC / rate(s)));
	return false;
}

/* Returns whether more may be sent at once. */
static bool send_some(struct cleat__syn *s, cleat_time *until)
{
	struct cleat__group *g = next_due(s);

	if (!g || !may_send(s, count(g->left), until))
		return false;
	send_group(s, take_head(s, &s->due));
	return true;
}

/* Replies that were lost here are as good as lost on the way, but that is our
 * doing.
 */
static void look_for_drops(struct cleat__syn *s)
{
	const unsigned n = cleat__wire_dropped(s->wire);

	if (n == 0)
		return;
	atomic_fetch_add(&s->job->shortages, 1);
	s->tokens -= n;
	(void)cleat__window_shrink(&s->window, s->now, s->now);
}

static void look_around(struct cleat__syn *s)
{
	if (s->now - s->asked >= DROPS_EVERY) {
		s->asked = s->now;
		look_for_drops(s);
	}
	if (s->now - s->renewed >= RENEW_EVERY) {
		s->renewed = s->now;
		cleat__wire_renew(s->wire);
	}
}

static bool is_done(const struct cleat__syn *s)
{
	return s->has_taken_all && s->next == s->end && s->left == 0;
}

static void run(struct cleat__syn *s)
{
	while (!is_done(s) && !atomic_load(&s->job->stop)) {
		cleat_time until;

		s->now = cleat_now();
		until = cleat__earlier(expire_all(s), s->now + TICK);
		fill(s);
		if (s->is_stuck)
			flush(s);
		if (send_some(s, &until))
			until = 0;
		atomic_store(&s->job->in_flight, s->in_flight);
		cleat__wire_wait(s->wire, until);
		s->now = cleat_now();
		cleat__wire_read(s->wire, cleat__syn_heard, s);
		look_around(s);
	}
}

/* Small enough that a group goes out in a millisecond: its places have one time
 * of sending.
 */
static unsigned choose_step(const struct cleat_scan_options *opt)
{
	unsigned step = GROUP;

	while (step > 1 && ((opt->width > 0 && step > opt->width) ||
			    (opt->rate > 0 && step > opt->rate / 1000)))
		step /= 2;
	return step;
}

int cleat__work_syn(struct cleat__job *j, struct cleat__hosts *hosts)
{
	struct cleat__syn s = {
		.job = j,
		.hosts = hosts,
		.step = choose_step(j->opt),
		.origin = j->opt->start,
		.next = j->opt->start,
		.end = j->opt->start,
		.due = { NONE, NONE },
		.filled = cleat_now(),
		.renewed = cleat_now(),
		.most = j->opt->timeout_ns > 0 ? j->opt->timeout_ns : MOST_WAIT,
	};
	int err = cleat__wire_open(&s.wire);

	if (err < 0)
		return err;
	for (unsigned i = 0; i < CLEAT__ATTEMPTS_MOST; i++)
		s.waiting[i] = s.resting[i] = s.due;
	cleat__window_init(&s.window, RATE_LEAST, IN_FLIGHT_MOST);
	/* Zero pages cost nothing until they are written to. */
	s.ring = calloc(CLEAT__SYN_RING, sizeof(*s.ring));
	if (s.ring)
		run(&s);
	else
		err = -ENOMEM;
	free(s.ring);
	cleat__wire_close(s.wire);
	return err;
}
