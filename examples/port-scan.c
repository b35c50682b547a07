/* SPDX-License-Identifier: MIT */
/* Which ports of a host are open?  Tries 256 at once, on one thread.
 *
 *	port-scan HOST:FIRST LAST
 */
#include <netdb.h>
#include <stdio.h>

#include <cleat.h>

struct scan {
	struct cleat_sockaddr to; /* with the first port */
	long last;
};

static void probe(void *arg)
{
	struct scan *s = arg; /* shared without a lock: fibers take turns */
	struct cleat_sockaddr to = s->to;
	struct cleat_conn *c;
	struct servent *service;
	char addr[CLEAT_ADDR_MAX];

	to.in.sin_port = htons((in_port_t)s->last--); /* IPv6 has it there */
	cleat_sockaddr_format(&to, addr, sizeof(addr));
	if (cleat_connect(&c, addr, NULL, cleat_in(CLEAT_SEC)) < 0)
		return;
	service = getservbyport(to.in.sin_port, "tcp");
	printf("%s %s\n", addr, service ? service->s_name : "unknown");
	cleat_close(c);
}

static void scan(void *arg)
{
	struct scan *s = arg;
	struct cleat_scope *scope = NULL;
	int err = cleat_scope_open(&scope, 256);

	for (long p = s->last; !err && p >= cleat_sockaddr_port(&s->to); p--)
		err = cleat_go(scope, probe, s, CLEAT_FOREVER);
	if (err < 0 || cleat_scope_wait(scope, CLEAT_FOREVER) < 0)
		fprintf(stderr, "port-scan: %s\n", cleat_why());
	cleat_scope_close(scope);
}

int main(int argc, char **argv)
{
	struct scan s;

	if (argc < 3 || sscanf(argv[2], "%5ld", &s.last) < 1 || s.last > 65535)
		fputs("usage: port-scan HOST:FIRST LAST\n", stderr);
	else if (cleat_resolve(argv[1], CLEAT_TO_CONNECT, &s.to, 1,
			       CLEAT_FOREVER) < 0 ||
		 cleat_run(scan, &s, NULL) < 0)
		fprintf(stderr, "port-scan: %s\n", cleat_why());
	else
		return 0;
	return 1;
}
