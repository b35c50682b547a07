/* SPDX-License-Identifier: MIT */
/* cleat_serve() and an exchange handler: connections that rest in between. */
#include "serving.h"

#include <sys/ioctl.h>

static void init(struct server *s, enum cleat_serve_mode mode,
		 const char *const *addrs,
		 bool (*exchange)(struct cleat_conn *, void *),
		 struct shared *sh)
{
	server_init(s, mode, addrs);
	s->service = (struct cleat_service){ .exchange = exchange, .arg = sh };
}

static void one_call_each(enum cleat_serve_mode mode, const char *const *addrs)
{
	enum {
		CLIENTS = 4,
		ROUNDS = 40 /* enough to be fed */
	};
	int n = mode == CLEAT_SERVE_ONE ? 1 : CLIENTS;
	struct shared *sh = shared_new();
	const struct event *e;
	struct cleat_sockaddr at;
	struct server s;
	int fd[CLIENTS];

	init(&s, mode, addrs, echo_some, sh);
	server_start(&s);
	at = where(&s);
	for (int i = 0; i < n; i++)
		fd[i] = dial(&at);
	for (int round = 0; round < ROUNDS; round++) {
		for (int i = 0; i < n; i++)
			talk(fd[i], "hello");
	}
	for (int i = 0; i < n; i++) {
		hang_up(fd[i]);
		e = wait_event(&s, CLEAT_SERVE_ENDED);
		assert_int_equal(e->error, 0);
		assert_int_equal(e->bytes.received, 5 * ROUNDS);
		assert_int_equal(e->bytes.sent, 5 * ROUNDS);
	}
	server_end(&s);
	calls_are(sh, n * ROUNDS);
	shared_free(sh);
}

static void one_for_each_message(void)
{
	struct kinds k;
	const char *unix_addr[] = { NULL, NULL };

	for (size_t i = 0; i < COUNT(modes); i++)
		one_call_each(modes[i], loopback);
	kinds_open(&k);
	unix_addr[0] = k.unix_addr;
	one_call_each(CLEAT_SERVE_FIBERS, unix_addr);
	kinds_close(&k);
}

/* Two pieces are one message. */
static bool echo_hello(struct cleat_conn *c, void *arg)
{
	struct shared *sh = arg;
	const void *data;
	ssize_t n;
	int has = 5;

	shared_enter(sh);
	while (atomic_load(&sh->calls) == 1 && has >= 0 && has < 10)
		assert_int_equal(ioctl(cleat_conn_fd(c), FIONREAD, &has), 0);
	n = cleat_view(c, &data, 0); /* is there, or it is the end */
	return n > 0 && cleat_send(c, data, (size_t)n, CLEAT_FOREVER) == 0;
}

/* For a moment, in which a call for nothing would come. */
static void is_silent(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	assert_int_equal(poll(&p, 1, 10), 0);
}

/* A handler need not wait: also where the kernel tells of what has been read
 * already, or no longer receives ahead.
 */
static void called_for_something(void)
{
	enum {
		LARGE = 4096
	};
	struct shared *sh = shared_new();
	static char large[LARGE + 1];
	struct cleat_sockaddr at;
	struct server s;
	int fd;

	memset(large, 'l', LARGE);
	init(&s, CLEAT_SERVE_FIBERS, loopback, echo_hello, sh);
	server_start(&s);
	at = where(&s);
	fd = dial(&at);
	(void)wait_event(&s, CLEAT_SERVE_ACCEPTED);
	say(fd, "hello");
	while (atomic_load(&sh->calls) == 0)
		sched_yield();
	talk(fd, "hello");
	hear(fd, "hello");
	is_silent(fd);
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 40; i++)
			talk(fd, "word");
		say(fd, large);
		assert_int_equal(recv(fd, large, LARGE, MSG_WAITALL), LARGE);
		is_silent(fd);
	}
	hang_up(fd);
	server_end(&s);
	shared_free(sh);
}

/* What was received ahead is another exchange's, at once. */
static bool echo_byte(struct cleat_conn *c, void *arg)
{
	char byte;
	ssize_t n = cleat_recv(c, &byte, 1, CLEAT_FOREVER);

	if (n > 0)
		shared_enter(arg);
	return n > 0 && cleat_send(c, &byte, 1, CLEAT_FOREVER) == 0;
}

static void several_at_once(void)
{
	for (size_t i = 0; i < COUNT(modes); i++) {
		struct shared *sh = shared_new();
		struct cleat_sockaddr at;
		struct server s;
		int fd;

		init(&s, modes[i], loopback, echo_line, sh);
		server_start(&s);
		at = where(&s);
		fd = dial(&at);
		talk(fd, "one\ntwo\nthree\n");
		calls_are(sh, 3);
		say(fd, "fo");
		(void)wait_event(&s, CLEAT_SERVE_ACCEPTED);
		assert_false(has_word(fd));
		say(fd, "ur\n");
		hear(fd, "four\n");
		hang_up(fd);
		server_end(&s);
		calls_are(sh, 4);
		shared_free(sh);
	}
}

/* More of them than anybody may do in a row. */
static void bytes_in_a_row(void)
{
	struct shared *sh = shared_new();
	struct cleat_sockaddr at;
	struct server s;
	char text[251] = "";
	int fd[2];

	memset(text, 'x', sizeof(text) - 1);
	init(&s, CLEAT_SERVE_FIBERS, loopback, echo_byte, sh);
	server_start(&s);
	at = where(&s);
	for (int i = 0; i < 2; i++)
		fd[i] = dial(&at);
	for (int i = 0; i < 2; i++)
		say(fd[i], text);
	for (int i = 0; i < 2; i++)
		hear(fd[i], text);
	for (int i = 0; i < 2; i++)
		hang_up(fd[i]);
	server_end(&s);
	calls_are(sh, 2 * 250);
	shared_free(sh);
}

/* Handlers that wait: the other clients have one, too. */
static bool echo_four(struct cleat_conn *c, void *arg)
{
	char word[4];
	int err;

	shared_enter(arg);
	err = (int)cleat_recv_exactly(c, word, sizeof(word), CLEAT_FOREVER);
	shared_leave(arg);
	return err >= 0 &&
	       cleat_send(c, word, sizeof(word), CLEAT_FOREVER) == 0;
}

static void waiting_handlers(void)
{
	enum {
		CLIENTS = 40
	};
	struct shared *sh = shared_new();
	struct cleat_sockaddr at;
	struct server s;
	int fd[CLIENTS];

	init(&s, CLEAT_SERVE_FIBERS, loopback, echo_four, sh);
	server_start(&s);
	at = where(&s);
	for (int i = 0; i < CLIENTS; i++)
		fd[i] = dial(&at);
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < CLIENTS - 1; i++)
			say(fd[i], "ha");
		talk(fd[CLIENTS - 1], "full");
		for (int i = CLIENTS - 1; i-- > 0;) {
			say(fd[i], "lf");
			hear(fd[i], "half");
		}
	}
	for (int i = 0; i < CLIENTS; i++)
		hang_up(fd[i]);
	server_end(&s);
	assert_true(atomic_load(&sh->most) >= CLIENTS - 1);
	assert_int_equal(atomic_load(&sh->now), 0);
	shared_free(sh);
}

/* A reader that does not read holds up nobody else, and gets all. */
static void slow_reader(void)
{
	enum {
		MUCH = 4 << 20
	};
	static char much[MUCH];
	struct cleat_sockaddr at;
	struct server s;
	size_t sent = 0, got = 0;
	int slow, quick;

	init(&s, CLEAT_SERVE_FIBERS, loopback, echo_some, NULL);
	server_start(&s);
	at = where(&s);
	slow = dial(&at);
	quick = dial(&at);
	memset(much, 'm', sizeof(much));
	assert_int_equal(fcntl(slow, F_SETFL, O_NONBLOCK), 0);
	while (sent < MUCH) {
		struct pollfd p = { .fd = slow, .events = POLLOUT };
		ssize_t n = send(slow, much, MUCH - sent, MSG_NOSIGNAL);

		if (n > 0)
			sent += (size_t)n;
		else if (poll(&p, 1, 200) == 0)
			break; /* it is stuck, as it ought to be */
	}
	talk(quick, "never mind");
	assert_int_equal(fcntl(slow, F_SETFL, 0), 0);
	while (got < sent) {
		ssize_t n = recv(slow, much, MUCH, 0);

		assert_true(n > 0);
		got += (size_t)n;
	}
	assert_int_equal(got, sent);
	talk(slow, "here I am");
	hang_up(slow);
	hang_up(quick);
	server_end(&s);
}

/* Swallows, and never answers: its only call is one that can give way. */
static bool swallow_line(struct cleat_conn *c, void *arg)
{
	char line[8];

	shared_enter(arg);
	return cleat_recv_until(c, line, sizeof(line), "\n", 1, CLEAT_FOREVER) >
	       0;
}

static char lines[60000];

static void *flood(void *arg)
{
	const int *fd = arg;

	while (send(*fd, lines, sizeof(lines), MSG_NOSIGNAL) > 0)
		;
	return NULL;
}

/* Some who always have something to say hold up nobody else. */
static void floods(void)
{
	enum {
		FLOODS = 3
	};
	struct shared *sh = shared_new();
	struct cleat_sockaddr at;
	pthread_t thread[FLOODS];
	int fd[FLOODS], other;
	struct server s;

	memset(lines, '\n', sizeof(lines));
	init(&s, CLEAT_SERVE_FIBERS, loopback, swallow_line, sh);
	server_start(&s);
	at = where(&s);
	other = dial(&at);
	say(other, "a\nb\n"); /* two attendants are there */
	for (int i = 0; i < FLOODS; i++) {
		fd[i] = dial(&at);
		assert_int_equal(
			pthread_create(&thread[i], NULL, flood, &fd[i]), 0);
	}
	while (atomic_load(&sh->calls) < 100000)
		sched_yield();
	say(other, "too long a line");
	hear_end(other);
	hang_up(other);
	for (int i = 0; i < FLOODS; i++) {
		(void)shutdown(fd[i], SHUT_RDWR);
		assert_int_equal(pthread_join(thread[i], NULL), 0);
		(void)close(fd[i]);
	}
	server_end(&s);
	shared_free(sh);
}

/* Ends */

static bool first_word_is_last(struct cleat_conn *c, void *arg)
{
	(void)echo_some(c, arg);
	return false;
}

/* Notes a failure, and goes on as if nothing had been. */
static bool carefree(struct cleat_conn *c, void *arg)
{
	struct cleat_conn *none;

	return echo_some(c, arg) && cleat_connect(&none, "?", NULL, 0) < 0;
}

static bool never_reads(struct cleat_conn *c, void *arg)
{
	(void)c;
	shared_enter(arg);
	return atomic_load(&((struct shared *)arg)->calls) < 1000;
}

static void how_they_end(void)
{
	for (size_t i = 0; i < COUNT(modes); i++) {
		struct shared *sh = shared_new();
		struct cleat_sockaddr at;
		struct server s;
		int fd;

		init(&s, modes[i], loopback, first_word_is_last, sh);
		server_start(&s);
		at = where(&s);
		fd = dial(&at);
		talk(fd, "goodbye");
		hear_end(fd);
		hang_up(fd);
		assert_int_equal(wait_event(&s, CLEAT_SERVE_ENDED)->error, 0);
		server_end(&s);

		init(&s, modes[i], loopback, carefree, sh);
		server_start(&s);
		at = where(&s);
		fd = dial(&at);
		talk(fd, "one");
		talk(fd, "two");
		hang_up(fd);
		assert_int_equal(wait_event(&s, CLEAT_SERVE_ENDED)->error, 0);
		server_end(&s);
		calls_are(sh, 3);
		shared_free(sh);
	}
}

/* At rest, fed or not.  A child would have the client's socket, too. */
static void reset_at_rest(void)
{
	for (size_t i = 0; i < COUNT(modes); i++) {
		if (modes[i] == CLEAT_SERVE_PROCESSES)
			continue;
		for (int words = 1; words <= 40; words += 39) {
			struct cleat_sockaddr at;
			struct server s;
			int fd;

			init(&s, modes[i], loopback, echo_some, NULL);
			server_start(&s);
			at = where(&s);
			fd = dial(&at);
			for (int k = 0; k < words; k++)
				talk(fd, "word");
			reset(fd);
			assert_int_equal(
				wait_event(&s, CLEAT_SERVE_ENDED)->error,
				-ECONNRESET);
			server_end(&s);
		}
	}
}

/* Within an exchange: the first look at the end of it finds the error, which
 * the kernel tells once.
 */
static bool answer_after_reset(struct cleat_conn *c, void *arg)
{
	struct pollfd p = { .fd = cleat_conn_fd(c) };
	char byte;
	ssize_t n = cleat_recv(c, &byte, 1, CLEAT_FOREVER);

	shared_enter(arg);
	if (n == 1)
		assert_int_equal(poll(&p, 1, 20000), 1);
	return n == 1;
}

static void reset_within(void)
{
	for (size_t i = 0; i < COUNT(modes); i++) {
		struct shared *sh;
		struct cleat_sockaddr at;
		struct server s;
		int fd;

		if (modes[i] == CLEAT_SERVE_PROCESSES)
			continue; /* a child has the client's socket, too */
		sh = shared_new();
		init(&s, modes[i], loopback, answer_after_reset, sh);
		server_start(&s);
		at = where(&s);
		fd = dial(&at);
		say(fd, "x");
		while (atomic_load(&sh->calls) == 0)
			sched_yield();
		reset(fd);
		assert_int_equal(wait_event(&s, CLEAT_SERVE_ENDED)->error,
				 -ECONNRESET);
		server_end(&s);
		shared_free(sh);
	}
}

/* A handler that does nothing is called on, and keeps nobody from a turn. */
static void idle_handler(void)
{
	struct shared *sh = shared_new();
	struct cleat_sockaddr at;
	struct server s;
	int fd;

	init(&s, CLEAT_SERVE_FIBERS, loopback, never_reads, sh);
	server_start(&s);
	at = where(&s);
	fd = dial(&at);
	say(fd, "there is something");
	hear_end(fd);
	hang_up(fd);
	server_end(&s);
	calls_are(sh, 1000);
	shared_free(sh);
}

/* Limits of time */

static void idle_after(int words)
{
	struct cleat_sockaddr at;
	const struct event *e;
	struct server s;
	int fd;

	init(&s, CLEAT_SERVE_FIBERS, loopback, echo_some, NULL);
	s.opt.idle_ns = 50 * CLEAT_MSEC;
	server_start(&s);
	at = where(&s);
	fd = dial(&at);
	for (int i = 0; i < words; i++)
		talk(fd, "still here");
	hear_end(fd);
	hang_up(fd);
	e = wait_event(&s, CLEAT_SERVE_ENDED);
	assert_int_equal(e->error, -ETIMEDOUT);
	assert_true(e->duration_ns >= s.opt.idle_ns);
	server_end(&s);
}

static void too_long_at_rest(void)
{
	idle_after(1);
	idle_after(40);
}

/* Whoever speaks lives on past many such limits; his lifetime ends him. */
static void lifetime(void)
{
	struct cleat_sockaddr at;
	const struct event *e;
	struct server s;
	char c;
	int fd;

	init(&s, CLEAT_SERVE_FIBERS, loopback, echo_some, NULL);
	s.opt.idle_ns = HOUR;
	s.opt.lifetime_ns = 100 * CLEAT_MSEC;
	server_start(&s);
	at = where(&s);
	fd = dial(&at);
	while (send(fd, "x", 1, MSG_NOSIGNAL) == 1 && recv(fd, &c, 1, 0) == 1)
		;
	hang_up(fd);
	e = wait_event(&s, CLEAT_SERVE_ENDED);
	assert_int_equal(e->error, -ETIMEDOUT);
	assert_true(e->duration_ns >= s.opt.lifetime_ns);
	server_end(&s);
}

/* The word says how many milliseconds he may be silent; 0 for ever. */
static bool set_limit(struct cleat_conn *c, void *arg)
{
	char word[8] = "";

	(void)arg;
	if (cleat_recv_exactly(c, word, 4, CLEAT_FOREVER) < 0)
		return false;
	cleat_conn_limit(c, strtol(word, NULL, 10) * CLEAT_MSEC, CLEAT_FOREVER);
	return cleat_send(c, word, 4, CLEAT_FOREVER) == 0;
}

/* Each has his own, in any order, and it may change. */
static void limits_of_their_own(void)
{
	static const char *const words[] = { "0200", "0050", "9999", "0100",
					     "0000" };
	struct cleat_sockaddr at;
	struct server s;
	cleat_time begun;
	int fd[5];

	init(&s, CLEAT_SERVE_FIBERS, loopback, set_limit, NULL);
	server_start(&s);
	at = where(&s);
	for (int i = 0; i < 5; i++)
		fd[i] = dial(&at);
	begun = cleat_now();
	for (int i = 0; i < 5; i++)
		talk(fd[i], words[i]);
	hear_end(fd[1]);
	assert_true(cleat_now() >= begun + 50 * CLEAT_MSEC);
	hear_end(fd[3]);
	assert_true(cleat_now() >= begun + 100 * CLEAT_MSEC);
	hear_end(fd[0]);
	assert_true(cleat_now() >= begun + 200 * CLEAT_MSEC);
	talk(fd[2], "0000"); /* longer than before */
	talk(fd[4], "0020"); /* and shorter */
	begun = cleat_now();
	hear_end(fd[4]);
	assert_true(cleat_now() >= begun);
	talk(fd[2], "0030");
	hear_end(fd[2]);
	for (int i = 0; i < 5; i++) {
		assert_int_equal(wait_event(&s, CLEAT_SERVE_ENDED)->error,
				 -ETIMEDOUT);
		hang_up(fd[i]);
	}
	server_end(&s);
}

/* Who has said a word has no limit; "more" is half of one. */
static bool half_or_whole(struct cleat_conn *c, void *arg)
{
	char word[4] = "";
	int err;

	(void)arg;
	cleat_conn_limit(c, 0, CLEAT_FOREVER);
	do
		err = (int)cleat_recv_exactly(c, word, 4, CLEAT_FOREVER);
	while (err >= 0 && memcmp(word, "more", 4) == 0);
	return err >= 0 && cleat_send(c, word, 4, CLEAT_FOREVER) == 0;
}

/* Two attendants know of no limit; the one that is told of the first is called
 * away.
 */
static void limit_while_one_is_away(void)
{
	int fd[3], listener;
	struct cleat_sockaddr at;
	struct server s;

	listener = listen_here(&at);
	fd[0] = dial(&at);
	say(fd[0], "stay"); /* and so he never had one */
	init(&s, CLEAT_SERVE_FIBERS, NULL, half_or_whole, NULL);
	s.opt.fds = &listener;
	s.opt.n_fds = 1;
	s.opt.idle_ns = 100 * CLEAT_MSEC;
	server_start(&s);
	hear(fd[0], "stay");
	for (int i = 0; i < 9; i++)
		talk(fd[0], "stay");
	(void)wait_event(&s, CLEAT_SERVE_ACCEPTED);
	for (int i = 1; i < 3; i++) {
		fd[i] = dial(&at);
		(void)wait_event(&s, CLEAT_SERVE_ACCEPTED);
	}
	say(fd[2], "more");
	hear_end(fd[1]);
	talk(fd[2], "done");
	for (int i = 0; i < 3; i++)
		hang_up(fd[i]);
	server_end(&s);
}

/* Many, each with a limit: the timers are as many as they. */
static void many_limits(void)
{
	enum {
		CLIENTS = 99
	};
	struct cleat_sockaddr at;
	struct server s;
	int fd[CLIENTS];

	init(&s, CLEAT_SERVE_FIBERS, loopback, echo_some, NULL);
	s.opt.idle_ns = 100 * CLEAT_MSEC;
	s.opt.lifetime_ns = HOUR;
	s.opt.mute = 1u << CLEAT_SERVE_ACCEPTED;
	server_start(&s);
	at = where(&s);
	for (int i = 0; i < CLIENTS; i++) {
		fd[i] = dial(&at);
		if (i % 3 > 0)
			say(fd[i], "x");
		if (i % 3 == 2)
			hang_up(fd[i]);
	}
	for (int i = 0; i < CLIENTS; i++) {
		if (i % 3 == 1)
			hear(fd[i], "x");
		if (i % 3 == 2)
			continue;
		hear_end(fd[i]);
		hang_up(fd[i]);
	}
	server_end(&s);
	assert_int_equal(count_events(&s, CLEAT_SERVE_ENDED), CLIENTS);
}

/* Stopping: who rests may speak on, and is cut. */
static void stops(void)
{
	for (size_t i = 0; i < COUNT(modes); i++) {
		struct cleat_sockaddr at;
		const struct event *e;
		struct server s;
		int fd;

		init(&s, modes[i], loopback, echo_some, NULL);
		server_start(&s);
		at = where(&s);
		fd = dial(&at);
		talk(fd, "before");
		server_stop(&s);
		(void)wait_event(&s, CLEAT_SERVE_DRAINING);
		talk(fd, "and after");
		server_stop(&s);
		hear_end(fd);
		hang_up(fd);
		server_join(&s);
		assert_int_equal(s.result, 0);
		e = wait_event(&s, CLEAT_SERVE_ENDED);
		if (modes[i] != CLEAT_SERVE_THREADS)
			assert_int_equal(e->error, -ECANCELED);
	}
}

/* Memory: with two kinds of handler, silent and after many words. */

static void rest_is_cheap(bool (*exchange)(struct cleat_conn *, void *))
{
	enum {
		CLIENTS = 1000
	};
	struct shared *sh = shared_new();
	static int fd[CLIENTS];
	struct cleat_sockaddr at;
	struct server s;
	long before;

	room_for(2 * CLIENTS + 100);
	init(&s, CLEAT_SERVE_FIBERS, loopback, exchange, sh);
	s.opt.mute = 1u << CLEAT_SERVE_ACCEPTED | 1u << CLEAT_SERVE_ENDED;
	server_start(&s);
	at = where(&s);
	fd[0] = dial(&at);
	talk(fd[0], "all is set up\n");
	before = resident();
	for (int i = 1; i < CLIENTS; i++)
		fd[i] = dial(&at);
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < CLIENTS; i++)
			talk(fd[i], "me\n");
	}
	if (!has_sanitizer())
		assert_in_range(resident() - before, CLIENTS * 100,
				CLIENTS * 1000);
	for (int i = 0; i < CLIENTS; i++)
		hang_up(fd[i]);
	server_end(&s);
	calls_are(sh, 1 + 3 * CLIENTS);
	shared_free(sh);
}

static void memory(void)
{
	rest_is_cheap(echo_some);
	rest_is_cheap(echo_line); /* what it received ahead is given back */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		THREAD(one_for_each_message),
		THREAD(called_for_something),
		THREAD(several_at_once),
		THREAD(bytes_in_a_row),
		THREAD(waiting_handlers),
		THREAD(slow_reader),
		THREAD(floods),
		THREAD(how_they_end),
		THREAD(reset_at_rest),
		THREAD(reset_within),
		THREAD(idle_handler),
		THREAD(too_long_at_rest),
		THREAD(lifetime),
		THREAD(limits_of_their_own),
		THREAD(limit_while_one_is_away),
		THREAD(many_limits),
		THREAD(stops),
		THREAD(memory),
		THREAD(no_child_is_left),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
