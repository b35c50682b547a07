/* SPDX-License-Identifier: MIT */
/* SYNs as they leave, and what is made of the packets that come back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "scan/segment.h"

enum {
	FROM_PORT = 50000,
	SEQ = 0x01020304
};

static struct cleat_sockaddr address(const char *text, unsigned port)
{
	struct cleat_sockaddr sa = { .len = sizeof(sa.in) };

	sa.in.sin_port = htons((uint16_t)port);
	if (inet_pton(AF_INET, text, &sa.in.sin_addr) == 1) {
		sa.in.sin_family = AF_INET;
		return sa;
	}
	sa.len = sizeof(sa.in6);
	sa.in6.sin6_family = AF_INET6;
	assert_int_equal(inet_pton(AF_INET6, text, &sa.in6.sin6_addr), 1);
	return sa;
}

static void assert_to(const struct cleat__reply *r, const char *text,
		      unsigned port)
{
	const struct cleat_sockaddr want = address(text, port);

	assert_int_equal(r->to.len, want.len);
	assert_memory_equal(&r->to.any, &want.any, want.len);
	assert_int_equal(r->port, htons(FROM_PORT));
	assert_int_equal(r->seq, SEQ);
}

/* RFC 1071: over a checksum and what it is of, the sum is all ones. */
static uint16_t sum_of(const uint8_t *data, size_t len, uint32_t sum)
{
	for (size_t i = 0; i < len; i += 2)
		sum += (uint32_t)data[i] << 8 | data[i + 1];
	while (sum > 0xffff)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

/* SYNs */

static void syn_ip4(void **state)
{
	static const uint8_t want[] = {
		0x45, 0,    0,    44,  0x03, 0x05, 0x40, 0,
		64,   6,    0,    0, /* IP */
		192,  0,    2,    1,   198,  51,   100,  7, /* from, to */
		0xc3, 0x50, 0,    80,  1,    2,    3,    4,
		0,    0,    0,    0, /* ports, number */
		0x60, 2,    0x05, 0xb4 /* 24 bytes, SYN, window */
	};
	const struct cleat_sockaddr from = address("192.0.2.1", FROM_PORT);
	const struct cleat_sockaddr to = address("198.51.100.7", 80);
	uint8_t buf[CLEAT__SYN_MAX];
	uint8_t again[CLEAT__SYN_MAX];

	(void)state;
	assert_int_equal(cleat__syn_build(buf, &from, &to, SEQ), 44);
	memcpy(again, buf, sizeof(buf));
	memset(again + 4, 0, 2); /* of no meaning */
	memcpy(again + 4, want + 4, 2);
	assert_memory_equal(again, want, sizeof(want));
	assert_int_equal(memcmp(buf + 40, "\2\4\5\xb4", 4), 0);
	/* Of the segment, its length, its protocol, and both addresses. */
	assert_int_equal(sum_of(buf + 12, 32, 24 + 6), 0xffff);
}

static void syn_ip4_checksums(void **state)
{
	const struct cleat_sockaddr from = address("10.255.254.253", FROM_PORT);
	uint8_t buf[CLEAT__SYN_MAX];

	(void)state;
	for (unsigned port = 1; port < 65536; port += 257) {
		const struct cleat_sockaddr to = address("10.1.2.3", port);

		(void)cleat__syn_build(buf, &from, &to, port * 0x9e3779b1u);
		assert_int_equal(sum_of(buf + 12, 32, 24 + 6), 0xffff);
	}
}

static void syn_ip6(void **state)
{
	static const uint8_t want[] = {
		0xc3, 0x50, 0,    22,   1, 2, 3, 4, 0,
		0,    0,    0, /* ports, number */
		0x60, 2,    0x05, 0xa0, 0, 0, 0, 0, /* the kernel's to fill in
						     */
		2,    4,    0x05, 0xa0 /* MSS */
	};
	const struct cleat_sockaddr from = address("::", FROM_PORT);
	const struct cleat_sockaddr to = address("2001:db8::7", 22);
	uint8_t buf[CLEAT__SYN_MAX];

	(void)state;
	assert_int_equal(cleat__syn_build(buf, &from, &to, SEQ), 24);
	assert_memory_equal(buf, want, sizeof(want));
}

/* Cookies */

static void seq_differs(void **state)
{
	static const struct {
		const char *ip;
		unsigned port;
	} places[] = {
		{ "192.0.2.1", 80 },   { "192.0.2.1", 81 },
		{ "192.0.2.2", 80 },   { "2001:db8::1", 80 },
		{ "2001:db8::1", 81 }, { "2001:db8::2", 80 },
		{ "::c000:201", 80 },  { "2001:db8:0:1::1", 80 },
	};
	enum {
		N = sizeof(places) / sizeof(places[0])
	};
	const struct cleat__syn_key key = { { 1, 2 } }, other = { { 1, 3 } };
	uint32_t seq[N];

	(void)state;
	for (size_t i = 0; i < N; i++) {
		const struct cleat_sockaddr at =
			address(places[i].ip, places[i].port);

		seq[i] = cleat__syn_seq(&key, &at);
		assert_int_equal(cleat__syn_seq(&key, &at), seq[i]);
		assert_int_not_equal(cleat__syn_seq(&other, &at), seq[i]);
		for (size_t k = 0; k < i; k++)
			assert_int_not_equal(seq[k], seq[i]);
	}
}

/* What a zone's reply is known by does not say the zone. */
static void seq_has_no_zone(void **state)
{
	const struct cleat__syn_key key = { { 1, 2 } };
	struct cleat_sockaddr at = address("fe80::1", 80);
	const uint32_t seq = cleat__syn_seq(&key, &at);

	(void)state;
	at.in6.sin6_scope_id = 7;
	assert_int_equal(cleat__syn_seq(&key, &at), seq);
}

/* Replies */

/* An IPv4 header of 24 bytes, as with an option. */
#define IP4(protocol)                                                          \
	0x46, 0, 0, 0, 0, 0, 0x40, 0, 64, (protocol), 0, 0, 198, 51, 100, 7,   \
		192, 0, 2, 1, 1, 1, 1, 0
/* From port 80 to FROM_PORT, to SEQ. */
#define SEGMENT(flags)                                                         \
	0, 80, 0xc3, 0x50, 9, 9, 9, 9, 1, 2, 3, 5, 0x50, (flags), 0, 0, 0, 0,  \
		0, 0
/* The SYN to 198.51.100.7:80, as ICMP quotes it. */
#define QUOTED4                                                                \
	0x45, 0, 0, 44, 0, 0, 0x40, 0, 9, 6, 0, 0, 192, 0, 2, 1, 198, 51, 100, \
		7, 0xc3, 0x50, 0, 80, 1, 2, 3, 4
#define QUOTED6                                                                \
	0x60, 0, 0, 0, 0, 24, 6, 64, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0,  \
		0, 0, 0, 0, 1, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0,  \
		0, 0, 7, 0xc3, 0x50, 0, 80, 1, 2, 3, 4

/* clang-format off */
static const struct packet {
	const char *what;
	int protocol;
	const char *from;
	size_t len;
	uint8_t data[64];
	int kind; /* -1: none */
	bool is_own;
} packets[] = {
	{ "SYN-ACK", IPPROTO_TCP, "198.51.100.7", 44,
	  { IP4(6), SEGMENT(0x12) }, CLEAT__REPLY_SYN_ACK, true },
	{ "RST", IPPROTO_TCP, "198.51.100.7", 44,
	  { IP4(6), SEGMENT(0x14) }, CLEAT__REPLY_RST, true },
	{ "RST without ACK", IPPROTO_TCP, "198.51.100.7", 44,
	  { IP4(6), SEGMENT(0x04) }, -1, false },
	{ "ACK", IPPROTO_TCP, "198.51.100.7", 44,
	  { IP4(6), SEGMENT(0x10) }, -1, false },
	{ "SYN", IPPROTO_TCP, "198.51.100.7", 44,
	  { IP4(6), SEGMENT(0x02) }, -1, false },
	{ "of UDP", IPPROTO_TCP, "198.51.100.7", 44,
	  { IP4(17), SEGMENT(0x12) }, -1, false },
	{ "SYN-ACK over IPv6", IPPROTO_TCP, "2001:db8::7", 20,
	  { SEGMENT(0x12) }, CLEAT__REPLY_SYN_ACK, true },
	{ "ICMP of a router", IPPROTO_ICMP, "192.0.2.254", 60,
	  { IP4(1), 3, 1, 0, 0, 0, 0, 0, 0, QUOTED4 },
	  CLEAT__REPLY_ICMP, false },
	{ "ICMP of the host", IPPROTO_ICMP, "198.51.100.7", 60,
	  { IP4(1), 3, 13, 0, 0, 0, 0, 0, 0, QUOTED4 },
	  CLEAT__REPLY_ICMP, true },
	{ "ICMP echo reply", IPPROTO_ICMP, "198.51.100.7", 60,
	  { IP4(1), 0, 0, 0, 0, 0, 0, 0, 0, QUOTED4 }, -1, false },
	{ "ICMPv6 of a router", IPPROTO_ICMPV6, "2001:db8::fe", 56,
	  { 1, 1, 0, 0, 0, 0, 0, 0, QUOTED6 }, CLEAT__REPLY_ICMP, false },
	{ "ICMPv6 packet too big", IPPROTO_ICMPV6, "2001:db8::fe", 56,
	  { 2, 0, 0, 0, 0, 0, 0, 0, QUOTED6 }, -1, false },
};
/* clang-format on */

static bool parse(struct cleat__reply *r, const struct packet *p, size_t len)
{
	const struct cleat_sockaddr from = address(p->from, 0);
	uint8_t *data = malloc(len > 0 ? len : 1); /* for ASan */
	bool is_reply;

	assert_non_null(data);
	memcpy(data, p->data, len);
	is_reply = cleat__reply_parse(r, p->protocol, &from, data, len);
	free(data);
	return is_reply;
}

static void replies(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(packets) / sizeof(packets[0]); i++) {
		const struct packet *p = &packets[i];
		const bool is_ip6 = strchr(p->from, ':');
		struct cleat__reply r;

		if (parse(&r, p, p->len) != (p->kind >= 0))
			fail_msg("%s is %sa reply", p->what,
				 p->kind >= 0 ? "not " : "");
		if (p->kind < 0)
			continue;
		assert_int_equal(r.kind, p->kind);
		assert_int_equal(r.is_own, p->is_own);
		assert_to(&r, is_ip6 ? "2001:db8::7" : "198.51.100.7", 80);
	}
}

static void icmp_says_why(void **state)
{
	struct cleat__reply r;

	(void)state;
	assert_true(parse(&r, &packets[8], packets[8].len));
	assert_int_equal(r.type, 3);
	assert_int_equal(r.code, 13);
}

/* By whom the SYN was sent. */
static void icmp_of_our_own(void **state)
{
	struct packet ip4 = packets[7], ip6 = packets[10];
	struct cleat__reply r;

	(void)state;
	assert_true(parse(&r, &ip4, ip4.len));
	assert_false(r.is_ours);
	assert_true(parse(&r, &ip6, ip6.len));
	assert_false(r.is_ours);
	ip4.from = "192.0.2.1";
	assert_true(parse(&r, &ip4, ip4.len));
	assert_true(r.is_ours);
	assert_false(r.is_own);
	ip6.from = "2001:db8::1";
	assert_true(parse(&r, &ip6, ip6.len));
	assert_true(r.is_ours);
	assert_false(r.is_own);
}

static void cut_short(void **state)
{
	struct cleat__reply r;

	(void)state;
	for (size_t i = 0; i < sizeof(packets) / sizeof(packets[0]); i++)
		for (size_t len = 0; len < packets[i].len; len++)
			assert_false(parse(&r, &packets[i], len));
}

/* The zone is that of whom the reply came from. */
static void zone(void **state)
{
	static const uint8_t data[] = { SEGMENT(0x14) };
	struct cleat_sockaddr from = address("fe80::7", 0);
	struct cleat__reply r;

	(void)state;
	from.in6.sin6_scope_id = 3;
	assert_true(
		cleat__reply_parse(&r, IPPROTO_TCP, &from, data, sizeof(data)));
	assert_int_equal(r.to.in6.sin6_scope_id, 3);
	from = address("2001:db8::7", 0);
	from.in6.sin6_scope_id = 3;
	assert_true(
		cleat__reply_parse(&r, IPPROTO_TCP, &from, data, sizeof(data)));
	assert_int_equal(r.to.in6.sin6_scope_id, 0);
}

/* A SYN that comes back quoted is the one that was sent. */
static void there_and_back(void **state)
{
	const struct cleat_sockaddr from = address("192.0.2.1", FROM_PORT);
	const struct cleat_sockaddr to = address("198.51.100.7", 443);
	const struct cleat_sockaddr router = address("192.0.2.254", 0);
	uint8_t data[32 + CLEAT__SYN_MAX] = { IP4(1), 11 };
	struct cleat__reply r;
	size_t len;

	(void)state;
	len = cleat__syn_build(data + 32, &from, &to, SEQ);
	assert_true(
		cleat__reply_parse(&r, IPPROTO_ICMP, &router, data, 32 + len));
	assert_int_equal(r.type, 11);
	assert_to(&r, "198.51.100.7", 443);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(syn_ip4),
		cmocka_unit_test(syn_ip4_checksums),
		cmocka_unit_test(syn_ip6),
		cmocka_unit_test(seq_differs),
		cmocka_unit_test(seq_has_no_zone),
		cmocka_unit_test(replies),
		cmocka_unit_test(icmp_says_why),
		cmocka_unit_test(icmp_of_our_own),
		cmocka_unit_test(cut_short),
		cmocka_unit_test(zone),
		cmocka_unit_test(there_and_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
