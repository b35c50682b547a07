/* SPDX-License-Identifier: MIT */
/* cleat bench --compare: an earlier run, this one, and the difference. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench.h"
#include "out.h"

json_t *bench_compare_load(const char *path)
{
	json_error_t why;
	json_t *o = json_load_file(path, JSON_DISABLE_EOF_CHECK, &why);

	if (o && json_is_number(json_object_get(o, "messages_per_s")))
		return o;
	if (o)
		complain("bench",
			 "--compare %s: not what cleat bench --json "
			 "has printed",
			 path);
	else if (why.line < 0) /* then it says the path as well */
		complain("bench", "--compare: %s", why.text);
	else
		complain("bench", "--compare %s: line %d: %s", path, why.line,
			 why.text);
	json_decref(o);
	return NULL;
}

/* What is not the same in both, so that the figures are not of one thing. */
static void print_changes(const json_t *then, const json_t *now)
{
	static const char *const names[] = {
		"target", "proto", "mode", "connections",
		"size",   "depth", "rate", "threads",
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		json_t *a = json_object_get(then, names[i]);
		json_t *b = json_object_get(now, names[i]);
		char *was, *is;

		if (!a || json_equal(a, b))
			continue;
		was = json_dumps(a, JSON_ENCODE_ANY);
		is = json_dumps(b, JSON_ENCODE_ANY);
		complain("bench", "--compare: %s was %s and is %s", names[i],
			 was ? was : "?", is ? is : "?");
		free(was);
		free(is);
	}
}

static double value_of(const json_t *o, const struct figure_name *f)
{
	const json_t *part = f->of ? json_object_get(o, f->of) : o;
	const json_t *v = json_object_get(part, f->name);

	return json_is_number(v) ? json_number_value(v) : (double)NAN;
}

static void print_row(const struct figure_name *f, double then, double now)
{
	char name[64];

	(void)snprintf(name, sizeof(name), "%s%s%s", f->of ? f->of : "",
		       f->of ? "." : "", f->name);
	(void)printf("  %-26s %14.2f %14.2f", name, then, now);
	if (then > 0)
		(void)printf(" %+9.1f%%", 100 * (now - then) / then);
	(void)putchar('\n');
}

void bench_compare(const json_t *then, json_t *now)
{
	print_changes(then, now);
	(void)printf("\n  %-26s %14s %14s %10s\n", "", "then", "now",
		     "difference");
	for (unsigned i = 0; i < FIGURES; i++) {
		const double a = value_of(then, &figure_names[i]);
		const double b = value_of(now, &figure_names[i]);

		if (!isnan(a) && !isnan(b))
			print_row(&figure_names[i], a, b);
	}
	json_decref(now);
}
