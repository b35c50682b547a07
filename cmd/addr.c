/* SPDX-License-Identifier: MIT */
#include "addr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cleat/error.h>

#include "out.h"

bool addr_is_datagram(const struct addr *a)
{
	return a->parsed.proto == CLEAT_UDP ||
	       a->parsed.proto == CLEAT_UNIXGRAM;
}

const char *addr_why(const struct addr *a, int err)
{
	struct in6_addr ip;

	/* With a zone it is no IPv6 address to inet_pton(3). */
	if (err == -EINVAL && inet_pton(AF_INET6, a->parsed.host, &ip) == 1 &&
	    IN6_IS_ADDR_LINKLOCAL(&ip))
		return "link-local; name the interface, as in "
		       "[fe80::1%eth0]:80";
	return NULL;
}

/* Let -4, -6 and -u have their say, unless WORD spells out something else.
 * Returns NULL, or the option that WORD contradicts. */
static const char *narrow(struct cleat_addr *a, const struct net *net,
			  const char *word)
{
	const int family = net->ipv4 ? AF_INET : AF_INET6;

	if ((net->ipv4 || net->ipv6) && a->family != family) {
		if (a->family != AF_UNSPEC)
			return net->ipv4 ? "-4" : "-6";
		a->family = family;
	}
	if (!net->udp || a->proto == CLEAT_UDP || a->proto == CLEAT_UNIXGRAM)
		return NULL;
	if (a->proto != CLEAT_UNIX && strstr(word, "://"))
		return "-u";
	a->proto = a->proto == CLEAT_UNIX ? CLEAT_UNIXGRAM : CLEAT_UDP;
	return NULL;
}

/* Whether WORD, behind a host, was meant as the port of it. */
static bool is_like_port(const char *word)
{
	return strspn(word, "0123456789+-") > 0 && !strpbrk(word, ".:");
}

/* Read one address of the N words at V.  Returns how many words it took, 1 or
 * 2; or a negative code, and cleat_why() explains the word to mend. */
static int parse(struct cleat_addr *a, char **v, int n)
{
	if (cleat_addr_parse(a, v[0]) == 0)
		return 1;
	if (n > 1 && cleat_addr_parse_pair(a, v[0], v[1]) == 0)
		return 2;
	if (n > 1 && is_like_port(v[1]) &&
	    cleat_addr_parse_pair(a, v[0], "0") == 0)
		return cleat_addr_parse_pair(a, v[0], v[1]);
	return cleat_addr_parse(a, v[0]);
}

/* One address of the N words at V, 1 or more.  Returns how many words it took,
 * 1 or 2; or -1. */
static int take(struct addr *a, char **v, int n, const struct net *net,
		const char *command)
{
	const int used = parse(&a->parsed, v, n);
	const char *conflict;

	if (used < 0) {
		complain(command, "%s", cleat_why());
		return -1;
	}
	if (a->parsed.proto == CLEAT_TLS) {
		complain(command, "%s: tls is not supported yet", v[0]);
		return -1;
	}
	conflict = narrow(&a->parsed, net, v[0]);
	/* What was narrowed may contradict itself, as tcp4://[::1]:80 does. */
	if (cleat_addr_format(&a->parsed, a->text, sizeof(a->text)) < 0 ||
	    cleat_addr_parse(&a->parsed, a->text) < 0)
		conflict = net->ipv4 ? "-4" : "-6";
	if (conflict) {
		complain(command, "%s: contradicts %s", v[0], conflict);
		return -1;
	}
	return used;
}

/* Whether -4 and -6 do not contradict each other. */
static bool agree(const struct net *net, const char *command)
{
	if (net->ipv4 && net->ipv6)
		complain(command, "-4 and -6: write one of them");
	return !(net->ipv4 && net->ipv6);
}

int addr_list(struct addr **list, char **v, int n, const struct net *net,
	      const char *command)
{
	struct addr *a = calloc((size_t)n + 1, sizeof(*a));
	int got = 0, used = 0;

	if (!a)
		complain(command, "out of memory");
	else if (agree(net, command)) {
		for (int i = 0; i < n && used >= 0; i += used) {
			used = take(&a[got], v + i, n - i, net, command);
			got += used > 0;
		}
		if (used >= 0) {
			*list = a;
			return got;
		}
	}
	free(a);
	return -1;
}

int addr_one(struct addr *a, const struct words *words, const struct net *net,
	     const char *command)
{
	int used;

	if (!agree(net, command))
		return -1;
	if (words->n == 0) {
		complain(command, "no address; write cleat %s HOST:PORT",
			 command);
		return -1;
	}
	used = take(a, words->v, words->n, net, command);
	if (used > 0 && used < words->n) {
		complain(command, "%s: one address is enough", words->v[used]);
		return -1;
	}
	return used < 0 ? -1 : 0;
}
