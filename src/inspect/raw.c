/* SPDX-License-Identifier: MIT */
/* Raw sockets: few kernels tell of them by sock_diag. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "inspect/diag.h"

/* Addresses are words as they are in memory, each as a number in hex; the port
 * of a raw socket is its protocol.
 */
static int address_read(struct cleat_sockaddr *sa, int family, const char *text,
			const char **end)
{
	const int n_words = family == AF_INET ? 1 : 4;
	unsigned word[4], port;

	for (int i = 0; i < n_words; i++, text += 8) {
		if (strnlen(text, 8) < 8 || sscanf(text, "%8x", &word[i]) != 1)
			return -EBADMSG;
	}
	if (sscanf(text, ":%4x", &port) != 1)
		return -EBADMSG;
	*end = text + strcspn(text, " ");
	if (family == AF_INET) {
		sa->len = sizeof(sa->in);
		sa->in.sin_family = AF_INET;
		sa->in.sin_port = htons((uint16_t)port);
		memcpy(&sa->in.sin_addr, word, sizeof(sa->in.sin_addr));
	} else {
		sa->len = sizeof(sa->in6);
		sa->in6.sin6_family = AF_INET6;
		sa->in6.sin6_port = htons((uint16_t)port);
		memcpy(&sa->in6.sin6_addr, word, sizeof(sa->in6.sin6_addr));
	}
	return 0;
}

/* The kernel writes " sl: LOCAL PEER STATE TX:RX TIMER:WHEN RETRANSMITS UID
 * TIMEOUT INODE ..."
 */
int cleat__raw_parse(struct cleat_socket *s, int family, const char *line)
{
	struct cleat_sockaddr peer = { 0 };
	const char *at = strchr(line, ':');
	unsigned state;

	if (!at || at[1] != ' ' ||
	    address_read(&s->local, family, at + 2, &at) < 0 || at[0] != ' ' ||
	    address_read(&peer, family, at + 1, &at) < 0)
		return -EBADMSG;
	if (sscanf(at, " %2x %*8x:%8x %*2x:%*8x %*8x %10u %*10d %10u", &state,
		   &s->queue_used, &s->uid, &s->inode) != 4)
		return -EBADMSG;
	s->family = family;
	s->type = SOCK_RAW;
	s->protocol = (int)cleat_sockaddr_port(&s->local);
	s->state = state == CLEAT_STATE_ESTABLISHED ? CLEAT_STATE_ESTABLISHED
						    : CLEAT_STATE_BOUND;
	if (s->state == CLEAT_STATE_ESTABLISHED)
		s->peer = peer;
	return 0;
}

/* All of FILE, NUL-terminated, for the caller to free(). */
static int read_all(char **text, const char *file)
{
	size_t len = 0, room = 8192;
	char *all = malloc(room), *larger;
	int fd = sys_openat(AT_FDCWD, file, O_RDONLY);
	ssize_t n = all ? fd : -ENOMEM;

	while (n >= 0) {
		n = sys_read(fd, all + len, room - len - 1);
		if (n <= 0)
			break;
		len += (size_t)n;
		if (room - len > 1)
			continue;
		larger = realloc(all, room *= 2);
		n = larger ? n : -ENOMEM;
		all = larger ? larger : all;
	}
	if (fd >= 0)
		sys_close(fd);
	if (n < 0) {
		free(all);
		return (int)n;
	}
	all[len] = '\0';
	*text = all;
	return 0;
}

/* Of the calling thread's network namespace.  The first line is a heading.  No
 * file: the kernel has no IPv6, or there is no /proc.
 */
int cleat__raw_read(struct cleat__found *f, int family)
{
	char *text = NULL, *line, *end;
	int err = read_all(&text, family == AF_INET
					  ? "/proc/thread-self/net/raw"
					  : "/proc/thread-self/net/raw6");

	if (err < 0)
		return err == -ENOENT ? 0 : err;
	for (line = strchr(text, '\n'); line && line[1] && err == 0;
	     line = end) {
		struct cleat_socket *s = cleat__found_add(f);

		end = strchr(++line, '\n');
		if (end)
			*end = '\0';
		err = s ? cleat__raw_parse(s, family, line) : -ENOMEM;
	}
	free(text);
	return err;
}
