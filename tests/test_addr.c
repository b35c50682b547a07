/* SPDX-License-Identifier: MIT */
/* Addresses: what is read, what is refused and why, and that text and struct
 * turn into each other without loss.
 */
#include <cleat/addr.h>
#include <cleat/error.h>

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

#define TEN "abcdefghij"
#define FIFTY TEN TEN TEN TEN TEN
#define HUNDRED FIFTY FIFTY
#define LABEL_63 FIFTY TEN "abc"
#define NAME_253 LABEL_63 "." LABEL_63 "." LABEL_63 "." FIFTY TEN "a"

/* TEXT where one byte further is a fault; two places, for two words. */
static const char *guarded(unsigned place, const char *text)
{
	static char *pages[2];
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t len = strlen(text) + 1;

	assert_in_range(len, 1, page);
	if (!pages[place]) {
		pages[place] = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		assert_ptr_not_equal(pages[place], MAP_FAILED);
		assert_int_equal(mprotect(pages[place] + page, page, PROT_NONE),
				 0);
	}
	return memcpy(pages[place] + page - len, text, len);
}

/* A struct that no address leaves as it is. */
static struct cleat_addr untouched(void)
{
	struct cleat_addr a;

	memset(&a, 42, sizeof(a));
	return a;
}

static void assert_same(const struct cleat_addr *a, const struct cleat_addr *b)
{
	assert_int_equal(a->proto, b->proto);
	assert_int_equal(a->family, b->family);
	assert_string_equal(a->host, b->host);
	assert_string_equal(a->service, b->service);
	assert_memory_equal(a, b, sizeof(*a)); /* nothing left behind a NUL */
}

static void assert_why(const char *reason)
{
	const char *why = cleat_why();
	size_t len = strlen(why), want = strlen(reason);

	assert_string_equal(len > want ? why + len - want : why, reason);
}

/* TEXT is what A is written as, and A what TEXT is read as. */
static void assert_round_trip(const struct cleat_addr *a, const char *text)
{
	char got[CLEAT_ADDR_MAX];
	struct cleat_addr again;

	assert_int_equal(cleat_addr_format(a, got, sizeof(got)), strlen(text));
	assert_string_equal(got, text);
	assert_int_equal(cleat_addr_parse(&again, guarded(0, got)), 0);
	assert_same(&again, a);
}

/* clang-format off */
static const struct {
	const char *text;
	enum cleat_proto proto;
	int family;
	const char *host, *service;
	const char *canonical; /* NULL: TEXT itself */
} good[] = {
	{ "8080",               CLEAT_TCP, AF_UNSPEC, "", "8080", NULL },
	{ "0",                  CLEAT_TCP, AF_UNSPEC, "", "0", NULL },
	{ "65535",              CLEAT_TCP, AF_UNSPEC, "", "65535", NULL },
	{ "00080",              CLEAT_TCP, AF_UNSPEC, "", "80", "80" },
	{ "000000",             CLEAT_TCP, AF_UNSPEC, "", "0", "0" },
	{ "tcp://8080",         CLEAT_TCP, AF_UNSPEC, "", "8080", "8080" },
	{ "tcp4://8080",        CLEAT_TCP, AF_INET, "", "8080", NULL },
	{ "tcp6://8080",        CLEAT_TCP, AF_INET6, "", "8080", NULL },
	{ "udp://53",           CLEAT_UDP, AF_UNSPEC, "", "53", NULL },

	{ ":8080",              CLEAT_TCP, AF_UNSPEC, "*", "8080", NULL },
	{ "*:8080",             CLEAT_TCP, AF_UNSPEC, "*", "8080", ":8080" },
	{ ":http",              CLEAT_TCP, AF_UNSPEC, "*", "http", NULL },
	{ "tcp6://*:8080",      CLEAT_TCP, AF_INET6, "*", "8080", "tcp6://:8080" },
	{ "udp4://:53",         CLEAT_UDP, AF_INET, "*", "53", NULL },
	{ "udp6://:53",         CLEAT_UDP, AF_INET6, "*", "53", NULL },
	{ "tls://:443",         CLEAT_TLS, AF_UNSPEC, "*", "443", NULL },

	{ "127.0.0.1:80",       CLEAT_TCP, AF_UNSPEC, "127.0.0.1", "80", NULL },
	{ "0.0.0.0:8080",       CLEAT_TCP, AF_UNSPEC, "0.0.0.0", "8080", NULL },
	{ "255.255.255.255:1",  CLEAT_TCP, AF_UNSPEC, "255.255.255.255", "1", NULL },
	{ "tcp4://127.0.0.1:80", CLEAT_TCP, AF_INET, "127.0.0.1", "80", NULL },
	{ "udp://127.0.0.1:053", CLEAT_UDP, AF_UNSPEC, "127.0.0.1", "53", "udp://127.0.0.1:53" },

	{ "[::]:8080",          CLEAT_TCP, AF_UNSPEC, "::", "8080", NULL },
	{ "tcp6://[::]:8080",   CLEAT_TCP, AF_INET6, "::", "8080", NULL },
	{ "[::1]:http",         CLEAT_TCP, AF_UNSPEC, "::1", "http", NULL },
	{ "[0:0:0:0:0:0:0:1]:1", CLEAT_TCP, AF_UNSPEC, "::1", "1", "[::1]:1" },
	{ "[2001:DB8::0:1]:80", CLEAT_TCP, AF_UNSPEC, "2001:db8::1", "80", "[2001:db8::1]:80" },
	{ "[2001:db8:0:1:1:1:1:1]:80", CLEAT_TCP, AF_UNSPEC, "2001:db8:0:1:1:1:1:1", "80", NULL },
	{ "[1:0:0:2:0:0:0:3]:80", CLEAT_TCP, AF_UNSPEC, "1:0:0:2::3", "80", "[1:0:0:2::3]:80" },
	{ "[1:0:0:2:3:0:0:4]:80", CLEAT_TCP, AF_UNSPEC, "1::2:3:0:0:4", "80", "[1::2:3:0:0:4]:80" },
	{ "[::FFFF:127.0.0.1]:80", CLEAT_TCP, AF_UNSPEC, "::ffff:127.0.0.1", "80", "[::ffff:127.0.0.1]:80" },
	{ "[fe80::1%eth0]:8080", CLEAT_TCP, AF_UNSPEC, "fe80::1%eth0", "8080", NULL },
	{ "[FE80::1%Eth0]:8080", CLEAT_TCP, AF_UNSPEC, "fe80::1%Eth0", "8080", "[fe80::1%Eth0]:8080" },
	{ "[fe80::1%4294967295]:8080", CLEAT_TCP, AF_UNSPEC, "fe80::1%4294967295", "8080", NULL },
	{ "[fe80::1%br-lan.100]:8080", CLEAT_TCP, AF_UNSPEC, "fe80::1%br-lan.100", "8080", NULL },
	{ "[fe80::1%" TEN "abcde]:1", CLEAT_TCP, AF_UNSPEC, "fe80::1%" TEN "abcde", "1", NULL },
	{ "udp6://[ff02::fb%2]:5353", CLEAT_UDP, AF_INET6, "ff02::fb%2", "5353", NULL },

	{ "localhost:80",       CLEAT_TCP, AF_UNSPEC, "localhost", "80", NULL },
	{ "example.com:https",  CLEAT_TCP, AF_UNSPEC, "example.com", "https", NULL },
	{ "example.com.:https", CLEAT_TCP, AF_UNSPEC, "example.com.", "https", NULL },
	{ "Example.COM:80",     CLEAT_TCP, AF_UNSPEC, "Example.COM", "80", NULL },
	{ "tls://a:b",          CLEAT_TLS, AF_UNSPEC, "a", "b", NULL },
	{ "xn--bcher-kva.example:80", CLEAT_TCP, AF_UNSPEC, "xn--bcher-kva.example", "80", NULL },
	{ "_dmarc.my-host_1:80", CLEAT_TCP, AF_UNSPEC, "_dmarc.my-host_1", "80", NULL },
	{ "1a:80",              CLEAT_TCP, AF_UNSPEC, "1a", "80", NULL },
	{ "3com.com.:80",       CLEAT_TCP, AF_UNSPEC, "3com.com.", "80", NULL },
	{ "1.2.3.4.in-addr.arpa:80", CLEAT_TCP, AF_UNSPEC, "1.2.3.4.in-addr.arpa", "80", NULL },
	{ "1.2.3.4a:80",        CLEAT_TCP, AF_UNSPEC, "1.2.3.4a", "80", NULL },
	{ LABEL_63 ".b:80",     CLEAT_TCP, AF_UNSPEC, LABEL_63 ".b", "80", NULL },
	{ NAME_253 ":80",       CLEAT_TCP, AF_UNSPEC, NAME_253, "80", NULL },
	{ "udp6://" NAME_253 ".:80", CLEAT_UDP, AF_INET6, NAME_253 ".", "80", NULL },
	{ "h:http-alt_2",       CLEAT_TCP, AF_UNSPEC, "h", "http-alt_2", NULL },
	{ "h:" LABEL_63,        CLEAT_TCP, AF_UNSPEC, "h", LABEL_63, NULL },

	/* hosts called like a protocol */
	{ "tcp://unix:80",      CLEAT_TCP, AF_UNSPEC, "unix", "80", NULL },
	{ "tcp://unixgram:80",  CLEAT_TCP, AF_UNSPEC, "unixgram", "80", NULL },
	{ "tcp4://unix:80",     CLEAT_TCP, AF_INET, "unix", "80", NULL },
	{ "tcp:80",             CLEAT_TCP, AF_UNSPEC, "tcp", "80", NULL },
	{ "tcp://tcp:80",       CLEAT_TCP, AF_UNSPEC, "tcp", "80", "tcp:80" },

	{ "unix:/run/x.sock",   CLEAT_UNIX, AF_UNIX, "/run/x.sock", "", NULL },
	{ "unix:///run/x.sock", CLEAT_UNIX, AF_UNIX, "/run/x.sock", "", "unix:/run/x.sock" },
	{ "unix://x",           CLEAT_UNIX, AF_UNIX, "x", "", "unix:x" },
	{ "unix:////x",         CLEAT_UNIX, AF_UNIX, "//x", "", NULL },
	{ "unix:*",             CLEAT_UNIX, AF_UNIX, "*", "", NULL },
	{ "unix:a b:\xc3\xa9://80]", CLEAT_UNIX, AF_UNIX, "a b:\xc3\xa9://80]", "", NULL },
	{ "unix:@name",         CLEAT_UNIX, AF_UNIX, "@name", "", NULL },
	{ "unix://@name",       CLEAT_UNIX, AF_UNIX, "@name", "", "unix:@name" },
	{ "unix:@@",            CLEAT_UNIX, AF_UNIX, "@@", "", NULL },
	{ "unix:./@x",          CLEAT_UNIX, AF_UNIX, "./@x", "", NULL },
	{ "unixgram:/run/log",  CLEAT_UNIXGRAM, AF_UNIX, "/run/log", "", NULL },
	{ "unixgram:@log",      CLEAT_UNIXGRAM, AF_UNIX, "@log", "", NULL },
	{ "unix:" HUNDRED "abcdefg", CLEAT_UNIX, AF_UNIX, HUNDRED "abcdefg", "", NULL },
	{ "unix:@" HUNDRED "abcdefg", CLEAT_UNIX, AF_UNIX, "@" HUNDRED "abcdefg", "", NULL },
};
/* clang-format on */

static void reads(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(good); i++) {
		struct cleat_addr want = { .proto = good[i].proto,
					   .family = good[i].family };
		struct cleat_addr a = untouched();
		const char *text = good[i].text;

		(void)snprintf(want.host, sizeof(want.host), "%s",
			       good[i].host);
		(void)snprintf(want.service, sizeof(want.service), "%s",
			       good[i].service);
		if (cleat_addr_parse(&a, guarded(0, text)) != 0)
			fail_msg("%s: %s", text, cleat_why());
		assert_same(&a, &want);
		assert_round_trip(&a,
				  good[i].canonical ? good[i].canonical : text);
	}
}

#define NO_PORT "no port; write HOST:PORT"
#define RANGE "port out of range; the last is 65535"
#define SIGN "a port has no sign; it is a number from 0 to 65535"
#define NEITHER "neither a port, from 0 to 65535, nor a service name"
#define BLANK "a blank or control character in an address"
#define ASCII "not ASCII; write the name in its xn-- form"
#define COLONS "more than one colon; write an IPv6 address as [::1]:PORT"
#define BRACKETS "brackets hold one IPv6 address, as in [::1]:80"
#define NOT_IP4 "not an IPv4 address; that is four numbers up to 255"
#define NOT_IP6 "not an IPv6 address"
#define LETTERS "a host name is made of letters, digits, - and _"
#define DOTS "a host name has no empty parts between dots"
#define NO_ZONE "no zone after %; write [fe80::1%eth0]:PORT"
#define LONG_ZONE "zone too long for the name of an interface"
#define BAD_ZONE "a zone is the name or number of an interface"
#define NO_PATH "no path; write unix:/PATH or unix:@NAME"
#define LONG_PATH "path too long for a unix socket; the limit is 107 bytes"
#define PROTOCOL                                                               \
	"unknown protocol; write one of tcp tcp4 tcp6 udp udp4 udp6 tls unix " \
	"unixgram"

static const struct {
	const char *text, *reason;
} bad[] = {
	{ "", NO_PORT },
	{ "tcp://", NO_PORT },
	{ "localhost", NO_PORT },
	{ "localhost:", NO_PORT },
	{ "example.com", NO_PORT },
	{ "10.example.com", NO_PORT },
	{ "127.0.0.1", NO_PORT },
	{ "*", NO_PORT },
	{ "https", NO_PORT },
	{ ":", NO_PORT },
	{ "[", NO_PORT },
	{ "[::1]", NO_PORT },
	{ "[::1]80", NO_PORT },
	{ "[::1]:", NO_PORT },

	{ "65536", RANGE },
	{ "99999999999999999999999999", RANGE },
	{ "localhost:65536", RANGE },
	{ "localhost:4294967376", RANGE },
	{ "localhost:00065536", RANGE },
	{ "-1", SIGN },
	{ "+80", SIGN },
	{ "localhost:-1", SIGN },
	{ "localhost:+80", SIGN },
	{ "80x", NEITHER },
	{ "localhost:80x", NEITHER },
	{ "localhost:0x50", NEITHER },
	{ "localhost:80/tcp", NEITHER },
	{ "localhost:http/", NEITHER },
	{ "localhost:http.alt", NEITHER },
	{ "localhost:_", NEITHER },
	{ "localhost:*", NEITHER },
	{ "[::1]:80]", NO_PORT },
	{ "h:" LABEL_63 "d", "service name too long; the limit is 63 bytes" },

	{ " 80", BLANK },
	{ "80 ", BLANK },
	{ "local host:80", BLANK },
	{ "localhost: 80", BLANK },
	{ "localhost:80\n", BLANK },
	{ "local\thost:80", BLANK },
	{ "local\x7fhost:80", BLANK },
	{ "b\xc3\xbc"
	  "cher.example:80",
	  ASCII },
	{ "localhost:\xef\xbc\x98\xef\xbc\x90", ASCII },
	{ "tcp://h\x80:80", ASCII },

	{ "::1", COLONS },
	{ "::", COLONS },
	{ "::1:8080", COLONS },
	{ "fe80::1%eth0", COLONS },
	{ "tcp6://::1:80", COLONS },
	{ "localhost:80:81", COLONS },
	{ "h::80", COLONS },
	{ "x[::1]:80", COLONS },
	{ "[::1:80", BRACKETS },
	{ "[::1]x:80", BRACKETS },
	{ "[:80", BRACKETS },
	{ "[]:80", NOT_IP6 },
	{ "[]]:80", NOT_IP6 },
	{ "[[::1]]:80", NOT_IP6 },
	{ "[localhost]:80", NOT_IP6 },
	{ "[127.0.0.1]:80", NOT_IP6 },
	{ "[1::2::3]:80", NOT_IP6 },
	{ "[1:2:3:4:5:6:7:8:9]:80", NOT_IP6 },
	{ "[12345::]:80", NOT_IP6 },
	{ "[::1.2.3.256]:80", NOT_IP6 },
	{ "[" HUNDRED "]:80", NOT_IP6 },
	{ "[%eth0]:80", NOT_IP6 },
	{ "[fe80::1%]:80", NO_ZONE },
	{ "[fe80::1%" TEN "abcdef]:80", LONG_ZONE },
	{ "[fe80::1%" HUNDRED HUNDRED HUNDRED "]:80", LONG_ZONE },
	{ "[fe80::1%a/b]:80", BAD_ZONE },
	{ "[fe80::1%a%b]:80", BAD_ZONE },
	{ "[fe80::1%a:b]:80", BAD_ZONE },
	{ "[fe80::1%a]b]:80", BAD_ZONE },
	{ "tcp4://[::1]:80", "an IPv6 address under a protocol of IPv4 only" },
	{ "udp4://[::]:80", "an IPv6 address under a protocol of IPv4 only" },

	{ "256.1.1.1:80", NOT_IP4 },
	{ "1.2.3:80", NOT_IP4 },
	{ "127.1:80", NOT_IP4 },
	{ "1.2.3.4.:80", NOT_IP4 },
	{ "1.2.3.4.5:80", NOT_IP4 },
	{ "127.0.0.01:80", NOT_IP4 },
	{ "1234:80", NOT_IP4 },
	{ "0x7f.1:80", NOT_IP4 },
	{ "0x7f000001:80", NOT_IP4 },
	{ "127.0x1:80", NOT_IP4 },
	{ "tcp6://127.0.0.1:80",
	  "an IPv4 address under a protocol of IPv6 only" },
	{ "udp6://0.0.0.0:80",
	  "an IPv4 address under a protocol of IPv6 only" },

	{ "user@host:80", LETTERS },
	{ "host/path:80", LETTERS },
	{ "**:80", LETTERS },
	{ "*.example.com:80", LETTERS },
	{ "h%eth0:80", LETTERS },
	{ "a..b:80", DOTS },
	{ ".a:80", DOTS },
	{ ".:80", DOTS },
	{ "a..:80", DOTS },
	{ LABEL_63 "d:80", "a part of a host name is at most 63 bytes" },
	{ NAME_253 "b:80", "a host name is at most 253 bytes" },
	{ NAME_253 "b.:80", "a host name is at most 253 bytes" },
	{ HUNDRED HUNDRED FIFTY "abcdef:80",
	  "host name too long; the limit is 253 bytes" },

	{ "http://x", PROTOCOL },
	{ "http://x:80", PROTOCOL },
	{ "://x:80", PROTOCOL },
	{ "TCP://x:80", PROTOCOL },
	{ " tcp://x:80", PROTOCOL },
	{ "tls4://x:80", PROTOCOL },

	{ "unix:", NO_PATH },
	{ "unix://", NO_PATH },
	{ "unix:@", NO_PATH },
	{ "unix://@", NO_PATH },
	{ "unixgram:", NO_PATH },
	{ "unix:" HUNDRED "abcdefgh", LONG_PATH },
	{ "unix:@" HUNDRED "abcdefgh", LONG_PATH },
};

static void refuses(void **state)
{
	const struct cleat_addr before = untouched();

	(void)state;
	for (size_t i = 0; i < COUNT(bad); i++) {
		struct cleat_addr a = before;

		if (cleat_addr_parse(&a, guarded(0, bad[i].text)) != -EINVAL)
			fail_msg("'%s' was taken", bad[i].text);
		assert_why(bad[i].reason);
		assert_memory_equal(&a, &before, sizeof(a));
	}
}

static void says_which(void **state)
{
	struct cleat_addr a;

	(void)state;
	assert_int_equal(cleat_addr_parse(&a, "localhost"), -EINVAL);
	assert_string_equal(cleat_why(),
			    "address localhost: no port; write HOST:PORT");
	assert_int_equal(cleat_addr_parse_pair(&a, "localhost", "80x"),
			 -EINVAL);
	assert_string_equal(cleat_why(), "address 80x: " NEITHER);
	assert_int_equal(cleat_addr_parse_pair(&a, "a..b", "80x"), -EINVAL);
	assert_string_equal(cleat_why(), "address a..b: " DOTS);
}

static const struct {
	const char *host, *port, *canonical;
} good_pairs[] = {
	{ "localhost", "80", "localhost:80" },
	{ "example.com", "https", "example.com:https" },
	{ "127.0.0.1", "080", "127.0.0.1:80" },
	{ "::1", "80", "[::1]:80" },
	{ "[::1]", "80", "[::1]:80" },
	{ "::", "80", "[::]:80" },
	{ "fe80::1%eth0", "80", "[fe80::1%eth0]:80" },
	{ "::ffff:1.2.3.4", "80", "[::ffff:1.2.3.4]:80" },
	{ "*", "80", ":80" },
	{ "tcp6://::1", "80", "tcp6://[::1]:80" },
	{ "tcp6://*", "80", "tcp6://:80" },
	{ "udp://localhost", "53", "udp://localhost:53" },
	{ "unix", "80", "tcp://unix:80" },
};

static void reads_pairs(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(good_pairs); i++) {
		const char *host = guarded(0, good_pairs[i].host);
		const char *port = guarded(1, good_pairs[i].port);
		struct cleat_addr a = untouched();

		if (cleat_addr_parse_pair(&a, host, port) != 0)
			fail_msg("%s %s: %s", host, port, cleat_why());
		assert_round_trip(&a, good_pairs[i].canonical);
	}
}

static const struct {
	const char *host, *port, *reason;
} bad_pairs[] = {
	{ "", "80", "no host; write * for every interface" },
	{ "tcp://", "80", "no host; write * for every interface" },
	{ "localhost", "", NO_PORT },
	{ "localhost", "65536", RANGE },
	{ "localhost", "-1", SIGN },
	{ "localhost", "80x", NEITHER },
	{ "localhost", "80 ", NEITHER },
	{ "localhost", ":80", NEITHER },
	{ "localhost", "\xc3\xa9", NEITHER },
	{ "localhost ", "80", BLANK },
	{ "b\xc3\xbc", "80", ASCII },
	{ "localhost:80", "81", "a second port" },
	{ ":80", "81", "a second port" },
	{ "[::1]:80", "81", BRACKETS },
	{ "[", "80", BRACKETS },
	{ "[::1", "80", BRACKETS },
	{ "::1]", "80", NOT_IP6 },
	{ "1:2:3", "80", NOT_IP6 },
	{ "fe80::1%", "80", NO_ZONE },
	{ "fe80::1%a]b", "80", BAD_ZONE },
	{ "tcp4://::1", "80", "an IPv6 address under a protocol of IPv4 only" },
	{ "80", "80", NOT_IP4 },
	{ "127.1", "80", NOT_IP4 },
	{ "http://localhost", "80", PROTOCOL },
	{ "unix:/run/x", "80", "a unix path takes no port" },
};

static void refuses_pairs(void **state)
{
	const struct cleat_addr before = untouched();

	(void)state;
	for (size_t i = 0; i < COUNT(bad_pairs); i++) {
		const char *host = guarded(0, bad_pairs[i].host);
		const char *port = guarded(1, bad_pairs[i].port);
		struct cleat_addr a = before;

		if (cleat_addr_parse_pair(&a, host, port) != -EINVAL)
			fail_msg("'%s' '%s' was taken", host, port);
		assert_why(bad_pairs[i].reason);
		assert_memory_equal(&a, &before, sizeof(a));
	}
}

/* Every length that is too short leaves the text alone; the next one fits. */
static void needs_room(void **state)
{
	static const char *const texts[] = { "8080",
					     "udp6://[fe80::1%eth0]:5353",
					     "unix:////run/x" };
	struct cleat_addr a;

	(void)state;
	for (size_t i = 0; i < COUNT(texts); i++) {
		size_t len = strlen(texts[i]);
		char got[64];

		assert_int_equal(cleat_addr_parse(&a, texts[i]), 0);
		for (size_t room = 0; room <= len; room++) {
			memset(got, 42, sizeof(got));
			assert_int_equal(cleat_addr_format(&a, got, room),
					 -ENOSPC);
			assert_int_equal(got[0], 42);
		}
		assert_int_equal(cleat_addr_format(&a, got, len + 1), len);
		assert_int_equal(got[len + 1], 42);
	}
}

static void longest_fits(void **state)
{
	static const char text[] = "udp6://" NAME_253 ".:" LABEL_63;
	struct cleat_addr a;

	(void)state;
	assert_in_range(sizeof(text), 1, CLEAT_ADDR_MAX);
	assert_int_equal(cleat_addr_parse(&a, text), 0);
	assert_round_trip(&a, text);
}

static void no_text_for_it(void **state)
{
	const struct cleat_addr a = { CLEAT_TLS, AF_INET, "localhost", "443" };
	char text[CLEAT_ADDR_MAX] = "*";

	(void)state;
	assert_int_equal(cleat_addr_format(&a, text, sizeof(text)), -EINVAL);
	assert_string_equal(text, "*");
}

static struct cleat_sockaddr ip4(const char *ip, uint16_t port)
{
	struct cleat_sockaddr sa = { .len = sizeof(sa.in) };

	sa.in.sin_family = AF_INET;
	sa.in.sin_port = htons(port);
	assert_int_equal(inet_pton(AF_INET, ip, &sa.in.sin_addr), 1);
	return sa;
}

static struct cleat_sockaddr ip6(const char *ip, uint32_t zone, uint16_t port)
{
	struct cleat_sockaddr sa = { .len = sizeof(sa.in6) };

	sa.in6.sin6_family = AF_INET6;
	sa.in6.sin6_port = htons(port);
	sa.in6.sin6_scope_id = zone;
	assert_int_equal(inet_pton(AF_INET6, ip, &sa.in6.sin6_addr), 1);
	return sa;
}

/* LEN bytes of sun_path; behind them is what must not be looked at. */
static struct cleat_sockaddr un(const char *path, size_t len)
{
	struct cleat_sockaddr sa;

	memset(&sa, '@', sizeof(sa));
	sa.len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
	sa.un.sun_family = AF_UNIX;
	memcpy(sa.un.sun_path, path, len);
	return sa;
}

static void assert_sockaddr(struct cleat_sockaddr sa, const char *want,
			    unsigned port)
{
	int len = (int)strlen(want);
	char got[512] = "*";

	assert_int_equal(cleat_sockaddr_format(&sa, got, (size_t)len), -ENOSPC);
	assert_string_equal(got, "*");
	assert_int_equal(cleat_sockaddr_format(&sa, got, (size_t)len + 1), len);
	assert_string_equal(got, want);
	assert_int_equal(cleat_sockaddr_port(&sa), port);
}

static void sockaddrs_ip(void **state)
{
	struct cleat_sockaddr packet = { .len = sizeof(packet.storage) };
	char lo[IF_NAMESIZE], zone[64];

	(void)state;
	assert_sockaddr(ip4("127.0.0.1", 80), "127.0.0.1:80", 80);
	assert_sockaddr(ip4("0.0.0.0", 0), "0.0.0.0:0", 0);
	assert_sockaddr(ip4("255.255.255.255", 65535), "255.255.255.255:65535",
			65535);
	assert_sockaddr(ip6("::", 0, 8080), "[::]:8080", 8080);
	assert_sockaddr(ip6("2001:DB8::1", 0, 1), "[2001:db8::1]:1", 1);
	assert_sockaddr(ip6("::ffff:10.0.0.1", 0, 80), "10.0.0.1:80", 80);
	assert_non_null(if_indextoname(1, lo));
	(void)snprintf(zone, sizeof(zone), "[fe80::1%%%s]:80", lo);
	assert_sockaddr(ip6("fe80::1", 1, 80), zone, 80);
	assert_sockaddr(ip6("fe80::1", 4294967295, 80),
			"[fe80::1%4294967295]:80", 80);
	packet.any.sa_family = AF_PACKET;
	assert_sockaddr(packet, "family 17", 0);
}

static void sockaddrs_unix(void **state)
{
	struct cleat_sockaddr none = un("", 0), longest;
	char name[108], escaped[6 + 4 * 107 + 1] = "unix:@";

	(void)state;
	assert_sockaddr(un("/run/x", 7), "unix:/run/x", 0);
	assert_sockaddr(un("/run/x", 6), "unix:/run/x", 0);
	assert_sockaddr(un("//x", 4), "unix:////x", 0);
	assert_sockaddr(un("@x", 3), "unix:./@x", 0);
	assert_sockaddr(un("", 0), "unix:", 0);
	none.len = 0; /* and then no family either */
	none.any.sa_family = AF_INET;
	assert_sockaddr(none, "unix:", 0);
	assert_sockaddr(un(HUNDRED "abcdefgh", 108), "unix:" HUNDRED "abcdefgh",
			0);
	longest = un(HUNDRED "abcdefgh", 108);
	longest.len++; /* as the kernel says, with the NUL it thinks of */
	assert_sockaddr(longest, "unix:" HUNDRED "abcdefgh", 0);
	assert_sockaddr(un("\0name", 5), "unix:@name", 0);
	assert_sockaddr(un("\0a\0b\n\x7f\xff~ ", 9),
			"unix:@a\\x00b\\x0a\\x7f\\xff~ ", 0);
	assert_sockaddr(un("\0", 1), "unix:@", 0);
	/* every byte of the longest name escaped */
	memset(name, 1, sizeof(name));
	name[0] = '\0';
	for (size_t i = 0; i < 107; i++)
		memcpy(escaped + 6 + 4 * i, "\\x01", 5);
	assert_sockaddr(un(name, sizeof(name)), escaped, 0);
}

/* Random addresses, one of every kind that can be read. */
static unsigned below(unsigned n)
{
	return (unsigned)random() % n;
}

static void some_of(char *text, size_t len, const char *alphabet)
{
	for (size_t i = 0; i < len; i++)
		text[i] = alphabet[below((unsigned)strlen(alphabet))];
	text[len] = '\0';
}

static void some_ip6(char *text)
{
	struct in6_addr ip;

	for (size_t i = 0; i < 16; i++)
		ip.s6_addr[i] = (uint8_t)(below(2) ? below(256) : 0);
	inet_ntop(AF_INET6, &ip, text, INET6_ADDRSTRLEN);
	if (below(2)) {
		text += strlen(text);
		*text++ = '%';
		some_of(text, 1 + below(15), "aZ09-_.");
	}
}

static void some_name(char *text)
{
	unsigned labels = 1 + below(4);

	while (labels--) {
		text[0] = 'n'; /* so that it is no number */
		some_of(text + 1, below(62), "azAZ09-_");
		text += strlen(text);
		if (labels || below(2))
			*text++ = '.';
		*text = '\0';
	}
}

static struct cleat_addr some_addr(void)
{
	static const int families[] = { AF_UNSPEC, AF_INET, AF_INET6 };
	struct cleat_addr a = { .proto = (enum cleat_proto)below(5) };

	if (a.proto == CLEAT_UNIX || a.proto == CLEAT_UNIXGRAM) {
		a.family = AF_UNIX;
		a.host[0] = "/@ax"[below(4)];
		some_of(a.host + 1, 1 + below(106), "/:@[]*%.-a \x01\xff");
		return a;
	}
	a.family = a.proto == CLEAT_TLS ? AF_UNSPEC : families[below(3)];
	if (below(4) > 0) {
		(void)snprintf(a.service, sizeof(a.service), "%u",
			       below(65536));
		a.host[0] = below(2) ? '*' : '\0';
	} else {
		a.service[0] = 's';
		some_of(a.service + 1, below(63), "azAZ09-_");
		a.host[0] = '*'; /* a bare name is no port */
	}
	if (below(4) == 0)
		return a;
	if (a.family != AF_INET && below(3) == 0)
		some_ip6(a.host);
	else if (a.family != AF_INET6 && below(2))
		(void)snprintf(a.host, sizeof(a.host), "%u.%u.%u.%u",
			       below(256), below(256), below(256), below(256));
	else
		some_name(a.host);
	return a;
}

/* CLEAT_SEED repeats a run. */
static void round_trips(void **state)
{
	const char *given = getenv("CLEAT_SEED");
	unsigned seed = given ? (unsigned)strtoul(given, NULL, 10)
			      : (unsigned)time(NULL);

	(void)state;
	srandom(seed);
	print_message("CLEAT_SEED=%u\n", seed);
	for (int i = 0; i < 20000; i++) {
		struct cleat_addr a = some_addr(), again;
		char text[CLEAT_ADDR_MAX];

		assert_in_range(cleat_addr_format(&a, text, sizeof(text)), 1,
				sizeof(text) - 1);
		if (cleat_addr_parse(&again, guarded(0, text)) != 0)
			fail_msg("%s", cleat_why());
		assert_same(&again, &a);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads),
		cmocka_unit_test(refuses),
		cmocka_unit_test(says_which),
		cmocka_unit_test(reads_pairs),
		cmocka_unit_test(refuses_pairs),
		cmocka_unit_test(needs_room),
		cmocka_unit_test(longest_fits),
		cmocka_unit_test(no_text_for_it),
		cmocka_unit_test(sockaddrs_ip),
		cmocka_unit_test(sockaddrs_unix),
		cmocka_unit_test(round_trips),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
