/* SPDX-License-Identifier: MIT */
/* Stdin to a peer and the peer to stdout, for cleat connect and listen. */
#ifndef CMD_PIPE_H
#define CMD_PIPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cleat/conn.h>
#include <cleat/dgram.h>

#include "opt.h"
#include "out.h"

struct pipe_options {
	bool crlf, no_shutdown;
	int64_t linger; /* ns, after stdin's end; PIPE_NO_LINGER */
	int64_t idle; /* ns; 0: no limit */
	const char *hex; /* where to dump what passes, or NULL */
};

enum {
	PIPE_NO_LINGER = -1
};

/* clang-format off */
#define OPT_PIPE(type, member) \
	{ 0, "crlf", NULL, offsetof(type, member.crlf), NULL, \
	  "send each line of stdin with CR LF" }, \
	{ 0, "no-shutdown", NULL, offsetof(type, member.no_shutdown), NULL, \
	  "do not half-close the connection when stdin ends" }, \
	{ 0, "linger", opt_time, offsetof(type, member.linger), "TIME", \
	  "when stdin has ended give the peer at most TIME\n" \
	  "(default: as long as it takes; for datagrams, 1s\n" \
	  "since the last one)" }, \
	{ 0, "idle", opt_time, offsetof(type, member.idle), "TIME", \
	  "give up when nothing has moved for TIME" }, \
	{ 0, "hex", opt_text, offsetof(type, member.hex), "FILE", \
	  "dump what passes to FILE, > sent and < received" }
/* clang-format on */

/* What stdin and stdout are joined to: a connection or, with one peer,
 * datagrams. */
struct pipe_end {
	struct cleat_conn *conn;
	struct cleat_dgram *dgram;
	const struct cleat_sockaddr *peer; /* of DGRAM; NULL: connected */
	const void *first; /* received already */
	size_t first_len;
};

enum pipe_result {
	PIPE_DONE, /* ended well */
	PIPE_BROKEN, /* the peer or the network failed */
	PIPE_STUCK, /* stdin, stdout or this machine did */
};

enum {
	PIPE_WHY_MAX = 640
};

/* pipe_run - copy both ways until it is over.  Stores in WHY what failed. */
enum pipe_result pipe_run(const struct pipe_end *end,
			  const struct pipe_options *o, struct out *hex,
			  char why[PIPE_WHY_MAX]);

/* pipe_crlf - copy LEN bytes, putting a CR before each LF that has none.  TO
 * has room for twice as many; *LAST is the byte before FROM, and is moved on.
 * Returns how many it wrote. */
size_t pipe_crlf(char *to, const char *from, size_t len, char *last);

#endif
