/* SPDX-License-Identifier: MIT */
/* Options: one table for each command, read by the parser and by --help. */
#ifndef CMD_OPT_H
#define CMD_OPT_H

#include <stddef.h>

/* Reads TEXT into *TO; NULL is a value that is left out, where it may be.
 * Returns NULL, or why it cannot be read. */
typedef const char *opt_parser(void *to, const char *text);

struct opt {
	char letter; /* 0: none */
	const char *name; /* NULL ends the table */
	opt_parser *parse; /* NULL: a switch, which sets a bool */
	size_t offset; /* of what is set, in the command's options */
	const char *arg; /* what --help calls its value; [VALUE] may be left
			  * out, and is then the next word if that is one */
	const char *help; /* one line, or several */
};

struct usage {
	const char *name; /* of the command */
	const char *operands;
	const char *summary; /* one line */
	const char *about; /* the rest, in lines */
	const struct opt *options;
	const char *examples; /* in lines */
};

/* The operands: N words, the first BEFORE of which stood before any "--". */
struct words {
	char **v;
	int n, before;
};

enum {
	OPT_GO_ON = -1
};

/* opt_parse - read the options of argv into *TO and leave the operands.
 *
 * Options may come after operands, until "--".  Returns OPT_GO_ON, or the
 * status to exit with: --help was asked for and printed, or a line on stderr
 * says what is wrong.
 */
int opt_parse(const struct usage *u, void *to, int argc, char **argv,
	      struct words *words);

/* opt_help - print what --help prints. */
int opt_help(const struct usage *u);

/* What options are made of. */
opt_parser opt_time; /* int64_t, ns: "300ms", "2s", "1.5" are seconds */
opt_parser opt_timeout; /* the same, but not 0 */
opt_parser opt_count; /* unsigned, 1 or more */
opt_parser opt_size; /* size_t, bytes: 1 to 1G; "64k" is 65536 */
opt_parser opt_text; /* const char * */

#endif
