/* SPDX-License-Identifier: MIT */
/* An echo client: sends a text, says that this was all, prints the answer.
 *
 *	echo-client [ADDR [TEXT]]        127.0.0.1:35555 and hello
 *
 * One deadline covers the lookup, the connect and every answer.
 */
#include <stdio.h>
#include <string.h>

#include <cleat.h>

static int talk(const char *addr, const char *text, cleat_time until)
{
	struct cleat_conn *c = NULL;
	char buf[4096];
	ssize_t n = cleat_connect(&c, addr, NULL, until);

	if (n == 0)
		n = cleat_send(c, text, strlen(text), until);
	if (n == 0)
		n = cleat_shutdown(c, CLEAT_WRITE);
	if (n == 0)
		while ((n = cleat_recv(c, buf, sizeof(buf), until)) > 0)
			fwrite(buf, 1, (size_t)n, stdout);
	cleat_close(c);
	return (int)n;
}

int main(int argc, char **argv)
{
	const char *addr = argc > 1 ? argv[1] : "127.0.0.1:35555";
	const char *text = argc > 2 ? argv[2] : "hello";

	if (talk(addr, text, cleat_in(5 * CLEAT_SEC)) < 0) {
		fprintf(stderr, "echo-client: %s\n", cleat_why());
		return 1;
	}
	putchar('\n');
	return 0;
}
