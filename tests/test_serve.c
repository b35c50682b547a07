/* SPDX-License-Identifier: MIT */
/* cleat_serve(): the four modes, several clients at once, handlers that do not
 * do well.
 */
#include "serving.h"

#include <cleat/chan.h>
#include <cleat/frame.h>
#include <signal.h>

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
		ask_dgram(&at[1], NULL);
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
	const struct event *e;
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
	e = wait_event(&s, CLEAT_SERVE_ENDED);
	assert_int_equal(e->error, -ECONNABORTED);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		THREAD(all_kinds),
		THREAD(both_loopbacks_have_one_port),
		THREAD(many_at_once),
		THREAD(workers_share_a_port),
		THREAD(one_at_a_time),
		THREAD(several_addresses_one_place),
		THREAD(handlers_that_return_at_once),
		THREAD(an_old_failure_is_not_the_handlers),
		THREAD(a_process_that_crashes),
		THREAD(a_process_keeps_no_other),
		THREAD(events_through_a_channel),
		THREAD(no_child_is_left),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
