/* SPDX-License-Identifier: MIT */
/* UDP: a socket for each probe, connected, so that it hears of nothing else.
 *
 * Probes of this machine can meet: one goes to the very port that it, or
 * another, is sent from, and would be taken for an answer.  So all leave with a
 * hop limit that nobody else's have.
 */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include <cleat/error.h>

#include "base/sys.h"
#include "scan/engine.h"
#include "scan/payloads.h"

enum {
	TFTP_PORT = 69,
	HOPS_MOST = 255,
	DROPPED_MOST = 2, /* attempts that are made again */
	LOOKS = 8, /* at what one socket may hold, before it is given up */
};

static const struct cleat_sockaddr nowhere = {
	.len = sizeof(nowhere.any),
	.any.sa_family = AF_UNSPEC,
};

/* The same options by the names of each version of IP. */
static const struct names {
	int level, errors, hops, hear_hops, hops_heard;
} ip4 = { IPPROTO_IP, IP_RECVERR, IP_TTL, IP_RECVTTL, IP_TTL },
  ip6 = { IPPROTO_IPV6, IPV6_RECVERR, IPV6_UNICAST_HOPS, IPV6_RECVHOPLIMIT,
	  IPV6_HOPLIMIT };

static const struct names *names_of(int family)
{
	return family == AF_INET ? &ip4 : &ip6;
}

static int get_hops(int fd, const struct names *ip, int *hops)
{
	socklen_t len = sizeof(*hops);

	return sys_getsockopt(fd, ip->level, ip->hops, hops, &len);
}

static int set(int fd, int level, int name, int value)
{
	return sys_setsockopt(fd, level, name, &value, sizeof(value));
}

/* One more than is usual here; elsewhere they start with 64, 128 or 255, and
 * from there it is too far to arrive with as many.
 */
static int prepare(int fd, const struct names *ip)
{
	int hops = 0;
	int err = get_hops(fd, ip, &hops);

	hops += hops < HOPS_MOST ? 1 : -1;
	if (err == 0)
		err = set(fd, ip->level, ip->hops, hops);
	if (err == 0)
		err = set(fd, ip->level, ip->hear_hops, 1);
	if (err == 0)
		err = set(fd, ip->level, ip->errors, 1);
	return err;
}

static int open_socket(int family)
{
	const int fd = sys_socket(family, SOCK_DGRAM, IPPROTO_UDP);
	int err = fd < 0 ? fd : prepare(fd, names_of(family));

	if (fd >= 0 && err < 0)
		sys_close(fd);
	return err < 0 ? err : fd;
}

/* A TFTP server answers from a port of its choice (RFC 1350 section 4), which a
 * connected socket does not hear.
 */
static bool answers_elsewhere(const struct cleat_sockaddr *at)
{
	return cleat_sockaddr_port(at) == TFTP_PORT;
}

static bool is_zone_missing(const struct cleat_sockaddr *at)
{
	return at->any.sa_family == AF_INET6 &&
	       IN6_IS_ADDR_LINKLOCAL(&at->in6.sin6_addr) &&
	       at->in6.sin6_scope_id == 0;
}

/* Why it was not sent: 1 and a verdict, or -errno for lack of something. */
static int cannot(int err, const struct cleat_sockaddr *at,
		  struct cleat__verdict *v)
{
	*v = (struct cleat__verdict){ CLEAT_PORT_FILTERED, NULL, -1 };
	switch (err) {
	case -EAGAIN: /* no port to send from, or no room */
	case -ENOBUFS:
	case -ENOMEM:
		return err;
	case -ECONNREFUSED: /* the socket's last probe, once more */
		return -EAGAIN;
	case -EADDRNOTAVAIL:
		v->reason = "no address to send from";
		return 1;
	case -ENETUNREACH:
	case -EHOSTUNREACH:
		v->reason = "no route";
		return 1;
	case -EACCES:
		v->reason = "broadcast, or prohibited by a route";
		return 1;
	case -EINVAL:
		v->reason = is_zone_missing(at) ? "no zone" : "no route";
		return 1;
	default:
		v->reason = cleat_strerror(err);
		return 1;
	}
}

static bool is_from(const struct cleat_sockaddr *from,
		    const struct cleat_sockaddr *at)
{
	if (from->in.sin_port != at->in.sin_port && !answers_elsewhere(at))
		return false;
	return cleat__is_same_ip(from, at);
}

static bool is_probe(int fd, const struct names *ip, struct msghdr *m)
{
	int hops, ours;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		if (c->cmsg_level != ip->level ||
		    c->cmsg_type != ip->hops_heard)
			continue;
		memcpy(&hops, CMSG_DATA(c), sizeof(hops));
		return get_hops(fd, ip, &ours) == 0 && hops == ours;
	}
	return false;
}

/* Returns 1: a datagram, which answers; 0: one that does not; or -errno. */
static int receive(int fd, const struct cleat_sockaddr *at)
{
	struct cleat_sockaddr from;
	union {
		struct cmsghdr align;
		char bytes[256];
	} control;
	struct msghdr m = {
		.msg_name = &from.any,
		.msg_namelen = sizeof(from.storage),
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	const ssize_t n = sys_recvmsg(fd, &m);

	if (n < 0)
		return (int)n;
	from.len = m.msg_namelen;
	return is_from(&from, at) &&
	       !is_probe(fd, names_of(at->any.sa_family), &m);
}

/* A socket that connects anew would keep the address that it sends from, and
 * what it still hears on its port.
 */
static void make_fit(struct cleat__probe *p)
{
	struct cleat__verdict more;

	if (sys_connect(p->fd, &nowhere.any, nowhere.len) < 0)
		p->is_spent = true;
	while (cleat__icmp_verdict(p->fd, &more) > 0)
		; /* a network may bring a packet twice */
}

/* A datagram says more than an error, but the error is told of first. */
static int look(struct cleat__probe *p, const struct cleat_sockaddr *at,
		struct cleat__verdict *v)
{
	int found = 0;

	for (int i = 0; i < LOOKS; i++) {
		const int rc = receive(p->fd, at);

		if (rc == 1) {
			*v = (struct cleat__verdict){ CLEAT_PORT_OPEN,
						      "answered", 0 };
			return 1;
		}
		if (rc == -EAGAIN)
			break;
		if (rc < 0 && !found)
			found = cleat__icmp_verdict(p->fd, v);
	}
	if (found && v->state == CLEAT_PORT_CLOSED)
		make_fit(p);
	return found;
}

/* A firewall here has a rule, and may tell by ICMP; or its table of connections
 * is full, which a later attempt may find otherwise.
 */
static int dropped(struct cleat__probe *p, const struct cleat_sockaddr *at,
		   struct cleat__verdict *v)
{
	const int found = look(p, at, v);

	if (found || p->attempt < DROPPED_MOST)
		return found;
	*v = (struct cleat__verdict){ CLEAT_PORT_SILENT,
				      "dropped by this machine", -1 };
	return 1;
}

/* This machine has answered by then, if it is to. */
static int send_probe(struct cleat__probe *p, const struct cleat_sockaddr *at,
		      struct cleat__verdict *v)
{
	const struct cleat__payload *payload =
		cleat__payload(cleat_sockaddr_port(at), p->attempt);
	struct cleat_sockaddr to = *at;
	struct iovec data = { .iov_len = payload->len };
	struct msghdr m = { .msg_iov = &data, .msg_iovlen = 1 };
	ssize_t n = 0;

	memcpy(&data.iov_base, &payload->data, sizeof(data.iov_base));
	if (answers_elsewhere(at)) {
		m.msg_name = &to.any;
		m.msg_namelen = to.len;
	} else {
		n = sys_connect(p->fd, &at->any, at->len);
	}
	if (n == 0)
		n = sys_sendmsg(p->fd, &m);
	if (n == -EPERM)
		return dropped(p, at, v);
	return n < 0 ? cannot((int)n, at, v) : look(p, at, v);
}

const struct cleat__engine cleat__engine_udp = {
	.open = open_socket,
	.send = send_probe,
	.look = look,
	.is_limited = true,
};
