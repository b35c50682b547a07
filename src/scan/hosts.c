/* SPDX-License-Identifier: MIT */
#include "scan/hosts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int cleat__hosts_init(struct cleat__hosts *h, unsigned most, uint64_t key)
{
	h->sets = (most + CLEAT__HOSTS_SET - 1) / CLEAT__HOSTS_SET;
	h->key = key;
	/* Zero pages cost nothing until they are written to. */
	h->v = calloc(h->sets, CLEAT__HOSTS_SET * sizeof(*h->v));
	return h->v ? 0 : -ENOMEM;
}

void cleat__hosts_done(struct cleat__hosts *h)
{
	free(h->v);
}

/* The multiplier is 2^64 divided by the golden ratio. */
static uint64_t mix(uint64_t x)
{
	x *= UINT64_C(0x9e3779b97f4a7c15);
	return x ^ (x >> 29);
}

static uint64_t hash(uint64_t key, const struct cleat_sockaddr *at)
{
	uint64_t half[2];

	if (at->any.sa_family == AF_INET)
		return mix(key ^ at->in.sin_addr.s_addr);
	memcpy(half, &at->in6.sin6_addr, sizeof(half));
	return mix(mix(mix(key ^ half[0]) ^ half[1]) ^ at->in6.sin6_scope_id);
}

static struct cleat__host *set_of(const struct cleat__hosts *h,
				  const struct cleat_sockaddr *at)
{
	const uint64_t set = ((hash(h->key, at) >> 32) * h->sets) >> 32;

	return h->v + set * CLEAT__HOSTS_SET;
}

bool cleat__is_same_ip(const struct cleat_sockaddr *a,
		       const struct cleat_sockaddr *b)
{
	if (a->len == 0 || a->any.sa_family != b->any.sa_family)
		return false;
	if (a->any.sa_family == AF_INET)
		return a->in.sin_addr.s_addr == b->in.sin_addr.s_addr;
	return memcmp(&a->in6.sin6_addr, &b->in6.sin6_addr,
		      sizeof(a->in6.sin6_addr)) == 0;
}

static bool is_same(const struct cleat__host *h,
		    const struct cleat_sockaddr *at)
{
	if (h->family != at->any.sa_family)
		return false;
	if (h->family == AF_INET)
		return h->in.sin_addr.s_addr == at->in.sin_addr.s_addr;
	return memcmp(&h->in6.sin6_addr, &at->in6.sin6_addr,
		      sizeof(h->in6.sin6_addr)) == 0 &&
	       h->in6.sin6_scope_id == at->in6.sin6_scope_id;
}

struct cleat__host *cleat__hosts_find(struct cleat__hosts *h,
				      const struct cleat_sockaddr *at)
{
	struct cleat__host *v = set_of(h, at);

	for (unsigned i = 0; i < CLEAT__HOSTS_SET; i++)
		if (is_same(&v[i], at))
			return &v[i];
	return NULL;
}

/* How much would be lost by forgetting it. */
static uint64_t worth(const struct cleat__host *h)
{
	if (cleat__host_is_used(h))
		return UINT64_MAX;
	return h->family == AF_UNSPEC ? 0 : 1 + h->answered;
}

struct cleat__host *cleat__hosts_get(struct cleat__hosts *h,
				     const struct cleat_sockaddr *at)
{
	struct cleat__host *known = cleat__hosts_find(h, at);
	struct cleat__host *set = set_of(h, at), *least = set;

	if (known)
		return known;
	for (unsigned i = 1; i < CLEAT__HOSTS_SET; i++)
		if (worth(&set[i]) < worth(least))
			least = &set[i];
	if (worth(least) == UINT64_MAX)
		return NULL;
	*least = (struct cleat__host){ 0 };
	if (at->any.sa_family == AF_INET)
		least->in = at->in;
	else
		least->in6 = at->in6;
	return least;
}

void cleat__host_at(const struct cleat__host *h, uint16_t port,
		    struct cleat_sockaddr *at)
{
	if (h->family == AF_INET) {
		at->len = sizeof(at->in);
		at->in = h->in;
		at->in.sin_port = htons(port);
	} else {
		at->len = sizeof(at->in6);
		at->in6 = h->in6;
		at->in6.sin6_port = htons(port);
	}
}

void cleat__host_heard(struct cleat__host *h, cleat_time sent)
{
	h->answered++;
	if (sent > h->heard)
		h->heard = sent;
	/* What was sent before is silent for another reason. */
	h->silence = 0;
}

/* Attempts in vain.  Chance hardly makes as many of late, for that half of all
 * would have to be lost.
 */
#define LIMITED 1.5
#define UNLIMITED 0.125

void cleat__host_learn(struct cleat__host *h, unsigned lost, cleat_time now)
{
	const bool was = h->is_limited;

	h->vain += (lost - h->vain) / 8;
	if (h->vain >= LIMITED)
		h->limited = now;
	h->is_limited = h->vain >= (was ? UNLIMITED : LIMITED);
	if (h->is_limited != was)
		h->turned = now;
}

void cleat__host_unheard(struct cleat__host *h, cleat_time sent)
{
	h->unanswered++;
	if (sent > h->heard)
		h->silence++;
}

/* Whether SILENCE ports in a row are more than chance, where of the others
 * ANSWERED of N did: one in a million.
 */
static bool is_telling(uint64_t silence, uint64_t answered, uint64_t n)
{
	const double quiet = 1 - (double)answered / (double)n;
	double chance = 1;

	for (; silence > 0 && chance > 1e-6; silence--)
		chance *= quiet;
	return chance <= 1e-6;
}

bool cleat__host_is_silenced(const struct cleat__host *h)
{
	return h->answered > 0 && h->silence >= 10 &&
	       is_telling(h->silence, h->answered,
			  h->answered + h->unanswered - h->silence);
}
