/* SPDX-License-Identifier: MIT */
/* Connecting by racing the addresses of a name (RFC 8305, "Happy Eyeballs"). */
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/error.h"
#include "base/sys.h"
#include "base/time.h"
#include "net/bind.h"
#include "net/conn.h"
#include "net/options.h"
#include "net/resolve.h"
#include "net/unix.h"

/* RFC 8305, section 5: the Connection Attempt Delay. */
#define STAGGER (250 * CLEAT_MSEC)

struct race {
	const struct cleat_options *opt;
	const struct cleat_sockaddr *source; /* N_SOURCE of them, or none */
	int n_source;
	struct cleat_sockaddr to[CLEAT__ADDRS_MAX];
	int n, next;
	struct cleat_conn *running[CLEAT__WATCH_MAX];
	int at[CLEAT__WATCH_MAX]; /* which of TO each is */
	unsigned n_running;
	int first; /* the address whose failure is reported */
	int err; /* that failure */
	unsigned failures;
	int fatal; /* of the options, and noted: no address can be reached */
};

/* Of several failures the one of the best address counts: the lowest. */
static void note_failure(struct race *r, int i, int err)
{
	if (r->failures++ == 0 || i < r->first) {
		r->first = i;
		r->err = err;
	}
}

/* Any port will do, and to each destination any that is free there: chosen with
 * that, and not before (Linux 4.2).
 */
static void bind_no_port(int fd, const struct cleat_sockaddr *s)
{
	static const int yes = 1;

	if (s->in.sin_port == 0) /* in the same place in IPv6 */
		(void)sys_setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT,
				     &yes, sizeof(yes)); /* or as before */
}

static int bind_source(struct race *r, int fd, const struct cleat_sockaddr *to)
{
	for (int i = 0; i < r->n_source; i++) {
		const struct cleat_sockaddr *s = &r->source[i];

		if (s->any.sa_family != to->any.sa_family)
			continue;
		bind_no_port(fd, s);
		r->fatal = sys_bind(fd, &s->any, s->len);
		if (r->fatal < 0)
			cleat__note_at(r->fatal, "connect from", s);
		return r->fatal;
	}
	return r->n_source > 0 ? -EAFNOSUPPORT : 0;
}

static int prepare_and_connect(struct race *r, int fd,
			       const struct cleat_sockaddr *to)
{
	int err = cleat__apply(fd, to->any.sa_family, SOCK_STREAM, r->opt);

	r->fatal = err;
	if (err == 0)
		err = bind_source(r, fd, to);
	if (err == 0)
		err = sys_connect(fd, &to->any, to->len);
	return err;
}

/* A connection that is made (*ERR is 0) or under way (-EINPROGRESS); or NULL
 * and why.
 */
static struct cleat_conn *attempt(struct race *r,
				  const struct cleat_sockaddr *to, int *err)
{
	struct cleat_conn *c = NULL;
	int fd = sys_socket(to->any.sa_family, SOCK_STREAM, 0);
	int failed;

	*err = fd < 0 ? fd : prepare_and_connect(r, fd, to);
	if (fd < 0)
		return NULL;
	if (*err == 0 || *err == -EINPROGRESS) {
		failed = cleat__conn_new(&c, fd, to);
		if (failed < 0)
			*err = failed;
	}
	if (!c)
		sys_close(fd);
	return c;
}

/* A TCP socket that meets itself: the kernel chose the very port that was to be
 * connected to, where nobody listens (RFC 9293, section 3.5: simultaneous
 * open).
 */
static bool is_self(const struct cleat_conn *c)
{
	struct cleat_sockaddr local, peer;

	return cleat_conn_local(c, &local) == 0 &&
	       cleat_conn_peer(c, &peer) == 0 && local.len == peer.len &&
	       memcmp(&local.any, &peer.any, local.len) == 0;
}

static int outcome(struct cleat_conn *c)
{
	int err = 0;
	socklen_t len = sizeof(err);
	int failed = sys_getsockopt(c->io.fd, SOL_SOCKET, SO_ERROR, &err, &len);

	if (failed < 0)
		return failed;
	if (err != 0 || c->peer.family == AF_UNIX)
		return -err;
	cleat__conn_ask_peer(c);
	return is_self(c) ? -ECONNREFUSED : 0;
}

static void drop(struct race *r, unsigned k)
{
	cleat_close(r->running[k]);
	r->n_running--;
	r->running[k] = r->running[r->n_running];
	r->at[k] = r->at[r->n_running];
}

/* Start the next address; a connection if that was made at once, or NULL. */
static struct cleat_conn *start_next(struct race *r)
{
	int err, i = r->next++;
	struct cleat_conn *c = attempt(r, &r->to[i], &err);

	if (c && err == -EINPROGRESS) {
		cleat__clear_ready(&c->io, CLEAT__OUT);
		r->running[r->n_running] = c;
		r->at[r->n_running++] = i;
		return NULL;
	}
	if (c)
		err = outcome(c);
	if (c && err == 0)
		return c;
	cleat_close(c);
	note_failure(r, i, err);
	return NULL;
}

/* Sort out those that are done: the winner, or NULL. */
static struct cleat_conn *harvest(struct race *r)
{
	for (unsigned k = 0; k < r->n_running;) {
		struct cleat_conn *c = r->running[k];
		int err;

		if (!cleat__is_ready(&c->io, CLEAT__OUT)) {
			k++;
			continue;
		}
		err = outcome(c);
		if (err == 0) {
			r->running[k] = NULL; /* no longer ours to close */
			drop(r, k);
			return c;
		}
		note_failure(r, r->at[k], err);
		drop(r, k);
	}
	return NULL;
}

static int wait_for_some(struct race *r, cleat_time until)
{
	struct cleat__watch *on[CLEAT__WATCH_MAX];

	for (unsigned k = 0; k < r->n_running; k++)
		on[k] = &r->running[k]->io;
	return cleat__wait_any(on, r->n_running, CLEAT__OUT, until);
}

/* Fill in for each address that failed, and 250 ms after the last start. */
static int run(struct race *r, struct cleat_conn **winner, cleat_time until)
{
	cleat_time turn = 0;

	for (;;) {
		bool room = r->next < r->n && r->n_running < CLEAT__WATCH_MAX;
		unsigned failed = r->failures;
		int err;

		if (room && (r->n_running == 0 || cleat_now() >= turn)) {
			*winner = start_next(r);
			turn = cleat_in(STAGGER);
			if (*winner || r->fatal < 0)
				return r->fatal;
			continue;
		}
		if (r->n_running == 0)
			return r->err;
		err = wait_for_some(r,
				    room ? cleat__earlier(until, turn) : until);
		*winner = harvest(r);
		if (*winner)
			return 0;
		if (err < 0 && (err != -ETIMEDOUT || cleat__left(until) == 0))
			return err;
		if (r->failures > failed)
			turn = 0;
	}
}

/* A unix listener whose queue is full says EAGAIN, and nothing tells when there
 * is room: look again.
 */
static int run_until_room(struct race *r, struct cleat_conn **winner,
			  cleat_time until)
{
	for (;;) {
		int err = run(r, winner, until);

		if (err != -EAGAIN || r->to[0].any.sa_family != AF_UNIX)
			return err;
		err = cleat__unix_pause(until);
		if (err < 0)
			return err;
		r->next = 0;
		r->failures = 0;
	}
}

static int race_failed(struct race *r, int err)
{
	const struct cleat_sockaddr *sa = &r->to[r->failures ? r->first : 0];

	if (r->fatal < 0)
		return r->fatal;
	if (err == -ETIMEDOUT || err == -ECANCELED)
		sa = &r->to[0];
	cleat__note_at(err, "connect to", sa);
	if (err == -EAFNOSUPPORT && r->n_source > 0)
		cleat__fail_because("the source is of another family");
	if (r->n > 1)
		cleat__fail_more((unsigned)r->n - 1);
	return err;
}

static int find_source(struct race *r, struct cleat_sockaddr *source,
		       cleat_time until)
{
	if (!r->opt->source)
		return 0;
	r->n_source = cleat_resolve(r->opt->source, CLEAT_TO_BIND, source,
				    CLEAT__ADDRS_MAX, until);
	r->source = source;
	return r->n_source < 0 ? r->n_source : 0;
}

int cleat_connect(struct cleat_conn **c, const char *addr,
		  const struct cleat_options *opt, cleat_time until)
{
	struct race r = { .opt = cleat__options_or_default(opt) };
	struct cleat_sockaddr source[CLEAT__ADDRS_MAX];
	struct cleat_conn *winner = NULL;
	struct cleat_addr a;
	int err = cleat__enter();

	if (err < 0)
		return cleat__fail(err, "connect to", addr, NULL);
	err = cleat_addr_parse(&a, addr);
	if (err == 0)
		err = cleat__check_stream(&a, "connect to");
	if (err == 0)
		err = find_source(&r, source, until);
	if (err < 0)
		return err;
	r.n = cleat__resolve(&a, CLEAT_TO_CONNECT, r.to, CLEAT__ADDRS_MAX,
			     until);
	if (r.n < 0)
		return r.n;
	err = run_until_room(&r, &winner, until);
	while (r.n_running > 0)
		drop(&r, 0);
	if (err < 0)
		return race_failed(&r, err);
	*c = winner;
	return 0;
}
