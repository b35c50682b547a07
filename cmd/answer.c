/* SPDX-License-Identifier: MIT */
#include "answer.h"

#include <net/if.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cleat/time.h>

#include "out.h"
#include "sockets.h"

enum {
	WIDTH = 80, /* where there is no terminal */
	NARROWEST = 40, /* that text is indented on, and words are whole */
	TEXT_MAX = 4096,
};

const char *opt_device(void *to, const char *text)
{
	unsigned device = if_nametoindex(text);

	if (device == 0)
		return "no such network interface";
	*(unsigned *)to = device;
	return NULL;
}

size_t answer_width(void)
{
	struct winsize size;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col == 0)
		return WIDTH;
	return size.ws_col;
}

/* Columns of the LEN bytes at S: those of UTF-8 that begin a character. */
static size_t columns(const char *s, size_t len)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++)
		n += ((unsigned char)s[i] & 0xc0) != 0x80;
	return n;
}

/* How many bytes of the LEN at S fit WIDTH columns, which is not 0. */
static size_t cut(const char *s, size_t len, size_t width)
{
	size_t n = 1;

	while (n < len && columns(s, n + 1) <= width)
		n++;
	return n;
}

void answer_indented(const char *first, const char *text)
{
	char all[TEXT_MAX], safe[TEXT_MAX];
	const char *word = safe;
	const size_t width = answer_width();
	const bool is_narrow = width < NARROWEST;
	const int lead = is_narrow ? 1 : 4;
	const int indent = is_narrow ? 1 : lead + (int)strlen(first);
	size_t at = (size_t)printf("%*s", lead, "");
	bool is_begun = false;

	(void)snprintf(all, sizeof(all), "%s%s", first, text);
	(void)out_escape(safe, sizeof(safe), all);
	while (*word) {
		size_t len = strcspn(word, " ");

		if (is_begun && at + 1 + columns(word, len) > width) {
			printf("\n%*s", indent, "");
			at = (size_t)indent;
		} else if (is_begun) {
			(void)putchar(' '); /* out_flush() tells */
			at++;
		}
		if (is_narrow)
			len = cut(word, len, width > at ? width - at : 1);
		printf("%.*s", (int)len, word);
		at += columns(word, len);
		is_begun = true;
		word += len;
		word += strspn(word, " ");
	}
	(void)putchar('\n');
}

/* Whose it is, where that is not known as well. */
static void format_owners(char *to, size_t len, const struct cleat_socket *s)
{
	if (socket_owners(to, len, s) > 0)
		return;
	if (s->inode == 0)
		(void)snprintf(to, len, "a connection without a process");
	else
		(void)snprintf(to, len, "an unseen process of %s",
			       socket_user(s->uid));
}

void answer_socket(char *to, size_t len, const struct cleat_socket *s)
{
	char owners[SOCKET_TEXT_MAX], local[SOCKET_TEXT_MAX];
	char peer[SOCKET_TEXT_MAX];
	const bool has_peer = socket_peer(peer, sizeof(peer), s) > 0;
	const char *state = cleat_state_name(s->state);
	int n;

	format_owners(owners, sizeof(owners), s);
	(void)socket_local(local, sizeof(local), s);
	if (s->state == CLEAT_STATE_LISTEN)
		n = snprintf(to, len, "%s listening on %s", owners, local);
	else if (!has_peer)
		n = snprintf(to, len, "%s bound to %s", owners, local);
	else if (s->state == CLEAT_STATE_ESTABLISHED)
		n = snprintf(to, len, "%s on %s, connected to %s", owners,
			     local, peer);
	else
		n = snprintf(to, len, "%s on %s, in %s with %s", owners, local,
			     state, peer);
	if (s->expires_ns > 0 && (size_t)n < len)
		(void)snprintf(to + n, len - (size_t)n, " for %jd s",
			       (intmax_t)((s->expires_ns + CLEAT_SEC - 1) /
					  CLEAT_SEC));
}

void answer_list(const char *first, const struct cleat_socket *v, size_t n)
{
	char text[3 * SOCKET_TEXT_MAX];
	/* A list that is one too long is shown: the line takes no less. */
	const size_t shown = n <= ANSWER_LIST_MAX + 1 ? n : ANSWER_LIST_MAX;

	for (size_t i = 0; i < shown; i++) {
		answer_socket(text, sizeof(text), &v[i]);
		answer_indented(first, text);
	}
	if (shown < n) {
		(void)snprintf(text, sizeof(text), "%zu more; --json has all",
			       n - shown);
		answer_indented(first, text);
	}
}

json_t *answer_json_text(const char *text)
{
	char safe[TEXT_MAX];

	(void)out_escape(safe, sizeof(safe), text);
	return json_string(safe);
}

json_t *answer_json_address(const struct cleat_sockaddr *sa)
{
	char text[CLEAT_ADDR_MAX] = "";

	if (sa->any.sa_family == AF_UNIX) {
		(void)cleat_sockaddr_format(sa, text, sizeof(text));
		return answer_json_text(text + strlen("unix:"));
	}
	(void)getnameinfo(&sa->any, sa->len, text, sizeof(text), NULL, 0,
			  NI_NUMERICHOST);
	return answer_json_text(text);
}

json_t *answer_json_port(const struct cleat_sockaddr *sa)
{
	return sa->any.sa_family == AF_UNIX
		       ? json_null()
		       : json_integer(cleat_sockaddr_port(sa));
}

json_t *answer_json_sockets(const struct cleat_socket *v, size_t n)
{
	json_t *list = json_array();

	for (size_t i = 0; i < n; i++)
		(void)json_array_append_new(list, socket_json(&v[i]));
	return list;
}

void answer_json_print(json_t *o)
{
	(void)json_dumpf(o, stdout, JSON_COMPACT); /* out_flush() tells */
	(void)putchar('\n');
	json_decref(o);
}

const char *answer_proto(enum cleat_proto proto)
{
	static const char *const names[] = {
		[CLEAT_TCP] = "tcp",           [CLEAT_UDP] = "udp",
		[CLEAT_TLS] = "tls",           [CLEAT_UNIX] = "unix",
		[CLEAT_UNIXGRAM] = "unixgram",
	};

	return names[proto];
}

void answer_address(char to[CLEAT_ADDR_MAX], enum cleat_proto proto,
		    const struct cleat_sockaddr *sa)
{
	static const char *const prefixes[] = {
		[CLEAT_TCP] = "",
		[CLEAT_UDP] = "udp://",
		[CLEAT_TLS] = "",
		[CLEAT_UNIX] = "",
		[CLEAT_UNIXGRAM] = "unixgram:",
	};
	/* cleat_sockaddr_format() says unix: of each kind. */
	const size_t skip = proto == CLEAT_UNIXGRAM ? strlen("unix:") : 0;
	char text[CLEAT_ADDR_MAX] = "";
	size_t n;

	(void)cleat_sockaddr_format(sa, text, sizeof(text)); /* it fits */
	n = (size_t)snprintf(to, CLEAT_ADDR_MAX, "%s", prefixes[proto]);
	/* The name of an interface, which may be part of it, has any bytes. */
	(void)out_escape(to + n, CLEAT_ADDR_MAX - n, text + skip);
}
