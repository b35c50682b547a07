/* SPDX-License-Identifier: MIT */
/* Messages on a stream: sends each text as one, prints the answer to each.
 *
 *	messages-client [ADDR [TEXT...]]        127.0.0.1:35555 if not given
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cleat.h>

static ssize_t ask(struct cleat_conn *c, const char *text, cleat_time until)
{
	void *answer;
	ssize_t n = cleat_send_msg(c, text, strlen(text), NULL, until);

	if (n == 0)
		n = cleat_take_msg(c, &answer, NULL, until);
	if (n < 0)
		return n;
	puts(answer); /* a NUL is behind the last byte */
	free(answer);
	return 0;
}

int main(int argc, char **argv)
{
	const char *addr = argc > 1 ? argv[1] : "127.0.0.1:35555";
	cleat_time until = cleat_in(5 * CLEAT_SEC);
	struct cleat_conn *c = NULL;
	ssize_t err = cleat_connect(&c, addr, NULL, until);

	if (err == 0 && argc < 3)
		err = ask(c, "hello", until);
	for (int i = 2; i < argc && err == 0; i++)
		err = ask(c, argv[i], until);
	cleat_close(c);
	if (err < 0) {
		fprintf(stderr, "messages-client: %s\n", cleat_why());
		return 1;
	}
	return 0;
}
