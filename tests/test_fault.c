/* SPDX-License-Identifier: MIT */
/* Every call of libc that can fail is made to, one after the other: each time
 * there is one clear error, and nothing is left behind.
 */
#include <cleat/chan.h>
#include <cleat/conn.h>
#include <cleat/dgram.h>
#include <cleat/frame.h>
#include <cleat/serve.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>

#include "both.h"
#include "fault.h"

static char unix_addr[64], gram_addr[64];

/* What a scenario works on; whatever there is when it ends is closed. */
struct things {
	struct cleat_listener *l;
	struct cleat_conn *a, *b;
	struct cleat_dgram *d, *e;
	struct cleat_scope *s;
	struct cleat_chan *ch;
	void *data;
	int fd[2];
	int accepted, written, ran; /* what its fibers say */
	bool changed; /* a descriptor, by a call that failed */
};

/* A scenario returns the first error, or 0. */
typedef int scenario(struct things *t);

static int local_text(const struct cleat_sockaddr *sa, char *text)
{
	return cleat_sockaddr_format(sa, text, CLEAT_ADDR_MAX);
}

/* The first error ends it, and must have been explained. */
#define MUST(call)                                                             \
	do {                                                                   \
		ssize_t must_ = (call);                                        \
		if (must_ < 0)                                                 \
			return explained((int)must_, #call);                   \
	} while (0)

static int explained(int err, const char *call)
{
	(void)fault_disarm();
	if (err < -5012 || !cleat_why()[0])
		fail_msg("%s: %d, for no reason", call, err);
	return err;
}

/* A pair of connections, by ADDR. */
static int meet(struct things *t, const char *addr)
{
	char text[CLEAT_ADDR_MAX];
	struct cleat_sockaddr sa;

	MUST(cleat_listen(&t->l, addr, NULL));
	MUST(cleat_listener_local(t->l, 0, &sa));
	MUST(local_text(&sa, text));
	MUST(cleat_connect(&t->a, text, NULL, soon()));
	MUST(cleat_accept(t->l, &t->b, soon()));
	MUST(cleat_conn_peer(t->a, &sa));
	MUST(cleat_conn_local(t->a, &sa));
	return 0;
}

static int talk(struct things *t)
{
	struct iovec v[2] = { { (char[1]){ '1' }, 1 },
			      { (char[1]){ '2' }, 1 } };
	const void *data;
	char buf[16];

	MUST(cleat_send(t->a, "one\ntwo", 7, soon()));
	MUST(cleat_recv_until(t->b, buf, sizeof(buf), "\n", 1, soon()));
	MUST(cleat_recv_exactly(t->b, buf, 3, soon()));
	assert_memory_equal(buf, "two", 3);
	MUST(cleat_sendv(t->b, v, 2, soon()));
	MUST(cleat_view(t->a, &data, soon()));
	assert_memory_equal(data, "12", 2);
	MUST(cleat_send_msg(t->a, "message", 7, NULL, soon()));
	MUST(cleat_recv_msg(t->b, buf, sizeof(buf), NULL, soon()));
	assert_memory_equal(buf, "message", 7);
	MUST(cleat_send_msg(t->a, "message", 7, NULL, soon()));
	MUST(cleat_take_msg(t->b, &t->data, NULL, soon()));
	assert_string_equal(t->data, "message");
	MUST(cleat_set(cleat_conn_fd(t->a), CLEAT_RCVBUF, 65536));
	MUST(cleat_send(t->a, "x", 1, soon()));
	MUST(cleat_recv(t->b, buf, sizeof(buf), soon()));
	MUST(cleat_shutdown(t->a, CLEAT_WRITE));
	MUST(cleat_finish(t->b, soon()));
	MUST(cleat_finish(t->a, soon()));
	return 0;
}

static void read_elsewhere(void *arg)
{
	struct things *t = arg;

	t->ran = (int)cleat_recv_exactly(t->b, (char[6]){ 0 }, 6, soon());
}

/* A reader who is fed, if the backend can; what he leaves another gets, or an
 * error: no end.
 */
static int fed(struct things *t)
{
	const void *data;
	ssize_t n;
	char byte;

	MUST(meet(t, "tcp4://127.0.0.1:0"));
	n = cleat_view(t->b, &data, 0);
	if (n != -ETIMEDOUT)
		return explained((int)n, "cleat_view");
	for (int i = 0; i < 40; i++) {
		MUST(cleat_send(t->a, "x", 1, soon()));
		MUST(cleat_view(t->b, &data, soon()));
		MUST(cleat_send(t->b, data, 1, soon()));
		MUST(cleat_recv(t->a, &byte, 1, soon()));
	}
	MUST(cleat_send(t->a, "unread", 6, soon()));
	MUST(cleat_sleep(cleat_in(CLEAT_MSEC)));
	MUST(cleat_offload(read_elsewhere, t));
	assert_int_not_equal(t->ran, CLEAT_EEOF);
	return t->ran < 0 ? t->ran : 0;
}

static int over_tcp(struct things *t)
{
	MUST(meet(t, "tcp4://127.0.0.1:0"));
	return talk(t);
}

static int over_both(struct things *t)
{
	MUST(meet(t, "0"));
	return talk(t);
}

static int over_unix(struct things *t)
{
	MUST(meet(t, unix_addr));
	return talk(t);
}

static int by_name(struct things *t)
{
	struct cleat_options opt = { .source = "localhost:0",
				     .ttl = 9,
				     .keepalive_idle_s = 9,
				     .linger = CLEAT_ON };
	char text[32];
	struct cleat_sockaddr sa;

	MUST(cleat_listen(&t->l, "localhost:0", &opt));
	MUST(cleat_listener_local(t->l, 0, &sa));
	(void)snprintf(text, sizeof(text), "localhost:%u",
		       cleat_sockaddr_port(&sa));
	MUST(cleat_connect(&t->a, text, &opt, soon()));
	MUST(cleat_accept(t->l, &t->b, soon()));
	return 0;
}

/* A unix path that somebody left behind, by a close without an unlink. */
static int over_stale(struct things *t)
{
	struct cleat_sockaddr sa = { .un = { .sun_family = AF_UNIX } };

	(void)snprintf(sa.un.sun_path, sizeof(sa.un.sun_path), "%s",
		       unix_addr + 5);
	(void)bind(t->fd[0], &sa.any, sizeof(sa.un)); /* may be let fail */
	close(t->fd[0]);
	t->fd[0] = -1;
	MUST(cleat_listen(&t->l, unix_addr, NULL));
	return 0;
}

static int adopt(struct things *t, struct cleat_conn **c, int *fd)
{
	int err = cleat_adopt(c, *fd);

	if (err < 0) {
		(void)explained(err, "cleat_adopt");
		t->changed = fcntl(*fd, F_GETFL) & O_NONBLOCK;
		return err;
	}
	*fd = -1;
	return 0;
}

static int adopting(struct things *t)
{
	MUST(adopt(t, &t->a, &t->fd[0]));
	MUST(adopt(t, &t->b, &t->fd[1]));
	return talk(t);
}

/* Waits: more than a peer has room for, and what comes later. */

static int write_all(struct things *t)
{
	static const char block[4 << 20];

	MUST(cleat_send(t->a, block, sizeof(block), soon()));
	MUST(cleat_finish(t->a, soon()));
	return 0;
}

static int read_all(struct things *t)
{
	const void *data;
	ssize_t n;

	do {
		n = cleat_view(t->b, &data, soon());
		MUST(n);
	} while (n > 0);
	return cleat_finish(t->b, soon());
}

static void write_part(void *arg)
{
	struct things *t = arg;

	t->written = write_all(t);
	if (t->written < 0) /* or who reads would wait for ever */
		(void)cleat_shutdown(t->a, CLEAT_BOTH);
}

static void accept_part(void *arg)
{
	struct things *t = arg;

	t->accepted = cleat_accept(t->l, &t->b, soon());
	if (t->accepted < 0)
		(void)explained(t->accepted, "cleat_accept");
}

static int fibers(struct things *t)
{
	char text[CLEAT_ADDR_MAX];
	struct cleat_sockaddr sa;

	MUST(cleat_scope_open(&t->s, 2));
	MUST(cleat_listen(&t->l, "tcp4://127.0.0.1:0", NULL));
	MUST(cleat_listener_local(t->l, 0, &sa));
	MUST(local_text(&sa, text));
	MUST(cleat_go(t->s, accept_part, t, soon()));
	MUST(cleat_yield());
	MUST(cleat_connect(&t->a, text, NULL, soon()));
	MUST(cleat_scope_wait(t->s, soon()));
	if (t->accepted < 0)
		return t->accepted;
	MUST(cleat_go(t->s, write_part, t, soon()));
	MUST(cleat_yield());
	MUST(read_all(t));
	MUST(cleat_scope_wait(t->s, soon()));
	return t->written;
}

static void run_once_more(void *arg)
{
	struct things *t = arg;

	t->ran++;
}

static int odds_and_ends(struct things *t)
{
	int item = 1;

	MUST(cleat_chan_open(&t->ch, sizeof(int), 4));
	MUST(cleat_chan_send(t->ch, &item, soon()));
	MUST(cleat_chan_recv(t->ch, &item, soon()));
	MUST(cleat_offload(run_once_more, t));
	assert_int_equal(t->ran, 1);
	MUST(cleat_poll(t->fd[0], CLEAT_OUT, soon()));
	MUST(cleat_sleep(cleat_in(CLEAT_MSEC)));
	for (int i = 0; i < 100 && cleat_is_fiber(); i++) {
		if (!t->s)
			MUST(cleat_scope_open(&t->s, 0));
		MUST(cleat_go(t->s, run_once_more, t, soon()));
	}
	if (t->s)
		MUST(cleat_scope_wait(t->s, soon()));
	return 0;
}

static int datagrams_at(struct things *t, const char *local)
{
	struct cleat_packet p[3];
	struct cleat_sockaddr sa, from;
	char text[CLEAT_ADDR_MAX + 16], buf[3][8];

	(void)snprintf(text, sizeof(text), "%s", local);
	MUST(cleat_dgram_open(&t->d, local, NULL, NULL, soon()));
	MUST(cleat_dgram_local(t->d, 0, &sa));
	if (sa.any.sa_family != AF_UNIX) {
		(void)snprintf(text, sizeof(text), "udp://");
		MUST(local_text(&sa, text + 6));
	}
	MUST(cleat_dgram_open(&t->e, NULL, text, NULL, soon()));
	MUST(cleat_sendto(t->e, "hi", 2, NULL, soon()));
	MUST(cleat_recvfrom(t->d, buf[0], 8, &from, soon()));
	for (int i = 0; i < 3; i++)
		p[i] = (struct cleat_packet){ .data = buf[i],
					      .size = 8,
					      .len = 2 };
	MUST(cleat_send_batch(t->e, p, 3, soon()));
	MUST(cleat_recv_batch(t->d, p, 3, soon()));
	cleat_dgram_close(t->e);
	t->e = NULL;
	if (sa.any.sa_family != AF_UNIX)
		MUST(cleat_dgram_open(&t->e, "udp://:0", text, NULL, soon()));
	return 0;
}

static int datagrams(struct things *t)
{
	return datagrams_at(t, "udp://0");
}

static int unix_datagrams(struct things *t)
{
	return datagrams_at(t, gram_addr);
}

static int raw_socket(struct things *t)
{
	int err = cleat_raw_open(&t->d, AF_INET, IPPROTO_ICMP, NULL);

	return err == -EPERM ? 0 : err; /* it takes CAP_NET_RAW */
}

static int lookups(struct things *t)
{
	struct cleat_sockaddr sa[4];

	(void)t;
	MUST(cleat_resolve("localhost:http", CLEAT_TO_CONNECT, sa, 4, soon()));
	MUST(cleat_resolve("127.0.0.1:http", CLEAT_TO_BIND, sa, 4, soon()));
	return 0;
}

static void echo(struct cleat_conn *c, void *arg)
{
	(void)c, (void)arg;
}

static void answer(struct cleat_dgram *d, const struct cleat_sockaddr *from,
		   void *data, size_t len, void *arg)
{
	(void)d, (void)from, (void)data, (void)len, (void)arg;
}

static int serving(struct things *t)
{
	const char *const addrs[] = { "0", "udp://0", unix_addr, NULL };
	const struct cleat_service service = { .stream = echo,
					       .dgram = answer };
	const struct cleat_serve_options opt = { .addrs = addrs,
						 .workers = 2,
						 .backend = both_backend(),
						 .max_per_source = 4,
						 .stop_fd = t->fd[0] };

	MUST(cleat_serve(&service, &opt));
	return 0;
}

/* Three clients, once there is a server: the second speaks, the third has ended
 * already, and the first is silent until the second's handler makes it speak,
 * or it reaches its limit.
 */
struct clients {
	int first, second;
	int heard; /* of them */
	bool is_paused;
};

static int dial(const struct cleat_sockaddr *at)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd >= 0)
		(void)connect(fd, &at->any, at->len); /* may be let fail */
	return fd;
}

static void come(const struct cleat_serve_event *e, void *arg)
{
	struct clients *c = arg;
	int third;

	if (e->what == CLEAT_SERVE_PAUSED || e->what == CLEAT_SERVE_RESUMED)
		c->is_paused = e->what == CLEAT_SERVE_PAUSED;
	if (e->what != CLEAT_SERVE_LISTENING)
		return;
	c->first = dial(e->local);
	c->second = dial(e->local);
	third = dial(e->local);
	(void)send(c->second, "2", 1, MSG_NOSIGNAL);
	if (third >= 0)
		close(third);
}

static bool wake_the_first(struct cleat_conn *conn, void *arg)
{
	struct clients *c = arg;
	char x;

	c->heard++;
	if (cleat_recv(conn, &x, 1, soon()) == 1 && x == '2') {
		(void)send(c->first, "1", 1, MSG_NOSIGNAL);
		(void)cleat_sleep(cleat_in(CLEAT_MSEC)); /* or is cut */
	}
	return false;
}

/* Where a fault keeps one of them out the count is not reached: the stop. */
static int first_bytes_in(struct things *t, enum cleat_serve_mode mode)
{
	const struct itimerspec before_long = { .it_value.tv_nsec = 50000000 };
	const char *const addrs[] = { "127.0.0.1:0", NULL };
	struct clients c = { .first = -1, .second = -1 };
	const struct cleat_service service = { .exchange = wake_the_first,
					       .arg = &c };
	const struct cleat_serve_options opt = { .addrs = addrs,
						 .mode = mode,
						 .count = 3,
						 .backend = both_backend(),
						 .idle_ns = 20 * CLEAT_MSEC,
						 .stop_fd = t->fd[0],
						 .event = come,
						 .event_arg = &c };
	int err;

	assert_int_equal(timerfd_settime(t->fd[0], 0, &before_long, NULL), 0);
	err = cleat_serve(&service, &opt);
	if (c.first >= 0)
		close(c.first);
	if (c.second >= 0)
		close(c.second);
	MUST(err);
	if (c.is_paused && c.heard == 2) /* at last they had stacks */
		assert_string_not_equal(fault_disarm(), "mprotect");
	return 0;
}

static int first_bytes(struct things *t)
{
	return first_bytes_in(t, CLEAT_SERVE_FIBERS);
}

static int first_bytes_forked(struct things *t)
{
	return first_bytes_in(t, CLEAT_SERVE_PROCESSES);
}

static const struct play {
	const char *name;
	scenario *play;
	enum {
		SOCKETS,
		PAIR,
		STOP,
		TIMER
	} fds; /* what FD is */
	bool only_fiber, only_thread;
} plays[] = {
	{ "tcp", over_tcp, SOCKETS, false, false },
	{ "fed", fed, SOCKETS, true, false },
	{ "both loopbacks", over_both, SOCKETS, false, false },
	{ "unix", over_unix, SOCKETS, false, false },
	{ "by name", by_name, SOCKETS, false, false },
	{ "a stale path", over_stale, SOCKETS, false, false },
	{ "adopting", adopting, PAIR, false, false },
	{ "fibers", fibers, SOCKETS, true, false },
	{ "odds and ends", odds_and_ends, PAIR, false, false },
	{ "datagrams", datagrams, SOCKETS, false, false },
	{ "unix datagrams", unix_datagrams, SOCKETS, false, false },
	{ "a raw socket", raw_socket, SOCKETS, false, false },
	{ "lookups", lookups, SOCKETS, false, false },
	{ "serving", serving, STOP, false, true },
	{ "first bytes", first_bytes, TIMER, false, true },
	{ "first bytes, forked", first_bytes_forked, TIMER, false, true },
};

struct run {
	const struct play *play;
	bool fiber;
	enum fault_kind kind;
	unsigned long n;
	struct things t;
	int err;
	const char *failed; /* the call, or NULL: there are no N */
};

static void things_open(struct things *t, const struct play *p)
{
	*t = (struct things){ .fd = { -1, -1 } };
	if (p->fds == PAIR)
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC,
					    0, t->fd),
				 0);
	else if (p->fds == STOP)
		t->fd[0] = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
	else if (p->fds == TIMER)
		t->fd[0] = timerfd_create(CLOCK_MONOTONIC,
					  TFD_CLOEXEC | TFD_NONBLOCK);
	else
		t->fd[0] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static void things_close(struct things *t)
{
	cleat_scope_close(t->s); /* fibers first: they use the rest */
	cleat_close(t->a);
	cleat_close(t->b);
	cleat_unlisten(t->l);
	cleat_dgram_close(t->d);
	cleat_dgram_close(t->e);
	cleat_chan_close(t->ch);
	free(t->data);
	for (int i = 0; i < 2; i++) {
		if (t->fd[i] >= 0)
			close(t->fd[i]);
	}
}

static void play_it(void *arg)
{
	struct run *r = arg;

	r->err = r->play->play(&r->t);
	things_close(&r->t);
}

/* On a thread of its own, to which no failure is known. */
static void *run_main(void *arg)
{
	struct run *r = arg;

	things_open(&r->t, r->play);
	fault_arm(r->kind, r->n);
	if (!r->fiber) {
		play_it(r);
	} else {
		int err = both_run(play_it, r);

		if (err < 0) {
			r->err = explained(err, "cleat_run");
			things_close(&r->t);
		}
	}
	r->failed = fault_disarm();
	return NULL;
}

static char under_way[128];

static void hung(int sig)
{
	(void)sig;
	(void)!write(STDERR_FILENO, under_way, strlen(under_way));
	_exit(1);
}

/* Without these no path can be removed. */
static bool spares_path(const char *failed)
{
	return failed &&
	       (strcmp(failed, "lstat") == 0 || strcmp(failed, "unlink") == 0);
}

static void run_once(struct run *r)
{
	struct both_left before = both_count();
	long live = fault_live();
	pthread_t thread;
	struct stat st;

	(void)snprintf(under_way, sizeof(under_way), "hung: %s, call %lu%s\n",
		       r->play->name, r->n, r->fiber ? ", on a fiber" : "");
	(void)alarm(50);
	assert_int_equal(pthread_create(&thread, NULL, run_main, r), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	(void)alarm(0);
	both_assert_nothing_left(before);
	if (r->t.changed)
		fail_msg("%s: descriptor changed after %s (call %lu) failed",
			 r->play->name, r->failed, r->n);
	if (fault_live() != live)
		fail_msg("%s: %ld blocks left after %s (call %lu) failed",
			 r->play->name, fault_live() - live, r->failed, r->n);
	if (r->play->play != over_stale && !spares_path(r->failed) &&
	    lstat(unix_addr + 5, &st) == 0)
		fail_msg("%s: path left after %s (call %lu) failed",
			 r->play->name, r->failed, r->n);
	(void)unlink(unix_addr + 5);
}

static void walk(const struct play *p, bool fiber, enum fault_kind kind)
{
	struct run r = { .play = p, .fiber = fiber, .kind = kind };

	do {
		r.n++;
		run_once(&r);
		if (r.err == -ETIMEDOUT ||
		    (r.err < 0 && (kind == FAULT_EINTR || !r.failed)))
			fail_msg("%s: %d after %s (call %lu) failed", p->name,
				 r.err, r.failed, r.n);
	} while (r.failed);
	assert_int_equal(r.err, 0);
}

static void walk_all(bool fiber)
{
	for (size_t i = 0; i < COUNT(plays); i++) {
		if (fiber ? plays[i].only_thread : plays[i].only_fiber)
			continue;
		walk(&plays[i], fiber, FAULT_ERROR);
		walk(&plays[i], fiber, FAULT_EINTR);
	}
}

static void on_a_thread(void **state)
{
	(void)state;
	walk_all(false);
}

static void on_fibers(void **state)
{
	(void)state;
	walk_all(true);
}

static void on_an_older_kernel(void **state)
{
	(void)state;
	fault_old_kernel = true;
	walk_all(true);
	fault_old_kernel = false;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(on_a_thread),
		cmocka_unit_test(on_fibers),
		cmocka_unit_test(on_an_older_kernel),
	};
	const struct sigaction sa = { .sa_handler = hung };

	(void)sigaction(SIGALRM, &sa, NULL);
	(void)snprintf(unix_addr, sizeof(unix_addr),
		       "unix:/tmp/cleat-test-fault-%d", getpid());
	(void)snprintf(gram_addr, sizeof(gram_addr),
		       "unixgram:/tmp/cleat-test-fault-%d", getpid());
	return cmocka_run_group_tests(tests, NULL, NULL);
}
