/* SPDX-License-Identifier: MIT */
/* What cleat who and cleat why have in common: texts about sockets, as wide as
 * the terminal, and parts of JSON objects. */
#ifndef CMD_ANSWER_H
#define CMD_ANSWER_H

#include <stddef.h>

#include <jansson.h>

#include <cleat/addr.h>
#include <cleat/inspect.h>

#include "opt.h"

enum {
	ANSWER_LIST_MAX = 8, /* sockets of a list that people are shown */
};

/* clang-format off */
#define OPT_DEVICE(type, member, help) \
	{ 0, "device", opt_device, offsetof(type, member), "DEV", help }
/* clang-format on */
opt_parser opt_device; /* unsigned: the index of a network interface */

/* answer_width - columns of the terminal, or as if there were one. */
size_t answer_width(void);

/* answer_indented - print FIRST, indented, and TEXT behind it, escaped, broken
 * at blanks to fit the terminal; later lines stand below the start of TEXT.  On
 * a narrow one they do not, and words are broken too. */
void answer_indented(const char *first, const char *text);

/* answer_socket - "nginx (pid 812, fd 6) listening on 0.0.0.0:80", cut to fit
 * LEN. */
void answer_socket(char *to, size_t len, const struct cleat_socket *s);

/* answer_list - print the N sockets at V, each behind FIRST; the last line says
 * how many it leaves out. */
void answer_list(const char *first, const struct cleat_socket *v, size_t n);

/* answer_json - the parts of a JSON object; answer_json_address() has no port,
 * and answer_json_port() is null for what has none. */
json_t *answer_json_text(const char *text);
json_t *answer_json_address(const struct cleat_sockaddr *sa);
json_t *answer_json_port(const struct cleat_sockaddr *sa);
json_t *answer_json_sockets(const struct cleat_socket *v, size_t n);

/* answer_json_print - one line on stdout; O is let go of. */
void answer_json_print(json_t *o);

/* answer_proto - "tcp", as JSON has it. */
const char *answer_proto(enum cleat_proto proto);

/* answer_address - ADDR as text, with its protocol unless that is the usual
 * one: "127.0.0.1:80", "udp://[::1]:53", "unix:@name". */
void answer_address(char to[CLEAT_ADDR_MAX], enum cleat_proto proto,
		    const struct cleat_sockaddr *sa);

#endif
