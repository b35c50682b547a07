/* SPDX-License-Identifier: MIT */
#include "scan/banner.h"

#include <errno.h>
#include <stdlib.h>

#include <cleat/chan.h>
#include <cleat/conn.h>
#include <cleat/fiber.h>

#include "base/error.h"
#include "base/sys.h"
#include "base/time.h"

enum {
	WAITING_MAX = 4096,
	/* The caller's function is called there. */
	STACK = 256 * 1024,
};

/* What a service says in pieces comes so close together; and so often it is
 * looked whether the scan shall stop.
 */
#define GAP (50 * CLEAT_MSEC)

/* As it was found, and is told of. */
struct open_port {
	uint64_t place;
	struct cleat_sockaddr at;
	struct cleat__verdict verdict;
};

struct cleat__banners {
	struct cleat__job *job;
	struct cleat_chan *waiting; /* of struct open_port */
	pthread_t thread;
};

/* Whoever was cut short is asked again when the scan goes on. */
static void tell(struct cleat__banners *b, const struct open_port *o,
		 const char *banner, size_t len)
{
	if (len == 0)
		banner = NULL;
	if (atomic_load(&b->job->stop))
		cleat__job_tell_part(b->job, o->place, &o->at, &o->verdict,
				     banner, len);
	else
		cleat__job_tell(b->job, o->place, &o->at, &o->verdict, banner,
				len);
}

/* What comes first, and what follows at once. */
static size_t hear(struct cleat_conn *c, char *buf, size_t most,
		   cleat_time until)
{
	cleat_time end = until;
	size_t n = 0;

	while (n < most) {
		const ssize_t got = cleat_recv(c, buf + n, most - n, end);

		if (got <= 0)
			break;
		n += (size_t)got;
		end = cleat__earlier(until, cleat_in(GAP));
	}
	return n;
}

static size_t ask(const struct cleat__job *j, const struct open_port *o,
		  char *buf)
{
	const cleat_time until = cleat_in(j->opt->banner_ns);
	char addr[CLEAT_ADDR_MAX];
	struct cleat_conn *c = NULL;
	size_t n = 0;

	if (j->stop || cleat_sockaddr_format(&o->at, addr, sizeof(addr)) < 0)
		return 0;
	if (cleat_connect(&c, addr, NULL, until) == 0)
		n = hear(c, buf, j->opt->banner_max, until);
	cleat_close(c);
	return n;
}

static void work(void *arg)
{
	struct cleat__banners *b = arg;
	char *buf = malloc(b->job->opt->banner_max);
	struct open_port o;

	while (buf && cleat_chan_recv(b->waiting, &o, CLEAT_FOREVER) == 0)
		tell(b, &o, buf, ask(b->job, &o, buf));
	free(buf);
}

static void work_all(void *arg)
{
	struct cleat__banners *b = arg;
	struct cleat_scope *s;
	int err = cleat_scope_open(&s, 0);

	if (err < 0)
		return;
	for (int i = 0; i < CLEAT__BANNERS_WIDTH && err == 0; i++)
		err = cleat_go(s, work, b, CLEAT_FOREVER);
	while (cleat_scope_wait(s, cleat_in(GAP)) == -ETIMEDOUT) {
		if (b->job->stop)
			cleat_scope_cancel(s);
	}
	cleat_scope_close(s);
}

/* Whom the fibers have left, if they ran at all, is told of as it is. */
static void *run(void *arg)
{
	struct cleat__banners *b = arg;
	const struct cleat_run_options opt = { .stack = STACK };
	struct open_port o;

	(void)cleat_run(work_all, b, &opt);
	while (cleat_chan_recv(b->waiting, &o, CLEAT_FOREVER) == 0)
		tell(b, &o, NULL, 0);
	return NULL;
}

int cleat__banners_new(struct cleat__banners **ret, struct cleat__job *j)
{
	struct cleat__banners *b = calloc(1, sizeof(*b));
	int err = b ? cleat_chan_open(&b->waiting, sizeof(struct open_port),
				      WAITING_MAX)
		    : -ENOMEM;

	if (err == 0) {
		b->job = j;
		err = sys_thread(&b->thread, run, b);
	}
	if (err < 0) {
		if (b)
			cleat_chan_close(b->waiting);
		free(b);
		return cleat__fail(err, "ask for banners", NULL, NULL);
	}
	*ret = b;
	return 0;
}

void cleat__banners_add(struct cleat__banners *b, uint64_t place,
			const struct cleat_sockaddr *at,
			const struct cleat__verdict *v)
{
	const struct open_port o = { place, *at, *v };

	if (cleat_chan_send(b->waiting, &o, CLEAT_FOREVER) < 0)
		tell(b, &o, NULL, 0);
}

void cleat__banners_free(struct cleat__banners *b)
{
	if (!b)
		return;
	cleat_chan_finish(b->waiting);
	(void)pthread_join(b->thread, NULL);
	cleat_chan_close(b->waiting);
	free(b);
}
