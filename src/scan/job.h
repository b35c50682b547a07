/* SPDX-License-Identifier: MIT */
/* One cleat_scan(): what its threads share. */
#ifndef CLEAT_SCAN_JOB_H
#define CLEAT_SCAN_JOB_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include <cleat/scan.h>

#include "scan/census.h"
#include "scan/ledger.h"
#include "scan/plan.h"

struct cleat__banners;
struct cleat__hosts;

struct cleat__job {
	const struct cleat_scan_options *opt;
	struct cleat__plan plan;
	struct cleat__ledger ledger;
	struct cleat__census answered;
	struct cleat__banners *banners; /* NULL: not asked for */
	pthread_mutex_t found_lock; /* one call of opt->found at a time */
	cleat_time started;
	unsigned threads;
	atomic_uint able; /* of these, as far as is known */
	atomic_bool stop; /* no more attempts; return soon */
	_Atomic uint64_t sent, shortages;
	atomic_uint in_flight;
};

/* A verdict on a place. */
struct cleat__verdict {
	enum cleat_port_state state; /* of TCP, too, silence is SILENT */
	const char *reason; /* static */
	int64_t rtt; /* ns; -1: none */
};

/* cleat__job_settle - PLACE, whose address and port are AT, has verdict V:
 * tell opt->found, if it wants to know, and the ledger.  An open port whose
 * banner is wanted is settled once that is there.  Any thread, once a place.
 */
void cleat__job_settle(struct cleat__job *j, uint64_t place,
		       const struct cleat_sockaddr *at,
		       const struct cleat__verdict *v);

/* cleat__job_tell - the same with a banner, of LEN bytes; BANNER may be NULL.
 * cleat__job_tell_part - and there was more to be said: whoever goes on with
 * this scan asks again.
 */
void cleat__job_tell(struct cleat__job *j, uint64_t place,
		     const struct cleat_sockaddr *at,
		     const struct cleat__verdict *v, const char *banner,
		     size_t len);
void cleat__job_tell_part(struct cleat__job *j, uint64_t place,
			  const struct cleat_sockaddr *at,
			  const struct cleat__verdict *v, const char *banner,
			  size_t len);

/* How a thread of the scan works: until all places are taken and those that it
 * took are settled, or j->stop.  HOSTS is its own, and read when the thread has
 * ended.  Returns 0, or -errno: what ended the scan.
 */
typedef int cleat__work(struct cleat__job *j, struct cleat__hosts *hosts);

cleat__work cleat__work_probes; /* CONNECT and UDP: probes.c */
cleat__work cleat__work_syn; /* SYN: syn.c */

#endif
