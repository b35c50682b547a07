/* SPDX-License-Identifier: MIT */
#include "services.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cleat/error.h>
#include <cleat/frame.h>

enum {
	CHUNK_MAX = 64 * 1024, /* of a stream, and the longest line */
	ANSWER_MAX = 1 << 20, /* in a datagram; no kernel takes as much */
	CHARGEN_LINE = 72 + 2,
	CHARGEN_CYCLE = 95 * CHARGEN_LINE, /* then the pattern begins again */
	CHARGEN_DGRAM_MAX = 512,
};

/* Unread bytes would turn the close that follows into a reset, and that could
 * overtake the answer: read them, though not for ever. */
static void finish(struct cleat_conn *c)
{
	(void)cleat_finish(c, cleat_in(CLEAT_SEC)); /* it is closed anyway */
}

/* Datagrams may be lost, so nobody is waited for who does not take his. */
static int send_dgram(struct cleat_dgram *d, const void *data, size_t len,
		      const struct cleat_sockaddr *to)
{
	return cleat_sendto(d, data, len, to, 0);
}

/* echo, where nothing was asked for besides: no buffer, no formatting.  As much
 * as there can be in one view is part of a stream. */

static bool echo_some(struct cleat_conn *c, void *arg)
{
	const void *data;
	ssize_t n;

	(void)arg;
	do {
		n = cleat_view(c, &data, CLEAT_FOREVER);
		if (n <= 0 || cleat_send(c, data, (size_t)n, CLEAT_FOREVER) < 0)
			return false;
	} while (n == CHUNK_MAX);
	return true;
}

/* echo and upper */

static void upper_case(char *s, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (s[i] >= 'a' && s[i] <= 'z')
			s[i] = (char)(s[i] - 'a' + 'A');
	}
}

/* A line, which the end of the stream may end; or 0, or a negative code. */
static ssize_t recv_line(struct cleat_conn *c, char *line)
{
	ssize_t n =
		cleat_recv_until(c, line, CHUNK_MAX, "\n", 1, CLEAT_FOREVER);

	if (n == CLEAT_ECUT)
		n = cleat_recv(c, line, CHUNK_MAX, CLEAT_FOREVER);
	return n == CLEAT_EEOF ? 0 : n;
}

/* Memory to serve C with; or NULL, which the log says. */
static void *alloc(struct cleat_conn *c, size_t size, const struct answer *a)
{
	struct cleat_sockaddr local = { 0 }, peer = { 0 };
	void *p = malloc(size);

	if (p)
		return p;
	(void)cleat_conn_local(c, &local);
	(void)cleat_conn_peer(c, &peer); /* of a unix one: perhaps gone */
	log_no_memory(a->log, &local, &peer);
	return NULL;
}

/* In ANSWER, which begins with the prefix.  Returns whether there may be more.
 */
static bool answer_in(struct cleat_conn *c, const struct answer *a,
		      char *answer)
{
	const size_t before = strlen(a->prefix);
	char *data = answer + before;
	ssize_t n = a->lines ? recv_line(c, data)
			     : cleat_recv(c, data, CHUNK_MAX, CLEAT_FOREVER);

	if (n <= 0)
		return false;
	if (a->upper)
		upper_case(data, (size_t)n);
	if (cleat_send(c, answer, before + (size_t)n, CLEAT_FOREVER) < 0)
		return false;
	if (a->once)
		finish(c);
	return !a->once;
}

static bool answer_some(struct cleat_conn *c, void *arg)
{
	const struct answer *a = arg;
	const size_t before = strlen(a->prefix);
	char *answer = alloc(c, before + CHUNK_MAX, a);
	bool goes_on;

	if (!answer)
		return false;
	memcpy(answer, a->prefix, before);
	goes_on = answer_in(c, a, answer);
	free(answer);
	return goes_on;
}

/* Whether A may warn.  Once: whoever sends such datagrams could fill a disk
 * with it. */
static bool may_warn(struct answer *a)
{
	return !atomic_exchange(&a->has_warned, true);
}

static void warn_too_long(struct answer *a, size_t len)
{
	char text[100];

	if (!may_warn(a))
		return;
	(void)snprintf(text, sizeof(text),
		       "dropped an answer of %zu bytes: too long for a "
		       "datagram; said once",
		       len);
	log_write(a->log, LOG_WARNING, text,
		  LOG_FIELDS(a->log, "{s:s,s:I}", "event", "dropped", "bytes",
			     (json_int_t)len));
}

/* The answers to DATA, or to each of its lines, one after another in TO, unless
 * that is NULL.  Returns how long they are. */
static size_t put_answers(const struct answer *a, const char *data, size_t len,
			  char *to)
{
	const size_t before = strlen(a->prefix);
	size_t n = 0;

	do {
		const char *end = a->lines ? memchr(data, '\n', len) : NULL;
		const size_t line = end ? (size_t)(end + 1 - data) : len;

		if (to) {
			memcpy(to + n, a->prefix, before);
			memcpy(to + n + before, data, line);
		}
		n += before + line;
		data += line;
		len -= line;
	} while (len > 0);
	return n;
}

static void answer_dgram(struct cleat_dgram *d,
			 const struct cleat_sockaddr *from, void *data,
			 size_t len, void *arg)
{
	struct answer *a = arg;
	const size_t n = put_answers(a, data, len, NULL);
	char *copy = NULL;

	if (a->upper)
		upper_case(data, len);
	if (n > len && n <= ANSWER_MAX) {
		copy = malloc(n);
		if (!copy) {
			if (may_warn(a))
				log_no_memory(a->log, NULL, from);
			return;
		}
		(void)put_answers(a, data, len, copy);
	}
	if (n > ANSWER_MAX ||
	    send_dgram(d, copy ? copy : data, n, from) == -EMSGSIZE)
		warn_too_long(a, n);
	free(copy);
}

/* discard, RFC 863 */

static bool discard_some(struct cleat_conn *c, void *arg)
{
	const void *data;
	ssize_t n;

	(void)arg;
	do
		n = cleat_view(c, &data, CLEAT_FOREVER);
	while (n == CHUNK_MAX);
	return n > 0;
}

static void discard_dgram(struct cleat_dgram *d,
			  const struct cleat_sockaddr *from, void *data,
			  size_t len, void *arg)
{
	(void)d;
	(void)from;
	(void)data;
	(void)len;
	(void)arg;
}

/* chargen, RFC 864 */

void service_chargen(char *to, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		const size_t line = i / CHARGEN_LINE, column = i % CHARGEN_LINE;

		if (column < 72)
			to[i] = (char)(' ' + (line + column) % 95);
		else
			to[i] = column == 72 ? '\r' : '\n';
	}
}

/* What the peer says meanwhile is thrown away, lest its sends get stuck. */
static void chargen_stream(struct cleat_conn *c, void *arg)
{
	char *cycle = alloc(c, CHARGEN_CYCLE, arg);
	const void *data;

	if (!cycle)
		return;
	service_chargen(cycle, CHARGEN_CYCLE);
	while (cleat_send(c, cycle, CHARGEN_CYCLE, CLEAT_FOREVER) == 0)
		(void)cleat_view(c, &data, 0);
	free(cycle);
}

/* A random number of characters, says the RFC; the time is random enough. */
static void chargen_dgram(struct cleat_dgram *d,
			  const struct cleat_sockaddr *from, void *data,
			  size_t len, void *arg)
{
	char text[CHARGEN_DGRAM_MAX];
	const size_t n =
		(size_t)(cleat_now() / CLEAT_USEC) % (sizeof(text) + 1);

	(void)data;
	(void)len;
	(void)arg;
	service_chargen(text, n);
	(void)send_dgram(d, text, n, from);
}

/* daytime, RFC 867, in the form of its first example */

static size_t daytime(char *to, size_t len)
{
	const time_t now = time(NULL);
	struct tm tm;

	if (!localtime_r(&now, &tm))
		return 0;
	return strftime(to, len, "%A, %B %d, %Y %H:%M:%S-%Z\r\n", &tm);
}

static void daytime_stream(struct cleat_conn *c, void *arg)
{
	char text[128];
	const size_t n = daytime(text, sizeof(text));

	(void)arg;
	if (cleat_send(c, text, n, CLEAT_FOREVER) == 0)
		finish(c);
}

static void daytime_dgram(struct cleat_dgram *d,
			  const struct cleat_sockaddr *from, void *data,
			  size_t len, void *arg)
{
	char text[128];
	const size_t n = daytime(text, sizeof(text));

	(void)data;
	(void)len;
	(void)arg;
	(void)send_dgram(d, text, n, from);
}

static const struct {
	const char *name;
	struct cleat_service service;
} services[] = {
	{ "echo", { .exchange = answer_some, .dgram = answer_dgram } },
	{ "upper", { .exchange = answer_some, .dgram = answer_dgram } },
	{ "discard", { .exchange = discard_some, .dgram = discard_dgram } },
	{ "chargen", { .stream = chargen_stream, .dgram = chargen_dgram } },
	{ "daytime", { .stream = daytime_stream, .dgram = daytime_dgram } },
};

const char *service_pick(struct cleat_service *s, const char *name,
			 struct answer *a)
{
	const size_t n = sizeof(services) / sizeof(services[0]);
	size_t i = 0;

	while (i < n && strcmp(name, services[i].name) != 0)
		i++;
	if (i == n)
		return "no such service; there are echo upper discard chargen "
		       "daytime";
	*s = services[i].service;
	s->arg = a;
	a->upper = strcmp(name, "upper") == 0;
	if (a->prefix[0] || a->lines)
		return s->exchange == answer_some
			       ? NULL
			       : "--prefix and --lines are for echo and upper";
	if (strcmp(name, "echo") == 0 && !a->once)
		s->exchange = echo_some;
	return NULL;
}
