/* SPDX-License-Identifier: MIT */
/* Is a port open?  Says so within a time, and exits 0 if it is.
 *
 *	port-check HOST:PORT [MILLISECONDS]        2000 if not given
 */
#include <stdio.h>
#include <stdlib.h>

#include <cleat.h>

int main(int argc, char **argv)
{
	long ms = argc > 2 ? strtol(argv[2], NULL, 10) : 2000;
	cleat_time start = cleat_now();
	struct cleat_conn *c;

	if (argc < 2 || ms <= 0) {
		fputs("usage: port-check HOST:PORT [MILLISECONDS]\n", stderr);
		return 2;
	}
	if (cleat_connect(&c, argv[1], NULL, start + ms * CLEAT_MSEC) < 0) {
		fprintf(stderr, "port-check: %s\n", cleat_why());
		return 1;
	}
	printf("%s is open (%.1f ms)\n", argv[1],
	       (double)(cleat_now() - start) / (double)CLEAT_MSEC);
	cleat_close(c);
	return 0;
}
