/* SPDX-License-Identifier: MIT */
/* What cleat scan has found: kept, escaped, sorted. */
#include <errno.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>

#include "scan.h"

enum {
	ESCAPED = 4, /* bytes that one may become */
};

/* out_escape() of LEN bytes, zeros among them; TO has room for ESCAPED times as
 * many and a NUL.  TEXT has a NUL behind it. */
static size_t escape(char *to, const char *text, size_t len)
{
	const char *at = text, *end = text + len;
	size_t n = 0;

	for (;;) {
		n += out_escape(to + n, ESCAPED * (size_t)(end - at) + 1, at);
		at += strlen(at);
		if (at >= end)
			return n;
		memcpy(to + n, "\\x00", ESCAPED);
		n += ESCAPED;
		at++;
	}
}

struct finding *finding_new(const struct cleat_scan_result *r)
{
	const size_t host = r->host ? strlen(r->host) : 0;
	const size_t reason = strlen(r->reason) + 1;
	const size_t len = r->banner ? r->banner_len : 0;
	struct finding *f = malloc(sizeof(*f) + reason + ESCAPED * host + 1 +
				   ESCAPED * len + 1);
	char *banner = calloc(1, len + 1); /* with a NUL behind it */
	char *to;

	if (f && banner) {
		memset(f, 0, sizeof(*f));
		memcpy(&f->at, &r->at.storage,
		       r->at.len < sizeof(f->at) ? r->at.len : sizeof(f->at));
		f->state = r->state;
		f->rtt_ns = r->rtt_ns;
		f->place = r->place;
		to = f->texts;
		f->reason = memcpy(to, r->reason, reason);
		to += reason;
		if (r->host) {
			f->host = to;
			to += escape(to, r->host, host) + 1;
		}
		if (r->banner) {
			f->banner = to;
			memcpy(banner, r->banner, len);
			(void)escape(to, banner, len);
		}
	} else {
		free(f);
		f = NULL;
	}
	free(banner);
	return f;
}

int findings_add(struct findings *all, struct finding *f)
{
	struct finding **more = all->v;

	if (f && all->n == all->room) {
		all->room = all->room * 2 + 64;
		more = realloc(all->v, all->room * sizeof(struct finding *));
	}
	if (!f || !more) {
		free(f);
		return -ENOMEM;
	}
	all->v = more;
	all->v[all->n++] = f;
	return 0;
}

unsigned finding_port(const struct finding *f)
{
	return ntohs(f->at.any.sa_family == AF_INET ? f->at.in.sin_port
						    : f->at.in6.sin6_port);
}

static int compare(const void *a, const void *b)
{
	const struct finding *x = *(struct finding *const *)a;
	const struct finding *y = *(struct finding *const *)b;
	int d = (int)x->at.any.sa_family - (int)y->at.any.sa_family;

	if (d == 0 && x->at.any.sa_family == AF_INET)
		d = memcmp(&x->at.in.sin_addr, &y->at.in.sin_addr,
			   sizeof(x->at.in.sin_addr));
	else if (d == 0)
		d = memcmp(&x->at.in6.sin6_addr, &y->at.in6.sin6_addr,
			   sizeof(x->at.in6.sin6_addr));
	return d ? d : (int)finding_port(x) - (int)finding_port(y);
}

void findings_sort(struct findings *all)
{
	if (all->n > 0)
		qsort(all->v, all->n, sizeof(struct finding *), compare);
}

void findings_free(struct findings *all)
{
	for (size_t i = 0; i < all->n; i++)
		free(all->v[i]);
	free(all->v);
}

void finding_sockaddr(struct cleat_sockaddr *sa, const struct finding *f)
{
	const bool is_ipv4 = f->at.any.sa_family == AF_INET;

	sa->len = is_ipv4 ? sizeof(f->at.in) : sizeof(f->at.in6);
	memcpy(&sa->storage, &f->at, sa->len);
}

void finding_address(char to[CLEAT_ADDR_MAX], const struct finding *f)
{
	struct cleat_sockaddr sa;

	finding_sockaddr(&sa, f);
	to[0] = '\0';
	(void)getnameinfo(&sa.any, sa.len, to, CLEAT_ADDR_MAX, NULL, 0,
			  NI_NUMERICHOST); /* it fits */
}

uint64_t outcome_done(const struct cleat_scan_count *c)
{
	return c->open + c->closed + c->filtered + c->silent;
}

static void add_counts(struct cleat_scan_count *to,
		       const struct cleat_scan_count *c)
{
	to->open += c->open;
	to->closed += c->closed;
	to->filtered += c->filtered;
	to->silent += c->silent;
}

static uint64_t larger(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

void outcome_add(struct outcome *whole, const struct outcome *before,
		 const struct cleat_scan_progress *now)
{
	const struct cleat_scan_progress *old = &before->sums;
	struct cleat_scan_progress *sums = &whole->sums;

	*sums = *now;
	add_counts(&sums->done, &old->marked);
	add_counts(&sums->marked, &old->marked);
	sums->mark = larger(now->mark, old->mark);
	sums->sent += old->sent;
	sums->shortages += old->shortages;
	sums->elapsed_ns += old->elapsed_ns;
	/* Which ones they were is not written down. */
	sums->hosts_answered = larger(now->hosts_answered, old->hosts_answered);
	sums->hosts_silenced = larger(now->hosts_silenced, old->hosts_silenced);
}
