/* SPDX-License-Identifier: MIT */
/* Listening, accepting and adopting: which addresses, and when not.
 */
#include "both.h"
#include "pair.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

static void dual_stack(const char *wildcard)
{
	static const char *const hosts[] = { "127.0.0.1", "::1" };
	struct cleat_listener *l;
	struct cleat_sockaddr sa;
	char port[8], text[CLEAT_ADDR_MAX], addr[CLEAT_ADDR_MAX];

	ok(cleat_listen(&l, wildcard, NULL));
	ok(cleat_listener_local(l, 0, &sa));
	assert_int_equal(cleat_listener_local(l, 1, &sa), -ERANGE);
	assert_int_equal(cleat_listener_fd(l, 1), -ERANGE);
	(void)snprintf(port, sizeof(port), "%u", cleat_sockaddr_port(&sa));
	for (int i = 0; i < 2; i++) {
		struct cleat_conn *a, *b;
		struct cleat_addr to;

		ok(cleat_addr_parse_pair(&to, hosts[i], port));
		ok(cleat_addr_format(&to, addr, sizeof(addr)));
		ok(cleat_connect(&a, addr, NULL, soon()));
		ok(cleat_accept(l, &b, soon()));
		ok(cleat_conn_local(b, &sa));
		ok(cleat_sockaddr_format(&sa, text, sizeof(text)));
		assert_string_equal(text, addr);
		ok(cleat_conn_peer(b, &sa));
		assert_int_equal(sa.any.sa_family, i == 0 ? AF_INET : AF_INET6);
		cleat_close(a);
		cleat_close(b);
	}
	cleat_unlisten(l);
}

static void dual_stacks(void)
{
	dual_stack(":0");
	dual_stack("[::]:0");
}

/* "0": one port on two addresses, and one accept for both. */
static void both_loopbacks(void)
{
	struct cleat_sockaddr sa[2];
	struct cleat_listener *l;

	ok(cleat_listen(&l, "0", NULL));
	ok(cleat_listener_local(l, 0, &sa[0]));
	ok(cleat_listener_local(l, 1, &sa[1]));
	assert_int_equal(cleat_listener_local(l, 2, &sa[1]), -ERANGE);
	assert_int_not_equal(cleat_sockaddr_port(&sa[0]), 0);
	assert_int_equal(cleat_sockaddr_port(&sa[0]),
			 cleat_sockaddr_port(&sa[1]));
	assert_int_not_equal(sa[0].any.sa_family, sa[1].any.sa_family);
	for (int i = 0; i < 6; i++) {
		struct cleat_conn *a, *b;
		struct cleat_sockaddr peer;
		char addr[CLEAT_ADDR_MAX];

		ok(cleat_sockaddr_format(&sa[i % 2], addr, sizeof(addr)));
		ok(cleat_connect(&a, addr, NULL, soon()));
		ok(cleat_accept(l, &b, soon()));
		ok(cleat_conn_peer(b, &peer));
		assert_int_equal(peer.any.sa_family, sa[i % 2].any.sa_family);
		cleat_close(a);
		cleat_close(b);
	}
	cleat_unlisten(l);
}

/* Listening. */

static void in_use(void)
{
	for (size_t k = 0; k < COUNT(kinds); k++) {
		struct cleat_listener *l, *second = NULL;
		struct cleat_sockaddr sa;
		char addr[CLEAT_ADDR_MAX], why[CLEAT_ADDR_MAX + 64];

		ok(cleat_listen(&l, kinds[k], NULL));
		ok(cleat_listener_local(l, 0, &sa));
		ok(cleat_sockaddr_format(&sa, addr, sizeof(addr)));
		assert_int_equal(cleat_listen(&second, addr, NULL),
				 -EADDRINUSE);
		assert_null(second);
		(void)snprintf(why, sizeof(why),
			       "bind %s: address already in use", addr);
		assert_string_equal(cleat_why(), why);
		cleat_unlisten(l);
		ok(cleat_listen(&l, addr, NULL)); /* free again, at once */
		cleat_unlisten(l);
	}
}

/* Over TIME_WAIT too: SO_REUSEADDR is on for listeners. */
static void reuses_time_wait(void)
{
	struct cleat_listener *l;
	struct cleat_sockaddr sa;
	char addr[CLEAT_ADDR_MAX];
	struct pair p;

	pair_open(&p, kinds[0]);
	ok(cleat_listener_local(p.l, 0, &sa));
	ok(cleat_sockaddr_format(&sa, addr, sizeof(addr)));
	ok(cleat_shutdown(p.b, CLEAT_WRITE)); /* the server closes first */
	assert_ended(p.a);
	ok(cleat_shutdown(p.a, CLEAT_WRITE));
	assert_ended(p.b);
	pair_close(&p);
	ok(cleat_listen(&l, addr, NULL));
	cleat_unlisten(l);
}

static void not_ours(void)
{
	struct cleat_listener *l = NULL;

	assert_int_equal(cleat_listen(&l, "192.0.2.1:0", NULL), -EADDRNOTAVAIL);
	assert_why_ends("not an address of this machine");
	assert_int_equal(cleat_listen(&l, "[2001:db8::1]:0", NULL),
			 -EADDRNOTAVAIL);
	assert_int_equal(cleat_listen(&l, "unix:/no/such/dir/x", NULL),
			 -ENOENT);
	assert_int_equal(cleat_listen(&l, "udp://127.0.0.1:0", NULL),
			 -EPROTOTYPE);
	assert_int_equal(cleat_listen(&l, "unixgram:@x", NULL), -EPROTOTYPE);
	assert_int_equal(cleat_listen(&l, "127.0.0.1:65536", NULL), -EINVAL);
	assert_int_equal(cleat_listen(&l, "tls://127.0.0.1:0", NULL),
			 -EPROTONOSUPPORT);
	assert_null(l);
}

/* In a child, that gives up root. */
static int listen_as_nobody(void)
{
	struct cleat_listener *l;

	if (geteuid() == 0 && (setgid(65534) < 0 || setuid(65534) < 0))
		return 1;
	if (cleat_listen(&l, "127.0.0.1:81", NULL) != -EACCES)
		return 2;
	return strstr(cleat_why(), "bind 127.0.0.1:81: permission denied") ? 0
									   : 3;
}

static void privileged(void)
{
	FILE *f = fopen("/proc/sys/net/ipv4/ip_unprivileged_port_start", "re");
	int first = 1024, status;
	pid_t child;

	if (f) {
		assert_int_equal(fscanf(f, "%d", &first), 1);
		(void)fclose(f);
	}
	if (first <= 81)
		return; /* no port is privileged here */
	child = fork();
	if (child == 0)
		_exit(listen_as_nobody());
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

/* A path that a dead server left is taken over; a live one's, or a file, not.
 */
static void stale_path(void)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	struct cleat_listener *l, *second = NULL;
	struct cleat_conn *c;
	struct stat st;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)snprintf(un.sun_path, sizeof(un.sun_path), "%s", unix_path);
	assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	close(fd);
	assert_int_equal(lstat(unix_path, &st), 0);
	ok(cleat_listen(&l, unix_addr, NULL));
	assert_int_equal(cleat_listen(&second, unix_addr, NULL), -EADDRINUSE);
	connect_to(&c, l); /* the live one still answers */
	cleat_close(c);
	assert_int_equal(lstat(unix_path, &st), 0);
	cleat_unlisten(l);
	assert_int_equal(lstat(unix_path, &st), -1);

	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0); /* of other type */
	assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	assert_int_equal(cleat_listen(&second, unix_addr, NULL), -EADDRINUSE);
	close(fd);
	assert_int_equal(unlink(unix_path), 0);

	fd = open(unix_path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(cleat_listen(&second, unix_addr, NULL), -EADDRINUSE);
	assert_int_equal(unlink(unix_path), 0);
	assert_null(second);
}

/* One that listens is not disturbed by the question whether it lives, and one
 * that does not listen yet is not taken for dead.
 */
static void live_path(void)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	struct cleat_listener *l = NULL;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	(void)snprintf(un.sun_path, sizeof(un.sun_path), "%s", unix_path);
	assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	assert_int_equal(cleat_listen(&l, unix_addr, NULL), -EADDRINUSE);
	assert_int_equal(listen(fd, 1), 0);
	for (int i = 0; i < 5; i++)
		assert_int_equal(cleat_listen(&l, unix_addr, NULL),
				 -EADDRINUSE);
	assert_int_equal(accept(fd, NULL, NULL), -1);
	assert_int_equal(errno, EAGAIN);
	assert_null(l);
	close(fd);
	assert_int_equal(unlink(unix_path), 0);
}

/* What another has put there meanwhile is not removed. */
static void path_of_another(void)
{
	struct cleat_listener *first, *second;
	struct cleat_conn *c;
	struct stat st;

	ok(cleat_listen(&first, unix_addr, NULL));
	assert_int_equal(unlink(unix_path), 0);
	ok(cleat_listen(&second, unix_addr, NULL));
	cleat_unlisten(first);
	connect_to(&c, second);
	cleat_close(c);
	cleat_unlisten(second);
	assert_int_equal(lstat(unix_path, &st), -1);
}

/* A live server whose queue is full is not taken for dead. */
static void busy_path(void)
{
	const struct cleat_options one = { .backlog = 1 };
	struct cleat_listener *l, *second = NULL;
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int fd[8], n = 0;

	(void)snprintf(un.sun_path, sizeof(un.sun_path), "%s", unix_path);
	ok(cleat_listen(&l, unix_addr, &one));
	for (; n < 8; n++) {
		fd[n] = socket(AF_UNIX,
			       SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		if (connect(fd[n], (struct sockaddr *)&un, sizeof(un)) < 0)
			break;
	}
	assert_in_range(n, 1, 7);
	assert_int_equal(cleat_listen(&second, unix_addr, NULL), -EADDRINUSE);
	while (n >= 0)
		close(fd[n--]);
	cleat_unlisten(l);
}

/* Without a descriptor to be had the connection stays queued. */
static void no_descriptors(void)
{
	struct rlimit before, none;
	struct cleat_conn *a, *b = NULL;
	struct cleat_listener *l;
	int next, err[3];

	ok(cleat_listen(&l, kinds[0], NULL));
	assert_int_equal(cleat_accept(l, &b, 0), -ETIMEDOUT);
	connect_to(&a, l);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	next = fcntl(0, F_DUPFD_CLOEXEC, 0);
	close(next);
	none = (struct rlimit){ .rlim_cur = (rlim_t)next,
				.rlim_max = before.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	for (int i = 0; i < 3; i++)
		err[i] = cleat_accept(l, &b, soon());
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(err[i], -EMFILE);
	assert_null(b);
	assert_why_ends("too many open files; raise ulimit -n");
	ok(cleat_accept(l, &b, soon()));
	ok(cleat_send(a, "fine", 4, soon()));
	assert_recv(b, "fine");
	cleat_close(a);
	cleat_close(b);
	cleat_unlisten(l);
}

/* Those that come and go before they are accepted are no failure. */
static void gone_before_accept(void)
{
	struct cleat_listener *l;
	struct cleat_sockaddr sa;
	struct cleat_conn *c;
	int fd;

	ok(cleat_listen(&l, kinds[0], NULL));
	ok(cleat_listener_local(l, 0, &sa));
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(fd, &sa.any, sa.len), 0);
	reset(fd);
	if (cleat_accept(l, &c, cleat_in(100 * CLEAT_MSEC)) == 0) {
		assert_int_equal(cleat_recv(c, (char[1]){ 0 }, 1, soon()),
				 -ECONNRESET);
		cleat_close(c);
	}
	connect_to(&c, l);
	cleat_close(c);
	cleat_unlisten(l);
}

/* Adopting. */

static void assert_not_adopted(int fd, int err, int err_listener)
{
	struct cleat_conn *c = NULL;
	struct cleat_listener *l = NULL;
	int flags = fcntl(fd, F_GETFL), fd_flags = fcntl(fd, F_GETFD);

	assert_int_equal(cleat_adopt(&c, fd), err);
	assert_true(cleat_why()[0]);
	assert_int_equal(cleat_adopt_listener(&l, fd), err_listener);
	assert_null(c);
	assert_null(l);
	assert_int_equal(fcntl(fd, F_GETFL), flags);
	assert_int_equal(fcntl(fd, F_GETFD), fd_flags);
	close(fd);
}

static int seqpacket_listener(void)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);
	struct sockaddr_un un = { .sun_family = AF_UNIX };

	assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof(sa_family_t)),
			 0);
	assert_int_equal(listen(fd, 1), 0);
	return fd;
}

static void adopts_no_others(void)
{
	int fd[2];

	assert_int_equal(pipe2(fd, O_CLOEXEC), 0);
	assert_not_adopted(fd[0], -ENOTSOCK, -ENOTSOCK);
	assert_not_adopted(fd[1], -ENOTSOCK, -ENOTSOCK);
	assert_not_adopted(fd[1], -EBADF, -EBADF);
	assert_not_adopted(socket(AF_INET, SOCK_DGRAM, 0), -EPROTOTYPE,
			   -EPROTOTYPE);
	assert_not_adopted(socket(AF_INET, SOCK_STREAM, 0), -ENOTCONN, -EINVAL);
	assert_not_adopted(socket(AF_UNIX, SOCK_STREAM, 0), -ENOTCONN, -EINVAL);
	assert_not_adopted(seqpacket_listener(), -EPROTOTYPE, -EPROTOTYPE);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fd), 0);
	assert_not_adopted(fd[0], -EPROTOTYPE, -EPROTOTYPE);
	close(fd[1]);
	fd[0] = socket(AF_VSOCK, SOCK_STREAM, 0);
	if (fd[0] >= 0)
		assert_not_adopted(fd[0], -EAFNOSUPPORT, -EAFNOSUPPORT);
}

static void adopts_pair(void)
{
	struct cleat_sockaddr sa;
	struct pair p = { .l = NULL };
	char text[CLEAT_ADDR_MAX];
	int fd[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
	ok(cleat_adopt(&p.a, fd[0]));
	ok(cleat_adopt(&p.b, fd[1]));
	assert_int_equal(cleat_conn_fd(p.a), fd[0]);
	assert_true(fcntl(fd[0], F_GETFL) & O_NONBLOCK);
	assert_true(fcntl(fd[0], F_GETFD) & FD_CLOEXEC);
	ok(cleat_conn_peer(p.a, &sa));
	ok(cleat_sockaddr_format(&sa, text, sizeof(text)));
	assert_string_equal(text, "unix:");
	ok(cleat_send(p.a, "hi", 2, soon()));
	assert_recv(p.b, "hi");
	pair_close(&p);
}

static void adopts_listeners(void)
{
	for (size_t k = 0; k < COUNT(kinds); k++) {
		struct cleat_listener *l;
		struct pair p = { .l = NULL };
		int fd, flags;

		ok(cleat_listen(&l, kinds[k], NULL));
		fd = fcntl(cleat_listener_fd(l, 0), F_DUPFD_CLOEXEC, 0);
		flags = fcntl(fd, F_GETFL);
		assert_int_equal(fcntl(fd, F_SETFL, flags & ~O_NONBLOCK), 0);
		ok(cleat_adopt_listener(&p.l, fd));
		assert_int_equal(cleat_listener_fd(p.l, 0), fd);
		assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
		connect_to(&p.a, p.l);
		ok(cleat_accept(p.l, &p.b, soon()));
		ok(cleat_send(p.a, "hi", 2, soon()));
		assert_recv(p.b, "hi");
		pair_close(&p);
		cleat_unlisten(l);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(dual_stacks),      BOTH(both_loopbacks),
		BOTH(in_use),           BOTH(reuses_time_wait),
		BOTH(not_ours),         BOTH(privileged),
		BOTH(stale_path),       BOTH(live_path),
		BOTH(path_of_another),  BOTH(busy_path),
		BOTH(no_descriptors),   BOTH(gone_before_accept),
		BOTH(adopts_no_others), BOTH(adopts_pair),
		BOTH(adopts_listeners),
	};

	make_names();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
