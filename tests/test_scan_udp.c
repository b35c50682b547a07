/* SPDX-License-Identifier: MIT */
/* A scan's probes by UDP: what counts as an answer, what ICMP means; and what
 * open services say first.
 */
#include "inspect.h"

#include <linux/errqueue.h>
#include <netinet/icmp6.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/ip_icmp.h>
#include <netinet/udp.h>
#include <poll.h>

#include "fault.h"
#include "scan/banner.h"
#include "scan/engine.h"

static const struct cleat__engine *const udp = &cleat__engine_udp;

/* A probe that is about to be sent. */
static struct cleat__probe probe(int family)
{
	const int fd = udp->open(family);

	return (struct cleat__probe){ .fd = keep(fd) };
}

static int server(const char *ip, unsigned port)
{
	return bound(SOCK_DGRAM, ip, port);
}

static struct cleat__verdict verdict;

static int sends(struct cleat__probe *p, struct cleat_sockaddr sa)
{
	verdict = (struct cleat__verdict){ 0 };
	return udp->send(p, &sa, &verdict);
}

static int looks(struct cleat__probe *p, struct cleat_sockaddr sa)
{
	verdict = (struct cleat__verdict){ 0 };
	return udp->look(p, &sa, &verdict);
}

static void is(enum cleat_port_state state, const char *reason, int64_t rtt)
{
	assert_string_equal(cleat_port_state_name(verdict.state),
			    cleat_port_state_name(state));
	assert_string_equal(verdict.reason, reason);
	assert_int_equal(verdict.rtt, rtt);
}

/* What came to FD, and from where. */
static unsigned char heard[2048];
static struct cleat_sockaddr from;

static size_t hears(int fd)
{
	ssize_t n;

	from.len = sizeof(from.storage);
	n = recvfrom(fd, heard, sizeof(heard), MSG_DONTWAIT, &from.any,
		     &from.len);
	assert_true(n >= 0);
	return (size_t)n;
}

static void says(int fd, const void *data, size_t len)
{
	assert_int_equal(sendto(fd, data, len, 0, &from.any, from.len), len);
}

static void answered_at(const char *ip)
{
	struct cleat__probe p = probe(at(ip, 0).any.sa_family);
	const int fd = server(ip, 7000);

	assert_int_equal(sends(&p, at(ip, 7000)), 0);
	assert_int_equal(looks(&p, at(ip, 7000)), 0);
	assert_int_equal(hears(fd), 1);
	assert_int_equal(heard[0], '\n');
	says(fd, heard, 1); /* an echo looks like a probe, and is none */
	assert_int_equal(looks(&p, at(ip, 7000)), 1);
	is(CLEAT_PORT_OPEN, "answered", 0);
}

static void answered(void)
{
	answered_at("127.0.0.1");
	answered_at("::1");
}

static void answered_with_nothing(void)
{
	struct cleat__probe p = probe(AF_INET);
	const int fd = server("127.0.0.1", 7000);

	assert_int_equal(sends(&p, at("127.0.0.1", 7000)), 0);
	(void)hears(fd);
	says(fd, "", 0);
	assert_int_equal(looks(&p, at("127.0.0.1", 7000)), 1);
	is(CLEAT_PORT_OPEN, "answered", 0);
}

/* The socket serves again, and from another address. */
static void refused_at(const char *ip, const char *other)
{
	struct cleat__probe p = probe(at(ip, 0).any.sa_family);
	const int fd = server(other, 7001);

	for (int i = 0; i < 3; i++) {
		assert_int_equal(sends(&p, at(ip, 7000)), 1);
		is(CLEAT_PORT_CLOSED, "ICMP port unreachable", 0);
		assert_false(p.is_spent);
	}
	assert_int_equal(sends(&p, at(other, 7001)), 0);
	assert_int_equal(looks(&p, at(other, 7001)), 0);
	(void)hears(fd);
	says(fd, "x", 1);
	assert_int_equal(looks(&p, at(other, 7001)), 1);
	is(CLEAT_PORT_OPEN, "answered", 0);
}

static void refused(void)
{
	refused_at("127.0.0.1", "127.0.0.2");
	refused_at("::1", "::1");
}

/* A datagram tells more than an error that came before it. */
static void answered_and_refused(void)
{
	struct cleat__probe p = probe(AF_INET);
	int fd = server("127.0.0.1", 7000);
	const struct cleat_sockaddr there = at("127.0.0.1", 7000);

	assert_int_equal(sends(&p, there), 0);
	(void)hears(fd);
	says(fd, "x", 1);
	leave(fd);
	assert_int_equal(send(p.fd, "\n", 1, 0), 1);
	assert_int_equal(looks(&p, there), 1);
	is(CLEAT_PORT_OPEN, "answered", 0);
}

/* RFC 1350 section 4 */
static void answered_from_elsewhere(void)
{
	struct cleat__probe p = probe(AF_INET);
	const int fd = server("127.0.0.1", 69);

	assert_int_equal(sends(&p, at("127.0.0.1", 69)), 0);
	(void)hears(fd);
	says(server("127.0.0.2", 0), "\0\5\0\1", 4);
	assert_int_equal(looks(&p, at("127.0.0.1", 69)), 0);
	says(server("127.0.0.1", 0), "\0\5\0\1", 4);
	assert_int_equal(looks(&p, at("127.0.0.1", 69)), 1);
	is(CLEAT_PORT_OPEN, "answered", 0);
	leave(fds[n_fds - 1]);
	leave(fds[n_fds - 1]);
	leave(fd);
	assert_int_equal(sends(&p, at("127.0.0.1", 69)), 1);
	is(CLEAT_PORT_CLOSED, "ICMP port unreachable", 0);
}

/* Probes that meet are not answers. */

static void meets_itself_at(const char *ip)
{
	struct cleat__probe p = probe(at(ip, 0).any.sa_family);

	bind_to(p.fd, at(ip, 7000));
	assert_int_equal(sends(&p, at(ip, 7000)), 0);
	assert_int_equal(looks(&p, at(ip, 7000)), 0);
}

static void meets_itself(void)
{
	meets_itself_at("127.0.0.1");
	meets_itself_at("::1");
}

static void meet_at(const char *ip)
{
	struct cleat__probe a = probe(at(ip, 0).any.sa_family);
	struct cleat__probe b = probe(at(ip, 0).any.sa_family);

	bind_to(a.fd, at(ip, 7001));
	bind_to(b.fd, at(ip, 7002));
	assert_int_equal(sends(&a, at(ip, 7002)), 0);
	assert_int_equal(sends(&b, at(ip, 7001)), 0);
	assert_int_equal(looks(&a, at(ip, 7002)), 0);
	assert_int_equal(looks(&b, at(ip, 7001)), 0);
}

static void meet(void)
{
	meet_at("127.0.0.1");
	meet_at("::1");
}

/* What cannot be sent. */

static void no_route(void)
{
	struct cleat__probe p = probe(AF_INET), p6 = probe(AF_INET6);

	assert_int_equal(sends(&p, at("192.0.2.1", 7000)), 1);
	is(CLEAT_PORT_FILTERED, "no route", -1);
	assert_int_equal(sends(&p6, at("2001:db8::1", 7000)), 1);
	is(CLEAT_PORT_FILTERED, "no route", -1);
	assert_int_equal(sends(&p6, at("fe80::1", 7000)), 1);
	is(CLEAT_PORT_FILTERED, "no zone", -1);
}

static void broadcast(void)
{
	struct cleat__probe p = probe(AF_INET);

	assert_int_equal(sends(&p, at("127.255.255.255", 7000)), 1);
	is(CLEAT_PORT_FILTERED, "broadcast, or prohibited by a route", -1);
}

static bool write_range(const char *range)
{
	FILE *f = fopen("/proc/sys/net/ipv4/ip_local_port_range", "we");
	bool done = f && fputs(range, f) >= 0;

	if (f && fclose(f) != 0)
		done = false;
	return done;
}

static void no_port_left(void)
{
	struct cleat__probe p[3] = { probe(AF_INET), probe(AF_INET),
				     probe(AF_INET) };
	const struct cleat_sockaddr there = at("127.0.0.1", 7000);
	int err;

	(void)server("127.0.0.1", 7000);
	if (!write_range("40000 40001"))
		skip();
	err = sends(&p[0], there) | sends(&p[1], there);
	if (err == 0)
		err = sends(&p[2], there);
	assert_true(write_range("32768 60999"));
	assert_int_equal(err, -EAGAIN);
	assert_int_equal(sends(&p[2], there), 0);
}

/* ICMP errors, made up as if routers had sent them. */

static unsigned checksum(const void *data, size_t len, unsigned sum)
{
	const unsigned char *d = data;

	for (size_t i = 0; i < len; i++)
		sum += i % 2 ? d[i] : (unsigned)d[i] << 8;
	while (sum > 0xffff)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static void raw(int family, const void *packet, size_t len)
{
	struct cleat_sockaddr to =
		family == AF_INET ? at("127.0.0.1", 0) : at("::1", 0);
	int fd = socket(family, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);

	assert_true(fd >= 0);
	assert_int_equal(sendto(fd, packet, len, 0, &to.any, to.len), len);
	close(fd);
}

static struct udphdr udp_header(unsigned sport, unsigned dport)
{
	return (struct udphdr){ .uh_sport = htons((uint16_t)sport),
				.uh_dport = htons((uint16_t)dport),
				.uh_ulen = htons(sizeof(struct udphdr) + 1) };
}

static struct iphdr ip_header(const char *src, const char *dst, unsigned proto,
			      size_t len)
{
	return (struct iphdr){ .version = 4,
			       .ihl = 5,
			       .ttl = 64,
			       .protocol = (uint8_t)proto,
			       .tot_len = htons((uint16_t)len),
			       .saddr = at(src, 0).in.sin_addr.s_addr,
			       .daddr = at(dst, 0).in.sin_addr.s_addr };
}

/* WHO says TYPE and CODE of what went to DST, port 7000, from SPORT. */
static void icmp(const char *who, unsigned type, unsigned code, const char *dst,
		 unsigned sport)
{
	struct {
		struct iphdr outer;
		struct icmphdr icmp;
		struct iphdr inner;
		struct udphdr udp;
	} m = {
		.outer = ip_header(who, "127.0.0.1", IPPROTO_ICMP, sizeof(m)),
		.icmp = { .type = (uint8_t)type, .code = (uint8_t)code },
		.inner = ip_header("127.0.0.1", dst, IPPROTO_UDP,
				   sizeof(m.inner) + sizeof(m.udp) + 1),
		.udp = udp_header(sport, 7000),
	};

	if (type == ICMP_DEST_UNREACH && code == ICMP_FRAG_NEEDED)
		m.icmp.un.frag.mtu = htons(1400);
	m.icmp.checksum = htons(
		(uint16_t)~checksum(&m.icmp, sizeof(m) - sizeof(m.outer), 0));
	raw(AF_INET, &m, sizeof(m));
}

static struct ip6_hdr ip6_header(const char *src, const char *dst,
				 unsigned next, size_t len)
{
	return (struct ip6_hdr){ .ip6_flow = htonl(6u << 28),
				 .ip6_plen = htons((uint16_t)len),
				 .ip6_nxt = (uint8_t)next,
				 .ip6_hops = 64,
				 .ip6_src = at(src, 0).in6.sin6_addr,
				 .ip6_dst = at(dst, 0).in6.sin6_addr };
}

static void icmp6(const char *who, unsigned type, unsigned code, unsigned sport)
{
	struct {
		struct ip6_hdr outer;
		struct icmp6_hdr icmp;
		struct ip6_hdr inner;
		struct udphdr udp;
	} m = {
		.icmp = { .icmp6_type = (uint8_t)type,
			  .icmp6_code = (uint8_t)code },
		.inner = ip6_header("::1", "::1", IPPROTO_UDP,
				    sizeof(m.udp) + 1),
		.udp = udp_header(sport, 7000),
	};
	const size_t len = sizeof(m) - sizeof(m.outer);
	unsigned sum;

	m.outer = ip6_header(who, "::1", IPPROTO_ICMPV6, len);
	if (type == ICMP6_PACKET_TOO_BIG)
		m.icmp.icmp6_mtu = htonl(1400);
	/* RFC 8200 section 8.1: over a header of addresses, too. */
	sum = checksum(&m.outer.ip6_src, 2 * sizeof(m.outer.ip6_src),
		       (unsigned)len + IPPROTO_ICMPV6);
	m.icmp.icmp6_cksum = htons((uint16_t)~checksum(&m.icmp, len, sum));
	raw(AF_INET6, &m, sizeof(m));
}

static const struct {
	const char *to, *who;
	unsigned type, code;
	enum cleat_port_state state;
	const char *reason; /* NULL: it means nothing */
	int64_t rtt;
} errors[] = {
	{ "127.0.0.1", "127.0.0.1", 3, 3, CLEAT_PORT_CLOSED,
	  "ICMP port unreachable", 0 },
	{ "127.0.0.1", "192.0.2.9", 3, 3, CLEAT_PORT_FILTERED,
	  "ICMP port unreachable, from elsewhere", 0 },
	{ "127.0.0.1", "192.0.2.9", 3, 0, CLEAT_PORT_FILTERED,
	  "ICMP network unreachable", 0 },
	{ "127.0.0.1", "192.0.2.9", 3, 1, CLEAT_PORT_FILTERED,
	  "ICMP host unreachable", 0 },
	{ "127.0.0.1", "127.0.0.1", 3, 2, CLEAT_PORT_FILTERED,
	  "ICMP protocol unreachable", 0 },
	{ "127.0.0.1", "192.0.2.9", 3, 10, CLEAT_PORT_FILTERED,
	  "ICMP host admin prohibited", 0 },
	{ "127.0.0.1", "192.0.2.9", 3, 13, CLEAT_PORT_FILTERED,
	  "ICMP admin prohibited", 0 },
	{ "127.0.0.1", "192.0.2.9", 11, 0, CLEAT_PORT_FILTERED,
	  "ICMP TTL exceeded", 0 },
	{ "127.0.0.1", "192.0.2.9", 3, 4, CLEAT_PORT_OPEN, NULL, 0 },
	{ "127.0.0.2", "127.0.0.1", 3, 1, CLEAT_PORT_FILTERED,
	  "no answer to ARP", -1 },
	{ "127.0.0.2", "127.0.0.1", 3, 3, CLEAT_PORT_FILTERED,
	  "forbidden by this machine", -1 },
	{ "::1", "::1", 1, 4, CLEAT_PORT_CLOSED, "ICMP port unreachable", 0 },
	{ "::1", "2001:db8::9", 1, 4, CLEAT_PORT_FILTERED,
	  "ICMP port unreachable, from elsewhere", 0 },
	{ "::1", "2001:db8::9", 1, 0, CLEAT_PORT_FILTERED, "ICMP no route", 0 },
	{ "::1", "2001:db8::9", 1, 1, CLEAT_PORT_FILTERED,
	  "ICMP admin prohibited", 0 },
	{ "::1", "2001:db8::9", 1, 3, CLEAT_PORT_FILTERED,
	  "ICMP address unreachable", 0 },
	{ "::1", "2001:db8::9", 3, 0, CLEAT_PORT_FILTERED,
	  "ICMP hop limit exceeded", 0 },
	{ "::1", "2001:db8::9", 2, 0, CLEAT_PORT_OPEN, NULL, 0 },
};

static void errors_come(void)
{
	for (size_t i = 0; i < COUNT(errors); i++) {
		const struct cleat_sockaddr to = at(errors[i].to, 7000);
		struct cleat__probe p = probe(to.any.sa_family);
		const int fd = server(errors[i].to, 7000);
		unsigned sport;

		assert_int_equal(sends(&p, to), 0);
		(void)hears(fd);
		sport = cleat_sockaddr_port(&from);
		if (to.any.sa_family == AF_INET)
			icmp(errors[i].who, errors[i].type, errors[i].code,
			     errors[i].to, sport);
		else
			icmp6(errors[i].who, errors[i].type, errors[i].code,
			      sport);
		assert_int_equal(looks(&p, to), errors[i].reason != NULL);
		if (errors[i].reason)
			is(errors[i].state, errors[i].reason, errors[i].rtt);
		leave(fd);
		leave(p.fd);
	}
}

/* A network may bring a packet twice; the next probe is not to hear of it. */
static void error_comes_twice(void)
{
	const struct cleat_sockaddr to = at("127.0.0.1", 7000);
	struct cleat__probe p = probe(AF_INET);
	const int fd = server("127.0.0.1", 7000);

	(void)server("127.0.0.1", 7001);
	assert_int_equal(sends(&p, to), 0);
	(void)hears(fd);
	for (int i = 0; i < 3; i++)
		icmp("127.0.0.1", 3, 3, "127.0.0.1",
		     cleat_sockaddr_port(&from));
	assert_int_equal(looks(&p, to), 1);
	is(CLEAT_PORT_CLOSED, "ICMP port unreachable", 0);
	assert_int_equal(sends(&p, at("127.0.0.1", 7001)), 0);
	assert_int_equal(looks(&p, at("127.0.0.1", 7001)), 0);
}

static void names(void)
{
	for (unsigned type = 0; type < 256; type++) {
		for (unsigned code = 0; code < 256; code++) {
			assert_memory_equal(
				cleat__icmp_name(AF_INET, type, code), "ICMP ",
				5);
			assert_memory_equal(
				cleat__icmp_name(AF_INET6, type, code), "ICMP ",
				5);
		}
	}
	assert_string_equal(cleat__icmp_name(AF_INET, 3, 15),
			    "ICMP precedence cutoff");
	assert_string_equal(cleat__icmp_name(AF_INET, 3, 16),
			    "ICMP unreachable");
	assert_string_equal(cleat__icmp_name(AF_INET6, 1, 9),
			    "ICMP unreachable");
}

/* Banners */

static struct {
	struct cleat_scan_options opt;
	struct cleat__job job;
	struct cleat_targets *targets;
	struct cleat_ports ports;
	unsigned n;
	char text[300][16];
	size_t len[300];
	bool has[300];
} b;

static void found(void *arg, const struct cleat_scan_result *r)
{
	(void)arg;
	assert_in_range(r->place, 0, COUNT(b.text) - 1);
	assert_false(b.has[r->place]);
	b.has[r->place] = true;
	b.len[r->place] = r->banner_len;
	assert_int_equal(r->banner == NULL, r->banner_len == 0);
	if (r->banner)
		memcpy(b.text[r->place], r->banner, r->banner_len);
	b.n++;
}

static void job_new(int64_t ns)
{
	memset(&b, 0, sizeof(b));
	b.opt.banner_ns = ns;
	b.opt.banner_max = sizeof(b.text[0]);
	b.opt.found = found;
	b.job.opt = &b.opt;
	(void)pthread_mutex_init(&b.job.found_lock, NULL);
	ok(cleat_targets_new(&b.targets));
	ok(cleat_targets_add(b.targets, "127.0.0.1", AF_UNSPEC, soon()));
	ok(cleat_ports_add(&b.ports, "1-300", CLEAT_TCP));
	ok(cleat__plan_init(&b.job.plan, b.targets, &b.ports, &b.opt));
	ok(cleat__ledger_init(&b.job.ledger, COUNT(b.text), 0));
}

static void job_free(void)
{
	cleat__ledger_done(&b.job.ledger);
	cleat__plan_done(&b.job.plan);
	cleat_targets_free(b.targets);
	(void)pthread_mutex_destroy(&b.job.found_lock);
}

static void add(struct cleat__banners *banners, unsigned place, unsigned port)
{
	static const struct cleat__verdict open = { CLEAT_PORT_OPEN,
						    "connected", 1 };
	const struct cleat_sockaddr sa = at("127.0.0.1", port);

	cleat__banners_add(banners, place, &sa, &open);
}

/* Says TEXT, in two pieces, to the first that connects. */
struct speaker {
	int listener;
	const char *text[2];
	pthread_t thread;
};

static void *speak(void *arg)
{
	const struct speaker *s = arg;
	int fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC);
	char byte;

	for (unsigned i = 0; i < 2; i++)
		(void)send(fd, s->text[i], strlen(s->text[i]), MSG_NOSIGNAL);
	(void)recv(fd, &byte, 1, 0); /* until it has gone */
	close(fd);
	return NULL;
}

static void speakers_speak(void)
{
	static struct speaker v[] = {
		{ .text = { "SSH-2.0-x\r\n", "" } },
		{ .text = { "220 ", "hello\r\n" } },
		{ .text = { "more than there ", "is room for" } },
		{ .text = { "", "" } }, /* waits for its client */
	};
	struct cleat__banners *banners;

	job_new(CLEAT_SEC / 2);
	for (unsigned i = 0; i < COUNT(v); i++) {
		v[i].listener = listening("127.0.0.1", 7000 + i);
		assert_int_equal(
			pthread_create(&v[i].thread, NULL, speak, &v[i]), 0);
	}
	ok(cleat__banners_new(&banners, &b.job));
	for (unsigned i = 0; i < COUNT(v); i++)
		add(banners, i, 7000 + i);
	add(banners, 4, 7009); /* gone meanwhile */
	cleat__banners_free(banners);
	for (unsigned i = 0; i < COUNT(v); i++)
		assert_int_equal(pthread_join(v[i].thread, NULL), 0);
	assert_int_equal(b.n, 5);
	assert_memory_equal(b.text[0], "SSH-2.0-x\r\n", b.len[0]);
	assert_int_equal(b.len[0], 11);
	assert_memory_equal(b.text[1], "220 hello\r\n", b.len[1]);
	assert_int_equal(b.len[1], 11);
	assert_memory_equal(b.text[2], "more than there ", b.len[2]);
	assert_int_equal(b.len[2], 16);
	assert_int_equal(b.len[3], 0);
	assert_int_equal(b.len[4], 0);
	job_free();
}

/* They would take minutes; but the scan is stopped. */
static void stopped(void)
{
	const cleat_time before = cleat_now();
	struct cleat__banners *banners;

	job_new(60 * CLEAT_SEC);
	(void)listening("127.0.0.1", 7000);
	ok(cleat__banners_new(&banners, &b.job));
	for (unsigned i = 0; i < COUNT(b.text); i++)
		add(banners, i, 7000);
	b.job.stop = true;
	cleat__banners_free(banners);
	assert_int_equal(b.n, COUNT(b.text));
	assert_true(cleat_now() - before < 20 * CLEAT_SEC);
	job_free();
}

/* Whatever fails, each port is told of, and nothing is left. */
static void banners_fail(void)
{
	const char *failed = "";

	(void)listening("127.0.0.1", 7000);
	for (unsigned long n = 1; failed; n++) {
		const unsigned open = both_entries("/proc/self/fd");
		struct cleat__banners *banners = NULL;
		long live;
		int err;

		job_new(20 * CLEAT_MSEC);
		live = fault_live();
		fault_arm(FAULT_ERROR, n);
		err = cleat__banners_new(&banners, &b.job);
		for (unsigned i = 0; i < 2 && err == 0; i++)
			add(banners, i, 7000);
		cleat__banners_free(banners);
		failed = fault_disarm();
		if (err < 0)
			assert_true(cleat_why()[0]);
		assert_int_equal(b.n, err < 0 ? 0 : 2);
		assert_int_equal(fault_live(), live);
		assert_int_equal(both_entries("/proc/self/fd"), open);
		job_free();
	}
}

/* And a probe has a verdict, or waits for better times. */
static int probe_once(void)
{
	const struct cleat_sockaddr there = at("127.0.0.1", 7000);
	struct cleat__probe p = { .fd = udp->open(AF_INET) };
	int err = p.fd;

	if (p.fd < 0)
		return err;
	err = sends(&p, there);
	if (err == 0)
		err = looks(&p, there);
	close(p.fd);
	return err;
}

static void probes_fail(void)
{
	const char *failed = "";

	for (unsigned long n = 1; failed; n++) {
		const unsigned open = both_entries("/proc/self/fd");
		int rc;

		fault_arm(FAULT_ERROR, n);
		rc = probe_once();
		failed = fault_disarm();
		if (rc == 1 && verdict.state != CLEAT_PORT_CLOSED)
			is(CLEAT_PORT_FILTERED, "no address to send from", -1);
		assert_int_equal(both_entries("/proc/self/fd"), open);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ALONE(answered),
		ALONE(answered_with_nothing),
		ALONE(refused),
		ALONE(answered_and_refused),
		ALONE(answered_from_elsewhere),
		ALONE(meets_itself),
		ALONE(meet),
		ALONE(no_route),
		ALONE(broadcast),
		ALONE(no_port_left),
		ALONE(errors_come),
		ALONE(error_comes_twice),
		ALONE(names),
		ALONE(speakers_speak),
		ALONE(stopped),
		ALONE(banners_fail),
		ALONE(probes_fail),
	};

	if (!in_own_namespace()) {
		print_message("skipped: no right to make a network "
			      "namespace\n");
		return 77;
	}
	return cmocka_run_group_tests_name("scan_udp", tests, NULL, NULL);
}
