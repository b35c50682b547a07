/* SPDX-License-Identifier: MIT */
#include "inspect/words.h"

#include <net/if.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void cleat__say(struct cleat__story *st, const char *format, ...)
{
	const size_t room = sizeof(st->text) - st->end;
	const size_t before = st->end;
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(st->text + st->end, room, format, args);
	va_end(args);
	if (n > 0)
		st->end += (size_t)n < room ? (size_t)n : room - 1;
	for (size_t i = before; i < st->end; i++) {
		const unsigned char c = (unsigned char)st->text[i];

		if (c < ' ' || c == 127)
			st->text[i] = '?';
	}
}

const char *cleat__said(struct cleat__story *st)
{
	const char *line = st->text + st->start;

	st->text[st->end] = '\0';
	if (st->end + 1 < sizeof(st->text))
		st->end++;
	st->start = st->end;
	return line;
}

/* Who has a socket of which no owner is seen. */
static const char *nobody(const struct cleat_socket *s)
{
	if (s->inode != 0)
		return "a process that is not for us to see";
	if (s->state == CLEAT_STATE_SYN_RECEIVED)
		return "the kernel, for a connection being made,";
	return "the kernel, for a process that has closed it,";
}

void cleat__say_owner(struct cleat__story *st, const struct cleat_socket *s)
{
	const struct cleat_owner *o = s->owners;
	unsigned more = 0;

	if (s->n_owners == 0) {
		cleat__say(st, "%s (user id %u)", nobody(s), (unsigned)s->uid);
		return;
	}
	for (unsigned i = 1; i < s->n_owners; i++)
		more += o[i].pid != o[i - 1].pid;
	cleat__say(st, "%.*s (pid %d",
		   (int)strnlen(o->command, sizeof(o->command)), o->command,
		   (int)o->pid);
	if (more > 0)
		cleat__say(st, " and %u more", more);
	cleat__say(st, ")");
}

void cleat__say_addr(struct cleat__story *st, const struct cleat_sockaddr *sa)
{
	char text[CLEAT_ADDR_MAX];

	/* It has room for any. */
	(void)cleat_sockaddr_format(sa, text, sizeof(text));
	cleat__say(st, "%s", text);
}

void cleat__say_ip(struct cleat__story *st, const struct cleat_sockaddr *sa)
{
	char text[CLEAT_ADDR_MAX], *start = text, *end;

	(void)cleat_sockaddr_format(sa, text, sizeof(text)); /* as above */
	end = strrchr(text, ':');
	if (end)
		*end = '\0';
	if (text[0] == '[') {
		start++;
		text[strlen(text) - 1] = '\0';
	}
	cleat__say(st, "%s", start);
}

void cleat__say_device(struct cleat__story *st, unsigned device)
{
	char name[IF_NAMESIZE];

	if (if_indextoname(device, name))
		cleat__say(st, "%s", name);
	else
		cleat__say(st, "interface %u", device);
}

void cleat__say_socket(struct cleat__story *st, const struct cleat_socket *s)
{
	cleat__say_owner(st, s);
	cleat__say(st, " on ");
	cleat__say_addr(st, &s->local);
	if (s->device != 0) {
		cleat__say(st, " at ");
		cleat__say_device(st, s->device);
	}
}
