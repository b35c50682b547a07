/* SPDX-License-Identifier: MIT */
/* cleat who - who would get what is sent to an address?
 *
 * Exits with 0 if somebody would, 1 if not, 2 if misused.
 */
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cleat/error.h>
#include <cleat/inspect.h>

#include "addr.h"
#include "answer.h"
#include "cmd.h"
#include "out.h"
#include "sockets.h"
#include "who_unix.h"

enum {
	ADDRESSES_MAX = 16, /* of a name */
	TEXT_MAX = 3 * SOCKET_TEXT_MAX,
};

struct who {
	struct net net;
	const char *from;
	unsigned device;
	bool json;
};

/* clang-format off */
static const struct opt options[] = {
	{ 0, "from", opt_text, offsetof(struct who, from), "ADDR",
	  "as sent from ADDR: a host, or HOST:PORT\n"
	  "(default: what the system would choose)" },
	OPT_DEVICE(struct who, device,
		   "as sent by a program bound to interface DEV"),
	{ 0, "json", NULL, offsetof(struct who, json), NULL,
	  "one JSON object per address" },
	OPT_NET(struct who, net),
	{ 0 },
};
/* clang-format on */

const struct usage who_usage = {
	"who",
	"ADDR",
	"who would answer a packet sent there",
	"Tells which socket would receive a connection, with -u a datagram,\n"
	"that this machine sends to ADDR; why that one; and which others it\n"
	"shadows. Nothing is sent: the kernel is asked. A name or a port\n"
	"stands for several addresses, and each is answered for:\n"
	"  REFUSED      nobody listens there\n"
	"  DROPPED      somebody does, but the accept queue is full\n"
	"  UNREACHABLE  it is not an address of this machine, or there is no\n"
	"               way to it\n"
	"Exits with 0 if somebody would receive it, else with 1.\n"
	"\n" ADDR_ABOUT,
	options,
	"cleat who 8080\n"
	"cleat who --from 10.0.0.7:40000 10.0.0.2:443\n"
	"cleat who -u --device eth0 :53\n"
	"cleat who unix:/run/x.sock",
};

struct answer {
	struct cleat_probe probe;
	struct cleat_lookup *lookup;
};

/* Which addresses. */

static bool is_wildcard(const struct cleat_sockaddr *sa)
{
	if (sa->any.sa_family == AF_INET)
		return sa->in.sin_addr.s_addr == htonl(INADDR_ANY);
	return sa->any.sa_family == AF_INET6 &&
	       IN6_IS_ADDR_UNSPECIFIED(&sa->in6.sin6_addr);
}

/* Store in *TO each address of this machine's that is of FAMILY, if that is
 * one, with PORT in network order.  Returns how many, or -1. */
static int own_addresses(struct cleat_sockaddr **to, int family, in_port_t port)
{
	struct ifaddrs *list, *i;
	struct cleat_sockaddr *v;
	int n = 0;

	if (getifaddrs(&list) < 0)
		return -1;
	for (i = list; i; i = i->ifa_next)
		n++;
	v = calloc((size_t)n + 1, sizeof(*v));
	n = v ? 0 : -1;
	for (i = list; v && i; i = i->ifa_next) {
		const int f = i->ifa_addr ? i->ifa_addr->sa_family : AF_UNSPEC;

		if (!(i->ifa_flags & IFF_UP) ||
		    (f != AF_INET && f != AF_INET6) ||
		    (family != AF_UNSPEC && f != family))
			continue;
		v[n].len = f == AF_INET ? sizeof(v[n].in) : sizeof(v[n].in6);
		memcpy(&v[n].any, i->ifa_addr, v[n].len);
		v[n++].in.sin_port = port; /* where sin6_port is, too */
	}
	freeifaddrs(list);
	if (n > 0)
		*to = v;
	else
		free(v);
	return n;
}

/* Store in *TO what ADDR stands for.  Returns how many; or, having complained,
 * the negative of a status. */
static int targets(struct cleat_sockaddr **to, const struct addr *addr)
{
	struct cleat_sockaddr found[ADDRESSES_MAX];
	int n = cleat_resolve(addr->text, CLEAT_TO_BIND, found, ADDRESSES_MAX,
			      CLEAT_FOREVER);

	if (n < 0) {
		complain("who", "%s", cleat_why());
		return -STATUS_FAILED;
	}
	if (addr->parsed.family != AF_UNIX &&
	    cleat_sockaddr_port(&found[0]) == 0) {
		complain("who", "%s: nothing is sent to port 0", addr->text);
		return -STATUS_MISUSED;
	}
	if (is_wildcard(&found[0])) {
		/* [::] means IPv4 as well, unless tcp6:// or -6 is said. */
		const int family = found[0].any.sa_family == AF_INET
					   ? AF_INET
					   : addr->parsed.family;

		n = own_addresses(to, family, found[0].in.sin_port);
	} else {
		*to = calloc((size_t)n, sizeof(**to));
		if (*to)
			memcpy(*to, found, (size_t)n * sizeof(**to));
		else
			n = -1;
	}
	if (n > 0)
		return n;
	complain("who", "%s: %s", addr->text,
		 n < 0 ? cleat_strerror(errno)
		       : "this machine has no such address");
	return -STATUS_FAILED;
}

/* The addresses that TEXT, of --from, stands for.  Returns how many; or -1,
 * having complained. */
static int sources(struct cleat_sockaddr *from, const char *text,
		   enum cleat_proto proto)
{
	struct cleat_addr a;
	char whole[CLEAT_ADDR_MAX];
	int n = cleat_addr_parse(&a, text);

	if (n < 0)
		n = cleat_addr_parse_pair(&a, text, "0");
	if (n == 0 && a.family == AF_UNIX) {
		complain("who",
			 "--from %s: a unix address; write HOST or HOST:PORT",
			 text);
		return -1;
	}
	a.proto = proto;
	if (n == 0)
		n = cleat_addr_format(&a, whole, sizeof(whole));
	if (n >= 0)
		n = cleat_resolve(whole, CLEAT_TO_BIND, from, ADDRESSES_MAX,
				  CLEAT_FOREVER);
	if (n < 0)
		complain("who", "--from %s: %s", text, cleat_why());
	return n;
}

/* The source for P, if there is any, is the first of its family. */
static bool set_source(struct cleat_probe *p, const struct cleat_sockaddr *from,
		       int n)
{
	for (int i = 0; i < n; i++) {
		if (from[i].any.sa_family == p->to.any.sa_family) {
			p->from = from[i];
			return true;
		}
	}
	return n == 0;
}

/* Store in *V a question for each address.  Returns how many; or, having
 * complained, the negative of a status. */
static int questions(struct answer **v, const struct who *o,
		     const struct addr *addr)
{
	struct cleat_sockaddr *to, from[ADDRESSES_MAX];
	int n, asked = 0, n_from = 0;

	if (o->from)
		n_from = sources(from, o->from, addr->parsed.proto);
	if (n_from < 0)
		return -STATUS_MISUSED;
	n = targets(&to, addr);
	if (n < 0)
		return n;
	*v = calloc((size_t)n, sizeof(**v));
	for (int i = 0; *v && i < n; i++) {
		struct cleat_probe *p = &(*v)[asked].probe;

		p->type = addr_is_datagram(addr) ? SOCK_DGRAM : SOCK_STREAM;
		p->to = to[i];
		p->device = o->device;
		asked += set_source(p, from, n_from);
	}
	free(to);
	if (!*v) {
		complain("who", "out of memory");
		return -STATUS_FAILED;
	}
	if (asked == 0) {
		complain("who", "--from %s: of another kind than %s", o->from,
			 addr->text);
		free(*v);
		return -STATUS_MISUSED;
	}
	return asked;
}

/* Printing. */

#define RED "\033[31m"
#define YELLOW "\033[33m"
#define NORMAL "\033[0m"

static const struct {
	const char *text, *json, *colour, *normal;
} answers[] = {
	[CLEAT_ANSWER_ONE] = { "", "one", "", "" },
	[CLEAT_ANSWER_ANY_OF] = { "", "any-of", "", "" },
	[CLEAT_ANSWER_REFUSED] = { "REFUSED", "refused", RED, NORMAL },
	[CLEAT_ANSWER_DROPPED] = { "DROPPED by ", "dropped", YELLOW, NORMAL },
	[CLEAT_ANSWER_UNREACHABLE] = { "UNREACHABLE", "unreachable", RED,
				       NORMAL },
};

static bool is_received(const struct cleat_lookup *l)
{
	return l->answer == CLEAT_ANSWER_ONE ||
	       l->answer == CLEAT_ANSWER_ANY_OF;
}

/* Whose they are, if they are all one process's. */
static void format_group(char *to, size_t len, const struct cleat_lookup *l)
{
	const struct cleat_owner *o = l->receivers[0].owners;
	const size_t n = l->n_receivers;
	char command[4 * sizeof(o->command)];

	for (size_t i = 0; i < n; i++) {
		const struct cleat_socket *s = &l->receivers[i];

		if (s->n_owners != 1 || s->owners->pid != o->pid) {
			(void)snprintf(to, len, "any of %zu sockets", n);
			return;
		}
	}
	(void)out_escape(command, sizeof(command), o->command);
	(void)snprintf(to, len, "%s (pid %d), on any of %zu sockets", command,
		       (int)o->pid, n);
}

static void print_text(const struct answer *a, enum cleat_proto proto)
{
	const struct cleat_lookup *l = a->lookup;
	const bool colour = out_has_colour(stdout);
	char name[CLEAT_ADDR_MAX], text[TEXT_MAX] = "";

	answer_address(name, proto, &a->probe.to);
	if (l->n_receivers == 1)
		answer_socket(text, sizeof(text), l->receivers);
	else if (l->n_receivers > 1)
		format_group(text, sizeof(text), l);
	printf("%s -- %s%s%s%s\n", name,
	       colour ? answers[l->answer].colour : "", answers[l->answer].text,
	       colour ? answers[l->answer].normal : "", text);
	answer_indented("", l->explanation);
	if (l->n_receivers > 1)
		answer_list("one of them: ", l->receivers, l->n_receivers);
	answer_list("shadowed: ", l->shadowed, l->n_shadowed);
}

static void print_json(const struct answer *a, const struct addr *addr)
{
	const struct cleat_lookup *l = a->lookup;

	answer_json_print(json_pack(
		"{s:o,s:s,s:o,s:o,s:s,s:o,s:o,s:o}", "target",
		answer_json_text(addr->text), "proto",
		answer_proto(addr->parsed.proto), "address",
		answer_json_address(&a->probe.to), "port",
		answer_json_port(&a->probe.to), "answer",
		answers[l->answer].json, "receivers",
		answer_json_sockets(l->receivers, l->n_receivers), "shadowed",
		answer_json_sockets(l->shadowed, l->n_shadowed), "explanation",
		answer_json_text(l->explanation)));
}

static bool has_process(const struct cleat_lookup *l, pid_t pid)
{
	for (size_t i = 0; i < l->n_receivers; i++) {
		const struct cleat_socket *s = &l->receivers[i];

		for (unsigned k = 0; k < s->n_owners; k++) {
			if (s->owners[k].pid == pid)
				return true;
		}
	}
	return false;
}

/* Whether it is received, and by known processes. */
static bool is_known(const struct cleat_lookup *l)
{
	for (size_t i = 0; i < l->n_receivers; i++) {
		if (l->receivers[i].n_owners == 0)
			return false;
	}
	return is_received(l);
}

/* Whether no process is among the receivers of both; false where that is not
 * known. */
static bool are_apart(const struct cleat_lookup *a,
		      const struct cleat_lookup *b)
{
	if (!is_known(a) || !is_known(b))
		return false;
	for (size_t i = 0; i < a->n_receivers; i++) {
		const struct cleat_socket *s = &a->receivers[i];

		for (unsigned k = 0; k < s->n_owners; k++) {
			if (has_process(b, s->owners[k].pid))
				return false;
		}
	}
	return true;
}

/* Find two of these that answer differently, as 127.0.0.1 and ::1 may. */
static bool find_difference(const struct answer *v, int n, int *one, int *other)
{
	for (*one = 0; *one < n; ++*one) {
		for (*other = *one + 1; *other < n; ++*other) {
			if (are_apart(v[*one].lookup, v[*other].lookup))
				return true;
		}
	}
	return false;
}

static void print_difference(const struct answer *v, int n,
			     enum cleat_proto proto)
{
	char one[CLEAT_ADDR_MAX], other[CLEAT_ADDR_MAX];
	int i, k;

	if (!find_difference(v, n, &i, &k))
		return;
	answer_address(one, proto, &v[i].probe.to);
	answer_address(other, proto, &v[k].probe.to);
	printf("%s and %s go to different processes\n", one, other);
}

static int look_up_unix(struct answer *v, int n)
{
	int err = 0;

	for (int i = 0; i < n && err == 0; i++)
		err = who_unix_new(&v[i].lookup, v[i].probe.type,
				   &v[i].probe.to);
	return err;
}

static int look_up(struct answer *v, int n)
{
	struct cleat_probe *p = calloc((size_t)n, sizeof(*p));
	struct cleat_lookup **l =
		calloc((size_t)n, sizeof(struct cleat_lookup *));
	int err = p && l ? 0 : -ENOMEM;

	for (int i = 0; i < n && err == 0; i++)
		p[i] = v[i].probe;
	if (err == 0)
		err = cleat_lookup_all(l, p, (size_t)n);
	for (int i = 0; i < n && err == 0; i++)
		v[i].lookup = l[i];
	free(p);
	free(l);
	return err;
}

static void print_answers(const struct who *o, const struct addr *addr,
			  const struct answer *v, int n)
{
	for (int i = 0; i < n; i++) {
		if (o->json)
			print_json(&v[i], addr);
		else
			print_text(&v[i], addr->parsed.proto);
	}
	if (!o->json)
		print_difference(v, n, addr->parsed.proto);
}

/* Answer N questions at V.  Returns a status. */
static int answer(const struct who *o, const struct addr *addr,
		  struct answer *v, int n)
{
	const bool is_unix = addr->parsed.family == AF_UNIX;
	bool received = false;
	int err = is_unix ? look_up_unix(v, n) : look_up(v, n);

	for (int i = 0; i < n && err == 0; i++)
		received = received || is_received(v[i].lookup);
	if (err == 0)
		print_answers(o, addr, v, n);
	else if (err == -EINVAL)
		complain("who", "%s: broadcast and multicast are for everybody",
			 addr->text);
	else
		complain("who", "%s",
			 err == -ENOMEM ? cleat_strerror(err) : cleat_why());
	for (int i = 0; i < n; i++) {
		if (is_unix)
			who_unix_free(v[i].lookup);
		else
			cleat_lookup_free(v[i].lookup);
	}
	if (err == -EINVAL)
		return STATUS_MISUSED;
	return err == 0 && received ? STATUS_DONE : STATUS_FAILED;
}

int cmd_who(int argc, char **argv)
{
	struct who o = { 0 };
	struct words words;
	int n, status = opt_parse(&who_usage, &o, argc, argv, &words);
	struct addr addr;
	struct answer *v;

	if (status != OPT_GO_ON)
		return status;
	if (addr_one(&addr, &words, &o.net, "who") < 0)
		return STATUS_MISUSED;
	if (addr.parsed.family == AF_UNIX && (o.from || o.device)) {
		complain("who", "%s: neither --from nor --device goes with it",
			 addr.text);
		return STATUS_MISUSED;
	}
	n = questions(&v, &o, &addr);
	if (n < 0)
		return -n;
	status = answer(&o, &addr, v, n);
	free(v);
	if (out_flush("who") != STATUS_DONE)
		return STATUS_FAILED;
	return status;
}
