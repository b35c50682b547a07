/* SPDX-License-Identifier: MIT */
/* An echo server: sends back what it gets, to thousands of clients at once.
 *
 *	echo-server [ADDR]        127.0.0.1:35555 if not given
 *	nc 127.0.0.1 35555
 */
#include <stdio.h>

#include <cleat.h>

/* One client, as if it were the only one: each has a fiber. */
static void echo(struct cleat_conn *c, void *arg)
{
	const void *data;
	ssize_t n;

	(void)arg;
	while ((n = cleat_view(c, &data, CLEAT_FOREVER)) > 0)
		if (cleat_send(c, data, (size_t)n, CLEAT_FOREVER) < 0)
			return;
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
	const char *addrs[] = { argc > 1 ? argv[1] : "127.0.0.1:35555", NULL };
	const struct cleat_service service = { .stream = echo };
	const struct cleat_serve_options options = {
		.addrs = addrs,
		.event = announce,
	};

	if (cleat_serve(&service, &options) < 0) {
		fprintf(stderr, "echo-server: %s\n", cleat_why());
		return 1;
	}
	return 0;
}
