/* SPDX-License-Identifier: MIT */
/* What cleat_serve() still holds after many connections, in all the ways in
 * which they end.
 */
#include "serving.h"

#define CONNS 200000
#define WARM_UP 2000
#define AT_ONCE 60

static void says_nothing(int fd)
{
	(void)fd;
}

static void speaks(int fd)
{
	talk(fd, "one\n");
}

/* So it is fed. */
static void speaks_often(int fd)
{
	for (int i = 0; i < 20; i++)
		talk(fd, "many\n");
}

static void does_not_listen(int fd)
{
	say(fd, "one\n");
}

/* Large enough to be missed. */
#define REST_50 "what is neither a line nor the end of one, and yet "
#define REST REST_50 REST_50 REST_50 REST_50 REST_50 REST_50 REST_50 REST_50

static void does_not_finish(int fd)
{
	say(fd, "one\nand then " REST);
}

static void says_goodbye(int fd)
{
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	hear_end(fd);
}

static void speaks_and_says_goodbye(int fd)
{
	speaks(fd);
	says_goodbye(fd);
}

static void (*const clients[])(int fd) = {
	says_nothing,    speaks,       does_not_listen,
	does_not_finish, says_goodbye, speaks_and_says_goodbye,
};

/* A goodbye keeps its port for a minute: so from many addresses. */
static int dial_from(unsigned i, const struct cleat_sockaddr *to)
{
	struct sockaddr_in from = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + i % 64),
	};
	int fd = open_client(to, SOCK_STREAM), on = 1;

	ok(setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on,
		      sizeof(on)));
	ok(bind(fd, (struct sockaddr *)&from, sizeof(from)));
	ok(connect(fd, &to->any, to->len));
	return fd;
}

/* All end with a reset, which those that said goodbye have not to hear. */
static void come_and_go(const struct cleat_sockaddr *at, unsigned n)
{
	int fd[AT_ONCE];

	for (unsigned done = 0; done < n; done += AT_ONCE) {
		for (unsigned i = 0; i < AT_ONCE; i++)
			fd[i] = dial_from(i, at);
		speaks_often(fd[done / AT_ONCE % AT_ONCE]);
		for (unsigned i = 0; i < AT_ONCE; i++)
			clients[i % COUNT(clients)](fd[i]);
		for (unsigned i = 0; i < AT_ONCE; i++)
			reset(fd[i]);
	}
}

static void nothing_left(bool (*exchange)(struct cleat_conn *, void *),
			 unsigned conns)
{
	struct cleat_sockaddr at;
	struct held before;
	struct server s;

	server_init(&s, CLEAT_SERVE_FIBERS, loopback);
	s.service = (struct cleat_service){ .exchange = exchange };
	s.opt.mute = 1u << CLEAT_SERVE_ACCEPTED | 1u << CLEAT_SERVE_ENDED;
	server_start(&s);
	at = where(&s);
	before = held();
	come_and_go(&at, WARM_UP);
	before.bytes = resident();
	come_and_go(&at, conns);
	holds_no_more_than(&before);
	server_end(&s);
}

static void of_messages(void)
{
	nothing_left(echo_some, CONNS);
}

static void of_lines(void)
{
	nothing_left(echo_line, CONNS / 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		THREAD(of_messages),
		THREAD(of_lines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
