/* SPDX-License-Identifier: MIT */
/* Fetch one page: the status line on stderr, the body on stdout.
 *
 *	http-get example.com:80 [PATH]        / if not given
 *
 * HTTP/1.0 (RFC 1945): the end of the connection is the end of the body.
 */
#include <stdio.h>

#include <cleat.h>

/* The status, 200 when all is well; or a negative code. */
static int fetch(struct cleat_conn *c, const char *host, const char *path,
		 cleat_time until)
{
	char buf[4096];
	int status = 0;
	ssize_t n =
		snprintf(buf, sizeof(buf),
			 "GET %s HTTP/1.0\r\nHost: %.260s\r\n\r\n", path, host);

	if ((size_t)n >= sizeof(buf)) {
		fputs("http-get: the path is too long\n", stderr);
		return 414; /* as a server would say */
	}
	n = cleat_send(c, buf, (size_t)n, until);
	if (n == 0)
		n = cleat_recv_until(c, buf, sizeof(buf) - 1, "\r\n", 2, until);
	if (n > 0) {
		buf[n] = '\0';
		(void)sscanf(buf, "HTTP/1.%*1d %3d", &status); /* or 0 */
		fputs(buf, stderr);
	}
	while (n > 2) /* the headers end with an empty line */
		n = cleat_recv_until(c, buf, sizeof(buf), "\r\n", 2, until);
	if (n > 0)
		while ((n = cleat_recv(c, buf, sizeof(buf), until)) > 0)
			fwrite(buf, 1, (size_t)n, stdout);
	return n < 0 ? (int)n : status;
}

int main(int argc, char **argv)
{
	const char *host = argc > 1 ? argv[1] : "127.0.0.1:80";
	cleat_time until = cleat_in(10 * CLEAT_SEC);
	struct cleat_conn *c = NULL;
	int status = cleat_connect(&c, host, NULL, until);

	if (status == 0)
		status = fetch(c, host, argc > 2 ? argv[2] : "/", until);
	cleat_close(c);
	if (status < 0)
		fprintf(stderr, "http-get: %s\n", cleat_why());
	return status != 200;
}
