/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/sys.h"
#include "fiber/sched.h"
#include "net/server.h"

/* Descriptors left to the program, and to us besides connections. */
#define RESERVED_FDS 64

void cleat__emit(struct cleat__server *s, struct cleat_serve_event e)
{
	if (!cleat__wants(s, e.what, e.error))
		return;
	e.active = atomic_load(&s->active);
	s->opt->event(&e, s->opt->event_arg);
}

void cleat__server_stop(struct cleat__server *s)
{
	for (unsigned i = 0; i < s->n_workers; i++)
		(void)sys_write_u64(s->workers[i].wakeup, 1); /* not full */
}

void cleat__server_fail(struct cleat__server *s, int err)
{
	int none = 0;

	if (!atomic_compare_exchange_strong(&s->err, &none, err))
		return;
	cleat_chan_finish(s->gate); /* nobody need wait for the rest */
	cleat__server_stop(s);
}

static unsigned default_conns(void)
{
	const unsigned fds = sys_fd_limit();

	return fds < 2 * RESERVED_FDS ? RESERVED_FDS : fds - RESERVED_FDS;
}

static unsigned count_slots(const struct cleat_serve_options *opt)
{
	if (opt->mode == CLEAT_SERVE_ONE)
		return 1;
	return opt->max_conns ? opt->max_conns : default_conns();
}

static unsigned count_workers(const struct cleat_serve_options *opt)
{
	if (opt->mode != CLEAT_SERVE_FIBERS || opt->count > 0)
		return 1;
	return opt->workers ? opt->workers : sys_cores();
}

/* The listeners and sockets of the first worker, made by name or inherited. */
static int open_addr(struct cleat__server *s, struct cleat__place *p,
		     const char *addr)
{
	enum cleat__share share =
		s->n_workers > 1 ? CLEAT__FOUND_GROUP : CLEAT__ALONE;
	struct cleat_addr a;
	int err = cleat_addr_parse(&a, addr);

	if (err < 0)
		return err;
	p->proto = a.proto;
	p->shared = a.family == AF_UNIX;
	if (a.proto == CLEAT_UDP || a.proto == CLEAT_UNIXGRAM)
		return cleat__dgram_bind(&p->dgram, &a, s->opt->socket, share,
					 CLEAT_FOREVER);
	return cleat__listen(&p->listener, &a, s->opt->socket, share);
}

static int open_fd(struct cleat__place *p, int fd)
{
	struct cleat_sockaddr sa = { .len = sizeof(sa.storage) };
	int type = 0;
	socklen_t len = sizeof(type);
	int err = sys_getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len);

	if (err == 0)
		err = sys_getsockname(fd, &sa.any, &sa.len);
	if (err < 0)
		return cleat__fail(err, "adopt socket", NULL, NULL);
	p->shared = true;
	if (type == SOCK_STREAM) {
		p->proto = sa.any.sa_family == AF_UNIX ? CLEAT_UNIX : CLEAT_TCP;
		return cleat_adopt_listener(&p->listener, fd);
	}
	p->proto = sa.any.sa_family == AF_UNIX ? CLEAT_UNIXGRAM : CLEAT_UDP;
	return cleat_adopt_dgram(&p->dgram, fd);
}

static int check_handler(const struct cleat__server *s,
			 const struct cleat__place *p)
{
	const struct cleat_service *to = s->service;

	if (p->listener ? to->stream || to->exchange : !!to->dgram)
		return 0;
	return cleat__fail(-EPROTOTYPE, "serve", NULL,
			   p->listener ? "not for streams; use udp://"
				       : "not for datagrams; use tcp://");
}

static int open_first(struct cleat__server *s)
{
	const struct cleat_serve_options *opt = s->opt;
	struct cleat__place *p = s->workers[0].places;
	int err = 0;

	for (unsigned i = 0; err == 0 && i < opt->n_fds; i++, p++) {
		err = open_fd(p, opt->fds[i]);
		if (err == 0)
			err = check_handler(s, p);
	}
	for (unsigned i = 0; err == 0 && opt->addrs && opt->addrs[i];
	     i++, p++) {
		err = open_addr(s, p, opt->addrs[i]);
		if (err == 0)
			err = check_handler(s, p);
	}
	return err;
}

static int open_beside(struct cleat__server *s, struct cleat__worker *w)
{
	int err = 0;

	for (unsigned i = 0; i < s->n_places && err == 0; i++) {
		const struct cleat__place *like = &s->workers[0].places[i];
		struct cleat__place *p = &w->places[i];

		p->proto = like->proto;
		if (like->listener)
			err = cleat__listen_beside(&p->listener, like->listener,
						   s->opt->socket,
						   !like->shared);
		else
			err = cleat__dgram_beside(&p->dgram, like->dgram,
						  s->opt->socket,
						  !like->shared);
	}
	return err;
}

static int worker_init(struct cleat__server *s, struct cleat__worker *w)
{
	w->server = s;
	w->wakeup = sys_eventfd();
	if (w->wakeup < 0)
		return cleat__fail(w->wakeup, "serve", NULL, NULL);
	w->places = calloc(s->n_places, sizeof(*w->places));
	if (!w->places)
		return cleat__fail(-ENOMEM, "serve", NULL, NULL);
	for (unsigned i = 0; i < s->n_places; i++) {
		w->places[i].worker = w;
		w->places[i].arriving.worker = w;
		w->places[i].arriving.place = &w->places[i];
	}
	return 0;
}

static void worker_done(struct cleat__server *s, struct cleat__worker *w)
{
	for (unsigned i = 0; w->places && i < s->n_places; i++) {
		cleat_unlisten(w->places[i].listener);
		cleat_dgram_close(w->places[i].dgram);
	}
	free(w->places);
	cleat__seats_close(w);
	if (w->wakeup > 0)
		sys_close(w->wakeup);
}

static int server_open(struct cleat__server *s)
{
	int err;

	s->n_places = s->opt->n_fds;
	for (unsigned i = 0; s->opt->addrs && s->opt->addrs[i]; i++)
		s->n_places++;
	if (s->n_places == 0)
		return cleat__fail(-EINVAL, "serve", NULL, "no address");
	if (s->service->stream && s->service->exchange)
		return cleat__fail(-EINVAL, "serve", NULL,
				   "a stream or exchanges, not both");
	s->n_workers = count_workers(s->opt);
	s->workers = calloc(s->n_workers, sizeof(*s->workers));
	if (!s->workers)
		return cleat__fail(-ENOMEM, "serve", NULL, NULL);
	err = cleat_chan_open(&s->gate, 1, 1);
	if (err == 0)
		err = cleat_chan_open(&s->slot_given, 1,
				      (size_t)s->n_workers * s->n_places);
	for (unsigned i = 0; i < s->n_workers && err == 0; i++)
		err = worker_init(s, &s->workers[i]);
	if (err == 0)
		err = open_first(s);
	for (unsigned i = 1; i < s->n_workers && err == 0; i++)
		err = open_beside(s, &s->workers[i]);
	return err;
}

static void server_done(struct cleat__server *s)
{
	for (unsigned i = 0; s->workers && i < s->n_workers; i++)
		worker_done(s, &s->workers[i]);
	free(s->workers);
	cleat_chan_close(s->gate);
	cleat_chan_close(s->slot_given);
}

void cleat__announce(const struct cleat__worker *w)
{
	for (unsigned i = 0; i < w->server->n_places; i++) {
		const struct cleat__place *p = &w->places[i];
		struct cleat_sockaddr sa;
		struct cleat_serve_event e = {
			.what = CLEAT_SERVE_LISTENING,
			.proto = p->proto,
			.local = &sa,
		};

		for (unsigned k = 0;; k++) {
			int err = p->listener
					  ? cleat_listener_local(p->listener, k,
								 &sa)
					  : cleat_dgram_local(p->dgram, k, &sa);

			if (err < 0)
				break;
			cleat__emit(w->server, e);
		}
	}
}

static void *worker_thread(void *arg)
{
	cleat__worker_run(arg);
	return NULL;
}

void cleat__server_join(void *arg)
{
	struct cleat__server *s = arg;

	for (; s->n_threads > 0; s->n_threads--)
		(void)pthread_join(s->workers[s->n_threads].thread, NULL);
}

/* The calling thread is the first worker. */
static int run_workers(struct cleat__server *s)
{
	int err = 0;

	while (s->n_threads + 1 < s->n_workers && err == 0) {
		struct cleat__worker *w = &s->workers[s->n_threads + 1];

		err = -pthread_create(&w->thread, NULL, worker_thread, w);
		if (err == 0)
			s->n_threads++;
	}
	if (err == 0)
		cleat__worker_run(&s->workers[0]);
	else
		cleat__server_fail(s, err);
	cleat__server_join(s);
	if (err < 0)
		return cleat__fail(err, "start a worker thread", NULL,
				   "no thread to be had; use fewer workers");
	err = atomic_load(&s->err);
	if (err == 0)
		return 0;
	return cleat__fail(err, "run a worker", NULL,
			   cleat__refusal(err, s->opt->backend));
}

int cleat_serve(const struct cleat_service *service,
		const struct cleat_serve_options *opt)
{
	struct cleat__server s = {
		.service = service,
		.opt = opt,
		.left = opt->count,
		.slots = count_slots(opt),
	};
	int err;

	if (cleat_is_fiber())
		return cleat__fail(-EBUSY, "serve", NULL,
				   "this thread runs fibers already");
	(void)pthread_mutex_init(&s.sources_lock, NULL);
	err = server_open(&s);
	if (err == 0)
		err = run_workers(&s);
	server_done(&s);
	(void)pthread_mutex_destroy(&s.sources_lock);
	return err;
}
