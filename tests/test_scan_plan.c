/* SPDX-License-Identifier: MIT */
/* What a scan is to try: sets of addresses and of ports, and the order in which
 * they come.
 */
#include <cleat/scan.h>

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/wait.h>

#include "both.h"
#include "fault.h"
#include "scan/order.h"
#include "scan/plan.h"
#include "scan/targets.h"
#include "scan/top.h"

#define FIFTY "abcdefghijabcdefghijabcdefghijabcdefghijabcdefghij"

/* For what is to be read: services, hosts. */
static char file[] = "/tmp/cleat-test-scan-XXXXXX";

static uint64_t random_state;

/* xorshift64 (Marsaglia, 2003). */
static uint64_t draw(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

static unsigned below(unsigned n)
{
	return (unsigned)(draw() >> 32) % n;
}

static struct cleat_targets *targets(void)
{
	struct cleat_targets *t;

	ok(cleat_targets_new(&t));
	return t;
}

static void add(struct cleat_targets *t, const char *text)
{
	ok(cleat_targets_add(t, text, AF_UNSPEC, 0));
}

static void exclude(struct cleat_targets *t, const char *text)
{
	ok(cleat_targets_exclude(t, text, AF_UNSPEC, 0));
}

/* The plan of N words; ports as a list. */
struct made {
	struct cleat_targets *t;
	struct cleat__plan plan;
};

static struct made make(const char *const *words, const char *list,
			const struct cleat_scan_options *opt)
{
	struct cleat_ports ports = { 0 };
	struct made m = { .t = targets() };

	for (; *words; words++) {
		if (words[0][0] == '!')
			exclude(m.t, *words + 1);
		else
			add(m.t, *words);
	}
	ok(cleat_ports_add(&ports, list, CLEAT_TCP));
	ok(cleat__plan_init(&m.plan, m.t, &ports, opt));
	return m;
}

static void unmake(struct made *m)
{
	cleat__plan_done(&m->plan);
	cleat_targets_free(m->t);
}

static void text_of(const struct cleat__plan *p, uint64_t place, char *text)
{
	struct cleat_sockaddr at;

	memset(&at, 0xa5, sizeof(at));
	cleat__plan_at(p, place, &at);
	assert_true(cleat_sockaddr_format(&at, text, CLEAT_ADDR_MAX) > 0);
}

/* Targets */

static const struct {
	const char *text;
	uint64_t count;
	const char *first, *last; /* with port 1 */
} good[] = {
	{ "192.0.2.7", 1, "192.0.2.7:1", "192.0.2.7:1" },
	{ "0.0.0.0", 1, "0.0.0.0:1", "0.0.0.0:1" },
	{ "192.0.2.0/24", 256, "192.0.2.0:1", "192.0.2.255:1" },
	{ "192.0.2.77/24", 256, "192.0.2.0:1", "192.0.2.255:1" },
	{ "192.0.2.7/32", 1, "192.0.2.7:1", "192.0.2.7:1" },
	{ "192.0.2.7/31", 2, "192.0.2.6:1", "192.0.2.7:1" },
	{ "10.1.2.3/8", 1 << 24, "10.0.0.0:1", "10.255.255.255:1" },
	{ "1.2.3.4/0", UINT64_C(1) << 32, "0.0.0.0:1", "255.255.255.255:1" },
	{ "192.0.2.1-20", 20, "192.0.2.1:1", "192.0.2.20:1" },
	{ "192.0.2.1-1", 1, "192.0.2.1:1", "192.0.2.1:1" },
	{ "192.0.2.0-255", 256, "192.0.2.0:1", "192.0.2.255:1" },
	{ "192.0.2.1-192.0.3.20", 276, "192.0.2.1:1", "192.0.3.20:1" },
	{ "0.0.0.0-255.255.255.255", UINT64_C(1) << 32, "0.0.0.0:1",
	  "255.255.255.255:1" },
	{ "2001:db8::7", 1, "[2001:db8::7]:1", "[2001:db8::7]:1" },
	{ "[2001:db8::7]", 1, "[2001:db8::7]:1", "[2001:db8::7]:1" },
	{ "::", 1, "[::]:1", "[::]:1" },
	{ "2001:db8::7/120", 256, "[2001:db8::]:1", "[2001:db8::ff]:1" },
	{ "[2001:db8::7]/127", 2, "[2001:db8::6]:1", "[2001:db8::7]:1" },
	{ "::1/128", 1, "[::1]:1", "[::1]:1" },
	{ "2001:db8::/66", UINT64_C(1) << 62, "[2001:db8::]:1",
	  "[2001:db8::3fff:ffff:ffff:ffff]:1" },
	{ "2001:db8::1-2001:db8::ff", 255, "[2001:db8::1]:1",
	  "[2001:db8::ff]:1" },
	{ "[2001:db8::1]-[2001:db8::2]", 2, "[2001:db8::1]:1",
	  "[2001:db8::2]:1" },
	{ "2001:db8::1-[2001:db8::2]", 2, "[2001:db8::1]:1",
	  "[2001:db8::2]:1" },
	/* Over the edge of a /64. */
	{ "2001:db8:0:1:ffff:ffff:ffff:fffe-2001:db8:0:2::1", 4,
	  "[2001:db8:0:1:ffff:ffff:ffff:fffe]:1", "[2001:db8:0:2::1]:1" },
	{ "fe80::1%lo", 1, "[fe80::1%lo]:1", "[fe80::1%lo]:1" },
	{ "fe80::1%1", 1, "[fe80::1%lo]:1", "[fe80::1%lo]:1" },
	{ "[fe80::1%lo]", 1, "[fe80::1%lo]:1", "[fe80::1%lo]:1" },
	{ "fe80::%lo/126", 4, "[fe80::%lo]:1", "[fe80::3%lo]:1" },
	{ "fe80::1%lo-fe80::3", 3, "[fe80::1%lo]:1", "[fe80::3%lo]:1" },
	{ "fe80::1-fe80::3%lo", 3, "[fe80::1%lo]:1", "[fe80::3%lo]:1" },
	{ "fe80::1%lo-fe80::3%lo", 3, "[fe80::1%lo]:1", "[fe80::3%lo]:1" },
	/* No other kind has a zone. */
	{ "::1%lo", 1, "[::1]:1", "[::1]:1" },
	{ "::ffff:192.0.2.7", 1, "192.0.2.7:1", "192.0.2.7:1" },
	{ "[::ffff:c000:207]", 1, "192.0.2.7:1", "192.0.2.7:1" },
	{ "::ffff:192.0.2.7/120", 256, "192.0.2.0:1", "192.0.2.255:1" },
	{ "::ffff:10.0.0.1-::ffff:10.0.0.2", 2, "10.0.0.1:1", "10.0.0.2:1" },
	{ "::/88", UINT64_C(1) << 40, "[::]:1", "[::ff:ffff:ffff]:1" },
};

static void assert_edges(const char *text, const char *first, const char *last)
{
	const struct cleat_scan_options opt = { .seed = 1 };
	struct made m = make((const char *const[]){ text, NULL }, "1", &opt);
	const struct cleat__range *r = m.plan.ranges;
	const struct cleat__range *end = r + m.plan.n_ranges - 1;
	struct cleat_sockaddr at;
	char got[CLEAT_ADDR_MAX];

	for (unsigned i = 0; i < 2; i++) {
		const uint64_t number = i ? m.plan.hosts - 1 : 0;
		const uint64_t place =
			cleat__order_place(&m.plan.order, number);
		uint64_t again;

		text_of(&m.plan, place, got);
		assert_string_equal(got, i ? last : first);
		cleat__plan_at(&m.plan, place, &at);
		assert_true(cleat__plan_place(&m.plan, &at, &again));
		assert_int_equal(again, place);
	}
	assert_true(end->before + cleat__range_size(end) == m.plan.hosts);
	unmake(&m);
}

static void reads_targets(void)
{
	for (size_t i = 0; i < COUNT(good); i++) {
		struct cleat_targets *t = targets();
		uint64_t n;

		add(t, good[i].text);
		n = cleat_targets_count(t);
		if (n != good[i].count)
			fail_msg("%s: %" PRIu64, good[i].text, n);
		exclude(t, good[i].text);
		assert_int_equal(cleat_targets_count(t), 0);
		cleat_targets_free(t);
		assert_edges(good[i].text, good[i].first, good[i].last);
	}
}

#define NOT_IP4 "not an IPv4 address; that is four numbers up to 255"
#define PORT "a target has neither a protocol nor a port"
#define LARGE "an IPv6 range has at most as many addresses as a /64"

static const struct {
	const char *text;
	int family;
	const char *why;
} bad[] = {
	{ "", 0, "target: no address" },
	{ "10.0.0.0/33", 0,
	  "target 10.0.0.0/33: an IPv4 prefix has at most 32 bits" },
	{ "10.0.0.0/99999999999999999999", 0,
	  "target 10.0.0.0/99999999999999999999: an IPv4 prefix has at most "
	  "32 bits" },
	{ "10.0.0.0/", 0,
	  "target 10.0.0.0/: no prefix length after /; write 10.0.0.0/24" },
	{ "10.0.0.0/-1", 0,
	  "target 10.0.0.0/-1: either a block or a range; not both" },
	{ "10.0.0.0/x", 0,
	  "target 10.0.0.0/x: a prefix length is a number, as in "
	  "10.0.0.0/24" },
	{ "10.0.0.0/24/8", 0,
	  "target 10.0.0.0/24/8: a prefix length is a number, as in "
	  "10.0.0.0/24" },
	{ "10.0.0.0/255.0.0.0", 0,
	  "target 10.0.0.0/255.0.0.0: a prefix length is a number, as in "
	  "10.0.0.0/24" },
	{ "10.0.0.1-20/24", 0,
	  "target 10.0.0.1-20/24: either a block or a range; not both" },
	{ "10.0.0.20-1", 0,
	  "target 10.0.0.20-1: range runs backwards; write 10.0.0.1-20" },
	{ "10.0.1.0-10.0.0.9", 0,
	  "target 10.0.1.0-10.0.0.9: range runs backwards; write "
	  "10.0.0.9-10.0.1.0" },
	{ "::2-::1", 0, "target ::2-::1: range runs backwards; write ::1-::2" },
	{ "10.0.0.1-256", 0,
	  "target 10.0.0.1-256: the numbers of an IPv4 address go up to 255" },
	{ "10.0.0.1-99999999999999999999", 0,
	  "target 10.0.0.1-99999999999999999999: the numbers of an IPv4 "
	  "address go up to 255" },
	{ "10.0.0.1-", 0,
	  "target 10.0.0.1-: a range has two ends, as in 10.0.0.1-20" },
	{ "-10.0.0.1", 0,
	  "target -10.0.0.1: a range has two ends, as in 10.0.0.1-20" },
	{ "-", 0, "target -: a range has two ends, as in 10.0.0.1-20" },
	{ "10.0.0.1-3.20", 0, "target 10.0.0.1-3.20: " NOT_IP4 },
	{ "10.0.0-5.1", 0, "target 10.0.0-5.1: " NOT_IP4 },
	{ "10.0.0.1-2-3", 0, "target 10.0.0.1-2-3: " NOT_IP4 },
	{ "10.0.0.1-::1", 0,
	  "target 10.0.0.1-::1: a range has both ends in one version of IP" },
	{ "::1-10.0.0.1", 0,
	  "target ::1-10.0.0.1: an IPv6 range ends in a whole address" },
	{ "::1-20", 0, "target ::1-20: an IPv6 range ends in a whole address" },
	{ "256.1.1.1", 0, "target 256.1.1.1: " NOT_IP4 },
	{ "1.2.3", 0, "target 1.2.3: " NOT_IP4 },
	{ "127.1", 0, "target 127.1: " NOT_IP4 },
	{ "0x7f.1", 0, "target 0x7f.1: " NOT_IP4 },
	{ "1.2.3.4.5", 0, "target 1.2.3.4.5: " NOT_IP4 },
	{ "1.2.3.04", 0, "target 1.2.3.04: " NOT_IP4 },
	{ "8080", 0, "target 8080: " NOT_IP4 },
	{ "/24", 0,
	  "target /24: only an address has a block; a name has none" },
	{ "example.com/24", 0,
	  "target example.com/24: only an address has a block; a name has "
	  "none" },
	{ "10.0.0.*", 0,
	  "target 10.0.0.*: * stands for nothing here; write a block, as "
	  "10.0.0.0/24" },
	{ "10.0.0.1:80", 0, "target 10.0.0.1:80: " PORT },
	{ "example.com:80", 0, "target example.com:80: " PORT },
	{ "[::1]:80", 0, "target [::1]:80: " PORT },
	{ "tcp://h", 0, "target tcp://h: " PORT },
	{ "http://h/", 0, "target http://h/: " PORT },
	{ "tcp://[::1]:80", 0, "target tcp://[::1]:80: " PORT },
	{ "::g", 0, "target ::g: not an IPv6 address" },
	{ "1::2::3", 0, "target 1::2::3: not an IPv6 address" },
	{ "[]", 0, "target []: not an IPv6 address" },
	{ "[10.0.0.1]", 0, "target [10.0.0.1]: not an IPv6 address" },
	{ "[::1", 0,
	  "target [::1: brackets hold one IPv6 address, as in [::1]" },
	{ "[", 0, "target [: brackets hold one IPv6 address, as in [::1]" },
	{ "[::/64]", 0,
	  "target [::/64]: brackets hold one IPv6 address, as in [::1]" },
	{ "::1/129", 0, "target ::1/129: an IPv6 prefix has at most 128 bits" },
	{ "2001:db8::/63", 0,
	  "target 2001:db8::/63: an IPv6 block is a /64 at most" },
	{ "::/0", 0, "target ::/0: an IPv6 block is a /64 at most" },
	{ "2001:db8::-2001:db8:0:1::", 0,
	  "target 2001:db8::-2001:db8:0:1::: " LARGE },
	{ "2001:db8::1-2001:db8:0:2::", 0,
	  "target 2001:db8::1-2001:db8:0:2::: " LARGE },
	{ "fe80::1", 0,
	  "target fe80::1: a link-local address needs a zone, as in "
	  "fe80::1%eth0" },
	{ "fe80::/64", 0,
	  "target fe80::/64: a link-local address needs a zone, as in "
	  "fe80::1%eth0" },
	{ "fe80::1%", 0,
	  "target fe80::1%: no zone after %; write fe80::1%eth0" },
	{ "fe80::1%nosuch0", 0,
	  "target fe80::1%nosuch0: no such network interface" },
	{ "fe80::1%no-such-0", 0,
	  "target fe80::1%no-such-0: no such network interface" },
	{ "fe80::1%0", 0, "target fe80::1%0: no such network interface" },
	{ "fe80::1%2147483647", 0,
	  "target fe80::1%2147483647: no such network interface" },
	{ "fe80::1%99999999999", 0,
	  "target fe80::1%99999999999: no such network interface" },
	{ "::/64", 0,
	  "target ::/64: some of it is IPv4 (::ffff:0:0/96); write that as "
	  "such" },
	{ "::ffff:255.255.255.255-::1:0:0:0", 0,
	  "target ::ffff:255.255.255.255-::1:0:0:0: some of it is IPv4 "
	  "(::ffff:0:0/96); write that as such" },
	{ "::1", AF_INET, "target ::1: IPv6, where IPv4 alone is asked for" },
	{ "10.0.0.1", AF_INET6,
	  "target 10.0.0.1: IPv4, where IPv6 alone is asked for" },
	{ "::ffff:10.0.0.1", AF_INET6,
	  "target ::ffff:10.0.0.1: IPv4, where IPv6 alone is asked for" },
	{ "a..b", 0,
	  "address a..b: a host name has no empty parts between dots" },
	{ "a b", 0, "address a b: a blank or control character in an address" },
	{ "user@host", 0,
	  "address user@host: a host name is made of letters, digits, - and "
	  "_" },
	{ "::" FIFTY "/64", 0, "target ::" FIFTY "/64: not an IPv6 address" },
};

static void refuses_targets(void)
{
	struct cleat_targets *t = targets();

	for (size_t i = 0; i < COUNT(bad); i++) {
		if (cleat_targets_add(t, bad[i].text, bad[i].family, 0) !=
		    -EINVAL)
			fail_msg("'%s' was taken", bad[i].text);
		assert_string_equal(cleat_why(), bad[i].why);
		assert_int_equal(
			cleat_targets_exclude(t, bad[i].text, bad[i].family, 0),
			-EINVAL);
		assert_int_equal(cleat_targets_count(t), 0);
	}
	assert_int_equal(cleat_targets_exclude(t, "10.0.0.0/33", 0, 0),
			 -EINVAL);
	assert_string_equal(
		cleat_why(),
		"exclude 10.0.0.0/33: an IPv4 prefix has at most 32 bits");
	cleat_targets_free(t);
}

static void counts_much(void)
{
	struct cleat_targets *t = targets();

	assert_int_equal(cleat_targets_count(t), 0);
	add(t, "2001:db8::/64");
	assert_true(cleat_targets_count(t) == UINT64_MAX);
	add(t, "2001:db8:0:1::/64");
	assert_true(cleat_targets_count(t) == UINT64_MAX);
	exclude(t, "2001:db8::/64");
	exclude(t, "2001:db8:0:1::/65");
	assert_true(cleat_targets_count(t) == UINT64_C(1) << 63);
	exclude(t, "2001:db8:0:1:ffff:ffff:ffff:ffff");
	assert_true(cleat_targets_count(t) == (UINT64_C(1) << 63) - 1);
	cleat_targets_free(t);
}

/* Whether the addresses of a little network are in, by trying each. */
#define MODEL 1024

static void random_word(char *text, size_t len, const char *head, unsigned *a,
			unsigned *b)
{
	const unsigned prefix = 20 + below(13);

	*a = below(MODEL);
	*b = *a + below(60);
	if (*b >= MODEL || below(3) == 0)
		*b = *a;
	if (*a == *b && below(2) == 0) {
		(void)snprintf(text, len, "%s.%u.%u/%u", head, *a / 256,
			       *a % 256, prefix < 24 ? 32 : prefix);
		if (prefix >= 24)
			*a &= ~((1u << (32 - prefix)) - 1);
		*b = prefix >= 24 ? *a | ((1u << (32 - prefix)) - 1) : *a;
	} else {
		(void)snprintf(text, len, "%s.%u.%u-%s.%u.%u", head, *a / 256,
			       *a % 256, head, *b / 256, *b % 256);
	}
}

static void compare_with_model(const struct cleat__plan *p, const bool *in,
			       const bool *out)
{
	struct cleat_sockaddr at = { .len = sizeof(at.in) };
	uint64_t place;

	at.in.sin_family = AF_INET;
	at.in.sin_port = htons(80);
	for (unsigned i = 0; i < MODEL; i++) {
		at.in.sin_addr.s_addr = htonl(0x0a000000 + i);
		if (cleat__plan_place(p, &at, &place) != (in[i] && !out[i]))
			fail_msg("10.0.%u.%u", i / 256, i % 256);
	}
}

static void one_random_set(void)
{
	const struct cleat_scan_options opt = { .seed = 3 };
	bool in[MODEL] = { false }, out[MODEL] = { false };
	struct cleat_targets *t = targets();
	struct cleat_ports ports = { 0 };
	struct cleat__plan p;
	unsigned a, b, count = 0;
	char text[80];
	int err;

	for (unsigned n = below(40); n > 0; n--) {
		const bool is_out = below(3) == 0;

		random_word(text, sizeof(text), "10.0", &a, &b);
		if (is_out)
			exclude(t, text);
		else
			add(t, text);
		for (; a <= b; a++)
			(is_out ? out : in)[a] = true;
		if (below(10) == 0)
			(void)cleat_targets_count(t);
	}
	for (unsigned i = 0; i < MODEL; i++)
		count += in[i] && !out[i];
	assert_int_equal(cleat_targets_count(t), count);
	ok(cleat_ports_add(&ports, "80", CLEAT_TCP));
	err = cleat__plan_init(&p, t, &ports, &opt);
	assert_int_equal(err, count > 0 ? 0 : -EINVAL);
	if (err == 0) {
		assert_int_equal(p.hosts, count);
		compare_with_model(&p, in, out);
		cleat__plan_done(&p);
	}
	cleat_targets_free(t);
}

static void sets(void)
{
	for (unsigned i = 0; i < 300; i++)
		one_random_set();
}

/* What is added one by one, in whatever order, becomes one range. */
static void many_singles(void)
{
	struct cleat_targets *t = targets();
	char text[32];

	for (unsigned i = 0; i < 65536; i++) {
		const unsigned low = i * 40503 % 65536; /* odd: each once */

		(void)snprintf(text, sizeof(text), "10.0.%u.%u", low / 256,
			       low % 256);
		add(t, text);
	}
	assert_int_equal(cleat_targets_count(t), 65536);
	add(t, "10.0.0.0/16");
	assert_int_equal(cleat_targets_count(t), 65536);
	cleat_targets_free(t);
}

/* Names */

static void names(void)
{
	const struct cleat_scan_options opt = { .seed = 1 };
	struct cleat_targets *t = targets();
	struct cleat_ports ports = { 0 };
	struct cleat_sockaddr at = { .len = sizeof(at.in) };
	struct cleat__plan p;

	at.in.sin_family = AF_INET;
	add(t, "127.0.0.2");
	ok(cleat_targets_add(t, "localhost", AF_INET, CLEAT_FOREVER));
	ok(cleat_targets_add(t, "LocalHost", AF_INET, CLEAT_FOREVER));
	add(t, "127.0.0.1");
	assert_int_equal(cleat_targets_count(t), 2);
	ok(cleat_ports_add(&ports, "80", CLEAT_TCP));
	ok(cleat__plan_init(&p, t, &ports, &opt));
	at.in.sin_addr.s_addr = htonl(0x7f000001);
	assert_string_equal(cleat__plan_name(&p, &at), "localhost");
	at.in.sin_addr.s_addr = htonl(0x7f000002);
	assert_null(cleat__plan_name(&p, &at));
	at.in.sin_addr.s_addr = htonl(0x7f000003);
	assert_null(cleat__plan_name(&p, &at));
	at.len = 0;
	assert_null(cleat__plan_name(&p, &at));
	cleat__plan_done(&p);
	ok(cleat_targets_exclude(t, "localhost", AF_INET, CLEAT_FOREVER));
	assert_int_equal(cleat_targets_count(t), 1);
	cleat_targets_free(t);
}

/* In a mount namespace of its own: 77 if there is none to be had. */
static int with_hosts(const char *hosts)
{
	FILE *f;

	if (unshare(geteuid() == 0 ? CLONE_NEWNS
				   : CLONE_NEWNS | CLONE_NEWUSER) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return 77;
	f = fopen(file, "we");
	if (!f || fputs(hosts, f) < 0 || fclose(f) != 0)
		return 1;
	return mount(file, "/etc/hosts", NULL, MS_BIND, NULL) < 0 ? 77 : 0;
}

static int look_up_many(void)
{
	struct cleat_targets *t = targets();
	const int failed = with_hosts("192.0.2.1 many.test\n"
				      "192.0.2.2 many.test\n"
				      "192.0.2.9 many.test other.test\n"
				      "2001:db8::1 many.test\n");

	if (failed)
		return failed;
	if (cleat_targets_add(t, "many.test", AF_INET, soon()) < 0 ||
	    cleat_targets_count(t) != 3)
		return 2;
	if (cleat_targets_add(t, "many.test", AF_INET6, soon()) < 0 ||
	    cleat_targets_count(t) != 4)
		return 3;
	if (cleat_targets_exclude(t, "other.test", AF_UNSPEC, soon()) < 0 ||
	    cleat_targets_count(t) != 3)
		return 4;
	cleat_targets_free(t);
	return 0;
}

static void names_of_many(void)
{
	int status;
	const pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0)
		_exit(look_up_many());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* Ports */

static const struct {
	const char *list;
	unsigned n, first, last;
} good_ports[] = {
	{ "22", 1, 22, 22 },
	{ "22,80,8000-8100", 103, 22, 8100 },
	{ "80,80,79-81", 3, 79, 81 },
	{ "00080", 1, 80, 80 },
	{ "-", 65535, 1, 65535 },
	{ "-1024", 1024, 1, 1024 },
	{ "60000-", 5536, 60000, 65535 },
	{ "1-65535", 65535, 1, 65535 },
	{ "5-5", 1, 5, 5 },
	{ "ssh,http", 2, 22, 80 },
	{ "ftp-data,65535", 2, 20, 65535 },
};

static void reads_ports(void)
{
	for (size_t i = 0; i < COUNT(good_ports); i++) {
		struct cleat_ports p = { 0 };
		unsigned first = 0, last = 65536;

		ok(cleat_ports_add(&p, good_ports[i].list, CLEAT_TCP));
		assert_int_equal(cleat_ports_count(&p), good_ports[i].n);
		while (!cleat_ports_has(&p, first))
			first++;
		while (!cleat_ports_has(&p, last))
			last--;
		assert_int_equal(first, good_ports[i].first);
		assert_int_equal(last, good_ports[i].last);
	}
}

static void ports_of_both(void)
{
	struct cleat_ports p = { 0 };

	assert_int_equal(cleat_ports_add(&p, "tftp", CLEAT_TCP), CLEAT_ENONAME);
	assert_string_equal(cleat_why(), "ports tftp: no such TCP service");
	ok(cleat_ports_add(&p, "tftp", CLEAT_UDP));
	assert_true(cleat_ports_has(&p, 69));
	assert_int_equal(cleat_ports_add(&p, "finger", CLEAT_UDP),
			 CLEAT_ENONAME);
	assert_string_equal(cleat_why(), "ports finger: no such UDP service");
	assert_int_equal(cleat_ports_count(&p), 1);
	assert_false(cleat_ports_has(&p, 70000));
}

#define EMPTY "ports: an empty place in the list; write 22,80"

static const struct {
	const char *list;
	int err;
	const char *why;
} bad_ports[] = {
	{ "", -EINVAL, EMPTY },
	{ ",", -EINVAL, EMPTY },
	{ "80,", -EINVAL, EMPTY },
	{ ",80", -EINVAL, EMPTY },
	{ "80,,81", -EINVAL, EMPTY },
	{ "0", -ERANGE, "ports 0: the first port is 1" },
	{ "0-5", -ERANGE, "ports 0-5: the first port is 1" },
	{ "65536", -ERANGE, "ports 65536: the last port is 65535" },
	{ "22,1-65536,80", -ERANGE, "ports 1-65536: the last port is 65535" },
	{ "99999999999999999999", -ERANGE,
	  "ports 99999999999999999999: the last port is 65535" },
	{ "90-80", -ERANGE, "ports 90-80: range runs backwards; write 80-90" },
	{ "1,90-80,2", -ERANGE,
	  "ports 90-80: range runs backwards; write 80-90" },
	{ "--", -EINVAL, "ports --: a range has two ends, as in 8000-8100" },
	{ "1-2-3", -EINVAL,
	  "ports 1-2-3: a range has two ends, as in 8000-8100" },
	{ "22, 80", -EINVAL, "ports  80: a list has no blanks" },
	{ "80x", CLEAT_ENONAME, "ports 80x: no such TCP service" },
	{ "+80", CLEAT_ENONAME, "ports +80: no such TCP service" },
	{ "0x50", CLEAT_ENONAME, "ports 0x50: no such TCP service" },
	{ "*", CLEAT_ENONAME, "ports *: no such TCP service" },
	{ "80,nosuch,22", CLEAT_ENONAME, "ports nosuch: no such TCP service" },
	{ FIFTY FIFTY, CLEAT_ENONAME,
	  "ports " FIFTY FIFTY ": no such TCP service" },
};

static void refuses_ports(void)
{
	for (size_t i = 0; i < COUNT(bad_ports); i++) {
		struct cleat_ports p, before;

		memset(&p, 42, sizeof(p));
		before = p;
		if (cleat_ports_add(&p, bad_ports[i].list, CLEAT_TCP) !=
		    bad_ports[i].err)
			fail_msg("'%s': %s", bad_ports[i].list, cleat_why());
		assert_string_equal(cleat_why(), bad_ports[i].why);
		assert_memory_equal(&p, &before, sizeof(p));
	}
}

/* Those most often open */

static const char services[] =
	"# a comment, and\tnothing\t0.9\n"
	"http\t80/tcp\t0.484143\t# World Wide Web HTTP\n"
	"http\t80/udp\t0.035767\n"
	"rare\t7/tcp\t0.000013\n"
	"telnet\t23/tcp\t0.221265\n"
	"all\t443/tcp\t1\n"
	"never\t9/tcp\t0.000000\n"
	"zero\t0/tcp\t0.9\n"
	"large\t65536/tcp\t0.9\n"
	"other\t5/sctp\t0.9\n"
	"bad\n\n\t\t\nbad\t\nbad\t4\nbad\t4/\nbad\t4/tcp\n"
	"domain\t53/udp\t0.213496\n"
	"last\t65535/tcp\t0.3";

static void write_services(const char *head, const char *text)
{
	FILE *f = fopen(file, "we");

	assert_non_null(f);
	assert_true(fputs(head, f) >= 0);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static bool has_all(const struct cleat_ports *p, const unsigned *v, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		if (!cleat_ports_has(p, v[i]))
			return false;
	}
	return cleat_ports_count(p) == n;
}

/* In the order of their weights, then the lowest ones. */
static void assert_order(enum cleat_proto proto, const unsigned *v, unsigned n,
			 const char *basis)
{
	for (unsigned i = 1; i <= n; i++) {
		struct cleat_ports p = { 0 };
		const char *by = NULL;

		ok(cleat__ports_add_top(&p, i, proto, file, &by));
		if (!has_all(&p, v, i))
			fail_msg("%u of %s", i, by);
		assert_non_null(strstr(by, basis));
	}
}

static void top_by_file(void)
{
	static const unsigned tcp[] = { 443, 80, 65535, 23, 7, 1,  2, 3,
					4,   5,  6,     8,  9, 10, 11 };
	static const unsigned udp[] = { 53, 80, 1, 2, 3 };
	char long_line[3000];

	(void)memset(long_line, 'x', sizeof(long_line));
	(void)snprintf(long_line + 2000, 1000, "\tx\t6/tcp\t0.9\n");
	(void)memcpy(long_line, "long\t7/tcp\t0.000001\t#", 21);
	write_services("", services);
	assert_order(CLEAT_TCP, tcp, COUNT(tcp), "nmap");
	assert_order(CLEAT_UDP, udp, COUNT(udp), "nmap");
	write_services(long_line, services);
	assert_order(CLEAT_TCP, tcp, COUNT(tcp), "nmap");
}

static void top_by_list(void)
{
	static const unsigned tcp[] = { 80, 443, 22, 21, 25 };
	static const unsigned udp[] = { 53, 123, 161 };
	struct cleat_ports p = { 0 }, q = { 0 };

	write_services("", "no\tsuch thing\n");
	assert_order(CLEAT_TCP, tcp, COUNT(tcp), "not measured");
	write_services("", "only\t9/udp\t0.1\n");
	assert_order(CLEAT_TCP, tcp, COUNT(tcp), "not measured");
	(void)unlink(file);
	assert_order(CLEAT_TCP, tcp, COUNT(tcp), "not measured");
	assert_order(CLEAT_UDP, udp, COUNT(udp), "not measured");
	/* What is not in the list comes from below. */
	for (unsigned n = 900; n <= 1000; n += 100) {
		ok(cleat__ports_add_top(n == 900 ? &p : &q, n, CLEAT_TCP, file,
					NULL));
		assert_int_equal(cleat_ports_count(n == 900 ? &p : &q), n);
	}
	for (unsigned port = 1, more = 0; more < 100; port++) {
		assert_true(cleat_ports_has(&q, port));
		more += !cleat_ports_has(&p, port);
	}
	assert_false(cleat_ports_has(&q, 0));
}

static void top_of_all(void)
{
	struct cleat_ports p = { 0 };
	const char *basis = NULL;

	for (unsigned n = 1; n < 70000; n += 8191) {
		memset(&p, 0, sizeof(p));
		ok(cleat_ports_add_top(&p, n, CLEAT_TCP, &basis));
		assert_int_equal(cleat_ports_count(&p), n);
		assert_non_null(basis);
	}
	memset(&p, 0, sizeof(p));
	ok(cleat_ports_add_top(&p, 65535, CLEAT_UDP, NULL));
	assert_int_equal(cleat_ports_count(&p), 65535);
	assert_false(cleat_ports_has(&p, 0));
	assert_int_equal(cleat_ports_add_top(&p, 0, CLEAT_TCP, NULL), -ERANGE);
	assert_string_equal(cleat_why(), "top ports: from 1 to 65535 of them");
	assert_int_equal(cleat_ports_add_top(&p, 65536, CLEAT_TCP, NULL),
			 -ERANGE);
}
/* The order */

static void order_is_whole(void)
{
	static bool seen[5000];

	for (uint64_t n = 1; n <= 4100; n += n < 300 ? 1 : 1 + below(97)) {
		struct cleat__order o;

		cleat__order_init(&o, n, draw());
		memset(seen, 0, sizeof(seen));
		for (uint64_t place = 0; place < n; place++) {
			const uint64_t number = cleat__order_at(&o, place);

			if (number >= n || seen[number])
				fail_msg("%" PRIu64 " of %" PRIu64, number, n);
			seen[number] = true;
			assert_int_equal(cleat__order_place(&o, number), place);
		}
	}
}

static void order_is_invertible(void)
{
	for (unsigned bits = 12; bits <= 62; bits++) {
		for (unsigned i = 0; i < 300; i++) {
			const uint64_t top = UINT64_C(1) << bits;
			const uint64_t n =
				i == 0   ? top
				: i == 1 ? top - 1
				: i == 2 ? top / 2 + 1
					 : top / 2 + 1 + draw() % (top / 2);
			const uint64_t place = i % 7 ? draw() % n : n - 1;
			struct cleat__order o;
			uint64_t number;

			cleat__order_init(&o, n, draw());
			number = cleat__order_at(&o, place);
			assert_true(number < n);
			assert_true(cleat__order_place(&o, number) == place);
			number = cleat__order_place(&o, place);
			assert_true(cleat__order_at(&o, number) == place);
		}
	}
}

static void order_follows_the_seed(void)
{
	struct cleat__order a, b, c;
	unsigned same = 0;

	cleat__order_init(&a, 1000000, 1);
	cleat__order_init(&b, 1000000, 1);
	cleat__order_init(&c, 1000000, 2);
	for (uint64_t i = 0; i < 1000; i++) {
		const uint64_t number = cleat__order_at(&a, i);

		assert_int_equal(cleat__order_at(&b, i), number);
		same += cleat__order_at(&c, i) == number;
	}
	assert_true(same < 10);
}

/* Of 100 * N draws among N, each is drawn as often as by chance: the sum of
 * squares is then about N, and its deviation the root of 2 N (chi-squared).
 */
static void assert_even(const unsigned *hits, unsigned n, const char *what)
{
	double sum = 0;

	for (unsigned i = 0; i < n; i++)
		sum += (hits[i] - 100.0) * (hits[i] - 100.0) / 100;
	/* Six deviations for up to 1000. */
	if (sum > n + 270.0)
		fail_msg("%s: %f of %u", what, sum, n);
}

static void order_is_spread(void)
{
	static unsigned hosts[256], ports[1000], steps[256];

	for (unsigned k = 0; k < 20; k++) {
		struct cleat__order o;
		uint64_t before = 0;

		/* 65,536 hosts, and 1000 ports. */
		cleat__order_init(&o, 65536000, k);
		memset(hosts, 0, sizeof(hosts));
		memset(ports, 0, sizeof(ports));
		memset(steps, 0, sizeof(steps));
		for (uint64_t i = 0; i < 100000; i++) {
			const uint64_t x = cleat__order_at(&o, i);
			const uint64_t step = (x + o.n - before) % o.n / 256000;

			ports[x % 1000]++;
			hosts[x / 256000] += i < 25600;
			steps[step] += i < 25600;
			before = x;
		}
		assert_even(hosts, 256, "hosts");
		assert_even(ports, 1000, "ports");
		assert_even(steps, 256, "steps");
	}
}

/* The plan */

static uint64_t number_of(const struct cleat_sockaddr *at, const char *first)
{
	struct in_addr ip;

	assert_int_equal(inet_pton(AF_INET, first, &ip), 1);
	return (uint64_t)(ntohl(at->in.sin_addr.s_addr) - ntohl(ip.s_addr)) *
		       100 +
	       cleat_sockaddr_port(at) - 1;
}

/* Each of SHARDS has its own, and together they have all. */
static void assert_shards(const char *words[], unsigned n_hosts,
			  unsigned n_ports, unsigned shards)
{
	static bool seen[25700];
	uint64_t sum = 0;
	char list[32];

	(void)snprintf(list, sizeof(list), "1-%u", n_ports);
	memset(seen, 0, sizeof(seen));
	for (unsigned i = 1; i <= shards; i++) {
		const struct cleat_scan_options opt = { .shard = i,
							.shards = shards,
							.seed = draw() };
		struct made m = make(words, list, &opt);

		assert_int_equal(m.plan.hosts, n_hosts);
		sum += m.plan.total;
		for (uint64_t place = 0; place < m.plan.total; place++) {
			struct cleat_sockaddr at;
			uint64_t x;

			cleat__plan_at(&m.plan, place, &at);
			x = number_of(&at, "192.0.2.0");
			assert_true(x < COUNT(seen));
			assert_false(seen[x]);
			seen[x] = true;
			assert_true(cleat__plan_place(&m.plan, &at, &x));
			assert_int_equal(x, place);
		}
		unmake(&m);
	}
	assert_int_equal(sum, n_hosts * n_ports);
}

static void shards(void)
{
	const char *words[] = { "192.0.2.0/24", NULL };
	const char *few[] = { "192.0.2.3-5", "192.0.2.9", "!192.0.2.4", NULL };

	for (unsigned n = 1; n <= 10; n++)
		assert_shards(words, 256, 1 + below(100), n);
	assert_shards(words, 256, 100, 1000);
	assert_shards(few, 3, 7, 1);
	assert_shards(few, 3, 7, 2);
	assert_shards(few, 3, 7, 21);
	assert_shards(few, 3, 7, 30); /* some have nothing */
}

static void refuses_plans(void)
{
	static const struct {
		const char *words[4];
		const char *list;
		struct cleat_scan_options opt;
		const char *why;
	} cases[] = {
		{ { NULL }, "80", { 0 }, "scan: no address" },
		{ { "!10.0.0.1" }, "80", { 0 }, "scan: no address" },
		{ { "10.0.0.1", "!10.0.0.0/8" },
		  "80",
		  { 0 },
		  "scan: all addresses are excluded" },
		{ { "10.0.0.1" }, NULL, { 0 }, "scan: no port" },
		{ { "2001:db8::/64" },
		  "80",
		  { 0 },
		  "scan: more than 2^62 ports of addresses; take fewer" },
		{ { "2001:db8::/66" },
		  "80,81",
		  { 0 },
		  "scan: more than 2^62 ports of addresses; take fewer" },
		{ { "2001:db8::/66", "::1" },
		  "80",
		  { 0 },
		  "scan: more than 2^62 ports of addresses; take fewer" },
		{ { "10.0.0.1" },
		  "80",
		  { .shard = 3, .shards = 2 },
		  "scan: a shard is one from 1 to the number of shards" },
		{ { "10.0.0.1" },
		  "80",
		  { .shard = 0, .shards = 2 },
		  "scan: a shard is one from 1 to the number of shards" },
		{ { "10.0.0.1" },
		  "80",
		  { .shard = 1, .shards = 0 },
		  "scan: a shard is one from 1 to the number of shards" },
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct cleat_targets *t = targets();
		struct cleat_ports ports = { 0 };
		struct cleat__plan p;

		for (const char *const *w = cases[i].words; *w; w++) {
			if (**w == '!')
				exclude(t, *w + 1);
			else
				add(t, *w);
		}
		if (cases[i].list)
			ok(cleat_ports_add(&ports, cases[i].list, CLEAT_TCP));
		assert_int_equal(cleat__plan_init(&p, t, &ports, &cases[i].opt),
				 -EINVAL);
		assert_string_equal(cleat_why(), cases[i].why);
		cleat_targets_free(t);
	}
}

static struct cleat_sockaddr address(const char *text)
{
	struct cleat_sockaddr at;

	assert_int_equal(cleat_resolve(text, CLEAT_TO_CONNECT, &at, 1, 0), 1);
	return at;
}

static void places(void)
{
	static const char *const words[] = {
		"10.0.0.1-20",  "10.0.0.30",         "2001:db8::/120",
		"fe80::1%lo",   "!10.0.0.7-9",       "!2001:db8::80/121",
		"192.0.2.0/24", "2001:db8::1:0/112", NULL,
	};
	static const char *const outside[] = {
		"10.0.0.0:80",
		"10.0.0.21:80",
		"10.0.0.7:80",
		"10.0.0.8:80",
		"10.0.0.9:80",
		"0.0.0.0:80",
		"192.0.3.0:80",
		"255.255.255.255:80",
		"10.0.0.1:81",
		"10.0.0.1:79",
		"10.0.0.1:1",
		"10.0.0.1:65535",
		"10.0.0.1:0",
		"[2001:db8::80]:80",
		"[2001:db8::2:0]:80",
		"[::]:80",
		"[fe80::2%lo]:80",
		"[fe80::1%77]:80",
		"[fe80::1]:80",
		"[ff02::1]:80",
		"[::ffff:10.0.0.7]:80",
		"[2001:db9::1]:80",
		"unix:/x",
	};
	const struct cleat_scan_options opt = { .seed = draw() };
	struct made m = make(words, "80,443,8000-8100", &opt);
	struct cleat_sockaddr at = { 0 };
	uint64_t place;

	assert_int_equal(m.plan.hosts, 18 + 128 + 1 + 256 + 65536);
	assert_int_equal(m.plan.total, m.plan.hosts * 103);
	for (uint64_t i = 0; i < m.plan.total; i += 1 + below(100)) {
		memset(&at, 0xa5, sizeof(at));
		cleat__plan_at(&m.plan, i, &at);
		assert_true(cleat__plan_place(&m.plan, &at, &place));
		assert_int_equal(place, i);
	}
	for (size_t i = 0; i < COUNT(outside); i++) {
		at = address(outside[i]);
		if (cleat__plan_place(&m.plan, &at, &place))
			fail_msg("%s", outside[i]);
	}
	at = address("[::ffff:10.0.0.1]:80");
	assert_true(cleat__plan_place(&m.plan, &at, &place));
	at.len = sizeof(at.in6) - 1;
	assert_false(cleat__plan_place(&m.plan, &at, &place));
	at = address("10.0.0.1:80");
	at.len--;
	assert_false(cleat__plan_place(&m.plan, &at, &place));
	at.len = 0;
	assert_false(cleat__plan_place(&m.plan, &at, &place));
	unmake(&m);
}

/* Division by multiplication is exact at both ends of each quotient. */
static void large_plans(void)
{
	static const unsigned n_ports[] = { 1,    2,    3,     7,     1000,
					    1023, 1024, 32769, 65534, 65535 };

	for (size_t i = 0; i < COUNT(n_ports); i++) {
		const struct cleat_scan_options opt = { .seed = draw() };
		unsigned bits = 0;
		char word[64], list[32];
		struct made m;

		while ((2u << bits) <= n_ports[i])
			bits++;
		(void)snprintf(word, sizeof(word), "2001:db8::/%u",
			       66 + bits + (1u << bits != n_ports[i]));
		(void)snprintf(list, sizeof(list), "1-%u", n_ports[i]);
		m = make((const char *const[]){ word, NULL }, list, &opt);
		assert_true(m.plan.total > UINT64_C(1) << 61 ||
			    n_ports[i] == 1);
		for (unsigned k = 0; k < 2000; k++) {
			const uint64_t number =
				(m.plan.hosts - 1 - below(1000)) * n_ports[i] +
				(k % 2 ? n_ports[i] - 1 : 0);
			const uint64_t want =
				cleat__order_place(&m.plan.order, number);
			struct cleat_sockaddr at;
			uint64_t place;

			cleat__plan_at(&m.plan, want, &at);
			assert_int_equal(cleat_sockaddr_port(&at),
					 1 + number % n_ports[i]);
			assert_true(cleat__plan_place(&m.plan, &at, &place));
			assert_true(place == want);
		}
		unmake(&m);
	}
}

/* However many addresses a range has, it takes the same room. */
static void memory(void)
{
	struct cleat_targets *t = targets();
	struct cleat_ports ports = { 0 };
	const struct cleat_scan_options opt = { .seed = 1 };
	struct cleat__plan p;

	add(t, "10.0.0.0/8");
	ok(cleat__ports_add_top(&ports, 1000, CLEAT_TCP, "", NULL));
	ok(cleat__plan_init(&p, t, &ports, &opt));
	assert_true(p.total == UINT64_C(1000) << 24);
	assert_int_equal(p.n_ranges, 1);
	assert_true(p.n_ranges * sizeof(p.ranges[0]) +
			    p.n_ports * sizeof(p.ports[0]) <
		    4096);
	assert_true(t->in.room * sizeof(t->in.v[0]) < 4096);
	cleat__plan_done(&p);
	cleat_targets_free(t);
}

/* What can fail, does */

static int scenario(void)
{
	const struct cleat_scan_options opt = { .seed = 1 };
	struct cleat_targets *t = NULL;
	struct cleat_ports ports = { 0 };
	struct cleat__plan p = { 0 };
	int err = cleat_targets_new(&t);
	char text[32];

	for (unsigned i = 0; i < 50 && err == 0; i++) {
		(void)snprintf(text, sizeof(text), "10.0.0.%u", 2 * i);
		err = cleat_targets_add(t, text, AF_UNSPEC, 0);
		if (err == 0)
			err = cleat_targets_exclude(t, text + 1, AF_INET, 0);
	}
	if (err == 0)
		err = cleat_targets_add(t, "localhost", AF_INET, CLEAT_FOREVER);
	if (err == 0)
		err = cleat_targets_exclude(t, "localhost", AF_INET,
					    CLEAT_FOREVER);
	if (err == 0)
		err = cleat_ports_add_top(&ports, 100, CLEAT_TCP, NULL);
	if (err == 0)
		err = cleat__plan_init(&p, t, &ports, &opt);
	if (err == 0)
		cleat__plan_done(&p);
	cleat_targets_free(t);
	return err;
}

static void faults(void)
{
	const struct both_left before = both_count();
	unsigned long n = 0;
	const char *failed;

	assert_int_equal(scenario(), 0); /* and libc has what it keeps */
	both_assert_nothing_left(before);
	do {
		const long live = fault_live();
		int err;

		fault_arm(FAULT_ERROR, ++n);
		err = scenario();
		failed = fault_disarm();
		both_assert_nothing_left(before);
		if ((err < 0) != (failed != NULL))
			fail_msg("%d after %s (call %lu) failed", err,
				 failed ? failed : "nothing", n);
		if (err < 0 && err != -ENOMEM && err != -EAGAIN)
			fail_msg("%d after %s failed", err, failed);
		if (err < 0)
			assert_true(strlen(cleat_why()) > 10);
		if (fault_live() != live)
			fail_msg("%ld blocks left after %s (call %lu) failed",
				 fault_live() - live, failed, n);
	} while (failed);
	assert_true(n > 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(reads_targets),
		BOTH(refuses_targets),
		THREAD(counts_much),
		THREAD(sets),
		THREAD(many_singles),
		BOTH(names),
		THREAD(names_of_many),
		BOTH(reads_ports),
		BOTH(ports_of_both),
		BOTH(refuses_ports),
		BOTH(top_by_file),
		THREAD(top_by_list),
		THREAD(top_of_all),
		THREAD(order_is_whole),
		THREAD(order_is_invertible),
		THREAD(order_follows_the_seed),
		THREAD(order_is_spread),
		THREAD(shards),
		THREAD(refuses_plans),
		BOTH(places),
		THREAD(large_plans),
		THREAD(memory),
		THREAD(faults),
	};
	const int fd = mkstemp(file);
	int failed;

	if (fd < 0 || getrandom(&random_state, sizeof(random_state), 0) < 0)
		return 1;
	close(fd);
	random_state |= 1;
	printf("seed %" PRIu64 "\n", random_state);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	(void)unlink(file);
	return failed;
}
