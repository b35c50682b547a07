/* SPDX-License-Identifier: MIT */
/* What a process holds: what many connections leave behind, or slow ones take.
 */
#ifndef TESTS_HELD_H
#define TESTS_HELD_H

#include "both.h"

#include <dirent.h>

/* Other programs' sockets may be among those counted: they come and go. */
#define OTHERS 100

/* Bytes.  Sanitizers keep what was freed for a while: more than is looked for
 * here.
 */
#if defined(CLEAT__ASAN) || defined(CLEAT__TSAN)
#define SLACK (1l << 30)
#else
#define SLACK (1l << 20)
#endif

/* What the process holds, and how many TCP sockets there are. */
struct held {
	long bytes, fds, sockets;
};

static inline long resident(void)
{
	FILE *f = fopen("/proc/self/statm", "re");
	long pages = 0;

	assert_non_null(f);
	assert_int_equal(fscanf(f, "%*d %ld", &pages), 1);
	(void)fclose(f);
	return pages * sysconf(_SC_PAGESIZE);
}

static inline long descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	long n = 0;

	while (readdir(d))
		n++;
	(void)closedir(d);
	return n;
}

static inline long tcp_sockets(void)
{
	FILE *f = fopen("/proc/self/net/sockstat", "re");
	char line[128];
	long n = -1;

	while (f && fgets(line, sizeof(line), f)) {
		if (strncmp(line, "TCP: inuse ", 11) == 0)
			n = strtol(line + 11, NULL, 10);
	}
	if (f)
		(void)fclose(f);
	return n;
}

static inline struct held held(void)
{
	return (struct held){ resident(), descriptors(), tcp_sockets() };
}

/* Once the last connections are over.  A ring may have a descriptor. */
static inline void holds_no_more_than(const struct held *before)
{
	const long sockets = before->sockets + OTHERS, fds = before->fds + 1;
	struct held now = held();

	for (cleat_time end = soon();
	     (now.sockets > sockets || now.fds > fds) && cleat_now() < end;
	     now = held())
		ok(cleat_sleep(cleat_in(10 * CLEAT_MSEC)));
	assert_in_range(now.sockets, 0, sockets);
	assert_in_range(now.fds, 0, fds);
	assert_in_range(now.bytes, 0, before->bytes + SLACK);
}

#endif
