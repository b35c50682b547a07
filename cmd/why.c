/* SPDX-License-Identifier: MIT */
/* cleat why - why can an address not be bound?
 *
 * Exits with 0 if it can be, without any option; 1 if not, 2 if misused.
 */
#include <errno.h>
#include <stdio.h>

#include <cleat/error.h>
#include <cleat/inspect.h>

#include "addr.h"
#include "answer.h"
#include "cmd.h"
#include "explain.h"
#include "out.h"

struct why {
	struct net net;
	unsigned device;
	bool json;
};

/* clang-format off */
static const struct opt options[] = {
	OPT_DEVICE(struct why, device,
		   "as bound to interface DEV (SO_BINDTODEVICE)"),
	{ 0, "json", NULL, offsetof(struct why, json), NULL,
	  "one JSON object per address" },
	OPT_NET(struct why, net),
	{ 0 },
};
/* clang-format on */

const struct usage why_usage = {
	"why",
	"ADDR",
	"why a bind there fails, and what to do",
	"Tells whether a program that you run could bind ADDR and listen on\n"
	"it: without options, with SO_REUSEADDR, with SO_REUSEPORT and with\n"
	"both; if not, which socket is in the way, whose that is, and what to\n"
	"do about it. The system is asked by binds that are undone at once\n"
	"and never listen.\n"
	"Exits with 0 if ADDR can be bound without options, else with 1.\n"
	"\n" ADDR_ABOUT,
	options,
	"cleat why 8080\n"
	"cleat why :80\n"
	"cleat why tcp6://[::]:443\n"
	"cleat why -u --device eth0 0.0.0.0:67",
};

/* What bind(2) and what comes before it may fail with. */
static const char *error_name(int err)
{
	static const struct {
		int err;
		const char *name;
	} names[] = {
		{ EACCES, "EACCES" },
		{ EADDRINUSE, "EADDRINUSE" },
		{ EADDRNOTAVAIL, "EADDRNOTAVAIL" },
		{ EAFNOSUPPORT, "EAFNOSUPPORT" },
		{ EEXIST, "EEXIST" },
		{ EINVAL, "EINVAL" },
		{ EIO, "EIO" },
		{ EISDIR, "EISDIR" },
		{ ELOOP, "ELOOP" },
		{ EMFILE, "EMFILE" },
		{ ENAMETOOLONG, "ENAMETOOLONG" },
		{ ENFILE, "ENFILE" },
		{ ENOBUFS, "ENOBUFS" },
		{ ENODEV, "ENODEV" },
		{ ENOENT, "ENOENT" },
		{ ENOMEM, "ENOMEM" },
		{ ENOSPC, "ENOSPC" },
		{ ENOTDIR, "ENOTDIR" },
		{ EPERM, "EPERM" },
		{ EPROTONOSUPPORT, "EPROTONOSUPPORT" },
		{ EROFS, "EROFS" },
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (names[i].err == -err)
			return names[i].name;
	}
	return cleat_strerror(err);
}

static const char *yes_or_no(bool b)
{
	return b ? "yes" : "no";
}

/* As a table, if that fits. */
static void print_options(const struct cleat_trial *t)
{
	static const char heads[] =
		"    no option  SO_REUSEADDR  SO_REUSEPORT  both\n";

	if (answer_width() >= sizeof(heads) - 2) {
		printf("%s    %-9s  %-12s  %-12s  %s\n", heads,
		       yes_or_no(t->none), yes_or_no(t->reuseaddr),
		       yes_or_no(t->reuseport), yes_or_no(t->both));
		return;
	}
	answer_indented("no option: ", yes_or_no(t->none));
	answer_indented("SO_REUSEADDR: ", yes_or_no(t->reuseaddr));
	answer_indented("SO_REUSEPORT: ", yes_or_no(t->reuseport));
	answer_indented("both: ", yes_or_no(t->both));
}

static void print_text(const struct explain *e)
{
	const struct cleat_trial *t = e->trial;
	const bool colour = out_has_colour(stdout);
	char at[CLEAT_ADDR_MAX];

	answer_address(at, e->bind.proto, &e->bind.at);
	if (t->none) {
		printf("%s -- %scan be bound%s\n", at, colour ? "\033[32m" : "",
		       colour ? "\033[0m" : "");
		return;
	}
	printf("%s -- %sCANNOT BIND%s (%s)\n", at, colour ? "\033[31m" : "",
	       colour ? "\033[0m" : "", cleat_strerror(t->error));
	answer_indented("", t->summary);
	if (e->bind.at.any.sa_family != AF_UNIX)
		print_options(t);
	answer_list("in the way: ", t->blockers, t->n_blockers);
	for (size_t i = 0; i < t->n_advice; i++)
		answer_indented("try: ", t->advice[i]);
}

static json_t *json_advice(const struct cleat_trial *t)
{
	json_t *list = json_array();

	for (size_t i = 0; i < t->n_advice; i++)
		(void)json_array_append_new(list,
					    answer_json_text(t->advice[i]));
	return list;
}

static void print_json(const struct explain *e, const struct addr *addr)
{
	const struct cleat_trial *t = e->trial;

	answer_json_print(json_pack(
		"{s:o,s:s,s:o,s:o,s:b,s:s?,s:{s:b,s:b,s:b,s:b},s:o,s:o}",
		"target", answer_json_text(addr->text), "proto",
		answer_proto(addr->parsed.proto), "address",
		answer_json_address(&e->bind.at), "port",
		answer_json_port(&e->bind.at), "can_bind", t->none, "error",
		t->error ? error_name(t->error) : NULL, "with", "none", t->none,
		"reuseaddr", t->reuseaddr, "reuseport", t->reuseport, "both",
		t->both, "blockers",
		answer_json_sockets(t->blockers, t->n_blockers), "advice",
		json_advice(t)));
}

/* Whether a program that binds all of these would come up: one of several may
 * be of a family that this machine has not. */
static bool can_bind(const struct explain *v, int n)
{
	int bound = 0;

	for (int i = 0; i < n; i++) {
		if (v[i].trial->none)
			bound++;
		else if (!explain_is_absent(v[i].trial->error))
			return false;
	}
	return bound > 0;
}

int cmd_why(int argc, char **argv)
{
	struct why o = { 0 };
	struct words words;
	int n, status = opt_parse(&why_usage, &o, argc, argv, &words);
	struct explain v[EXPLAIN_MAX];
	struct addr addr;

	if (status != OPT_GO_ON)
		return status;
	if (addr_one(&addr, &words, &o.net, "why") < 0)
		return STATUS_MISUSED;
	n = explain_try(v, &addr, o.device);
	if (n < 0) {
		complain("why", "%s", cleat_why());
		return n == -EINVAL ? STATUS_MISUSED : STATUS_FAILED;
	}
	for (int i = 0; i < n; i++) {
		if (o.json)
			print_json(&v[i], &addr);
		else
			print_text(&v[i]);
	}
	status = can_bind(v, n) ? STATUS_DONE : STATUS_FAILED;
	explain_free(v, n);
	if (out_flush("why") != STATUS_DONE)
		return STATUS_FAILED;
	return status;
}
