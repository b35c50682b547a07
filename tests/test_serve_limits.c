/* SPDX-License-Identifier: MIT */
/* cleat_serve(): how many, how long, and what happens without descriptors. */
#include "serving.h"

#include <arpa/inet.h>
#include <sys/resource.h>

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

/* However the kernel spreads clients over the workers. */
static void ten_on_two_workers(void)
{
	enum {
		MOST = 10
	};
	struct cleat_sockaddr at;
	struct server s;
	int fd[MOST], next;

	server_init(&s, CLEAT_SERVE_FIBERS, loopback);
	s.service.stream = echo;
	s.opt.workers = 2;
	s.opt.max_conns = MOST;
	server_start(&s);
	at = where(&s);
	for (int i = 0; i < MOST; i++) {
		fd[i] = dial(&at);
		talk(fd[i], "in");
	}
	for (int i = 0; i < MOST; i++) {
		next = dial(&at);
		say(next, "me");
		assert_false(has_word(next));
		hang_up(fd[i]);
		hear(next, "me");
		fd[i] = next;
	}
	for (int i = 0; i < MOST; i++)
		hang_up(fd[i]);
	server_end(&s);
	for (unsigned i = 0; i < s.n_seen; i++)
		assert_true(s.seen[i].active <= MOST);
}

/* Who waits for a slot is on another worker, or at another address, than who
 * gives it back: nobody waits for ever.
 */
static void few_slots_many_clients(void)
{
	static const char *const addrs[] = { "127.0.0.1:0", "127.0.0.1:0",
					     NULL };
	enum {
		AT_ONCE = 12,
		ALL = 400
	};
	struct shared *sh = shared_new();
	struct cleat_sockaddr at[2];
	struct pollfd p[AT_ONCE];
	struct server s;
	int dialled = 0;

	server_init(&s, CLEAT_SERVE_FIBERS, addrs);
	s.service = (struct cleat_service){ .stream = echo, .arg = sh };
	s.opt.workers = 3;
	s.opt.max_conns = 2;
	s.opt.mute = 1u << CLEAT_SERVE_ACCEPTED | 1u << CLEAT_SERVE_ENDED;
	server_start(&s);
	for (int i = 0; i < 2; i++)
		at[i] = where(&s);
	for (int i = 0; i < AT_ONCE; i++)
		p[i] = (struct pollfd){ .fd = -1, .events = POLLIN };
	for (int done = 0; done < ALL;) {
		for (int i = 0; i < AT_ONCE; i++) {
			if (p[i].fd >= 0 && p[i].revents) {
				hear(p[i].fd, "x");
				hang_up(p[i].fd);
				p[i].fd = -1;
				done++;
			}
			if (p[i].fd < 0 && dialled < ALL) {
				p[i].fd = dial(&at[dialled++ % 2]);
				say(p[i].fd, "x");
			}
		}
		if (done < ALL)
			assert_true(poll(p, AT_ONCE, 20000) > 0);
	}
	server_end(&s);
	assert_int_equal(atomic_load(&sh->calls), ALL);
	assert_int_equal(atomic_load(&sh->most), 2);
	shared_free(sh);
}

static void max_conns_over_workers(void)
{
	for (int i = 0; i < 5; i++)
		ten_on_two_workers();
	few_slots_many_clients();
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

/* Running out of descriptors */

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
	int fd[CLIENTS], in_between, listener = listen_here(&at);

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
	assert_true(e->active > 0 && e->active < CLIENTS - 2);
	/* One finds room, perhaps two; the others wait on, which is no news. */
	in_between = (int)e->active;
	hang_up(fd[0]);
	hear(fd[in_between], "x");
	cpu = cpu_time();
	ok(cleat_sleep(cleat_in(400 * CLEAT_MSEC)));
	assert_true(cpu_time() - cpu < 100 * CLEAT_MSEC);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	(void)wait_event(&s, CLEAT_SERVE_RESUMED);
	for (int i = 1; i < CLIENTS; i++) {
		if (i != in_between)
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

/* Running out of threads */

#ifdef __GLIBC__ /* musl caps what may be asked for */
/* No thread has so large a stack.  Returns what it was before. */
static size_t stack_of_threads(size_t size)
{
	pthread_attr_t attr;
	size_t before;

	assert_int_equal(pthread_getattr_default_np(&attr), 0);
	assert_int_equal(pthread_attr_getstacksize(&attr, &before), 0);
	assert_int_equal(pthread_attr_setstacksize(&attr, size), 0);
	assert_int_equal(pthread_setattr_default_np(&attr), 0);
	assert_int_equal(pthread_attr_destroy(&attr), 0);
	return before;
}

static void out_of_threads(bool forever)
{
	struct cleat_sockaddr at;
	struct server s;
	size_t before;
	int fd[2];

	server_init(&s, CLEAT_SERVE_THREADS, loopback);
	s.service.stream = echo;
	s.opt.drain_ns = forever ? 0 : HOUR;
	server_start(&s);
	at = where(&s);
	before = stack_of_threads((size_t)1 << 50);
	for (int i = 0; i < 2; i++) { /* the first has been tried by then */
		fd[i] = dial(&at);
		(void)wait_event(&s, CLEAT_SERVE_ACCEPTED);
	}
	if (!forever)
		(void)stack_of_threads(before);
	for (int i = 0; i < 2 && !forever; i++)
		talk(fd[i], "at last");
	server_stop(&s);
	for (int i = 0; i < 2; i++) {
		if (forever)
			hear_end(fd[i]);
		hang_up(fd[i]);
	}
	server_join(&s);
	(void)stack_of_threads(before);
	for (int i = 0; i < 2; i++)
		assert_int_equal(wait_event(&s, CLEAT_SERVE_ENDED)->error,
				 forever ? -EAGAIN : 0);
}

static void waits_for_threads(void)
{
	out_of_threads(false);
	out_of_threads(true);
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		THREAD(max_conns),
		THREAD(max_conns_over_workers),
		THREAD(max_per_source),
		THREAD(idle_and_lifetime),
		THREAD(count_of_connections),
		THREAD(count_of_datagrams),
		THREAD(pauses_and_resumes),
#ifdef __GLIBC__
		THREAD(waits_for_threads),
#endif
		THREAD(no_child_is_left),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
