/* SPDX-License-Identifier: MIT */
/* Socket options: by name on live sockets, by struct at creation, and what
 * accepted connections inherit.
 */
#include <cleat/dgram.h>
#include <cleat/options.h>

#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include "both.h"
#include "pair.h"

enum kind {
	TCP4,
	TCP6,
	UDP4,
	UDP6,
	STREAM,
	GRAM,
	KINDS
};

/* Sets of them. */
#define ALL 63
#define TCP (1 << TCP4 | 1 << TCP6)
#define UDP (1 << UDP4 | 1 << UDP6)
#define IP (TCP | UDP)
#define SIX (1 << TCP6 | 1 << UDP6)

static const struct {
	int family, type;
} sockets[KINDS] = {
	[TCP4] = { AF_INET, SOCK_STREAM },   [TCP6] = { AF_INET6, SOCK_STREAM },
	[UDP4] = { AF_INET, SOCK_DGRAM },    [UDP6] = { AF_INET6, SOCK_DGRAM },
	[STREAM] = { AF_UNIX, SOCK_STREAM }, [GRAM] = { AF_UNIX, SOCK_DGRAM },
};

/* Which kinds have it, two values to try, and what they read back multiplied
 * by; of the kinds in MAYBE the kernel decides.
 */
static const struct {
	const char *name;
	enum cleat_option option;
	int kinds, values[2], times, maybe;
} options[] = {
	{ "reuseaddr", CLEAT_REUSEADDR, IP, { 1, 0 }, 1, ALL },
	{ "reuseport", CLEAT_REUSEPORT, IP, { 1, 0 }, 1, ALL },
	{ "v6only", CLEAT_V6ONLY, SIX, { 1, 0 }, 1, 0 },
	{ "nodelay", CLEAT_NODELAY, TCP, { 1, 0 }, 1, 0 },
	{ "keepalive", CLEAT_KEEPALIVE, TCP, { 1, 0 }, 1, ALL },
	{ "idle", CLEAT_KEEPALIVE_IDLE_S, TCP, { 17, 3 }, 1, 0 },
	{ "interval", CLEAT_KEEPALIVE_INTERVAL_S, TCP, { 19, 1 }, 1, 0 },
	{ "count", CLEAT_KEEPALIVE_COUNT, TCP, { 5, 127 }, 1, 0 },
	{ "sndbuf", CLEAT_SNDBUF, ALL, { 20000, 60000 }, 2, 0 },
	{ "rcvbuf", CLEAT_RCVBUF, ALL, { 20000, 60000 }, 2, 0 },
	{ "linger", CLEAT_LINGER_S, TCP, { 7, -1 }, 1, ALL },
	{ "linger 0", CLEAT_LINGER_S, TCP, { 0, 1 }, 1, ALL },
	{ "ttl", CLEAT_TTL, IP, { 1, 255 }, 1, 0 },
	{ "user timeout", CLEAT_USER_TIMEOUT_MS, TCP, { 1234, 0 }, 1, 0 },
	{ "freebind", CLEAT_FREEBIND, IP, { 1, 0 }, 1, 0 },
	{ "broadcast", CLEAT_BROADCAST, UDP, { 1, 0 }, 1, ALL },
	{ "device", CLEAT_DEVICE, ALL, { 1, 0 }, 1, 0 },
};

static void round_trip(int fd, size_t i, const char *where)
{
	for (int k = 0; k < 2; k++) {
		int want = options[i].values[k], got = -99;

		if (cleat_set(fd, options[i].option, want) < 0 ||
		    cleat_get(fd, options[i].option, &got) < 0)
			fail_msg("%s on %s: %s", options[i].name, where,
				 cleat_why());
		if (got != want * options[i].times && want != 0 && want != -1)
			fail_msg("%s on %s: set %d, got %d", options[i].name,
				 where, want, got);
		if (want <= 0)
			assert_int_equal(got, want);
	}
}

static void assert_no_option(int fd, size_t i, const char *where)
{
	int got = -99, err = cleat_set(fd, options[i].option, 1);

	if (err != -ENOPROTOOPT)
		fail_msg("%s set on %s: %d", options[i].name, where, err);
	assert_non_null(strstr(cleat_why(), "no such option for this socket"));
	err = cleat_get(fd, options[i].option, &got);
	if (err != -ENOPROTOOPT || got != -99)
		fail_msg("%s read on %s: %d", options[i].name, where, err);
}

static void by_name(void)
{
	static const char *const names[KINDS] = { "tcp4", "tcp6", "udp4",
						  "udp6", "unix", "unixgram" };

	for (int k = 0; k < KINDS; k++) {
		for (size_t i = 0; i < COUNT(options); i++) {
			int fd = socket(sockets[k].family,
					sockets[k].type | SOCK_CLOEXEC, 0);

			if (options[i].kinds & 1 << k)
				round_trip(fd, i, names[k]);
			else if (!(options[i].maybe & 1 << k))
				assert_no_option(fd, i, names[k]);
			close(fd);
		}
	}
}

static void bad_values(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), got = 0;

	assert_int_equal(cleat_set(fd, (enum cleat_option)999, 1), -EINVAL);
	assert_int_equal(cleat_get(fd, (enum cleat_option)999, &got), -EINVAL);
	assert_int_equal(cleat_set(fd, (enum cleat_option) - 1, 1), -EINVAL);
	assert_int_equal(cleat_set(fd, CLEAT_TTL, 256), -EINVAL);
	assert_int_equal(cleat_set(fd, CLEAT_TTL, 0), -EINVAL);
	assert_int_equal(cleat_set(fd, CLEAT_KEEPALIVE_COUNT, 128), -EINVAL);
	assert_int_equal(cleat_set(fd, CLEAT_KEEPALIVE_IDLE_S, 0), -EINVAL);
	assert_int_equal(cleat_set(fd, CLEAT_USER_TIMEOUT_MS, -1), -EINVAL);
	assert_int_equal(cleat_set(fd, CLEAT_LINGER_S, -2), -EINVAL);
	assert_int_equal(cleat_set(fd, CLEAT_SNDBUF, -1), -EINVAL);
	assert_true(cleat_why()[0]);
	assert_int_equal(cleat_set(-1, CLEAT_TTL, 1), -EBADF);
	close(fd);
}

static void raw_pairs(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), value = 1234;
	socklen_t len = sizeof(value);
	char name[32] = "";

	ok(cleat_set_raw(fd, IPPROTO_TCP, TCP_MAXSEG, &value, len));
	value = 0;
	ok(cleat_get_raw(fd, IPPROTO_TCP, TCP_MAXSEG, &value, &len));
	assert_int_equal(len, sizeof(value));
	assert_in_range(value, 1, 1234);
	ok(cleat_set_raw(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4));
	len = sizeof(name);
	ok(cleat_get_raw(fd, IPPROTO_TCP, TCP_CONGESTION, name, &len));
	assert_string_equal(name, "reno");
	assert_int_equal(cleat_set_raw(fd, IPPROTO_TCP, 9999, &value, 4),
			 -ENOPROTOOPT);
	assert_true(cleat_why()[0]);
	len = sizeof(value);
	assert_int_equal(cleat_get_raw(fd, IPPROTO_TCP, 9999, &value, &len),
			 -ENOPROTOOPT);
	close(fd);
}

/* What the kernel says, not the library. */
static int ask(int fd, int level, int name)
{
	int value = -99;
	socklen_t len = sizeof(value);

	if (getsockopt(fd, level, name, &value, &len) < 0)
		return -99;
	return value;
}

static const struct cleat_options everything = {
	.reuseaddr = CLEAT_ON,
	.reuseport = CLEAT_ON,
	.nodelay = CLEAT_OFF,
	.keepalive_idle_s = 33,
	.keepalive_interval_s = 44,
	.keepalive_count = 5,
	.linger = CLEAT_ON,
	.linger_s = 6,
	.sndbuf = 30000,
	.rcvbuf = 40000,
	.ttl = 77,
	.user_timeout_ms = 8888,
	.freebind = CLEAT_ON,
	.broadcast = CLEAT_ON,
	.device = "lo",
};

static void assert_socket_options(int fd)
{
	struct linger l;
	socklen_t len = sizeof(l);

	assert_int_equal(ask(fd, SOL_SOCKET, SO_SNDBUF), 60000);
	assert_int_equal(ask(fd, SOL_SOCKET, SO_RCVBUF), 80000);
	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_LINGER, &l, &len), 0);
	assert_int_equal(l.l_onoff, 1);
	assert_int_equal(l.l_linger, 6);
}

static void assert_ip_options(int fd)
{
	char device[IFNAMSIZ] = "";
	socklen_t len = sizeof(device);

	assert_int_equal(ask(fd, SOL_SOCKET, SO_REUSEADDR), 1);
	assert_int_equal(ask(fd, SOL_SOCKET, SO_REUSEPORT), 1);
	if (ask(fd, SOL_SOCKET, SO_DOMAIN) == AF_INET) {
		assert_int_equal(ask(fd, IPPROTO_IP, IP_TTL), 77);
		assert_int_equal(ask(fd, IPPROTO_IP, IP_FREEBIND), 1);
	} else {
		assert_int_equal(ask(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS), 77);
		assert_int_equal(ask(fd, IPPROTO_IPV6, IPV6_FREEBIND), 1);
	}
	assert_int_equal(
		getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, device, &len), 0);
	assert_string_equal(device, "lo");
}

static void assert_tcp_options(int fd)
{
	assert_int_equal(ask(fd, IPPROTO_TCP, TCP_NODELAY), 0);
	assert_int_equal(ask(fd, SOL_SOCKET, SO_KEEPALIVE), 1);
	assert_int_equal(ask(fd, IPPROTO_TCP, TCP_KEEPIDLE), 33);
	assert_int_equal(ask(fd, IPPROTO_TCP, TCP_KEEPINTVL), 44);
	assert_int_equal(ask(fd, IPPROTO_TCP, TCP_KEEPCNT), 5);
	assert_int_equal(ask(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), 8888);
}

static void pair_with(struct pair *p, const char *addr,
		      const struct cleat_options *opt)
{
	char text[CLEAT_ADDR_MAX];
	struct cleat_sockaddr sa;

	ok(cleat_listen(&p->l, addr, opt));
	ok(cleat_listener_local(p->l, 0, &sa));
	ok(cleat_sockaddr_format(&sa, text, sizeof(text)));
	ok(cleat_connect(&p->a, text, opt, soon()));
	ok(cleat_accept(p->l, &p->b, soon()));
}

/* On all three: who listens, who connects, and who was accepted. */
static void on_streams(void)
{
	for (size_t k = 0; k < COUNT(kinds); k++) {
		struct pair p;
		int fd[3];

		pair_with(&p, kinds[k], &everything);
		fd[0] = cleat_listener_fd(p.l, 0);
		fd[1] = cleat_conn_fd(p.a);
		fd[2] = cleat_conn_fd(p.b);
		for (int i = 0; i < 3; i++) {
			if (i < 2) /* unix(7): nothing is handed down */
				assert_socket_options(fd[i]);
			if (ask(fd[i], SOL_SOCKET, SO_DOMAIN) == AF_UNIX)
				continue;
			assert_socket_options(fd[i]);
			assert_ip_options(fd[i]);
			assert_tcp_options(fd[i]);
		}
		pair_close(&p);
	}
}

/* IPv4 comes to a dual-stack listener with the same time to live. */
static void ttl_of_both_families(void)
{
	const struct cleat_options opt = { .ttl = 9 };
	struct cleat_listener *l;
	struct cleat_conn *a, *b;
	struct cleat_sockaddr sa;
	char text[32];

	ok(cleat_listen(&l, ":0", &opt));
	ok(cleat_listener_local(l, 0, &sa));
	(void)snprintf(text, sizeof(text), "127.0.0.1:%u",
		       cleat_sockaddr_port(&sa));
	ok(cleat_connect(&a, text, NULL, soon()));
	ok(cleat_accept(l, &b, soon()));
	assert_int_equal(ask(cleat_conn_fd(b), IPPROTO_IP, IP_TTL), 9);
	cleat_close(a);
	cleat_close(b);
	cleat_unlisten(l);
}

static void on_datagrams(void)
{
	static const char *const locals[] = { "udp://127.0.0.1:0",
					      "udp://[::1]:0",
					      "unixgram:@cleat-test-options" };

	for (size_t k = 0; k < COUNT(locals); k++) {
		struct cleat_dgram *d;
		int fd;

		ok(cleat_dgram_open(&d, locals[k], NULL, &everything, soon()));
		fd = cleat_dgram_fd(d, 0);
		assert_int_equal(ask(fd, SOL_SOCKET, SO_SNDBUF), 60000);
		assert_int_equal(ask(fd, SOL_SOCKET, SO_RCVBUF), 80000);
		if (k < 2) {
			assert_ip_options(fd);
			assert_int_equal(ask(fd, SOL_SOCKET, SO_BROADCAST), 1);
		}
		cleat_dgram_close(d);
	}
}

static void defaults(void)
{
	for (size_t k = 0; k < COUNT(kinds); k++) {
		struct cleat_dgram *d;
		struct pair p;
		bool tcp;
		int fd[3];

		pair_with(&p, kinds[k], NULL);
		fd[0] = cleat_listener_fd(p.l, 0);
		fd[1] = cleat_conn_fd(p.a);
		fd[2] = cleat_conn_fd(p.b);
		tcp = ask(fd[0], SOL_SOCKET, SO_DOMAIN) != AF_UNIX;
		assert_int_equal(ask(fd[0], SOL_SOCKET, SO_REUSEADDR), tcp);
		assert_int_equal(ask(fd[1], SOL_SOCKET, SO_REUSEADDR), 0);
		for (int i = 0; i < 3; i++) {
			assert_int_equal(ask(fd[i], IPPROTO_TCP, TCP_NODELAY),
					 tcp ? 1 : -99);
			assert_int_equal(ask(fd[i], SOL_SOCKET, SO_KEEPALIVE),
					 0);
			if (tcp)
				assert_int_equal(
					ask(fd[i], SOL_SOCKET, SO_REUSEPORT),
					0);
		}
		pair_close(&p);
		ok(cleat_dgram_open(&d, "udp://127.0.0.1:0", NULL, NULL, 0));
		assert_int_equal(
			ask(cleat_dgram_fd(d, 0), SOL_SOCKET, SO_REUSEADDR), 0);
		cleat_dgram_close(d);
	}
}

static int v6only_of(const char *addr, enum cleat_switch s)
{
	const struct cleat_options opt = { .v6only = s };
	struct cleat_listener *l;
	int on;

	ok(cleat_listen(&l, addr, &opt));
	on = ask(cleat_listener_fd(l, 0), IPPROTO_IPV6, IPV6_V6ONLY);
	cleat_unlisten(l);
	return on;
}

static void v6only(void)
{
	assert_int_equal(v6only_of("[::]:0", CLEAT_DEFAULT), 0);
	assert_int_equal(v6only_of("[::]:0", CLEAT_ON), 1);
	assert_int_equal(v6only_of(":0", CLEAT_DEFAULT), 0);
	assert_int_equal(v6only_of("tcp6://[::]:0", CLEAT_DEFAULT), 1);
	assert_int_equal(v6only_of("tcp6://:0", CLEAT_DEFAULT), 1);
	assert_int_equal(v6only_of("tcp6://[::]:0", CLEAT_OFF), 0);
}

/* "tcp4://:N" and "tcp6://:N" are two, and share a port. */
static void two_wildcards(void)
{
	struct cleat_listener *four, *six, *no = NULL;
	struct cleat_sockaddr sa;
	char text[32];

	ok(cleat_listen(&six, "tcp6://:0", NULL));
	ok(cleat_listener_local(six, 0, &sa));
	(void)snprintf(text, sizeof(text), "tcp4://:%u",
		       cleat_sockaddr_port(&sa));
	ok(cleat_listen(&four, text, NULL));
	assert_int_equal(cleat_listen(&no, text + 7, NULL), -EADDRINUSE);
	cleat_unlisten(four);
	cleat_unlisten(six);
}

static void reuseport(void)
{
	const struct cleat_options opt = { .reuseport = CLEAT_ON };
	struct cleat_listener *a, *b, *c = NULL;
	struct cleat_sockaddr sa;
	char text[CLEAT_ADDR_MAX];

	ok(cleat_listen(&a, kinds[0], &opt));
	ok(cleat_listener_local(a, 0, &sa));
	ok(cleat_sockaddr_format(&sa, text, sizeof(text)));
	ok(cleat_listen(&b, text, &opt));
	assert_int_equal(cleat_listen(&c, text, NULL), -EADDRINUSE);
	cleat_unlisten(a);
	cleat_unlisten(b);
}

static void bad_options(void)
{
	const struct cleat_options device = { .device = "no-such-dev" };
	const struct cleat_options ttl = { .ttl = 300 };
	struct cleat_listener *l = NULL;
	struct cleat_dgram *d = NULL;
	struct cleat_conn *c = NULL;

	assert_int_equal(cleat_listen(&l, kinds[0], &device), -ENODEV);
	assert_non_null(strstr(cleat_why(), "no-such-dev"));
	assert_int_equal(cleat_connect(&c, "127.0.0.1:1", &ttl, soon()),
			 -EINVAL);
	assert_true(cleat_why()[0]);
	assert_int_equal(cleat_dgram_open(&d, "udp://0", NULL, &ttl, soon()),
			 -EINVAL);
	assert_null(l);
	assert_null(c);
	assert_null(d);
}

/* Not this machine's address, and bound all the same. */
static void freebind(void)
{
	const struct cleat_options opt = { .freebind = CLEAT_ON };
	struct cleat_listener *l;

	ok(cleat_listen(&l, "192.0.2.1:0", &opt));
	cleat_unlisten(l);
	ok(cleat_listen(&l, "[2001:db8::1]:0", &opt));
	cleat_unlisten(l);
}

static void linger_resets(void)
{
	const struct cleat_options opt = { .linger = CLEAT_ON };
	struct pair p;

	pair_with(&p, kinds[0], &opt);
	cleat_close(p.a);
	p.a = NULL;
	assert_int_equal(cleat_recv(p.b, (char[1]){ 0 }, 1, soon()),
			 -ECONNRESET);
	pair_close(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(by_name),
		BOTH(bad_values),
		BOTH(raw_pairs),
		BOTH(on_streams),
		BOTH(ttl_of_both_families),
		BOTH(on_datagrams),
		BOTH(defaults),
		BOTH(v6only),
		BOTH(two_wildcards),
		BOTH(reuseport),
		BOTH(bad_options),
		BOTH(freebind),
		BOTH(linger_resets),
	};

	make_names();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
