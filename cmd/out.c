/* SPDX-License-Identifier: MIT */
#include "out.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cleat/error.h>

#include "cmd.h"

/* What has no shape of its own, but moves, joins or hides what has: the general
 * category Cf of Unicode, and its separators of lines and paragraphs. */
static bool is_format(const unsigned char *s, size_t len)
{
	static const struct {
		unsigned first, last;
	} ranges[] = {
		{ 0xad, 0xad },       { 0x600, 0x605 },   { 0x61c, 0x61c },
		{ 0x180e, 0x180e },   { 0x200b, 0x200f }, { 0x2028, 0x202e },
		{ 0x2060, 0x206f },   { 0xfeff, 0xfeff }, { 0xfff9, 0xfffb },
		{ 0xe0000, 0xe0fff },
	};
	unsigned point = s[0] & (0x7fu >> len);

	for (size_t i = 1; i < len; i++)
		point = point << 6 | (s[i] & 0x3f);
	for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
		if (point >= ranges[i].first && point <= ranges[i].last)
			return true;
	}
	return false;
}

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
	return is_format(s, len) ? 0 : len;
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

/* Cut the middle out of what somebody's long word makes too long. */
static void shorten(char *text)
{
	enum {
		END = 200 /* bytes that are kept of each */
	};
	const size_t len = strlen(text);

	if (len <= 2 * END + 3)
		return;
	memset(text + END, '.', 3);
	memmove(text + END + 3, text + len - END, END + 1);
}

void complain(const char *command, const char *format, ...)
{
	char line[2048], *text; /* escapes take four times the room */
	va_list args;
	int n;
	size_t len;

	va_start(args, format);
	n = vasprintf(&text, format, args);
	va_end(args);
	if (n < 0)
		return; /* there is no memory to say so */
	shorten(text);
	n = snprintf(line, sizeof(line), "cleat%s%s: ", command ? " " : "",
		     command ? command : "");
	len = (size_t)n;
	len += out_escape(line + len, sizeof(line) - 1 - len, text);
	free(text);
	line[len++] = '\n';
	out_line(STDERR_FILENO, line, len);
}

static void note(struct out *o, bool has_failed)
{
	if (has_failed && o->error == 0)
		o->error = -errno;
}

void out_text(struct out *o, const char *text)
{
	note(o, fputs(text, o->f) < 0);
}

void out_push(struct out *o)
{
	note(o, fflush(o->f) != 0);
}

int out_end(struct out *o, const char *command, const char *name)
{
	out_push(o);
	if (o->error == 0 && ferror(o->f))
		o->error = -EIO; /* some time ago */
	if (o->error == 0)
		return STATUS_DONE;
	complain(command, "%s: %s", name, cleat_strerror(o->error));
	return STATUS_FAILED;
}

int out_flush(const char *command)
{
	struct out o = { stdout, 0 };

	return out_end(&o, command, "standard output");
}

bool out_has_colour(FILE *f)
{
	const char *no = getenv("NO_COLOR"); /* no-color.org */

	return (!no || !no[0]) && isatty(fileno(f));
}
