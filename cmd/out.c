/* SPDX-License-Identifier: MIT */
#include "out.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cleat/error.h>

#include "cmd.h"

/* How many bytes at S are one printable character of UTF-8 (RFC 3629); 0 if
 * they are none.  S ends with NUL, which no sequence goes over. */
static size_t printable(const unsigned char *s)
{
	size_t len = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
	unsigned char low = 0x80, high = 0xbf;

	if (s[0] < 0x80)
		return s[0] >= ' ' && s[0] != 127;
	if (s[0] < 0xc2 || s[0] > 0xf4)
		return 0;
	/* The second byte rules out long forms, surrogates and what is past
	 * U+10FFFF; and the control characters U+0080 to U+009F. */
	switch (s[0]) {
	case 0xc2:
	case 0xe0:
		low = 0xa0;
		break;
	case 0xed:
		high = 0x9f;
		break;
	case 0xf0:
		low = 0x90;
		break;
	case 0xf4:
		high = 0x8f;
		break;
	}
	if (s[1] < low || s[1] > high)
		return 0;
	for (size_t i = 2; i < len; i++) {
		if (s[i] < 0x80 || s[i] > 0xbf)
			return 0;
	}
	return len;
}

size_t out_escape(char *to, size_t len, const char *text)
{
	const unsigned char *s = (const unsigned char *)text;
	size_t n = 0;

	while (*s) {
		size_t good = printable(s);
		size_t need = good ? good : 4;

		if (n + need >= len)
			break;
		if (good)
			memcpy(to + n, s, good);
		else
			(void)snprintf(to + n, 5, "\\x%02x", *s);
		n += need;
		s += good ? good : 1;
	}
	to[n] = '\0';
	return n;
}

void out_line(int fd, const char *line, size_t len)
{
	ssize_t n = write(fd, line, len);

	(void)n; /* there is nowhere left to say that stderr is gone */
}

void complain(const char *command, const char *format, ...)
{
	char text[1024], line[2048];
	va_list args;
	int n;
	size_t len;

	n = snprintf(text, sizeof(text), "cleat%s%s: ", command ? " " : "",
		     command ? command : "");
	va_start(args, format);
	(void)vsnprintf(text + n, sizeof(text) - (size_t)n, format, args);
	va_end(args);
	len = out_escape(line, sizeof(line) - 1, text);
	line[len++] = '\n';
	out_line(STDERR_FILENO, line, len);
}

const char *out_failure(FILE *f)
{
	const bool failed_before = ferror(f);

	if (fflush(f) != 0)
		return cleat_strerror(errno);
	return failed_before ? "could not be written" : NULL;
}

int out_flush(const char *command)
{
	const char *why = out_failure(stdout);

	if (!why)
		return STATUS_DONE;
	complain(command, "standard output: %s", why);
	return STATUS_FAILED;
}

bool out_has_colour(FILE *f)
{
	const char *no = getenv("NO_COLOR"); /* no-color.org */

	return (!no || !no[0]) && isatty(fileno(f));
}
