/* SPDX-License-Identifier: MIT */
/* A connect that gives up in time, while another fiber goes on working.
 *
 *	connect-deadline ADDR [MILLISECONDS]        1000 if not given
 *	connect-deadline 192.0.2.1:80               nobody answers there
 */
#include <stdio.h>
#include <stdlib.h>

#include <cleat.h>

struct attempt {
	const char *addr;
	long ms;
	unsigned ticks;
	int err;
};

/* Until its scope is closed, which ends every wait of it. */
static void tick(void *arg)
{
	struct attempt *a = arg;

	while (cleat_sleep(cleat_in(10 * CLEAT_MSEC)) == 0)
		a->ticks++;
}

static void attempt(void *arg)
{
	struct attempt *a = arg;
	struct cleat_scope *s = NULL;
	struct cleat_conn *c = NULL;

	a->err = cleat_scope_open(&s, 0);
	if (a->err == 0)
		a->err = cleat_go(s, tick, a, CLEAT_FOREVER);
	if (a->err == 0)
		a->err = cleat_connect(&c, a->addr, NULL,
				       cleat_in(a->ms * CLEAT_MSEC));
	if (a->err < 0)
		fprintf(stderr, "connect-deadline: %s\n", cleat_why());
	cleat_close(c);
	cleat_scope_close(s);
}

int main(int argc, char **argv)
{
	struct attempt a = {
		.addr = argc > 1 ? argv[1] : "127.0.0.1:35555",
		.ms = argc > 2 ? strtol(argv[2], NULL, 10) : 1000,
		.err = -1,
	};

	if (cleat_run(attempt, &a, NULL) < 0)
		fprintf(stderr, "connect-deadline: %s\n", cleat_why());
	printf("connected: %s, ticks: %u\n", a.err ? "no" : "yes", a.ticks);
	return a.err < 0;
}
