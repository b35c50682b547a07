/* SPDX-License-Identifier: MIT */
/* A dual-stack server: one socket, clients by IPv6 and by IPv4.
 *
 *	dual-stack [ADDR]        :35555, every interface, if not given
 *	nc 127.0.0.1 35555       nc ::1 35555
 */
#include <stdio.h>

#include <cleat.h>

static void tell(struct cleat_conn *c, void *arg)
{
	char text[CLEAT_ADDR_MAX], says[CLEAT_ADDR_MAX + 64];
	struct cleat_sockaddr peer;
	int n, family = AF_UNSPEC;
	socklen_t len = sizeof(family);

	(void)arg;
	/* The peer's address is IPv4 where it came by IPv4; the socket's
	 * family tells what the kernel carries it on. */
	cleat_conn_peer(c, &peer);
	cleat_sockaddr_format(&peer, text, sizeof(text));
	cleat_get_raw(cleat_conn_fd(c), SOL_SOCKET, SO_DOMAIN, &family, &len);
	n = snprintf(says, sizeof(says), "%s on an %s socket\n", text,
		     family == AF_INET6 ? "IPv6" : "IPv4");
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
	const char *addrs[] = { argc > 1 ? argv[1] : ":35555", NULL };
	const struct cleat_service service = { .stream = tell };
	const struct cleat_serve_options options = {
		.addrs = addrs,
		.event = announce,
	};

	if (cleat_serve(&service, &options) < 0) {
		fprintf(stderr, "dual-stack: %s\n", cleat_why());
		return 1;
	}
	return 0;
}
