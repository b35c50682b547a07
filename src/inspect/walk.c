/* SPDX-License-Identifier: MIT */
#include "inspect/walk.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/sys.h"

/* One walker is done with few processes sooner than a second has started. */
#define WALKERS 2
#define FEW_PIDS 32

/* The kernel's struct linux_dirent64, which no header of libc has. */
struct entry {
	uint64_t inode;
	int64_t offset;
	uint16_t size;
	uint8_t type;
	char name[];
};

/* The entries of a directory that are numbers. */
struct listing {
	int dir;
	ssize_t len, at;
	_Alignas(struct entry) char buf[32 * 1024];
};

/* What the walkers share: the processes, and the inodes that are wanted. */
struct walk {
	int proc;
	pid_t *pids;
	size_t n_pids, room;
	atomic_size_t next;
	const struct cleat__index *wanted;
	bool is_one; /* just one is */
	atomic_flag found;
	atomic_bool is_known;
	struct cleat__hit known;
};

struct walker {
	struct walk *walk;
	struct cleat__hits hits;
	int err;
	pthread_t thread;
	struct listing listing;
};

unsigned cleat__link_inode(const char *link, size_t len)
{
	static const char head[] = "socket:[";
	const size_t before = sizeof(head) - 1;
	uint64_t inode = 0;
	size_t i = before;

	if (len <= before || memcmp(link, head, before) != 0)
		return 0;
	for (; i < len && link[i] >= '0' && link[i] <= '9'; i++) {
		inode = 10 * inode + (unsigned)(link[i] - '0');
		if (inode > UINT32_MAX)
			return 0;
	}
	return i + 1 == len && link[i] == ']' ? (unsigned)inode : 0;
}

/* The name may hold a newline itself; the last one is not part of it. */
void cleat__command_set(char command[16], const char *text, size_t len)
{
	if (len > 0 && text[len - 1] == '\n')
		len--;
	if (len > 15)
		len = 15;
	memcpy(command, text, len);
	command[len] = '\0';
}

/* The number that an entry's name is; -1: another name. */
static int number(const char *name)
{
	int n = 0;

	for (const char *p = name; *p; p++) {
		if (*p < '0' || *p > '9' || n > INT_MAX / 10 - 1)
			return -1;
		n = 10 * n + (*p - '0');
	}
	return name[0] ? n : -1;
}

static int listing_start(struct listing *l, int dir, int place)
{
	l->dir = dir;
	l->len = l->at = 0;
	return sys_seek(dir, place);
}

/* The next name; or NULL, at the end, or if what it lists has gone. */
static const char *listing_next(struct listing *l)
{
	const struct entry *e;

	do {
		if (l->at >= l->len) {
			l->len = sys_getdents(l->dir, l->buf, sizeof(l->buf));
			l->at = 0;
		}
		if (l->len <= 0)
			return NULL;
		e = (const void *)(l->buf + l->at);
		l->at += e->size;
	} while (number(e->name) < 0);
	return e->name;
}

/* A process may end, or be another user's; but without a descriptor to spare
 * everything would look so.
 */
static int vital(int err)
{
	return err == -EMFILE || err == -ENFILE || err == -ENOMEM ? err : 0;
}

static struct cleat__hit *hit_add(struct cleat__hits *h)
{
	if (h->n == h->room) {
		size_t room = h->room ? 2 * h->room : 64;
		void *v = realloc(h->v, room * sizeof(h->v[0]));

		if (!v)
			return NULL;
		h->v = v;
		h->room = room;
	}
	return &h->v[h->n++];
}

/* Whether descriptor FD may be of a socket that is wanted: 1, 0, or -EBADF:
 * there is no such one.  A socket has one open file, however many descriptors
 * (but for what O_PATH makes of /proc/self/fd, which does not keep it open),
 * and to compare files takes half the time that reading a link does; but as
 * often as there are sockets to compare with.
 */
static int may_be_wanted(const struct walk *walk, pid_t pid, int fd)
{
	const struct cleat_owner *o = &walk->known.owner;
	int order;

	if (!atomic_load(&walk->is_known))
		return 1;
	order = sys_kcmp(o->pid, o->fd, pid, fd);
	if (order > 0)
		return 0;
	return order == -EBADF ? order : 1;
}

/* The number of the wanted socket that NAME links to; 0: another, or none; or
 * -errno.
 */
static ssize_t wanted_at(const struct walk *walk, int dir, const char *name)
{
	char link[32];
	ssize_t len = sys_readlinkat(dir, name, link, sizeof(link));
	unsigned inode = len > 0 ? cleat__link_inode(link, (size_t)len) : 0;

	if (inode == 0)
		return len < 0 ? len : 0;
	return (ssize_t)cleat__index_find(walk->wanted, inode);
}

/* Look at descriptor FD, called NAME.  Returns 0, or -errno: no such one, or
 * no memory.
 */
static int note(struct walker *w, int dir, pid_t pid, int fd, const char *name)
{
	ssize_t found = may_be_wanted(w->walk, pid, fd);
	struct cleat__hit *hit;

	if (found > 0)
		found = wanted_at(w->walk, dir, name);
	if (found <= 0)
		return (int)found;
	hit = hit_add(&w->hits);
	if (!hit)
		return -ENOMEM;
	*hit = (struct cleat__hit){ (size_t)found, { .pid = pid, .fd = fd } };
	return 0;
}

/* The digits of N, up to END. */
static const char *digits(char *end, int n)
{
	*--end = '\0';
	do
		*--end = (char)('0' + n % 10);
	while (n /= 10);
	return end;
}

/* To look at the descriptors one after another takes a tenth less time than to
 * list them before, as long as there are few gaps: a gap takes as long as
 * three.  Returns the first that was not looked at, or -errno.  Before Linux
 * 6.2 the directory does not tell how many there are.
 */
static int note_in_turn(struct walker *w, int dir, pid_t pid)
{
	const long long n = sys_size(dir);
	long long found = 0, gaps = 0;
	char room[12];
	int fd = 0;

	for (; found < n && gaps <= n / 8; fd++) {
		const char *name = digits(room + sizeof(room), fd);
		int err = note(w, dir, pid, fd, name);

		if (vital(err))
			return err;
		if (err < 0)
			gaps++;
		else
			found++;
	}
	return fd;
}

/* A descriptor's place in its directory is its number, after "." and "..".  As
 * a rule none is left; but what has been opened and closed meanwhile may have
 * changed how many there are.
 */
static int note_listed(struct walker *w, int dir, pid_t pid, int first)
{
	const char *name;
	int err = listing_start(&w->listing, dir, first + 2);

	while (err == 0 && (name = listing_next(&w->listing)))
		err = vital(note(w, dir, pid, number(name), name));
	return err;
}

/* Name the process behind the directory FDS in all hits from FIRST on.  By way
 * of that directory it is surely the same process still.
 */
static int name_hits(struct walker *w, size_t first, int fds)
{
	char text[64], command[16];
	ssize_t len;
	int fd;

	if (first == w->hits.n)
		return 0;
	fd = sys_openat(fds, "../comm", O_RDONLY);
	if (fd < 0)
		return vital(fd);
	len = sys_read(fd, text, sizeof(text));
	sys_close(fd);
	cleat__command_set(command, text, len > 0 ? (size_t)len : 0);
	for (size_t i = first; i < w->hits.n; i++)
		memcpy(w->hits.v[i].owner.command, command, sizeof(command));
	return 0;
}

/* If there is but one hit in a process, the first after BEFORE, the others are
 * compared with it from now on.  Of two, one may be gone in a moment, and back
 * before that is noticed.
 */
static void make_known(struct walk *walk, const struct cleat__hits *h,
		       size_t before)
{
	if (!walk->is_one || h->n != before + 1 ||
	    atomic_flag_test_and_set(&walk->found))
		return;
	walk->known = h->v[before];
	atomic_store(&walk->is_known, true);
}

static int walk_process(struct walker *w, pid_t pid)
{
	size_t before = w->hits.n;
	char path[32];
	int err, dir;

	(void)snprintf(path, sizeof(path), "%d/fd", pid);
	dir = sys_openat(w->walk->proc, path, O_RDONLY | O_DIRECTORY);
	if (dir < 0)
		return vital(dir);
	err = note_in_turn(w, dir, pid);
	if (err >= 0)
		err = note_listed(w, dir, pid, err);
	if (err == 0)
		err = name_hits(w, before, dir);
	sys_close(dir);
	if (err == 0)
		make_known(w->walk, &w->hits, before);
	return err;
}

static void *walker_main(void *arg)
{
	struct walker *w = arg;
	struct walk *walk = w->walk;
	size_t i = atomic_fetch_add(&walk->next, 1);

	for (; i < walk->n_pids && w->err == 0;
	     i = atomic_fetch_add(&walk->next, 1))
		w->err = walk_process(w, walk->pids[i]);
	return NULL;
}

static int pids_read(struct walk *walk, struct listing *l)
{
	const char *name;
	int err = listing_start(l, walk->proc, 0);

	while (err == 0 && (name = listing_next(l))) {
		if (walk->n_pids == walk->room) {
			size_t room = walk->room ? 2 * walk->room : 256;
			void *v = realloc(walk->pids, room * sizeof(pid_t));

			if (!v)
				return -ENOMEM;
			walk->pids = v;
			walk->room = room;
		}
		walk->pids[walk->n_pids++] = number(name);
	}
	return err;
}

/* What cannot be shared out, for want of a thread, the first does alone. */
static int walk_all(struct walk *walk, struct walker *w)
{
	size_t started = 1;
	int err = pids_read(walk, &w[0].listing);

	if (err < 0)
		return err;
	while (started < WALKERS && walk->n_pids > FEW_PIDS &&
	       sys_thread(&w[started].thread, walker_main, &w[started]) == 0)
		started++;
	(void)walker_main(&w[0]);
	for (size_t i = 1; i < started; i++)
		(void)pthread_join(w[i].thread, NULL); /* it is ours */
	for (size_t i = 0; i < started && err == 0; i++)
		err = w[i].err;
	return err;
}

/* Everything is in the first's hits then. */
static int merge(struct walker *w)
{
	for (size_t k = 1; k < WALKERS; k++) {
		for (size_t i = 0; i < w[k].hits.n; i++) {
			struct cleat__hit *hit = hit_add(&w[0].hits);

			if (!hit)
				return -ENOMEM;
			*hit = w[k].hits.v[i];
		}
	}
	return 0;
}

/* Whether what the others were compared with is there still. */
static bool is_known_still(const struct walk *walk)
{
	const struct cleat__hit *k = &walk->known;
	char path[64];

	(void)snprintf(path, sizeof(path), "%d/fd/%d", k->owner.pid,
		       k->owner.fd);
	return wanted_at(walk, walk->proc, path) == (ssize_t)k->number;
}

static int walk_once(struct cleat__hits *h, struct walk *walk)
{
	struct walker *w = calloc(WALKERS, sizeof(*w));
	int err;

	if (!w)
		return -ENOMEM;
	for (size_t k = 0; k < WALKERS; k++)
		w[k].walk = walk;
	w[0].hits = *h;
	err = walk_all(walk, w);
	if (err == 0)
		err = merge(w);
	*h = w[0].hits;
	for (size_t k = 1; k < WALKERS; k++)
		free(w[k].hits.v);
	free(w);
	free(walk->pids);
	return err;
}

/* If that has gone, others may have been taken for different from it: then once
 * more, without comparing.
 */
static int walk_proc(struct cleat__hits *h, struct walk *walk)
{
	const size_t before = h->n;
	int err = walk_once(h, walk);

	if (err == 0 && walk->is_known && !is_known_still(walk)) {
		struct walk again = { .proc = walk->proc,
				      .wanted = walk->wanted };

		h->n = before;
		err = walk_once(h, &again);
	}
	return err;
}

/* Whether /proc has the processes' numbers that system calls have: it may be
 * another PID namespace's.
 */
static bool is_own_proc(int proc)
{
	char link[16];
	ssize_t len = sys_readlinkat(proc, "self", link, sizeof(link) - 1);

	if (len < 0)
		return false;
	link[len] = '\0';
	return number(link) == getpid();
}

int cleat__walk(struct cleat__hits *h, const struct cleat__index *wanted,
		size_t n)
{
	struct walk walk = { .wanted = wanted, .found = ATOMIC_FLAG_INIT };
	int err;

	walk.proc = sys_openat(AT_FDCWD, "/proc", O_RDONLY | O_DIRECTORY);
	if (walk.proc < 0)
		return vital(walk.proc);
	walk.is_one = n == 1 && is_own_proc(walk.proc);
	err = walk_proc(h, &walk);
	sys_close(walk.proc);
	return err;
}
