/* SPDX-License-Identifier: MIT */
/* Sentences about sockets. */
#ifndef CLEAT_INSPECT_WORDS_H
#define CLEAT_INSPECT_WORDS_H

#include <cleat/inspect.h>

/* Lines, one after the other; what does not fit is cut. */
struct cleat__story {
	char text[4096];
	size_t start, end; /* of the line that is being written */
};

/* cleat__say - add to the line.  None of what is said breaks it: "\x0a". */
void cleat__say(struct cleat__story *st, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* cleat__said - end the line, and return it. */
const char *cleat__said(struct cleat__story *st);

/* cleat__is_waiting - is it a connection that no process has accepted yet? */
bool cleat__is_waiting(const struct cleat_socket *s);

/* cleat__say_owner - "nginx (pid 812)". */
void cleat__say_owner(struct cleat__story *st, const struct cleat_socket *s);

/* cleat__say_addr - "10.0.0.7:80"; cleat__say_ip - without its port. */
void cleat__say_addr(struct cleat__story *st, const struct cleat_sockaddr *sa);
void cleat__say_ip(struct cleat__story *st, const struct cleat_sockaddr *sa);

/* cleat__say_device - "eth0", or the number of one that has no name. */
void cleat__say_device(struct cleat__story *st, unsigned device);

/* cleat__say_socket - whose it is and where: "nginx (pid 812) on [::]:80". */
void cleat__say_socket(struct cleat__story *st, const struct cleat_socket *s);

#endif
