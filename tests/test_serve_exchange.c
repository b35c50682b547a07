/* SPDX-License-Identifier: MIT */
/* cleat_serve() where clients speak first, and are served an exchange at a
 * time.
 */
#include "serving.h"

/* An exchange that lasts until the connection's end. */
static bool echo_all(struct cleat_conn *c, void *arg)
{
	echo(c, arg);
	return false;
}

static void init(struct server *s, enum cleat_serve_mode mode,
		 const char *const *addrs, struct shared *sh)
{
	server_init(s, mode, addrs);
	s->service = (struct cleat_service){
		.exchange = echo_all,
		.dgram = echo_dgram,
		.arg = sh,
	};
}

/* N that have said nothing, and have been accepted. */
static void dial_many(struct server *s, const struct cleat_sockaddr *at,
		      int *fd, int n)
{
	for (int i = 0; i < n; i++) {
		fd[i] = dial(at);
		if (!(s->opt.mute & 1u << CLEAT_SERVE_ACCEPTED))
			(void)wait_event(s, CLEAT_SERVE_ACCEPTED);
	}
}

/* The handler is called when there is something, in each mode. */
static void called_for_the_first_byte(enum cleat_serve_mode mode)
{
	enum {
		CLIENTS = 5
	};
	int n = mode == CLEAT_SERVE_ONE ? 1 : CLIENTS;
	struct shared *sh = shared_new();
	struct cleat_sockaddr at;
	struct server s;
	int fd[CLIENTS];

	init(&s, mode, loopback, sh);
	server_start(&s);
	at = where(&s);
	for (int round = 0; round < 3; round++) {
		dial_many(&s, &at, fd, n);
		for (int i = n; i-- > 0;) {
			calls_are(sh, round * n + n - 1 - i);
			talk(fd[i], "hello");
			calls_are(sh, round * n + n - i);
			talk(fd[i], "and again");
		}
		for (int i = 0; i < n; i++) {
			hang_up(fd[i]);
			assert_int_equal(
				wait_event(&s, CLEAT_SERVE_ENDED)->error, 0);
		}
	}
	server_end(&s);
	assert_int_equal(count_events(&s, CLEAT_SERVE_ENDED), 3 * n);
	shared_free(sh);
}

static void first_bytes(void)
{
	for (size_t i = 0; i < COUNT(modes); i++)
		called_for_the_first_byte(modes[i]);
}

/* What is there already when it is accepted, or comes at once. */
static void at_once(void)
{
	enum {
		CLIENTS = 50
	};
	struct shared *sh = shared_new();
	struct cleat_sockaddr at;
	struct server s;
	int fd[CLIENTS], listener = listen_here(&at);

	for (int i = 0; i < CLIENTS; i++) {
		fd[i] = dial(&at);
		if (i % 2 == 0)
			say(fd[i], "me");
	}
	init(&s, CLEAT_SERVE_FIBERS, NULL, sh);
	s.opt.fds = &listener;
	s.opt.n_fds = 1;
	server_start(&s);
	for (int i = 0; i < CLIENTS; i++) {
		if (i % 2 == 0)
			hear(fd[i], "me");
		talk(fd[i], "again");
		hang_up(fd[i]);
	}
	server_end(&s);
	calls_are(sh, CLIENTS);
	shared_free(sh);
}

/* Who ends without a word: before he is accepted, and after. */
static void not_called_for_an_end(enum cleat_serve_mode mode)
{
	struct shared *sh = shared_new();
	const struct event *e;
	struct cleat_sockaddr at;
	struct server s;
	int fd, listener = listen_here(&at);

	hang_up(dial(&at));
	reset(dial(&at));
	init(&s, mode, NULL, sh);
	s.opt.fds = &listener;
	s.opt.n_fds = 1;
	server_start(&s);
	for (int i = 0; i < 4; i++) {
		if (i >= 2) {
			fd = dial(&at);
			(void)wait_event(&s, CLEAT_SERVE_ACCEPTED);
			if (i == 2)
				hang_up(fd);
			else
				reset(fd);
		}
		e = wait_event(&s, CLEAT_SERVE_ENDED);
		assert_int_equal(e->error, i % 2 == 0 ? 0 : -ECONNRESET);
		assert_int_equal(e->bytes.received, 0);
		assert_int_equal(e->peer.any.sa_family, AF_INET);
		assert_true(e->duration_ns >= 0 && e->duration_ns < HOUR);
	}
	server_end(&s);
	calls_are(sh, 0);
	shared_free(sh);
}

static void ends_without_a_word(void)
{
	for (size_t i = 0; i < COUNT(modes); i++)
		not_called_for_an_end(modes[i]);
}

/* Unix sockets, several listeners, and urgent data. */
static void all_kinds(void)
{
	struct shared *sh = shared_new();
	struct cleat_sockaddr at[5];
	struct kinds k;
	struct server s;
	int fd, n = 0;

	kinds_open(&k);
	init(&s, CLEAT_SERVE_FIBERS, k.addrs, sh);
	server_start(&s);
	for (int i = 0; i < 5; i++)
		at[i] = where(&s);
	for (int i = 0; i < 5; i++) {
		if (i == 1 || i == 3)
			continue; /* datagrams */
		fd = dial(&at[i]);
		(void)wait_event(&s, CLEAT_SERVE_ACCEPTED);
		calls_are(sh, n);
		talk(fd, "hello");
		calls_are(sh, ++n);
		hang_up(fd);
		(void)wait_event(&s, CLEAT_SERVE_ENDED);
		fd = dial(&at[i]);
		(void)wait_event(&s, CLEAT_SERVE_ACCEPTED);
		hang_up(fd);
		(void)wait_event(&s, CLEAT_SERVE_ENDED);
		calls_are(sh, n);
	}
	fd = dial(&at[0]);
	(void)wait_event(&s, CLEAT_SERVE_ACCEPTED);
	assert_int_equal(send(fd, "!", 1, MSG_OOB), 1);
	talk(fd, "after it");
	hang_up(fd);
	server_end(&s);
	kinds_close(&k);
	shared_free(sh);
}

/* Limits of time */

static void silent_for_too_long(enum cleat_serve_mode mode)
{
	enum {
		CLIENTS = 20
	};
	int n = mode == CLEAT_SERVE_ONE ? 1 : CLIENTS;
	struct shared *sh = shared_new();
	const struct event *e;
	struct cleat_sockaddr at;
	struct server s;
	int fd[CLIENTS];

	for (int is_life = 0; is_life < 2; is_life++) {
		init(&s, mode, loopback, sh);
		s.opt.idle_ns = is_life ? HOUR : 30 * CLEAT_MSEC;
		s.opt.lifetime_ns = is_life ? 30 * CLEAT_MSEC : HOUR;
		server_start(&s);
		at = where(&s);
		for (int round = 0; round < 2; round++) {
			dial_many(&s, &at, fd, n);
			for (int i = 0; i < n; i++) {
				hear_end(fd[i]);
				hang_up(fd[i]);
				e = wait_event(&s, CLEAT_SERVE_ENDED);
				assert_int_equal(e->error, -ETIMEDOUT);
				assert_true(e->duration_ns >= 30 * CLEAT_MSEC);
			}
		}
		server_end(&s);
	}
	calls_are(sh, 0);
	shared_free(sh);
}

static void limits_of_time(void)
{
	for (size_t i = 0; i < COUNT(modes); i++)
		silent_for_too_long(modes[i]);
}

/* The first byte ends the wait, and another silence begins. */
static void speaks_in_time(void)
{
	struct shared *sh = shared_new();
	struct cleat_sockaddr at;
	const struct event *e;
	struct server s;
	int silent, fd;

	init(&s, CLEAT_SERVE_FIBERS, loopback, sh);
	s.opt.idle_ns = 300 * CLEAT_MSEC;
	server_start(&s);
	at = where(&s);
	dial_many(&s, &at, &fd, 1);
	dial_many(&s, &at, &silent, 1);
	talk(fd, "in time");
	hear_end(silent);
	hear_end(fd);
	hang_up(silent);
	hang_up(fd);
	for (int i = 0; i < 2; i++) {
		e = wait_event(&s, CLEAT_SERVE_ENDED);
		assert_int_equal(e->error, -ETIMEDOUT);
		assert_true(e->duration_ns >= s.opt.idle_ns);
	}
	server_end(&s);
	calls_are(sh, 1);
	shared_free(sh);
}

/* Limits of number */

static void silent_ones_count(void)
{
	struct cleat_sockaddr at;
	struct server s;
	int fd[3];

	init(&s, CLEAT_SERVE_FIBERS, loopback, NULL);
	s.opt.max_conns = 2;
	server_start(&s);
	at = where(&s);
	dial_many(&s, &at, fd, 2);
	fd[2] = dial(&at);
	say(fd[2], "me");
	talk(fd[1], "I was here before");
	assert_false(has_word(fd[2]));
	hang_up(fd[0]);
	hear(fd[2], "me");
	assert_int_equal(wait_event(&s, CLEAT_SERVE_ACCEPTED)->active, 2);
	hang_up(fd[1]);
	hang_up(fd[2]);
	server_end(&s);

	init(&s, CLEAT_SERVE_FIBERS, loopback, NULL);
	s.opt.max_per_source = 2;
	server_start(&s);
	at = where(&s);
	dial_many(&s, &at, fd, 2);
	fd[2] = dial(&at);
	hear_end(fd[2]);
	(void)wait_event(&s, CLEAT_SERVE_REJECTED);
	for (int i = 0; i < 3; i++)
		hang_up(fd[i]);
	for (int i = 0; i < 2; i++)
		(void)wait_event(&s, CLEAT_SERVE_ENDED);
	do { /* there is room a little after ENDED */
		fd[0] = dial(&at);
		say(fd[0], "x");
		if (recv(fd[0], &(char){ 0 }, 1, 0) == 1)
			break;
		hang_up(fd[0]);
		before_another_try(&s);
	} while (true);
	hang_up(fd[0]);
	server_end(&s);
}

static void count_of_connections(enum cleat_serve_mode mode)
{
	struct shared *sh = shared_new();
	struct cleat_sockaddr at;
	struct server s;
	int fd[3];

	init(&s, mode, loopback, sh);
	s.opt.count = 3;
	server_start(&s);
	at = where(&s);
	dial_many(&s, &at, fd, 3);
	for (int i = 0; i < 3; i++) {
		if (i > 0) /* and one never speaks */
			talk(fd[i], "still");
		hang_up(fd[i]);
	}
	server_join(&s);
	assert_int_equal(s.result, 0);
	assert_int_equal(count_events(&s, CLEAT_SERVE_ENDED), 3);
	calls_are(sh, 2);
	shared_free(sh);
}

static void counts(void)
{
	count_of_connections(CLEAT_SERVE_FIBERS);
	count_of_connections(CLEAT_SERVE_THREADS);
	count_of_connections(CLEAT_SERVE_PROCESSES);
}

/* Stopping */

static void may_speak_after_a_stop(enum cleat_serve_mode mode)
{
	struct cleat_sockaddr at;
	struct server s;
	int fd[2];
	int n = mode == CLEAT_SERVE_ONE ? 1 : 2;

	init(&s, mode, loopback, NULL);
	server_start(&s);
	at = where(&s);
	dial_many(&s, &at, fd, n);
	server_stop(&s);
	assert_int_equal(wait_event(&s, CLEAT_SERVE_DRAINING)->active, n);
	talk(fd[0], "better late");
	for (int i = n; i-- > 0;)
		hang_up(fd[i]);
	server_join(&s);
	assert_int_equal(s.result, 0);
	assert_int_equal(count_events(&s, CLEAT_SERVE_CUT), 0);
	assert_int_equal(count_events(&s, CLEAT_SERVE_ENDED), n);
}

static void cut_silent(enum cleat_serve_mode mode, unsigned workers,
		       int64_t drain)
{
	enum {
		CLIENTS = 100
	};
	int n = mode == CLEAT_SERVE_ONE ? 1 : CLIENTS;
	struct shared *sh = shared_new();
	struct cleat_sockaddr at;
	struct server s;
	int fd[CLIENTS];
	cleat_time stopped;

	init(&s, mode, loopback, sh);
	s.opt.workers = workers;
	s.opt.drain_ns = drain;
	server_start(&s);
	at = where(&s);
	dial_many(&s, &at, fd, n);
	if (n > 1)
		talk(fd[n / 2], "not I");
	stopped = cleat_now();
	server_stop(&s);
	if (drain == HOUR) {
		(void)wait_event(&s, CLEAT_SERVE_DRAINING);
		server_stop(&s); /* at once, then */
	}
	for (int i = 0; i < n; i++) {
		hear_end(fd[i]);
		hang_up(fd[i]);
	}
	if (drain != HOUR)
		assert_true(cleat_now() >= stopped + drain);
	server_join(&s);
	assert_int_equal(s.result, 0);
	assert_int_equal(count_events(&s, CLEAT_SERVE_CUT), 1);
	assert_int_equal(count_events(&s, CLEAT_SERVE_ENDED), n);
	for (int i = 0, spoke = mode == CLEAT_SERVE_THREADS; i < n; i++) {
		int error = wait_event(&s, CLEAT_SERVE_ENDED)->error;

		if (error != 0 || spoke-- == 0) /* a thread finds an end */
			assert_int_equal(error, -ECANCELED);
	}
	calls_are(sh, n > 1);
	shared_free(sh);
}

static void stops(void)
{
	for (size_t i = 0; i < COUNT(modes); i++) {
		may_speak_after_a_stop(modes[i]);
		cut_silent(modes[i], 1, 20 * CLEAT_MSEC);
		cut_silent(modes[i], 1, HOUR);
	}
	cut_silent(CLEAT_SERVE_FIBERS, 3, HOUR);
}

/* A child has its own connection, and no silent one: or this would not end. */
static void not_inherited(void)
{
	struct cleat_sockaddr at;
	struct server s;
	int fd[4];

	init(&s, CLEAT_SERVE_PROCESSES, loopback, NULL);
	server_start(&s);
	at = where(&s);
	dial_many(&s, &at, fd, 4);
	for (int i = 4; i-- > 0;)
		talk(fd[i], "forked");
	for (int i = 0; i < 4; i++) {
		assert_int_equal(shutdown(fd[i], SHUT_WR), 0);
		hear_end(fd[i]);
		hang_up(fd[i]);
	}
	server_end(&s);
}

/* What is told */

static void read_line(struct cleat_conn *c, void *arg)
{
	char line[16];

	(void)arg;
	(void)cleat_recv_until(c, line, sizeof(line), "\n", 1, CLEAT_FOREVER);
}

/* One client is cut off, another within a line. */
static void end_badly(struct server *s, unsigned mute)
{
	struct cleat_sockaddr at;
	int fd;

	server_init(s, CLEAT_SERVE_FIBERS, loopback);
	s->service = (struct cleat_service){ .stream = read_line };
	s->opt.mute = mute;
	server_start(s);
	at = where(s);
	reset(dial(&at));
	fd = dial(&at);
	say(fd, "half a line");
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	hear_end(fd);
	hang_up(fd);
	server_end(s);
}

static void everyday_and_faults(void)
{
	struct server s;
	bool is_told[2] = { false };

	end_badly(&s, 0);
	assert_int_equal(count_events(&s, CLEAT_SERVE_ENDED), 2);
	for (int i = 0; i < 2; i++) {
		const struct event *e = wait_event(&s, CLEAT_SERVE_ENDED);

		assert_int_equal(e->error,
				 e->is_fault ? CLEAT_ECUT : -ECONNRESET);
		is_told[e->is_fault] = true;
	}
	assert_true(is_told[false] && is_told[true]);
}

static void muted_but_for_faults(void)
{
	struct server s;

	end_badly(&s, 1u << CLEAT_SERVE_ACCEPTED | 1u << CLEAT_SERVE_ENDED);
	assert_int_equal(count_events(&s, CLEAT_SERVE_ACCEPTED), 0);
	assert_int_equal(count_events(&s, CLEAT_SERVE_ENDED), 1);
	assert_int_equal(wait_event(&s, CLEAT_SERVE_ENDED)->error, CLEAT_ECUT);
}

/* Many */

/* Some speak among a thousand that do not, in any order. */
static void one_of_many(void)
{
	enum {
		CLIENTS = 1000
	};
	struct shared *sh = shared_new();
	static int fd[CLIENTS];
	struct cleat_sockaddr at;
	struct server s;

	room_for(2 * CLIENTS + 100);
	init(&s, CLEAT_SERVE_FIBERS, loopback, sh);
	s.opt.mute = 1u << CLEAT_SERVE_ACCEPTED | 1u << CLEAT_SERVE_ENDED;
	server_start(&s);
	at = where(&s);
	dial_many(&s, &at, fd, CLIENTS);
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < CLIENTS; i += 9)
			talk(fd[(i * 7) % CLIENTS], "I");
	}
	for (int i = 0; i < CLIENTS; i++)
		say(fd[i], "all of us");
	for (int i = 0; i < CLIENTS; i++) {
		hear(fd[i], "all of us");
		hang_up(fd[i]);
	}
	server_end(&s);
	calls_are(sh, CLIENTS);
	shared_free(sh);
}

/* Silence costs a block; and a handler that waits, its page besides. */
static void memory(void)
{
	enum {
		CLIENTS = 2000
	};
	static int fd[CLIENTS];
	struct cleat_sockaddr at;
	struct server s;
	long before;

	if (has_sanitizer())
		skip();
	room_for(2 * CLIENTS + 100);
	init(&s, CLEAT_SERVE_FIBERS, loopback, NULL);
	s.opt.mute = 1u << CLEAT_SERVE_ACCEPTED | 1u << CLEAT_SERVE_ENDED;
	server_start(&s);
	at = where(&s);
	memset(fd, 0, sizeof(fd));
	dial_many(&s, &at, fd, 1);
	talk(fd[0], "all is set up");
	before = resident();
	dial_many(&s, &at, fd + 1, CLIENTS - 1);
	talk(fd[CLIENTS - 1], "all are in"); /* accepted last */
	assert_in_range(resident() - before, CLIENTS * 100, CLIENTS * 600);
	for (int i = 1; i < CLIENTS; i++)
		talk(fd[i], "me too");
	assert_in_range(resident() - before, CLIENTS * 1000,
			CLIENTS * (sysconf(_SC_PAGESIZE) + 600));
	for (int i = 0; i < CLIENTS; i++)
		hang_up(fd[i]);
	server_end(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		THREAD(first_bytes),
		THREAD(at_once),
		THREAD(ends_without_a_word),
		THREAD(all_kinds),
		THREAD(limits_of_time),
		THREAD(speaks_in_time),
		THREAD(silent_ones_count),
		THREAD(counts),
		THREAD(stops),
		THREAD(not_inherited),
		THREAD(everyday_and_faults),
		THREAD(muted_but_for_faults),
		THREAD(one_of_many),
		THREAD(memory),
		THREAD(no_child_is_left),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
