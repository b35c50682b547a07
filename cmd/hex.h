/* SPDX-License-Identifier: MIT */
/* Hex dumps, as hexdump -C writes them, with a mark for the direction. */
#ifndef CMD_HEX_H
#define CMD_HEX_H

#include <stddef.h>
#include <stdint.h>

#include "out.h"

enum {
	HEX_BYTES = 16, /* on a line */
	HEX_LINE_MAX = 88,
};

/* hex_line - one line of at most HEX_BYTES, with its newline and NUL. */
void hex_line(char line[HEX_LINE_MAX], char mark, uint64_t offset,
	      const unsigned char *data, size_t len);

/* hex_dump - LEN bytes that follow *OFFSET others, which is moved on; to
 * nowhere if O has no stream.  Threads may dump to one O, each with an offset
 * of its own. */
void hex_dump(struct out *o, char mark, uint64_t *offset, const void *data,
	      size_t len);

/* hex_open - open the file at PATH to dump to; NULL is none.  Returns 0 with
 * *O, or -1, having complained. */
int hex_open(struct out *o, const char *path, const char *command);

/* hex_close - returns STATUS, or a failure's. */
int hex_close(struct out *o, const char *path, const char *command, int status);

#endif
