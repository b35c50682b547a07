/* SPDX-License-Identifier: MIT */
/* Replies, and the lack of them. */
#include "scan/syn.h"

#include <cleat/error.h>

#include "base/time.h"
#include "scan/engine.h"

#define LOSS_BY_CHANCE 0.5 /* at most */
#define AT_ONCE (50 * CLEAT_USEC) /* is not told from no time */
#define ERROR_PART 10 /* a tenth of a round trip, at most */

static bool is_left(const struct cleat__group *g, uint64_t place)
{
	return (g->left >> (place - g->first) & 1) != 0;
}

static void settle(struct cleat__syn *s, struct cleat__group *g, uint64_t place,
		   const struct cleat_sockaddr *at,
		   const struct cleat__verdict *v)
{
	const uint64_t bit = UINT64_C(1) << (place - g->first);

	g->left &= ~bit;
	s->left--;
	s->in_flight -= (g->flying & bit) != 0;
	cleat__job_settle(s->job, place, at, v);
}

void cleat__syn_failed(void *arg, uint64_t place, int err)
{
	const struct cleat__verdict v = {
		.state = CLEAT_PORT_FILTERED,
		.reason = cleat_strerror(err),
		.rtt = -1,
	};
	struct cleat__syn *s = arg;
	struct cleat__group *g = cleat__syn_group(s, place);
	struct cleat_sockaddr at;

	/* It may have been answered while it waited for room. */
	if (!is_left(g, place))
		return;
	cleat__plan_at(&s->job->plan, place, &at);
	settle(s, g, place, &at, &v);
}

void cleat__syn_give_up(struct cleat__syn *s, struct cleat__group *g,
			uint64_t place, const struct cleat_sockaddr *at,
			struct cleat__host *h)
{
	const struct cleat__verdict v = {
		.state = CLEAT_PORT_SILENT,
		.reason = "no answer",
		.rtt = -1,
	};

	if (h)
		cleat__host_unheard(h, g->born);
	settle(s, g, place, at, &v);
}

bool cleat__syn_is_limited(const struct cleat__host *h)
{
	return h && cleat__loss_part(&h->loss) > LOSS_BY_CHANCE;
}

static void add_rtt(struct cleat__syn *s, struct cleat__host *h, int64_t sample)
{
	cleat__rtt_add(&s->rtt, sample);
	if (h)
		cleat__rtt_add(&h->rtt, sample);
}

/* To a retry: which attempt it is of, nobody knows; likely the first was lost.
 * But if a second answer follows, none was, and it is the answer to the second
 * attempt.  The window of a host is but the time of its last loss here.
 */
static void learn(struct cleat__syn *s, const struct cleat__group *g,
		  struct cleat__host *h)
{
	cleat__loss_add(&s->loss, g->attempt);
	if (h)
		cleat__loss_add(&h->loss, g->attempt);
	if (g->attempt == 0) {
		add_rtt(s, h, s->now - g->sent);
		return;
	}
	(void)cleat__window_shrink(&s->window, g->sent, s->now);
	if (h)
		(void)cleat__window_shrink(&h->window, s->now, s->now);
}

static void unlearn(struct cleat__syn *s, const struct cleat__group *g,
		    const struct cleat_sockaddr *at)
{
	struct cleat__host *h = cleat__hosts_find(s->hosts, at);

	if (g->attempt == 0)
		return;
	cleat__loss_take_back(&s->loss);
	if (h)
		cleat__loss_take_back(&h->loss);
	if (g->attempt == 1)
		add_rtt(s, h, s->now - g->sent);
}

/* The places of a group were sent to one after the other, but have one time of
 * sending, and what comes may lie before it is read: -1, where the time says
 * little of each.
 */
static int64_t round_trip(const struct cleat__syn *s,
			  const struct cleat__group *g)
{
	const int64_t rtt = s->now - g->sent, after = rtt - g->took;
	int64_t error = cleat__earlier(s->lain, after);

	if (g->attempt > 0 || after < 0)
		return -1;
	if (g->n > 1)
		error += g->took;
	return error <= AT_ONCE || error <= rtt / ERROR_PART ? rtt : -1;
}

static const char *icmp_reason(const struct cleat__reply *r)
{
	const int family = r->to.any.sa_family;

	return r->is_ours && !r->is_own
		       ? cleat__icmp_own_reason(family, r->type, r->code)
		       : cleat__icmp_name(family, r->type, r->code);
}

static struct cleat__verdict verdict_of(const struct cleat__syn *s,
					const struct cleat__group *g,
					const struct cleat__reply *r)
{
	struct cleat__verdict v = {
		.state = CLEAT_PORT_FILTERED,
		.rtt = r->is_ours && !r->is_own ? -1 : round_trip(s, g),
	};

	if (r->kind == CLEAT__REPLY_SYN_ACK) {
		v.state = CLEAT_PORT_OPEN;
		v.reason = "SYN-ACK";
	} else if (r->kind == CLEAT__REPLY_RST) {
		v.state = CLEAT_PORT_CLOSED;
		v.reason = "RST";
	} else {
		v.reason = icmp_reason(r);
	}
	return v;
}

/* What routers say is not known to be told of each SYN, nor in its time. */
void cleat__syn_heard(void *arg, const struct cleat__reply *r)
{
	struct cleat__syn *s = arg;
	struct cleat__host *h = NULL;
	struct cleat__verdict v;
	struct cleat__group *g;
	uint64_t place;

	if (!cleat__plan_place(&s->job->plan, &r->to, &place) ||
	    place < s->origin)
		return;
	g = cleat__syn_group(s, place);
	if (place - g->first >= g->n)
		return;
	if (!is_left(g, place)) {
		if (r->kind != CLEAT__REPLY_ICMP)
			unlearn(s, g, &r->to);
		return;
	}
	if (r->is_own)
		h = cleat__hosts_get(s->hosts, &r->to);
	if (h)
		cleat__host_heard(h, g->born);
	if (r->kind != CLEAT__REPLY_ICMP)
		learn(s, g, h);
	cleat__window_grow(&s->window);
	v = verdict_of(s, g, r);
	settle(s, g, place, &r->to, &v);
}
