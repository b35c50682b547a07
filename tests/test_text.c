/* SPDX-License-Identifier: MIT */
/* The text that the tool makes: escapes, dumps, line ends, patterns. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hex.h"
#include "out.h"
#include "pipe.h"
#include "services.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void escapes(void **state)
{
	static const struct {
		const char *text, *want;
	} cases[] = {
		{ "", "" },
		{ "plain text", "plain text" },
		{ "a\tb\n\033[2J\177", "a\\x09b\\x0a\\x1b[2J\\x7f" },
		{ "sch\xc3\xb6n \xe2\x82\xac \xf0\x9f\x98\x80",
		  "sch\xc3\xb6n \xe2\x82\xac \xf0\x9f\x98\x80" },
		{ "\xc3", "\\xc3" }, /* cut short */
		{ "\xe2\x82", "\\xe2\\x82" },
		{ "\xf0\x9f\x98", "\\xf0\\x9f\\x98" },
		{ "\xb6", "\\xb6" }, /* no first byte */
		{ "\xc0\xaf", "\\xc0\\xaf" }, /* longer than needed */
		{ "\xe0\x80\xaf", "\\xe0\\x80\\xaf" },
		{ "\xf0\x80\x80\xaf", "\\xf0\\x80\\x80\\xaf" },
		{ "\xed\xa0\x80", "\\xed\\xa0\\x80" }, /* a surrogate */
		{ "\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80" }, /* too large */
		{ "\xc2\x9b"
		  "2J",
		  "\\xc2\\x9b2J" }, /* CSI, in one character */
		{ "\xff\xfe", "\\xff\\xfe" },
		{ "a\xe2\x80\xae"
		  "b",
		  "a\\xe2\\x80\\xaeb" }, /* U+202E turns the line round */
		{ "\xe2\x80\xa8", "\\xe2\\x80\\xa8" }, /* U+2028 ends it */
		{ "\xc2\xad", "\\xc2\\xad" }, /* U+00AD, seen by nobody */
		{ "\xf3\xa0\x81\xa1", "\\xf3\\xa0\\x81\\xa1" }, /* U+E0061 */
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		char to[64];

		assert_int_equal(out_escape(to, sizeof(to), cases[i].text),
				 strlen(cases[i].want));
		assert_string_equal(to, cases[i].want);
	}
}

/* Nothing is cut in the middle, nor written past the end. */
static void escapes_that_do_not_fit(void **state)
{
	static const char *const want[] = { "",  "",  "a",      "a",
					    "a", "a", "a\\x01", "a\\x01" };

	(void)state;
	for (size_t len = 1; len < COUNT(want); len++) {
		char to[16];

		memset(to, '#', sizeof(to));
		(void)out_escape(to, len, "a\001\xe2\x82\xac");
		assert_string_equal(to, want[len]);
		assert_int_equal(to[len], '#');
	}
}

static void hex_lines(void **state)
{
	static const struct {
		char mark;
		uint64_t offset;
		const char *data;
		size_t len;
		const char *want;
	} cases[] = {
		{ '>', 0, "hello\n", 6,
		  "> 00000000  68 65 6c 6c 6f 0a                              "
		  "   |hello.|\n" },
		{ '<', 0x10, "0123456789abcde\377", 16,
		  "< 00000010  30 31 32 33 34 35 36 37  38 39 61 62 63 64 65 ff"
		  "  |0123456789abcde.|\n" },
		{ '<', UINT64_MAX, "\0~\177 ", 4,
		  "< ffffffffffffffff  00 7e 7f 20                            "
		  "           |.~. |\n" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		char line[HEX_LINE_MAX];

		hex_line(line, cases[i].mark, cases[i].offset,
			 (const unsigned char *)cases[i].data, cases[i].len);
		assert_string_equal(line, cases[i].want);
	}
}

static void crlf(void **state)
{
	static const struct {
		const char *pieces[3], *want;
	} cases[] = {
		{ { "a\nb\n" }, "a\r\nb\r\n" },
		{ { "a\r\nb" }, "a\r\nb" },
		{ { "a\r", "\nb" }, "a\r\nb" }, /* the CR was in the last piece
						 */
		{ { "a", "\n", "\n" }, "a\r\n\r\n" },
		{ { "\n\n\n" }, "\r\n\r\n\r\n" },
		{ { "\r\r\n" }, "\r\r\n" },
		{ { "" }, "" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		char to[32], last = '\0';
		size_t n = 0;

		for (unsigned j = 0; j < 3 && cases[i].pieces[j]; j++)
			n += pipe_crlf(to + n, cases[i].pieces[j],
				       strlen(cases[i].pieces[j]), &last);
		to[n] = '\0';
		assert_string_equal(to, cases[i].want);
	}
}

/* RFC 864: 72 characters a line, each line one later, round 95 of them. */
static void chargen(void **state)
{
	static char text[74 * 96 + 1];
	char first[75];

	(void)state;
	service_chargen(text, sizeof(text) - 1);
	memcpy(first, text, 74);
	first[74] = '\0';
	assert_string_equal(
		first, " !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQR"
		       "STUVWXYZ[\\]^_`abcdefg\r\n");
	for (size_t line = 1; line < 96; line++) {
		assert_memory_equal(text + line * 74, text + line * 74 - 73,
				    71);
		assert_memory_equal(text + line * 74 + 72, "\r\n", 2);
	}
	assert_memory_equal(text, text + 95 * 74, 74);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(escapes),
		cmocka_unit_test(escapes_that_do_not_fit),
		cmocka_unit_test(hex_lines),
		cmocka_unit_test(crlf),
		cmocka_unit_test(chargen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
