/* SPDX-License-Identifier: MIT */
/* cleat ports - who listens, and every other socket.
 *
 * Exits with 0 if something was listed, 1 if not, 2 if misused.
 */
#include "ports.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cleat/error.h>

#include "cmd.h"
#include "out.h"
#include "sockets.h"

/* The state of a name of LEN bytes; 0: none. */
static unsigned state_of(const char *name, size_t len)
{
	for (unsigned i = CLEAT_STATE_BOUND; i > 0; i--) {
		const char *other = cleat_state_name((enum cleat_state)i);

		if (strlen(other) == len && strncmp(other, name, len) == 0)
			return i;
	}
	return 0;
}

static const char *parse_states(void *to, const char *text)
{
	unsigned states = 0;

	for (const char *name = text;; name++) {
		const size_t len = strcspn(name, ",");
		const unsigned state = state_of(name, len);

		if (state == 0)
			return "no such state; there are listen bound "
			       "established syn-sent syn-received fin-wait-1 "
			       "fin-wait-2 time-wait close-wait last-ack "
			       "closing closed";
		states |= 1u << state;
		name += len;
		if (!*name)
			break;
	}
	*(unsigned *)to = states;
	return NULL;
}

static const char *parse_user(void *to, const char *text)
{
	const struct passwd *p = getpwnam(text);
	char *end;
	const unsigned long uid = strtoul(text, &end, 10);

	if (p)
		*(uid_t *)to = p->pw_uid;
	else if (isdigit((unsigned char)text[0]) && !*end && uid < NO_USER)
		*(uid_t *)to = (uid_t)uid;
	else
		return "no such user";
	return NULL;
}

/* Is to have a unit, for a bare number would as well be a port.  What is meant
 * as one is taken, and read when it can be complained of. */
static const char *parse_interval(void *to, const char *text)
{
	if (!text)
		text = "2s";
	if (!isdigit((unsigned char)text[0]) ||
	    !strchr("smh", text[strlen(text) - 1]))
		return "not a time with a unit; write 300ms or 2s";
	*(const char **)to = text;
	return NULL;
}

/* clang-format off */
static const struct opt options[] = {
	{ 'a', "all", NULL, offsetof(struct ports, all), NULL,
	  "every socket, of each kind and in each state" },
	{ 0, "state", parse_states, offsetof(struct ports, states), "LIST",
	  "in these states, as established,time-wait" },
	{ 't', "tcp", NULL, offsetof(struct ports, tcp), NULL,
	  "TCP; of these kinds any may be (default: TCP and UDP)" },
	{ 'u', "udp", NULL, offsetof(struct ports, net.udp), NULL, "UDP" },
	{ 0, "unix", NULL, offsetof(struct ports, is_unix), NULL,
	  "unix sockets" },
	{ 0, "raw", NULL, offsetof(struct ports, raw), NULL,
	  "raw sockets, whose port is a protocol" },
	{ '4', "ipv4", NULL, offsetof(struct ports, net.ipv4), NULL,
	  "IPv4 only, which dual-stack sockets take too" },
	{ '6', "ipv6", NULL, offsetof(struct ports, net.ipv6), NULL,
	  "IPv6 only" },
	{ 0, "pid", opt_count, offsetof(struct ports, pid), "PID",
	  "that this process has" },
	{ 0, "user", parse_user, offsetof(struct ports, user), "USER",
	  "that this user made, by name or number" },
	{ 0, "netns", opt_text, offsetof(struct ports, netns), "NS",
	  "of another network namespace: a name (ip netns), or\n"
	  "the pid of a process in it" },
	{ 0, "tree", NULL, offsetof(struct ports, tree), NULL,
	  "by process" },
	{ 0, "watch", parse_interval, offsetof(struct ports, interval), "[TIME]",
	  "again every TIME, as 500ms or 2s (default 2s), with\n"
	  "+ what appeared and - what vanished, until Ctrl-C" },
	{ 0, "json", NULL, offsetof(struct ports, json), NULL,
	  "one JSON object per line" },
	{ 0 },
};
/* clang-format on */

const struct usage ports_usage = {
	"ports",
	"[FILTER...]",
	"who listens; or every socket, of which process",
	"Lists who listens, TCP and UDP, sorted by port: address; connections\n"
	"that wait to be accepted (for others bytes to be read) and room for\n"
	"how many; the user who made it; process. \"[::]:80 (and 0.0.0.0)\" "
	"takes\n"
	"IPv4 as well; a \"shared\" port has several sockets, by SO_REUSEPORT\n"
	"or, of UDP, by SO_REUSEADDR.\n"
	"Exits with 0 if there is something to list, else with "
	"1.\n\n" FILTER_ABOUT,
	options,
	"cleat ports\n"
	"cleat ports 8080\n"
	"cleat ports :443 nginx\n"
	"cleat ports --all -t 10.0.0.2\n"
	"cleat ports --state time-wait --watch 1s\n"
	"cleat ports --json --netns 4711",
};

/* See the sockets of another network namespace from here on. */
static int enter_netns(const char *name)
{
	const bool is_pid = name[0] && !name[strspn(name, "0123456789")];
	char path[256];
	int fd = -1, err = 0;

	(void)snprintf(path, sizeof(path),
		       is_pid ? "/proc/%s/ns/net" : "/run/netns/%s", name);
	if (!name[0] || strchr(name, '/'))
		err = ENOENT;
	else if ((fd = open(path, O_RDONLY | O_CLOEXEC)) < 0 ||
		 setns(fd, CLONE_NEWNET) < 0)
		err = errno;
	if (fd >= 0)
		(void)close(fd);
	if (err == ENOENT)
		complain("ports", "--netns %s: no such %s", name,
			 is_pid ? "process"
				: "network namespace; see ip netns");
	else if (err)
		complain("ports", "--netns %s: %s", name, cleat_strerror(err));
	return err ? -1 : 0;
}

static bool is_misused(struct ports *o)
{
	const char *why = NULL;

	if (o->interval && (why = opt_timeout(&o->watch, o->interval))) {
		complain("ports", "--watch %s: %s", o->interval, why);
		return true;
	}
	if (o->net.ipv4 && o->net.ipv6)
		why = "-4 and -6: write one of them";
	else if (o->json && o->tree)
		why = "--json and --tree: write one of them";
	else if (o->json && o->watch > 0)
		why = "--json and --watch: write one of them";
	if (why)
		complain("ports", "%s", why);
	return why != NULL;
}

/* Root sees all but the kernel's own sockets, and those of processes in other
 * pid namespaces. */
static void tell_unknown(size_t n)
{
	if (n > 0)
		complain("ports", "owners of %zu socket%s unknown%s", n,
			 n == 1 ? "" : "s",
			 geteuid() == 0
				 ? ": no process that can be seen has them"
				 : "; root sees those of other users");
}

static int print_json(const struct view *w)
{
	for (size_t i = 0; i < w->n; i++) {
		json_t *o = socket_json(w->v[i].s);

		if (!o)
			return -ENOMEM;
		(void)json_dumpf(o, stdout, JSON_COMPACT);
		(void)putchar('\n'); /* out_flush() tells */
		json_decref(o);
	}
	return 0;
}

/* Returns a status. */
static int list(const struct ports *o)
{
	const struct screen screen = screen_of_stdout();
	struct view w = { .n = 0 };
	int err = view_take(&w, o);
	bool is_found = err == 0 && w.n > 0;

	if (err == 0)
		tell_unknown(w.unknown);
	if (err == 0 && o->watch > 0) {
		err = watch(o, &w);
		is_found = true; /* there was no end to the looking */
	} else if (is_found && o->json) {
		err = print_json(&w);
	} else if (is_found) {
		err = draw(o, &w, &screen, screen.height);
	}
	view_free(&w);
	if (out_flush("ports") != STATUS_DONE)
		return STATUS_FAILED;
	if (err == -EPIPE)
		complain("ports", "standard output: %s", cleat_strerror(err));
	else if (err < 0)
		complain("ports", "%s", cleat_strerror(err));
	else if (!is_found)
		complain("ports", "nothing found%s",
			 o->all || o->states > 0
				 ? ""
				 : "; --all has more than who listens");
	return err == 0 && is_found ? STATUS_DONE : STATUS_FAILED;
}

int cmd_ports(int argc, char **argv)
{
	struct ports o = { .user = NO_USER };
	struct words words;
	int status = opt_parse(&ports_usage, &o, argc, argv, &words);

	if (status != OPT_GO_ON)
		return status;
	if (is_misused(&o))
		return STATUS_MISUSED;
	if (o.netns && enter_netns(o.netns) < 0)
		return STATUS_FAILED;
	/* Whole lines, and of a screen all at once. */
	(void)setvbuf(stdout, NULL, _IOFBF, 1 << 16);
	status = STATUS_MISUSED;
	if (filter_parse(&o.filter, words.v, words.n) == 0)
		status = list(&o);
	filter_free(&o.filter);
	return status;
}
