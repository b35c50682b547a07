/* SPDX-License-Identifier: MIT */
#include <cleat/addr.h>

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

#define DIGITS "0123456789"
#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define SUN_PATH sizeof(((struct sockaddr_un *)NULL)->sun_path)

static const struct proto {
	const char *prefix;
	enum cleat_proto proto;
	int family;
} protos[] = {
	{ "tcp://", CLEAT_TCP, AF_UNSPEC },
	{ "tcp4://", CLEAT_TCP, AF_INET },
	{ "tcp6://", CLEAT_TCP, AF_INET6 },
	{ "udp://", CLEAT_UDP, AF_UNSPEC },
	{ "udp4://", CLEAT_UDP, AF_INET },
	{ "udp6://", CLEAT_UDP, AF_INET6 },
	{ "tls://", CLEAT_TLS, AF_UNSPEC },
	{ "unix:", CLEAT_UNIX, AF_UNIX },
	{ "unixgram:", CLEAT_UNIXGRAM, AF_UNIX },
};

static const char no_port[] = "no port; write HOST:PORT";

/* Each scan_ function reads its part of the text into A, which starts zeroed.
 * It returns NULL, or what is wrong with the text.
 */

/* Kept without leading zeros. */
static const char *scan_number(struct cleat_addr *a, const char *digits)
{
	long port = strtol(digits, NULL, 10); /* saturates */

	if (port > 65535)
		return "port out of range; the last is 65535";
	(void)snprintf(a->service, sizeof(a->service), "%ld", port);
	return NULL;
}

static const char *scan_port(struct cleat_addr *a, const char *s)
{
	size_t len = strlen(s);

	if (len == 0)
		return no_port;
	if (*s == '-' || *s == '+')
		return "a port has no sign; it is a number from 0 to 65535";
	if (strspn(s, DIGITS) == len)
		return scan_number(a, s);
	if (strspn(s, LETTERS) == 0 || strspn(s, LETTERS DIGITS "-_") < len)
		return "neither a port, from 0 to 65535, nor a service name";
	if (len >= sizeof(a->service))
		return "service name too long; the limit is 63 bytes";
	memcpy(a->service, s, len + 1);
	return NULL;
}

/* ZONE starts with its %.  Whether there is such an interface is not asked. */
static const char *scan_zone(struct cleat_addr *a, const char *zone, size_t len)
{
	if (len == 1)
		return "no zone after %; write [fe80::1%eth0]:PORT";
	if (len > IFNAMSIZ)
		return "zone too long for the name of an interface";
	if (strcspn(zone + 1, "/:[]%") < len - 1)
		return "a zone is the name or number of an interface";
	memcpy(a->host + strlen(a->host), zone, len);
	return NULL;
}

/* An IPv6 address without its brackets; kept as RFC 5952 writes it. */
static const char *scan_ip6(struct cleat_addr *a, const char *s, size_t len)
{
	const char *zone = memchr(s, '%', len);
	size_t n = zone ? (size_t)(zone - s) : len;
	char text[INET6_ADDRSTRLEN] = "";
	struct in6_addr ip;

	if (n < sizeof(text))
		memcpy(text, s, n);
	if (inet_pton(AF_INET6, text, &ip) != 1)
		return "not an IPv6 address";
	if (a->family == AF_INET)
		return "an IPv6 address under a protocol of IPv4 only";
	(void)inet_ntop(AF_INET6, &ip, a->host, sizeof(a->host)); /* it fits */
	return zone ? scan_zone(a, zone, len - n) : NULL;
}

static const char *scan_ip4(const struct cleat_addr *a)
{
	struct in_addr ip;

	if (inet_pton(AF_INET, a->host, &ip) != 1)
		return "not an IPv4 address; that is four numbers up to 255";
	if (a->family == AF_INET6)
		return "an IPv4 address under a protocol of IPv6 only";
	return NULL;
}

static const char *scan_name(const struct cleat_addr *a)
{
	const char *label = a->host;

	if (strspn(a->host, LETTERS DIGITS "-_.") < strlen(a->host))
		return "a host name is made of letters, digits, - and _";
	for (;;) {
		size_t len = strcspn(label, ".");

		if (len == 0)
			return "a host name has no empty parts between dots";
		if (len > 63)
			return "a part of a host name is at most 63 bytes";
		label += len;
		if (!label[0] || !label[1]) /* one dot may end it */
			break;
		label++;
	}
	if (label - a->host > 253)
		return "a host name is at most 253 bytes";
	return NULL;
}

/* What the resolver takes for an IPv4 address (127.1, 0x7f.1) or was meant as
 * one.  No top-level domain is a number.
 */
static bool is_like_ip4(const char *host)
{
	struct in_addr ip;

	if (strspn(host, DIGITS) > 0 && !host[strspn(host, DIGITS ".")])
		return true;
	return inet_aton(host, &ip) != 0;
}

static const char *scan_host(struct cleat_addr *a, const char *s, size_t len)
{
	if (len == 0) {
		a->host[0] = '*';
		return NULL;
	}
	if (s[0] == '[') {
		if (s[len - 1] != ']')
			return "brackets hold one IPv6 address, as in [::1]:80";
		return scan_ip6(a, s + 1, len - 2);
	}
	if (len >= sizeof(a->host))
		return "host name too long; the limit is 253 bytes";
	memcpy(a->host, s, len);
	if (strcmp(a->host, "*") == 0)
		return NULL;
	return is_like_ip4(a->host) ? scan_ip4(a) : scan_name(a);
}

static const char *scan_path(struct cleat_addr *a, const char *s)
{
	size_t len;

	if (strncmp(s, "//", 2) == 0)
		s += 2;
	len = strlen(s);
	/* The @ becomes a NUL, and only a path needs one at its end. */
	if (len > (s[0] == '@' ? SUN_PATH : SUN_PATH - 1))
		return "path too long for a unix socket; the limit is 107 "
		       "bytes";
	if (len == 0 || strcmp(s, "@") == 0)
		return "no path; write unix:/PATH or unix:@NAME";
	memcpy(a->host, s, len + 1);
	return NULL;
}

/* Bytes that no host and no port has, and which are hard to see in a text. */
static const char *scan_bytes(const char *s)
{
	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;

		if (c > 127)
			return "not ASCII; write the name in its xn-- form";
		if (c <= ' ' || c == 127)
			return "a blank or control character in an address";
	}
	return NULL;
}

static const struct proto *find_proto(const char *s)
{
	for (size_t i = 0; i < sizeof(protos) / sizeof(protos[0]); i++) {
		if (strncmp(s, protos[i].prefix, strlen(protos[i].prefix)) == 0)
			return &protos[i];
	}
	return NULL;
}

/* Step over the PROTO:// at *S, if there is one. */
static const char *scan_proto(struct cleat_addr *a, const char **s)
{
	const struct proto *p = find_proto(*s);

	if (!p && strstr(*s, "://"))
		return "unknown protocol; write one of tcp tcp4 tcp6 udp udp4 "
		       "udp6 tls unix unixgram";
	a->proto = p ? p->proto : CLEAT_TCP;
	a->family = p ? p->family : AF_UNSPEC;
	*s += p ? strlen(p->prefix) : 0;
	return a->family == AF_UNIX ? NULL : scan_bytes(*s);
}

/* All of an address, but for its protocol. */
static const char *scan_both(struct cleat_addr *a, const char *s)
{
	const char *colon = strrchr(s, ':');
	const char *why;

	if (a->family == AF_UNIX)
		return scan_path(a, s);
	if (!colon && strspn(s, DIGITS "+-") > 0 && !strchr(s, '.'))
		return scan_port(a, s);
	if (!colon || strchr(colon, ']'))
		return no_port;
	if (s[0] != '[' && strchr(s, ':') != colon)
		return "more than one colon; write an IPv6 address as "
		       "[::1]:PORT";
	why = scan_host(a, s, (size_t)(colon - s));
	return why ? why : scan_port(a, colon + 1);
}

/* A host that is a word of its own. */
static const char *scan_alone(struct cleat_addr *a, const char *s)
{
	const char *colon = strchr(s, ':');

	if (a->family == AF_UNIX)
		return "a unix path takes no port";
	if (!s[0])
		return "no host; write * for every interface";
	if (s[0] == '[' || !colon)
		return scan_host(a, s, strlen(s));
	if (!strchr(colon + 1, ':'))
		return "a second port";
	return scan_ip6(a, s, strlen(s));
}

int cleat_addr_parse(struct cleat_addr *a, const char *text)
{
	struct cleat_addr new = { 0 };
	const char *rest = text;
	const char *why = scan_proto(&new, &rest);

	if (!why)
		why = scan_both(&new, rest);
	if (why)
		return cleat__fail(-EINVAL, "address", text, why);
	*a = new;
	return 0;
}

int cleat_addr_parse_pair(struct cleat_addr *a, const char *host,
			  const char *port)
{
	struct cleat_addr new = { 0 };
	const char *rest = host;
	const char *why = scan_proto(&new, &rest);

	if (!why)
		why = scan_alone(&new, rest);
	if (why)
		return cleat__fail(-EINVAL, "address", host, why);
	why = scan_port(&new, port);
	if (why)
		return cleat__fail(-EINVAL, "address", port, why);
	*a = new;
	return 0;
}

/* Both parts, or nothing where they do not fit. */
static int give(char *text, size_t len, const char *prefix, const char *rest)
{
	size_t n = strlen(prefix) + strlen(rest);

	if (n >= len)
		return -ENOSPC;
	(void)snprintf(text, len, "%s%s", prefix, rest);
	return (int)n;
}

/* All after the prefix. */
static void format_rest(const struct cleat_addr *a, char *text, size_t len)
{
	const char *host = a->host, *port = a->service;

	if (a->family == AF_UNIX && strncmp(host, "//", 2) == 0)
		(void)snprintf(text, len, "//%s", host); /* see scan_path() */
	else if (a->family == AF_UNIX)
		(void)snprintf(text, len, "%s", host);
	else if (strcmp(host, "*") == 0)
		(void)snprintf(text, len, ":%s", port);
	else if (!host[0])
		(void)snprintf(text, len, "%s", port);
	else if (strchr(host, ':'))
		(void)snprintf(text, len, "[%s]:%s", host, port);
	else
		(void)snprintf(text, len, "%s:%s", host, port);
}

static const char *prefix_of(const struct cleat_addr *a)
{
	for (size_t i = 0; i < sizeof(protos) / sizeof(protos[0]); i++) {
		if (protos[i].proto == a->proto &&
		    protos[i].family == a->family)
			return protos[i].prefix;
	}
	return NULL;
}

int cleat_addr_format(const struct cleat_addr *a, char *text, size_t len)
{
	const char *prefix = prefix_of(a);
	char rest[CLEAT_ADDR_MAX];

	if (!prefix) /* no text means this, such as tls over IPv4 only */
		return -EINVAL;
	format_rest(a, rest, sizeof(rest));
	/* A host may be called unix. */
	if (prefix == protos[0].prefix && !find_proto(rest))
		prefix = "";
	return give(text, len, prefix, rest);
}
