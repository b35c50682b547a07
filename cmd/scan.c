/* SPDX-License-Identifier: MIT */
/* cleat scan - which ports of which hosts are open.
 *
 * Exits with 0 if all was tried, whatever was found, 1 if not, 2 if misused;
 * ended by a signal as the shell has it, 130 for Ctrl-C.
 */
#include "scan.h"

#include <stdlib.h>
#include <string.h>

#include "cmd.h"

enum {
	RETRIES_MAX = 100,
	PORTS_MAX = 65535,
};

static const char *parse_texts(void *to, const char *text)
{
	struct texts *t = to;
	const char **more = realloc(t->v, (t->n + 1) * sizeof(*t->v)); /* few */

	if (!more)
		return "out of memory";
	t->v = more;
	t->v[t->n++] = text;
	return NULL;
}

static const char *parse_top(void *to, const char *text)
{
	unsigned n;

	if (opt_count(&n, text) || n > PORTS_MAX)
		return "not a count of ports; write 1 to 65535";
	*(unsigned *)to = n;
	return NULL;
}

/* As attempts, of which the first is no retry. */
static const char *parse_retries(void *to, const char *text)
{
	unsigned n = 0;

	if ((strcmp(text, "0") != 0 && opt_count(&n, text)) || n > RETRIES_MAX)
		return "not a count; write 0 to 100";
	*(unsigned *)to = n + 1;
	return NULL;
}

static const char *parse_share(void *to, const char *text)
{
	const char *slash = strchr(text, '/');
	struct share *s = to;
	char first[16] = "";
	struct share read = { 0, 0 };

	if (slash && (size_t)(slash - text) < sizeof(first))
		memcpy(first, text, (size_t)(slash - text));
	if (opt_count(&read.i, first) || opt_count(&read.n, slash + 1) ||
	    read.i > read.n)
		return "not a share; write 1/4, 2/4, 3/4 and 4/4";
	*s = read;
	return NULL;
}

/* clang-format off */
static const struct opt options[] = {
	{ 'p', "ports", parse_texts, offsetof(struct scan, ports), "LIST",
	  "these ports, as 22,80,8000-8100,https; -p- is all\n"
	  "(default: --top 1000)" },
	{ 0, "top", parse_top, offsetof(struct scan, top), "N",
	  "the N ports that are most often open" },
	{ 0, "exclude", parse_texts, offsetof(struct scan, exclude), "LIST",
	  "leave out these hosts, written as HOST and separated\n"
	  "by commas" },
	{ '4', "ipv4", NULL, offsetof(struct scan, net.ipv4), NULL,
	  "IPv4 only" },
	{ '6', "ipv6", NULL, offsetof(struct scan, net.ipv6), NULL,
	  "IPv6 only" },
	{ 'u', "udp", NULL, offsetof(struct scan, net.udp), NULL,
	  "UDP ports" },
	{ 0, "syn", NULL, offsetof(struct scan, syn), NULL,
	  "send TCP SYNs from raw sockets, which takes root" },
	{ 0, "banner", NULL, offsetof(struct scan, banner), NULL,
	  "what open ports say first, within 1 s and 256 bytes" },
	{ 0, "closed", NULL, offsetof(struct scan, closed), NULL,
	  "list closed ports too" },
	{ 0, "filtered", NULL, offsetof(struct scan, filtered), NULL,
	  "list filtered and open|filtered ports too" },
	{ 'w', "timeout", opt_timeout, offsetof(struct scan, timeout), "TIME",
	  "wait for an answer for at most TIME, as 300ms or 2s\n"
	  "(default: as its round trips suggest, at most 4s)" },
	{ 0, "retries", parse_retries, offsetof(struct scan, attempts), "N",
	  "ask so often again if nothing comes back (default 2,\n"
	  "or more where answers are seen to be lost)" },
	{ 0, "width", opt_count, offsetof(struct scan, width), "N",
	  "at most N ports in flight at once" },
	{ 0, "rate", opt_count, offsetof(struct scan, rate), "N",
	  "at most N attempts in a second" },
	{ 0, "shard", parse_share, offsetof(struct scan, share), "I/N",
	  "only the I-th of N shares, which other machines have" },
	{ 0, "resume", opt_text, offsetof(struct scan, resume), "FILE",
	  "write down in FILE how far it is; go on from there" },
	{ 0, "json", NULL, offsetof(struct scan, json), NULL,
	  "one JSON object per line, a summary last" },
	{ 0, "yes", NULL, offsetof(struct scan, yes), NULL,
	  "more than 65536 addresses are meant" },
	{ 0 },
};
/* clang-format on */

const struct usage scan_usage = {
	"scan",
	"HOST...",
	"open ports of hosts and networks",
	"Tries ports of every HOST, in random order, and prints the open ones "
	"as\n"
	"they are found; then a table, and what could not be found out.\n"
	"Scan only what is yours, or what you may: elsewhere it is taken for "
	"an\n"
	"attack.\n\n"
	"HOST is one of these:\n"
	"  10.0.0.7  2001:db8::7  example.com      an address, or a name\n"
	"  10.0.0.0/24  2001:db8::/120             a block of addresses\n"
	"  10.0.0.1-20  10.0.0.1-10.0.3.20         a range\n"
	"  @hosts.txt  @-                          words of a file, of "
	"standard\n"
	"                                          input; # begins a comment",
	options,
	"cleat scan localhost\n"
	"cleat scan 10.0.0.0/24 -p 22,80,443 --exclude 10.0.0.1\n"
	"cleat scan -p- --banner --resume db.scan db.example.com\n"
	"cleat scan -u --top 100 192.0.2.7\n"
	"cleat scan --json --shard 1/4 @hosts.txt",
};

static bool is_misused(const struct scan *o)
{
	const char *why = NULL;

	if (o->net.ipv4 && o->net.ipv6)
		why = "-4 and -6: write one of them";
	else if (o->syn && o->net.udp)
		why = "--syn and -u: write one of them";
	else if (o->banner && o->net.udp)
		why = "--banner and -u: write one of them";
	else if (o->ports.n > 0 && o->top > 0)
		why = "-p and --top: write one of them";
	if (why)
		complain("scan", "%s", why);
	return why != NULL;
}

int cmd_scan(int argc, char **argv)
{
	struct scan o = { .top = 0 };
	struct what w = { .digest = 0 };
	struct words words;
	int status = opt_parse(&scan_usage, &o, argc, argv, &words);

	if (status == OPT_GO_ON && is_misused(&o))
		status = STATUS_MISUSED;
	if (status == OPT_GO_ON) {
		if (o.top == 0)
			o.top = SCAN_TOP;
		status = what_read(&w, &o, &words);
	}
	if (status == OPT_GO_ON)
		status = scan_run(&o, &w);
	what_free(&w);
	free(o.ports.v);
	free(o.exclude.v);
	return status;
}
