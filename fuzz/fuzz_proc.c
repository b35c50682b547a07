/* SPDX-License-Identifier: MIT */
/* Whatever stands in /proc: lines of raw sockets, links, names of commands. */
#include <cleat/inspect.h>

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "inspect/diag.h"
#include "inspect/walk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void must(int truth)
{
	if (!truth)
		abort();
}

static void line(int family, const char *text)
{
	struct cleat_socket s = { 0 };
	char address[CLEAT_ADDR_MAX];

	if (cleat__raw_parse(&s, family, text) < 0)
		return;
	must(s.family == family && s.local.any.sa_family == family);
	must(s.protocol >= 0 && s.protocol <= 65535);
	must(s.state == CLEAT_STATE_BOUND ||
	     s.state == CLEAT_STATE_ESTABLISHED);
	must((s.peer.len > 0) == (s.state == CLEAT_STATE_ESTABLISHED));
	must(cleat_sockaddr_format(&s.local, address, sizeof(address)) > 0);
}

/* A link that tells an inode is the one that would be written for it, but for
 * zeros in front.
 */
static void a_link(const char *text, size_t len)
{
	unsigned inode = cleat__link_inode(text, len);
	char again[32];
	int n = snprintf(again, sizeof(again), "%u]", inode);

	if (inode == 0)
		return;
	must(len >= 8 + (size_t)n);
	must(memcmp(text + len - n, again, (size_t)n) == 0);
}

static void command(const char *text, size_t len)
{
	char name[16];

	cleat__command_set(name, text, len);
	must(memchr(name, '\0', sizeof(name)) != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	char *exact = malloc(len + 1); /* so that ASan sees its end */

	if (!exact)
		return 0;
	if (len > 0)
		memcpy(exact, data, len);
	exact[len] = '\0';
	line(AF_INET, exact);
	line(AF_INET6, exact);
	exact = realloc(exact, len ? len : 1); /* these have no NUL */
	if (!exact)
		return 0;
	a_link(exact, len);
	command(exact, len);
	free(exact);
	return 0;
}
