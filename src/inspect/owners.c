/* SPDX-License-Identifier: MIT */
#include "inspect/owners.h"

#include <errno.h>
#include <stdlib.h>

#include "inspect/index.h"
#include "inspect/walk.h"

static int compare_owners(const void *x, const void *y)
{
	const struct cleat_owner *a = x, *b = y;

	if (a->pid != b->pid)
		return a->pid < b->pid ? -1 : 1;
	return a->fd < b->fd ? -1 : a->fd > b->fd;
}

/* Let each socket's OWNERS point to its share of the room for all. */
static int share_out(struct cleat_owner **all, struct cleat_socket *v, size_t n,
		     const struct cleat__hits *h)
{
	struct cleat_owner *next = malloc((h->n + 1) * sizeof(*next));

	if (!next)
		return -ENOMEM;
	*all = next;
	for (size_t i = 0; i < h->n; i++)
		v[h->v[i].number - 1].n_owners++;
	for (size_t i = 0; i < n; i++) {
		v[i].owners = next;
		next += v[i].n_owners;
		v[i].n_owners = 0;
	}
	return 0;
}

static void fill_in(struct cleat_owner *all, struct cleat_socket *v,
		    const struct cleat__hits *h)
{
	for (size_t i = 0; i < h->n; i++) {
		struct cleat_socket *s = &v[h->v[i].number - 1];

		all[s->owners - all + s->n_owners++] = h->v[i].owner;
	}
}

/* The TCP sockets under one of MPTCP have its inode, all of them. */
static void finish(struct cleat_socket *s, struct cleat_owner *all,
		   const struct cleat_socket *same)
{
	if (s != same) {
		s->owners = same->owners;
		s->n_owners = same->n_owners;
	} else if (s->n_owners > 1) {
		qsort(&all[s->owners - all], s->n_owners, sizeof(*all),
		      compare_owners);
	}
}

static long hand_out(struct cleat_owner **all, struct cleat_socket *v, size_t n,
		     const struct cleat__index *inodes,
		     const struct cleat__hits *h)
{
	int err = share_out(all, v, n, h);
	long hidden = 0;

	if (err < 0)
		return err;
	fill_in(*all, v, h);
	for (size_t i = 0; i < n; i++) {
		if (v[i].inode == 0)
			continue;
		finish(&v[i], *all,
		       &v[cleat__index_find(inodes, v[i].inode) - 1]);
		hidden += v[i].n_owners == 0;
	}
	return hidden;
}

/* The first of several sockets with one inode stands for all.  Returns how many
 * inodes there are.
 */
static size_t enter(struct cleat__index *inodes, const struct cleat_socket *v,
		    size_t n)
{
	size_t entered = 0;

	for (size_t i = 0; i < n; i++) {
		if (v[i].inode != 0)
			entered += cleat__index_put(inodes, v[i].inode,
						    i + 1) == i + 1;
	}
	return entered;
}

static long find(struct cleat_owner **all, struct cleat_socket *v, size_t n,
		 struct cleat__index *inodes)
{
	struct cleat__hits h = { 0 };
	const size_t wanted = enter(inodes, v, n);
	long result = wanted > 0 ? cleat__walk(&h, inodes, wanted) : 0;

	if (result == 0 && wanted > 0)
		result = hand_out(all, v, n, inodes, &h);
	free(h.v);
	return result;
}

long cleat__owners_find(struct cleat_owner **all, struct cleat_socket *v,
			size_t n)
{
	struct cleat__index inodes;
	long result = cleat__index_init(&inodes, n);

	if (result < 0)
		return result;
	result = find(all, v, n, &inodes);
	cleat__index_done(&inodes);
	return result;
}
