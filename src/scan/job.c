/* SPDX-License-Identifier: MIT */
#include "scan/job.h"

#include "scan/banner.h"

const char *cleat_port_state_name(enum cleat_port_state state)
{
	static const char *const names[] = {
		[CLEAT_PORT_OPEN] = "open",
		[CLEAT_PORT_CLOSED] = "closed",
		[CLEAT_PORT_FILTERED] = "filtered",
		[CLEAT_PORT_SILENT] = "open|filtered",
	};

	return names[state];
}

/* A TCP that does not answer is kept from it. */
static enum cleat_port_state name_for(const struct cleat__job *j,
				      const struct cleat__verdict *v)
{
	if (v->state == CLEAT_PORT_SILENT && j->opt->how != CLEAT_SCAN_UDP)
		return CLEAT_PORT_FILTERED;
	return v->state;
}

static bool is_wanted(const struct cleat__job *j, enum cleat_port_state state)
{
	const unsigned states =
		j->opt->states ? j->opt->states : 1u << CLEAT_PORT_OPEN;

	return j->opt->found && states & 1u << state;
}

static void note_host(struct cleat__job *j, const struct cleat_sockaddr *at,
		      const struct cleat__verdict *v)
{
	uint64_t host;

	if ((v->state == CLEAT_PORT_OPEN || v->state == CLEAT_PORT_CLOSED ||
	     v->rtt >= 0) &&
	    cleat__plan_host(&j->plan, at, &host))
		cleat__census_add(&j->answered, host);
}

void cleat__job_tell_part(struct cleat__job *j, uint64_t place,
			  const struct cleat_sockaddr *at,
			  const struct cleat__verdict *v, const char *banner,
			  size_t len)
{
	const enum cleat_port_state state = name_for(j, v);

	note_host(j, at, v);
	if (is_wanted(j, state)) {
		const struct cleat_scan_result r = {
			.host = cleat__plan_name(&j->plan, at),
			.at = *at,
			.state = state,
			.reason = v->reason,
			.rtt_ns = v->rtt,
			.banner = banner,
			.banner_len = len,
			.place = place,
		};

		(void)pthread_mutex_lock(&j->found_lock);
		j->opt->found(j->opt->arg, &r);
		(void)pthread_mutex_unlock(&j->found_lock);
	}
	cleat__ledger_count(&j->ledger, place, v->state);
}

void cleat__job_tell(struct cleat__job *j, uint64_t place,
		     const struct cleat_sockaddr *at,
		     const struct cleat__verdict *v, const char *banner,
		     size_t len)
{
	cleat__job_tell_part(j, place, at, v, banner, len);
	cleat__ledger_settle(&j->ledger, place);
}

void cleat__job_settle(struct cleat__job *j, uint64_t place,
		       const struct cleat_sockaddr *at,
		       const struct cleat__verdict *v)
{
	if (j->banners && v->state == CLEAT_PORT_OPEN)
		cleat__banners_add(j->banners, place, at, v);
	else
		cleat__job_tell(j, place, at, v, NULL, 0);
}
