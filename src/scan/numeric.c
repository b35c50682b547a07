/* SPDX-License-Identifier: MIT */
/* Targets that are numbers: addresses, blocks, ranges. */
#include <arpa/inet.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "scan/targets.h"

#define DIGITS "0123456789"
#define HEX DIGITS "abcdefABCDEF"

/* Whether TEXT is, or was meant as, other than a name.  No top-level domain is
 * a number, and inet_aton(3) takes more for an address than is one here.
 */
bool cleat__is_numeric(const char *text)
{
	const size_t len = strcspn(text, "/");
	struct in_addr ip4;

	return memchr(text, ':', len) || text[0] == '[' ||
	       (len > 0 && strspn(text, DIGITS ".-") >= len) ||
	       inet_aton(text, &ip4) != 0;
}

/* Each scan_ function reads its part of the text.  It returns NULL, or what is
 * wrong with the text.
 */

/* Whether there is such an interface is asked: a scan without it finds nothing.
 */
static const char *scan_zone(struct cleat__ip *ip, const char *zone)
{
	char name[IF_NAMESIZE];
	unsigned long number;

	if (!zone[0])
		return "no zone after %; write fe80::1%eth0";
	ip->zone = if_nametoindex(zone);
	if (ip->zone != 0)
		return NULL;
	number = strtoul(zone, NULL, 10);
	if (zone[strspn(zone, DIGITS)] || number > UINT32_MAX ||
	    !if_indextoname((unsigned)number, name))
		return "no such network interface";
	ip->zone = (uint32_t)number;
	return NULL;
}

static const char *scan_ip6(struct cleat__ip *ip, const char *s, size_t len)
{
	char text[INET6_ADDRSTRLEN + 1 + IF_NAMESIZE] = "", *zone;
	struct in6_addr ip6;

	if (len >= sizeof(text))
		return "not an IPv6 address; it is too long";
	memcpy(text, s, len);
	zone = strchr(text, '%');
	if (zone)
		*zone++ = '\0';
	if (inet_pton(AF_INET6, text, &ip6) != 1)
		return "not an IPv6 address";
	*ip = cleat__ip6(&ip6);
	return zone ? scan_zone(ip, zone) : NULL;
}

static const char *scan_ip4(struct cleat__ip *ip, const char *s, size_t len)
{
	char text[INET_ADDRSTRLEN] = "";
	struct in_addr ip4;

	if (len < sizeof(text))
		memcpy(text, s, len);
	if (inet_pton(AF_INET, text, &ip4) != 1)
		return "not an IPv4 address; that is four numbers up to 255";
	*ip = (struct cleat__ip){ .family = AF_INET, .low = ntohl(ip4.s_addr) };
	return NULL;
}

static const char *scan_ip(struct cleat__ip *ip, const char *s, size_t len)
{
	if (len == 0 || s[0] != '[')
		return memchr(s, ':', len) ? scan_ip6(ip, s, len)
					   : scan_ip4(ip, s, len);
	if (s[len - 1] != ']')
		return "brackets hold one IPv6 address, as in [::1]";
	return scan_ip6(ip, s + 1, len - 2);
}

static const char *scan_prefix(unsigned *bits, const char *s, unsigned most)
{
	const size_t len = strlen(s);

	if (len == 0)
		return "no prefix length after /; write 10.0.0.0/24";
	if (strspn(s, DIGITS) < len)
		return "a prefix length is a number, as in 10.0.0.0/24";
	*bits = (unsigned)strtoul(len < 4 ? s : "999", NULL, 10);
	if (*bits <= most)
		return NULL;
	return most == 32 ? "an IPv4 prefix has at most 32 bits"
			  : "an IPv6 prefix has at most 128 bits";
}

/* All of the block that the address lies in. */
static const char *scan_block(struct cleat__numeric *s, const char *text,
			      const char *slash)
{
	struct cleat__range *r = &s->v[s->n++];
	const char *why = scan_ip(&r->first, text, (size_t)(slash - text));
	const unsigned most = r->first.family == AF_INET ? 32 : 128;
	uint64_t hosts;
	unsigned bits;

	if (!why)
		why = scan_prefix(&bits, slash + 1, most);
	if (why)
		return why;
	if (most - bits > 64)
		return "an IPv6 block is a /64 at most";
	hosts = most - bits < 64 ? (UINT64_C(1) << (most - bits)) - 1
				 : UINT64_MAX;
	r->first.low &= ~hosts;
	r->last = r->first.low | hosts;
	return NULL;
}

/* The address END, or the number that takes the place of FIRST's last one. */
static const char *scan_end(struct cleat__ip *last,
			    const struct cleat__ip *first, const char *end)
{
	const size_t len = strlen(end);

	if (first->family == AF_INET6 || strspn(end, DIGITS) < len)
		return scan_ip(last, end, len);
	*last = *first;
	last->low = (first->low & ~UINT64_C(255)) | strtoul(end, NULL, 10);
	if (len > 3 || strtoul(end, NULL, 10) > 255)
		return "the numbers of an IPv4 address go up to 255";
	return NULL;
}

/* The zone may stand at either end. */
static const char *match_ends(struct cleat__ip *a, struct cleat__ip *b)
{
	if (a->family != b->family)
		return "a range has both ends in one version of IP";
	if (a->zone == 0)
		a->zone = b->zone;
	if (b->zone == 0)
		b->zone = a->zone;
	if (a->zone != b->zone)
		return "a range has both ends in one zone";
	return NULL;
}

/* From 10.0.0.20-1 to 10.0.0.1-20. */
static const char *backwards(struct cleat__numeric *s, const char *text,
			     const char *dash)
{
	const char *end = dash + 1, *from = dash;

	if (strspn(end, DIGITS) == strlen(end))
		while (from[-1] != '.')
			from--;
	else
		from = text;
	(void)snprintf(s->better, sizeof(s->better), "%.*s%s-%.*s",
		       (int)(from - text), text, end, (int)(dash - from), from);
	return "range runs backwards";
}

static const char *scan_range(struct cleat__numeric *s, const char *text,
			      const char *dash)
{
	struct cleat__ip first, last;
	const char *why;

	if (dash == text || !dash[1])
		return "a range has two ends, as in 10.0.0.1-20";
	why = scan_ip(&first, text, (size_t)(dash - text));
	if (!why)
		why = scan_end(&last, &first, dash + 1);
	if (!why)
		why = match_ends(&first, &last);
	if (why)
		return why;
	if (cleat__ip_compare(&first, &last) > 0)
		return backwards(s, text, dash);
	s->v[s->n++] =
		(struct cleat__range){ .first = first, .last = last.low };
	if (first.net == last.net)
		return NULL;
	if (last.net - first.net > 1 || last.low >= first.low)
		return "an IPv6 range has at most as many addresses as a /64";
	s->v[0].last = UINT64_MAX;
	s->v[s->n] = (struct cleat__range){ .first = last, .last = last.low };
	s->v[s->n++].first.low = 0;
	return NULL;
}

/* The dash of a range: an interface's name may have some too. */
static const char *find_dash(const char *text)
{
	const char *dash = strchr(text, '-');

	if (!strchr(text, ':'))
		return dash;
	while (dash && dash[1] != '[' && dash[1 + strspn(dash + 1, HEX)] != ':')
		dash = strchr(dash + 1, '-');
	return dash;
}

static bool has_port(const char *text)
{
	const char *colon = strchr(text, ':');

	return colon && (!strchr(colon + 1, ':') || strstr(text, "]:"));
}

static const char *scan_any(struct cleat__numeric *s, const char *text)
{
	const char *slash = strchr(text, '/'), *dash = find_dash(text);
	const char *why;

	if (has_port(text))
		return "a target has neither a protocol nor a port";
	if (slash && dash)
		return "either a block or a range; not both";
	if (slash)
		return scan_block(s, text, slash);
	if (dash)
		return scan_range(s, text, dash);
	if (strchr(text, '-') && !strchr(text, '%'))
		return "an IPv6 range ends in a whole address";
	why = scan_ip(&s->v[0].first, text, strlen(text));
	s->v[0].last = s->v[0].first.low;
	s->n = 1;
	return why;
}

/* IPv4 mapped into IPv6 is IPv4: packets of it are. */
static const char *unmap(struct cleat__range *r)
{
	const uint64_t first = UINT64_C(0xffff) << 32;
	struct cleat__ip last = r->first;

	last.low = r->last;
	if (cleat__ip_is_mapped(&r->first) && cleat__ip_is_mapped(&last)) {
		cleat__ip_unmap(&r->first);
		r->last = (uint32_t)r->last;
		return NULL;
	}
	if (r->first.family == AF_INET6 && r->first.net == 0 &&
	    r->first.low <= first + UINT32_MAX && r->last >= first)
		return "some of it is IPv4 (::ffff:0:0/96); write that as such";
	return NULL;
}

/* What holds for each range, however it was written. */
static const char *settle(struct cleat__range *r, int family)
{
	const char *why = unmap(r);

	if (why)
		return why;
	if (family == AF_INET && r->first.family != AF_INET)
		return "IPv6, where IPv4 alone is asked for";
	if (family == AF_INET6 && r->first.family != AF_INET6)
		return "IPv4, where IPv6 alone is asked for";
	if (!cleat__ip_is_link_local(&r->first))
		r->first.zone = 0; /* the kernel does not look at it either */
	else if (r->first.zone == 0)
		return "a link-local address needs a zone, as in fe80::1%eth0";
	return NULL;
}

const char *cleat__numeric_scan(struct cleat__numeric *s, const char *text,
				int family)
{
	const char *why = scan_any(s, text);

	for (unsigned i = 0; i < s->n && !why; i++)
		why = settle(&s->v[i], family);
	return why;
}
