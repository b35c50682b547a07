/* SPDX-License-Identifier: MIT */
#include "filter.h"

#include <arpa/inet.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cleat/error.h>

#include "out.h"
#include "sockets.h"

#define DIGITS "0123456789"

enum {
	RESOLVED_MAX = 8, /* addresses of a name */
	COMMAND_MAX = 15, /* the kernel keeps no more of a process's name */
};

enum sort {
	PORT,
	ADDRESS,
	PROCESS,
};

struct filter_term {
	enum sort sort;
	unsigned kinds; /* of enum cleat_kind; 0: any */
	int family; /* AF_UNSPEC: any */
	unsigned first, last; /* ports; 0: any */
	struct cleat_sockaddr at; /* without port; len 0: any */
	const char *process;
};

static int add(struct filter *f, const struct filter_term *t)
{
	f->v[f->n++] = *t;
	return 0;
}

/* Reading. */

/* "80", "8000-8100", whatever the numbers are. */
static bool is_range(const char *word)
{
	const size_t first = strspn(word, DIGITS);
	const char *dash = word + first;

	return first > 0 && (!*dash || (*dash == '-' && dash[1] &&
					!dash[1 + strspn(dash + 1, DIGITS)]));
}

static int add_range(struct filter *f, const char *word, const char *range)
{
	const char *dash = strchr(range, '-');
	const unsigned long first = strtoul(range, NULL, 10);
	const unsigned long last = dash ? strtoul(dash + 1, NULL, 10) : first;
	const struct filter_term t = { .sort = PORT,
				       .first = (unsigned)first,
				       .last = (unsigned)last };

	if (first < 1 || first > 65535 || last < 1 || last > 65535) {
		complain("ports", "%s: port out of range; write 1 to 65535",
			 word);
		return -1;
	}
	if (first > last) {
		complain("ports", "%s: range runs backwards; write %lu-%lu",
			 word, last, first);
		return -1;
	}
	return add(f, &t);
}

/* 10.0.0.2, ::1, fe80::1%eth0, and IPv6 in brackets; without a port.  Leaves in
 * TEXT the same with one. */
static bool is_bare_address(const char *word, char text[CLEAT_ADDR_MAX])
{
	const size_t len = strlen(word);
	const bool is_bracketed = word[0] == '[' && word[len - 1] == ']';
	char bare[CLEAT_HOST_MAX], ip[CLEAT_HOST_MAX];
	unsigned char bytes[sizeof(struct in6_addr)];

	if (len >= sizeof(bare))
		return false;
	(void)snprintf(bare, sizeof(bare), "%.*s", (int)len - 2 * is_bracketed,
		       word + is_bracketed);
	(void)snprintf(ip, sizeof(ip), "%.*s", (int)strcspn(bare, "%"), bare);
	if (inet_pton(AF_INET6, ip, bytes) > 0)
		(void)snprintf(text, CLEAT_ADDR_MAX, "[%s]:1", bare);
	else if (!is_bracketed && inet_pton(AF_INET, bare, bytes) > 0)
		(void)snprintf(text, CLEAT_ADDR_MAX, "%s:1", bare);
	else
		return false;
	return true;
}

/* What cannot be meant as the name of a process, which "tmux: server" is. */
static bool is_like_address(const char *word)
{
	const char *colon = strrchr(word, ':');

	return strstr(word, "://") || word[0] == '[' || word[0] == ':' ||
	       strncmp(word, "*:", 2) == 0 || strncmp(word, "unix:", 5) == 0 ||
	       strncmp(word, "unixgram:", 9) == 0 ||
	       (colon && colon[1] && !colon[1 + strspn(colon + 1, DIGITS)]);
}

static unsigned kind_of(const struct cleat_addr *a, const char *word)
{
	switch (a->proto) {
	case CLEAT_UNIX:
	case CLEAT_UNIXGRAM:
		return CLEAT_KIND_UNIX;
	case CLEAT_UDP:
		return CLEAT_KIND_UDP;
	default: /* TCP is only meant if it was said */
		return strstr(word, "://") ? CLEAT_KIND_TCP : 0;
	}
}

/* An address of any form, with a port or, if !HAS_PORT, without. */
static int add_address(struct filter *f, const char *word, bool has_port)
{
	struct cleat_sockaddr at[RESOLVED_MAX];
	struct cleat_addr a;
	struct filter_term t = { .sort = ADDRESS };
	int n = cleat_addr_parse(&a, word);
	bool is_any;

	if (n == 0)
		n = cleat_resolve(word, CLEAT_TO_BIND, at, RESOLVED_MAX,
				  cleat_in(10 * CLEAT_SEC));
	if (n < 0) {
		complain("ports", "%s; if it is a process, write ? for [ and :",
			 cleat_why());
		return -1;
	}
	is_any = a.family != AF_UNIX && (!a.host[0] || !strcmp(a.host, "*"));
	t.kinds = kind_of(&a, word);
	t.family = a.family;
	t.sort = is_any ? PORT : ADDRESS;
	if (has_port)
		t.first = t.last = cleat_sockaddr_port(&at[0]);
	for (int i = 0; i < (is_any ? 1 : n); i++) {
		if (!is_any)
			t.at = at[i];
		(void)add(f, &t);
	}
	return 0;
}

static int parse(struct filter *f, const char *word)
{
	const struct filter_term process = { .sort = PROCESS, .process = word };
	const size_t skip = word[0] == ':' ? 1 : strncmp(word, "*:", 2) ? 0 : 2;
	char text[CLEAT_ADDR_MAX];

	if (is_range(word + skip))
		return add_range(f, word, word + skip);
	if (is_bare_address(word, text))
		return add_address(f, text, false);
	if (is_like_address(word))
		return add_address(f, word, true);
	if (word[strspn(word, DIGITS ",-")])
		return add(f, &process);
	complain("ports",
		 "'%s': no port, range, address or process; write each "
		 "as a word",
		 word);
	return -1;
}

int filter_parse(struct filter *f, char **v, int n)
{
	*f = (struct filter){ NULL, 0 };
	f->v = calloc((size_t)n * RESOLVED_MAX + 1, sizeof(*f->v));
	if (!f->v) {
		complain("ports", "out of memory");
		return -1;
	}
	for (int i = 0; i < n; i++) {
		if (parse(f, v[i]) < 0)
			return -1;
	}
	return 0;
}

void filter_free(struct filter *f)
{
	free(f->v);
}

/* Asking. */

bool filter_has_unix(const struct filter *f)
{
	for (unsigned i = 0; i < f->n; i++) {
		if (f->v[i].kinds == CLEAT_KIND_UNIX)
			return true;
	}
	return false;
}

bool filter_has_process(const struct filter *f)
{
	for (unsigned i = 0; i < f->n; i++) {
		if (f->v[i].sort == PROCESS)
			return true;
	}
	return false;
}

void filter_narrow(const struct filter *f, struct cleat_query *q)
{
	unsigned first = 65535, last = 0;

	for (unsigned i = 0; i < f->n; i++) {
		const struct filter_term *t = &f->v[i];

		if (t->sort == PROCESS)
			continue;
		if (t->first == 0) /* some other, of any port */
			return;
		first = t->first < first ? t->first : first;
		last = t->last > last ? t->last : last;
	}
	if (last > 0) {
		q->port = first;
		q->last_port = last;
	}
}

/* The kinds and the family are those of the query; this is what it asked for
 * by one word of several. */
static bool has_kind(const struct filter_term *t, const struct cleat_socket *s)
{
	const unsigned kind = s->family == AF_UNIX         ? CLEAT_KIND_UNIX
			      : s->type == SOCK_RAW        ? CLEAT_KIND_RAW
			      : s->protocol == IPPROTO_UDP ? CLEAT_KIND_UDP
							   : CLEAT_KIND_TCP;

	return (t->kinds == 0 || t->kinds & kind) &&
	       (t->family == AF_UNSPEC || socket_has_family(s, t->family));
}

static bool has_name(const struct cleat_sockaddr *a,
		     const struct cleat_sockaddr *b)
{
	char name[CLEAT_ADDR_MAX], other[CLEAT_ADDR_MAX];

	/* As text, for a path may come with its NUL or without. */
	(void)cleat_sockaddr_format(a, name, sizeof(name));
	(void)cleat_sockaddr_format(b, other, sizeof(other));
	return strcmp(name, other) == 0;
}

static bool has_ip4(const struct in_addr *ip, const struct cleat_socket *s)
{
	const struct in6_addr *in6 = &s->local.in6.sin6_addr;

	if (s->family == AF_INET)
		return s->local.in.sin_addr.s_addr == ip->s_addr;
	if (ip->s_addr == INADDR_ANY && socket_is_dual_stack(s))
		return true;
	return IN6_IS_ADDR_V4MAPPED(in6) &&
	       memcmp(&in6->s6_addr[12], ip, sizeof(*ip)) == 0;
}

/* An address without a zone is meant in any. */
static bool has_ip6(const struct sockaddr_in6 *in6,
		    const struct cleat_socket *s)
{
	const struct sockaddr_in6 *local = &s->local.in6;

	return s->family == AF_INET6 &&
	       IN6_ARE_ADDR_EQUAL(&in6->sin6_addr, &local->sin6_addr) &&
	       (in6->sin6_scope_id == 0 ||
		in6->sin6_scope_id == local->sin6_scope_id);
}

static bool has_address(const struct filter_term *t,
			const struct cleat_socket *s)
{
	if (t->at.len == 0)
		return true;
	if (s->local.len == 0 ||
	    (t->at.any.sa_family == AF_UNIX) != (s->family == AF_UNIX))
		return false;
	if (s->family == AF_UNIX)
		return has_name(&t->at, &s->local);
	if (t->at.any.sa_family == AF_INET)
		return has_ip4(&t->at.in.sin_addr, s);
	return has_ip6(&t->at.in6, s);
}

/* The port of a raw socket is a protocol, and no port. */
static bool has_port(const struct filter_term *t, const struct cleat_socket *s)
{
	const unsigned port =
		s->type == SOCK_RAW ? 0 : cleat_sockaddr_port(&s->local);

	return t->first == 0 || (port >= t->first && port <= t->last);
}

bool filter_fits(const struct filter *f, const struct cleat_socket *s)
{
	bool is_asked[PROCESS] = { false }, is_found[PROCESS] = { false };

	for (unsigned i = 0; i < f->n; i++) {
		const struct filter_term *t = &f->v[i];

		if (t->sort == PROCESS)
			continue;
		is_asked[t->sort] = true;
		if (has_port(t, s) && has_kind(t, s) && has_address(t, s))
			is_found[t->sort] = true;
	}
	return is_found[PORT] == is_asked[PORT] &&
	       is_found[ADDRESS] == is_asked[ADDRESS];
}

bool filter_fits_process(const struct filter *f, const char *command)
{
	char pattern[COMMAND_MAX + 1];

	for (unsigned i = 0; i < f->n; i++) {
		const char *process = f->v[i].process;

		if (!process)
			continue;
		(void)snprintf(pattern, sizeof(pattern), "%s", process);
		if (strcmp(pattern, command) == 0 ||
		    fnmatch(process, command, 0) == 0)
			return true;
	}
	return false;
}
