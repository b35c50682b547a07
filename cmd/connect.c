/* SPDX-License-Identifier: MIT */
/* cleat connect - stdin and stdout to a connection.
 *
 * Exits with 0 if the connection was made and ended well, 1 if not, 2 if
 * misused.
 */
#include <stdio.h>
#include <unistd.h>

#include <cleat/conn.h>
#include <cleat/dgram.h>
#include <cleat/error.h>

#include "addr.h"
#include "cmd.h"
#include "hex.h"
#include "out.h"
#include "pipe.h"

struct connect {
	struct net net;
	struct pipe_options pipe;
	int64_t wait;
	const char *source;
};

/* clang-format off */
static const struct opt options[] = {
	{ 'w', "timeout", opt_timeout, offsetof(struct connect, wait), "TIME",
	  "give up connecting after TIME, as 300ms or 2s\n"
	  "(default: when the system does)" },
	{ 0, "source", opt_text, offsetof(struct connect, source), "ADDR",
	  "connect from ADDR: a host, HOST:PORT or :PORT" },
	OPT_PIPE(struct connect, pipe),
	OPT_NET(struct connect, net),
	{ 0 },
};
/* clang-format on */

const struct usage connect_usage = {
	"connect",
	"ADDR",
	"stdin and stdout to a connection",
	"Connects to ADDR, sends stdin to the peer and writes what it says to\n"
	"stdout. When stdin ends the connection is half-closed, and the end\n"
	"of the peer awaited. When the peer ends, stdin that has spoken is\n"
	"sent to its end; a terminal, and stdin that says nothing, is not\n"
	"waited for. Over UDP each read of stdin, a line at a terminal, is\n"
	"one datagram.\n\n" ADDR_ABOUT,
	options,
	"cleat connect example.com:80\n"
	"cleat connect -w 2s --crlf mail.example.com smtp\n"
	"cleat connect host:9000 < file\n"
	"echo hello | cleat connect -u 127.0.0.1:35555",
};

/* The address to connect from as text, of the same kind as TO; "" for none.
 * Returns 0, or -1 having complained. */
static int format_source(char text[CLEAT_ADDR_MAX], const char *source,
			 const struct addr *to)
{
	struct cleat_addr a;
	const bool is_unix = to->parsed.family == AF_UNIX;

	text[0] = '\0';
	if (!source) {
		/* Without a name of our own nobody could answer us. */
		if (to->parsed.proto == CLEAT_UNIXGRAM)
			(void)snprintf(text, CLEAT_ADDR_MAX,
				       "unixgram:@cleat-%d", (int)getpid());
		return 0;
	}
	if (cleat_addr_parse(&a, source) < 0 &&
	    cleat_addr_parse_pair(&a, source, "0") < 0) {
		complain("connect", "--source %s: %s", source, cleat_why());
		return -1;
	}
	if ((a.family == AF_UNIX) != is_unix) {
		complain("connect", "--source %s: not of the same kind as %s",
			 source, to->text);
		return -1;
	}
	a.proto = to->parsed.proto;
	(void)cleat_addr_format(&a, text, CLEAT_ADDR_MAX); /* it fits */
	return 0;
}

static int open_end(struct pipe_end *end, const struct connect *c,
		    const struct addr *to, const char *source)
{
	const cleat_time until =
		c->wait > 0 ? cleat_in(c->wait) : CLEAT_FOREVER;
	const struct cleat_options o = { .source = source[0] ? source : NULL };

	if (addr_is_datagram(to))
		return cleat_dgram_open(&end->dgram, o.source, to->text, NULL,
					until);
	return cleat_connect(&end->conn, to->text, &o, until);
}

static void fail_to_open(const struct addr *to, int err)
{
	const char *why = addr_why(to, err);

	if (why)
		complain("connect", "connect to %s: %s", to->text, why);
	else
		complain("connect", "%s", cleat_why());
}

int cmd_connect(int argc, char **argv)
{
	struct connect c = { .pipe.linger = PIPE_NO_LINGER };
	struct words words;
	int err, status = opt_parse(&connect_usage, &c, argc, argv, &words);
	struct addr to;
	struct pipe_end end = { 0 };
	char source[CLEAT_ADDR_MAX], why[PIPE_WHY_MAX];
	struct out hex;

	if (status != OPT_GO_ON)
		return status;
	if (addr_one(&to, &words, &c.net, "connect") < 0 ||
	    format_source(source, c.source, &to) < 0)
		return STATUS_MISUSED;
	if (hex_open(&hex, c.pipe.hex, "connect") < 0)
		return STATUS_FAILED;
	status = STATUS_FAILED;
	err = open_end(&end, &c, &to, source);
	if (err < 0)
		fail_to_open(&to, err);
	else if (pipe_run(&end, &c.pipe, &hex, why) != PIPE_DONE)
		complain("connect", "%s", why);
	else
		status = STATUS_DONE;
	cleat_close(end.conn);
	cleat_dgram_close(end.dgram);
	return hex_close(&hex, c.pipe.hex, "connect", status);
}
