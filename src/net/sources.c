/* SPDX-License-Identifier: MIT */
/* How many connections each source address has open. */
#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "net/conn.h"
#include "net/server.h"

struct source {
	unsigned char addr[16]; /* IPv4 in its first four, the rest zero */
	sa_family_t family;
	unsigned n;
};

static int compare(const void *a, const void *b)
{
	const struct source *x = a, *y = b;

	if (x->family != y->family)
		return x->family < y->family ? -1 : 1;
	return memcmp(x->addr, y->addr, sizeof(x->addr));
}

static bool key_of(const struct cleat_conn *c, struct source *key)
{
	*key = (struct source){ .family = c->peer.family };
	if (key->family == AF_INET)
		memcpy(key->addr, &c->peer.in.sin_addr, 4);
	else if (key->family == AF_INET6)
		memcpy(key->addr, &c->peer.in6.sin6_addr, 16);
	else
		return false;
	return true;
}

static bool count_one(struct cleat__server *s, const struct source *key)
{
	struct source **found = tfind(key, &s->sources, compare);
	struct source *made;

	if (found) {
		if ((*found)->n >= s->opt->max_per_source)
			return false;
		(*found)->n++;
		return true;
	}
	made = malloc(sizeof(*made));
	if (!made)
		return false;
	*made = *key;
	made->n = 1;
	if (tsearch(made, &s->sources, compare))
		return true;
	free(made);
	return false;
}

bool cleat__source_enter(struct cleat__server *s, const struct cleat_conn *c)
{
	struct source key;
	bool ok;

	if (!key_of(c, &key))
		return true;
	(void)pthread_mutex_lock(&s->sources_lock);
	ok = count_one(s, &key);
	(void)pthread_mutex_unlock(&s->sources_lock);
	return ok;
}

void cleat__source_leave(struct cleat__server *s, const struct cleat_conn *c)
{
	struct source key, **found, *it;

	if (!key_of(c, &key))
		return;
	(void)pthread_mutex_lock(&s->sources_lock);
	found = tfind(&key, &s->sources, compare);
	it = *found; /* was entered */
	if (--it->n == 0) {
		(void)tdelete(it, &s->sources, compare);
		free(it);
	}
	(void)pthread_mutex_unlock(&s->sources_lock);
}
