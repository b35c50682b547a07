/* SPDX-License-Identifier: MIT */
/* Log lines of commands that serve, on stderr, each in one write(2). */
#ifndef CMD_LOG_H
#define CMD_LOG_H

#include <stdbool.h>

#include <jansson.h>

#include <cleat/addr.h>
#include <cleat/conn.h>

#include "opt.h"

enum log_level {
	LOG_INFO,
	LOG_WARNING,
};

enum log_format {
	LOG_TEXT, /* 17-09-2025 11:42:00 - INFO - serve - listening on ... */
	LOG_JSON, /* {"time":...,"level":...,"name":...,"message":...} */
};

struct log {
	const char *name; /* of the command */
	enum log_format format;
	bool quiet; /* nothing below LOG_WARNING */
};

opt_parser opt_log_format; /* enum log_format */

/* log_wants - whether LEVEL is written at all: ask before formatting. */
bool log_wants(const struct log *l, enum log_level level);

/* log_write - one line.  FIELDS, an object or NULL, is freed; it goes into a
 * LOG_JSON line, after the keys above. */
void log_write(const struct log *l, enum log_level level, const char *message,
	       json_t *fields);

/* LOG_FIELDS - an object made by json_pack(), if L wants one. */
#define LOG_FIELDS(l, ...)                                                     \
	((l)->format == LOG_JSON ? json_pack(__VA_ARGS__) : NULL)

/* What is said of endpoints and connections, the same in every command. */
void log_listening(const struct log *l, enum cleat_proto proto,
		   const struct cleat_sockaddr *local);
void log_accepted(const struct log *l, const struct cleat_sockaddr *local,
		  const struct cleat_sockaddr *peer);
/* PEER, who came to LOCAL or NULL, gets no answer. */
void log_no_memory(const struct log *l, const struct cleat_sockaddr *local,
		   const struct cleat_sockaddr *peer);
/* A warning if IS_FAULT.  BYTES may be NULL, where they are not known: of a
 * process that was killed (ERROR is -ECANCELED) or crashed (-ECONNABORTED). */
void log_ended(const struct log *l, const struct cleat_sockaddr *local,
	       const struct cleat_sockaddr *peer,
	       const struct cleat_counts *bytes, int64_t duration_ns, int error,
	       bool is_fault);

#endif
