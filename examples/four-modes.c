/* SPDX-License-Identifier: MIT */
/* One handler, four ways to run it; the handler cannot tell which.
 *
 *	four-modes MODE [ADDR]      fibers, one, threads or processes
 *	nc 127.0.0.1 35555          twice: "one" makes the second client wait
 */
#include <stdio.h>
#include <string.h>

#include <cleat.h>

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
	/* As in enum cleat_serve_mode. */
	const char *modes[] = { "fibers", "one", "threads", "processes" };
	const char *addrs[] = { argc > 2 ? argv[2] : "127.0.0.1:35555", NULL };
	const struct cleat_service service = { .stream = echo };
	struct cleat_serve_options options = {
		.addrs = addrs,
		.event = announce,
	};
	unsigned mode = 0;

	while (mode < 4 && (argc < 2 || strcmp(argv[1], modes[mode]) != 0))
		mode++;
	if (mode == 4) {
		fputs("usage: four-modes MODE [ADDR]\n", stderr);
		return 2;
	}
	options.mode = mode;
	if (cleat_serve(&service, &options) < 0) {
		fprintf(stderr, "four-modes: %s\n", cleat_why());
		return 1;
	}
	return 0;
}
