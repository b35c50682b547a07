/* SPDX-License-Identifier: MIT */
#include "hex.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include <cleat/error.h>

#include "cmd.h"
#include "out.h"

void hex_line(char line[HEX_LINE_MAX], char mark, uint64_t offset,
	      const unsigned char *data, size_t len)
{
	static const char digits[] = "0123456789abcdef";
	/* A column of three for each byte, and a gap before every eighth. */
	char hex[HEX_BYTES * 3 + 3], text[HEX_BYTES + 1];

	memset(hex, ' ', sizeof(hex) - 1);
	hex[sizeof(hex) - 1] = '\0';
	for (size_t i = 0; i < len; i++) {
		char *at = hex + 1 + i * 3 + i / 8;

		at[0] = digits[data[i] >> 4];
		at[1] = digits[data[i] & 15];
		text[i] =
			(char)(data[i] < ' ' || data[i] > '~' ? '.' : data[i]);
	}
	text[len] = '\0';
	(void)snprintf(line, HEX_LINE_MAX, "%c %08" PRIx64 " %s |%s|\n", mark,
		       offset, hex, text);
}

void hex_dump(FILE *f, char mark, uint64_t *offset, const void *data,
	      size_t len)
{
	const unsigned char *at = data;
	char line[HEX_LINE_MAX];

	flockfile(f);
	while (len > 0) {
		size_t n = len < HEX_BYTES ? len : HEX_BYTES;

		hex_line(line, mark, *offset, at, n);
		(void)fputs(line, f); /* ferror() tells in the end */
		*offset += n;
		at += n;
		len -= n;
	}
	(void)fflush(f); /* for who watches it */
	funlockfile(f);
}

int hex_open(FILE **f, const char *path, const char *command)
{
	*f = path ? fopen(path, "we") : NULL;
	if (!path || *f)
		return 0;
	complain(command, "--hex %s: %s", path, cleat_strerror(errno));
	return -1;
}

int hex_close(FILE *f, const char *path, const char *command, int status)
{
	const char *why = f ? out_failure(f) : NULL;

	if (f)
		(void)fclose(f); /* all of it is written, or lost */
	if (!why)
		return status;
	complain(command, "--hex %s: %s", path, why);
	return STATUS_FAILED;
}
