/* SPDX-License-Identifier: MIT */
/* A datagram socket that is bound to every interface answers from the address
 * that was asked.  The clients are plain sockets, connected: they hear nobody
 * else.
 */
#include "serving.h"

#include <arpa/inet.h>
#include <linux/ipv6.h>
#include <net/if.h>
#include <sys/ioctl.h>

/* Addresses of this machine that routing would not answer from. */
#define OTHER4 "127.0.0.2"
#define OTHER6 "2001:db8::2"

static bool has_other6;

static struct cleat_sockaddr target(const char *host, unsigned port)
{
	struct cleat_sockaddr sa = { .len = sizeof(sa.in) };

	if (inet_pton(AF_INET, host, &sa.in.sin_addr) == 1) {
		sa.in.sin_family = AF_INET;
	} else {
		assert_int_equal(inet_pton(AF_INET6, host, &sa.in6.sin6_addr),
				 1);
		sa.in6.sin6_family = AF_INET6;
		sa.len = sizeof(sa.in6);
	}
	sa.in.sin_port = htons((in_port_t)port); /* sin6_port is there, too */
	return sa;
}

/* The kernel begins to use an address a moment after it has been told of it,
 * and what comes there until then is lost: send until something arrives.
 */
static void reach_other6(void)
{
	struct cleat_sockaddr to = target(OTHER6, 0), me = target("::", 0);
	int fd = open_client(&to, SOCK_DGRAM);
	struct pollfd p = { .fd = fd, .events = POLLIN };

	assert_int_equal(bind(fd, &me.any, me.len), 0);
	assert_int_equal(getsockname(fd, &me.any, &me.len), 0);
	to.in6.sin6_port = me.in6.sin6_port;
	for (int i = 0; i < 2000; i++) {
		(void)sendto(fd, "", 1, 0, &to.any, to.len);
		if (poll(&p, 1, 10) == 1)
			break; /* else the tests tell */
	}
	(void)close(fd);
}

/* A network of our own, where lo has one more address: needs no device. */
static bool add_other6(void)
{
	struct in6_ifreq addr = { .ifr6_prefixlen = 128 };
	struct ifreq lo = { .ifr_name = "lo" };
	bool ok;
	int fd;

	if (unshare(CLONE_NEWNET) < 0 &&
	    unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
		return false;
	fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	addr.ifr6_ifindex = (int)if_nametoindex("lo");
	(void)inet_pton(AF_INET6, OTHER6, &addr.ifr6_addr);
	ok = ioctl(fd, SIOCGIFFLAGS, &lo) == 0;
	lo.ifr_flags |= IFF_UP;
	ok = ok && ioctl(fd, SIOCSIFFLAGS, &lo) == 0 &&
	     ioctl(fd, SIOCSIFADDR, &addr) == 0;
	(void)close(fd);
	if (ok)
		reach_other6();
	return ok;
}

/* From ::1 or 127.0.0.1, which an answer by routing would come from, too. */
static int ask(const char *host, unsigned port)
{
	struct cleat_sockaddr to = target(host, port);
	struct cleat_sockaddr me =
		target(to.any.sa_family == AF_INET ? "127.0.0.1" : "::1", 0);
	int fd = open_client(&to, SOCK_DGRAM);

	assert_int_equal(bind(fd, &me.any, me.len), 0);
	assert_int_equal(connect(fd, &to.any, to.len), 0);
	say(fd, "ask");
	return fd;
}

static void assert_answered(int fd)
{
	char buf[8];

	assert_int_equal(recv(fd, buf, sizeof(buf), MSG_DONTWAIT), 3);
	(void)close(fd);
}

static unsigned port_of(const struct cleat_dgram *d)
{
	struct cleat_sockaddr sa;

	ok(cleat_dgram_local(d, 0, &sa));
	return cleat_sockaddr_port(&sa);
}

static void answer_each(struct cleat_dgram *d, const char *host)
{
	struct cleat_sockaddr from;
	int fd = ask(host, port_of(d));
	char buf[8];

	assert_int_equal(cleat_recvfrom(d, buf, sizeof(buf), &from, soon()), 3);
	ok(cleat_sendto(d, buf, 3, &from, soon()));
	assert_answered(fd);
}

static void answer_batch(struct cleat_dgram *d, const char *const hosts[2])
{
	struct cleat_packet p[4];
	char buf[4][8];
	int fd[4];

	for (int i = 0; i < 4; i++) {
		p[i] = (struct cleat_packet){ .data = buf[i], .size = 8 };
		fd[i] = ask(hosts[i % 2], port_of(d));
	}
	assert_int_equal(cleat_recv_batch(d, p, 4, soon()), 4);
	assert_int_equal(cleat_send_batch(d, p, 4, soon()), 4);
	for (int i = 0; i < 4; i++)
		assert_answered(fd[i]);
}

static void answer_all(const char *local, const char *a, const char *b)
{
	const char *const hosts[2] = { a, b };
	struct cleat_dgram *d;

	ok(cleat_dgram_open(&d, local, NULL, NULL, soon()));
	for (int i = 0; i < 4; i++)
		answer_each(d, hosts[i % 2]);
	answer_batch(d, hosts);
	cleat_dgram_close(d);
}

static void over_ip4(void)
{
	answer_all("udp4://0.0.0.0:0", "127.0.0.1", OTHER4);
}

static void over_ip6(void)
{
	answer_all("udp6://[::]:0", "::1", has_other6 ? OTHER6 : "::1");
}

static void over_both(void)
{
	answer_all("udp://:0", OTHER4, has_other6 ? OTHER6 : "::1");
	answer_all("udp://[::]:0", "127.0.0.1", "::1");
}

/* Another than who asked is sent to as ever. */
static void unasked(void)
{
	struct cleat_sockaddr to = target("127.0.0.1", 0), from;
	int fd = open_client(&to, SOCK_DGRAM);
	struct cleat_dgram *d;

	assert_int_equal(bind(fd, &to.any, to.len), 0);
	assert_int_equal(getsockname(fd, &to.any, &to.len), 0);
	ok(cleat_dgram_open(&d, "udp://:0", NULL, NULL, soon()));
	answer_each(d, OTHER4);
	ok(cleat_sendto(d, "you", 3, &to, soon()));
	from.len = sizeof(from.storage);
	assert_int_equal(recvfrom(fd, &(char[8]){ 0 }, 8, MSG_DONTWAIT,
				  &from.any, &from.len),
			 3);
	to = target("127.0.0.1", port_of(d));
	assert_memory_equal(&from.in, &to.in, sizeof(to.in));
	(void)close(fd);
	cleat_dgram_close(d);
}

static void broadcast(const char *local)
{
	const int on = 1;
	struct cleat_sockaddr to = target("127.255.255.255", 0), from;
	int fd = open_client(&to, SOCK_DGRAM);
	struct cleat_dgram *d;
	char buf[8];

	ok(cleat_dgram_open(&d, local, NULL, NULL, soon()));
	to = target("127.255.255.255", port_of(d));
	assert_int_equal(
		setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &on, sizeof(on)), 0);
	assert_int_equal(sendto(fd, "all", 3, 0, &to.any, to.len), 3);
	assert_int_equal(cleat_recvfrom(d, buf, sizeof(buf), &from, soon()), 3);
	ok(cleat_sendto(d, buf, 3, &from, soon()));
	assert_answered(fd);
	cleat_dgram_close(d);
}

/* An address that nobody can answer from. */
static void broadcasts(void)
{
	broadcast("udp4://0.0.0.0:0");
	broadcast("udp://:0");
}

static void adopted(void)
{
	struct cleat_sockaddr any = target("0.0.0.0", 0);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct cleat_dgram *d;

	assert_int_equal(bind(fd, &any.any, any.len), 0);
	ok(cleat_adopt_dgram(&d, fd));
	answer_each(d, OTHER4);
	cleat_dgram_close(d);
}

static void served(void)
{
	static const char *const addrs[] = { "udp://:0", NULL };
	struct server s;
	unsigned port;

	server_init(&s, CLEAT_SERVE_FIBERS, addrs);
	s.service.dgram = echo_dgram;
	s.opt.workers = 2;
	server_start(&s);
	port = cleat_sockaddr_port(
		&wait_event(&s, CLEAT_SERVE_LISTENING)->local);
	for (int i = 0; i < 20; i++) {
		const struct cleat_sockaddr to =
			target(i % 2 ? OTHER4 : "127.0.0.1", port);

		ask_dgram(&to, NULL);
	}
	server_end(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(over_ip4), BOTH(over_ip6),   BOTH(over_both),
		BOTH(unasked),  BOTH(broadcasts), BOTH(adopted),
		THREAD(served),
	};

	has_other6 = add_other6();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
