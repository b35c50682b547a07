/* SPDX-License-Identifier: MIT */
/* What cleat scan has found: kept, escaped, sorted. */
#include <ctype.h>
#include <errno.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>

#include "scan.h"

enum {
	ESCAPED = 4, /* bytes that one may become */
};

size_t banner_text(char to[SCAN_BANNER_TEXT], const char *banner, size_t len)
{
	char part[SCAN_BANNER_MAX + 1];
	size_t n = 0, i = 0;

	memcpy(part, banner, len);
	part[len] = '\0';
	for (size_t at = 0; at < len; at++) {
		if (part[at] == '\\')
			part[at] = '\0';
	}
	for (;;) {
		n += out_escape(to + n, SCAN_BANNER_TEXT - n, part + i);
		i += strlen(part + i);
		if (i == len)
			return n;
		memcpy(to + n, banner[i++] ? "\\x5c" : "\\x00", ESCAPED);
		n += ESCAPED;
	}
}

ssize_t banner_bytes(char to[SCAN_BANNER_MAX], const char *text)
{
	size_t n = 0;

	for (; *text && n < SCAN_BANNER_MAX; n++) {
		char digits[3] = "";

		if (text[0] != '\\') {
			to[n] = *text++;
			continue;
		}
		if (text[1] != 'x' || !isxdigit((unsigned char)text[2]) ||
		    !isxdigit((unsigned char)text[3]))
			return -EINVAL;
		memcpy(digits, text + 2, 2);
		to[n] = (char)strtoul(digits, NULL, 16);
		text += ESCAPED;
	}
	return *text ? -EINVAL : (ssize_t)n;
}

struct finding *finding_new(const struct cleat_scan_result *r)
{
	const size_t host = r->host ? ESCAPED * strlen(r->host) + 1 : 0;
	const size_t reason = strlen(r->reason) + 1;
	const size_t banner = r->banner ? r->banner_len : 0;
	struct finding *f = calloc(1, sizeof(*f) + reason + host + banner);
	char *to;

	if (!f)
		return NULL;
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
		(void)out_escape(to, host, r->host);
		to += host;
	}
	if (r->banner) {
		f->banner = memcpy(to, r->banner, banner);
		f->banner_len = banner;
	}
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
	if (old->mark > 0)
		sums->hosts_answered = UINT64_MAX;
	sums->hosts_silenced = larger(now->hosts_silenced, old->hosts_silenced);
}
