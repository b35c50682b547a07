/* SPDX-License-Identifier: MIT */
/* Snapshots of sockets: each kind and each state, filters; single lookups. */
#include "inspect.h"

#include <netinet/tcp.h>

#include "inspect/diag.h"

/* What the kernel does between two sockets of loopback takes no time, as a
 * rule.
 */
static void until_state(int fd, int want)
{
	struct tcp_info info = { 0 };
	cleat_time end = soon();

	do {
		socklen_t len = sizeof(info);

		assert_int_equal(
			getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len), 0);
	} while (info.tcpi_state != want && cleat_now() < end);
	assert_int_equal(info.tcpi_state, want);
}

/* The one from port A to port B that no descriptor is left of. */
static const struct cleat_socket *orphan(unsigned a, unsigned b)
{
	const struct cleat_socket *found = NULL;

	for (size_t i = 0; i < snap->n; i++) {
		const struct cleat_socket *s = &snap->v[i];

		if (s->inode != 0 || cleat_sockaddr_port(&s->local) != a ||
		    cleat_sockaddr_port(&s->peer) != b)
			continue;
		assert_null(found);
		found = s;
	}
	assert_non_null(found);
	return found;
}

static void assert_text(const struct cleat_sockaddr *sa, const char *want)
{
	char text[CLEAT_ADDR_MAX];

	ok(cleat_sockaddr_format(sa, text, sizeof(text)));
	assert_string_equal(text, want);
}

static unsigned port_of(int fd)
{
	const struct cleat_sockaddr sa = name_of(fd);

	return cleat_sockaddr_port(&sa);
}

static void assert_state(int fd, enum cleat_state want)
{
	const struct cleat_socket *s = get(fd);

	if (s->state != want)
		fail_msg("%s instead of %s", cleat_state_name(s->state),
			 cleat_state_name(want));
}

/* TCP */

static void tcp(void)
{
	int l = listening("127.0.0.1", 1001), c = connected(SOCK_STREAM, l), s;
	const struct cleat_socket *k;
	char want[32];

	take(NULL);
	k = get(l);
	assert_int_equal(k->family, AF_INET);
	assert_int_equal(k->type, SOCK_STREAM);
	assert_int_equal(k->protocol, IPPROTO_TCP);
	assert_int_equal(k->state, CLEAT_STATE_LISTEN);
	assert_text(&k->local, "127.0.0.1:1001");
	assert_int_equal(k->peer.len, 0);
	assert_int_equal(k->v6only, CLEAT_DEFAULT);
	assert_int_equal(k->device, 0);
	assert_int_equal(k->uid, getuid());
	assert_int_equal(k->queue_used, 1);
	assert_int_equal(k->queue_max, 5);
	assert_int_equal(k->expires_ns, 0);
	assert_int_equal(k->reuseport_group, 0);
	assert_true(k->cookie != 0);
	assert_int_equal(k->n_owners, 1);
	assert_int_equal(k->owners->pid, getpid());
	assert_int_equal(k->owners->fd, l);
	assert_string_equal(k->owners->command, "test_inspect");

	/* Not accepted yet: it is nobody's. */
	k = orphan(1001, port_of(c));
	assert_int_equal(k->state, CLEAT_STATE_ESTABLISHED);
	assert_int_equal(k->n_owners, 0);
	assert_int_equal(snap->hidden, 0);

	s = accepted(l);
	assert_int_equal(send(c, "hello", 5, 0), 5);
	take(NULL);
	assert_int_equal(get(l)->queue_used, 0);
	k = get(s);
	assert_int_equal(k->state, CLEAT_STATE_ESTABLISHED);
	assert_int_equal(k->queue_used, 5);
	assert_true(k->queue_max >= 5);
	assert_text(&k->local, "127.0.0.1:1001");
	(void)snprintf(want, sizeof(want), "127.0.0.1:%u", port_of(c));
	assert_text(&k->peer, want);
	assert_int_equal(k->owners->fd, s);
}

static bool lists_bound(void)
{
	int fd = bound(SOCK_STREAM, "127.0.0.1", 0);

	take(NULL);
	return seen(fd);
}

static void tcp_bound(void)
{
	int fd = bound(SOCK_STREAM, "::1", 1001);

	if (!lists_bound()) /* before Linux 6.8 */
		skip();
	take(NULL);
	assert_state(fd, CLEAT_STATE_BOUND);
	assert_text(&get(fd)->local, "[::1]:1001");
	assert_int_equal(get(fd)->peer.len, 0);
	assert_int_equal(get(fd)->owners->fd, fd);
}

/* Nothing answers on a link whose other end is nowhere; and a listener that
 * waits for data leaves the handshake open.
 */
static void tcp_handshakes(void)
{
	int l = listening("127.0.0.1", 1001), c;

	set(l, IPPROTO_TCP, TCP_DEFER_ACCEPT, 60);
	c = connected(SOCK_STREAM, l);
	take(NULL);
	assert_state(c, CLEAT_STATE_ESTABLISHED);
	assert_int_equal(orphan(1001, port_of(c))->state,
			 CLEAT_STATE_SYN_RECEIVED);
}

/* Both ends hold more than the other will read. */
static void stuff(int fd)
{
	static const char block[65536];
	cleat_time end = soon();
	int unacked = 0, before = -1;

	set(fd, SOL_SOCKET, SO_SNDBUF, 1 << 20);
	while (unacked != before && cleat_now() < end) {
		before = unacked;
		while (send(fd, block, sizeof(block), MSG_DONTWAIT) > 0)
			;
		assert_int_equal(ioctl(fd, TIOCOUTQ, &unacked), 0);
	}
}

struct ends {
	int l, a, b;
};

static struct ends ends(void)
{
	struct ends e = { .l = bound(SOCK_STREAM, "127.0.0.1", 0) };

	assert_int_equal(listen(e.l, 5), 0);
	e.a = connected(SOCK_STREAM, e.l);
	e.b = accepted(e.l);
	return e;
}

static void tcp_endings(void)
{
	struct ends e = ends(), f = ends(), g = ends(), h = ends();

	assert_int_equal(shutdown(e.a, SHUT_WR), 0);
	until_state(e.b, TCP_CLOSE_WAIT);
	until_state(e.a, TCP_FIN_WAIT2);
	take(NULL);
	assert_state(e.a, CLEAT_STATE_FIN_WAIT_2);
	assert_int_equal(get(e.a)->expires_ns, 0); /* as long as it is held */
	assert_state(e.b, CLEAT_STATE_CLOSE_WAIT);

	stuff(f.a);
	assert_int_equal(shutdown(f.a, SHUT_WR), 0);
	take(NULL);
	assert_state(f.a, CLEAT_STATE_FIN_WAIT_1);

	stuff(g.a);
	assert_int_equal(shutdown(g.a, SHUT_WR), 0);
	assert_int_equal(shutdown(g.b, SHUT_WR), 0);
	until_state(g.a, TCP_CLOSING);
	take(NULL);
	assert_state(g.a, CLEAT_STATE_CLOSING);

	stuff(h.a);
	assert_int_equal(shutdown(h.b, SHUT_WR), 0);
	until_state(h.a, TCP_CLOSE_WAIT);
	assert_int_equal(shutdown(h.a, SHUT_WR), 0);
	take(NULL);
	assert_state(h.a, CLEAT_STATE_LAST_ACK);
}

/* An acknowledgement may take its time, 40 ms. */
static const struct cleat_socket *until_orphan(unsigned a, unsigned b,
					       enum cleat_state want)
{
	cleat_time end = soon();

	do
		take(NULL);
	while (orphan(a, b)->state != want && cleat_now() < end);
	assert_int_equal(orphan(a, b)->state, want);
	return orphan(a, b);
}

static void tcp_lingering(void)
{
	const cleat_time most = 61 * CLEAT_SEC;
	struct ends e = ends(), f = ends();
	unsigned a = port_of(f.a), b = port_of(f.b);
	const struct cleat_socket *k;

	(void)e;
	leave(f.b); /* nobody holds it: the kernel waits for the other's FIN */
	k = until_orphan(b, a, CLEAT_STATE_FIN_WAIT_2);
	assert_true(k->expires_ns > 0 && k->expires_ns <= most);
	leave(f.a);
	k = until_orphan(b, a, CLEAT_STATE_TIME_WAIT);
	assert_true(k->expires_ns > 0 && k->expires_ns <= most);
	assert_int_equal(k->n_owners, 0);
	assert_int_equal(snap->hidden, 0);
}

static void ip6(void)
{
	int l = listening("::", 1001), m = listening("::ffff:127.0.0.1", 1002);
	int o = new_socket(AF_INET6, SOCK_STREAM), c, s;
	const struct cleat_socket *k;

	set(o, IPPROTO_IPV6, IPV6_V6ONLY, 1);
	bind_to(o, at("::", 1003));
	assert_int_equal(listen(o, 1), 0);
	c = new_socket(AF_INET, SOCK_STREAM);
	connect_fd(c, at("127.0.0.1", 1001));
	s = accepted(l);
	take(NULL);
	assert_text(&get(l)->local, "[::]:1001");
	assert_int_equal(get(l)->family, AF_INET6);
	assert_int_equal(get(l)->v6only, CLEAT_OFF);
	assert_text(&get(o)->local, "[::]:1003");
	assert_int_equal(get(o)->v6only, CLEAT_ON);

	/* Its family is its own; the address is the one it was given. */
	k = get(m);
	assert_int_equal(k->family, AF_INET6);
	assert_int_equal(k->local.any.sa_family, AF_INET6);
	assert_true(IN6_IS_ADDR_V4MAPPED(&k->local.in6.sin6_addr));
	assert_text(&k->local, "127.0.0.1:1002");
	k = get(s);
	assert_int_equal(k->family, AF_INET6);
	assert_text(&k->local, "127.0.0.1:1001");
	assert_int_equal(cleat_sockaddr_port(&k->peer), port_of(c));
}

static void devices(void)
{
	int fd = new_socket(AF_INET, SOCK_STREAM);

	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3),
			 0);
	bind_to(fd, at("0.0.0.0", 1005));
	assert_int_equal(listen(fd, 1), 0);
	take(NULL);
	assert_int_equal(get(fd)->device, if_nametoindex("lo"));
}

static int sharing(int type, const char *ip, unsigned port)
{
	struct cleat_sockaddr sa = at(ip, port);
	int fd = new_socket(sa.any.sa_family, type);

	set(fd, SOL_SOCKET, SO_REUSEPORT, 1);
	bind_to(fd, sa);
	if (type == SOCK_STREAM)
		assert_int_equal(listen(fd, 1), 0);
	return fd;
}

static void groups(void)
{
	int tcp4[2], tcp6[2], udp[2], alone, other;

	for (int i = 0; i < 2; i++) {
		tcp4[i] = sharing(SOCK_STREAM, "127.0.0.1", 1006);
		tcp6[i] = sharing(SOCK_STREAM, "::1", 1006);
		udp[i] = sharing(SOCK_DGRAM, "127.0.0.1", 1006);
	}
	alone = sharing(SOCK_STREAM, "127.0.0.2", 1006);
	other = sharing(SOCK_DGRAM, "127.0.0.1", 1006);
	connect_fd(other, at("127.0.0.1", 9));
	take(NULL);
	for (int i = 0; i < 2; i++) {
		assert_in_range(get(tcp4[i])->reuseport_group, 1, 3);
		assert_int_equal(get(tcp4[i])->reuseport_group,
				 get(tcp4[0])->reuseport_group);
		assert_int_equal(get(tcp6[i])->reuseport_group,
				 get(tcp6[0])->reuseport_group);
		assert_int_equal(get(udp[i])->reuseport_group,
				 get(udp[0])->reuseport_group);
	}
	/* 1, 2 and 3, in some order */
	assert_int_equal(1u << get(tcp4[0])->reuseport_group |
				 1u << get(tcp6[0])->reuseport_group |
				 1u << get(udp[0])->reuseport_group,
			 14);
	assert_int_equal(get(alone)->reuseport_group, 0);
	assert_int_equal(get(other)->reuseport_group, 0);
}

static int reusing(const char *ip, unsigned port, uid_t user, int v6only)
{
	struct cleat_sockaddr sa = at(ip, port);
	int fd = new_socket(sa.any.sa_family, SOCK_DGRAM);

	set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (sa.any.sa_family == AF_INET6)
		set(fd, IPPROTO_IPV6, IPV6_V6ONLY, v6only);
	if (user != getuid() && fchown(fd, user, (gid_t)-1) < 0)
		skip(); /* it takes CAP_CHOWN */
	bind_to(fd, sa);
	return fd;
}

/* One that differs hides no group, wherever it stands among them. */
static void groups_beside_others(void)
{
	const uid_t me = getuid();
	int first = reusing("127.0.0.1", 1007, me + 1, 0);
	int a = reusing("127.0.0.1", 1007, me, 0);
	int b = reusing("127.0.0.1", 1007, me, 0);
	int last = reusing("127.0.0.1", 1007, me + 2, 0);
	int dual[2], six[2];

	for (int i = 0; i < 2; i++)
		dual[i] = reusing("::", 1008, me, 0);
	for (int i = 0; i < 2; i++)
		six[i] = reusing("::", 1008, me, 1);
	take(NULL);
	assert_int_equal(get(first)->reuseport_group, 0);
	assert_int_equal(get(last)->reuseport_group, 0);
	assert_true(get(a)->reuseport_group > 0);
	assert_int_equal(get(a)->reuseport_group, get(b)->reuseport_group);
	assert_true(get(six[0])->reuseport_group > 0);
	assert_int_equal(get(six[0])->reuseport_group,
			 get(six[1])->reuseport_group);
	assert_true(get(dual[0])->reuseport_group > 0);
	assert_int_equal(get(dual[0])->reuseport_group,
			 get(dual[1])->reuseport_group);
	assert_int_not_equal(get(six[0])->reuseport_group,
			     get(dual[0])->reuseport_group);
}

/* UDP, raw, unix */

static void udp(void)
{
	int s = bound(SOCK_DGRAM, "::", 1001), c;
	const struct cleat_socket *k;

	c = new_socket(AF_INET, SOCK_DGRAM);
	connect_fd(c, at("127.0.0.1", 1001));
	assert_int_equal(send(c, "hello", 5, 0), 5);
	take(NULL);
	k = get(s);
	assert_int_equal(k->type, SOCK_DGRAM);
	assert_int_equal(k->protocol, IPPROTO_UDP);
	assert_int_equal(k->state, CLEAT_STATE_BOUND);
	assert_text(&k->local, "[::]:1001");
	assert_int_equal(k->peer.len, 0);
	assert_int_equal(k->v6only, CLEAT_OFF);
	assert_true(k->queue_used >= 5);
	assert_true(k->queue_max >= k->queue_used);
	k = get(c);
	assert_int_equal(k->state, CLEAT_STATE_ESTABLISHED);
	assert_text(&k->peer, "127.0.0.1:1001");
	assert_int_equal(k->owners->fd, c);
}

static void raw(void)
{
	int any = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP);
	const struct cleat_socket *k;
	int six, to;

	if (any < 0)
		skip(); /* it takes CAP_NET_RAW */
	keep(any);
	six = keep(socket(AF_INET6, SOCK_RAW | SOCK_CLOEXEC, 254));
	to = keep(socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_IGMP));
	connect_fd(to, at("127.0.0.1", 0));
	take(NULL);
	k = get(any);
	assert_int_equal(k->family, AF_INET);
	assert_int_equal(k->type, SOCK_RAW);
	assert_int_equal(k->protocol, IPPROTO_ICMP);
	assert_int_equal(k->state, CLEAT_STATE_BOUND);
	assert_text(&k->local, "0.0.0.0:1");
	assert_int_equal(k->peer.len, 0);
	assert_int_equal(k->uid, getuid());
	assert_int_equal(k->owners->fd, any);
	k = get(six);
	assert_int_equal(k->family, AF_INET6);
	assert_int_equal(k->protocol, 254);
	assert_text(&k->local, "[::]:254");
	k = get(to);
	assert_int_equal(k->state, CLEAT_STATE_ESTABLISHED);
	assert_text(&k->local, "127.0.0.1:2");
	assert_text(&k->peer, "127.0.0.1:0");
}

/* Sockets connected to one with a name, of each type. */
static void unix_type(int type)
{
	char name[] = "\0cleat test X", text[] = "unix:@cleat test X";
	int none = new_socket(AF_UNIX, type), to = new_socket(AF_UNIX, type);
	bool is_dgram = type == SOCK_DGRAM;
	const struct cleat_socket *k;
	int c;

	name[12] = text[17] = (char)('0' + type);
	bind_to(to, unix_at(name, 13));
	if (!is_dgram)
		assert_int_equal(listen(to, 3), 0);
	c = connected(type, to);
	assert_int_equal(send(c, "hello", 5, 0), 5);
	take(NULL);
	k = get(none);
	assert_int_equal(k->family, AF_UNIX);
	assert_int_equal(k->type, type);
	assert_int_equal(k->protocol, 0);
	assert_int_equal(k->state, CLEAT_STATE_CLOSED);
	assert_int_equal(k->local.len, 0);
	assert_int_equal(k->owners->fd, none);
	assert_int_equal(k->uid, getuid());
	k = get(to);
	assert_int_equal(k->state,
			 is_dgram ? CLEAT_STATE_BOUND : CLEAT_STATE_LISTEN);
	assert_text(&k->local, text);
	if (is_dgram)
		assert_true(k->queue_used >= 5);
	else
		assert_int_equal(k->queue_used, 1);
	if (!is_dgram)
		assert_int_equal(k->queue_max, 3);
	k = get(c);
	assert_int_equal(k->state, CLEAT_STATE_ESTABLISHED);
	assert_int_equal(k->local.len, 0);
	if (!is_dgram) { /* until it is accepted there is nobody */
		assert_int_equal(k->peer_inode, 0);
		to = accepted(to);
		take(NULL);
		k = get(c);
	}
	assert_int_equal(k->peer_inode, inode_of(to));
	assert_text(&k->peer, text);
	if (!is_dgram)
		assert_int_equal(get(to)->peer_inode, inode_of(c));
}

static void unix_sockets(void)
{
	unix_type(SOCK_STREAM);
	unix_type(SOCK_DGRAM);
	unix_type(SOCK_SEQPACKET);
}

/* As long as a path may be: then there is no room for its NUL. */
static char path[sizeof(((struct sockaddr_un *)0)->sun_path) + 1];

static void unix_paths(void)
{
	const size_t most = sizeof(path) - 1;
	char text[CLEAT_ADDR_MAX];
	int fd;

	assert_int_equal(strlen(path), most);
	for (size_t len = most - 1; len <= most; len++) {
		fd = new_socket(AF_UNIX, SOCK_STREAM);
		bind_to(fd, unix_at(path, len));
		take(NULL);
		(void)snprintf(text, sizeof(text), "unix:%.*s", (int)len, path);
		assert_text(&get(fd)->local, text);
		assert_state(fd, CLEAT_STATE_BOUND);
		path[len] = '\0';
		(void)unlink(path);
		path[most - 1] = 'x';
	}
}

static void unix_pair(void)
{
	int fd[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, fd),
			 0);
	keep(fd[0]);
	keep(fd[1]);
	take(NULL);
	assert_int_equal(get(fd[0])->peer_inode, inode_of(fd[1]));
	assert_int_equal(get(fd[0])->peer.len, 0);
	assert_state(fd[0], CLEAT_STATE_ESTABLISHED);
	leave(fd[1]);
	take(NULL);
	assert_int_equal(get(fd[0])->peer_inode, 0);
}

/* Filters */

static void filters(void)
{
	const int t4 = listening("127.0.0.1", 1001);
	const int t6 = listening("::1", 1002), c = connected(SOCK_STREAM, t4);
	const int u4 = bound(SOCK_DGRAM, "127.0.0.1", 1003);
	const int u6 = bound(SOCK_DGRAM, "::1", 1004);
	const int un = new_socket(AF_UNIX, SOCK_STREAM);
	const int all[] = { t4, t6, c, u4, u6, un };
	const unsigned l = 1u << CLEAT_STATE_LISTEN;
	const unsigned b = 1u << CLEAT_STATE_BOUND;
	const unsigned e = 1u << CLEAT_STATE_ESTABLISHED;
	const struct {
		struct cleat_query q;
		const char *want; /* a letter for each of ALL */
	} cases[] = {
		{ { 0 }, "tTcuUx" },
		{ { .kinds = CLEAT_KIND_TCP }, "tTc---" },
		{ { .kinds = CLEAT_KIND_UDP }, "---uU-" },
		{ { .kinds = CLEAT_KIND_UNIX }, "-----x" },
		{ { .kinds = CLEAT_KIND_RAW }, "------" },
		{ { .kinds = CLEAT_KIND_UNIX | CLEAT_KIND_UDP }, "---uUx" },
		{ { .family = AF_INET }, "t-cu--" },
		{ { .family = AF_INET6 }, "-T--U-" },
		{ { .family = AF_UNIX }, "-----x" },
		{ { .family = AF_INET6, .kinds = CLEAT_KIND_UDP }, "----U-" },
		{ { .states = l }, "tT----" },
		{ { .states = b }, "---uU-" },
		{ { .states = e }, "--c---" },
		{ { .states = l | b }, "tT-uU-" },
		{ { .states = 1u << CLEAT_STATE_CLOSED }, "-----x" },
		{ { .states = 1u << CLEAT_STATE_TIME_WAIT }, "------" },
		{ { .port = 1001 }, "t-----" },
		{ { .port = 1003 }, "---u--" },
		{ { .port = 1002, .last_port = 1003 }, "-T-u--" },
		{ { .port = 1002, .last_port = 65535, .states = l | b },
		  "-T-uU-" },
		{ { .last_port = 1002 }, "tT----" },
		{ { .port = 1003, .last_port = 1002 }, "------" },
		{ { .port = 1005, .last_port = 1005 }, "------" },
		{ { .port = 65535 }, "------" },
		{ { .port = 1001, .kinds = CLEAT_KIND_UNIX }, "------" },
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		char got[COUNT(all) + 1] = "tTcuUx";

		take(&cases[i].q);
		for (size_t k = 0; k < COUNT(all); k++) {
			if (!seen(all[k]))
				got[k] = '-';
		}
		if (strcmp(got, cases[i].want) != 0)
			fail_msg("case %zu: %s instead of %s", i, got,
				 cases[i].want);
	}
	for (size_t i = 0; i < snap->n; i++)
		assert_int_equal(snap->v[i].family, AF_UNIX);
}

static void bad_ports(void)
{
	const struct cleat_query cases[] = { { .port = 65536 },
					     { .last_port = 65536 },
					     { .port = 1, .last_port = ~0u } };
	struct cleat_sockets untouched, *s = &untouched;

	for (size_t i = 0; i < COUNT(cases); i++) {
		assert_int_equal(cleat_sockets_new(&s, &cases[i]), -EINVAL);
		assert_string_equal(cleat_why(),
				    "list sockets: no port is above 65535");
		assert_ptr_equal(s, &untouched);
	}
}

static void states_named(void)
{
	assert_string_equal(cleat_state_name(CLEAT_STATE_LISTEN), "listen");
	assert_string_equal(cleat_state_name(CLEAT_STATE_SYN_RECEIVED),
			    "syn-received");
	assert_string_equal(cleat_state_name(CLEAT_STATE_BOUND), "bound");
	assert_string_equal(cleat_state_name((enum cleat_state)0), "unknown");
	assert_string_equal(cleat_state_name((enum cleat_state)12), "unknown");
	assert_string_equal(cleat_state_name((enum cleat_state) - 1),
			    "unknown");
	assert_string_equal(cleat_state_name((enum cleat_state)99), "unknown");
}

/* The kernel's own lookup */

static int lookup(struct cleat_socket *s, int type, struct cleat_sockaddr to,
		  struct cleat_sockaddr from)
{
	const struct cleat_probe p = { .type = type,
				       .to = to,
				       .from = from,
				       .device = if_nametoindex("lo") };
	struct cleat__diag d;
	int err;

	ok(cleat__diag_open(&d));
	for (int i = 0; i < 3; i++) {
		*s = (struct cleat_socket){ .family = -1 };
		err = cleat__diag_one(&d, s, &p);
	}
	cleat__diag_close(&d);
	return err;
}

static void assert_finds(int type, int fd, struct cleat_sockaddr to,
			 struct cleat_sockaddr from)
{
	struct cleat_socket s;

	assert_int_equal(lookup(&s, type, to, from), 0);
	assert_int_equal(s.inode, inode_of(fd));
}

static void single_lookups(void)
{
	const struct cleat_sockaddr to = at("127.0.0.1", 1001);
	const struct cleat_sockaddr to6 = at("::1", 1001);
	int l = listening("127.0.0.1", 1001), any = listening("::", 1002);
	int l6 = listening("::1", 1001);
	int c = connected(SOCK_STREAM, l), s = accepted(l);
	int u = bound(SOCK_DGRAM, "127.0.0.1", 1001);
	int u6 = bound(SOCK_DGRAM, "::1", 1001);
	int uc = connected(SOCK_DGRAM, u);
	struct cleat_socket none;

	assert_finds(SOCK_STREAM, l, to, at("127.0.0.1", 9));
	assert_finds(SOCK_STREAM, l6, to6, at("::1", 9));
	assert_finds(SOCK_STREAM, any, at("127.0.0.1", 1002),
		     at("127.0.0.1", 9));
	assert_finds(SOCK_STREAM, s, to, name_of(c));
	assert_finds(SOCK_STREAM, c, name_of(c), to);
	assert_finds(SOCK_DGRAM, u, to, at("127.0.0.1", 9));
	assert_finds(SOCK_DGRAM, u6, to6, at("::1", 9));
	assert_finds(SOCK_DGRAM, uc, name_of(uc), to);
	assert_int_equal(
		lookup(&none, SOCK_DGRAM, name_of(uc), at("127.0.0.1", 9)),
		-ENOENT);
	assert_int_equal(lookup(&none, SOCK_STREAM, at("127.0.0.1", 9), to),
			 -ENOENT);
	assert_int_equal(none.family, -1); /* untouched */
}

static void raw_lines(void)
{
	static const struct {
		int family;
		const char *line, *local;
	} cases[] = {
		{ AF_INET,
		  "   1: 0100007F:0001 00000000:0000 07 00000000:00000010 "
		  "00:00000000 00000000     5        0 77 2 0000000000000000 0",
		  "127.0.0.1:1" },
		{ AF_INET6,
		  "   58: 00000000000000000000000001000000:003A "
		  "00000000000000000000000000000000:0000 07 00000000:00000010 "
		  "00:00000000 00000000     5        0 77 2 0000000000000000 0",
		  "[::1]:58" },
		{ AF_INET6,
		  "   1: 0100007F:0001 00000000:0000 07 00000000:00000000 "
		  "00:00000000 00000000     5        0 77 2 0000000000000000 0",
		  NULL },
		{ AF_INET, "   1: 0100007F:0001 00000000:0000 07", NULL },
		{ AF_INET, "   1: 0100007F:0001", NULL },
		{ AF_INET, "   1: 0100007F0001", NULL },
		{ AF_INET, "   1: 0100", NULL },
		{ AF_INET, "   1:", NULL },
		{ AF_INET, "", NULL },
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct cleat_socket s = { 0 };
		int err = cleat__raw_parse(&s, cases[i].family, cases[i].line);

		assert_int_equal(err, cases[i].local ? 0 : -EBADMSG);
		if (err < 0)
			continue;
		assert_text(&s.local, cases[i].local);
		assert_int_equal(s.queue_used, 16);
		assert_int_equal(s.uid, 5);
		assert_int_equal(s.inode, 77);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		EITHER(tcp),
		EITHER(tcp_bound),
		EITHER(tcp_handshakes),
		EITHER(tcp_endings),
		EITHER(tcp_lingering),
		EITHER(ip6),
		EITHER(devices),
		EITHER(groups),
		EITHER(groups_beside_others),
		EITHER(udp),
		EITHER(raw),
		EITHER(unix_sockets),
		EITHER(unix_paths),
		EITHER(unix_pair),
		EITHER(filters),
		EITHER(bad_ports),
		ALONE(states_named),
		EITHER(single_lookups),
		ALONE(raw_lines),
	};

	if (!in_own_namespace()) {
		puts("skipped: no network namespace of its own to be had");
		return 77;
	}
	(void)snprintf(path, sizeof(path), "/tmp/cleat-test-%d-", getpid());
	memset(path + strlen(path), 'x', sizeof(path) - 1 - strlen(path));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
