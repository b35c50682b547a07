/* SPDX-License-Identifier: MIT */
/* Socket options: some at creation, one on the live socket, all read back.
 *
 *	socket-options [ADDR [NAME VALUE]...]        as in: nodelay 0 ttl 9
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cleat.h>

static const struct {
	const char *name;
	enum cleat_option option;
} table[] = {
	{ "keepalive", CLEAT_KEEPALIVE },
	{ "keepalive-idle", CLEAT_KEEPALIVE_IDLE_S },
	{ "nodelay", CLEAT_NODELAY },
	{ "rcvbuf", CLEAT_RCVBUF },
	{ "sndbuf", CLEAT_SNDBUF },
	{ "ttl", CLEAT_TTL },
};

#define N_OPTIONS (sizeof(table) / sizeof(table[0]))

static int set(int fd, const char *name, const char *value)
{
	for (size_t i = 0; i < N_OPTIONS; i++)
		if (strcmp(name, table[i].name) == 0)
			return cleat_set(fd, table[i].option,
					 (int)strtol(value, NULL, 10));
	return -ENOPROTOOPT;
}

int main(int argc, char **argv)
{
	const char *addr = argc > 1 ? argv[1] : "127.0.0.1:35555";
	const struct cleat_options at_birth = { .keepalive_idle_s = 30 };
	struct cleat_conn *c = NULL;
	int value, err = cleat_connect(&c, addr, &at_birth, CLEAT_FOREVER);

	if (err < 0)
		fprintf(stderr, "socket-options: %s\n", cleat_why());
	for (int i = 2; i + 1 < argc && err == 0; i += 2) {
		err = set(cleat_conn_fd(c), argv[i], argv[i + 1]);
		if (err < 0)
			fprintf(stderr, "socket-options: %s %s: %s\n", argv[i],
				argv[i + 1], cleat_strerror(err));
	}
	for (size_t i = 0; i < N_OPTIONS && err == 0; i++) {
		err = cleat_get(cleat_conn_fd(c), table[i].option, &value);
		if (err == 0)
			printf("%s %d\n", table[i].name, value);
	}
	cleat_close(c);
	return err < 0;
}
