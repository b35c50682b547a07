/* SPDX-License-Identifier: MIT */
/* cleat_serve(): sockets that are handed over, announcing, refusals. */
#include "serving.h"

#include <sys/resource.h>

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

/* With one descriptor more each time, until there are enough to serve. */
static void announces_what_can_be_served(void)
{
	struct rlimit before, low;
	int result = -EMFILE;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	low = before;
	for (unsigned more = 1; result == -EMFILE; more++) {
		struct server s;

		server_init(&s, CLEAT_SERVE_FIBERS, loopback);
		s.service.stream = echo;
		s.opt.workers = 3;
		server_stop(&s);
		low.rlim_cur = (rlim_t)highest_fd() + more;
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
		server_start(&s);
		server_join(&s);
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
		result = s.result;
		if (result < 0)
			assert_int_equal(s.n_seen, 0);
		else
			assert_int_equal(
				count_events(&s, CLEAT_SERVE_LISTENING), 1);
	}
	assert_int_equal(result, 0);
}

/* Nobody is let in before it has been told that anybody may come. */
static void announces_first(void)
{
	for (int i = 0; i < 20; i++) {
		struct cleat_sockaddr at;
		struct server s;
		int listener = listen_here(&at), fd = dial(&at);

		server_init(&s, CLEAT_SERVE_FIBERS, loopback);
		s.service.stream = echo;
		s.opt.fds = &listener;
		s.opt.n_fds = 1;
		s.opt.workers = 4;
		server_start(&s);
		talk(fd, "hello");
		hang_up(fd);
		server_end(&s);
		assert_int_equal(s.seen[0].what, CLEAT_SERVE_LISTENING);
		assert_int_equal(s.seen[1].what, CLEAT_SERVE_LISTENING);
		assert_int_equal(count_events(&s, CLEAT_SERVE_LISTENING), 2);
	}
}

static bool echo_all(struct cleat_conn *c, void *arg)
{
	echo(c, arg);
	return false;
}

static void refusals(void)
{
	struct cleat_service streams = { .stream = echo },
			     dgrams = { .dgram = echo_dgram },
			     both = { .stream = echo, .exchange = echo_all };
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
	assert_int_equal(try_to_serve(&both, "127.0.0.1:0", NULL), -EINVAL);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		THREAD(inherited_of_each_kind),
		THREAD(not_to_be_inherited),
		THREAD(port_in_use),
		THREAD(announces_all_or_nothing),
		THREAD(announces_what_can_be_served),
		THREAD(announces_first),
		THREAD(refusals),
		FIBER(not_on_a_fiber),
		THREAD(no_child_is_left),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
