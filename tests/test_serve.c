/* SPDX-License-Identifier: MIT */
/* cleat_serve(): the four modes, limits, stopping, shortage.  The clients here
 * are plain sockets, independent of the library.
 */
#include "both.h"

#include <cleat/chan.h>
#include <cleat/frame.h>
#include <cleat/serve.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>

#define HOUR (3600 * CLEAT_SEC)

static const enum cleat_serve_mode modes[] = {
	CLEAT_SERVE_FIBERS,
	CLEAT_SERVE_ONE,
	CLEAT_SERVE_THREADS,
	CLEAT_SERVE_PROCESSES,
};

/* A server on a thread of its own.  Its events come through a pipe, since those
 * of a child process would come no other way.
 */
struct event {
	enum cleat_serve_what what;
	int error;
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

static void tell(const struct cleat_serve_event *e, void *arg)
{
	const struct server *s = arg;
	struct event note = {
		.what = e->what,
		.error = e->error,
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

static bool read_event(struct server *s)
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

static unsigned count_events(const struct server *s, enum cleat_serve_what what)
{
	unsigned n = 0;

	for (unsigned i = 0; i < s->n_seen; i++)
		n += s->seen[i].what == what;
	return n;
}

static void *server_main(void *arg)
{
	struct server *s = arg;

	s->result = cleat_serve(&s->service, &s->opt);
	return NULL;
}

static void server_init(struct server *s, enum cleat_serve_mode mode,
			const char *const *addrs)
{
	memset(s, 0, sizeof(*s));
	assert_int_equal(pipe2(s->stop, O_CLOEXEC), 0);
	assert_int_equal(pipe2(s->events, O_CLOEXEC), 0);
	s->opt = (struct cleat_serve_options){
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

static void server_start(struct server *s)
{
	assert_int_equal(pthread_create(&s->thread, NULL, server_main, s), 0);
}

static void server_stop(const struct server *s)
{
	assert_int_equal(write(s->stop[1], "x", 1), 1);
}

/* What is left in the pipe is noted, too. */
static void server_join(struct server *s)
{
	assert_int_equal(pthread_join(s->thread, NULL), 0);
	(void)close(s->events[1]);
	while (read_event(s))
		;
	(void)close(s->events[0]);
	(void)close(s->stop[0]);
	(void)close(s->stop[1]);
}

static void server_end(struct server *s)
{
	server_stop(s);
	server_join(s);
	assert_int_equal(s->result, 0);
}

/* Clients */

static struct cleat_sockaddr where(struct server *s)
{
	return wait_event(s, CLEAT_SERVE_LISTENING)->local;
}

static int open_client(const struct cleat_sockaddr *to, int type)
{
	int fd = socket(to->any.sa_family, type | SOCK_CLOEXEC, 0);
	struct timeval patience = { .tv_sec = 20 };

	assert_true(fd >= 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience,
				    sizeof(patience)),
			 0);
	return fd;
}

static int dial(const struct cleat_sockaddr *to)
{
	int fd = open_client(to, SOCK_STREAM);

	assert_int_equal(connect(fd, &to->any, to->len), 0);
	return fd;
}

static void say(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL),
			 strlen(text));
}

static void hear(int fd, const char *text)
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

static void talk(int fd, const char *text)
{
	say(fd, text);
	hear(fd, text);
}

/* A close alone would not do: forked handlers have a copy of what clients had
 * open here.
 */
static void hang_up(int fd)
{
	(void)shutdown(fd, SHUT_RDWR); /* or the server was first */
	(void)close(fd);
}

/* The end of the stream, one way or the other, and no byte before. */
static void hear_end(int fd)
{
	char c;
	ssize_t n;

	do
		n = recv(fd, &c, 1, 0);
	while (n < 0 && errno == EINTR);
	if (n > 0 || (n < 0 && errno != ECONNRESET))
		fail_msg("no end came: %zd, %s", n, strerror(errno));
}

static bool has_word(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, 0) == 1;
}

/* What is tried until it comes true shall not fill the pipe of events. */
static void before_another_try(struct server *s)
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

static struct shared *shared_new(void)
{
	struct shared *sh = mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_true(sh != MAP_FAILED);
	return sh;
}

static void shared_free(struct shared *sh)
{
	assert_int_equal(munmap(sh, sizeof(*sh)), 0);
}

static void shared_enter(struct shared *sh)
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

static void shared_leave(struct shared *sh)
{
	if (sh)
		atomic_fetch_sub(&sh->now, 1);
}

static void echo(struct cleat_conn *c, void *arg)
{
	const void *data;
	ssize_t n;

	shared_enter(arg);
	while ((n = cleat_view(c, &data, CLEAT_FOREVER)) > 0 &&
	       cleat_send(c, data, (size_t)n, CLEAT_FOREVER) == 0)
		;
	shared_leave(arg);
}

static void echo_dgram(struct cleat_dgram *d, const struct cleat_sockaddr *from,
		       void *data, size_t len, void *arg)
{
	(void)arg;
	(void)cleat_sendto(d, data, len, from, CLEAT_FOREVER);
}

static void return_at_once(struct cleat_conn *c, void *arg)
{
	(void)c;
	(void)arg;
}

/* All kinds of address, in all modes */

struct kinds {
	char dir[64], path[96], gram_path[96], abstract[96];
	char unix_addr[128], gram_addr[128];
	const char *addrs[8];
};

static void kinds_open(struct kinds *k)
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

static void kinds_close(const struct kinds *k)
{
	assert_int_equal(access(k->path, F_OK), -1);
	assert_int_equal(access(k->gram_path, F_OK), -1);
	assert_int_equal(rmdir(k->dir), 0);
}

static void ask_stream(struct server *s, const struct cleat_sockaddr *to)
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

static void ask_dgram(const struct cleat_sockaddr *to, const char *name)
{
	struct cleat_sockaddr me = { .len = sizeof(sa_family_t) };
	int fd = open_client(to, SOCK_DGRAM);

	if (to->any.sa_family == AF_UNIX) { /* answered by name only */
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

static void serve_all_kinds(enum cleat_serve_mode mode, unsigned workers)
{
	struct cleat_sockaddr at[5];
	struct server s;
	struct kinds k;

	kinds_open(&k);
	server_init(&s, mode, k.addrs);
	s.service.stream = echo;
	s.service.dgram = echo_dgram;
	s.opt.workers = workers;
	server_start(&s);
	for (int i = 0; i < 5; i++) {
		const struct event *e = wait_event(&s, CLEAT_SERVE_LISTENING);

		at[i] = e->local;
		assert_true(e->proto == (i == 0   ? CLEAT_TCP
					 : i == 1 ? CLEAT_UDP
					 : i == 3 ? CLEAT_UNIXGRAM
						  : CLEAT_UNIX));
	}
	for (int round = 0; round < 2; round++) {
		ask_stream(&s, &at[0]);
		ask_stream(&s, &at[2]);
		ask_stream(&s, &at[4]);
		ask_dgram(&at[1], k.dir);
		ask_dgram(&at[3], k.dir);
	}
	server_end(&s);
	assert_int_equal(count_events(&s, CLEAT_SERVE_LISTENING), 5);
	assert_int_equal(count_events(&s, CLEAT_SERVE_ACCEPTED), 6);
	assert_int_equal(count_events(&s, CLEAT_SERVE_ENDED), 6);
	assert_int_equal(count_events(&s, CLEAT_SERVE_DRAINING), 1);
	assert_int_equal(count_events(&s, CLEAT_SERVE_CUT), 0);
	kinds_close(&k);
}

static void all_kinds(void)
{
	for (size_t i = 0; i < COUNT(modes); i++)
		serve_all_kinds(modes[i], 1);
	serve_all_kinds(CLEAT_SERVE_FIBERS, 3);
	serve_all_kinds(CLEAT_SERVE_FIBERS, 0);
}

static void both_loopbacks_have_one_port(void)
{
	static const char *const addrs[] = { "0", "udp://0", NULL };
	struct cleat_sockaddr at[4];
	struct server s;

	server_init(&s, CLEAT_SERVE_FIBERS, addrs);
	s.service.stream = echo;
	s.service.dgram = echo_dgram;
	s.opt.workers = 2;
	server_start(&s);
	for (int i = 0; i < 4; i++) {
		at[i] = where(&s);
		assert_int_equal(at[i].any.sa_family,
				 i % 2 ? AF_INET6 : AF_INET);
		assert_true(cleat_sockaddr_port(&at[i]) > 0);
		if (i % 2)
			assert_int_equal(cleat_sockaddr_port(&at[i]),
					 cleat_sockaddr_port(&at[i - 1]));
	}
	ask_stream(&s, &at[0]);
	ask_stream(&s, &at[1]);
	ask_dgram(&at[2], NULL);
	ask_dgram(&at[3], NULL);
	server_end(&s);
}

/* Several at once */

static const char *const loopback[] = { "127.0.0.1:0", NULL };

static void many_at_once(void)
{
	static const enum cleat_serve_mode concurrent[] = {
		CLEAT_SERVE_FIBERS,
		CLEAT_SERVE_THREADS,
		CLEAT_SERVE_PROCESSES,
	};
	enum {
		CLIENTS = 20
	};

	for (size_t i = 0; i < COUNT(concurrent); i++) {
		struct cleat_sockaddr at;
		struct server s;
		int fd[CLIENTS];

		server_init(&s, concurrent[i], loopback);
		s.service.stream = echo;
		s.opt.workers = 2;
		server_start(&s);
		at = where(&s);
		for (int k = 0; k < CLIENTS; k++)
			fd[k] = dial(&at);
		for (int k = CLIENTS; k-- > 0;)
			talk(fd[k], "to all");
		for (int k = 0; k < CLIENTS; k++)
			hang_up(fd[k]);
		server_end(&s);
		assert_int_equal(count_events(&s, CLEAT_SERVE_ENDED), CLIENTS);
	}
}

static void note_worker(struct cleat_conn *c, void *arg)
{
	pthread_t me = pthread_self();

	(void)arg;
	(void)cleat_send(c, &me, sizeof(me), CLEAT_FOREVER);
}

/* The kernel picks by a hash of the client's port. */
static void workers_share_a_port(void)
{
	enum {
		CLIENTS = 60
	};
	pthread_t first, other;
	struct cleat_sockaddr at;
	struct server s;
	bool both = false;

	server_init(&s, CLEAT_SERVE_FIBERS, loopback);
	s.service.stream = note_worker;
	s.opt.workers = 2;
	server_start(&s);
	at = where(&s);
	for (int k = 0; k < CLIENTS; k++) {
		int fd = dial(&at);

		assert_int_equal(recv(fd, &other, sizeof(other), MSG_WAITALL),
				 sizeof(other));
		hang_up(fd);
		if (k == 0)
			first = other;
		both = both || !pthread_equal(first, other);
	}
	server_end(&s);
	assert_true(both);
}

static void one_at_a_time(void)
{
	struct shared *sh = shared_new();
	struct cleat_sockaddr at;
	struct server s;
	int fd[4];

	server_init(&s, CLEAT_SERVE_ONE, loopback);
	s.service = (struct cleat_service){ .stream = echo, .arg = sh };
	server_start(&s);
	at = where(&s);
	for (int i = 0; i < 4; i++) {
		fd[i] = dial(&at);
		say(fd[i], "me");
	}
	for (int i = 0; i < 4; i++) {
		hear(fd[i], "me");
		for (int k = i + 1; k < 4; k++)
			assert_false(has_word(fd[k]));
		hang_up(fd[i]);
	}
	server_end(&s);
	assert_int_equal(atomic_load(&sh->most), 1);
	assert_int_equal(atomic_load(&sh->calls), 4);
	shared_free(sh);
}

/* A free place is for whichever address has a client, not for the one whose
 * turn it is.
 */
static void places_go_to_who_has_clients(enum cleat_serve_mode mode)
{
	static const char *const addrs[] = { "127.0.0.1:0", "127.0.0.1:0",
					     "127.0.0.1:0", NULL };
	struct cleat_sockaddr at[3];
	struct server s;

	server_init(&s, mode, addrs);
	s.service.stream = echo;
	s.opt.max_conns = 1;
	server_start(&s);
	for (int i = 0; i < 3; i++)
		at[i] = where(&s);
	for (int i = 0; i < 9; i++) {
		int a = dial(&at[i % 3]), b, c;

		talk(a, "first");
		b = dial(&at[(i + 1) % 3]);
		c = dial(&at[(i + 1) % 3]);
		hang_up(a);
		say(b, "x");
		say(c, "x");
		for (int left = 2; left > 0; left--) {
			struct pollfd p[2] = {
				{ .fd = b, .events = POLLIN },
				{ .fd = c, .events = POLLIN },
			};
			int *done;

			assert_int_equal(poll(p, 2, 20000), 1);
			done = p[0].revents ? &b : &c;
			hear(*done, "x");
			hang_up(*done);
			*done = -1;
		}
	}
	server_end(&s);
}

static void several_addresses_one_place(void)
{
	places_go_to_who_has_clients(CLEAT_SERVE_FIBERS);
	places_go_to_who_has_clients(CLEAT_SERVE_ONE);
	places_go_to_who_has_clients(CLEAT_SERVE_THREADS);
	places_go_to_who_has_clients(CLEAT_SERVE_PROCESSES);
}

/* Limits */

static void at_most_two(enum cleat_serve_mode mode)
{
	enum {
		CLIENTS = 8
	};
	struct shared *sh = shared_new();
	struct cleat_sockaddr at;
	struct server s;
	int fd[CLIENTS];

	server_init(&s, mode, loopback);
	s.service = (struct cleat_service){ .stream = echo, .arg = sh };
	s.opt.max_conns = 2;
	server_start(&s);
	at = where(&s);
	for (int i = 0; i < CLIENTS; i++) {
		fd[i] = dial(&at);
		say(fd[i], "me");
	}
	hear(fd[0], "me");
	for (int i = 0; i < CLIENTS; i++) {
		if (i + 1 < CLIENTS)
			hear(fd[i + 1], "me");
		if (i + 2 < CLIENTS)
			assert_false(has_word(fd[i + 2]));
		hang_up(fd[i]);
	}
	server_end(&s);
	assert_int_equal(atomic_load(&sh->most), 2);
	assert_int_equal(atomic_load(&sh->calls), CLIENTS);
	for (unsigned i = 0; i < s.n_seen; i++)
		assert_true(s.seen[i].active <= 2);
	shared_free(sh);
}

static void max_conns(void)
{
	at_most_two(CLEAT_SERVE_FIBERS);
	at_most_two(CLEAT_SERVE_THREADS);
	at_most_two(CLEAT_SERVE_PROCESSES);
}

static int dial_from(const char *source, const struct cleat_sockaddr *to)
{
	struct sockaddr_in from = { .sin_family = AF_INET };
	int fd = open_client(to, SOCK_STREAM);

	assert_int_equal(inet_pton(AF_INET, source, &from.sin_addr), 1);
	assert_int_equal(bind(fd, (struct sockaddr *)&from, sizeof(from)), 0);
	assert_int_equal(connect(fd, &to->any, to->len), 0);
	return fd;
}

static void two_per_source(enum cleat_serve_mode mode)
{
	struct cleat_sockaddr at;
	struct server s;
	int a, b, c, d;

	server_init(&s, mode, loopback);
	s.service.stream = echo;
	s.opt.max_per_source = 2;
	server_start(&s);
	at = where(&s);
	for (int round = 0; round < 3; round++) {
		a = dial_from("127.0.0.1", &at);
		talk(a, "a");
		b = dial_from("127.0.0.1", &at);
		talk(b, "b");
		c = dial_from("127.0.0.1", &at);
		hear_end(c);
		(void)wait_event(&s, CLEAT_SERVE_REJECTED);
		d = dial_from("127.0.0.2", &at);
		talk(d, "d");
		hang_up(a);
		(void)wait_event(&s, CLEAT_SERVE_ENDED);
		hang_up(c);
		/* The place is free once the connection is closed, which is a
		 * little after ENDED. */
		do {
			char x = 0;

			a = dial_from("127.0.0.1", &at);
			(void)send(a, "a", 1, MSG_NOSIGNAL);
			if (recv(a, &x, 1, 0) == 1)
				break;
			hang_up(a);
			before_another_try(&s);
		} while (true);
		talk(a, "again");
		talk(b, "still");
		talk(d, "still");
		hang_up(a);
		hang_up(b);
		hang_up(d);
		for (int i = 0; i < 3; i++)
			(void)wait_event(&s, CLEAT_SERVE_ENDED);
		server_stop(&s);
		server_join(&s);
		assert_int_equal(s.result, 0);
		server_init(&s, mode, loopback);
		s.service.stream = echo;
		s.opt.max_per_source = 2;
		server_start(&s);
		at = where(&s);
	}
	server_end(&s);
}

static void max_per_source(void)
{
	two_per_source(CLEAT_SERVE_FIBERS);
	two_per_source(CLEAT_SERVE_THREADS);
	two_per_source(CLEAT_SERVE_PROCESSES);
}

static void limits_of_time(enum cleat_serve_mode mode)
{
	struct cleat_sockaddr at;
	const struct event *e;
	struct server s;
	cleat_time start;
	int fd;

	server_init(&s, mode, loopback);
	s.service.stream = echo;
	s.opt.idle_ns = 30 * CLEAT_MSEC;
	server_start(&s);
	at = where(&s);
	fd = dial(&at);
	talk(fd, "hello");
	hear_end(fd);
	hang_up(fd);
	e = wait_event(&s, CLEAT_SERVE_ENDED);
	assert_int_equal(e->error, -ETIMEDOUT);
	assert_true(e->duration_ns >= 30 * CLEAT_MSEC);
	assert_int_equal(e->bytes.received, 5);
	server_end(&s);

	server_init(&s, mode, loopback);
	s.service.stream = echo;
	s.opt.idle_ns = HOUR;
	s.opt.lifetime_ns = 30 * CLEAT_MSEC;
	server_start(&s);
	at = where(&s);
	start = cleat_now();
	fd = dial(&at);
	for (char c = 'x'; send(fd, &c, 1, MSG_NOSIGNAL) == 1;)
		if (recv(fd, &c, 1, 0) != 1)
			break; /* it talks all the time, and is ended */
	assert_true(cleat_now() >= start + s.opt.lifetime_ns);
	hang_up(fd);
	e = wait_event(&s, CLEAT_SERVE_ENDED);
	assert_int_equal(e->error, -ETIMEDOUT);
	server_end(&s);
}

static void idle_and_lifetime(void)
{
	for (size_t i = 0; i < COUNT(modes); i++)
		limits_of_time(modes[i]);
}

/* Sockets that are handed over */

static int listen_here(struct cleat_sockaddr *at)
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

static void exactly_so_many_connections(enum cleat_serve_mode mode,
					unsigned long count)
{
	enum {
		CLIENTS = 8
	};
	struct shared *sh = shared_new();
	struct cleat_sockaddr at;
	struct server s;
	int fd[CLIENTS], listener = listen_here(&at);

	/* All are there before the server is. */
	for (int i = 0; i < CLIENTS; i++) {
		fd[i] = dial(&at);
		say(fd[i], "x");
	}
	server_init(&s, mode, NULL);
	s.service = (struct cleat_service){ .stream = echo, .arg = sh };
	s.opt.fds = &listener;
	s.opt.n_fds = 1;
	s.opt.count = count;
	s.opt.workers = 4;
	server_start(&s);
	for (unsigned long i = 0; i < count; i++) {
		hear(fd[i], "x");
		hang_up(fd[i]);
	}
	for (unsigned long i = count; i < CLIENTS; i++) {
		hear_end(fd[i]);
		hang_up(fd[i]);
	}
	server_join(&s);
	assert_int_equal(s.result, 0);
	assert_int_equal(atomic_load(&sh->calls), (int)count);
	assert_int_equal(count_events(&s, CLEAT_SERVE_ACCEPTED), count);
	assert_int_equal(count_events(&s, CLEAT_SERVE_ENDED), count);
	assert_int_equal(fcntl(listener, F_GETFD), -1); /* was ours to close */
	shared_free(sh);
}

static void count_of_connections(void)
{
	for (size_t i = 0; i < COUNT(modes); i++) {
		exactly_so_many_connections(modes[i], 1);
		exactly_so_many_connections(modes[i], 3);
	}
}

static void count_of_datagrams(void)
{
	struct sockaddr_in in = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct cleat_sockaddr at = { .len = sizeof(at.storage) };
	struct server s;
	int bound = socket(AF_INET, SOCK_DGRAM, 0), fd;
	char c;

	assert_int_equal(bind(bound, (struct sockaddr *)&in, sizeof(in)), 0);
	assert_int_equal(getsockname(bound, &at.any, &at.len), 0);
	fd = open_client(&at, SOCK_DGRAM);
	assert_int_equal(connect(fd, &at.any, at.len), 0);
	for (c = 'a'; c < 'h'; c++)
		assert_int_equal(send(fd, &c, 1, 0), 1);
	server_init(&s, CLEAT_SERVE_FIBERS, NULL);
	s.service.dgram = echo_dgram;
	s.opt.fds = &bound;
	s.opt.n_fds = 1;
	s.opt.count = 3;
	server_start(&s);
	server_join(&s);
	assert_int_equal(s.result, 0);
	hear(fd, "abc");
	assert_int_equal(recv(fd, &c, 1, MSG_DONTWAIT), -1);
	hang_up(fd);
}

static void inherited_of_each_kind(void)
{
	struct cleat_sockaddr at[3], un = { .len = sizeof(sa_family_t) };
	struct server s;
	int fds[3];

	fds[0] = listen_here(&at[0]);
	fds[1] = socket(AF_INET, SOCK_DGRAM, 0);
	at[1] = at[0];
	at[1].in.sin_port = 0;
	assert_int_equal(bind(fds[1], &at[1].any, at[1].len), 0);
	fds[2] = socket(AF_UNIX, SOCK_STREAM, 0);
	un.un.sun_family = AF_UNIX; /* autobind: unix(7) */
	assert_int_equal(bind(fds[2], &un.any, un.len), 0);
	assert_int_equal(listen(fds[2], 10), 0);
	server_init(&s, CLEAT_SERVE_FIBERS, loopback);
	s.service.stream = echo;
	s.service.dgram = echo_dgram;
	s.opt.fds = fds;
	s.opt.n_fds = 3;
	s.opt.workers = 2;
	server_start(&s);
	for (int i = 0; i < 3; i++)
		at[i] = where(&s);
	ask_stream(&s, &at[0]);
	ask_dgram(&at[1], NULL);
	ask_stream(&s, &at[2]);
	server_end(&s);
	for (int i = 0; i < 3; i++)
		assert_int_equal(fcntl(fds[i], F_GETFD), -1);
}

static void not_to_be_inherited(void)
{
	struct cleat_service service = { .stream = echo, .dgram = echo_dgram };
	int file = open("/dev/null", O_RDWR | O_CLOEXEC), got;
	int idle = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct cleat_serve_options opt = { .fds = &file, .n_fds = 1 };

	got = cleat_serve(&service, &opt);
	assert_int_equal(got, -ENOTSOCK);
	assert_true(strlen(cleat_why()) > 0);
	opt.fds = &idle;
	got = cleat_serve(&service, &opt);
	assert_int_equal(got, -EINVAL);
	(void)close(file);
	(void)close(idle);
}

/* Stopping */

static void stop_lets_finish(enum cleat_serve_mode mode, unsigned workers)
{
	struct cleat_sockaddr at;
	const struct event *e;
	struct server s;
	int fd, late;
	bool refused;

	server_init(&s, mode, loopback);
	s.service.stream = echo;
	s.opt.workers = workers;
	server_start(&s);
	at = where(&s);
	fd = dial(&at);
	talk(fd, "before");
	server_stop(&s);
	e = wait_event(&s, CLEAT_SERVE_DRAINING);
	assert_int_equal(e->active, 1);
	talk(fd, "after");
	/* Every worker's listener is closed, be it a moment later. */
	do {
		late = open_client(&at, SOCK_STREAM);
		refused = connect(late, &at.any, at.len) < 0 &&
			  errno == ECONNREFUSED;
		hang_up(late);
		before_another_try(&s);
	} while (!refused);
	talk(fd, "still");
	hang_up(fd);
	server_join(&s);
	assert_int_equal(s.result, 0);
	assert_int_equal(count_events(&s, CLEAT_SERVE_CUT), 0);
	assert_int_equal(count_events(&s, CLEAT_SERVE_ENDED),
			 count_events(&s, CLEAT_SERVE_ACCEPTED));
}

static void connections_may_finish(void)
{
	for (size_t i = 0; i < COUNT(modes); i++)
		stop_lets_finish(modes[i], 1);
	stop_lets_finish(CLEAT_SERVE_FIBERS, 3);
}

static void cut_short(enum cleat_serve_mode mode, unsigned workers,
		      int64_t drain)
{
	enum {
		CLIENTS = 4
	};
	int n = mode == CLEAT_SERVE_ONE ? 1 : CLIENTS;
	struct cleat_sockaddr at;
	struct server s;
	int fd[CLIENTS];
	cleat_time stopped;

	server_init(&s, mode, loopback);
	s.service.stream = echo;
	s.opt.workers = workers;
	s.opt.drain_ns = drain;
	server_start(&s);
	at = where(&s);
	for (int i = 0; i < n; i++) {
		fd[i] = dial(&at);
		talk(fd[i], "hello");
	}
	stopped = cleat_now();
	server_stop(&s);
	if (drain == HOUR) {
		(void)wait_event(&s, CLEAT_SERVE_DRAINING);
		server_stop(&s); /* at once, then */
	}
	for (int i = 0; i < n; i++)
		hear_end(fd[i]);
	if (drain != HOUR)
		assert_true(cleat_now() >= stopped + drain);
	server_join(&s);
	assert_int_equal(s.result, 0);
	assert_true(count_events(&s, CLEAT_SERVE_CUT) >= 1);
	for (int i = 0; i < n; i++)
		hang_up(fd[i]);
}

static void cut_after_the_drain(void)
{
	for (size_t i = 0; i < COUNT(modes); i++) {
		cut_short(modes[i], 1, 0);
		cut_short(modes[i], 1, 20 * CLEAT_MSEC);
	}
	cut_short(CLEAT_SERVE_FIBERS, 3, 20 * CLEAT_MSEC);
}

static void second_stop_is_at_once(void)
{
	for (size_t i = 0; i < COUNT(modes); i++)
		cut_short(modes[i], 1, HOUR);
	for (int i = 0; i < 20; i++)
		cut_short(CLEAT_SERVE_FIBERS, 4, HOUR);
}

static void stopped_by_an_eventfd(void)
{
	uint64_t one = 1;
	int efd = eventfd(0, EFD_CLOEXEC);
	struct cleat_sockaddr at;
	struct server s;
	int fd;

	server_init(&s, CLEAT_SERVE_FIBERS, loopback);
	s.service.stream = echo;
	s.opt.stop_fd = efd;
	server_start(&s);
	at = where(&s);
	fd = dial(&at);
	talk(fd, "hello");
	assert_int_equal(write(efd, &one, sizeof(one)), sizeof(one));
	(void)wait_event(&s, CLEAT_SERVE_DRAINING);
	talk(fd, "still");
	assert_int_equal(write(efd, &one, sizeof(one)), sizeof(one));
	hear_end(fd);
	server_join(&s);
	assert_int_equal(s.result, 0);
	hang_up(fd);
	(void)close(efd);
}

/* A stop that is there from the start, and one that is the end of a pipe. */
static void stopped_early(void)
{
	struct server s;

	server_init(&s, CLEAT_SERVE_FIBERS, loopback);
	s.service.stream = echo;
	s.opt.workers = 2;
	server_stop(&s);
	server_start(&s);
	server_join(&s);
	assert_int_equal(s.result, 0);

	server_init(&s, CLEAT_SERVE_FIBERS, loopback);
	s.service.stream = echo;
	server_start(&s);
	(void)where(&s);
	(void)close(s.stop[1]);
	s.stop[1] = -1;
	server_join(&s);
	assert_int_equal(s.result, 0);
}

/* Running out of descriptors */

static int highest_fd(void)
{
	int fd = dup(0);

	assert_true(fd >= 0);
	hang_up(fd);
	return fd;
}

static cleat_time cpu_time(void)
{
	struct rusage r;

	assert_int_equal(getrusage(RUSAGE_SELF, &r), 0);
	return (r.ru_utime.tv_sec + r.ru_stime.tv_sec) * CLEAT_SEC +
	       (r.ru_utime.tv_usec + r.ru_stime.tv_usec) * CLEAT_USEC;
}

static void out_of_descriptors(enum cleat_serve_mode mode)
{
	enum {
		CLIENTS = 16
	};
	struct rlimit before, low;
	struct cleat_sockaddr at;
	struct server s;
	cleat_time cpu;
	const struct event *e;
	int fd[CLIENTS], listener = listen_here(&at);

	for (int i = 0; i < CLIENTS; i++) {
		fd[i] = dial(&at);
		say(fd[i], "x");
	}
	server_init(&s, mode, NULL);
	s.service.stream = echo;
	s.opt.fds = &listener;
	s.opt.n_fds = 1;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	low = before;
	low.rlim_cur = (rlim_t)highest_fd() + 8; /* its own, and some clients */
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	s.opt.max_conns = 1000;
	server_start(&s);
	e = wait_event(&s, CLEAT_SERVE_PAUSED);
	assert_int_equal(e->error, -EMFILE);
	assert_true(e->active > 0 && e->active < CLIENTS);
	cpu = cpu_time();
	ok(cleat_sleep(cleat_in(400 * CLEAT_MSEC)));
	assert_true(cpu_time() - cpu < 100 * CLEAT_MSEC);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	(void)wait_event(&s, CLEAT_SERVE_RESUMED);
	for (int i = 0; i < CLIENTS; i++) {
		hear(fd[i], "x");
		talk(fd[i], "alive");
		hang_up(fd[i]);
	}
	server_end(&s);
	assert_int_equal(count_events(&s, CLEAT_SERVE_PAUSED), 1);
	assert_int_equal(count_events(&s, CLEAT_SERVE_RESUMED), 1);
	assert_int_equal(count_events(&s, CLEAT_SERVE_ACCEPTED), CLIENTS);
}

static void pauses_and_resumes(void)
{
	out_of_descriptors(CLEAT_SERVE_FIBERS);
	out_of_descriptors(CLEAT_SERVE_THREADS);
}

/* Refusals */

static int try_to_serve(const struct cleat_service *service, const char *a,
			const char *b)
{
	const char *addrs[] = { a, b, NULL };
	struct cleat_serve_options opt = { .addrs = addrs };

	return cleat_serve(service, &opt);
}

static void port_in_use(void)
{
	struct cleat_service service = { .stream = echo, .dgram = echo_dgram };
	struct cleat_sockaddr at[3];
	char taken[3][CLEAT_ADDR_MAX];
	struct server s;
	struct kinds k;
	int fd;

	kinds_open(&k);
	k.addrs[3] = NULL;
	server_init(&s, CLEAT_SERVE_FIBERS, k.addrs);
	s.service = service;
	s.opt.workers = 2;
	server_start(&s);
	for (int i = 0; i < 3; i++) {
		at[i] = where(&s);
		(void)snprintf(taken[i], sizeof(taken[i]), "%s",
			       i == 1 ? "udp://" : "");
		ok(cleat_sockaddr_format(&at[i], taken[i] + strlen(taken[i]),
					 sizeof(taken[i]) - 8));
	}
	for (int i = 0; i < 3; i++) {
		assert_int_equal(try_to_serve(&service, taken[i], NULL),
				 -EADDRINUSE);
		/* Half of it is as nothing. */
		assert_int_equal(
			try_to_serve(&service, "127.0.0.1:0", taken[i]),
			-EADDRINUSE);
	}
	for (int i = 0; i < 3; i += 2) {
		fd = dial(&at[i]); /* unix: its path is still there */
		talk(fd, "hello");
		hang_up(fd);
	}
	ask_dgram(&at[1], NULL);
	server_end(&s);
	kinds_close(&k);
}

static void announces_all_or_nothing(void)
{
	static const char *const addrs[] = { "127.0.0.1:0", "192.0.2.1:0",
					     NULL };
	struct server s;

	server_init(&s, CLEAT_SERVE_FIBERS, addrs);
	s.service.stream = echo;
	s.opt.workers = 2;
	server_start(&s);
	server_join(&s);
	assert_int_equal(s.result, -EADDRNOTAVAIL);
	assert_int_equal(s.n_seen, 0);
}

static void refusals(void)
{
	struct cleat_service streams = { .stream = echo },
			     dgrams = { .dgram = echo_dgram };
	struct cleat_serve_options none = { .n_fds = 0 };

	assert_int_equal(try_to_serve(&streams, "udp://127.0.0.1:0", NULL),
			 -EPROTOTYPE);
	assert_int_equal(
		try_to_serve(&streams, "127.0.0.1:0", "udp://127.0.0.1:0"),
		-EPROTOTYPE);
	assert_int_equal(try_to_serve(&dgrams, "127.0.0.1:0", NULL),
			 -EPROTOTYPE);
	assert_int_equal(try_to_serve(&streams, "127.0.0.1:65536", NULL),
			 -EINVAL);
	assert_int_equal(try_to_serve(&streams, "tls://127.0.0.1:0", NULL),
			 -EPROTONOSUPPORT);
	assert_int_equal(cleat_serve(&streams, &none), -EINVAL);
	assert_true(strlen(cleat_why()) > 0);
}

static void not_on_a_fiber(void)
{
	struct cleat_service service = { .stream = echo };

	assert_int_equal(try_to_serve(&service, "127.0.0.1:0", NULL), -EBUSY);
}

/* Handlers that do not do well */

static void handlers_that_return_at_once(void)
{
	for (size_t i = 0; i < COUNT(modes); i++) {
		struct cleat_sockaddr at;
		const struct event *e;
		struct server s;

		server_init(&s, modes[i], loopback);
		s.service.stream = return_at_once;
		server_start(&s);
		at = where(&s);
		for (int k = 0; k < 5; k++) {
			int fd = dial(&at);

			(void)send(fd, "unread", 6, MSG_NOSIGNAL);
			hear_end(fd);
			hang_up(fd);
			e = wait_event(&s, CLEAT_SERVE_ENDED);
			assert_int_equal(e->bytes.received, 0);
			assert_int_equal(e->error, 0);
		}
		server_end(&s);
	}
}

/* Those that went well before, on this thread or another, are forgotten. */
static void an_old_failure_is_not_the_handlers(void)
{
	static const char *const bad[] = { "127.0.0.1:99999", NULL };

	for (size_t i = 0; i < COUNT(modes); i++) {
		struct cleat_service service = { .stream = return_at_once };
		struct cleat_serve_options opt = { .addrs = bad };
		struct cleat_sockaddr at;
		const struct event *e;
		struct server s;
		int listener = listen_here(&at), fd = dial(&at);

		assert_int_equal(cleat_serve(&service, &opt), -EINVAL);
		server_init(&s, modes[i], NULL);
		s.service = service;
		s.opt.fds = &listener;
		s.opt.n_fds = 1;
		s.opt.count = 1;
		(void)server_main(&s); /* on the thread that failed */
		s.n_read = 0;
		e = wait_event(&s, CLEAT_SERVE_ENDED);
		assert_int_equal(e->error, 0);
		(void)close(s.events[0]);
		(void)close(s.events[1]);
		(void)close(s.stop[0]);
		(void)close(s.stop[1]);
		hang_up(fd);
	}
}

static void crash_if_asked(struct cleat_conn *c, void *arg)
{
	char word[5];

	(void)arg;
	if (cleat_recv_exactly(c, word, sizeof(word), CLEAT_FOREVER) < 0)
		return;
	if (memcmp(word, "crash", 5) == 0)
		(void)raise(SIGKILL);
	(void)cleat_send(c, word, sizeof(word), CLEAT_FOREVER);
}

static void a_process_that_crashes(void)
{
	struct cleat_sockaddr at;
	struct server s;
	int a, b;

	server_init(&s, CLEAT_SERVE_PROCESSES, loopback);
	s.service.stream = crash_if_asked;
	server_start(&s);
	at = where(&s);
	a = dial(&at);
	b = dial(&at);
	say(a, "crash");
	hear_end(a);
	talk(b, "hello");
	hear_end(b);
	hang_up(a);
	hang_up(b);
	a = dial(&at);
	talk(a, "hello");
	hang_up(a);
	server_end(&s);
}

/* A process has its own connection and no other: when its handler is done the
 * peer hears the end, though others still run.
 */
static void a_process_keeps_no_other(void)
{
	enum {
		CLIENTS = 6
	};
	struct cleat_sockaddr at;
	struct server s;
	int fd[CLIENTS], listener = listen_here(&at);

	for (int i = 0; i < CLIENTS; i++)
		fd[i] = dial(&at);
	server_init(&s, CLEAT_SERVE_PROCESSES, NULL);
	s.service.stream = crash_if_asked; /* on request */
	s.opt.fds = &listener;
	s.opt.n_fds = 1;
	server_start(&s);
	for (int i = CLIENTS; i-- > 0;) {
		talk(fd[i], "hello");
		hear_end(fd[i]);
		hang_up(fd[i]);
	}
	server_end(&s);
}

/* An observer may use the library, and wait. */
struct listening_in {
	struct cleat_chan *ch;
};

static void pass_on(const struct cleat_serve_event *e, void *arg)
{
	const struct listening_in *l = arg;

	(void)cleat_chan_send(l->ch, &e->what, CLEAT_FOREVER);
}

static void events_through_a_channel(void)
{
	enum {
		CLIENTS = 300
	};
	struct listening_in l;
	struct cleat_sockaddr at;
	struct server s;
	enum cleat_serve_what what;
	int ended = 0, listener = listen_here(&at);

	ok(cleat_chan_open(&l.ch, sizeof(what), 4));
	server_init(&s, CLEAT_SERVE_FIBERS, NULL);
	s.service.stream = return_at_once;
	s.opt.fds = &listener;
	s.opt.n_fds = 1;
	s.opt.count = CLIENTS;
	s.opt.event = pass_on;
	s.opt.event_arg = &l;
	for (int i = 0; i < 50; i++)
		hang_up(dial(&at));
	server_start(&s);
	for (int i = 50; ended < CLIENTS; i++) {
		if (i < CLIENTS)
			hang_up(dial(&at));
		/* The backlog is not to be filled. */
		while (ended < CLIENTS && ended < i - 50) {
			ok(cleat_chan_recv(l.ch, &what, soon()));
			ended += what == CLEAT_SERVE_ENDED;
		}
	}
	cleat_chan_finish(l.ch);
	server_join(&s);
	assert_int_equal(s.result, 0);
	cleat_chan_close(l.ch);
}

static void no_child_is_left(void)
{
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		THREAD(all_kinds),
		THREAD(both_loopbacks_have_one_port),
		THREAD(many_at_once),
		THREAD(workers_share_a_port),
		THREAD(one_at_a_time),
		THREAD(several_addresses_one_place),
		THREAD(max_conns),
		THREAD(max_per_source),
		THREAD(idle_and_lifetime),
		THREAD(count_of_connections),
		THREAD(count_of_datagrams),
		THREAD(inherited_of_each_kind),
		THREAD(not_to_be_inherited),
		THREAD(connections_may_finish),
		THREAD(cut_after_the_drain),
		THREAD(second_stop_is_at_once),
		THREAD(stopped_by_an_eventfd),
		THREAD(stopped_early),
		THREAD(pauses_and_resumes),
		THREAD(port_in_use),
		THREAD(announces_all_or_nothing),
		THREAD(refusals),
		FIBER(not_on_a_fiber),
		THREAD(handlers_that_return_at_once),
		THREAD(an_old_failure_is_not_the_handlers),
		THREAD(a_process_that_crashes),
		THREAD(a_process_keeps_no_other),
		THREAD(events_through_a_channel),
		THREAD(no_child_is_left),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
