/* SPDX-License-Identifier: MIT */
/* Texts of targets and of ports, a word at a time: the plan they make is gone
 * through forth and back.  Nothing is looked up.
 */
#include <cleat/error.h>
#include <cleat/scan.h>

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "scan/plan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void must(int truth)
{
	if (!truth)
		abort();
}

/* No name: it has a digit, a colon or a bracket in front. */
static int is_number(const char *word)
{
	return strspn(word, "0123456789abcdefABCDEF.:/-%[]") == strlen(word) &&
	       strspn(word, "0123456789[:") > 0 &&
	       (strpbrk(word, ":[") || !strpbrk(word, "abcdefABCDEF%]"));
}

static void add(struct cleat_targets *t, struct cleat_ports *ports,
		const char *word)
{
	const uint64_t before = cleat_targets_count(t);
	const unsigned n = cleat_ports_count(ports);
	int err;

	if (word[0] == '!' && is_number(word + 1)) {
		err = cleat_targets_exclude(t, word + 1, AF_UNSPEC, 0);
		must(cleat_targets_count(t) <= before);
	} else if (is_number(word)) {
		err = cleat_targets_add(t, word, AF_UNSPEC, 0);
		must(cleat_targets_count(t) >= before);
	} else {
		err = cleat_ports_add(ports, word, CLEAT_TCP);
		must(cleat_ports_count(ports) >= n);
	}
	must(err == 0 || strstr(cleat_why(), ": ") != NULL);
}

static void go_through(const struct cleat__plan *p)
{
	for (uint64_t i = 0; i < 64 && i < p->total; i++) {
		const uint64_t place = i % 2 ? i : p->total - 1 - i;
		struct cleat_sockaddr at;
		char text[CLEAT_ADDR_MAX];
		uint64_t again;

		cleat__plan_at(p, place, &at);
		must(cleat_sockaddr_format(&at, text, sizeof(text)) > 0);
		must(cleat__plan_place(p, &at, &again) && again == place);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	const struct cleat_scan_options opt = { .seed = len };
	struct cleat_ports ports = { 0 };
	struct cleat_targets *t;
	struct cleat__plan p;

	must(cleat_targets_new(&t) == 0);
	while (len > 0) {
		const uint8_t *end = memchr(data, '\n', len);
		const size_t n = end ? (size_t)(end - data) : len;
		char *word = malloc(n + 1); /* so that ASan sees its end */

		must(word != NULL);
		memcpy(word, data, n);
		word[n] = '\0';
		add(t, &ports, word);
		free(word);
		data += n + (end != NULL);
		len -= n + (end != NULL);
	}
	if (cleat__plan_init(&p, t, &ports, &opt) == 0) {
		go_through(&p);
		cleat__plan_done(&p);
	}
	cleat_targets_free(t);
	return 0;
}
