/* SPDX-License-Identifier: MIT */
/* What ICMP says of a probe: the words for it, and what it means. */
#include <time.h> /* which the next wants */

#include <linux/errqueue.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <string.h>

#include "base/sys.h"
#include "scan/engine.h"

/* RFC 792; from 6 on RFC 1122 section 3.2.2.1, from 13 on RFC 1812 section
 * 5.2.7.1.
 */
static const char *const unreachable[] = {
	"ICMP network unreachable",
	"ICMP host unreachable",
	"ICMP protocol unreachable",
	"ICMP port unreachable",
	"ICMP fragmentation needed",
	"ICMP source route failed",
	"ICMP network unknown",
	"ICMP host unknown",
	"ICMP source host isolated",
	"ICMP network admin prohibited",
	"ICMP host admin prohibited",
	"ICMP network unreachable for this service",
	"ICMP host unreachable for this service",
	"ICMP admin prohibited",
	"ICMP host precedence violation",
	"ICMP precedence cutoff",
};

/* RFC 4443 section 3.1, and 7 of RFC 6550, 8 of RFC 8883. */
static const char *const unreachable6[] = {
	"ICMP no route",
	"ICMP admin prohibited",
	"ICMP beyond scope of source address",
	"ICMP address unreachable",
	"ICMP port unreachable",
	"ICMP source address failed policy",
	"ICMP reject route",
	"ICMP error in source routing header",
	"ICMP headers too long",
};

#define PICK(names, code)                                                      \
	((code) < sizeof(names) / sizeof((names)[0]) ? (names)[code]           \
						     : "ICMP unreachable")

static const char *name4(unsigned type, unsigned code)
{
	switch (type) {
	case ICMP_DEST_UNREACH:
		return PICK(unreachable, code);
	case ICMP_TIME_EXCEEDED:
		return code == ICMP_EXC_TTL ? "ICMP TTL exceeded"
					    : "ICMP reassembly time exceeded";
	case ICMP_PARAMETERPROB:
		return "ICMP parameter problem";
	default:
		return "ICMP error";
	}
}

static const char *name6(unsigned type, unsigned code)
{
	switch (type) {
	case ICMP6_DST_UNREACH:
		return PICK(unreachable6, code);
	case ICMP6_PACKET_TOO_BIG:
		return "ICMP packet too big";
	case ICMP6_TIME_EXCEEDED:
		return code == ICMP6_TIME_EXCEED_TRANSIT
			       ? "ICMP hop limit exceeded"
			       : "ICMP reassembly time exceeded";
	case ICMP6_PARAM_PROB:
		return "ICMP parameter problem";
	default:
		return "ICMP error";
	}
}

const char *cleat__icmp_name(int family, unsigned type, unsigned code)
{
	return family == AF_INET ? name4(type, code) : name6(type, code);
}

/* An error from the queue. */
struct error {
	struct sock_extended_err what;
	struct cleat_sockaddr to; /* where our packet was going */
	struct cleat_sockaddr from; /* who sent the error */
};

static void parse(struct error *e, const struct cmsghdr *c)
{
	const size_t len = c->cmsg_len - CMSG_LEN(sizeof(e->what));

	if (c->cmsg_len < CMSG_LEN(sizeof(e->what)))
		return;
	memcpy(&e->what, CMSG_DATA(c), sizeof(e->what));
	if (len > sizeof(e->from.storage))
		return;
	memcpy(&e->from.any, CMSG_DATA(c) + sizeof(e->what), len);
	e->from.len = (socklen_t)len;
}

static bool is_error(const struct cmsghdr *c)
{
	return (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVERR) ||
	       (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_RECVERR);
}

/* Returns 0, or -EAGAIN: no more. */
static int take(int fd, struct error *e)
{
	union {
		struct cmsghdr align;
		char bytes[512];
	} control;
	struct msghdr m = {
		.msg_name = &e->to.any,
		.msg_namelen = sizeof(e->to.storage),
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	const ssize_t n = sys_recv_error(fd, &m);

	if (n < 0)
		return (int)n;
	memset(&e->what, 0, sizeof(e->what));
	e->to.len = m.msg_namelen;
	e->from.len = 0;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
		if (is_error(c))
			parse(e, c);
	}
	return 0;
}

/* Whether SA is this machine's: to such an address the kernel sends from it. */
static bool is_own(struct cleat_sockaddr sa)
{
	struct cleat_sockaddr local = { .len = sizeof(local.storage) };
	const int fd = sys_socket(sa.any.sa_family, SOCK_DGRAM, 0);
	bool own;

	if (fd < 0)
		return false;
	sa.in.sin_port = htons(1); /* any: nothing is sent */
	own = sys_connect(fd, &sa.any, sa.len) == 0 &&
	      sys_getsockname(fd, &local.any, &local.len) == 0 &&
	      cleat__is_same_ip(&local, &sa);
	sys_close(fd);
	return own;
}

static bool is_unreachable(const struct error *e, unsigned code, unsigned code6)
{
	const struct sock_extended_err *w = &e->what;

	if (w->ee_origin == SO_EE_ORIGIN_ICMP)
		return w->ee_type == ICMP_DEST_UNREACH && w->ee_code == code;
	return w->ee_type == ICMP6_DST_UNREACH && w->ee_code == code6;
}

/* That a packet is too long says nothing of the port: the next attempt goes out
 * in pieces.
 */
static bool is_of_length(const struct error *e)
{
	if (e->what.ee_origin == SO_EE_ORIGIN_ICMP)
		return is_unreachable(e, ICMP_UNREACH_NEEDFRAG, 0);
	return e->what.ee_type == ICMP6_PACKET_TOO_BIG;
}

const char *cleat__icmp_own_reason(int family, unsigned type, unsigned code)
{
	if (family == AF_INET)
		return type == ICMP_DEST_UNREACH && code == ICMP_UNREACH_HOST
			       ? "no answer to ARP"
			       : "forbidden by this machine";
	return type == ICMP6_DST_UNREACH && code == ICMP6_DST_UNREACH_ADDR
		       ? "no answer to neighbor discovery"
		       : "forbidden by this machine";
}

static void judge(const struct error *e, struct cleat__verdict *v)
{
	const bool is_port =
		is_unreachable(e, ICMP_UNREACH_PORT, ICMP6_DST_UNREACH_NOPORT);
	const int family =
		e->what.ee_origin == SO_EE_ORIGIN_ICMP ? AF_INET : AF_INET6;

	v->state = CLEAT_PORT_FILTERED;
	v->reason = cleat__icmp_name(family, e->what.ee_type, e->what.ee_code);
	v->rtt = 0;
	if (cleat__is_same_ip(&e->from, &e->to)) {
		if (is_port)
			v->state = CLEAT_PORT_CLOSED;
	} else if (e->from.len > 0 && is_own(e->from)) {
		v->reason = cleat__icmp_own_reason(family, e->what.ee_type,
						   e->what.ee_code);
		v->rtt = -1;
	} else if (is_port) {
		v->reason = "ICMP port unreachable, from elsewhere";
	}
}

int cleat__icmp_verdict(int fd, struct cleat__verdict *v)
{
	struct error e;

	while (take(fd, &e) == 0) {
		if (e.what.ee_origin != SO_EE_ORIGIN_ICMP &&
		    e.what.ee_origin != SO_EE_ORIGIN_ICMP6)
			continue;
		if (is_of_length(&e))
			continue;
		judge(&e, v);
		return 1;
	}
	return 0;
}
