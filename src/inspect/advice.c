/* SPDX-License-Identifier: MIT */
#include "inspect/advice.h"

#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <stdlib.h>
#include <string.h>

#include <cleat/error.h>
#include <cleat/time.h>

#include "base/sys.h"
#include "inspect/ip.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

#define NAMED_MAX 3u /* processes to stop, addresses to take */

/* All that is said is said of one bind. */
struct matter {
	struct cleat__story *st;
	const struct cleat_trial *t;
	const struct cleat_bind *b;
	const char **advice;
	size_t n;
};

/* The line that has been written is the next piece of advice. */
static void end_advice(struct matter *m)
{
	const char *line = cleat__said(m->st);

	if (m->n < CLEAT__ADVICE_MAX)
		m->advice[m->n++] = line;
}

static void advise(struct matter *m, const char *line)
{
	cleat__say(m->st, "%s", line);
	end_advice(m);
}

/* The numbers of a file below /proc/sys/net: how many were read. */
static unsigned read_sysctl(const char *path, unsigned v[2])
{
	char text[64], *at = text, *end;
	int fd = sys_openat(AT_FDCWD, path, O_RDONLY);
	ssize_t len = fd < 0 ? fd : sys_read(fd, text, sizeof(text) - 1);
	unsigned n = 0;

	if (fd >= 0)
		sys_close(fd);
	if (len < 0)
		return 0;
	text[len] = '\0';
	for (; n < 2; n++, at = end) {
		v[n] = (unsigned)strtoul(at, &end, 10);
		if (end == at)
			break;
	}
	return n;
}

static unsigned port_of(const struct matter *m)
{
	return cleat_sockaddr_port(&m->b->at);
}

/* Taken for outgoing connections that do not ask for a port. */
static bool is_ephemeral(unsigned port)
{
	unsigned range[2];

	return read_sysctl("/proc/sys/net/ipv4/ip_local_port_range", range) ==
		       2 &&
	       port >= range[0] && port <= range[1];
}

static bool is_connected(const struct cleat_socket *s)
{
	return s->peer.len > 0;
}

static bool is_wildcard(const struct cleat_sockaddr *sa)
{
	return sa->any.sa_family != AF_UNIX && cleat__ip_of(sa).is_any;
}

static bool is_dual_stack(const struct cleat_socket *s)
{
	return s->family == AF_INET6 && s->v6only != CLEAT_ON &&
	       is_wildcard(&s->local) && !cleat__ip_of(&s->local).is_v4;
}

typedef bool predicate(const struct cleat_socket *s);

static bool all_are(const struct matter *m, predicate *is)
{
	for (size_t i = 0; i < m->t->n_blockers; i++) {
		if (!is(&m->t->blockers[i]))
			return false;
	}
	return m->t->n_blockers > 0;
}

/* Goes away by itself. */
static bool is_lingering(const struct cleat_socket *s)
{
	return s->state == CLEAT_STATE_TIME_WAIT ||
	       (s->state == CLEAT_STATE_FIN_WAIT_2 && s->expires_ns > 0);
}

static bool is_specific(const struct cleat_socket *s)
{
	return !is_wildcard(&s->local);
}

static bool is_v4(const struct cleat_socket *s)
{
	return cleat__ip_of(&s->local).is_v4;
}

static unsigned seconds_left(const struct cleat_socket *s)
{
	return (unsigned)((s->expires_ns + CLEAT_SEC - 1) / CLEAT_SEC);
}

static void say_connection(struct matter *m, const struct cleat_socket *s)
{
	if (is_lingering(s)) {
		cleat__say(m->st, "a connection to ");
		cleat__say_addr(m->st, &s->peer);
		cleat__say(m->st, " lingers in %s for %u s",
			   s->state == CLEAT_STATE_TIME_WAIT ? "TIME_WAIT"
							     : "FIN_WAIT_2",
			   seconds_left(s));
		return;
	}
	cleat__say(m->st, "a connection ");
	if (s->n_owners > 0) {
		cleat__say(m->st, "of ");
		cleat__say_owner(m->st, s);
		cleat__say(m->st, " ");
	} else if (cleat__is_waiting(s)) {
		cleat__say(m->st, "that is not accepted yet ");
	} else if (s->inode == 0) {
		cleat__say(m->st, "that its process has closed ");
	}
	cleat__say(m->st, "from ");
	cleat__say_addr(m->st, &s->local);
	cleat__say(m->st, " to ");
	cleat__say_addr(m->st, &s->peer);
	cleat__say(m->st, " (%s) has the port", cleat_state_name(s->state));
}

/* How S is in the way, if its address is not the very same. */
static void say_relation(struct matter *m, const struct cleat_socket *s)
{
	const struct cleat__ip at = cleat__ip_of(&m->b->at);

	if (is_dual_stack(s) && at.is_v4) {
		cleat__say(m->st, ", which includes IPv4");
	} else if (is_wildcard(&s->local) && !at.is_any) {
		cleat__say(m->st, ", which includes ");
		cleat__say_ip(m->st, &m->b->at);
	} else if (at.is_any && !at.is_v4 && is_v4(s)) {
		cleat__say(m->st, ", which [::] without IPV6_V6ONLY includes");
	} else if (at.is_any && !is_wildcard(&s->local)) {
		cleat__say(m->st, ", which ");
		cleat__say_ip(m->st, &m->b->at);
		cleat__say(m->st, " includes");
	}
}

static const char *deed(const struct cleat_socket *s)
{
	if (s->state == CLEAT_STATE_LISTEN)
		return "listens on";
	if (s->type == SOCK_STREAM && s->family != AF_UNIX)
		return "is bound, without listening, to";
	return "is bound to";
}

static void say_blocker(struct matter *m, const struct cleat_socket *s)
{
	if (is_connected(s) && s->family != AF_UNIX) {
		say_connection(m, s);
		return;
	}
	cleat__say_owner(m->st, s);
	cleat__say(m->st, " %s ", deed(s));
	cleat__say_addr(m->st, &s->local);
	if (s->device != 0) {
		cleat__say(m->st, " at ");
		cleat__say_device(m->st, s->device);
	}
	if (s->family != AF_UNIX)
		say_relation(m, s);
}

static const char *way_out(const struct cleat_trial *t)
{
	if (t->reuseaddr)
		return "SO_REUSEADDR";
	if (t->reuseport)
		return "SO_REUSEPORT";
	return t->both ? "SO_REUSEADDR with SO_REUSEPORT" : NULL;
}

/* By itself, and not because of the listener that it came from. */
static bool holds_port(const struct cleat_socket *s)
{
	return s->type == SOCK_DGRAM || !is_connected(s);
}

/* Blockers like the first.  What SO_REUSEADDR passes over is not in the way
 * beside a listener.
 */
static size_t count_alike(const struct matter *m)
{
	const struct cleat_socket *v = m->t->blockers;
	size_t n = 0;

	for (size_t i = 0; i < m->t->n_blockers; i++)
		n += holds_port(&v[i]) == holds_port(&v[0]);
	return n;
}

/* Of a listener it would be an invitation to share with it by accident. */
static const char *harmless_way_out(const struct cleat_trial *t)
{
	if (t->n_blockers > 0 && t->blockers[0].state == CLEAT_STATE_LISTEN)
		return NULL;
	return way_out(t);
}

static void sum_up_in_use(struct matter *m)
{
	const char *way = harmless_way_out(m->t);
	const size_t n = count_alike(m);

	if (m->t->n_blockers == 0)
		cleat__say(m->st,
			   "a socket that the kernel does not list has "
			   "the port; before Linux 6.8 it does not list "
			   "TCP sockets that are bound without listening");
	else
		say_blocker(m, &m->t->blockers[0]);
	if (n > 1)
		cleat__say(m->st, ", and %zu more in the way", n - 1);
	if (way)
		cleat__say(m->st, "; %s allows the bind", way);
}

static bool is_stopped(const struct matter *m, size_t i, pid_t pid)
{
	for (size_t k = 0; k < i; k++) {
		const struct cleat_socket *s = &m->t->blockers[k];

		if (s->n_owners > 0 && s->owners[0].pid == pid)
			return true;
	}
	return false;
}

static void advise_stop(struct matter *m)
{
	unsigned named = 0;

	for (size_t i = 0; i < m->t->n_blockers && named < NAMED_MAX; i++) {
		const struct cleat_socket *s = &m->t->blockers[i];

		if (s->n_owners == 0 || is_stopped(m, i, s->owners[0].pid))
			continue;
		cleat__say(m->st, "stop ");
		cleat__say_owner(m->st, s);
		end_advice(m);
		named++;
	}
}

static void advise_option(struct matter *m)
{
	const char *way = way_out(m->t);

	if (!way)
		return;
	cleat__say(m->st, "set %s before bind()", way);
	if (m->b->proto == CLEAT_UDP && m->t->reuseaddr)
		cleat__say(m->st, "; what comes to the same address then goes "
				  "to the socket bound last");
	else if (!m->t->reuseaddr)
		cleat__say(m->st, "; the port is then shared");
	end_advice(m);
}

static void advise_wait(struct matter *m)
{
	unsigned longest = 0;

	for (size_t i = 0; i < m->t->n_blockers; i++) {
		const unsigned left = seconds_left(&m->t->blockers[i]);

		if (left > longest)
			longest = left;
	}
	cleat__say(m->st, "wait %u s", longest);
	end_advice(m);
}

static void advise_address(struct matter *m)
{
	const struct cleat__ip at = cleat__ip_of(&m->b->at);
	const struct cleat_socket *s = m->t->blockers;

	if (at.is_any && !at.is_v4 && !m->b->v6only && all_are(m, is_v4))
		advise(m, "set IPV6_V6ONLY before bind(): [::] is then IPv6 "
			  "alone");
	if (at.is_v4 && all_are(m, is_dual_stack)) {
		cleat__say(m->st, "have ");
		cleat__say_owner(m->st, s);
		cleat__say(m->st, " set IPV6_V6ONLY, which leaves IPv4 to "
				  "others");
		end_advice(m);
	}
	if (all_are(m, is_specific))
		advise(m, at.is_any ? "bind one address rather than every one"
				    : "bind another address");
}

/* As far as ports tell: a server's would be the other way round.  Listeners are
 * first among the blockers.
 */
static bool is_outgoing(const struct matter *m)
{
	const struct cleat_socket *s = m->t->blockers;

	return m->t->n_blockers > 0 && is_connected(s) &&
	       is_ephemeral(port_of(m)) &&
	       !is_ephemeral(cleat_sockaddr_port(&s->peer));
}

static void advise_in_use(struct matter *m)
{
	if (all_are(m, is_connected))
		advise_option(m);
	advise_stop(m);
	if (!all_are(m, is_connected))
		advise_option(m);
	if (all_are(m, is_lingering))
		advise_wait(m);
	if (is_outgoing(m)) {
		cleat__say(m->st,
			   "keep the port from outgoing connections: sysctl "
			   "net.ipv4.ip_local_reserved_ports=%u",
			   port_of(m));
		end_advice(m);
	}
	advise_address(m);
	advise(m, "take another port; 0 asks the kernel for a free one");
}

static unsigned privileged_below(void)
{
	unsigned v[2];

	return read_sysctl("/proc/sys/net/ipv4/ip_unprivileged_port_start", v) >
			       0
		       ? v[0]
		       : 1024;
}

static void sum_up_denied(struct matter *m)
{
	const unsigned start = privileged_below();

	if (port_of(m) >= start)
		cleat__say(m->st, "permission denied by a security policy: "
				  "the port is not privileged");
	else
		cleat__say(m->st,
			   "port %u is privileged: below "
			   "net.ipv4.ip_unprivileged_port_start (%u) it needs "
			   "CAP_NET_BIND_SERVICE",
			   port_of(m), start);
	if (m->t->n_blockers > 0) {
		cleat__say(m->st, "; besides, ");
		say_blocker(m, &m->t->blockers[0]);
	}
}

static void advise_denied(struct matter *m)
{
	const unsigned start = privileged_below();

	if (port_of(m) < start) {
		cleat__say(m->st, "take a port from %u on", start);
		end_advice(m);
		advise(m, "run as root, or give the program the right: setcap "
			  "cap_net_bind_service=+ep PROGRAM");
		cleat__say(m->st,
			   "let anyone: sysctl "
			   "net.ipv4.ip_unprivileged_port_start=%u",
			   port_of(m));
		end_advice(m);
	}
	advise_stop(m);
}

/* This machine's addresses, of the family asked for. */
static unsigned say_own(struct matter *m, const struct ifaddrs *list)
{
	const int family = m->b->at.any.sa_family;
	unsigned n = 0;

	for (const struct ifaddrs *i = list; i; i = i->ifa_next) {
		struct cleat_sockaddr sa = { .len = 0 };

		if (!i->ifa_addr || i->ifa_addr->sa_family != family ||
		    n++ >= NAMED_MAX)
			continue;
		sa.len = family == AF_INET ? sizeof(sa.in) : sizeof(sa.in6);
		memcpy(&sa.any, i->ifa_addr, sa.len);
		cleat__say(m->st, n > 1 ? ", " : " (it has ");
		cleat__say_ip(m->st, &sa);
	}
	if (n > NAMED_MAX)
		cleat__say(m->st, " and %u more", n - NAMED_MAX);
	cleat__say(m->st, n > 0 ? ")" : ", which has none of that family");
	return n;
}

static bool is_ip6_off(void)
{
	unsigned v[2];

	return read_sysctl("/proc/sys/net/ipv6/conf/all/disable_ipv6", v) > 0 &&
	       v[0] != 0;
}

static void sum_up_absent(struct matter *m)
{
	struct ifaddrs *list = NULL;

	cleat__say_ip(m->st, &m->b->at);
	cleat__say(m->st, " is not an address of this machine");
	if (m->b->device != 0) {
		cleat__say(m->st, " at ");
		cleat__say_device(m->st, m->b->device);
	}
	if (getifaddrs(&list) < 0)
		return;
	if (say_own(m, list) == 0 && m->b->at.any.sa_family == AF_INET6 &&
	    is_ip6_off())
		cleat__say(m->st, ": net.ipv6.conf.all.disable_ipv6 is set");
	freeifaddrs(list);
}

static void advise_absent(struct matter *m)
{
	const bool is_v6 = m->b->at.any.sa_family == AF_INET6;

	if (is_v6 && is_ip6_off()) {
		advise(m, "turn IPv6 on: sysctl "
			  "net.ipv6.conf.all.disable_ipv6=0");
		advise(m, "bind an IPv4 address");
	} else {
		advise(m, "bind an address that it has, or a wildcard");
	}
	cleat__say(m->st,
		   "set %s before bind(), which then binds it all the "
		   "same",
		   is_v6 ? "IPV6_FREEBIND" : "IP_FREEBIND");
	end_advice(m);
}

static bool is_without_zone(const struct matter *m)
{
	const struct cleat__ip ip = cleat__ip_of(&m->b->at);

	return IN6_IS_ADDR_LINKLOCAL(&ip.addr) && ip.zone == 0;
}

static void sum_up_invalid(struct matter *m)
{
	cleat__say_ip(m->st, &m->b->at);
	if (m->b->v6only && cleat__ip_of(&m->b->at).is_v4)
		cleat__say(m->st, " is IPv4, which IPV6_V6ONLY excludes");
	else if (is_without_zone(m))
		cleat__say(m->st, " is link-local, and no interface is named");
	else
		cleat__say(m->st, " is no address that this kind of socket "
				  "can be bound to");
}

static void advise_invalid(struct matter *m)
{
	if (!is_without_zone(m))
		return;
	cleat__say(m->st, "name the interface: [");
	cleat__say_ip(m->st, &m->b->at);
	cleat__say(m->st, "%%INTERFACE]:%u", port_of(m));
	end_advice(m);
}

static void sum_up_family(struct matter *m)
{
	cleat__say(m->st, "this kernel has no %s",
		   m->b->at.any.sa_family == AF_INET6 ? "IPv6" : "IPv4");
}

static void advise_family(struct matter *m)
{
	if (m->b->at.any.sa_family == AF_INET6)
		advise(m, "bind an IPv4 address");
}

static void sum_up_other(struct matter *m)
{
	cleat__say_addr(m->st, &m->b->at);
	cleat__say(m->st, ": %s", cleat_strerror(m->t->error));
}

static void sum_up_path(struct matter *m, enum cleat__path path)
{
	if (m->t->n_blockers > 0) {
		say_blocker(m, &m->t->blockers[0]);
		return;
	}
	cleat__say_addr(m->st, &m->b->at);
	if (path == CLEAT__PATH_LEFT)
		cleat__say(m->st, " is a file that was left behind: nobody has "
				  "its socket");
	else if (path == CLEAT__PATH_OTHER)
		cleat__say(m->st, " is a file, and not a socket");
	else
		cleat__say(m->st, " is in use by a process that is not seen");
}

static void advise_path(struct matter *m, enum cleat__path path)
{
	advise_stop(m);
	if (path == CLEAT__PATH_LEFT)
		advise(m, "remove the file");
	advise(m, "take another name");
}

static const struct {
	int err;
	void (*sum_up)(struct matter *m);
	void (*advise)(struct matter *m);
} causes[] = {
	{ -EADDRINUSE, sum_up_in_use, advise_in_use },
	{ -EACCES, sum_up_denied, advise_denied },
	{ -EADDRNOTAVAIL, sum_up_absent, advise_absent },
	{ -EINVAL, sum_up_invalid, advise_invalid },
	{ -EAFNOSUPPORT, sum_up_family, advise_family },
};

static void tell_unix(struct matter *m, enum cleat__path path,
		      const char **summary)
{
	const bool is_taken = m->t->error == -EADDRINUSE;

	if (is_taken)
		sum_up_path(m, path);
	else
		sum_up_other(m);
	if (m->t->error == -ENOENT || m->t->error == -EACCES)
		cleat__say(m->st, ": of the directory that is to have it");
	*summary = cleat__said(m->st);
	if (is_taken)
		advise_path(m, path);
}

static void tell_ip(struct matter *m, const char **summary)
{
	size_t i = 0;

	while (i < COUNT(causes) && causes[i].err != m->t->error)
		i++;
	if (i < COUNT(causes))
		causes[i].sum_up(m);
	else
		sum_up_other(m);
	*summary = cleat__said(m->st);
	if (i < COUNT(causes))
		causes[i].advise(m);
}

size_t cleat__advise(struct cleat__story *st, const struct cleat_trial *t,
		     const struct cleat_bind *b, enum cleat__path path,
		     const char **summary,
		     const char *advice[CLEAT__ADVICE_MAX])
{
	struct matter m = { .st = st, .t = t, .b = b, .advice = advice };

	if (t->error == 0) {
		cleat__say_addr(st, &b->at);
		cleat__say(st, " can be bound");
		*summary = cleat__said(st);
	} else if (b->at.any.sa_family == AF_UNIX) {
		tell_unix(&m, path, summary);
	} else {
		tell_ip(&m, summary);
	}
	return m.n;
}
