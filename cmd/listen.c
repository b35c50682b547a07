/* SPDX-License-Identifier: MIT */
/* cleat listen - stdin and stdout to one incoming connection, or to one after
 * another.
 *
 * Exits with 0 if the connection came and ended well, 1 if not, 2 if misused.
 */
#include <stdio.h>
#include <stdlib.h>

#include <cleat/conn.h>
#include <cleat/dgram.h>
#include <cleat/error.h>

#include "addr.h"
#include "cmd.h"
#include "explain.h"
#include "hex.h"
#include "log.h"
#include "out.h"
#include "pipe.h"

struct listen {
	struct net net;
	struct pipe_options pipe;
	bool keep;
	int64_t wait;
};

/* clang-format off */
static const struct opt options[] = {
	{ 'k', "keep", NULL, offsetof(struct listen, keep), NULL,
	  "take one connection after another" },
	{ 'w', "timeout", opt_timeout, offsetof(struct listen, wait), "TIME",
	  "give up when nobody has come for TIME, as 300ms or 2s;\n"
	  "that begins when it listens, its name looked up" },
	OPT_PIPE(struct listen, pipe),
	OPT_NET(struct listen, net),
	{ 0 },
};
/* clang-format on */

const struct usage listen_usage = {
	"listen",
	"ADDR",
	"one incoming connection",
	"Waits on ADDR for one connection, sends it stdin and writes what it\n"
	"says to stdout, as cleat connect does. Over UDP the first sender\n"
	"becomes the peer. What it listens on and who comes is logged on\n"
	"stderr.\n\n" ADDR_ABOUT,
	options,
	"cleat listen 8080\n"
	"cleat listen --keep :9000 >> log\n"
	"cleat listen 127.0.0.1:0 < file\n"
	"cleat listen -u :5000",
};

static const struct log logger = { "listen", LOG_TEXT, false };

static cleat_time wait_end(const struct listen *o)
{
	return o->wait > 0 ? cleat_in(o->wait) : CLEAT_FOREVER;
}

static int fail(const char *why)
{
	complain("listen", "%s", why);
	return STATUS_FAILED;
}

static int fail_to_bind(const struct addr *on, int err)
{
	explain_bind("listen", on, 1, err);
	return STATUS_FAILED;
}

static enum pipe_result run_conn(const struct listen *o, struct cleat_conn *c,
				 struct out *hex)
{
	const struct pipe_end end = { .conn = c };
	const cleat_time start = cleat_now();
	struct cleat_sockaddr local, peer;
	char why[PIPE_WHY_MAX];
	struct cleat_counts bytes;
	enum pipe_result result;

	(void)cleat_conn_local(c, &local); /* neither fails */
	(void)cleat_conn_peer(c, &peer);
	log_accepted(&logger, &local, &peer);
	result = pipe_run(&end, &o->pipe, hex, why);
	bytes = cleat_conn_counts(c);
	log_ended(&logger, &local, &peer, &bytes, cleat_now() - start, 0,
		  false);
	if (result != PIPE_DONE)
		complain("listen", "%s", why);
	return result;
}

/* The next connection.  Without --keep there will be no other, and who tries
 * shall not be left waiting. */
static int take_conn(const struct listen *o, struct cleat_listener **l,
		     struct out *hex)
{
	struct cleat_conn *c = NULL;
	enum pipe_result result;

	if (cleat_accept(*l, &c, wait_end(o)) < 0)
		return fail(cleat_why());
	if (!o->keep) {
		cleat_unlisten(*l);
		*l = NULL;
	}
	result = run_conn(o, c, hex);
	cleat_close(c);
	if (result == PIPE_DONE || (result == PIPE_BROKEN && o->keep))
		return STATUS_DONE;
	return STATUS_FAILED;
}

static int listen_stream(const struct listen *o, const struct addr *on,
			 struct out *hex)
{
	struct cleat_listener *l = NULL;
	struct cleat_sockaddr local;
	int status = cleat_listen(&l, on->text, NULL);

	if (status < 0)
		return fail_to_bind(on, status);
	for (unsigned i = 0; cleat_listener_local(l, i, &local) == 0; i++)
		log_listening(&logger, on->parsed.proto, &local);
	do
		status = take_conn(o, &l, hex);
	while (o->keep && status == STATUS_DONE);
	cleat_unlisten(l);
	return status;
}

/* Wait for a datagram: who sent it is the peer. */
static int run_dgram(const struct listen *o, struct cleat_dgram *d,
		     struct out *hex)
{
	enum {
		SIZE = 64 * 1024
	};
	struct cleat_sockaddr local, peer;
	char why[PIPE_WHY_MAX], *first = malloc(SIZE);
	struct pipe_end end = { .dgram = d, .peer = &peer, .first = first };
	ssize_t n;
	int status = STATUS_DONE;

	if (!first)
		return fail("out of memory");
	n = cleat_recvfrom(d, first, SIZE, &peer, wait_end(o));
	if (n < 0) {
		status = fail(cleat_why());
	} else {
		(void)cleat_dgram_local(d, 0, &local); /* it has one */
		log_accepted(&logger, &local, &peer);
		end.first_len = (size_t)n;
		if (pipe_run(&end, &o->pipe, hex, why) != PIPE_DONE)
			status = fail(why);
	}
	free(first);
	return status;
}

static int listen_dgram(const struct listen *o, const struct addr *on,
			struct out *hex)
{
	struct cleat_dgram *d = NULL;
	struct cleat_sockaddr local;
	int status = cleat_dgram_open(&d, on->text, NULL, NULL, CLEAT_FOREVER);

	if (status < 0)
		return fail_to_bind(on, status);
	for (unsigned i = 0; cleat_dgram_local(d, i, &local) == 0; i++)
		log_listening(&logger, on->parsed.proto, &local);
	status = run_dgram(o, d, hex);
	cleat_dgram_close(d);
	return status;
}

int cmd_listen(int argc, char **argv)
{
	struct listen o = { .pipe.linger = PIPE_NO_LINGER };
	struct words words;
	int status = opt_parse(&listen_usage, &o, argc, argv, &words);
	struct addr on;
	struct out hex;

	if (status != OPT_GO_ON)
		return status;
	if (addr_one(&on, &words, &o.net, "listen") < 0)
		return STATUS_MISUSED;
	if (o.keep && addr_is_datagram(&on)) {
		complain("listen", "--keep: for connections, not datagrams");
		return STATUS_MISUSED;
	}
	if (hex_open(&hex, o.pipe.hex, "listen") < 0)
		return STATUS_FAILED;
	status = addr_is_datagram(&on) ? listen_dgram(&o, &on, &hex)
				       : listen_stream(&o, &on, &hex);
	return hex_close(&hex, o.pipe.hex, "listen", status);
}
