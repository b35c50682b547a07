/* SPDX-License-Identifier: MIT */
#include "table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	GAP = 2, /* blanks between columns */
};

/* How many bytes at S are one character of UTF-8, which it is known to be. */
static size_t character(const char *s)
{
	const unsigned char c = (unsigned char)s[0];

	return c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
}

/* How many cells of a terminal a character of LEN bytes takes, at most: the
 * East Asian ones, which are wide, are all longer than two bytes. */
static size_t cells(size_t len)
{
	return len > 2 ? 2 : 1;
}

static size_t width_of(const char *text)
{
	size_t width = 0;

	for (size_t len; *text; text += len) {
		len = character(text);
		width += cells(len);
	}
	return width;
}

char *table_room(struct table *t, size_t len)
{
	const size_t need = t->used + len;
	char *more;

	if (need > t->room) {
		more = realloc(t->cells, need * 2);
		if (!more) {
			t->is_full = true;
			return NULL;
		}
		t->cells = more;
		t->room = need * 2;
	}
	return t->cells + t->used;
}

void table_add(struct table *t, unsigned column, size_t len)
{
	const size_t width = width_of(t->cells + t->used);

	if (width > t->width[column])
		t->width[column] = width;
	t->used += len + 1;
}

/* Narrow the widest column that is wider than its LEAST; false: there is none.
 */
static bool narrow(struct table *t, const unsigned *least)
{
	size_t *widest = NULL;

	for (unsigned i = 0; i < t->columns; i++) {
		if (t->width[i] > least[i] &&
		    (!widest || t->width[i] > *widest))
			widest = &t->width[i];
	}
	if (widest)
		(*widest)--;
	return widest != NULL;
}

void table_fit(struct table *t, size_t width, const unsigned *least)
{
	static const unsigned one[TABLE_COLUMNS_MAX] = {
		1, 1, 1, 1, 1, 1, 1, 1
	};
	size_t total = (t->columns - 1) * GAP;

	for (unsigned i = 0; i < t->columns; i++)
		total += t->width[i];
	while (total > width && (narrow(t, least) || narrow(t, one)))
		total--;
	for (t->shown = t->columns; total > width && t->shown > 1;)
		total -= t->width[--t->shown] + GAP;
}

size_t table_print_text(const char *text, size_t width)
{
	const bool fits = strlen(text) <= width || width_of(text) <= width;
	const size_t limit = fits ? width : width - 1;
	const char *end = text;
	size_t printed = 0;

	while (*end) {
		const size_t len = character(end);

		if (printed + cells(len) > limit)
			break;
		printed += cells(len);
		end += len;
	}
	(void)fwrite_unlocked(text, 1, (size_t)(end - text), stdout);
	if (!fits) {
		(void)fputs_unlocked("\u2026", stdout); /* out_flush() tells */
		printed++;
	}
	return printed;
}

static void print_blanks(size_t n)
{
	static const char blanks[] = "                                ";

	for (size_t len; n > 0; n -= len) {
		len = n < sizeof(blanks) - 1 ? n : sizeof(blanks) - 1;
		(void)fwrite_unlocked(blanks, 1, len,
				      stdout); /* out_flush() tells */
	}
}

const char *table_print(const struct table *t, const char *at)
{
	size_t blanks = 0;

	for (unsigned i = 0; i < t->columns; i++) {
		if (i < t->shown) {
			print_blanks(blanks);
			blanks = t->width[i] + GAP -
				 table_print_text(at, t->width[i]);
		}
		at += strlen(at) + 1;
	}
	return at;
}

void table_free(struct table *t)
{
	free(t->cells);
}
