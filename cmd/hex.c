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

void hex_dump(struct out *o, char mark, uint64_t *offset, const void *data,
	      size_t len)
{
	const unsigned char *at = data;
	char line[HEX_LINE_MAX];

	if (!o->f)
		return;
	flockfile(o->f);
	while (len > 0) {
		size_t n = len < HEX_BYTES ? len : HEX_BYTES;

		hex_line(line, mark, *offset, at, n);
		out_text(o, line);
		*offset += n;
		at += n;
		len -= n;
	}
	out_push(o);
	funlockfile(o->f);
}

int hex_open(struct out *o, const char *path, const char *command)
{
	*o = (struct out){ path ? fopen(path, "we") : NULL, 0 };
	if (!path || o->f)
		return 0;
	complain(command, "--hex %s: %s", path, cleat_strerror(errno));
	return -1;
}

int hex_close(struct out *o, const char *path, const char *command, int status)
{
	if (!o->f)
		return status;
	out_push(o);
	if (o->error < 0) {
		complain(command, "--hex %s: %s", path,
			 cleat_strerror(o->error));
		status = STATUS_FAILED;
	}
	(void)fclose(o->f); /* all of it is written, or lost */
	return status;
}
