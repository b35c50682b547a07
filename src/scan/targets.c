/* SPDX-License-Identifier: MIT */
#include "scan/targets.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "net/resolve.h"

/* A name has no more: its answers have 64 KiB each, and an address takes 16
 * bytes of that, one of IPv6 28 (RFC 1035 section 4.1.3).
 */
#define ADDRS_MAX 8192

int cleat_targets_new(struct cleat_targets **t)
{
	struct cleat_targets *new = calloc(1, sizeof(*new));

	if (!new)
		return cleat__fail(-ENOMEM, "targets", NULL, NULL);
	*t = new;
	return 0;
}

void cleat_targets_free(struct cleat_targets *t)
{
	if (!t)
		return;
	free(t->in.v);
	free(t->out.v);
	free(t->names);
	for (struct cleat__name *n = t->last, *next; n; n = next) {
		next = n->next;
		free(n);
	}
	free(t);
}

static int compare_names(const void *a, const void *b)
{
	const struct cleat__named *na = a, *nb = b;
	const int ips = cleat__ip_compare(&na->ip, &nb->ip);

	if (ips)
		return ips;
	return (na->name->number > nb->name->number) -
	       (na->name->number < nb->name->number);
}

void cleat__targets_sort(struct cleat_targets *t)
{
	cleat__ranges_tidy(&t->in);
	cleat__ranges_tidy(&t->out);
	if (t->is_sorted || t->n_names == 0)
		return;
	qsort(t->names, t->n_names, sizeof(t->names[0]), compare_names);
	t->is_sorted = true;
}

const char *cleat__targets_name(const struct cleat_targets *t,
				const struct cleat__ip *ip)
{
	size_t from = 0, to = t->n_names;

	while (from < to) {
		const size_t mid = from + (to - from) / 2;

		if (cleat__ip_compare(&t->names[mid].ip, ip) < 0)
			from = mid + 1;
		else
			to = mid;
	}
	if (from == t->n_names ||
	    cleat__ip_compare(&t->names[from].ip, ip) != 0)
		return NULL;
	return t->names[from].name->text;
}

uint64_t cleat_targets_count(struct cleat_targets *t)
{
	struct cleat__difference d = { .in = &t->in, .out = &t->out };
	struct cleat__range r;
	uint64_t sum = 0;

	cleat__targets_sort(t);
	while (cleat__difference_next(&d, &r)) {
		const uint64_t size = cleat__range_size(&r);

		if (size > UINT64_MAX - sum)
			return UINT64_MAX;
		sum += size;
	}
	return sum;
}

static int refuse(const char *step, const char *text, const char *better,
		  const char *why)
{
	char object[256];

	if (!better[0])
		return cleat__fail(-EINVAL, step, text, why);
	(void)snprintf(object, sizeof(object), "%s: %s; write %s", text, why,
		       better);
	return cleat__fail(-EINVAL, step, object, "");
}

static int add_numeric(struct cleat__ranges *set, const char *step,
		       const char *text, int family)
{
	struct cleat__numeric s = { 0 };
	const char *why = cleat__numeric_scan(&s, text, family);

	if (why)
		return refuse(step, text, s.better, why);
	if (cleat__ranges_reserve(set, s.n) < 0)
		return cleat__fail(-ENOMEM, step, text, NULL);
	for (unsigned i = 0; i < s.n; i++)
		cleat__ranges_push(set, &s.v[i]);
	return 0;
}

/* How many addresses the name TEXT has, in *V, which the caller frees; or why
 * not.
 */
static int look_up(const char *step, const char *text, int family,
		   struct cleat_sockaddr **v, cleat_time until)
{
	struct cleat_addr a;
	int n;

	if (!text[0])
		return cleat__fail(-EINVAL, step, NULL, "no address");
	if (strchr(text, '/'))
		return cleat__fail(-EINVAL, step, text,
				   "only an address has a block; a name has "
				   "none");
	if (strchr(text, '*'))
		return cleat__fail(-EINVAL, step, text,
				   "* stands for nothing here; write a block, "
				   "as 10.0.0.0/24");
	n = cleat_addr_parse_pair(&a, text, "0");
	if (n < 0)
		return n;
	a.family = family;
	*v = malloc(ADDRS_MAX * sizeof(**v));
	if (!*v)
		return cleat__fail(-ENOMEM, step, text, NULL);
	n = cleat__resolve(&a, CLEAT_TO_CONNECT, *v, ADDRS_MAX, until);
	if (n < 0)
		free(*v);
	return n;
}

static int add_found(struct cleat__ranges *set, const struct cleat_sockaddr *v,
		     int n)
{
	struct cleat__range r = { 0 };

	if (cleat__ranges_reserve(set, (size_t)n) < 0)
		return -ENOMEM;
	for (int i = 0; i < n; i++) {
		if (!cleat__ip_of(&r.first, &v[i]))
			continue;
		r.last = r.first.low;
		cleat__ranges_push(set, &r);
	}
	return 0;
}

static int reserve_names(struct cleat_targets *t, size_t n)
{
	size_t room = t->names_room ? t->names_room : 16;
	void *v;

	while (room < t->n_names + n)
		room *= 2;
	if (room == t->names_room)
		return 0;
	v = realloc(t->names, room * sizeof(t->names[0]));
	if (!v)
		return -ENOMEM;
	t->names = v;
	t->names_room = room;
	return 0;
}

static int add_names(struct cleat_targets *t, const char *text,
		     const struct cleat_sockaddr *v, int n)
{
	const size_t len = strlen(text) + 1;
	struct cleat__name *name;

	if (reserve_names(t, (size_t)n) < 0)
		return -ENOMEM;
	name = malloc(sizeof(*name) + len);
	if (!name)
		return -ENOMEM;
	memcpy(name->text, text, len);
	name->number = t->last ? t->last->number + 1 : 0;
	name->next = t->last;
	t->last = name;
	t->is_sorted = false;
	for (int i = 0; i < n; i++) {
		struct cleat__named *new = &t->names[t->n_names];

		new->name = name;
		t->n_names += cleat__ip_of(&new->ip, &v[i]);
	}
	return 0;
}

int cleat_targets_add(struct cleat_targets *t, const char *text, int family,
		      cleat_time until)
{
	static const char step[] = "target";
	struct cleat_sockaddr *v;
	int n, err;

	if (cleat__is_numeric(text))
		return add_numeric(&t->in, step, text, family);
	n = look_up(step, text, family, &v, until);
	if (n < 0)
		return n;
	/* First all that may fail. */
	err = cleat__ranges_reserve(&t->in, (size_t)n);
	if (err == 0)
		err = add_names(t, text, v, n);
	if (err == 0)
		err = add_found(&t->in, v, n);
	free(v);
	return err < 0 ? cleat__fail(err, step, text, NULL) : 0;
}

int cleat_targets_exclude(struct cleat_targets *t, const char *text, int family,
			  cleat_time until)
{
	static const char step[] = "exclude";
	struct cleat_sockaddr *v;
	int n, err;

	if (cleat__is_numeric(text))
		return add_numeric(&t->out, step, text, family);
	n = look_up(step, text, family, &v, until);
	if (n < 0)
		return n;
	err = add_found(&t->out, v, n);
	free(v);
	return err < 0 ? cleat__fail(err, step, text, NULL) : 0;
}
