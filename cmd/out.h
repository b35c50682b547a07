/* SPDX-License-Identifier: MIT */
/* What people read: messages on stderr, results on stdout, escaped bytes. */
#ifndef CMD_OUT_H
#define CMD_OUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* complain - one line on stderr: "cleat COMMAND: ...", escaped.  COMMAND may be
 * NULL, for the program itself.  What is too long loses its middle, for the
 * reason stands at the end. */
void complain(const char *command, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* A stream, and why part of it is lost. */
struct out {
	FILE *f;
	int error; /* the first; 0 or negative */
};

/* out_text - put TEXT there, by and by. */
void out_text(struct out *o, const char *text);

/* out_push - write all of it out now, for who watches. */
void out_push(struct out *o);

/* out_end - push.  Returns the status to exit with; if anything is lost, it has
 * complained that NAME has failed. */
int out_end(struct out *o, const char *command, const char *name);

/* out_flush - the same for what was printed to stdout. */
int out_flush(const char *command);

/* out_line - LEN bytes to FD in one write(2), which threads cannot split. */
void out_line(int fd, const char *line, size_t len);

/* out_escape - TEXT without what would act on a terminal: control and format
 * characters, and bytes that are not UTF-8, become \xNN.  Cut to fit LEN, with
 * its NUL.  Returns the length. */
size_t out_escape(char *to, size_t len, const char *text);

/* out_has_colour - whether F is a terminal, and NO_COLOR is not set. */
bool out_has_colour(FILE *f);

#endif
