/* SPDX-License-Identifier: MIT */
/* cleat_serve(): stopping, politely and at once. */
#include "serving.h"

#include <sys/eventfd.h>

/* Every worker's listener is closed, be it a moment later. */
static void await_refusal(struct server *s, const struct cleat_sockaddr *at)
{
	bool refused;

	do {
		int late = open_client(at, SOCK_STREAM);

		refused = connect(late, &at->any, at->len) < 0 &&
			  errno == ECONNREFUSED;
		hang_up(late);
		before_another_try(s);
	} while (!refused);
}

static void stop_lets_finish(enum cleat_serve_mode mode, unsigned workers)
{
	struct cleat_sockaddr at;
	const struct event *e;
	struct server s;
	int fd;

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
	await_refusal(&s, &at);
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
	int error = mode == CLEAT_SERVE_THREADS ? 0 : -ECANCELED;
	const struct event *e;
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
	assert_int_equal(count_events(&s, CLEAT_SERVE_CUT), 1);
	assert_int_equal(count_events(&s, CLEAT_SERVE_ENDED), n);
	for (int i = 0; i < n; i++) {
		e = wait_event(&s, CLEAT_SERVE_ENDED);
		assert_int_equal(e->error, error);
		hang_up(fd[i]);
	}
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

/* A server that has had its count was not told to stop. */
static void stop_after_count(enum cleat_serve_mode mode, int64_t drain)
{
	struct cleat_sockaddr at;
	struct server s;
	int fd;

	server_init(&s, mode, loopback);
	s.service.stream = echo;
	s.opt.count = 1;
	s.opt.drain_ns = drain;
	server_start(&s);
	at = where(&s);
	fd = dial(&at);
	talk(fd, "hello");
	await_refusal(&s, &at);
	talk(fd, "on");
	assert_int_equal(count_events(&s, CLEAT_SERVE_DRAINING), 0);
	server_stop(&s);
	assert_int_equal(wait_event(&s, CLEAT_SERVE_DRAINING)->active, 1);
	if (drain == HOUR) {
		talk(fd, "still");
		server_stop(&s);
	}
	hear_end(fd);
	hang_up(fd);
	server_join(&s);
	assert_int_equal(s.result, 0);
	assert_int_equal(count_events(&s, CLEAT_SERVE_DRAINING), 1);
	assert_int_equal(count_events(&s, CLEAT_SERVE_CUT), 1);
}

static void stopped_after_the_count(void)
{
	for (size_t i = 0; i < COUNT(modes); i++) {
		stop_after_count(modes[i], HOUR);
		stop_after_count(modes[i], 20 * CLEAT_MSEC);
	}
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		THREAD(connections_may_finish),  THREAD(cut_after_the_drain),
		THREAD(second_stop_is_at_once),  THREAD(stopped_by_an_eventfd),
		THREAD(stopped_after_the_count), THREAD(stopped_early),
		THREAD(no_child_is_left),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
