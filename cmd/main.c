/* SPDX-License-Identifier: MIT */
/* cleat - shows, explains, tests and serves ports.
 *
 * Exits with 0: yes, done; 1: no, failed; 2: misused.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cmd.h"
#include "out.h"

/* clang-format off */
static const struct command {
	const struct usage *usage;
	int (*run)(int argc, char **argv);
} commands[] = {
	{ &serve_usage, cmd_serve },
	{ &connect_usage, cmd_connect },
	{ &listen_usage, cmd_listen },
	{ &check_usage, cmd_check },
	{ &ports_usage, cmd_ports },
	{ &who_usage, cmd_who },
	{ &why_usage, cmd_why },
	{ &scan_usage, cmd_scan },
	{ &bench_usage, cmd_bench },
};
/* clang-format on */

#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

/* How many letters to change, add or drop to get from A to B, looking at their
 * first few letters (Levenshtein). */
static unsigned distance(const char *a, const char *b)
{
	enum {
		LETTERS = 15
	};
	unsigned row[LETTERS + 1];
	const size_t width = strnlen(b, LETTERS);

	for (unsigned j = 0; j <= width; j++)
		row[j] = j;
	for (unsigned i = 0; a[i] && i < LETTERS; i++) {
		unsigned diagonal = row[0];

		row[0] = i + 1;
		for (size_t j = 1; j <= width; j++) {
			unsigned best = diagonal + (a[i] != b[j - 1]);

			diagonal = row[j];
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			row[j] = best;
		}
	}
	return row[width];
}

/* The command called NAME; or NULL, having complained. */
static const struct command *find(const char *name)
{
	const char *nearest = NULL;
	unsigned least = 3; /* more than two slips are no slip */

	for (size_t i = 0; i < COMMANDS; i++) {
		const char *other = commands[i].usage->name;
		unsigned d = distance(name, other);

		if (strcmp(name, other) == 0)
			return &commands[i];
		if (d < least) {
			least = d;
			nearest = other;
		}
	}
	if (nearest)
		complain(NULL,
			 "'%s' is not a command; is it %s? see cleat --help",
			 name, nearest);
	else
		complain(NULL, "'%s' is not a command; see cleat --help", name);
	return NULL;
}

static int help(const char *name)
{
	const struct command *c;

	if (name) {
		c = find(name);
		return c ? opt_help(c->usage) : STATUS_MISUSED;
	}
	printf("Usage: cleat COMMAND [OPTION...] ...\n\n");
	for (size_t i = 0; i < COMMANDS; i++)
		printf("  %-9s %-18s %s\n", commands[i].usage->name,
		       commands[i].usage->operands, commands[i].usage->summary);
	printf("\n"
	       "  cleat serve echo 127.0.0.1:35555\n"
	       "  cleat connect 127.0.0.1:35555\n"
	       "  cleat listen :8080 > file\n"
	       "  cleat check --wait 30s db:5432 -- ./start\n"
	       "  cleat ports 8080\n"
	       "  cleat who 8080\n"
	       "  cleat why :80\n"
	       "  cleat scan 10.0.0.0/24 -p 22,80\n"
	       "  cleat bench -c 50 127.0.0.1:35555\n"
	       "\n"
	       "cleat COMMAND --help says more; cleat --version says which "
	       "this is.\n");
	return out_flush(NULL);
}

static int version(void)
{
	printf("cleat %s\n", CLEAT_VERSION);
	return out_flush(NULL);
}

/* Descriptors 0 to 2 shall not be given to a socket.  Where one is closed, read
 * from it finds the end, and writing to it fails. */
static void fill_standard_fds(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		if (fcntl(fd, F_GETFD) < 0 && errno == EBADF)
			(void)open("/dev/null", O_RDONLY); /* the lowest: FD */
	}
}

int main(int argc, char **argv)
{
	/* A reader of stdout that has gone shall be a write that failed. */
	const struct sigaction ignore = { .sa_handler = SIG_IGN };
	const char *word = argc > 1 ? argv[1] : "";
	const struct command *c;

	(void)sigaction(SIGPIPE, &ignore, NULL); /* cannot fail */
	fill_standard_fds();
	if (argc < 2) {
		complain(NULL, "no command; see cleat --help");
		return STATUS_MISUSED;
	}
	if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)
		return help(NULL);
	if (strcmp(word, "help") == 0)
		return help(argv[2]);
	if (strcmp(word, "--version") == 0)
		return version();
	c = find(word);
	return c ? c->run(argc - 1, argv + 1) : STATUS_MISUSED;
}
