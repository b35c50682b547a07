/* SPDX-License-Identifier: MIT */
/* Waiting for any descriptor. */
#include "fibers.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

static void poll_pipe(void)
{
	cleat_time until = cleat_in(2 * CLEAT_MSEC);
	int fd[2];
	char c;

	assert_int_equal(pipe2(fd, O_CLOEXEC), 0);
	assert_int_equal(cleat_poll(fd[0], CLEAT_IN, 0), -ETIMEDOUT);
	assert_int_equal(cleat_poll(fd[0], CLEAT_IN, until), -ETIMEDOUT);
	assert_true(cleat_now() >= until);
	assert_int_equal(cleat_poll(fd[1], CLEAT_OUT, 0), CLEAT_OUT);
	write_byte(&fd[1]);
	for (int i = 0; i < 3; i++) /* a level, not an edge */
		assert_int_equal(cleat_poll(fd[0], CLEAT_IN, soon()), CLEAT_IN);
	assert_int_equal(read(fd[0], &c, 1), 1);
	assert_int_equal(cleat_poll(fd[0], CLEAT_IN, 0), -ETIMEDOUT);
	(void)close(fd[1]);
	assert_int_equal(cleat_poll(fd[0], CLEAT_IN, soon()), CLEAT_IN);
	(void)close(fd[0]);
}

static void poll_broken_pipe(void)
{
	int fd[2];

	assert_int_equal(pipe2(fd, O_CLOEXEC), 0);
	(void)close(fd[0]);
	assert_int_equal(cleat_poll(fd[1], CLEAT_OUT, soon()), CLEAT_OUT);
	(void)close(fd[1]);
}

static void poll_both_directions(void)
{
	int fd[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd),
			 0);
	assert_int_equal(cleat_poll(fd[0], CLEAT_IN | CLEAT_OUT, soon()),
			 CLEAT_OUT);
	write_byte(&fd[1]);
	assert_int_equal(cleat_poll(fd[0], CLEAT_IN | CLEAT_OUT, soon()),
			 CLEAT_IN | CLEAT_OUT);
	(void)close(fd[0]);
	(void)close(fd[1]);
}

static void poll_woken(void)
{
	struct both_later later;
	int fd[2];

	assert_int_equal(pipe2(fd, O_CLOEXEC), 0);
	both_later(&later, write_byte, &fd[1]);
	assert_int_equal(cleat_poll(fd[0], CLEAT_IN, soon()), CLEAT_IN);
	both_join(&later);
	(void)close(fd[0]);
	(void)close(fd[1]);
}

static void poll_files(void)
{
	static const char *const paths[] = { "/proc/self/exe", "/",
					     "/dev/null" };

	for (size_t i = 0; i < COUNT(paths); i++) {
		int fd = open(paths[i], O_RDONLY | O_CLOEXEC);

		assert_true(fd >= 0);
		assert_int_equal(cleat_poll(fd, CLEAT_IN, 0), CLEAT_IN);
		assert_int_equal(
			cleat_poll(fd, CLEAT_IN | CLEAT_OUT, CLEAT_FOREVER),
			CLEAT_IN | CLEAT_OUT);
		(void)close(fd);
	}
}

static void poll_bad_descriptors(void)
{
	int fd = eventfd(0, EFD_CLOEXEC);

	(void)close(fd);
	assert_int_equal(cleat_poll(fd, CLEAT_IN, soon()), -EBADF);
	assert_int_equal(cleat_poll(-1, CLEAT_IN, soon()), -EBADF);
	assert_int_equal(cleat_poll(-1, CLEAT_OUT, 0), -EBADF);
}

struct polling {
	int fd, result;
};

static void poll_it(void *arg)
{
	struct polling *p = arg;

	p->result = cleat_poll(p->fd, CLEAT_IN, CLEAT_FOREVER);
}

static void one_polls_a_descriptor(void)
{
	struct cleat_scope *s = scope_open(0);
	struct polling p = { .result = 0 };
	int fd[2];

	assert_int_equal(pipe2(fd, O_CLOEXEC), 0);
	p.fd = fd[0];
	go(s, poll_it, &p);
	settle();
	assert_int_equal(cleat_poll(fd[0], CLEAT_IN, soon()), -EBUSY);
	write_byte(&fd[1]);
	ok(cleat_scope_wait(s, soon()));
	assert_int_equal(p.result, CLEAT_IN);
	assert_int_equal(cleat_poll(fd[0], CLEAT_IN, soon()), CLEAT_IN);
	cleat_scope_close(s);
	(void)close(fd[0]);
	(void)close(fd[1]);
}

/* What polls it does not hold it; and its number is another's then. */
static void closed_while_polled(void)
{
	struct cleat_scope *s = scope_open(0);
	struct polling p = { .result = 0 };
	int fd[2];
	char c;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd),
			 0);
	p.fd = fd[0];
	go(s, poll_it, &p);
	settle();
	(void)close(fd[0]);
	assert_int_equal(recv(fd[1], &c, 1, MSG_DONTWAIT), 0);
	(void)close(fd[1]);
	assert_int_equal(pipe2(fd, O_CLOEXEC), 0);
	assert_int_equal(fd[0], p.fd);
	cleat_scope_close(s);
	assert_int_equal(p.result, -ECANCELED);
	write_byte(&fd[1]);
	assert_int_equal(cleat_poll(fd[0], CLEAT_IN, soon()), CLEAT_IN);
	(void)close(fd[0]);
	(void)close(fd[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(poll_pipe),
		BOTH(poll_broken_pipe),
		BOTH(poll_both_directions),
		BOTH(poll_woken),
		BOTH(poll_files),
		BOTH(poll_bad_descriptors),
		FIBER(one_polls_a_descriptor),
		FIBER(closed_while_polled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
