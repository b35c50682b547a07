/* SPDX-License-Identifier: MIT */
/* Random configurations of sockets, in a network namespace of their own: who
 * would receive, and then who does; what could be bound, and then what is.
 *
 * Environment: SEED of the first configuration (each prints its own when it
 * fails), CASES how many questions at least (20,000).
 */
#include <cleat/error.h>
#include <cleat/inspect.h>
#include <cleat/time.h>

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "inspect/overlap.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define SOCKETS_MAX 24u
#define SOMEBODY 1000u /* a user other than root */

/* Ports: each configuration has its own, for TIME_WAIT outlives it. */
#define FIRST_PORT 10000u
#define N_CONFIGS 5000u

/* The kernel answers over loopback before a call returns, or soon after. */
#define PATIENCE (5 * CLEAT_SEC)
#define SILENCE (3 * CLEAT_MSEC)

static const char *const devices[] = { "", "lo", "v0", "v1" };
static const char *const v4_addrs[] = {
	"0.0.0.0",  "127.0.0.1", "10.1.0.1",  "10.1.0.2",
	"10.2.0.1", "10.3.0.1",  "127.0.0.6",
};
static const char *const v6_addrs[] = {
	"::",
	"::1",
	"fd01::1",
	"fd02::1",
	"fd03::1",
	"::ffff:10.1.0.1",
	"::ffff:127.0.0.1",
	"::ffff:0.0.0.0",
	"fe80::a",
	"fe80::b",
};
static const char *const not_ours[] = { "10.1.0.77", "192.0.2.1", "fd01::77",
					"2001:db8::1" };

/* Network of the tests, as a batch for ip(8). */
static const char network[] = "link set lo up\n"
			      "link add v0 type veth peer name v1\n"
			      "link set v0 addrgenmode none\n"
			      "link set v1 addrgenmode none\n"
			      "link set v0 up\n"
			      "link set v1 up\n"
			      "addr add 10.1.0.1/24 dev v0\n"
			      "addr add 10.1.0.2/24 dev v0\n"
			      "addr add 10.2.0.1/24 dev v1\n"
			      "addr add 10.3.0.1/32 dev lo\n"
			      "addr add fd01::1/64 dev v0 nodad\n"
			      "addr add fd02::1/64 dev v1 nodad\n"
			      "addr add fd03::1/128 dev lo nodad\n"
			      "addr add fe80::a/64 dev v0 nodad\n"
			      "addr add fe80::b/64 dev v1 nodad\n";

struct member {
	int fd;
	int held[2]; /* connections that are kept, or -1 */
	int type;
	bool listens, is_full;
	bool reuseaddr, reuseport, v6only;
	unsigned device;
	unsigned uid;
	struct cleat_sockaddr at, peer;
	uint64_t cookie;
};

static struct config {
	uint64_t seed;
	uint64_t random;
	unsigned port;
	struct member v[SOCKETS_MAX];
	unsigned n;
} config;

static unsigned cases, lookups, trials, answers[5];

/* xorshift64*; one stream for each configuration. */
static unsigned any(unsigned below)
{
	uint64_t *x = &config.random;

	*x ^= *x >> 12;
	*x ^= *x << 25;
	*x ^= *x >> 27;
	return (unsigned)((*x * 0x2545f4914f6cdd1dull) >> 33) % below;
}

static bool one_in(unsigned n)
{
	return any(n) == 0;
}

static const char *text_of(const struct cleat_sockaddr *sa)
{
	static char text[4][CLEAT_ADDR_MAX];
	static unsigned next;
	char *t = text[next++ % 4];

	if (sa->len == 0)
		return "-";
	if (cleat_sockaddr_format(sa, t, CLEAT_ADDR_MAX) < 0)
		return "?";
	return t;
}

static void print_member(const struct member *m)
{
	print_error("  %s%s %s %s peer %s%s%s%s dev %s uid %u%s%s fd %d\n",
		    m->at.any.sa_family == AF_INET ? "4" : "6",
		    m->type == SOCK_STREAM ? "tcp" : "udp",
		    m->listens ? "listens" : "bound", text_of(&m->at),
		    text_of(&m->peer), m->v6only ? " v6only" : "",
		    m->reuseaddr ? " reuseaddr" : "",
		    m->reuseport ? " reuseport" : "", devices[m->device],
		    m->uid, m->is_full ? " full" : "",
		    m->held[0] >= 0 ? " held" : "", m->fd);
}

static void print_listed(const char *what, const struct cleat_socket *v,
			 size_t n)
{
	for (size_t i = 0; i < n; i++)
		print_error("  %s: %s peer %s %s dev %u v6only %d queue %u/%u "
			    "cookie %" PRIu64 "\n",
			    what, text_of(&v[i].local), text_of(&v[i].peer),
			    cleat_state_name(v[i].state), v[i].device,
			    v[i].v6only, v[i].queue_used, v[i].queue_max,
			    v[i].cookie);
}

static void print_table(void)
{
	struct cleat_sockets *s;
	const struct cleat_query q = {
		.kinds = CLEAT_KIND_TCP | CLEAT_KIND_UDP,
		.port = config.port,
		.last_port = config.port + 3,
		.owners = CLEAT_OFF,
	};

	print_error("SEED=%" PRIu64 ", case %u\n", config.seed, cases);
	for (unsigned i = 0; i < config.n; i++)
		print_member(&config.v[i]);
	if (cleat_sockets_new(&s, &q) == 0)
		print_listed("listed", s->v, s->n);
	cleat_sockets_free(s);
}

static void set_int(int fd, int level, int name, int value)
{
	if (setsockopt(fd, level, name, &value, sizeof(value)) < 0)
		fail_msg("setsockopt %d %d: %s", level, name, strerror(errno));
}

static void set_device(int fd, unsigned device)
{
	const char *name = devices[device];

	if (device != 0 && setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name,
				      (socklen_t)strlen(name)) < 0)
		fail_msg("bind to device %s: %s", name, strerror(errno));
}

static struct cleat_sockaddr addr(const char *text, unsigned port)
{
	struct cleat_sockaddr sa = { .len = sizeof(sa.in) };

	if (inet_pton(AF_INET, text, &sa.in.sin_addr) == 1) {
		sa.any.sa_family = AF_INET;
	} else {
		assert_int_equal(inet_pton(AF_INET6, text, &sa.in6.sin6_addr),
				 1);
		sa.len = sizeof(sa.in6);
		sa.any.sa_family = AF_INET6;
		if (IN6_IS_ADDR_LINKLOCAL(&sa.in6.sin6_addr))
			sa.in6.sin6_scope_id = if_nametoindex(
				strcmp(text, "fe80::a") == 0 ? "v0" : "v1");
	}
	sa.in.sin_port = htons((in_port_t)port); /* where sin6_port is, too */
	return sa;
}

static struct cleat_sockaddr any_addr(unsigned port)
{
	return one_in(2) ? addr(v4_addrs[any(COUNT(v4_addrs))], port)
			 : addr(v6_addrs[any(COUNT(v6_addrs))], port);
}

static unsigned server_port(void)
{
	return config.port + one_in(4);
}

static unsigned client_port(void)
{
	return config.port + 2 + any(2);
}

static bool is_mapped(const struct cleat_sockaddr *sa)
{
	return sa->any.sa_family == AF_INET6 &&
	       IN6_IS_ADDR_V4MAPPED(&sa->in6.sin6_addr);
}

static bool is_v4(const struct cleat_sockaddr *sa)
{
	return sa->any.sa_family == AF_INET || is_mapped(sa);
}

static uint64_t cookie_of(int fd)
{
	uint64_t cookie = 0;
	socklen_t len = sizeof(cookie);

	if (getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &len) < 0)
		fail_msg("SO_COOKIE: %s", strerror(errno));
	return cookie;
}

/* Closed without a trace: RST, no TIME_WAIT. */
static void drop(int fd)
{
	const struct linger l = { .l_onoff = 1 };

	if (fd < 0)
		return;
	(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
	close(fd);
}

static int open_for(int family, int type, unsigned uid)
{
	int fd;

	setfsuid(uid);
	fd = socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	setfsuid(0);
	if (fd < 0)
		fail_msg("socket: %s", strerror(errno));
	return fd;
}

static void dress(int fd, const struct member *m)
{
	if (m->at.any.sa_family == AF_INET6)
		set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, m->v6only);
	set_int(fd, SOL_SOCKET, SO_REUSEADDR, m->reuseaddr);
	set_int(fd, SOL_SOCKET, SO_REUSEPORT, m->reuseport);
	set_device(fd, m->device);
}

/* 0, or the error of bind() or, if it LISTENS, of listen(). */
static int try_member(int fd, const struct member *m, int backlog)
{
	dress(fd, m);
	if (bind(fd, &m->at.any, m->at.len) < 0)
		return -errno;
	if (m->listens && listen(fd, backlog) < 0)
		return -errno;
	return 0;
}

static struct member invent(void)
{
	static unsigned habit; /* of a configuration */
	struct member m = { .fd = -1, .held = { -1, -1 } };

	if (config.n == 0)
		habit = any(6);
	if (config.n > 0 && one_in(3)) {
		m = config.v[any(config.n)];
		m.peer.len = 0;
		m.held[0] = m.held[1] = -1;
	} else {
		m.type = one_in(2) ? SOCK_STREAM : SOCK_DGRAM;
		m.at = any_addr(server_port());
		m.device = one_in(4) ? any(COUNT(devices)) : 0;
		m.v6only = m.at.any.sa_family == AF_INET6 &&
			   !is_mapped(&m.at) && one_in(3);
		m.uid = one_in(12) ? SOMEBODY : 0;
	}
	m.listens = m.type == SOCK_STREAM && !one_in(6);
	m.is_full = false;
	m.reuseaddr = habit == 1 || habit == 3 || (habit > 3 && one_in(2));
	m.reuseport = habit == 2 || habit == 3 || (habit > 3 && one_in(2));
	return m;
}

static bool add_member(void)
{
	struct member m = invent();
	int backlog = m.listens && one_in(12) ? 0 : 64;

	m.fd = open_for(m.at.any.sa_family, m.type, m.uid);
	if (try_member(m.fd, &m, backlog) < 0) {
		close(m.fd);
		return false;
	}
	m.is_full = backlog == 0 && m.listens; /* if it can be filled */
	m.cookie = cookie_of(m.fd);
	config.v[config.n++] = m;
	return true;
}

/* A socket as P says, that connects as P says.  Returns it, or -errno. */
static int set_out(const struct cleat_probe *p, unsigned device)
{
	int fd = open_for(p->to.any.sa_family, p->type, 0);
	int err = 0;

	set_device(fd, device);
	if (p->type == SOCK_STREAM)
		set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (p->from.len > 0 && bind(fd, &p->from.any, p->from.len) < 0)
		err = errno == EADDRINUSE ? -EADDRINUSE : -EADDRNOTAVAIL;
	if (err == 0 && connect(fd, &p->to.any, p->to.len) < 0 &&
	    errno != EINPROGRESS)
		err = -errno;
	if (err == 0)
		return fd;
	close(fd);
	return err;
}

static unsigned port_of(int fd,
			int (*name)(int, struct sockaddr *, socklen_t *))
{
	struct cleat_sockaddr sa = { .len = sizeof(sa.storage) };

	return name(fd, &sa.any, &sa.len) < 0 ? 0 : cleat_sockaddr_port(&sa);
}

/* Whether M has got what the sender FD sent; a connection goes to *GOT. */
static bool has_got(struct member *m, int fd, int *got)
{
	char token[16], sent[16];
	int c;

	if (m->type == SOCK_DGRAM) {
		(void)snprintf(sent, sizeof(sent), "%u", cases);
		c = (int)recv(m->fd, token, sizeof(token), 0);
		return c > 0 && strncmp(token, sent, (size_t)c) == 0;
	}
	while ((c = accept(m->fd, NULL, NULL)) >= 0) {
		if (port_of(c, getpeername) == port_of(fd, getsockname)) {
			*got = c;
			return true;
		}
		drop(c); /* of an earlier question */
	}
	return false;
}

static int error_of(int fd)
{
	int err = 0;
	socklen_t len = sizeof(err);

	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
		fail_msg("SO_ERROR: %s", strerror(errno));
	return err;
}

enum {
	NOBODY = -1,
	REFUSED = -2
};

/* Who has got what FD sent: an index, REFUSED, or after PATIENCE NOBODY. */
static int see(int fd, int type, int64_t patience, int *got)
{
	const cleat_time until = cleat_in(patience);
	struct pollfd v[SOCKETS_MAX + 1] = { { .fd = fd } };

	for (unsigned i = 0; i < config.n; i++) {
		const struct member *m = &config.v[i];
		const bool waits = m->type == type && !m->is_full &&
				   (type == SOCK_DGRAM || m->listens);

		v[i + 1] = (struct pollfd){ waits ? m->fd : -1, POLLIN, 0 };
	}
	do {
		if (poll(v, config.n + 1, 1) <= 0)
			continue;
		for (unsigned i = 0; i < config.n; i++) {
			if (v[i + 1].revents & POLLIN &&
			    has_got(&config.v[i], fd, got))
				return (int)i;
		}
		if (v[0].revents & (POLLERR | POLLHUP))
			return error_of(fd) == ECONNREFUSED ? REFUSED : NOBODY;
	} while (cleat_now() < until);
	return NOBODY;
}

static bool find_local(struct cleat_sockaddr *sa, const struct member *like,
		       unsigned port)
{
	for (unsigned i = 0; i < 32; i++) {
		*sa = any_addr(port);
		if (is_v4(sa) != is_v4(&like->at))
			continue;
		if (like->at.any.sa_family == AF_INET6 || !is_mapped(sa))
			return like->at.any.sa_family == sa->any.sa_family;
	}
	return false;
}

static void connect_datagram(struct member *m)
{
	struct cleat_sockaddr peer;

	if (!find_local(&peer, m, client_port()) ||
	    connect(m->fd, &peer.any, peer.len) < 0)
		return;
	m->peer.len = m->at.len = sizeof(m->at.storage);
	assert_int_equal(getpeername(m->fd, &m->peer.any, &m->peer.len), 0);
	assert_int_equal(getsockname(m->fd, &m->at.any, &m->at.len), 0);
}

/* A connection to M's address, whoever takes it: kept, or left in TIME_WAIT at
 * the side of the listener.
 */
static void connect_stream(struct member *m)
{
	struct cleat_probe p = { .type = SOCK_STREAM, .to = m->at };
	int fd, server = -1;

	if (!find_local(&p.from, m, client_port()))
		return;
	fd = set_out(&p, 0);
	if (fd < 0)
		return;
	if (see(fd, SOCK_STREAM, SILENCE, &server) < 0) {
		drop(fd);
	} else if (one_in(2)) {
		m->held[0] = fd;
		m->held[1] = server;
	} else {
		close(server);
		close(fd);
	}
}

static void fill(struct member *m)
{
	const struct cleat_probe p = { .type = SOCK_STREAM, .to = m->at };
	struct pollfd ready = { .fd = m->fd, .events = POLLIN };

	m->held[0] = set_out(&p, m->device);
	m->is_full = poll(&ready, 1, 0) == 1;
}

static void embellish(struct member *m)
{
	if (m->is_full)
		fill(m);
	else if (m->type == SOCK_DGRAM && one_in(4))
		connect_datagram(m);
	else if (m->listens && one_in(5))
		connect_stream(m);
}

static void configure(uint64_t seed)
{
	unsigned wanted;

	config.seed = seed;
	config.random = (seed + 1) * 0x9e3779b97f4a7c15ull;
	config.port = FIRST_PORT + 4 * (unsigned)(seed % N_CONFIGS);
	config.n = 0;
	(void)any(2);
	wanted = 1 + any(one_in(4) ? SOCKETS_MAX - 1 : 8);
	for (unsigned i = 0; i < 3 * wanted && config.n < wanted; i++)
		(void)add_member();
	for (unsigned i = 0; i < config.n; i++)
		embellish(&config.v[i]);
}

static void close_member(struct member *m)
{
	if (m->fd >= 0)
		close(m->fd);
	drop(m->held[0]);
	drop(m->held[1]);
	m->fd = m->held[0] = m->held[1] = -1;
}

static void dismantle(void)
{
	for (unsigned i = 0; i < config.n; i++)
		close_member(&config.v[i]);
	config.n = 0;
}

static int index_of(uint64_t cookie)
{
	for (unsigned i = 0; i < config.n; i++) {
		if (config.v[i].fd >= 0 && config.v[i].cookie == cookie)
			return (int)i;
	}
	return -1;
}

static void disagree(const struct cleat_probe *p, const struct cleat_lookup *l,
		     const char *format, ...)
	__attribute__((format(printf, 3, 4), noreturn));

static void disagree(const struct cleat_probe *p, const struct cleat_lookup *l,
		     const char *format, ...)
{
	char what[256];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(what, sizeof(what), format, args);
	va_end(args);
	print_table();
	print_error("%s to %s from %s device %u: answer %d: %s\n",
		    p->type == SOCK_STREAM ? "tcp" : "udp", text_of(&p->to),
		    text_of(&p->from), p->device, l->answer, l->explanation);
	print_listed("receiver", l->receivers, l->n_receivers);
	print_listed("shadowed", l->shadowed, l->n_shadowed);
	print_error("%s\n", what);
	fail_msg("who: SEED=%" PRIu64 ": %s", config.seed, what);
	abort();
}

static bool is_receiver(const struct cleat_lookup *l, uint64_t cookie)
{
	for (size_t i = 0; i < l->n_receivers; i++) {
		if (l->receivers[i].cookie == cookie)
			return true;
	}
	return false;
}

static bool has_full(const struct cleat_lookup *l)
{
	for (size_t i = 0; i < l->n_receivers; i++) {
		const int k = index_of(l->receivers[i].cookie);

		if (k >= 0 && config.v[k].is_full)
			return true;
	}
	return false;
}

/* Of any of several, some may be full; of one, the answer itself says so.  What
 * a connection receives, if only half open, nobody accepts.
 */
static bool expects_silence(const struct cleat_lookup *l)
{
	const struct cleat_socket *s = l->receivers;

	return l->answer == CLEAT_ANSWER_DROPPED ||
	       l->answer == CLEAT_ANSWER_UNREACHABLE ||
	       (l->answer == CLEAT_ANSWER_ANY_OF && has_full(l)) ||
	       (l->n_receivers == 1 && s->type == SOCK_STREAM &&
		s->state != CLEAT_STATE_LISTEN);
}

/* Whoever has got it, does L say so? */
static void compare(const struct cleat_probe *p, const struct cleat_lookup *l,
		    int who, bool is_quiet)
{
	if (who >= 0 && !is_receiver(l, config.v[who].cookie))
		disagree(p, l, "fd %d has got it", config.v[who].fd);
	if (who >= 0 && l->answer == CLEAT_ANSWER_DROPPED)
		disagree(p, l, "not dropped");
	if (who == REFUSED && l->answer != CLEAT_ANSWER_REFUSED)
		disagree(p, l, "it was refused");
	if (who == NOBODY && !is_quiet)
		disagree(p, l, "nobody has got it");
}

/* To these the kernel answers by the interface that the packet came in by. */
static bool needs_device(const struct cleat_sockaddr *to,
			 const struct cleat_sockaddr *from)
{
	return to->any.sa_family == AF_INET6 &&
	       (IN6_IS_ADDR_LINKLOCAL(&to->in6.sin6_addr) ||
		IN6_IS_ADDR_LOOPBACK(&from->in6.sin6_addr));
}

/* An index of the devices, or 0. */
static unsigned owner_of(const struct cleat_sockaddr *sa)
{
	const unsigned char *ip = sa->in6.sin6_addr.s6_addr;

	if (sa->any.sa_family == AF_INET)
		ip = (const unsigned char *)&sa->in.sin_addr;
	else if (is_mapped(sa))
		ip += 12;
	else if (ip[0] == 0xfe)
		return ip[15] == 0xa ? 2 : 3;
	else
		return ip[0] == 0xfd && ip[1] < 3 ? ip[1] + 1u : 1;
	if (ip[0] == 10)
		return ip[1] < 3 ? ip[1] + 1u : 1;
	return ip[0] == 127;
}

/* Whether the answer to what FD sends cannot come back to it: its source is an
 * address of another interface than one of both sides is bound to.  By lo there
 * is no RST from an address of another one (tcp_v4_send_reset() of the kernel).
 */
static bool is_one_way(int fd, const struct cleat_probe *p, unsigned device,
		       const struct cleat_lookup *l)
{
	struct cleat_sockaddr from = { .len = sizeof(from.storage) };
	unsigned owner;

	assert_int_equal(getsockname(fd, &from.any, &from.len), 0);
	owner = owner_of(&from);
	if (device != 0 &&
	    (device != owner || (device == 1 && owner_of(&p->to) != 1)))
		return true;
	/* ICMP comes by lo (__udp4_lib_err()). */
	if (device != 0 && p->type == SOCK_DGRAM)
		return true;
	if (needs_device(&p->to, &from) && owner_of(&p->to) != owner)
		return true;
	for (size_t i = 0; i < l->n_receivers; i++) {
		if (l->receivers[i].device != 0 &&
		    l->receivers[i].device != if_nametoindex(devices[owner]))
			return true;
	}
	return false;
}

/* Returns whether it could be tried. */
static bool send_really(const struct cleat_probe *p, unsigned device,
			const struct cleat_lookup *l)
{
	char token[16];
	const int n = snprintf(token, sizeof(token), "%u", cases);
	int fd = set_out(p, device);
	int got = -1, who;
	bool is_quiet;

	if (fd == -EADDRINUSE || fd == -EADDRNOTAVAIL)
		return false; /* the source is taken, or this very pair */
	if (fd < 0) {
		if (l->answer != CLEAT_ANSWER_UNREACHABLE)
			disagree(p, l, "connect: %s", strerror(-fd));
		return true;
	}
	if (is_one_way(fd, p, device, l) && p->type == SOCK_STREAM &&
	    l->n_receivers > 0) {
		drop(fd);
		return false;
	}
	if (p->type == SOCK_DGRAM)
		(void)send(fd, token, (size_t)n,
			   MSG_NOSIGNAL); /* see() tells */
	is_quiet = expects_silence(l) || (l->answer == CLEAT_ANSWER_REFUSED &&
					  is_one_way(fd, p, device, l));
	who = see(fd, p->type, is_quiet ? SILENCE : PATIENCE, &got);
	compare(p, l, who, is_quiet);
	drop(got);
	drop(fd);
	return true;
}

/* Mostly to somebody. */
static struct cleat_probe any_probe(unsigned *device)
{
	struct cleat_probe p = {
		.type = one_in(2) ? SOCK_STREAM : SOCK_DGRAM,
		.to = any_addr(server_port()),
	};
	const struct member *m = &config.v[any(config.n + 1)];

	if (one_in(20)) {
		p.to = addr(not_ours[any(COUNT(not_ours))], server_port());
	} else if (m < config.v + config.n) {
		p.type = m->type;
		p.to = one_in(2) ? m->at
				 : any_addr(cleat_sockaddr_port(&m->at));
		if (m->peer.len > 0 && one_in(2))
			p.from = m->peer;
	}
	*device = one_in(6) ? any(COUNT(devices)) : 0;
	if (*device != 0)
		p.device = if_nametoindex(devices[*device]);
	if (p.from.len > 0 ? is_v4(&p.from) == is_v4(&p.to) : one_in(2))
		return p;
	do
		p.from = any_addr(one_in(2) ? client_port() : 0);
	while (p.from.any.sa_family != p.to.any.sa_family ||
	       is_v4(&p.from) != is_v4(&p.to));
	return p;
}

static void ask_who(void)
{
	unsigned device;
	const struct cleat_probe p = any_probe(&device);
	struct cleat_lookup *l;
	unsigned times;
	int err = cleat_lookup_new(&l, &p);

	if (err < 0)
		fail_msg("look up %s: %s", text_of(&p.to), cleat_why());
	times = l->answer == CLEAT_ANSWER_ANY_OF ? 6 : 1;
	for (unsigned i = 0; i < times; i++) {
		if (!send_really(&p, device, l))
			break;
		cases++;
		lookups++;
		answers[l->answer]++;
	}
	cleat_lookup_free(l);
}

/* Whoever is asked for at the same time makes no difference. */
static void ask_together(void)
{
	struct cleat_probe p[3];
	struct cleat_lookup *together[COUNT(p)], *alone;
	unsigned device;

	for (size_t i = 0; i < COUNT(p); i++)
		p[i] = any_probe(&device);
	assert_int_equal(cleat_lookup_all(together, p, COUNT(p)), 0);
	for (size_t i = 0; i < COUNT(p); i++) {
		assert_int_equal(cleat_lookup_new(&alone, &p[i]), 0);
		if (strcmp(together[i]->explanation, alone->explanation) != 0 ||
		    together[i]->answer != alone->answer ||
		    together[i]->n_receivers != alone->n_receivers ||
		    together[i]->n_shadowed != alone->n_shadowed)
			disagree(&p[i], together[i], "alone: %s",
				 alone->explanation);
		cleat_lookup_free(together[i]);
		cleat_lookup_free(alone);
		cases++;
	}
}

static bool close_receivers(const struct cleat_lookup *l)
{
	for (size_t i = 0; i < l->n_receivers; i++) {
		const int k = index_of(l->receivers[i].cookie);

		if (k < 0)
			return false;
		close_member(&config.v[k]);
	}
	return true;
}

static bool is_shadowed(const struct cleat_lookup *l, uint64_t cookie)
{
	for (size_t i = 0; i < l->n_shadowed; i++) {
		if (l->shadowed[i].cookie == cookie)
			return true;
	}
	return false;
}

/* Of UDP a group that shares by SO_REUSEPORT takes all that comes while it is
 * looked at, before whoever would fit better (udp4_lib_lookup2()).
 */
static bool has_udp_group(const struct cleat_lookup *l)
{
	for (size_t i = 0; i < l->n_shadowed; i++) {
		const int k = index_of(l->shadowed[i].cookie);

		if (k >= 0 && config.v[k].type == SOCK_DGRAM &&
		    config.v[k].reuseport)
			return true;
	}
	return false;
}

static bool is_wildcard(const struct cleat_sockaddr *sa)
{
	if (sa->any.sa_family == AF_INET)
		return sa->in.sin_addr.s_addr == 0;
	return IN6_IS_ADDR_UNSPECIFIED(&sa->in6.sin6_addr) ||
	       (is_mapped(sa) && sa->in6.sin6_addr.s6_addr32[3] == 0);
}

/* NEXT is the answer once the receivers of L are gone. */
static void compare_next(const struct cleat_probe *p,
			 const struct cleat_lookup *l,
			 const struct cleat_lookup *next)
{
	const struct cleat_socket *a = &l->shadowed[0], *b = next->receivers;

	if (next->n_receivers + next->n_shadowed != l->n_shadowed)
		disagree(p, l, "%zu are left",
			 next->n_receivers + next->n_shadowed);
	for (size_t i = 0; i < next->n_receivers; i++) {
		if (!is_shadowed(l, b[i].cookie))
			disagree(p, l, "%s was not in the shadow",
				 text_of(&b[i].local));
	}
	/* An address before a wildcard, always. */
	if (is_wildcard(&a->local) != is_wildcard(&b->local))
		disagree(p, l, "%s is next", text_of(&b->local));
	/* Which of a group is the kernel's choice: but it is this group. */
	if (!has_udp_group(l) &&
	    (a->family != b->family || a->device != b->device ||
	     strcmp(text_of(&a->local), text_of(&b->local)) != 0))
		disagree(p, l, "%s, device %u, is next", text_of(&b->local),
			 b->device);
	cases++;
}

static void ask_next(void)
{
	unsigned device;
	const struct cleat_probe p = any_probe(&device);
	struct cleat_lookup *l, *next;

	assert_int_equal(cleat_lookup_new(&l, &p), 0);
	if (l->n_shadowed > 0 && close_receivers(l)) {
		assert_int_equal(cleat_lookup_new(&next, &p), 0);
		compare_next(&p, l, next);
		cleat_lookup_free(next);
	}
	cleat_lookup_free(l);
}

static void disagree_why(const struct cleat_bind *b,
			 const struct cleat_trial *t, const char *format, ...)
	__attribute__((format(printf, 3, 4), noreturn));

static void disagree_why(const struct cleat_bind *b,
			 const struct cleat_trial *t, const char *format, ...)
{
	char what[256];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(what, sizeof(what), format, args);
	va_end(args);
	print_table();
	print_error("bind %s to %s%s device %u: %s, %d %d %d %d: %s\n",
		    b->proto == CLEAT_TCP ? "tcp" : "udp", text_of(&b->at),
		    b->v6only ? " v6only" : "", b->device,
		    cleat_strerror(t->error), t->none, t->reuseaddr,
		    t->reuseport, t->both, t->summary);
	print_listed("blocker", t->blockers, t->n_blockers);
	print_error("%s\n", what);
	fail_msg("why: SEED=%" PRIu64 ": %s", config.seed, what);
	abort();
}

static void bind_really(const struct cleat_bind *b, const struct member *m,
			const struct cleat_trial *t, bool says)
{
	int fd = open_for(m->at.any.sa_family, m->type, 0);
	int err = try_member(fd, m, 1);

	close(fd);
	/* The trial with both has opened the door: see trial.c. */
	if (m->type == SOCK_STREAM && m->reuseport && !m->reuseaddr &&
	    !t->reuseaddr && !t->reuseport && t->both)
		return;
	if ((err == 0) != says)
		disagree_why(b, t, "reuseaddr %d reuseport %d: %s",
			     m->reuseaddr, m->reuseport, cleat_strerror(err));
	if (!m->reuseaddr && !m->reuseport && err != t->error)
		disagree_why(b, t, "error %s", cleat_strerror(err));
	cases++;
	trials++;
}

/* The table explains it, both ways.  Whether connections of IPv6 are V6ONLY it
 * does not say, and then they are in the way of 0.0.0.0 or not.
 */
static void check_overlaps(const struct cleat_bind *b,
			   const struct cleat_trial *t)
{
	const struct cleat_query q = { .port = cleat_sockaddr_port(&b->at),
				       .owners = CLEAT_OFF };
	struct cleat_sockets *s;
	size_t n = 0;

	if (t->error != 0 && t->error != -EADDRINUSE)
		return;
	assert_int_equal(cleat_sockets_new(&s, &q), 0);
	for (size_t i = 0; i < s->n; i++)
		n += cleat__overlaps(&s->v[i], b) &&
		     !(t->error == 0 && s->v[i].peer.len > 0 &&
		       s->v[i].family == AF_INET6);
	cleat_sockets_free(s);
	if ((n > 0) != (t->error == -EADDRINUSE))
		disagree_why(b, t, "%zu overlap", n);
	if ((t->n_blockers > 0) != (t->error == -EADDRINUSE))
		disagree_why(b, t, "%zu blockers", t->n_blockers);
}

static void ask_why(void)
{
	struct cleat_trial *t;
	struct member m = { .type = one_in(2) ? SOCK_STREAM : SOCK_DGRAM };
	struct cleat_bind b = {
		.proto = m.type == SOCK_STREAM ? CLEAT_TCP : CLEAT_UDP,
		.at = any_addr(one_in(5) ? client_port() : server_port()),
	};

	if (one_in(20))
		b.at = addr(not_ours[any(COUNT(not_ours))], server_port());
	b.v6only = one_in(4);
	m.device = one_in(5) ? any(COUNT(devices)) : 0;
	if (m.device != 0)
		b.device = if_nametoindex(devices[m.device]);
	m.at = b.at;
	m.v6only = b.v6only;
	m.listens = m.type == SOCK_STREAM;
	if (cleat_trial_new(&t, &b) < 0)
		fail_msg("try %s: %s", text_of(&b.at), cleat_why());
	bind_really(&b, &m, t, t->none);
	m.reuseaddr = true;
	bind_really(&b, &m, t, t->reuseaddr);
	m.reuseaddr = false;
	m.reuseport = true;
	bind_really(&b, &m, t, t->reuseport);
	m.reuseaddr = true;
	bind_really(&b, &m, t, t->both);
	check_overlaps(&b, t);
	cleat_trial_free(t);
}

static uint64_t number(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 10) : otherwise;
}

static void random_cases(void **state)
{
	const uint64_t wanted = number("CASES", 22000);
	uint64_t seed;

	(void)state;
	assert_int_equal(getrandom(&seed, sizeof(seed), 0), sizeof(seed));
	seed = number("SEED", seed % 1000000000);
	print_message("SEED=%" PRIu64 "\n", seed);
	while (cases < wanted) {
		configure(seed++);
		for (unsigned i = 0; i < 12; i++)
			ask_who();
		for (unsigned i = 0; i < 6; i++)
			ask_why();
		ask_together();
		for (unsigned i = 0; i < 3; i++)
			ask_next();
		dismantle();
	}
	print_message("%u lookups (one %u, any-of %u, refused %u, dropped %u, "
		      "unreachable %u), %u binds\n",
		      lookups, answers[0], answers[1], answers[2], answers[3],
		      answers[4], trials);
}

/* Returns whether ip(8) has made the network. */
static bool make_network(void)
{
	int in[2], status;
	pid_t pid;

	if (pipe(in) < 0)
		return false;
	pid = fork();
	if (pid == 0) {
		dup2(in[0], 0);
		close(in[1]);
		execlp("ip", "ip", "-batch", "-", (char *)NULL);
		_exit(127);
	}
	close(in[0]);
	if (write(in[1], network, sizeof(network) - 1) < 0)
		perror("write to ip");
	close(in[1]);
	return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

static void set_sysctl(const char *path, const char *value)
{
	FILE *f = fopen(path, "w");

	if (f) { /* or the limit is met, and the test fails */
		(void)fputs(value, f);
		(void)fclose(f);
	}
}

static int left_out(const char *why)
{
	print_message("skipped: %s\n", why);
	return 77;
}

/* With a /proc of nobody else's processes owners are found in no time.  Where
 * that cannot be had, it goes on as it is.  This process just waits: a
 * sanitizer could not start its thread here.
 */
static void leave_the_others(void)
{
	int status;
	pid_t pid;

	if (unshare(CLONE_NEWPID | CLONE_NEWNS) < 0)
		return;
	pid = fork();
	if (pid < 0 || (pid > 0 && waitpid(pid, &status, 0) != pid))
		_exit(1);
	if (pid > 0)
		_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
	if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0)
		(void)mount("proc", "/proc", "proc", 0, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_cases),
	};

	if (unshare(CLONE_NEWNET) < 0)
		return left_out("no right to make a network namespace");
	leave_the_others();
	if (!make_network())
		return left_out("ip(8) cannot make veth and IPv6 here");
	set_sysctl("/proc/sys/net/ipv4/icmp_ratemask", "0");
	set_sysctl("/proc/sys/net/ipv4/icmp_msgs_per_sec", "1000000");
	set_sysctl("/proc/sys/net/ipv4/icmp_msgs_burst", "1000000");
	set_sysctl("/proc/sys/net/ipv6/icmp/ratelimit", "0");
	return cmocka_run_group_tests_name("answers", tests, NULL, NULL);
}
