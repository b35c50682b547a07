/* SPDX-License-Identifier: MIT */
#include "scan/pool.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "base/sys.h"

enum {
	EVENTS = 256
};

struct cleat__slot {
	struct cleat__probe *probe; /* whose socket it is */
	bool is_known; /* to epoll */
};

int cleat__pool_init(struct cleat__pool *s, const struct cleat__engine *engine,
		     unsigned width)
{
	*s = (struct cleat__pool){
		.engine = engine,
		.epoll = sys_epoll_create(),
		.n_slots = sys_fd_limit(),
	};
	/* Zero pages cost nothing until they are written to. */
	s->slots = calloc(s->n_slots, sizeof(*s->slots));
	for (int i = 0; i < 2; i++)
		s->idle[i] = calloc(width, sizeof(*s->idle[i]));
	if (!s->slots || !s->idle[0] || !s->idle[1])
		return -ENOMEM;
	return s->epoll < 0 ? s->epoll : 0;
}

void cleat__pool_done(struct cleat__pool *s)
{
	for (int i = 0; i < 2; i++) {
		while (s->n_idle[i] > 0)
			sys_close(s->idle[i][--s->n_idle[i]]);
		free(s->idle[i]);
	}
	free(s->slots);
	if (s->epoll >= 0)
		sys_close(s->epoll);
}

static int index_of(int family)
{
	return family == AF_INET6;
}

/* One of the other family may stand in the way of a new one. */
static int open_one(struct cleat__pool *s, int family)
{
	const int other = !index_of(family);
	int fd = s->engine->open(family);

	if (fd == -EMFILE && s->n_idle[other] > 0) {
		sys_close(s->idle[other][--s->n_idle[other]]);
		fd = s->engine->open(family);
	}
	if (fd >= 0 && (unsigned)fd >= s->n_slots) {
		sys_close(fd); /* the limit has been raised meanwhile */
		return -EMFILE;
	}
	if (fd >= 0)
		s->slots[fd] = (struct cleat__slot){ 0 };
	return fd;
}

int cleat__pool_take(struct cleat__pool *s, struct cleat__probe *p)
{
	const int i = index_of(p->host->family);
	const int fd = s->n_idle[i] > 0 ? s->idle[i][--s->n_idle[i]]
					: open_one(s, p->host->family);

	if (fd < 0)
		return fd;
	s->slots[fd].probe = p;
	p->fd = fd;
	return 0;
}

void cleat__pool_close(struct cleat__pool *s, struct cleat__probe *p)
{
	if (p->fd < 0)
		return;
	s->slots[p->fd].probe = NULL;
	sys_close(p->fd);
	p->fd = -1;
}

void cleat__pool_keep(struct cleat__pool *s, struct cleat__probe *p)
{
	const int i = index_of(p->host->family);

	s->slots[p->fd].probe = NULL;
	s->idle[i][s->n_idle[i]++] = p->fd;
	p->fd = -1;
}

int cleat__pool_watch(struct cleat__pool *s, struct cleat__probe *p)
{
	struct cleat__slot *slot = &s->slots[p->fd];
	struct epoll_event e = {
		.events = EPOLLIN | EPOLLOUT | EPOLLET,
		.data.fd = p->fd,
	};
	int err = 0;

	if (!slot->is_known)
		err = sys_epoll_ctl(s->epoll, EPOLL_CTL_ADD, p->fd, &e);
	slot->is_known = err == 0;
	return err;
}

unsigned cleat__pool_wait(struct cleat__pool *s, struct cleat__probe **v,
			  unsigned max, cleat_time until)
{
	struct epoll_event events[EVENTS];
	const int n = sys_epoll_wait(s->epoll, events,
				     max < EVENTS ? (int)max : EVENTS, until);

	for (int i = 0; i < n; i++)
		v[i] = s->slots[events[i].data.fd].probe;
	return (unsigned)n;
}
