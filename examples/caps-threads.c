/* SPDX-License-Identifier: MIT */
/* A threaded server: answers each line in capitals.
 *
 *	caps-threads [ADDR]        127.0.0.1:35555 if not given
 *	nc 127.0.0.1 35555
 */
#include <ctype.h>
#include <stdio.h>

#include <cleat.h>

/* Runs on a thread of its own, and may block as it likes. */
static void capitals(struct cleat_conn *c, void *arg)
{
	char line[1024];
	ssize_t n;

	(void)arg;
	while ((n = cleat_recv_until(c, line, sizeof(line), "\n", 1,
				     CLEAT_FOREVER)) > 0) {
		for (ssize_t i = 0; i < n; i++)
			line[i] = (char)toupper((unsigned char)line[i]);
		if (cleat_send(c, line, (size_t)n, CLEAT_FOREVER) < 0)
			break;
	}
	if (n != CLEAT_EEOF)
		fprintf(stderr, "caps-threads: %s\n", cleat_why());
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
	const struct cleat_service service = { .stream = capitals };
	const struct cleat_serve_options options = {
		.addrs = addrs,
		.mode = CLEAT_SERVE_THREADS,
		.event = announce,
	};

	if (cleat_serve(&service, &options) < 0) {
		fprintf(stderr, "caps-threads: %s\n", cleat_why());
		return 1;
	}
	return 0;
}
