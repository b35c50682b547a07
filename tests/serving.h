/* SPDX-License-Identifier: MIT */
/* A server to test, and clients that are plain sockets, independent of the
 * library.
 */
#ifndef TESTS_SERVING_H
#define TESTS_SERVING_H

#include "both.h"
#include "held.h"

#include <cleat/frame.h>
#include <cleat/serve.h>

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>

#define HOUR (3600 * CLEAT_SEC)

static const enum cleat_serve_mode modes[] = {
	CLEAT_SERVE_FIBERS,
	CLEAT_SERVE_ONE,
	CLEAT_SERVE_THREADS,
	CLEAT_SERVE_PROCESSES,
};

static const char *const loopback[] = { "127.0.0.1:0", NULL };

/* A server on a thread of its own.  Its events come through a pipe, since those
 * of a child process would come no other way.
 */
struct event {
	enum cleat_serve_what what;
	int error;
	bool is_fault;
	enum cleat_proto proto;
	struct cleat_sockaddr local, peer;
	struct cleat_counts bytes;
	int64_t duration_ns;
	unsigned active;
};

#define EVENTS_MAX 1024

struct server {
	struct cleat_service service;
	struct cleat_serve_options opt;
	pthread_t thread;
	int result;
	int stop[2], events[2];
	struct event seen[EVENTS_MAX];
	unsigned n_seen, n_read; /* those that wait_event() has returned */
};

static inline void tell(const struct cleat_serve_event *e, void *arg)
{
	const struct server *s = arg;
	struct event note = {
		.what = e->what,
		.error = e->error,
		.is_fault = e->is_fault,
		.proto = e->proto,
		.bytes = e->bytes,
		.duration_ns = e->duration_ns,
		.active = e->active,
	};

	if (e->local)
		note.local = *e->local;
	if (e->peer)
		note.peer = *e->peer;
	/* Less than PIPE_BUF: in one piece. */
	if (write(s->events[1], &note, sizeof(note)) != sizeof(note))
		abort();
}

static inline bool read_event(struct server *s)
{
	struct pollfd p = { .fd = s->events[0], .events = POLLIN };
	struct event *to = &s->seen[s->n_seen];

	assert_true(s->n_seen < EVENTS_MAX);
	if (poll(&p, 1, 20000) != 1 ||
	    read(s->events[0], to, sizeof(*to)) != sizeof(*to))
		return false;
	s->n_seen++;
	return true;
}

/* The next event of that kind, after those that were waited for before. */
static const struct event *wait_event(struct server *s,
				      enum cleat_serve_what what)
{
	for (;;) {
		while (s->n_read < s->n_seen) {
			const struct event *e = &s->seen[s->n_read++];

			if (e->what == what)
				return e;
		}
		if (!read_event(s))
			fail_msg("no event %d came, of %u", (int)what,
				 s->n_seen);
	}
}

static inline unsigned count_events(const struct server *s,
				    enum cleat_serve_what what)
{
	unsigned n = 0;

	for (unsigned i = 0; i < s->n_seen; i++)
		n += s->seen[i].what == what;
	return n;
}

static inline void *server_main(void *arg)
{
	struct server *s = arg;

	s->result = cleat_serve(&s->service, &s->opt);
	return NULL;
}

static inline void server_init(struct server *s, enum cleat_serve_mode mode,
			       const char *const *addrs)
{
	memset(s, 0, sizeof(*s));
	assert_int_equal(pipe2(s->stop, O_CLOEXEC), 0);
	assert_int_equal(pipe2(s->events, O_CLOEXEC), 0);
	s->opt = (struct cleat_serve_options){
		.backend = both_backend(),
		.addrs = addrs,
		.mode = mode,
		.workers = 1,
		.drain_ns = HOUR,
		.stop_fd = s->stop[0],
		.event = tell,
		.event_arg = s,
	};
	s->result = 1;
}

static inline void server_start(struct server *s)
{
	assert_int_equal(pthread_create(&s->thread, NULL, server_main, s), 0);
}

static inline void server_stop(const struct server *s)
{
	assert_int_equal(write(s->stop[1], "x", 1), 1);
}

/* What is left in the pipe is noted, too. */
static inline void server_join(struct server *s)
{
	assert_int_equal(pthread_join(s->thread, NULL), 0);
	(void)close(s->events[1]);
	while (read_event(s))
		;
	(void)close(s->events[0]);
	(void)close(s->stop[0]);
	(void)close(s->stop[1]);
}

static inline void server_end(struct server *s)
{
	server_stop(s);
	server_join(s);
	assert_int_equal(s->result, 0);
}

/* Clients */

static inline struct cleat_sockaddr where(struct server *s)
{
	return wait_event(s, CLEAT_SERVE_LISTENING)->local;
}

static inline int open_client(const struct cleat_sockaddr *to, int type)
{
	int fd = socket(to->any.sa_family, type | SOCK_CLOEXEC, 0);
	struct timeval patience = { .tv_sec = 20 };

	assert_true(fd >= 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience,
				    sizeof(patience)),
			 0);
	return fd;
}

static inline int dial(const struct cleat_sockaddr *to)
{
	int fd = open_client(to, SOCK_STREAM);

	assert_int_equal(connect(fd, &to->any, to->len), 0);
	return fd;
}

static inline void say(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL),
			 strlen(text));
}

static inline void hear(int fd, const char *text)
{
	char buf[256] = "";
	size_t len = strlen(text), n = 0;
	ssize_t got = 1;

	while (n < len && got > 0) {
		do /* valgrind lets a child's end interrupt */
			got = recv(fd, buf + n, len - n, 0);
		while (got < 0 && errno == EINTR);
		n += got > 0 ? (size_t)got : 0;
	}
	assert_string_equal(buf, text);
}

static inline void talk(int fd, const char *text)
{
	say(fd, text);
	hear(fd, text);
}

/* A close alone would not do: forked handlers have a copy of what clients had
 * open here.
 */
static inline void hang_up(int fd)
{
	(void)shutdown(fd, SHUT_RDWR); /* or the server was first */
	(void)close(fd);
}

static inline void reset(int fd)
{
	const struct linger none = { .l_onoff = 1 };

	assert_int_equal(
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none)), 0);
	(void)close(fd);
}

/* The end of the stream, one way or the other, and no byte before. */
static inline void hear_end(int fd)
{
	char c;
	ssize_t n;

	do
		n = recv(fd, &c, 1, 0);
	while (n < 0 && errno == EINTR);
	if (n > 0 || (n < 0 && errno != ECONNRESET))
		fail_msg("no end came: %zd, %s", n, strerror(errno));
}

static inline bool has_word(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, 0) == 1;
}

/* What is tried until it comes true shall not fill the pipe of events. */
static inline void before_another_try(struct server *s)
{
	while (has_word(s->events[0]))
		assert_true(read_event(s));
	ok(cleat_sleep(cleat_in(CLEAT_MSEC)));
}

/* Handlers: the same for all modes.  What they share with the test lies in
 * memory that survives a fork.
 */
struct shared {
	atomic_int now, most, calls;
};

static inline struct shared *shared_new(void)
{
	struct shared *sh = mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_true(sh != MAP_FAILED);
	return sh;
}

static inline void shared_free(struct shared *sh)
{
	assert_int_equal(munmap(sh, sizeof(*sh)), 0);
}

static inline void calls_are(struct shared *sh, int n)
{
	assert_int_equal(atomic_load(&sh->calls), n);
}

static inline void shared_enter(struct shared *sh)
{
	int now, most;

	if (!sh)
		return;
	atomic_fetch_add(&sh->calls, 1);
	now = atomic_fetch_add(&sh->now, 1) + 1;
	most = atomic_load(&sh->most);
	while (now > most &&
	       !atomic_compare_exchange_weak(&sh->most, &most, now))
		;
}

static inline void shared_leave(struct shared *sh)
{
	if (sh)
		atomic_fetch_sub(&sh->now, 1);
}

static inline void echo(struct cleat_conn *c, void *arg)
{
	const void *data;
	ssize_t n;

	shared_enter(arg);
	while ((n = cleat_view(c, &data, CLEAT_FOREVER)) > 0 &&
	       cleat_send(c, data, (size_t)n, CLEAT_FOREVER) == 0)
		;
	shared_leave(arg);
}

static inline void echo_dgram(struct cleat_dgram *d,
			      const struct cleat_sockaddr *from, void *data,
			      size_t len, void *arg)
{
	(void)arg;
	(void)cleat_sendto(d, data, len, from, CLEAT_FOREVER);
}

static inline void return_at_once(struct cleat_conn *c, void *arg)
{
	(void)c;
	(void)arg;
}

/* A server's own socket, as it is handed over. */
static inline int listen_here(struct cleat_sockaddr *at)
{
	struct sockaddr_in in = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd =
		socket(AF_INET, SOCK_STREAM, 0); /* as inherited: not CLOEXEC */

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	assert_int_equal(listen(fd, 100), 0);
	at->len = sizeof(at->storage);
	assert_int_equal(getsockname(fd, &at->any, &at->len), 0);
	return fd;
}

static inline int highest_fd(void)
{
	int fd = dup(0);

	assert_true(fd >= 0);
	hang_up(fd);
	return fd;
}

/* An address of each kind. */
struct kinds {
	char dir[64], path[96], gram_path[96], abstract[96];
	char unix_addr[128], gram_addr[128];
	const char *addrs[8];
};

static inline void kinds_open(struct kinds *k)
{
	(void)snprintf(k->dir, sizeof(k->dir), "/tmp/cleat-serve-XXXXXX");
	assert_non_null(mkdtemp(k->dir));
	(void)snprintf(k->path, sizeof(k->path), "%s/stream", k->dir);
	(void)snprintf(k->gram_path, sizeof(k->gram_path), "%s/gram", k->dir);
	(void)snprintf(k->unix_addr, sizeof(k->unix_addr), "unix:%s", k->path);
	(void)snprintf(k->gram_addr, sizeof(k->gram_addr), "unixgram:%s",
		       k->gram_path);
	(void)snprintf(k->abstract, sizeof(k->abstract), "unix:@%s", k->dir);
	k->addrs[0] = "127.0.0.1:0";
	k->addrs[1] = "udp://127.0.0.1:0";
	k->addrs[2] = k->unix_addr;
	k->addrs[3] = k->gram_addr;
	k->addrs[4] = k->abstract;
	k->addrs[5] = NULL;
}

static inline void kinds_close(const struct kinds *k)
{
	assert_int_equal(access(k->path, F_OK), -1);
	assert_int_equal(access(k->gram_path, F_OK), -1);
	assert_int_equal(rmdir(k->dir), 0);
}

static inline void ask_stream(struct server *s, const struct cleat_sockaddr *to)
{
	const struct event *e;
	int fd = dial(to);

	talk(fd, "hello");
	talk(fd, "and again");
	e = wait_event(s, CLEAT_SERVE_ACCEPTED);
	assert_true(e->active >= 1);
	hang_up(fd);
	e = wait_event(s, CLEAT_SERVE_ENDED);
	assert_int_equal(e->error, 0);
	assert_int_equal(e->bytes.received, 14);
	assert_int_equal(e->bytes.sent, 14);
	assert_true(e->duration_ns >= 0 && e->duration_ns < HOUR);
}

/* A unix socket needs a NAME to be answered. */
static inline void ask_dgram(const struct cleat_sockaddr *to, const char *name)
{
	struct cleat_sockaddr me = { .len = sizeof(sa_family_t) };
	int fd = open_client(to, SOCK_DGRAM);

	if (name) {
		me.un.sun_family = AF_UNIX;
		(void)snprintf(me.un.sun_path + 1, sizeof(me.un.sun_path) - 1,
			       "%s", name);
		me.len += (socklen_t)(1 + strlen(name));
		assert_int_equal(bind(fd, &me.any, me.len), 0);
	}
	assert_int_equal(connect(fd, &to->any, to->len), 0);
	talk(fd, "one");
	talk(fd, "three");
	hang_up(fd);
}

/* Handlers of an exchange; ARG may be NULL. */

static inline bool echoed(struct cleat_conn *c, const void *data, ssize_t n,
			  void *arg)
{
	if (n > 0 && arg) {
		shared_enter(arg);
		shared_leave(arg);
	}
	return n > 0 && cleat_send(c, data, (size_t)n, CLEAT_FOREVER) == 0;
}

/* One message is one exchange; the end may be one, too. */
static inline bool echo_some(struct cleat_conn *c, void *arg)
{
	const void *data;
	ssize_t n = cleat_view(c, &data, CLEAT_FOREVER);

	return echoed(c, data, n, arg);
}

static inline bool echo_line(struct cleat_conn *c, void *arg)
{
	char line[512];
	ssize_t n =
		cleat_recv_until(c, line, sizeof(line), "\n", 1, CLEAT_FOREVER);

	return echoed(c, line, n, arg);
}

/* Of many clients, and what they cost the server. */

static inline void room_for(rlim_t fds)
{
	struct rlimit r;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &r), 0);
	if (r.rlim_max < fds)
		skip();
	if (r.rlim_cur < fds) {
		r.rlim_cur = fds;
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &r), 0);
	}
}

/* Its own memory is more than what is measured. */
static inline bool has_sanitizer(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	return true;
#elif defined(__has_feature)
	return __has_feature(address_sanitizer) ||
	       __has_feature(thread_sanitizer);
#else
	return false;
#endif
}

static inline void no_child_is_left(void)
{
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
}

#endif
