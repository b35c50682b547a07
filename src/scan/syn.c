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
	RATE_SLOWEST = 5, /* of limited hosts */
	IN_FLIGHT_MOST = 1 << 20,
};

#define MOST_WAIT (4 * CLEAT_SEC)

/* Silence is not final before: there are outages. */
#define LAST_WAIT CLEAT_SEC

#define SLOT (INT64_C(1) << 22) /* ns; all of them are more than MOST_WAIT */
#define FIRST_LOOK (100 * CLEAT_MSEC) /* no timeout is shorter but a user's */

#define TICK (50 * CLEAT_MSEC) /* at most between two looks at j->stop */
#define BURST (10 * CLEAT_MSEC) /* of the rate at once, at most */
#define DROPS_EVERY (10 * CLEAT_MSEC)
#define RENEW_EVERY (10 * CLEAT_SEC)
#define ASLEEP (20 * CLEAT_USEC) /* whoever waits longer was */

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

/* Waiting. */

static int64_t slot_of(cleat_time at)
{
	return at / SLOT;
}

/* To look at G at AT, or a little later; or earlier, if that is far away. */
static void look_at(struct cleat__syn *s, struct cleat__group *g, cleat_time at)
{
	int64_t slot = slot_of(at) + 1;

	if (slot <= s->turned)
		slot = s->turned + 1;
	if (slot >= s->turned + CLEAT__SYN_SLOTS)
		slot = s->turned + CLEAT__SYN_SLOTS - 1;
	append(s, &s->wheel[slot % CLEAT__SYN_SLOTS], g);
}

/* How long the attempt of G that is under way waits for H.  Of one that has
 * answered: to double the wait again and again helps against congestion, not
 * against loss by chance.
 */
static int64_t patience(const struct cleat__syn *s,
			const struct cleat__group *g,
			const struct cleat__host *h)
{
	static const struct cleat__rtt unknown;
	const struct cleat__rtt *rtt = h ? &h->rtt : &unknown;
	int64_t wait = cleat__rtt_timeout(rtt, g->attempt, s->most);
	int64_t enough = cleat__rtt_timeout(rtt, 1, s->most);

	if (enough < LAST_WAIT)
		enough = LAST_WAIT;
	if (h && h->rtt.smoothed > 0)
		wait = cleat__earlier(wait, enough);
	if (g->attempt + 1 >= tries_least(s) && wait < LAST_WAIT)
		wait = LAST_WAIT;
	return cleat__earlier(wait, s->most);
}

/* What is in flight for so long is lost, or never answered. */
static void land(struct cleat__syn *s, struct cleat__group *g)
{
	const unsigned n = count(g->flying & g->left);

	for (unsigned i = 0; i < n; i++)
		cleat__window_grow(&s->window);
	s->in_flight -= n;
	g->flying = 0;
}

static uint64_t lowest(uint64_t bits)
{
	return bits & -bits;
}

static struct cleat__host *host_of(const struct cleat__syn *s,
				   const struct cleat__group *g, uint64_t bit,
				   struct cleat_sockaddr *at)
{
	cleat__plan_at(&s->job->plan, g->first + (unsigned)__builtin_ctzll(bit),
		       at);
	return cleat__hosts_find(s->hosts, at);
}

/* How much longer to wait for G at least; 0: it need not wait any more. */
static int64_t wait_for(const struct cleat__syn *s,
			const struct cleat__group *g)
{
	const int64_t passed = s->now - g->sent;

	for (uint64_t left = g->left; left != 0; left &= left - 1) {
		struct cleat_sockaddr at;
		const int64_t wait =
			patience(s, g, host_of(s, g, lowest(left), &at));

		if (wait > passed)
			return wait - passed;
	}
	return 0;
}

/* Whether the silence of H's place says nothing: while others of its retries
 * were answered, this one may have had no turn.
 */
static bool is_doubtful(const struct cleat__group *g,
			const struct cleat__host *h)
{
	return cleat__syn_is_limited(h) && h->window.cut + LAST_WAIT > g->sent;
}

/* All places of G have been waited for. */
static void end_attempt(struct cleat__syn *s, struct cleat__group *g)
{
	bool is_slow = false;

	for (uint64_t left = g->left; left != 0; left &= left - 1) {
		const uint64_t place =
			g->first + (unsigned)__builtin_ctzll(left);
		struct cleat_sockaddr at;
		struct cleat__host *const h = host_of(s, g, lowest(left), &at);

		if (g->attempt + 1 >= tries_of(s, h) &&
		    (s->job->opt->attempts > 0 || !is_doubtful(g, h)))
			cleat__syn_give_up(s, g, place, &at, h);
		else
			is_slow = is_slow || cleat__syn_is_limited(h);
	}
	if (g->left != 0)
		append(s, is_slow ? &s->slow : &s->due, g);
}

/* Of hosts that have not answered yet it is found out meanwhile how long they
 * take: G is looked at again before the time has come.
 */
static void look(struct cleat__syn *s, struct cleat__group *g)
{
	const int64_t passed = s->now - g->sent;
	int64_t more;

	if (passed >= cleat__rtt_timeout(&s->rtt, 0, s->most))
		land(s, g);
	more = wait_for(s, g);
	if (more > 0) {
		look_at(s, g, s->now + cleat__earlier(more, passed));
		return;
	}
	land(s, g);
	end_attempt(s, g);
}

/* Returns when to do so again. */
static cleat_time turn_wheel(struct cleat__syn *s)
{
	const int64_t now = slot_of(s->now);
	int64_t slot;

	while (s->turned < now) {
		struct cleat__groups *const at =
			&s->wheel[++s->turned % CLEAT__SYN_SLOTS];
		struct cleat__groups l = *at;
		struct cleat__group *g;

		at->first = NONE;
		while ((g = take_head(s, &l)))
			look(s, g);
	}
	for (slot = now + 1; slot < now + TICK / SLOT; slot++)
		if (head(s, &s->wheel[slot % CLEAT__SYN_SLOTS]))
			break;
	return slot * SLOT;
}

/* Sending. */

static void flush(struct cleat__syn *s)
{
	s->is_stuck = cleat__wire_flush(s->wire, cleat__syn_failed, s) < 0;
	if (s->is_stuck)
		atomic_fetch_add(&s->job->shortages, 1);
}

static void begin_attempt(struct cleat__syn *s, struct cleat__group *g)
{
	if (g->born == 0)
		g->born = s->now;
	else
		g->attempt++;
}

static void put(struct cleat__syn *s, struct cleat__group *g, uint64_t bit)
{
	const uint64_t place = g->first + (unsigned)__builtin_ctzll(bit);
	struct cleat_sockaddr at;
	int err;

	g->flying |= bit;
	s->in_flight++;
	cleat__plan_at(&s->job->plan, place, &at);
	err = cleat__wire_put(s->wire, &at, place);
	if (err < 0)
		cleat__syn_failed(s, place, err);
}

/* To N places of G, which heads L: then the others are due later. */
static void send_group(struct cleat__syn *s, struct cleat__groups *l,
		       struct cleat__group *g, unsigned n)
{
	const bool is_whole = n == count(g->left);
	uint64_t todo = g->left & ~g->flying;

	if (g->flying == 0)
		begin_attempt(s, g);
	atomic_fetch_add(&s->job->sent, n);
	for (; n > 0; n--, todo &= todo - 1)
		put(s, g, lowest(todo));
	g->sent = cleat_now();
	flush(s);
	g->took = is_whole && !s->is_stuck ? cleat_now() - g->sent
					   : CLEAT_FOREVER;
	if (todo == 0) {
		(void)take_head(s, l);
		look_at(s, g, g->sent + cleat__earlier(FIRST_LOOK, s->most));
	}
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

/* The first of L of which something is left, or NULL. */
static struct cleat__group *live_head(struct cleat__syn *s,
				      struct cleat__groups *l)
{
	struct cleat__group *g = head(s, l);

	for (; g && (g->left & ~g->flying) == 0; g = head(s, l))
		(void)take_head(s, l);
	return g;
}

/* What is to be sent next, or NULL. */
static struct cleat__group *next_due(struct cleat__syn *s)
{
	struct cleat__group *g = live_head(s, &s->due);

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
static double slowed(const struct cleat__loss *l)
{
	const double heard = 1 - cleat__loss_part(l);
	const double rate = RATE_LEAST * heard * heard;

	return rate > RATE_SLOWEST ? rate : RATE_SLOWEST;
}

static double rate(const struct cleat__syn *s)
{
	return s->job->opt->rate > 0 ? (double)s->job->opt->rate
				     : slowed(&s->loss);
}

static void fill(struct cleat__syn *s)
{
	const double most = rate(s) * BURST / CLEAT_SEC;

	s->tokens += (double)(s->now - s->filled) * rate(s) / CLEAT_SEC;
	s->filled = s->now;
	if (s->tokens > (most > s->step ? most : s->step))
		s->tokens = most > s->step ? most : s->step;
}

static bool has_room(const struct cleat__syn *s, unsigned n)
{
	const unsigned width = s->job->opt->width;

	return !s->is_stuck && (width == 0 || s->in_flight + n <= width);
}

/* Whether N may be sent, or else UNTIL when not, if nothing comes. */
static bool may_send(const struct cleat__syn *s, unsigned n, cleat_time *until)
{
	const double lacking = n - s->tokens;

	if (!has_room(s, n))
		return false;
	if (lacking <= 0 ||
	    (s->job->opt->rate == 0 && s->in_flight + n <= s->window.size))
		return true;
	*until = cleat__earlier(
		*until, s->now + (int64_t)(lacking * CLEAT_SEC / rate(s)));
	return false;
}

static void take_tokens(struct cleat__syn *s, unsigned n)
{
	s->tokens -= n;
	if (s->tokens < 0)
		s->tokens = 0; /* the window has allowed it */
}

/* One at a time, for of those that come together the first alone are answered.
 */
static bool send_slow(struct cleat__syn *s, cleat_time *until)
{
	struct cleat__group *g = live_head(s, &s->slow);
	const struct cleat__host *h;
	struct cleat_sockaddr at;

	if (!g || !has_room(s, 1) || (s->job->opt->rate > 0 && s->tokens < 1))
		return false;
	if (s->now < s->slow_next) {
		*until = cleat__earlier(*until, s->slow_next);
		return false;
	}
	h = host_of(s, g, lowest(g->left & ~g->flying), &at);
	s->slow_next =
		s->now + (int64_t)(CLEAT_SEC / slowed(h ? &h->loss : &s->loss));
	if (s->job->opt->rate > 0)
		take_tokens(s, 1);
	send_group(s, &s->slow, g, 1);
	return true;
}

/* Returns whether more may be sent at once. */
static bool send_some(struct cleat__syn *s, cleat_time *until)
{
	const bool is_more = send_slow(s, until);
	struct cleat__group *g = next_due(s);
	const unsigned n = g ? count(g->left) : 0;

	if (!g || !may_send(s, n, until))
		return is_more;
	take_tokens(s, n);
	send_group(s, &s->due, g, n);
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

/* What has not been waited for may have come while we did something else. */
static void hear(struct cleat__syn *s, cleat_time until)
{
	const cleat_time before = cleat_now(), last = s->heard;

	cleat__wire_wait(s->wire, until);
	s->now = cleat_now();
	s->lain = s->now - before > ASLEEP ? 0 : s->now - last;
	cleat__wire_read(s->wire, cleat__syn_heard, s);
	s->heard = s->now;
}

static void run(struct cleat__syn *s)
{
	while (!is_done(s) && !atomic_load(&s->job->stop)) {
		cleat_time until;

		s->now = cleat_now();
		until = cleat__earlier(turn_wheel(s), s->now + TICK);
		fill(s);
		if (s->is_stuck)
			flush(s);
		if (send_some(s, &until))
			until = 0;
		atomic_store(&s->job->in_flight, s->in_flight);
		hear(s, until);
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
		.slow = { NONE, NONE },
		.turned = slot_of(cleat_now()),
		.filled = cleat_now(),
		.renewed = cleat_now(),
		.most = j->opt->timeout_ns > 0 ? j->opt->timeout_ns : MOST_WAIT,
	};
	int err = cleat__wire_open(&s.wire);

	if (err < 0)
		return err;
	for (unsigned i = 0; i < CLEAT__SYN_SLOTS; i++)
		s.wheel[i] = s.due;
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
