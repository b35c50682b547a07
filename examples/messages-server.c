/* SPDX-License-Identifier: MIT */
/* Messages on a stream: a length of four bytes in network order, then as many
 * bytes, as Python's struct.pack("!I", n).  Each is answered, reversed.
 *
 *	messages-server [ADDR]        127.0.0.1:35555 if not given
 *	messages-client
 */
#include <stdio.h>

#include <cleat.h>

/* One message.  In between a client has no fiber, and costs next to nothing.
 * A message that does not fit is refused before any of it is read.
 */
static bool reverse(struct cleat_conn *c, void *arg)
{
	cleat_time until = cleat_in(60 * CLEAT_SEC);
	char in[4096], out[4096];
	ssize_t n = cleat_recv_msg(c, in, sizeof(in), NULL, until);

	(void)arg;
	for (ssize_t i = 0; i < n; i++)
		out[i] = in[n - 1 - i];
	if (n >= 0 && cleat_send_msg(c, out, (size_t)n, NULL, until) == 0)
		return true;
	if (n != CLEAT_EEOF)
		fprintf(stderr, "messages-server: %s\n", cleat_why());
	return false;
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
	const struct cleat_service service = { .exchange = reverse };
	const struct cleat_serve_options options = {
		.addrs = addrs,
		.event = announce,
	};

	if (cleat_serve(&service, &options) < 0) {
		fprintf(stderr, "messages-server: %s\n", cleat_why());
		return 1;
	}
	return 0;
}
