/* SPDX-License-Identifier: MIT */
/* Whatever a packet holds, what is taken for a reply to a SYN can be relied on:
 * an address of the family it came by, of a length that fits.
 *
 * Input: a byte (TCP over IPv4, over IPv6, ICMP, ICMPv6), and then the packet.
 */
#include <arpa/inet.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "scan/segment.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void must(int truth)
{
	if (!truth)
		abort();
}

static const int protocols[] = { IPPROTO_TCP, IPPROTO_TCP, IPPROTO_ICMP,
				 IPPROTO_ICMPV6 };

static struct cleat_sockaddr sender(int family)
{
	struct cleat_sockaddr sa = { .any.sa_family = (sa_family_t)family };

	sa.len = family == AF_INET ? sizeof(sa.in) : sizeof(sa.in6);
	return sa;
}

static void check(const struct cleat__reply *r, int protocol, int family)
{
	must(r->to.any.sa_family == family);
	must(r->to.len == sender(family).len);
	must((r->kind == CLEAT__REPLY_ICMP) == (protocol != IPPROTO_TCP));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct cleat_sockaddr from;
	struct cleat__reply r;
	uint8_t *packet;
	unsigned kind;

	if (len == 0)
		return 0;
	kind = data[0] % 4;
	from = sender(kind % 2 == 0 ? AF_INET : AF_INET6);
	packet = malloc(len); /* so that ASan sees its end */
	if (!packet)
		return 0;
	memcpy(packet, data + 1, len - 1);
	if (cleat__reply_parse(&r, protocols[kind], &from, packet, len - 1))
		check(&r, protocols[kind], from.any.sa_family);
	free(packet);
	return 0;
}
