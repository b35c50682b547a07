/* SPDX-License-Identifier: MIT */
#include <cleat/inspect.h>

#include <errno.h>
#include <stdlib.h>

#include "base/error.h"
#include "inspect/diag.h"
#include "inspect/index.h"
#include "inspect/overlap.h"
#include "inspect/owners.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

#define MAX_PORT 65535

struct snapshot {
	struct cleat_sockets all; /* what the caller holds */
	struct cleat__found found;
	struct cleat_owner *owners;
};

const char *cleat_state_name(enum cleat_state state)
{
	static const char *const names[] = {
		[CLEAT_STATE_ESTABLISHED] = "established",
		[CLEAT_STATE_SYN_SENT] = "syn-sent",
		[CLEAT_STATE_SYN_RECEIVED] = "syn-received",
		[CLEAT_STATE_FIN_WAIT_1] = "fin-wait-1",
		[CLEAT_STATE_FIN_WAIT_2] = "fin-wait-2",
		[CLEAT_STATE_TIME_WAIT] = "time-wait",
		[CLEAT_STATE_CLOSED] = "closed",
		[CLEAT_STATE_CLOSE_WAIT] = "close-wait",
		[CLEAT_STATE_LAST_ACK] = "last-ack",
		[CLEAT_STATE_LISTEN] = "listen",
		[CLEAT_STATE_CLOSING] = "closing",
		[CLEAT_STATE_BOUND] = "bound",
	};
	const unsigned i = (unsigned)state;

	return i < COUNT(names) && names[i] ? names[i] : "unknown";
}

/* What the zeros of a query stand for, spelt out. */
static struct cleat_query spelt_out(const struct cleat_query *given)
{
	struct cleat_query q = { 0 };

	if (given)
		q = *given;
	if (q.kinds == 0)
		q.kinds = ~0u;
	if (q.states == 0)
		q.states = ~0u;
	if (q.listening)
		q.states &= 1u << CLEAT_STATE_LISTEN | 1u << CLEAT_STATE_BOUND;
	if (q.port > 0 || q.last_port > 0)
		q.kinds &= CLEAT_KIND_TCP | CLEAT_KIND_UDP;
	if (q.last_port == 0)
		q.last_port = q.port > 0 ? q.port : MAX_PORT;
	return q;
}

static int gather(struct cleat__found *f, const struct cleat_query *q)
{
	static const int families[] = { AF_INET, AF_INET6 };
	int err = cleat__diag_dump(f, q);

	for (size_t i = 0; i < COUNT(families) && err == 0; i++) {
		if (q->kinds & CLEAT_KIND_RAW &&
		    (q->family == AF_UNSPEC || q->family == families[i]))
			err = cleat__raw_read(f, families[i]);
	}
	return err;
}

/* Drop what is in another state, and what came twice. */
static int sift(struct cleat__found *f, const struct cleat_query *q)
{
	struct cleat__index x;
	size_t kept = 0;
	int err = cleat__index_init(&x, f->n);

	if (err < 0)
		return err;
	for (size_t i = 0; i < f->n; i++) {
		const struct cleat_socket *s = &f->v[i];

		if (!(q->states & 1u << s->state) ||
		    (q->listening && s->state == CLEAT_STATE_BOUND &&
		     (s->type == SOCK_STREAM || s->type == SOCK_SEQPACKET)))
			continue;
		if (s->cookie != 0 &&
		    cleat__index_put(&x, s->cookie, kept + 1) != kept + 1)
			continue;
		if (kept != i)
			f->v[kept] = *s;
		kept++;
	}
	f->n = kept;
	cleat__index_done(&x);
	return 0;
}

/* Of unix sockets the kernel tells just the inode of the other end. */
static int name_peers(struct cleat__found *f)
{
	struct cleat__index x;
	int err = cleat__index_init(&x, f->n);

	if (err < 0)
		return err;
	for (size_t i = 0; i < f->n; i++) {
		if (f->v[i].family == AF_UNIX && f->v[i].inode != 0)
			(void)cleat__index_put(&x, f->v[i].inode,
					       i + 1); /* there is one */
	}
	for (size_t i = 0; i < f->n; i++) {
		size_t peer = cleat__index_find(&x, f->v[i].peer_inode);

		if (peer != 0)
			f->v[i].peer = f->v[peer - 1].local;
	}
	cleat__index_done(&x);
	return 0;
}

static bool can_share(const struct cleat_socket *s)
{
	return (s->type == SOCK_STREAM && s->state == CLEAT_STATE_LISTEN) ||
	       (s->type == SOCK_DGRAM && s->state == CLEAT_STATE_BOUND);
}

/* FNV-1a of what cleat__is_same_key() compares: of a hash only the first socket
 * is kept.
 */
static uint64_t key_hash(const struct cleat_socket *s)
{
	const unsigned char *bytes = (const void *)&s->local.any;
	uint64_t h = 0xcbf29ce484222325u ^ (unsigned)s->protocol ^
		     (uint64_t)s->device << 32;

	for (size_t i = 0; i < s->local.len; i++)
		h = (h ^ bytes[i]) * 0x100000001b3u;
	h = (h ^ s->uid) * 0x100000001b3u;
	return (h ^ (unsigned)s->v6only) * 0x100000001b3u;
}

static int number_groups(struct cleat__found *f)
{
	struct cleat__index x;
	unsigned groups = 0;
	int err = cleat__index_init(&x, f->n);

	if (err < 0)
		return err;
	for (size_t i = 0; i < f->n; i++) {
		struct cleat_socket *s = &f->v[i], *first;

		if (s->family == AF_UNIX || !can_share(s))
			continue;
		first = &f->v[cleat__index_put(&x, key_hash(s), i + 1) - 1];
		if (first == s || !cleat__is_same_key(first, s))
			continue;
		if (first->reuseport_group == 0)
			first->reuseport_group = ++groups;
		s->reuseport_group = first->reuseport_group;
	}
	cleat__index_done(&x);
	return 0;
}

static int fill_in(struct snapshot *s, const struct cleat_query *q)
{
	struct cleat__found *f = &s->found;
	long hidden = 0;
	int err = gather(f, q);

	if (err == 0)
		err = sift(f, q);
	if (err == 0)
		err = name_peers(f);
	if (err == 0)
		err = number_groups(f);
	if (err == 0 && q->owners != CLEAT_OFF)
		hidden = cleat__owners_find(&s->owners, f->v, f->n);
	if (hidden < 0)
		err = (int)hidden;
	s->all.v = f->v;
	s->all.n = f->n;
	s->all.hidden = (size_t)hidden;
	return err;
}

int cleat_sockets_new(struct cleat_sockets **s, const struct cleat_query *given)
{
	const struct cleat_query q = spelt_out(given);
	struct snapshot *new;
	int err;

	if (q.port > MAX_PORT || q.last_port > MAX_PORT)
		return cleat__fail(-EINVAL, "list sockets", NULL,
				   "no port is above 65535");
	new = calloc(1, sizeof(*new));
	if (!new)
		return cleat__fail(-ENOMEM, "list sockets", NULL, NULL);
	err = fill_in(new, &q);
	if (err < 0) {
		cleat_sockets_free(&new->all);
		return cleat__fail(err, "list sockets", NULL,
				   err == -EOPNOTSUPP
					   ? "this kernel has no sock_diag"
					   : NULL);
	}
	*s = &new->all;
	return 0;
}

void cleat_sockets_free(struct cleat_sockets *s)
{
	struct snapshot *old = (struct snapshot *)s;

	if (!old)
		return;
	free(old->owners);
	free(old->found.v);
	free(old);
}
