/* SPDX-License-Identifier: MIT */
/* Processes that share a port: the kernel deals the clients out among them.
 *
 *	share-port [ADDR] & share-port [ADDR] &       127.0.0.1:35555
 *	nc 127.0.0.1 35555                            again and again
 *
 * Each must ask for SO_REUSEPORT, and run as the same user.
 */
#include <stdio.h>
#include <unistd.h>

#include <cleat.h>

static void announce(const struct cleat_listener *l)
{
	char text[CLEAT_ADDR_MAX];
	struct cleat_sockaddr sa;

	for (unsigned i = 0; cleat_listener_local(l, i, &sa) == 0; i++) {
		cleat_sockaddr_format(&sa, text, sizeof(text));
		fprintf(stderr, "listening on %s\n", text);
	}
}

static int greet_one(struct cleat_listener *l)
{
	char says[64];
	int n = snprintf(says, sizeof(says), "process %ld\n", (long)getpid());
	struct cleat_conn *c;
	int err = cleat_accept(l, &c, CLEAT_FOREVER);

	if (err < 0)
		return err;
	(void)cleat_send(c, says, (size_t)n, 0); /* the client may be gone */
	cleat_close(c);
	return 0;
}

int main(int argc, char **argv)
{
	const char *addr = argc > 1 ? argv[1] : "127.0.0.1:35555";
	const struct cleat_options options = { .reuseport = CLEAT_ON };
	struct cleat_listener *l = NULL;
	int err = cleat_listen(&l, addr, &options);

	if (err == 0)
		announce(l);
	while (err == 0)
		err = greet_one(l);
	fprintf(stderr, "share-port: %s\n", cleat_why());
	cleat_unlisten(l);
	return 1;
}
