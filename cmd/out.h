/* SPDX-License-Identifier: MIT */
/* What people read: messages on stderr, results on stdout, escaped bytes. */
#ifndef CMD_OUT_H
#define CMD_OUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* complain - one line on stderr: "cleat COMMAND: ...", escaped.
 * COMMAND may be NULL, for the program itself. */
void complain(const char *command, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* out_failure - write F out.  Returns NULL, or why part of it is lost. */
const char *out_failure(FILE *f);

/* out_flush - write stdout out.  Returns the status to exit with; if part of
 * it could not be written, it has complained. */
int out_flush(const char *command);

/* out_line - LEN bytes to FD in one write(2), which threads cannot split. */
void out_line(int fd, const char *line, size_t len);

/* out_escape - TEXT without what would act on a terminal: control characters
 * and bytes that are not UTF-8 become \xNN.  Cut to fit LEN, with its NUL.
 * Returns the length. */
size_t out_escape(char *to, size_t len, const char *text);

/* out_has_colour - whether F is a terminal, and NO_COLOR is not set. */
bool out_has_colour(FILE *f);

#endif
