/* SPDX-License-Identifier: MIT */
/* IPv4 and IPv6 addresses side by side, as sockets see them. */
#ifndef CLEAT_INSPECT_IP_H
#define CLEAT_INSPECT_IP_H

#include <stdbool.h>

#include <cleat/addr.h>

struct cleat__ip {
	struct in6_addr addr; /* IPv4 is mapped into IPv6 */
	unsigned zone; /* the interface of a link-local address, or 0 */
	bool is_v4;
	bool is_any; /* a wildcard */
};

static inline struct cleat__ip cleat__ip_of(const struct cleat_sockaddr *sa)
{
	struct cleat__ip ip = { .addr.s6_addr = { [10] = 0xff, 0xff } };

	if (sa->any.sa_family == AF_INET) {
		ip.addr.s6_addr32[3] = sa->in.sin_addr.s_addr;
	} else {
		ip.addr = sa->in6.sin6_addr;
		if (IN6_IS_ADDR_LINKLOCAL(&ip.addr))
			ip.zone = sa->in6.sin6_scope_id;
	}
	ip.is_v4 = IN6_IS_ADDR_V4MAPPED(&ip.addr);
	ip.is_any = ip.is_v4 ? ip.addr.s6_addr32[3] == 0
			     : IN6_IS_ADDR_UNSPECIFIED(&ip.addr);
	return ip;
}

#endif
