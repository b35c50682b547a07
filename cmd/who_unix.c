/* SPDX-License-Identifier: MIT */
#include "who_unix.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cleat/error.h>

struct who_unix {
	struct cleat_lookup l; /* first: it is what the caller has */
	struct cleat_sockets *all;
	char text[128];
};

static bool has_name(const struct cleat_socket *s,
		     const struct cleat_sockaddr *to)
{
	return s->local.len == to->len &&
	       memcmp(&s->local.un, &to->un, to->len) == 0;
}

/* Whether S is bound to FILE, however either is called.  Where a file system
 * has several devices, stat(2) does not tell the one that sockets have; there
 * the name TO has to be the same. */
static bool has_file(const struct cleat_socket *s, const struct stat *file,
		     const struct cleat_sockaddr *to)
{
	return s->file_inode != 0 && s->file_inode == (unsigned)file->st_ino &&
	       (s->file_device == file->st_dev || has_name(s, to));
}

/* An accepted connection has its listener's name, and receives nothing new. */
static bool can_receive(const struct cleat_socket *s)
{
	return s->type == SOCK_DGRAM || s->state == CLEAT_STATE_LISTEN;
}

/* What listens at TO, of any type; or NULL.  FILE is NULL for an abstract name,
 * which sockets of each type may have. */
static const struct cleat_socket *find(const struct cleat_sockets *all,
				       const struct cleat_sockaddr *to,
				       const struct stat *file, int type)
{
	const struct cleat_socket *found = NULL;

	for (size_t i = 0; i < all->n; i++) {
		const struct cleat_socket *s = &all->v[i];

		if (can_receive(s) &&
		    (file ? has_file(s, file, to) : has_name(s, to)) &&
		    (!found || s->type == type))
			found = s;
	}
	return found;
}

/* Why TO refuses, if no socket is there; ERROR is that of stat(2). */
static void tell_absence(struct who_unix *u, const struct cleat_sockaddr *to,
			 const struct stat *file, int error)
{
	if (to->un.sun_path[0] == '\0') {
		u->l.explanation =
			"no socket of this network namespace has that name.";
	} else if (error) {
		(void)snprintf(u->text, sizeof(u->text),
			       "the path cannot be reached: %s.",
			       cleat_strerror(error));
		u->l.explanation = u->text;
	} else if (!S_ISSOCK(file->st_mode)) {
		u->l.explanation = "the file is not a socket.";
	} else {
		u->l.explanation =
			"the file is there, but no socket of this network "
			"namespace is seen to be bound to it: a program that "
			"has ended left it behind, or one of another "
			"namespace has it.";
	}
}

static const char *type_mismatch(int has)
{
	switch (has) {
	case SOCK_STREAM:
		return "the socket that is bound there takes connections, not "
		       "datagrams.";
	case SOCK_DGRAM:
		return "the socket that is bound there takes datagrams, not "
		       "connections.";
	default:
		return "the socket that is bound there takes sequenced "
		       "packets.";
	}
}

/* How S, which is bound there, answers who wants a socket of TYPE. */
static void judge(struct cleat_lookup *l, const struct cleat_socket *s,
		  int type)
{
	l->answer = CLEAT_ANSWER_REFUSED;
	if (s->type != type) {
		l->explanation = type_mismatch(s->type);
		return;
	}
	l->receivers = s;
	l->n_receivers = 1;
	if (s->state == CLEAT_STATE_LISTEN && s->queue_used > s->queue_max) {
		l->answer = CLEAT_ANSWER_DROPPED;
		l->explanation = "its accept queue is full: whoever connects "
				 "waits until there is room.";
		return;
	}
	l->answer = CLEAT_ANSWER_ONE;
	l->explanation = s->file_inode != 0
				 ? "it is bound to the file that is there; no "
				   "other socket can be."
				 : "it is bound to this name; unix addresses "
				   "have no wildcards, so that there is no "
				   "other.";
}

int who_unix_new(struct cleat_lookup **l, int type,
		 const struct cleat_sockaddr *to)
{
	const struct cleat_query q = { .kinds = CLEAT_KIND_UNIX };
	const bool is_path = to->un.sun_path[0] != '\0';
	struct who_unix *u = calloc(1, sizeof(*u));
	const struct cleat_socket *s = NULL;
	struct stat file;
	int err = 0, stat_error = 0;

	if (!u)
		return -ENOMEM;
	err = cleat_sockets_new(&u->all, &q);
	if (err < 0) {
		free(u);
		return err;
	}
	if (is_path && stat(to->un.sun_path, &file) < 0)
		stat_error = errno;
	if (!stat_error)
		s = find(u->all, to, is_path ? &file : NULL, type);
	u->l.answer = CLEAT_ANSWER_REFUSED;
	if (s)
		judge(&u->l, s, type);
	else
		tell_absence(u, to, &file, stat_error);
	*l = &u->l;
	return 0;
}

void who_unix_free(struct cleat_lookup *l)
{
	struct who_unix *u = (struct who_unix *)l;

	if (!u)
		return;
	cleat_sockets_free(u->all);
	free(u);
}
