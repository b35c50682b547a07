/* SPDX-License-Identifier: MIT */
/* Whatever a netlink message says, what is made of it can be relied on: known
 * families and states, addresses that can be shown.
 *
 * Input: a byte (whose answer: TCP, UDP or unix), and then the message.
 */
#include <cleat/inspect.h>

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "inspect/diag.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void must(int truth)
{
	if (!truth)
		abort();
}

static void check_address(const struct cleat_sockaddr *sa, int family)
{
	char text[CLEAT_ADDR_MAX];

	if (sa->len == 0)
		return;
	must(sa->any.sa_family == family);
	must(sa->len <= sizeof(sa->storage));
	must(cleat_sockaddr_format(sa, text, sizeof(text)) > 0);
}

static void check(const struct cleat_socket *s)
{
	must(s->state >= CLEAT_STATE_ESTABLISHED);
	must(s->state <= CLEAT_STATE_BOUND);
	must(strcmp(cleat_state_name(s->state), "unknown") != 0);
	must(s->v6only == CLEAT_DEFAULT || s->family == AF_INET6);
	must(s->expires_ns >= 0);
	must(s->file_inode == 0 || s->family == AF_UNIX);
	check_address(&s->local, s->family);
	check_address(&s->peer, s->family);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct cleat_socket s = { 0 };
	char *message;
	int err;

	if (len == 0)
		return 0;
	message = malloc(len); /* so that ASan sees its end */
	if (!message)
		return 0;
	memcpy(message, data + 1, len - 1);
	if (data[0] % 3 == 0)
		err = cleat__diag_parse_unix(&s, message, len - 1);
	else
		err = cleat__diag_parse_inet(
			&s, data[0] % 3 == 1 ? IPPROTO_TCP : IPPROTO_UDP,
			message, len - 1);
	if (err == 0)
		check(&s);
	free(message);
	return 0;
}
