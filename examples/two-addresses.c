/* SPDX-License-Identifier: MIT */
/* One port on two addresses: two sockets, each found by its own address.
 *
 *	two-addresses [ADDR...]  127.0.0.2:35555 127.0.0.3:35555 if not given
 *	nc 127.0.0.2 35555       nc 127.0.0.3 35555
 */
#include <stdio.h>

#include <cleat.h>

static void tell(struct cleat_conn *c, void *arg)
{
	char text[CLEAT_ADDR_MAX], says[CLEAT_ADDR_MAX + 64];
	struct cleat_sockaddr local;
	int n;

	(void)arg;
	cleat_conn_local(c, &local);
	cleat_sockaddr_format(&local, text, sizeof(text));
	n = snprintf(says, sizeof(says), "this is %s\n", text);
	(void)cleat_send(c, says, (size_t)n, CLEAT_FOREVER); /* or is gone */
}

static void announce(const struct cleat_serve_event *e, void *arg)
{
	char text[CLEAT_ADDR_MAX];

	(void)arg;
	if (e->what != CLEAT_SERVE_LISTENING)
		return;
	cleat_sockaddr_format(e->local, text, sizeof(text));
	fprintf(stderr, "listening on %s\n", text);
}

int main(int argc, char **argv)
{
	const char *both[] = { "127.0.0.2:35555", "127.0.0.3:35555", NULL };
	const struct cleat_service service = { .stream = tell };
	const struct cleat_serve_options options = {
		.addrs = argc > 1 ? (const char *const *)argv + 1 : both,
		.event = announce,
	};

	if (cleat_serve(&service, &options) < 0) {
		fprintf(stderr, "two-addresses: %s\n", cleat_why());
		return 1;
	}
	return 0;
}
