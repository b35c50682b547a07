/* SPDX-License-Identifier: MIT */
/* Lines in columns, which never run together and fit the terminal. */
#ifndef CMD_TABLE_H
#define CMD_TABLE_H

#include <stdbool.h>
#include <stddef.h>

enum {
	TABLE_COLUMNS_MAX = 8,
};

/* All zero, but for the number of columns, is an empty one. */
struct table {
	unsigned columns;
	unsigned shown; /* of these columns, once table_fit() has said it */
	size_t width[TABLE_COLUMNS_MAX]; /* of what is in them, in characters */
	char *cells; /* each with its NUL, line by line */
	size_t used, room;
	bool is_full; /* there was no memory for all of it */
};

/* table_room - where to write the next cell, in at most LEN bytes. */
char *table_room(struct table *t, size_t len);

/* table_add - the cell at table_room() is written, with LEN bytes, in COLUMN.
 * The columns of a line come in their order. */
void table_add(struct table *t, unsigned column, size_t len);

/* table_fit - narrow the widest columns, until a line is WIDTH characters; and
 * not below LEAST of each, unless it has to be.  Where not even a character of
 * each fits, the last columns are left out. */
void table_fit(struct table *t, size_t width, const unsigned *least);

/* table_print - the line whose cells are at CELLS, on stdout, without its end.
 * Returns the cells of the next. */
const char *table_print(const struct table *t, const char *cells);

void table_free(struct table *t);

/* table_print_text - TEXT, escaped already, of at most WIDTH characters: the
 * last is an ellipsis where it is longer.  Returns how many were printed. */
size_t table_print_text(const char *text, size_t width);

#endif
