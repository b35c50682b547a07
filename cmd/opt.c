/* SPDX-License-Identifier: MIT */
#include "opt.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cleat/time.h>

#include "cmd.h"
#include "out.h"

#define DIGITS "0123456789"
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

const char *opt_time(void *to, const char *text)
{
	static const struct {
		const char *name;
		int64_t ns;
	} units[] = {
		{ "us", CLEAT_USEC },    { "ms", CLEAT_MSEC },
		{ "s", CLEAT_SEC },      { "", CLEAT_SEC },
		{ "m", 60 * CLEAT_SEC }, { "h", 3600 * CLEAT_SEC },
	};
	const char *unit = text + strspn(text, DIGITS ".");
	char *end;
	double ns = strtod(text, &end);
	size_t i = 0;

	while (i < COUNT(units) && strcmp(unit, units[i].name) != 0)
		i++;
	/* Where strtod() stops elsewhere it read 1e5, 0x1 or -1. */
	if (end != unit || unit == text || i == COUNT(units))
		return "not a time; write 300ms or 2s";
	ns *= (double)units[i].ns;
	if (ns >= (double)INT64_MAX)
		return "too long";
	*(int64_t *)to = (int64_t)(ns + 0.5);
	return NULL;
}

const char *opt_timeout(void *to, const char *text)
{
	int64_t ns;
	const char *why = opt_time(&ns, text);

	if (!why && ns == 0)
		why = "leaves no time; write 300ms or 2s";
	if (!why)
		*(int64_t *)to = ns;
	return why;
}

const char *opt_count(void *to, const char *text)
{
	unsigned long n;

	if (!text[0] || text[strspn(text, DIGITS)])
		return "not a count; write 1 or more";
	n = strtoul(text, NULL, 10); /* ULONG_MAX if out of range */
	if (n < 1 || n > INT_MAX)
		return "out of range; write 1 to 2147483647";
	*(unsigned *)to = (unsigned)n;
	return NULL;
}

const char *opt_size(void *to, const char *text)
{
	static const struct {
		const char *name;
		unsigned shift;
	} units[] = { { "", 0 }, { "k", 10 }, { "M", 20 }, { "G", 30 } };
	const size_t digits = strspn(text, DIGITS);
	const unsigned long n = strtoul(text, NULL, 10);
	size_t i = 0;

	while (i < COUNT(units) && strcmp(text + digits, units[i].name) != 0)
		i++;
	if (digits == 0 || i == COUNT(units))
		return "not a number of bytes; write 64, 16k or 1M";
	if (n < 1 || n > (1ul << 30) >> units[i].shift)
		return "out of range; write 1 to 1G";
	*(size_t *)to = n << units[i].shift;
	return NULL;
}

const char *opt_text(void *to, const char *text)
{
	*(const char **)to = text;
	return NULL;
}

/* Parsing. */

struct parse {
	const struct usage *usage;
	char *to;
	char **next; /* the words not read yet, ended by NULL */
	bool wants_help;
};

/* Set option O, whose value may be left out, from the next word if that is one;
 * if not, that is an operand. */
static bool set_optional(struct parse *p, const struct opt *o)
{
	void *to = p->to + o->offset;

	if (*p->next && !o->parse(to, *p->next))
		p->next++;
	else
		(void)o->parse(to, NULL); /* its default, which is good */
	return true;
}

/* Set option O, written as the first LEN bytes of SPELLING, to VALUE or, where
 * that is NULL, to the next word. */
static bool set(struct parse *p, const struct opt *o, const char *spelling,
		size_t len, const char *value)
{
	const char *why;

	if (!o->parse) {
		*(bool *)(p->to + o->offset) = true;
		return true;
	}
	if (!value && o->arg[0] == '[')
		return set_optional(p, o);
	if (!value)
		value = *p->next ? *p->next++ : NULL;
	if (!value) {
		complain(p->usage->name, "%.*s: needs a value: %s", (int)len,
			 spelling, o->arg);
		return false;
	}
	why = o->parse(p->to + o->offset, value);
	if (why)
		complain(p->usage->name, "%.*s %s: %s", (int)len, spelling,
			 value, why);
	return !why;
}

static bool unknown(const struct usage *u, const char *spelling)
{
	complain(u->name, "%s: no such option; see cleat %s --help", spelling,
		 u->name);
	return false;
}

/* --name, --name=value, --name value */
static bool parse_long(struct parse *p, const char *word)
{
	const char *name = word + 2;
	size_t len = strcspn(name, "=");
	const char *value = name[len] ? name + len + 1 : NULL;

	for (const struct opt *o = p->usage->options; o->name; o++) {
		if (strlen(o->name) != len || strncmp(o->name, name, len) != 0)
			continue;
		if (value && !o->parse) {
			complain(p->usage->name, "--%s: takes no value",
				 o->name);
			return false;
		}
		return set(p, o, word, len + 2, value);
	}
	if (strcmp(name, "help") == 0)
		return p->wants_help = true;
	return unknown(p->usage, word);
}

/* -a, -abc, -wVALUE, -w VALUE */
static bool parse_short(struct parse *p, const char *word)
{
	for (const char *s = word + 1; *s; s++) {
		char spelling[] = { '-', *s, '\0' };
		const struct opt *o = p->usage->options;

		while (o->name && o->letter != *s)
			o++;
		if (!o->name && *s == 'h')
			p->wants_help = true;
		else if (!o->name)
			return unknown(p->usage, spelling);
		else if (!set(p, o, spelling, 2,
			      o->parse && s[1] ? s + 1 : NULL))
			return false;
		else if (o->parse)
			break;
	}
	return true;
}

/* A single "-" is an operand. */
int opt_parse(const struct usage *u, void *to, int argc, char **argv,
	      struct words *words)
{
	struct parse p = { u, to, argv + 1, false };
	bool good = true;

	(void)argc; /* argv ends with NULL */
	*words = (struct words){ argv + 1, 0, 0 };
	while (good && !p.wants_help && *p.next) {
		char *word = *p.next++;

		if (strcmp(word, "--") == 0)
			break;
		else if (strncmp(word, "--", 2) == 0)
			good = parse_long(&p, word);
		else if (word[0] == '-' && word[1])
			good = parse_short(&p, word);
		else
			words->v[words->n++] = word;
	}
	if (!good)
		return STATUS_MISUSED;
	if (p.wants_help)
		return opt_help(u);
	words->before = words->n;
	while (*p.next)
		words->v[words->n++] = *p.next++;
	words->v[words->n] = NULL;
	return OPT_GO_ON;
}

/* Help. */

/* Each line of TEXT behind INDENT blanks; the first continues a line that has
 * COLUMN bytes already. */
static void print_lines(const char *text, int indent, int column)
{
	while (*text) {
		int len = (int)strcspn(text, "\n");

		printf("%*s%.*s\n", indent - column, "", len, text);
		text += len + (text[len] == '\n');
		column = 0;
	}
}

static void print_option(const struct opt *o)
{
	enum {
		COLUMN = 26
	};
	char left[64];
	int n = 0;

	if (o->letter)
		n = snprintf(left, sizeof(left), "  -%c, ", o->letter);
	else
		n = snprintf(left, sizeof(left), "      ");
	n += snprintf(left + n, sizeof(left) - (size_t)n, "--%s%s%s", o->name,
		      o->arg ? " " : "", o->arg ? o->arg : "");
	printf("%s%s", left, n > COLUMN - 2 ? "\n" : "");
	print_lines(o->help, COLUMN, n > COLUMN - 2 ? 0 : n);
}

int opt_help(const struct usage *u)
{
	static const struct opt help = { 'h', "help", NULL,
					 0,   NULL,   "print this" };

	printf("Usage: cleat %s [OPTION...] %s\n\n", u->name, u->operands);
	print_lines(u->about, 0, 0);
	printf("\nOptions:\n");
	for (const struct opt *o = u->options; o->name; o++)
		print_option(o);
	print_option(&help);
	printf("\nExamples:\n");
	print_lines(u->examples, 2, 0);
	return out_flush(u->name);
}
