/* SPDX-License-Identifier: MIT */
/* TCP connections: open or closed as the kernel says.  A socket that was
 * refused connects again, which spares half the cost of a port.
 */
#include <errno.h>
#include <linux/tcp.h> /* of the C libraries not all have tcpi_segs_in */
#include <netinet/in.h>

#include <cleat/error.h>

#include "base/sys.h"
#include "scan/engine.h"

static const struct cleat_sockaddr nowhere = {
	.len = sizeof(nowhere.any),
	.any.sa_family = AF_UNSPEC,
};

/* Taken down by RST: no TIME_WAIT holds the port connected from. */
static int open_socket(int family)
{
	const struct linger at_once = { .l_onoff = 1, .l_linger = 0 };
	const int level = family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6;
	const int name = family == AF_INET ? IP_RECVERR : IPV6_RECVERR;
	const int on = 1;
	const int fd = sys_socket(family, SOCK_STREAM, IPPROTO_TCP);
	int err;

	if (fd < 0)
		return fd;
	err = sys_setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once,
			     sizeof(at_once));
	if (err == 0)
		err = sys_setsockopt(fd, level, name, &on, sizeof(on));
	if (err < 0) {
		sys_close(fd);
		return err;
	}
	return fd;
}

/* Nobody listens, and yet we are connected: to this very socket, which happened
 * to get the port that it tries, or to another of ours, which tried this one's
 * at the same moment (RFC 9293 section 3.5, figure 7).  Of such a handshake two
 * segments came in; so they did if the service has spoken already, but then it
 * does no harm to ask again.
 */
static bool is_ghost(int fd, const struct cleat_sockaddr *at)
{
	struct cleat_sockaddr here;
	struct tcp_info info = { 0 };
	socklen_t len = sizeof(info);

	here.len = sizeof(here.storage);
	if (sys_getsockname(fd, &here.any, &here.len) < 0 ||
	    !cleat__is_same_ip(&here, at))
		return false;
	return here.in.sin_port == at->in.sin_port ||
	       sys_getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0 ||
	       info.tcpi_segs_in > 1;
}

enum {
	PORTS_TRIED = 64,
	PORT_LEAST = 1024,
	PORT_MOST = 65535,
};

/* A port to connect from that is neither the kernel's choice nor that of AT. */
static int bind_elsewhere(int fd, const struct cleat_sockaddr *at)
{
	struct cleat_sockaddr from = { .len = at->len };
	unsigned port = cleat_sockaddr_port(at);
	int err = -EADDRINUSE;

	from.any.sa_family = at->any.sa_family;
	for (int i = 0; i < PORTS_TRIED && err == -EADDRINUSE; i++) {
		port = port < PORT_MOST && port >= PORT_LEAST ? port + 1
							      : PORT_LEAST;
		from.in.sin_port = htons((uint16_t)port);
		err = sys_bind(fd, &from.any, from.len);
	}
	return err == -EADDRINUSE ? -EADDRNOTAVAIL : err;
}

static int outcome(struct cleat__probe *p, const struct cleat_sockaddr *at,
		   struct cleat__verdict *v, int rc);

/* The second call asks what came of the first: where the peer is this machine,
 * that is known already.
 */
static int send_syn(struct cleat__probe *p, const struct cleat_sockaddr *at,
		    struct cleat__verdict *v)
{
	int rc = sys_connect(p->fd, &at->any, at->len);

	if (rc == -EINPROGRESS)
		rc = sys_connect(p->fd, &at->any, at->len);
	return outcome(p, at, v, rc);
}

static int send_again(struct cleat__probe *p, const struct cleat_sockaddr *at,
		      struct cleat__verdict *v)
{
	int err = sys_connect(p->fd, &nowhere.any, nowhere.len);

	if (err == 0)
		err = bind_elsewhere(p->fd, at);
	p->is_spent = true;
	return err < 0 ? err : send_syn(p, at, v);
}

/* Is it this machine's address that is missing, or are its ports in use? */
static bool has_source(const struct cleat_sockaddr *at)
{
	const int fd = sys_socket(at->any.sa_family, SOCK_DGRAM, 0);
	int err = fd;

	if (fd >= 0) {
		err = sys_connect(fd, &at->any, at->len);
		sys_close(fd);
	}
	return err != -EADDRNOTAVAIL;
}

static int settle(struct cleat__verdict *v, enum cleat_port_state state,
		  const char *reason, int rtt)
{
	*v = (struct cleat__verdict){ state, reason, rtt };
	return 1;
}

/* Of whatever kind an ICMP error is, it is not the port that refuses. */
static bool is_forbidden(const struct cleat__probe *p, struct cleat__verdict *v)
{
	if (cleat__icmp_verdict(p->fd, v) <= 0)
		return false;
	v->state = CLEAT_PORT_FILTERED;
	return true;
}

/* RC is what connect(2) said. */
static int outcome(struct cleat__probe *p, const struct cleat_sockaddr *at,
		   struct cleat__verdict *v, int rc)
{
	switch (rc) {
	case -EINPROGRESS:
	case -EALREADY:
	case -ETIMEDOUT: /* how long to wait is not the kernel's to say */
		return 0;
	case 0:
	case -EISCONN:
		if (!p->is_spent && is_ghost(p->fd, at))
			return send_again(p, at, v);
		return settle(v, CLEAT_PORT_OPEN, "connected", 0);
	case -ECONNRESET:
		return settle(v, CLEAT_PORT_OPEN, "connected, then reset", 0);
	case -EADDRNOTAVAIL:
		if (has_source(at))
			return rc;
		return settle(v, CLEAT_PORT_FILTERED,
			      "no address to connect from", -1);
	case -EAGAIN:
	case -ENOBUFS:
	case -ENOMEM:
		return rc;
	}
	if (is_forbidden(p, v))
		return 1;
	if (rc == -ECONNREFUSED)
		return settle(v, CLEAT_PORT_CLOSED, "RST", 0);
	return settle(v, CLEAT_PORT_FILTERED, cleat_strerror(rc), -1);
}

/* Where an ICMP error came while the socket was in use, within connect(2), it
 * waits in the error queue alone.
 */
static int look(struct cleat__probe *p, const struct cleat_sockaddr *at,
		struct cleat__verdict *v)
{
	const int rc = outcome(p, at, v, sys_connect(p->fd, &at->any, at->len));

	/* What lacks now is tried again later. */
	return rc > 0 || is_forbidden(p, v);
}

const struct cleat__engine cleat__engine_connect = {
	.open = open_socket,
	.send = send_syn,
	.look = look,
};
