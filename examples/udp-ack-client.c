/* SPDX-License-Identifier: MIT */
/* A UDP client: sends a text until it is acknowledged, three times at most.
 *
 *	udp-ack-client [ADDR [TEXT]]        udp://127.0.0.1:35555 and hello
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <cleat.h>

/* Datagrams get lost: whoever wants an answer must be ready to ask again. */
static ssize_t ask(struct cleat_dgram *d, const char *text, char *answer,
		   size_t len)
{
	ssize_t n = -ETIMEDOUT;

	for (int tries = 0; tries < 3 && n == -ETIMEDOUT; tries++) {
		n = cleat_sendto(d, text, strlen(text), NULL, CLEAT_FOREVER);
		if (n == 0)
			n = cleat_recvfrom(d, answer, len, NULL,
					   cleat_in(500 * CLEAT_MSEC));
	}
	return n;
}

int main(int argc, char **argv)
{
	const char *addr = argc > 1 ? argv[1] : "udp://127.0.0.1:35555";
	const char *text = argc > 2 ? argv[2] : "hello";
	char answer[65535];
	struct cleat_dgram *d = NULL;
	ssize_t n =
		cleat_dgram_open(&d, NULL, addr, NULL, cleat_in(5 * CLEAT_SEC));

	if (n == 0)
		n = ask(d, text, answer, sizeof(answer));
	cleat_dgram_close(d);
	if (n < 0) {
		fprintf(stderr, "udp-ack-client: %s\n", cleat_why());
		return 1;
	}
	printf("%.*s\n", (int)n, answer);
	return 0;
}
