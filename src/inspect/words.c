/* SPDX-License-Identifier: MIT */
#include "inspect/words.h"

#include <net/if.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define PIECE_MAX 1024

static void add(struct cleat__story *st, unsigned char c)
{
	const bool is_control = c < ' ' || c == 127;
	const size_t room = sizeof(st->text) - st->end;
	const size_t n = (size_t)snprintf(st->text + st->end, room,
					  is_control ? "\\x%02x" : "%c", c);

	st->end += n < room ? n : room - 1;
}

void cleat__say(struct cleat__story *st, const char *format, ...)
{
	char piece[PIECE_MAX];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(piece, sizeof(piece), format, args);
	va_end(args);
	for (const char *c = piece; *c; c++)
		add(st, (unsigned char)*c);
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

bool cleat__is_waiting(const struct cleat_socket *s)
{
	return s->inode == 0 && (s->state == CLEAT_STATE_ESTABLISHED ||
				 s->state == CLEAT_STATE_CLOSE_WAIT);
}

/* Who has a socket of which no owner is seen. */
static void say_nobody(struct cleat__story *st, const struct cleat_socket *s)
{
	if (s->inode != 0)
		cleat__say(st,
			   "a process that is not for us to see "
			   "(user id %u)",
			   (unsigned)s->uid);
	else if (s->state == CLEAT_STATE_SYN_RECEIVED)
		cleat__say(st, "the kernel, for a connection being made,");
	else if (cleat__is_waiting(s))
		cleat__say(st,
			   "the kernel, for a connection not accepted yet,");
	else
		cleat__say(st, "the kernel, for a process that has closed it,");
}

void cleat__say_owner(struct cleat__story *st, const struct cleat_socket *s)
{
	const struct cleat_owner *o = s->owners;
	unsigned more = 0;

	if (s->n_owners == 0) {
		say_nobody(st, s);
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
