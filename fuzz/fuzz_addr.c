/* SPDX-License-Identifier: MIT */
/* Whatever text is read as an address is written and read again unchanged. */
#include <cleat/addr.h>

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void must(int truth)
{
	if (!truth)
		abort();
}

static void round_trip(const struct cleat_addr *a)
{
	char text[CLEAT_ADDR_MAX], twice[CLEAT_ADDR_MAX];
	struct cleat_addr again;
	int n = cleat_addr_format(a, text, sizeof(text));

	must(n > 0 && (size_t)n == strlen(text));
	must(cleat_addr_parse(&again, text) == 0);
	must(memcmp(&again, a, sizeof(again)) == 0);
	must(cleat_addr_format(&again, twice, sizeof(twice)) == n);
	must(strcmp(twice, text) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	char *text = malloc(len + 1); /* so that ASan sees its end */
	struct cleat_addr a;
	char *space;

	if (!text)
		return 0;
	if (len > 0)
		memcpy(text, data, len);
	text[len] = '\0';
	if (cleat_addr_parse(&a, text) == 0)
		round_trip(&a);
	space = strchr(text, ' ');
	if (space) {
		*space = '\0';
		if (cleat_addr_parse_pair(&a, text, space + 1) == 0)
			round_trip(&a);
	}
	free(text);
	return 0;
}
