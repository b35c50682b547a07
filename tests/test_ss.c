/* SPDX-License-Identifier: MIT */
/* What a snapshot has is what ss(8) lists, on thousands of sockets that change
 * meanwhile; but for those that did.
 */
#include "inspect.h"

enum {
	MANY = 500
};

static char many_name[] = "\0cleat-many-00000000";

static void new_name(unsigned n)
{
	(void)snprintf(many_name + 12, 9, "%08x", n);
}

/* In a child, where nothing can be asserted: what fails is not there. */
static int one_of_many(unsigned kind, unsigned n)
{
	static const int families[] = { AF_INET, AF_INET6, AF_INET, AF_INET6,
					AF_UNIX, AF_UNIX,  AF_UNIX };
	static const int types[] = { SOCK_STREAM,   SOCK_STREAM, SOCK_DGRAM,
				     SOCK_DGRAM,    SOCK_STREAM, SOCK_DGRAM,
				     SOCK_SEQPACKET };
	int fd = socket(families[kind], types[kind], 0);
	struct cleat_sockaddr sa = at(kind % 2 ? "::1" : "127.0.0.1", 0);

	if (families[kind] == AF_UNIX) {
		new_name(n);
		sa = unix_at(many_name, sizeof(many_name) - 1);
	}
	if (families[kind] != AF_UNIX || n % 2)
		(void)!bind(fd, &sa.any, sa.len);
	if (types[kind] != SOCK_DGRAM && (families[kind] != AF_UNIX || n % 2))
		(void)!listen(fd, 5);
	return fd;
}

static int fd_connected(int to)
{
	struct cleat_sockaddr sa = { .len = sizeof(sa.storage) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	(void)!getsockname(to, &sa.any, &sa.len);
	(void)!connect(fd, &sa.any, sa.len);
	return fd;
}

/* Holds the same sockets for good. */
static pid_t start_holder(unsigned which)
{
	int ready[2];
	pid_t pid;
	char byte;

	assert_int_equal(pipe(ready), 0);
	pid = fork();
	if (pid == 0) {
		int l = listening("127.0.0.1", 0);

		(void)!socket(which % 2 ? AF_INET : AF_INET6, SOCK_RAW,
			      200 + (int)which); /* may not be permitted */
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (unsigned i = 0; i < MANY; i++) {
			(void)one_of_many(i % 7, which << 24 | i);
			if (i % 4 == 0) {
				(void)fd_connected(l);
				(void)!accept(l, NULL, NULL);
			}
		}
		close(ready[0]);
		close(ready[1]);
		for (;;)
			(void)pause();
	}
	close(ready[1]);
	(void)!read(ready[0], &byte, 1);
	close(ready[0]);
	return pid;
}

/* Opens and closes sockets for as long as it is let. */
static pid_t start_churner(void)
{
	enum {
		RING = 256
	};
	static int ring[RING];
	pid_t pid = fork();

	if (pid != 0)
		return pid;
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	memset(ring, -1, sizeof(ring));
	ring[0] = listening("127.0.0.1", 0);
	for (unsigned i = 0;; i++) {
		unsigned k = 1 + i % (RING - 1);

		close(ring[k]);
		ring[k] = i % 8 == 7 ? fd_connected(ring[0])
				     : one_of_many(i % 8, 0x80000000u | i);
		if (i % 8 == 7)
			close(accept(ring[0], NULL, NULL));
	}
}

struct lines {
	char **v;
	size_t n, room;
};

static void lines_add(struct lines *l, const char *text)
{
	if (l->n == l->room) {
		l->room = l->room ? 2 * l->room : 1024;
		l->v = realloc(l->v, l->room * sizeof(l->v[0]));
		assert_non_null(l->v);
	}
	l->v[l->n++] = strdup(text);
}

static int compare_lines(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void lines_sort(struct lines *l)
{
	qsort(l->v, l->n, sizeof(l->v[0]), compare_lines);
}

static bool lines_have(const struct lines *l, const char *text)
{
	return bsearch(&text, l->v, l->n, sizeof(l->v[0]), compare_lines);
}

static void lines_free(struct lines *l)
{
	while (l->n > 0)
		free(l->v[--l->n]);
	free(l->v);
}

/* From a line of ss its kind, state, addresses, inode and cookie. */
static bool ss_line(char *line, char *text, size_t len)
{
	char *word[64], *rest = line, *inode = NULL, *cookie = NULL;
	const char *state;
	size_t n = 0;

	while (n < COUNT(word) && (word[n] = strtok_r(rest, " \n", &rest)))
		n++;
	if (n < 6)
		return false;
	for (size_t i = 6; i < n; i++) {
		if (strncmp(word[i], "ino:", 4) == 0)
			inode = word[i];
		if (strncmp(word[i], "sk:", 3) == 0)
			cookie = word[i];
	}
	/* See unix_state() in diag_parse.c. */
	state = strcmp(word[0], "u_dgr") == 0 ? "" : word[1];
	if (strncmp(word[0], "u_", 2) == 0 && n > 7)
		(void)snprintf(text, len, "%s %s %s %s %s", word[0], state,
			       word[4], word[5], word[7]);
	else if (strcmp(word[0], "raw") == 0)
		(void)snprintf(text, len, "raw %s %s %s", state, word[4],
			       word[5]);
	else
		(void)snprintf(text, len, "%s %s %s %s %s %s", word[0], state,
			       word[4], word[5], inode ? inode : "",
			       cookie ? cookie : "");
	return true;
}

static struct lines ss(void)
{
	FILE *f = popen("ss -H -a -n -e -t -u -w -x", "re");
	struct lines l = { 0 };
	char line[1024], text[1024];

	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		if (ss_line(line, text, sizeof(text)))
			lines_add(&l, text);
	}
	assert_int_equal(pclose(f), 0);
	lines_sort(&l);
	return l;
}

static const char *ss_state(enum cleat_state state)
{
	static const char *const names[] = {
		"",           "ESTAB",      "SYN-SENT",  "SYN-RECV",
		"FIN-WAIT-1", "FIN-WAIT-2", "TIME-WAIT", "UNCONN",
		"CLOSE-WAIT", "LAST-ACK",   "LISTEN",    "CLOSING",
		"",           "UNCONN",
	};

	return names[state];
}

static void ss_address(const struct cleat_socket *s,
		       const struct cleat_sockaddr *sa, char *text, size_t len)
{
	char ip[INET6_ADDRSTRLEN] = "0.0.0.0", port[8] = "*";
	bool is_6 = s->family == AF_INET6;

	if (sa->len > 0) {
		(void)inet_ntop(s->family,
				is_6 ? (const void *)&sa->in6.sin6_addr
				     : &sa->in.sin_addr,
				ip, sizeof(ip));
		(void)snprintf(port, sizeof(port), "%u",
			       cleat_sockaddr_port(sa));
	}
	if (is_6 && (sa->len == 0 || strcmp(ip, "::") == 0))
		(void)snprintf(text, len, "%s:%s",
			       s->v6only == CLEAT_ON ? "[::]" : "*", port);
	else
		(void)snprintf(text, len, is_6 ? "[%s]:%s" : "%s:%s", ip, port);
}

static void as_ss(const struct cleat_socket *s, char *text, size_t len)
{
	char local[CLEAT_ADDR_MAX], peer[CLEAT_ADDR_MAX];
	const char *type = s->type == SOCK_STREAM  ? "str"
			   : s->type == SOCK_DGRAM ? "dgr"
						   : "seq";

	if (s->family == AF_UNIX) {
		ok(cleat_sockaddr_format(&s->local, local, sizeof(local)));
		(void)snprintf(text, len, "u_%s %s %s %u %u", type,
			       s->type == SOCK_DGRAM ? "" : ss_state(s->state),
			       s->local.len > 0 ? local + 5 : "*", s->inode,
			       s->peer_inode);
		return;
	}
	ss_address(s, &s->local, local, sizeof(local));
	ss_address(s, &s->peer, peer, sizeof(peer));
	if (s->type == SOCK_RAW) { /* for which ss has but /proc, as a rule */
		(void)snprintf(text, len, "raw %s %s %s", ss_state(s->state),
			       local, peer);
		return;
	}
	(void)snprintf(text, len, "%s %s %s %s ino:%u sk:%llx",
		       s->type == SOCK_STREAM ? "tcp" : "udp",
		       ss_state(s->state), local, peer, s->inode,
		       (unsigned long long)s->cookie);
}

/* Whether S may have come and gone between two runs of ss. */
static bool is_fleeting(const struct cleat_socket *s, pid_t churner)
{
	return s->n_owners == 0 || s->owners->pid == churner;
}

static void compare_once(pid_t churner)
{
	struct lines before = ss(), mine = { 0 }, after;
	size_t stable = 0;

	take(NULL);
	after = ss();
	for (size_t i = 0; i < snap->n; i++) {
		const struct cleat_socket *s = &snap->v[i];
		char text[1024];

		/* ss lists these only if asked for nothing else. */
		if (s->protocol == IPPROTO_TCP && s->state == CLEAT_STATE_BOUND)
			continue;
		as_ss(s, text, sizeof(text));
		lines_add(&mine, text);
		if (!lines_have(&before, text) && !lines_have(&after, text) &&
		    !is_fleeting(s, churner))
			fail_msg("ss does not know: %s", text);
	}
	lines_sort(&mine);
	for (size_t i = 1; i < mine.n; i++)
		assert_string_not_equal(mine.v[i - 1], mine.v[i]);
	for (size_t i = 0; i < before.n; i++) {
		if (!lines_have(&after, before.v[i]))
			continue;
		stable++;
		if (!lines_have(&mine, before.v[i]))
			fail_msg("missed: %s", before.v[i]);
	}
	assert_in_range(stable, 4 * MANY, snap->n);
	lines_free(&before);
	lines_free(&mine);
	lines_free(&after);
}

static void as_ss_does(void)
{
	pid_t holders[4], churner;

	if (access("/usr/bin/ss", X_OK) < 0 && access("/bin/ss", X_OK) < 0)
		skip();
	for (unsigned i = 0; i < COUNT(holders); i++)
		holders[i] = start_holder(i + 1);
	churner = start_churner();
	for (int i = 0; i < 10; i++)
		compare_once(churner);
	end_child(churner);
	for (unsigned i = 0; i < COUNT(holders); i++)
		end_child(holders[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ALONE(as_ss_does),
	};

	if (!in_own_namespace()) {
		puts("skipped: no network namespace of its own to be had");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
