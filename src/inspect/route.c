/* SPDX-License-Identifier: MIT */
#include "inspect/route.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/in_route.h>
#include <linux/rtnetlink.h>
#include <string.h>

#include "base/sys.h"
#include "inspect/ip.h"

/* One question to the kernel, and what it says. */
struct ask {
	const struct cleat_sockaddr *to, *from; /* FROM may be NULL: any */
	unsigned device;
	unsigned flags;
};

struct reply {
	unsigned type; /* RTN_LOCAL, ... */
	bool is_local; /* goes by the loopback interface */
	unsigned device;
	struct cleat_sockaddr source; /* len 0: not said */
};

static size_t ip_bytes(const struct cleat_sockaddr *sa, const void **at)
{
	if (sa->any.sa_family == AF_INET) {
		*at = &sa->in.sin_addr;
		return sizeof(sa->in.sin_addr);
	}
	*at = &sa->in6.sin6_addr;
	return sizeof(sa->in6.sin6_addr);
}

static void put_ip(struct nlmsghdr *h, uint16_t name,
		   const struct cleat_sockaddr *sa)
{
	const void *at;
	const size_t len = ip_bytes(sa, &at);

	mnl_attr_put(h, name, len, at);
}

static void write_ask(struct nlmsghdr *h, const struct ask *a)
{
	const void *at;
	struct rtmsg *r;

	h->nlmsg_type = RTM_GETROUTE;
	h->nlmsg_flags = NLM_F_REQUEST;
	r = mnl_nlmsg_put_extra_header(h, sizeof(*r));
	r->rtm_family = (unsigned char)a->to->any.sa_family;
	r->rtm_dst_len = (unsigned char)(8 * ip_bytes(a->to, &at));
	r->rtm_flags = a->flags;
	put_ip(h, RTA_DST, a->to);
	if (a->from) {
		r->rtm_src_len = r->rtm_dst_len;
		put_ip(h, RTA_SRC, a->from);
	}
	if (a->device != 0)
		mnl_attr_put_u32(h, RTA_OIF, a->device);
}

/* Into the address of SA, whose family is known. */
static void take_ip(struct cleat_sockaddr *sa, const struct nlattr *attr)
{
	if (sa->any.sa_family == AF_INET &&
	    mnl_attr_get_payload_len(attr) == sizeof(sa->in.sin_addr)) {
		memcpy(&sa->in.sin_addr, mnl_attr_get_payload(attr),
		       sizeof(sa->in.sin_addr));
		sa->len = sizeof(sa->in);
	} else if (sa->any.sa_family == AF_INET6 &&
		   mnl_attr_get_payload_len(attr) ==
			   sizeof(sa->in6.sin6_addr)) {
		memcpy(&sa->in6.sin6_addr, mnl_attr_get_payload(attr),
		       sizeof(sa->in6.sin6_addr));
		sa->len = sizeof(sa->in6);
	}
}

static int on_attr(const struct nlattr *attr, void *arg)
{
	struct reply *r = arg;

	if (mnl_attr_get_type(attr) == RTA_OIF &&
	    mnl_attr_get_payload_len(attr) == sizeof(uint32_t))
		r->device = mnl_attr_get_u32(attr);
	if (mnl_attr_get_type(attr) == RTA_PREFSRC)
		take_ip(&r->source, attr);
	return MNL_CB_OK;
}

/* 0, or the -errno that the kernel answers with. */
static int read_reply(struct reply *r, const struct nlmsghdr *h, ssize_t n)
{
	const struct rtmsg *rt;
	const struct nlmsgerr *e;

	if (!mnl_nlmsg_ok(h, (int)n))
		return -EBADMSG;
	if (h->nlmsg_type == NLMSG_ERROR &&
	    mnl_nlmsg_get_payload_len(h) >= sizeof(*e)) {
		e = mnl_nlmsg_get_payload(h);
		return e->error;
	}
	if (h->nlmsg_type != RTM_NEWROUTE ||
	    mnl_nlmsg_get_payload_len(h) < sizeof(*rt))
		return -EBADMSG;
	rt = mnl_nlmsg_get_payload(h);
	*r = (struct reply){
		.type = rt->rtm_type,
		/* RTCF_LOCAL alone: from a socket bound to lo to anywhere. */
		.is_local = rt->rtm_type == RTN_LOCAL ||
			    (rt->rtm_flags & RTCF_LOCAL) != 0,
		.source.any.sa_family = rt->rtm_family,
	};
	(void)mnl_attr_parse(h, sizeof(*rt), on_attr, r); /* never stops */
	return 0;
}

/* *REFUSED is set to what the kernel answers, if that is no route. */
static int ask(struct reply *r, int fd, const struct ask *a, int *refused)
{
	union {
		struct nlmsghdr h;
		char bytes[2048];
	} buf = { .bytes = { 0 } };
	ssize_t n;

	write_ask(mnl_nlmsg_put_header(&buf), a);
	n = sys_send(fd, &buf, buf.h.nlmsg_len);
	/* The kernel has answered before send() returns. */
	if (n >= 0)
		n = sys_recv(fd, &buf, sizeof(buf));
	if (n < 0)
		return (int)n;
	*refused = read_reply(r, &buf.h, n);
	return *refused == -EBADMSG ? -EBADMSG : 0;
}

/* IPv4 that is mapped into IPv6 is IPv4 on its way. */
static void unmap(struct cleat_sockaddr *sa)
{
	const struct cleat__ip ip = cleat__ip_of(sa);
	const in_port_t port = sa->in.sin_port; /* where sin6_port is, too */

	if (sa->any.sa_family != AF_INET6 || !ip.is_v4)
		return;
	*sa = (struct cleat_sockaddr){
		.len = sizeof(sa->in),
		.in = { .sin_family = AF_INET,
			.sin_port = port,
			.sin_addr.s_addr = ip.addr.s6_addr32[3] },
	};
}

static bool has_ip(const struct cleat_sockaddr *sa)
{
	return sa->len > 0 && !cleat__ip_of(sa).is_any;
}

static void copy_ip(struct cleat_sockaddr *sa, const struct cleat_sockaddr *ip)
{
	const in_port_t port = sa->in.sin_port;

	*sa = *ip;
	sa->in.sin_port = port;
}

/* A wildcard is no destination: connect(2) takes a loopback address, and of
 * IPv4 rather the sender's own one.
 */
static int aim(struct cleat_probe *p, int fd)
{
	const struct ask a = { .to = &p->to, .device = p->device };
	struct reply r = { .source.len = 0 };
	int refused = 0, err = 0;

	if (has_ip(&p->to))
		return 0;
	if (p->to.any.sa_family == AF_INET6) {
		p->to.in6.sin6_addr = in6addr_loopback;
		return 0;
	}
	if (!has_ip(&p->from) && p->device != 0)
		err = ask(&r, fd, &a, &refused);
	if (has_ip(&p->from))
		copy_ip(&p->to, &p->from);
	else if (has_ip(&r.source))
		copy_ip(&p->to, &r.source);
	else
		p->to.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return err;
}

static unsigned zone_of(const struct cleat_sockaddr *sa)
{
	return sa->len > 0 ? cleat__ip_of(sa).zone : 0;
}

/* Does the source belong to another machine?  Then what it sends comes in by
 * the interface through which that one is reached.
 */
static int look_back(struct cleat__route *r, int fd)
{
	struct cleat_probe *p = &r->packet;
	const struct ask a = { .to = &p->from, .device = zone_of(&p->from) };
	struct reply reply = { .device = 0 };
	int refused = 0;
	const int err = ask(&reply, fd, &a, &refused);

	r->is_foreign = err == 0 && (refused < 0 || !reply.is_local);
	if (r->is_foreign && p->device == 0)
		p->device = reply.device;
	return err;
}

static void classify(struct cleat__route *r, const struct reply *reply,
		     int refused)
{
	r->error = refused;
	if (refused < 0)
		r->kind = CLEAT__ROUTE_NONE;
	else if (reply->type == RTN_BROADCAST || reply->type == RTN_MULTICAST)
		r->kind = CLEAT__ROUTE_MANY;
	else if (reply->is_local)
		r->kind = CLEAT__ROUTE_LOCAL;
	else
		r->kind = CLEAT__ROUTE_AWAY;
}

/* What this machine sends to itself goes by lo, and yet is taken to come in by
 * the interface that has the address; only the routing table says which.
 */
static int find_owner(struct reply *reply, int fd, const struct ask *a)
{
	struct ask match = *a;
	struct reply entry;
	int refused = 0;
	int err;

	if (reply->type != RTN_LOCAL)
		return 0;
	match.flags = RTM_F_FIB_MATCH;
	err = ask(&entry, fd, &match, &refused);
	if (err == 0 && refused == 0 && entry.device != 0)
		reply->device = entry.device;
	return err;
}

static int find_way(struct cleat__route *r, int fd)
{
	struct cleat_probe *p = &r->packet;
	struct ask a = { .to = &p->to };
	struct reply reply = { .type = RTN_UNSPEC };
	int refused = 0, err;

	if (!r->is_foreign)
		a.device = p->device;
	if (a.device == 0)
		a.device = zone_of(&p->to);
	/* With a source IPv6 does not insist on the device. */
	if (has_ip(&p->from) && !r->is_foreign &&
	    (p->to.any.sa_family == AF_INET || a.device == 0))
		a.from = &p->from;
	err = ask(&reply, fd, &a, &refused);
	if (err == 0 && refused == 0)
		err = find_owner(&reply, fd, &a);
	if (err < 0)
		return err;
	classify(r, &reply, refused);
	if (!has_ip(&p->from) && has_ip(&reply.source))
		copy_ip(&p->from, &reply.source);
	if (!r->is_foreign || r->kind != CLEAT__ROUTE_LOCAL)
		p->device = reply.device;
	return 0;
}

/* Whatever the routing table says; it knows the networks' broadcasts. */
static bool is_for_many(const struct cleat_sockaddr *sa)
{
	const in_addr_t v4 = ntohl(sa->in.sin_addr.s_addr);

	if (sa->any.sa_family == AF_INET6)
		return IN6_IS_ADDR_MULTICAST(&sa->in6.sin6_addr);
	return IN_MULTICAST(v4) || v4 == INADDR_BROADCAST;
}

static int find(struct cleat__route *r, int fd)
{
	struct cleat_probe *p = &r->packet;
	int err = aim(p, fd);

	if (err < 0)
		return err;
	/* A socket bound to a link-local address is bound to its interface. */
	if (zone_of(&p->from) != 0)
		p->device = zone_of(&p->from);
	if (p->device != 0 && zone_of(&p->to) != 0 &&
	    p->device != zone_of(&p->to)) {
		r->kind = CLEAT__ROUTE_NONE;
		r->error = -EINVAL;
		return 0;
	}
	if (is_for_many(&p->to)) {
		r->kind = CLEAT__ROUTE_MANY;
		return 0;
	}
	if (has_ip(&p->from))
		err = look_back(r, fd);
	return err < 0 ? err : find_way(r, fd);
}

int cleat__route_find(struct cleat__route *r, const struct cleat_probe *p)
{
	int fd, err;

	*r = (struct cleat__route){ .packet = *p };
	unmap(&r->packet.to);
	if (p->from.len == 0) {
		r->packet.from.any.sa_family = r->packet.to.any.sa_family;
	} else {
		unmap(&r->packet.from);
		if (r->packet.from.any.sa_family != r->packet.to.any.sa_family)
			return -EINVAL;
	}
	fd = sys_socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
	if (fd < 0)
		return fd;
	err = find(r, fd);
	sys_close(fd);
	return err;
}
