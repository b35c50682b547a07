/* SPDX-License-Identifier: MIT */
/* A UDP server: acknowledges each datagram with "ACK: " and its text.
 *
 *	udp-ack-server [ADDR]        udp://127.0.0.1:35555 if not given
 *	udp-ack-client
 */
#include <stdio.h>

#include <cleat.h>

static void announce(const struct cleat_dgram *d)
{
	char text[CLEAT_ADDR_MAX];
	struct cleat_sockaddr sa;

	for (unsigned i = 0; cleat_dgram_local(d, i, &sa) == 0; i++) {
		cleat_sockaddr_format(&sa, text, sizeof(text));
		fprintf(stderr, "listening on %s\n", text);
	}
}

/* The text lands right behind the "ACK: ". */
static int answer_one(struct cleat_dgram *d)
{
	char ack[5 + 65535] = "ACK: ";
	struct cleat_sockaddr from;
	ssize_t n = cleat_recvfrom(d, ack + 5, sizeof(ack) - 5, &from,
				   CLEAT_FOREVER);

	if (n < 0)
		return (int)n;
	if (cleat_sendto(d, ack, 5 + (size_t)n, &from, CLEAT_FOREVER) < 0)
		fprintf(stderr, "udp-ack-server: %s\n", cleat_why());
	return 0;
}

int main(int argc, char **argv)
{
	const char *addr = argc > 1 ? argv[1] : "udp://127.0.0.1:35555";
	struct cleat_dgram *d = NULL;
	int err = cleat_dgram_open(&d, addr, NULL, NULL, CLEAT_FOREVER);

	if (err == 0)
		announce(d);
	while (err == 0)
		err = answer_one(d);
	fprintf(stderr, "udp-ack-server: %s\n", cleat_why());
	cleat_dgram_close(d);
	return 1;
}
