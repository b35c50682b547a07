/* SPDX-License-Identifier: MIT */
#include "log.h"

#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cleat/error.h>
#include <cleat/time.h>

#include "out.h"

enum {
	TIME_MAX = 40,
	MESSAGE_MAX = 512,
};

static const char *const levels[] = { "INFO", "WARNING" };

const char *opt_log_format(void *to, const char *text)
{
	if (strcmp(text, "text") == 0)
		*(enum log_format *)to = LOG_TEXT;
	else if (strcmp(text, "json") == 0)
		*(enum log_format *)to = LOG_JSON;
	else
		return "not a format; write text or json";
	return NULL;
}

bool log_wants(const struct log *l, enum log_level level)
{
	return !l->quiet || level > LOG_INFO;
}

/* Most lines share their second with the one before. */
static const char *text_time(void)
{
	static _Thread_local char text[TIME_MAX];
	static _Thread_local time_t last;
	const time_t now = time(NULL);
	struct tm tm;

	if (now != last && localtime_r(&now, &tm)) {
		(void)strftime(text, sizeof(text), "%d-%m-%Y %H:%M:%S", &tm);
		last = now;
	}
	return text;
}

/* RFC 3339, whose zone has a colon that strftime's has not. */
static void json_time(char text[TIME_MAX])
{
	char date[TIME_MAX], zone[8];
	struct timespec now;
	struct tm tm;

	(void)clock_gettime(CLOCK_REALTIME, &now); /* cannot fail */
	(void)localtime_r(&now.tv_sec, &tm);
	(void)strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm);
	(void)strftime(zone, sizeof(zone), "%z", &tm);
	(void)snprintf(text, TIME_MAX, "%.20s.%03d%.3s:%s", date,
		       (int)(now.tv_nsec / CLEAT_MSEC), zone, zone + 3);
}

static size_t format_text(const struct log *l, enum log_level level,
			  const char *message, char *line, size_t room)
{
	int n = snprintf(line, room, "%s - %s - %s - %s", text_time(),
			 levels[level], l->name, message);

	return (size_t)n < room ? (size_t)n : room - 1;
}

static size_t format_json(const struct log *l, enum log_level level,
			  const char *message, json_t *fields, char *line,
			  size_t room)
{
	char now[TIME_MAX];
	json_t *o;
	size_t n;

	json_time(now);
	o = json_pack("{s:s,s:s,s:s,s:s}", "time", now, "level", levels[level],
		      "name", l->name, "message", message);
	(void)json_object_update(o, fields); /* copes with NULL, as do all */
	n = json_dumpb(o, line, room, JSON_COMPACT | JSON_REAL_PRECISION(9));
	json_decref(o);
	return n < room ? n : 0;
}

void log_write(const struct log *l, enum log_level level, const char *message,
	       json_t *fields)
{
	char safe[MESSAGE_MAX], line[4 * MESSAGE_MAX];
	size_t n = 0;

	(void)out_escape(safe, sizeof(safe), message);
	if (log_wants(l, level) && l->format == LOG_JSON)
		n = format_json(l, level, safe, fields, line, sizeof(line) - 1);
	else if (log_wants(l, level))
		n = format_text(l, level, safe, line, sizeof(line) - 1);
	json_decref(fields);
	if (n == 0)
		return;
	line[n++] = '\n';
	out_line(STDERR_FILENO, line, n);
}

/* A socket address as text that is safe to print and valid in JSON; NULL if
 * it is not known. */
static const char *name_of(const struct cleat_sockaddr *sa, char *safe)
{
	char text[CLEAT_ADDR_MAX] = "";

	if (!sa)
		return NULL;
	(void)cleat_sockaddr_format(sa, text, sizeof(text)); /* it fits */
	(void)out_escape(safe, CLEAT_ADDR_MAX, text);
	return safe;
}

/* Who PEER is: a unix socket without a name is known by where it came to. */
static const char *peer_of(const struct cleat_sockaddr *local,
			   const struct cleat_sockaddr *peer, char *safe)
{
	/* Nor can one be asked for its name once it has gone. */
	const bool is_unnamed = peer->len <= sizeof(peer->any.sa_family);

	return name_of(is_unnamed && local ? local : peer, safe);
}

void log_listening(const struct log *l, enum cleat_proto proto,
		   const struct cleat_sockaddr *local)
{
	char text[CLEAT_ADDR_MAX], message[MESSAGE_MAX];
	const char *name = name_of(local, text), *prefix = "";

	if (proto == CLEAT_UDP)
		prefix = "udp://";
	if (proto == CLEAT_UNIXGRAM) {
		prefix = "unixgram:";
		name += strlen("unix:");
	}
	(void)snprintf(message, sizeof(message), "listening on %s%s", prefix,
		       name);
	log_write(l, LOG_INFO, message,
		  LOG_FIELDS(l, "{s:s,s:s+}", "event", "listening", "local",
			     prefix, name));
}

void log_accepted(const struct log *l, const struct cleat_sockaddr *local,
		  const struct cleat_sockaddr *peer)
{
	char here[CLEAT_ADDR_MAX], there[CLEAT_ADDR_MAX], message[MESSAGE_MAX];

	if (!log_wants(l, LOG_INFO))
		return;
	(void)snprintf(message, sizeof(message), "accepted %s",
		       peer_of(local, peer, there));
	log_write(l, LOG_INFO, message,
		  LOG_FIELDS(l, "{s:s,s:s*,s:s}", "event", "accepted", "local",
			     name_of(local, here), "peer", there));
}

void log_no_memory(const struct log *l, const struct cleat_sockaddr *local,
		   const struct cleat_sockaddr *peer)
{
	char there[CLEAT_ADDR_MAX], message[MESSAGE_MAX];

	(void)snprintf(message, sizeof(message),
		       "cannot answer %s: out of memory",
		       peer_of(local, peer, there));
	log_write(l, LOG_WARNING, message,
		  LOG_FIELDS(l, "{s:s,s:s,s:s}", "event", "dropped", "peer",
			     there, "error", cleat_strerror(-ENOMEM)));
}

static const char *end_of(int error, bool is_told)
{
	if (error == -ECONNABORTED && !is_told)
		return "its process has crashed or was killed";
	if (error == -EAGAIN) /* of CLEAT_SERVE_THREADS: see cleat/serve.h */
		return "no thread was to be had";
	return error ? cleat_strerror(error) : NULL;
}

void log_ended(const struct log *l, const struct cleat_sockaddr *local,
	       const struct cleat_sockaddr *peer,
	       const struct cleat_counts *bytes, int64_t duration_ns, int error,
	       bool is_fault)
{
	char here[CLEAT_ADDR_MAX], there[CLEAT_ADDR_MAX], message[MESSAGE_MAX];
	char counts[64] = "";
	const double ms = (double)duration_ns / (double)CLEAT_MSEC;
	const enum log_level level = is_fault ? LOG_WARNING : LOG_INFO;
	const char *why;

	if (!log_wants(l, level))
		return;
	why = end_of(error, bytes != NULL);
	if (bytes)
		(void)snprintf(counts, sizeof(counts),
			       "received %ju bytes, sent %ju, ",
			       (uintmax_t)bytes->received,
			       (uintmax_t)bytes->sent);
	(void)snprintf(message, sizeof(message), "ended %s: %s%.3f ms%s%s",
		       peer_of(local, peer, there), counts, ms, why ? ": " : "",
		       why ? why : "");
	log_write(
		l, level, message,
		LOG_FIELDS(l, "{s:s,s:s*,s:s,s:o?,s:o?,s:f,s:s*}", "event",
			   "ended", "local", name_of(local, here), "peer",
			   there, "received",
			   bytes ? json_integer((json_int_t)bytes->received)
				 : NULL,
			   "sent",
			   bytes ? json_integer((json_int_t)bytes->sent) : NULL,
			   "duration_ms", ms, "error", why));
}
