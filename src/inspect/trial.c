/* SPDX-License-Identifier: MIT */
#include <cleat/inspect.h>

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/sys.h"
#include "inspect/advice.h"
#include "inspect/overlap.h"

struct verdict {
	struct cleat_trial pub;
	struct cleat_sockets *seen; /* owners are in here */
	struct cleat_socket *blockers;
	size_t n_blockers;
	enum cleat__path path;
	const char *advice[CLEAT__ADVICE_MAX];
	struct cleat__story story;
};

enum {
	REUSEADDR = 1,
	REUSEPORT = 2
};

static bool is_unix(const struct cleat_bind *b)
{
	return b->at.any.sa_family == AF_UNIX;
}

static bool is_path(const struct cleat_bind *b)
{
	return is_unix(b) &&
	       b->at.len > offsetof(struct sockaddr_un, sun_path) &&
	       b->at.un.sun_path[0] != '\0';
}

static bool is_bindable(const struct cleat_bind *b)
{
	const int family = b->at.any.sa_family;

	if (b->at.len == 0)
		return false;
	if (b->proto == CLEAT_UNIX || b->proto == CLEAT_UNIXGRAM)
		return family == AF_UNIX;
	return family == AF_INET || family == AF_INET6;
}

static int open_socket(const struct cleat_bind *b)
{
	const bool is_dgram =
		b->proto == CLEAT_UDP || b->proto == CLEAT_UNIXGRAM;

	return sys_socket(b->at.any.sa_family,
			  is_dgram ? SOCK_DGRAM : SOCK_STREAM, 0);
}

static int prepare(int fd, const struct cleat_bind *b, unsigned options)
{
	int err = 0;

	if (b->at.any.sa_family == AF_INET6)
		err = cleat_set(fd, CLEAT_V6ONLY, b->v6only);
	if (err == 0 && b->device != 0)
		err = cleat_set(fd, CLEAT_DEVICE, (int)b->device);
	if (err == 0 && options & REUSEADDR)
		err = cleat_set(fd, CLEAT_REUSEADDR, 1);
	if (err == 0 && options & REUSEPORT)
		err = cleat_set(fd, CLEAT_REUSEPORT, 1);
	return err;
}

/* Bind, and let go at once. */
static int try_bind(const struct cleat_bind *b, unsigned options)
{
	int fd = open_socket(b);
	int err;

	if (fd < 0)
		return fd;
	err = is_unix(b) ? 0 : prepare(fd, b, options);
	if (err == 0)
		err = sys_bind(fd, &b->at.any, b->at.len);
	if (err == 0 && is_path(b))
		(void)unlink(b->at.un.sun_path); /* just made */
	sys_close(fd);
	return err;
}

/* Says something about us, and nothing about the address. */
static bool is_ours(int err)
{
	return err == -EMFILE || err == -ENFILE || err == -ENOMEM;
}

static int try_with(bool *can, const struct cleat_bind *b, unsigned options)
{
	const int err = try_bind(b, options);

	*can = err == 0;
	return is_ours(err) ? err : 0;
}

/* What can be bound can also be listened on: at listen() the kernel looks for
 * the same conflicts again, and a listener that shares by SO_REUSEADDR alone
 * was in the way of the bind already.  Without an option, if that does, nothing
 * is in the way.
 *
 * Both options at once allow TCP whatever one allows, and are left out then: a
 * bind with both that SO_REUSEADDR made possible lets one with SO_REUSEPORT
 * pass from then on (inet_csk_update_fastreuse() of Linux 6.18), and one with
 * SO_REUSEADDR alone ends that, so comes first.  Of UDP the first socket that
 * shares by SO_REUSEPORT decides (udp_lib_lport_inuse2()), and SO_REUSEADDR may
 * well be passing over it.
 */
static int try_all(struct cleat_trial *t, const struct cleat_bind *b)
{
	int err;

	t->error = try_bind(b, 0);
	if (is_ours(t->error))
		return t->error;
	t->none = t->reuseaddr = t->reuseport = t->both = t->error == 0;
	if (t->none || is_unix(b))
		return 0;
	err = try_with(&t->reuseaddr, b, REUSEADDR);
	if (err == 0)
		err = try_with(&t->reuseport, b, REUSEPORT);
	t->both = t->reuseaddr || t->reuseport;
	if (err == 0 && (!t->both || b->proto == CLEAT_UDP))
		err = try_with(&t->both, b, REUSEADDR | REUSEPORT);
	return err;
}

/* Listeners first, and last what goes away by itself. */
static unsigned rank(const struct cleat_socket *s)
{
	if (s->state == CLEAT_STATE_LISTEN)
		return 0;
	if (s->state == CLEAT_STATE_BOUND)
		return 1;
	return s->state == CLEAT_STATE_TIME_WAIT ? 3 : 2;
}

static void insert(struct verdict *v, const struct cleat_socket *s)
{
	size_t i = v->n_blockers++;

	for (; i > 0 && rank(&v->blockers[i - 1]) > rank(s); i--)
		v->blockers[i] = v->blockers[i - 1];
	v->blockers[i] = *s;
}

static unsigned kind_of(const struct cleat_bind *b)
{
	if (is_unix(b))
		return CLEAT_KIND_UNIX;
	return b->proto == CLEAT_UDP ? CLEAT_KIND_UDP : CLEAT_KIND_TCP;
}

/* Whether S is bound to FILE, however either is called.  Where a file system
 * has several devices, stat(2) does not tell the one that sockets have; there
 * the name has to be the same.  What has been accepted shares the listener's.
 */
static bool has_file(const struct cleat_socket *s, const struct cleat_bind *b,
		     const struct stat *file)
{
	return s->file_inode != 0 && s->file_inode == (unsigned)file->st_ino &&
	       (s->file_device == file->st_dev || cleat__overlaps(s, b)) &&
	       (s->type == SOCK_DGRAM || s->state != CLEAT_STATE_ESTABLISHED);
}

static int find_blockers(struct verdict *v, const struct cleat_bind *b)
{
	const struct cleat_query q = {
		.kinds = kind_of(b),
		.port = cleat_sockaddr_port(&b->at),
	};
	const bool is_file = is_path(b);
	struct stat file;
	int err = cleat_sockets_new(&v->seen, &q);

	if (err < 0)
		return err;
	if (is_file && lstat(b->at.un.sun_path, &file) < 0)
		return 0; /* it has just gone */
	v->blockers = calloc(v->seen->n + 1, sizeof(*v->blockers));
	if (!v->blockers)
		return -ENOMEM;
	for (size_t i = 0; i < v->seen->n; i++) {
		const struct cleat_socket *s = &v->seen->v[i];

		if (is_file ? has_file(s, b, &file) : cleat__overlaps(s, b))
			insert(v, s);
	}
	v->pub.blockers = v->blockers;
	v->pub.n_blockers = v->n_blockers;
	return 0;
}

/* Whether anybody has the socket of this file.  A datagram socket that connects
 * does not disturb him: it is accepted by nobody, or refused for its type.
 */
static enum cleat__path look_at_path(const struct cleat_bind *b)
{
	struct stat st;
	int fd, err;

	if (lstat(b->at.un.sun_path, &st) < 0)
		return CLEAT__PATH_FREE;
	if (!S_ISSOCK(st.st_mode))
		return CLEAT__PATH_OTHER;
	fd = sys_socket(AF_UNIX, SOCK_DGRAM, 0);
	if (fd < 0)
		return CLEAT__PATH_SERVED;
	err = sys_connect(fd, &b->at.any, b->at.len);
	sys_close(fd);
	return err == -ECONNREFUSED ? CLEAT__PATH_LEFT : CLEAT__PATH_SERVED;
}

static int judge(struct verdict *v, const struct cleat_bind *b)
{
	const bool has_port = cleat_sockaddr_port(&b->at) != 0 || is_unix(b);
	int err = try_all(&v->pub, b);

	if (err == 0 && v->pub.error == -EADDRINUSE && is_path(b))
		v->path = look_at_path(b);
	/* A port may be for the privileged, and taken as well. */
	if (err == 0 && has_port &&
	    (v->pub.error == -EADDRINUSE || v->pub.error == -EACCES))
		err = find_blockers(v, b);
	return err;
}

int cleat_trial_new(struct cleat_trial **t, const struct cleat_bind *b)
{
	struct verdict *v;
	int err;

	if (!is_bindable(b))
		return cleat__fail(-EINVAL, "try to bind", NULL,
				   "not an address of this protocol");
	v = calloc(1, sizeof(*v));
	if (!v)
		return cleat__fail_at(-ENOMEM, "try to bind", &b->at);
	err = judge(v, b);
	if (err < 0) {
		cleat_trial_free(&v->pub);
		return cleat__fail_at(err, "try to bind", &b->at);
	}
	v->pub.n_advice = cleat__advise(&v->story, &v->pub, b, v->path,
					&v->pub.summary, v->advice);
	v->pub.advice = v->advice;
	*t = &v->pub;
	return 0;
}

void cleat_trial_free(struct cleat_trial *t)
{
	struct verdict *v = (struct verdict *)t; /* its first member */

	if (!v)
		return;
	cleat_sockets_free(v->seen);
	free(v->blockers);
	free(v);
}
