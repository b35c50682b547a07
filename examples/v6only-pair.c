/* SPDX-License-Identifier: MIT */
/* An IPv4 and an IPv6 server on one port: the IPv6 one must be IPv6 only, or
 * it would claim the IPv4 addresses as well.
 *
 *	v6only-pair [PORT]       35555 if not given
 *	nc 127.0.0.1 35555       nc ::1 35555
 */
#include <stdio.h>
#include <string.h>

#include <cleat.h>

static void tell(struct cleat_conn *c, void *arg)
{
	const char *says = "the IPv4 socket\n";
	int family = AF_INET;
	socklen_t len = sizeof(family);

	(void)arg;
	cleat_get_raw(cleat_conn_fd(c), SOL_SOCKET, SO_DOMAIN, &family, &len);
	if (family == AF_INET6)
		says = "the IPv6 socket\n";
	(void)cleat_send(c, says, strlen(says), CLEAT_FOREVER); /* or is gone */
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
	const char *port = argc > 1 ? argv[1] : "35555";
	char ipv4[32], ipv6[32];
	const char *addrs[] = { ipv4, ipv6, NULL };
	const struct cleat_service service = { .stream = tell };
	const struct cleat_options v6only = { .v6only = CLEAT_ON };
	const struct cleat_serve_options options = {
		.addrs = addrs,
		.socket = &v6only,
		.event = announce,
	};

	snprintf(ipv4, sizeof(ipv4), "0.0.0.0:%s", port);
	snprintf(ipv6, sizeof(ipv6), "[::]:%s", port);
	if (cleat_serve(&service, &options) < 0) {
		fprintf(stderr, "v6only-pair: %s\n", cleat_why());
		return 1;
	}
	return 0;
}
