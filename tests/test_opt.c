/* SPDX-License-Identifier: MIT */
/* The command line of the tool: options, their values, and addresses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <cleat/time.h>

#include "addr.h"
#include "cmd.h"
#include "opt.h"
#include "out.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* What a test wrote to stderr, in place of the terminal. */
static FILE *caught;
static int real_stderr;

static int catch_stderr(void **state)
{
	(void)state;
	caught = tmpfile();
	real_stderr = dup(STDERR_FILENO);
	return caught && dup2(fileno(caught), STDERR_FILENO) >= 0 ? 0 : -1;
}

static int free_stderr(void **state)
{
	(void)state;
	(void)dup2(real_stderr, STDERR_FILENO);
	(void)close(real_stderr);
	return fclose(caught);
}

/* What was said since the last call. */
static const char *said(void)
{
	static char text[4096];
	size_t n;

	rewind(caught);
	n = fread(text, 1, sizeof(text) - 1, caught);
	text[n] = '\0';
	rewind(caught);
	if (ftruncate(fileno(caught), 0) < 0)
		text[0] = '\0';
	return text;
}

/* Values. */

static void times(void **state)
{
	static const struct {
		const char *text;
		int64_t ns; /* -1: refused */
	} cases[] = {
		{ "300ms", 300 * CLEAT_MSEC },
		{ "2s", 2 * CLEAT_SEC },
		{ "2", 2 * CLEAT_SEC },
		{ "0", 0 },
		{ "0.5", 500 * CLEAT_MSEC },
		{ "1.5m", 90 * CLEAT_SEC },
		{ "10us", 10 * CLEAT_USEC },
		{ "1h", 3600 * CLEAT_SEC },
		{ "2000000h", INT64_C(7200000000) * CLEAT_SEC },
		{ "3000000h", -1 },
		{ "99999999999999999999999", -1 },
		{ "", -1 },
		{ "s", -1 },
		{ ".", -1 },
		{ "5x", -1 },
		{ "5 s", -1 },
		{ "-1", -1 },
		{ "+1", -1 },
		{ "1e3", -1 },
		{ "0x10", -1 },
		{ "1.2.3", -1 },
		{ "inf", -1 },
		{ "nan", -1 },
		{ "10ns", -1 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		int64_t ns = -42;
		const char *why = opt_time(&ns, cases[i].text);

		print_message("%s\n", cases[i].text);
		assert_int_equal(!why, cases[i].ns >= 0);
		assert_int_equal(ns, why ? -42 : cases[i].ns);
	}
}

static void timeouts(void **state)
{
	int64_t ns = -42;

	(void)state;
	assert_non_null(opt_timeout(&ns, "0"));
	assert_non_null(opt_timeout(&ns, "0ms"));
	assert_non_null(opt_timeout(&ns, "soon"));
	assert_int_equal(ns, -42);
	assert_null(opt_timeout(&ns, "1us"));
	assert_int_equal(ns, CLEAT_USEC);
}

static void counts(void **state)
{
	static const struct {
		const char *text;
		unsigned n; /* 0: refused */
	} cases[] = {
		{ "1", 1 },
		{ "18000", 18000 },
		{ "2147483647", 2147483647 },
		{ "2147483648", 0 },
		{ "4294967297", 0 },
		{ "99999999999999999999", 0 },
		{ "0", 0 },
		{ "-1", 0 },
		{ "+1", 0 },
		{ " 1", 0 },
		{ "1k", 0 },
		{ "0x1", 0 },
		{ "", 0 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		unsigned n = 42;
		const char *why = opt_count(&n, cases[i].text);

		print_message("%s\n", cases[i].text);
		assert_int_equal(!why, cases[i].n > 0);
		assert_int_equal(n, why ? 42 : cases[i].n);
	}
}

static void sizes(void **state)
{
	static const struct {
		const char *text;
		size_t n; /* 0: refused */
	} cases[] = {
		{ "1", 1 },
		{ "64", 64 },
		{ "64k", 65536 },
		{ "1M", 1 << 20 },
		{ "1G", 1 << 30 },
		{ "1073741824", 1 << 30 },
		{ "1073741825", 0 },
		{ "2G", 0 },
		{ "1025M", 0 },
		{ "99999999999999999999", 0 },
		{ "99999999999999999999k", 0 },
		{ "0", 0 },
		{ "0k", 0 },
		{ "-1", 0 },
		{ "1 k", 0 },
		{ "1K", 0 },
		{ "1kB", 0 },
		{ "1.5k", 0 },
		{ "k", 0 },
		{ "", 0 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		size_t n = 42;
		const char *why = opt_size(&n, cases[i].text);

		print_message("%s\n", cases[i].text);
		assert_int_equal(!why, cases[i].n > 0);
		assert_int_equal(n, why ? 42 : cases[i].n);
	}
}

/* Command lines. */

struct values {
	bool all, big;
	unsigned count;
	int64_t wait;
	const char *text;
};

static const struct opt options[] = {
	{ 'a', "all", NULL, offsetof(struct values, all), NULL, "everything" },
	{ 'b', "big", NULL, offsetof(struct values, big), NULL, "large" },
	{ 'c', "count", opt_count, offsetof(struct values, count), "N",
	  "many" },
	{ 'w', "wait", opt_time, offsetof(struct values, wait), "TIME",
	  "long" },
	{ 0, "text", opt_text, offsetof(struct values, text), "TEXT", "words" },
	{ 0 },
};

static const struct usage usage = {
	"try", "WORD...", "a test", "About it.", options, "cleat try this",
};

/* Parse LINE, words between single blanks, with the operands in OPERANDS. */
static int parse(const char *line, struct values *v, char *operands)
{
	static char copy[256];
	char *argv[16], *rest = copy;
	int argc = 0;
	struct words words;
	int status;

	(void)snprintf(copy, sizeof(copy), "%s", line);
	do {
		argv[argc++] = rest;
		rest = strchr(rest, ' ');
		if (rest)
			*rest++ = '\0';
	} while (rest);
	argv[argc] = NULL;
	memset(v, 0, sizeof(*v));
	status = opt_parse(&usage, v, argc, argv, &words);
	operands[0] = '\0';
	for (int i = 0; status == OPT_GO_ON && i < words.n; i++) {
		(void)strncat(operands, i == words.before ? "|" : " ", 2);
		(void)strncat(operands, words.v[i], 63);
	}
	if (status == OPT_GO_ON)
		assert_null(words.v[words.n]);
	return status;
}

static void accepted(void **state)
{
	static const struct {
		const char *line;
		struct values want;
		const char *operands; /* the first behind -- after a bar */
	} cases[] = {
		{ "try", { 0 }, "" },
		{ "try x -a y", { .all = true }, " x y" },
		{ "try -ab x", { .all = true, .big = true }, " x" },
		{ "try --all --big", { .all = true, .big = true }, "" },
		{ "try -c 3", { .count = 3 }, "" },
		{ "try -c3 x", { .count = 3 }, " x" },
		{ "try -ac3", { .all = true, .count = 3 }, "" },
		{ "try --count=3 x", { .count = 3 }, " x" },
		{ "try x --count 3", { .count = 3 }, " x" },
		{ "try -c 3 -c 4", { .count = 4 }, "" },
		{ "try -w 2s --text=", { 0, 0, 0, 2 * CLEAT_SEC, "" }, "" },
		{ "try --text -a", { .text = "-a" }, "" },
		{ "try --text --", { .text = "--" }, "" },
		{ "try x -- -a --", { 0 }, " x|-a --" },
		{ "try -- x", { 0 }, "|x" },
		{ "try - x", { 0 }, " - x" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		const struct values *want = &cases[i].want;
		struct values v;
		char operands[256];

		print_message("%s\n", cases[i].line);
		assert_int_equal(parse(cases[i].line, &v, operands), OPT_GO_ON);
		assert_string_equal(operands, cases[i].operands);
		assert_int_equal(v.all, want->all);
		assert_int_equal(v.big, want->big);
		assert_int_equal(v.count, want->count);
		assert_int_equal(v.wait, want->wait);
		assert_string_equal(v.text ? v.text : "NULL",
				    want->text ? want->text : "NULL");
		assert_string_equal(said(), "");
	}
}

static void refused(void **state)
{
	static const struct {
		const char *line, *message;
	} cases[] = {
		{ "try --foo x",
		  "cleat try: --foo: no such option; see cleat try --help\n" },
		{ "try --coun 3",
		  "cleat try: --coun: no such option; see cleat try --help\n" },
		{ "try -ax",
		  "cleat try: -x: no such option; see cleat try --help\n" },
		{ "try --all=yes", "cleat try: --all: takes no value\n" },
		{ "try -c", "cleat try: -c: needs a value: N\n" },
		{ "try -a --wait", "cleat try: --wait: needs a value: TIME\n" },
		{ "try --wait 5x",
		  "cleat try: --wait 5x: not a time; write 300ms or 2s\n" },
		{ "try --wait=5x",
		  "cleat try: --wait 5x: not a time; write 300ms or 2s\n" },
		{ "try -c -1",
		  "cleat try: -c -1: not a count; write 1 or more\n" },
		{ "try -c=1",
		  "cleat try: -c =1: not a count; write 1 or more\n" },
		{ "try --\033[2J",
		  "cleat try: --\\x1b[2J: no such option; see cleat try "
		  "--help\n" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct values v;
		char operands[256];

		assert_int_equal(parse(cases[i].line, &v, operands),
				 STATUS_MISUSED);
		assert_string_equal(said(), cases[i].message);
	}
}

/* However long the word, the reason stays. */
static void long_words(void **state)
{
	char word[1000];

	(void)state;
	memset(word, '\033', sizeof(word));
	for (size_t len = 380; len < sizeof(word); len++) {
		const char *line, *tail;

		word[len] = '\0';
		complain("try", "%s: too long", word);
		word[len] = '\033';
		line = said();
		tail = strstr(line, ": too long\n");
		assert_int_equal(strncmp(line, "cleat try: \\x1b", 15), 0);
		assert_non_null(tail);
		assert_int_equal(strlen(tail), strlen(": too long\n"));
		assert_int_equal(!strstr(line, "..."),
				 len + strlen(": too long") <= 403);
	}
}

/* Addresses. */

/* The addresses of LINE, each followed by a blank, or "" if refused. */
static void addresses(const char *line, const struct net *net, char *found)
{
	char copy[256], *v[8], *rest = copy;
	struct addr *list;
	int n = 0;

	(void)snprintf(copy, sizeof(copy), "%s", line);
	while (rest) {
		v[n++] = rest;
		rest = strchr(rest, ' ');
		if (rest)
			*rest++ = '\0';
	}
	found[0] = '\0';
	n = addr_list(&list, v, n, net, "try");
	for (int i = 0; i < n; i++) {
		(void)strncat(found, list[i].text, 63);
		(void)strncat(found, " ", 2);
	}
	if (n >= 0)
		free(list);
}

static void address_words(void **state)
{
	static const struct {
		const char *line;
		struct net net;
		const char *want;
	} cases[] = {
		{ "127.0.0.1:80", { 0 }, "127.0.0.1:80 " },
		{ "127.0.0.1 80", { 0 }, "127.0.0.1:80 " },
		{ "::1 80", { 0 }, "[::1]:80 " },
		{ "example.com https", { 0 }, "example.com:https " },
		{ "udp://example.com 53 :80",
		  { 0 },
		  "udp://example.com:53 :80 " },
		/* Two ports are two addresses. */
		{ "8080 9090", { 0 }, "8080 9090 " },
		{ "a:1 b 2 c:3", { 0 }, "a:1 b:2 c:3 " },
		{ "8080", { .ipv4 = true }, "tcp4://8080 " },
		{ "a:1 b:2", { .ipv6 = true }, "tcp6://a:1 tcp6://b:2 " },
		{ "tcp4://a:1", { .ipv4 = true }, "tcp4://a:1 " },
		{ "a:1", { .udp = true }, "udp://a:1 " },
		{ "a:1", { true, false, true }, "udp4://a:1 " },
		{ "udp6://a:1", { .udp = true }, "udp6://a:1 " },
		{ "unix:/a", { .udp = true }, "unixgram:/a " },
		/* Refused. */
		{ "127.0.0.1", { 0 }, "" },
		{ "a:1 b", { 0 }, "" },
		{ "b a:1", { 0 }, "" },
		{ "a:65536", { 0 }, "" },
		{ "a -1", { 0 }, "" },
		{ "a:1", { .ipv4 = true, .ipv6 = true }, "" },
		{ "tcp6://a:1", { .ipv4 = true }, "" },
		{ "[::1]:1", { .ipv4 = true }, "" },
		{ "127.0.0.1:1", { .ipv6 = true }, "" },
		{ "unix:/a", { .ipv4 = true }, "" },
		{ "tcp://a:1", { .udp = true }, "" },
		{ "tls://a:1", { .udp = true }, "" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		char found[256];

		print_message("%s\n", cases[i].line);
		addresses(cases[i].line, &cases[i].net, found);
		assert_string_equal(found, cases[i].want);
		assert_int_equal(strlen(said()) == 0, found[0] != '\0');
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(times),
		cmocka_unit_test(timeouts),
		cmocka_unit_test(counts),
		cmocka_unit_test(sizes),
		cmocka_unit_test_setup_teardown(accepted, catch_stderr,
						free_stderr),
		cmocka_unit_test_setup_teardown(refused, catch_stderr,
						free_stderr),
		cmocka_unit_test_setup_teardown(long_words, catch_stderr,
						free_stderr),
		cmocka_unit_test_setup_teardown(address_words, catch_stderr,
						free_stderr),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
