/* SPDX-License-Identifier: MIT */
#include "inspect/overlap.h"

#include <arpa/inet.h>
#include <string.h>

#include "inspect/ip.h"

/* What struct sock keeps of an address it is bound to. */
struct bound {
	struct cleat__ip ip;
	in_addr_t v4; /* sk_rcv_saddr: 0 takes any IPv4 address */
	bool v6only; /* takes no IPv4 at all */
	unsigned device;
};

/* What sk_rcv_saddr is of a socket that no IPv4 packet is for. */
#define LOOPBACK4_IPV6 htonl(0x7f000006)

static struct bound bound_of(const struct cleat_sockaddr *sa, bool v6only,
			     unsigned device)
{
	struct bound b = { .ip = cleat__ip_of(sa), .device = device };

	if (b.ip.is_v4)
		memcpy(&b.v4, &b.ip.addr.s6_addr[12], sizeof(b.v4));
	else if (!b.ip.is_any)
		b.v4 = LOOPBACK4_IPV6;
	b.v6only = v6only && !b.ip.is_v4;
	if (b.ip.zone != 0) /* bind(2) prefers it to SO_BINDTODEVICE */
		b.device = b.ip.zone;
	return b;
}

static bool has_same_name(const struct cleat_sockaddr *a,
			  const struct cleat_sockaddr *b)
{
	return a->len == b->len && memcmp(&a->any, &b->any, a->len) == 0;
}

/* A file is of no type, but abstract names of different types are different.
 * What has been accepted shows the listener's name, and does not hold it.
 */
static bool overlaps_unix(const struct cleat_socket *s,
			  const struct cleat_bind *b)
{
	const int type = b->proto == CLEAT_UNIX ? SOCK_STREAM : SOCK_DGRAM;
	const bool is_abstract = b->at.un.sun_path[0] == '\0';

	return has_same_name(&s->local, &b->at) &&
	       (!is_abstract || s->type == type) &&
	       (s->type == SOCK_DGRAM || s->state != CLEAT_STATE_ESTABLISHED);
}

/* inet_rcv_saddr_equal(), of net/ipv4/inet_connection_sock.c: A is bound or to
 * be, B was before.  It looks at IPv4 alone unless A is an IPv6 socket, so that
 * 0.0.0.0 is in the way of connections of a dual-stack socket, too.
 */
static bool is_equal(const struct bound *a, int family, const struct bound *b)
{
	if (family == AF_INET || (a->ip.is_v4 && b->ip.is_v4))
		return !b->v6only &&
		       (a->v4 == b->v4 || a->v4 == 0 || b->v4 == 0);
	if (a->ip.is_any && !a->ip.is_v4)
		return !(a->v6only && b->ip.is_v4);
	if (b->ip.is_any && !b->ip.is_v4)
		return !(b->v6only && a->ip.is_v4);
	return IN6_ARE_ADDR_EQUAL(&a->ip.addr, &b->ip.addr);
}

/* Those that have been asked for and not yet answered belong to a listener. */
static bool holds_port(const struct cleat_socket *s)
{
	return s->state != CLEAT_STATE_SYN_RECEIVED &&
	       (s->type == SOCK_STREAM || s->type == SOCK_DGRAM);
}

bool cleat__overlaps(const struct cleat_socket *s, const struct cleat_bind *b)
{
	const int type = b->proto == CLEAT_UDP ? SOCK_DGRAM : SOCK_STREAM;
	struct bound new, old;

	if (s->family == AF_UNIX || b->at.any.sa_family == AF_UNIX)
		return s->family == b->at.any.sa_family && overlaps_unix(s, b);
	if (s->type != type || !holds_port(s) || s->local.len == 0 ||
	    cleat_sockaddr_port(&s->local) != cleat_sockaddr_port(&b->at))
		return false;
	new = bound_of(&b->at, b->v6only, b->device);
	/* The kernel does not say whether connections are V6ONLY. */
	old = bound_of(&s->local, s->v6only == CLEAT_ON, s->device);
	if (new.device != 0 && old.device != 0 && new.device != old.device)
		return false;
	return is_equal(&new, b->at.any.sa_family, &old);
}

static bool is_connected_to(const struct cleat_socket *s,
			    const struct cleat_sockaddr *from)
{
	const struct cleat__ip peer = cleat__ip_of(&s->peer);
	const struct cleat__ip ip = cleat__ip_of(from);
	const unsigned port = cleat_sockaddr_port(&s->peer);

	return IN6_ARE_ADDR_EQUAL(&peer.addr, &ip.addr) &&
	       (port == 0 || port == cleat_sockaddr_port(from));
}

/* The steps between what the kernel looks for one after the other. */
enum {
	ANY = 1,
	ADDRESS = 100,
	CONNECTED = 200
};

unsigned cleat__would_receive(const struct cleat_socket *s,
			      const struct cleat_probe *p)
{
	const struct cleat__ip to = cleat__ip_of(&p->to);
	const struct cleat__ip ip = cleat__ip_of(&s->local);
	unsigned score;

	if (s->type != p->type || s->family == AF_UNIX || s->local.len == 0 ||
	    cleat_sockaddr_port(&s->local) != cleat_sockaddr_port(&p->to) ||
	    (s->device != 0 && s->device != p->device))
		return 0;
	if (IN6_ARE_ADDR_EQUAL(&ip.addr, &to.addr))
		score = ADDRESS;
	else if (ip.is_any &&
		 (ip.is_v4 == to.is_v4 || (to.is_v4 && s->v6only != CLEAT_ON)))
		score = ANY;
	else
		return 0;
	if (s->peer.len > 0 && s->state != CLEAT_STATE_TIME_WAIT)
		return is_connected_to(s, &p->from) ? CONNECTED : 0;
	if (s->state !=
	    (p->type == SOCK_STREAM ? CLEAT_STATE_LISTEN : CLEAT_STATE_BOUND))
		return 0;
	/* TCP listeners can only overlap by SO_REUSEPORT, and then the first
	 * that is come upon is taken, whatever its device would score.
	 */
	if (s->device != 0 && p->type == SOCK_DGRAM)
		score += 4;
	if (to.is_v4 && s->family == AF_INET)
		score++;
	return score;
}

/* A wildcard of IPv6 with V6ONLY and one without are two. */
bool cleat__is_same_key(const struct cleat_socket *a,
			const struct cleat_socket *b)
{
	return a->family == b->family && a->type == b->type &&
	       a->protocol == b->protocol && a->state == b->state &&
	       a->device == b->device && a->v6only == b->v6only &&
	       a->uid == b->uid && has_same_name(&a->local, &b->local);
}
