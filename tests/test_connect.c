/* SPDX-License-Identifier: MIT */
/* Connecting: names, races (RFC 8305), refusals, deadlines.  Where packets must
 * be lost, that happens in a network namespace of the test's own, which takes
 * root or unprivileged user namespaces, and nft.
 */
#include "both.h"
#include "pair.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/un.h>
#include <sys/wait.h>

extern char **environ;

/* A port that is held and does not listen, on FAMILY's loopback, or both. */
struct held {
	int fd[2];
	unsigned port;
};

static struct cleat_sockaddr loopback(int family, unsigned port)
{
	struct cleat_sockaddr sa = { .len = sizeof(sa.in) };

	sa.any.sa_family = (sa_family_t)family;
	sa.in.sin_port = htons((uint16_t)port);
	if (family == AF_INET) {
		sa.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	} else {
		sa.len = sizeof(sa.in6);
		sa.in6.sin6_addr = in6addr_loopback;
	}
	return sa;
}

static int bound(int family, unsigned port)
{
	struct cleat_sockaddr sa = loopback(family, port);
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (bind(fd, &sa.any, sa.len) == 0)
		return fd;
	close(fd);
	return -1;
}

static unsigned port_of(int fd)
{
	struct cleat_sockaddr sa = { .len = sizeof(sa.storage) };

	assert_int_equal(getsockname(fd, &sa.any, &sa.len), 0);
	return cleat_sockaddr_port(&sa);
}

static void hold(struct held *h)
{
	do {
		h->fd[0] = bound(AF_INET, 0);
		assert_true(h->fd[0] >= 0);
		h->port = port_of(h->fd[0]);
		h->fd[1] = bound(AF_INET6, h->port);
		if (h->fd[1] < 0)
			close(h->fd[0]);
	} while (h->fd[1] < 0);
}

static void let_go(const struct held *h)
{
	close(h->fd[0]);
	close(h->fd[1]);
}

static int try(const char *addr, cleat_time until)
{
	struct cleat_conn *c = NULL;
	int err = cleat_connect(&c, addr, NULL, until);

	assert_true((err == 0) == (c != NULL));
	cleat_close(c);
	return err;
}

/* "HOST:PORT" for a HOST that may be "", in one of several places. */
static const char *at(const char *host, unsigned port)
{
	static _Thread_local char text[4][CLEAT_ADDR_MAX];
	static _Thread_local unsigned i;
	char *to = text[i++ % COUNT(text)];

	(void)snprintf(to, sizeof(text[0]), "%s%s%u", host, host[0] ? ":" : "",
		       port);
	return to;
}

static void assert_why(const char *step, const char *object, const char *reason)
{
	char want[2 * CLEAT_ADDR_MAX];

	(void)snprintf(want, sizeof(want), "%s %s: %s", step, object, reason);
	assert_string_equal(cleat_why(), want);
}

static void refused(void)
{
	struct held h;

	hold(&h);
	assert_int_equal(try(at("127.0.0.1", h.port), soon()), -ECONNREFUSED);
	assert_why("connect to", at("127.0.0.1", h.port), "connection refused");
	assert_int_equal(try(at("[::1]", h.port), soon()), -ECONNREFUSED);
	assert_why("connect to", at("[::1]", h.port), "connection refused");
	assert_int_equal(try(at("", h.port), soon()), -ECONNREFUSED);
	assert_why("connect to", at("127.0.0.1", h.port),
		   "connection refused (and 1 more)");
	assert_int_equal(try(at("*", h.port), soon()), -ECONNREFUSED);
	assert_why("connect to", at("127.0.0.1", h.port),
		   "connection refused (and 1 more)");
	let_go(&h);
}

static void malformed(void)
{
	assert_int_equal(try("127.0.0.1", soon()), -EINVAL);
	assert_int_equal(try("127.0.0.1:65536", soon()), -EINVAL);
	assert_int_equal(try("127.0.0.1:-1", soon()), -EINVAL);
	assert_int_equal(try("nosuch://x:1", soon()), -EINVAL);
	assert_true(strlen(cleat_why()) > 10);
	assert_int_equal(try("udp://127.0.0.1:1", soon()), -EPROTOTYPE);
	assert_int_equal(try("unixgram:@x", soon()), -EPROTOTYPE);
	assert_int_equal(try("tls://127.0.0.1:1", soon()), -EPROTONOSUPPORT);
	assert_int_equal(try("127.0.0.1:no-such-service", soon()),
			 CLEAT_ENONAME);
	assert_why("look up", "no-such-service", "no such service");
}

/* The second loopback answers where the first refuses. */
static void second_answers(void)
{
	for (int i = 0; i < 2; i++) {
		struct cleat_listener *l;
		struct cleat_sockaddr sa;
		struct cleat_conn *c;
		struct held h;

		hold(&h);
		close(h.fd[i]);
		ok(cleat_listen(&l, at(i ? "[::1]" : "127.0.0.1", h.port),
				NULL));
		ok(cleat_connect(&c, at("", h.port), NULL, soon()));
		ok(cleat_conn_peer(c, &sa));
		assert_int_equal(sa.any.sa_family, i ? AF_INET6 : AF_INET);
		cleat_close(c);
		cleat_unlisten(l);
		close(h.fd[1 - i]);
	}
}

static void by_name(void)
{
	struct cleat_sockaddr sa[4];
	struct cleat_conn *a, *b;
	struct cleat_listener *l;

	ok(cleat_resolve("localhost:http", CLEAT_TO_CONNECT, sa, 4, soon()));
	assert_int_equal(cleat_sockaddr_port(&sa[0]), 80);
	assert_int_equal(
		cleat_resolve("localhost:80", CLEAT_TO_BIND, sa, 1, soon()), 1);
	ok(cleat_listen(&l, "localhost:0", NULL));
	ok(cleat_listener_local(l, 0, &sa[0]));
	ok(cleat_connect(&a, at("localhost", cleat_sockaddr_port(&sa[0])), NULL,
			 soon()));
	ok(cleat_accept(l, &b, soon()));
	cleat_close(a);
	cleat_close(b);
	cleat_unlisten(l);
}

static void no_such_name(void)
{
	int err = try("no-such-host.invalid:80", soon());

	/* Which of the two depends on whether there is a name server. */
	assert_true(err == CLEAT_ENONAME || err == CLEAT_EDNSAGAIN);
	assert_non_null(strstr(cleat_why(), "look up no-such-host.invalid: "));
}

static void unix_paths(void)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	char why[128];
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(try(unix_addr, soon()), -ENOENT);
	assert_why("connect to", unix_addr, "no such file or directory");
	assert_int_equal(try(abstract_addr, soon()), -ECONNREFUSED);
	(void)snprintf(un.sun_path, sizeof(un.sun_path), "%s", unix_path);
	assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	assert_int_equal(try(unix_addr, soon()), -ECONNREFUSED);
	(void)snprintf(why, sizeof(why), "connect to %s: connection refused",
		       unix_addr);
	assert_string_equal(cleat_why(), why);
	close(fd);
	assert_int_equal(unlink(unix_path), 0);
}

/* Connected to itself: its own port, where nobody listens. */
static void not_to_itself(void)
{
	static const char *const hosts[] = { "127.0.0.1", "[::1]",
					     "[::ffff:127.0.0.1]", "0.0.0.0",
					     "[::]" };

	for (size_t i = 0; i < COUNT(hosts); i++) {
		bool six = i == 1 || i == 4;
		struct cleat_options opt = { .reuseaddr = CLEAT_ON };
		struct cleat_conn *c = NULL;
		char source[CLEAT_ADDR_MAX];
		struct held h;
		int err;

		hold(&h);
		let_go(&h);
		(void)snprintf(source, sizeof(source), "%s",
			       at(i == 2 ? hosts[i]
				  : six  ? "[::1]"
					 : "127.0.0.1",
				  h.port));
		opt.source = source;
		err = cleat_connect(&c, at(hosts[i], h.port), &opt, soon());
		if (err != -ECONNREFUSED)
			fail_msg("%s: %d", hosts[i], err);
		assert_null(c);
	}
}

/* The peer's name is where the connection went, whatever was asked for. */
static void real_names(void)
{
	static const char *const hosts[] = { "127.0.0.1", "[::ffff:127.0.0.1]",
					     "0.0.0.0" };
	struct cleat_sockaddr sa;
	struct cleat_listener *l;

	ok(cleat_listen(&l, "127.0.0.1:0", NULL));
	ok(cleat_listener_local(l, 0, &sa));
	for (size_t i = 0; i < COUNT(hosts); i++) {
		struct cleat_sockaddr peer;
		struct cleat_conn *c;

		ok(cleat_connect(&c, at(hosts[i], cleat_sockaddr_port(&sa)),
				 NULL, soon()));
		ok(cleat_conn_peer(c, &peer));
		assert_same_name(&peer, &sa);
		cleat_close(c);
	}
	cleat_unlisten(l);
}

static void from_source(void)
{
	struct cleat_options opt = { .source = "127.0.0.2:0" };
	int is_late = 0;
	socklen_t len = sizeof(is_late);
	struct cleat_sockaddr sa;
	struct cleat_listener *l;
	struct cleat_conn *a, *b;
	const char *addr;

	ok(cleat_listen(&l, "127.0.0.1:0", NULL));
	ok(cleat_listener_local(l, 0, &sa));
	addr = at("127.0.0.1", cleat_sockaddr_port(&sa));
	ok(cleat_connect(&a, addr, &opt, soon()));
	ok(cleat_accept(l, &b, soon()));
	ok(cleat_conn_peer(b, &sa));
	assert_int_equal(ntohl(sa.in.sin_addr.s_addr), 0x7f000002);
	ok(getsockopt(cleat_conn_fd(a), IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT,
		      &is_late, &len));
	assert_int_equal(is_late, 1); /* so the port is this destination's */
	cleat_close(a);
	cleat_close(b);
	a = NULL;
	opt.source = "[::1]:0";
	assert_int_equal(cleat_connect(&a, addr, &opt, soon()), -EAFNOSUPPORT);
	assert_why("connect to", addr, "the source is of another family");
	opt.source = "192.0.2.1:0";
	assert_int_equal(cleat_connect(&a, addr, &opt, soon()), -EADDRNOTAVAIL);
	assert_why("connect from", opt.source,
		   "not an address of this machine");
	opt.source = "nonsense";
	assert_int_equal(cleat_connect(&a, addr, &opt, soon()), -EINVAL);
	opt = (struct cleat_options){ .ttl = 999 };
	assert_int_equal(cleat_connect(&a, addr, &opt, soon()), -EINVAL);
	assert_string_equal(cleat_why(), "set IP_TTL: invalid argument");
	assert_null(a);
	cleat_unlisten(l);
}

/* A listener whose queue is full: SYNs go unanswered. */
struct full {
	int l, fd[16];
	unsigned n;
	char addr[CLEAT_ADDR_MAX];
};

static void fill_queue(struct full *f)
{
	struct cleat_sockaddr sa = loopback(AF_INET, 0);
	struct pollfd p = { .events = POLLOUT };

	f->l = bound(AF_INET, 0);
	assert_int_equal(listen(f->l, 0), 0);
	sa = loopback(AF_INET, port_of(f->l));
	ok(cleat_sockaddr_format(&sa, f->addr, sizeof(f->addr)));
	for (f->n = 0; f->n < COUNT(f->fd); f->n++) {
		p.fd = f->fd[f->n] = socket(
			AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		(void)connect(p.fd, &sa.any, sa.len);
		if (poll(&p, 1, 20) == 0)
			break;
	}
	assert_in_range(f->n, 1, COUNT(f->fd) - 1);
}

static void drop_queue(struct full *f)
{
	for (unsigned i = 0; i <= f->n; i++)
		close(f->fd[i]);
	close(f->l);
}

static void full_queue(void)
{
	cleat_time end;
	struct full f;

	fill_queue(&f);
	assert_int_equal(try(f.addr, 0), -ETIMEDOUT);
	assert_int_equal(try(f.addr, INT64_MIN), -ETIMEDOUT);
	end = cleat_in(20 * CLEAT_MSEC);
	assert_int_equal(try(f.addr, end), -ETIMEDOUT);
	assert_true(cleat_now() >= end);
	assert_why("connect to", f.addr, "timed out");
	drop_queue(&f);
}

static void accept_some(void *arg)
{
	struct cleat_listener *l = arg;
	int fd = accept4(cleat_listener_fd(l, 0), NULL, NULL, SOCK_CLOEXEC);

	assert_true(fd >= 0);
	close(fd);
}

/* Of a unix socket too a full queue is waited for. */
static void full_unix_queue(void)
{
	const struct cleat_options one = { .backlog = 1 };
	struct cleat_conn *c[8] = { NULL }, *last;
	struct cleat_listener *l;
	struct both_later later;
	cleat_time end;
	int n = 0, err;

	ok(cleat_listen(&l, unix_addr, &one));
	do
		err = cleat_connect(&c[n++], unix_addr, NULL,
				    cleat_in(5 * CLEAT_MSEC));
	while (err == 0 && n < 8);
	assert_int_equal(err, -ETIMEDOUT);
	end = cleat_in(20 * CLEAT_MSEC);
	assert_int_equal(try(unix_addr, end), -ETIMEDOUT);
	assert_true(cleat_now() >= end);
	both_later(&later, accept_some, l);
	ok(cleat_connect(&last, unix_addr, NULL, soon()));
	both_join(&later);
	cleat_close(last);
	while (n > 0)
		cleat_close(c[--n]);
	cleat_unlisten(l);
}

struct task {
	const char *addr;
	int first, later;
	bool done;
};

static void connect_task(void *arg)
{
	struct task *t = arg;

	t->first = try(t->addr, soon());
	t->later = try(t->addr, soon());
	t->done = true;
}

static void cancel_connect(const char *addr, int yields)
{
	struct task t = { .addr = addr };
	struct cleat_scope *s;

	ok(cleat_scope_open(&s, 0));
	ok(cleat_go(s, connect_task, &t, soon()));
	for (int i = 0; i < yields; i++)
		ok(cleat_yield());
	cleat_scope_close(s);
	assert_int_equal(t.first, -ECANCELED);
	assert_int_equal(t.later, -ECANCELED);
}

static void cancelled(void)
{
	struct full f;

	fill_queue(&f);
	cancel_connect(f.addr, 0);
	cancel_connect(f.addr, 3);
	drop_queue(&f);
	cancel_connect("localhost:1", 0);
	cancel_connect("localhost:1", 1);
	cancel_connect("nonsense", 0);
}

/* From here on in a namespace, where we own all addresses and ports. */

static int run(const char *const *argv, const char *input)
{
	posix_spawn_file_actions_t actions;
	int fd[2], status = -1;
	pid_t pid;

	assert_int_equal(pipe2(fd, O_CLOEXEC), 0);
	(void)posix_spawn_file_actions_init(&actions);
	(void)posix_spawn_file_actions_adddup2(&actions, fd[0], 0);
	if (posix_spawnp(&pid, argv[0], &actions, NULL,
			 (char *const *)(uintptr_t)argv, environ) != 0)
		pid = -1;
	(void)posix_spawn_file_actions_destroy(&actions);
	close(fd[0]);
	if (pid > 0 && input)
		(void)!write(fd[1], input, strlen(input));
	close(fd[1]);
	if (pid > 0)
		(void)waitpid(pid, &status, 0);
	return status;
}

static bool nft(const char *rules)
{
	static const char *const argv[] = { "nft", "-f", "-", NULL };

	return run(argv, rules) == 0;
}

static bool put_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	ssize_t len = (ssize_t)strlen(text);
	bool done = fd >= 0 && write(fd, text, (size_t)len) == len;

	if (fd >= 0)
		close(fd);
	return done;
}

/* Shows TEXT as the file PATH, to this process alone. */
static bool mount_text(const char *path, const char *text)
{
	char from[] = "/tmp/cleat-test-XXXXXX";
	int fd = mkstemp(from);
	bool done;

	if (fd < 0)
		return false;
	close(fd);
	done = put_file(from, text) &&
	       mount(from, path, NULL, MS_BIND, NULL) == 0;
	(void)unlink(from);
	return done;
}

#define HOSTS                                                                  \
	"127.0.0.1 localhost\n::1 localhost\n"                                 \
	"fd00::1 two lost\nfd00::2 lost\n127.0.0.2 two lost\n127.0.0.3 lost\n" \
	"127.0.0.4 last\n127.0.1.1 last\n127.0.1.2 last\n127.0.1.3 last\n"     \
	"127.0.1.4 last\n127.0.1.5 last\n127.0.1.6 last\n127.0.1.7 last\n"

#define UNREACHABLE "reject with icmpx type host-unreachable\n"

/* Port 1 drops everywhere, port 2 on the first of "two"; port 3 is unreachable
 * everywhere, port 4 on the first of "two" and port 5 on the second.
 */
#define RULES                                                                  \
	"table inet t {\n"                                                     \
	" chain in { type filter hook input priority 0;\n"                     \
	"  tcp dport 1 drop\n"                                                 \
	"  ip6 daddr fd00::1 tcp dport 2 drop\n"                               \
	"  tcp dport 3 " UNREACHABLE                                           \
	"  ip6 daddr fd00::1 tcp dport 4 " UNREACHABLE                         \
	"  ip daddr 127.0.0.2 tcp dport 5 " UNREACHABLE " }\n}\n"

static bool map_ids(unsigned uid, unsigned gid)
{
	char text[32];

	(void)snprintf(text, sizeof(text), "0 %u 1", uid);
	if (!put_file("/proc/self/uid_map", text) ||
	    !put_file("/proc/self/setgroups", "deny"))
		return false;
	(void)snprintf(text, sizeof(text), "0 %u 1", gid);
	return put_file("/proc/self/gid_map", text);
}

static bool enter_namespaces(void)
{
	unsigned uid = getuid(), gid = getgid();

	if (unshare(CLONE_NEWNET | CLONE_NEWNS) == 0)
		return true;
	return unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWNS) == 0 &&
	       map_ids(uid, gid);
}

static const char *make_place(void)
{
	static const char *const up[] = {
		"ip", "link", "set", "lo", "up", NULL
	};
	static const char *const add[] = { "ip", "-batch", "-", NULL };

	if (!enter_namespaces())
		return "no namespaces of our own to be had";
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    !mount_text("/etc/hosts", HOSTS) ||
	    !mount_text("/etc/resolv.conf", "nameserver 127.0.0.1\n"
					    "options timeout:1 attempts:1\n"))
		return "no mounts of our own to be had";
	if (run(up, NULL) != 0 ||
	    run(add, "addr add fd00::1/128 dev lo\n"
		     "addr add fd00::2/128 dev lo\n") != 0)
		return "no ip(8), or it failed";
	if (!nft(RULES))
		return "no nft(8), or it failed";
	return NULL;
}

/* RFC 8305, section 4: families alternate, and first comes what the system
 * prefers.
 */
static void families_alternate(void)
{
	struct cleat_sockaddr sa[16];
	int n = cleat_resolve("lost:1", CLEAT_TO_CONNECT, sa, 16, soon());

	assert_int_equal(n, 4);
	for (int i = 1; i < n; i++)
		assert_int_not_equal(sa[i].any.sa_family,
				     sa[i - 1].any.sa_family);
}

static void all_lost(void)
{
	cleat_time end = cleat_in(600 * CLEAT_MSEC);

	assert_int_equal(try("lost:1", end), -ETIMEDOUT);
	assert_true(cleat_now() >= end);
	assert_why("connect to", "[fd00::1]:1", "timed out (and 3 more)");
	assert_int_equal(try("127.0.0.1:1", cleat_in(20 * CLEAT_MSEC)),
			 -ETIMEDOUT);
}

/* The first is lost: the second is tried 250 ms later, and wins. */
static void first_lost(void)
{
	struct cleat_listener *l;
	struct cleat_sockaddr sa;
	struct cleat_conn *c;
	cleat_time start;

	ok(cleat_listen(&l, "127.0.0.2:2", NULL));
	start = cleat_now();
	ok(cleat_connect(&c, "two:2", NULL, soon()));
	assert_true(cleat_now() - start >= 250 * CLEAT_MSEC);
	ok(cleat_conn_peer(c, &sa));
	assert_int_equal(ntohl(sa.in.sin_addr.s_addr), 0x7f000002);
	cleat_close(c);
	cleat_unlisten(l);
}

/* Those that refuse are not waited for: eight times 250 ms would be too long.
 */
static void refusals_hurry(void)
{
	struct cleat_listener *l;
	struct cleat_sockaddr sa[16];
	struct cleat_conn *c;
	char addr[CLEAT_ADDR_MAX];
	int n = cleat_resolve("last:9", CLEAT_TO_CONNECT, sa, 16, soon());

	assert_int_equal(n, 8);
	ok(cleat_sockaddr_format(&sa[n - 1], addr, sizeof(addr)));
	ok(cleat_listen(&l, addr, NULL));
	ok(cleat_connect(&c, "last:9", NULL, cleat_in(1500 * CLEAT_MSEC)));
	ok(cleat_conn_peer(c, &sa[0]));
	assert_same_name(&sa[0], &sa[n - 1]);
	cleat_close(c);
	cleat_unlisten(l);
}

/* Of several failures that of the first address is told, whenever it came. */
static void first_error(void)
{
	assert_int_equal(try("two:4", soon()), -EHOSTUNREACH);
	assert_why("connect to", "[fd00::1]:4",
		   "no route to host (and 1 more)");
	assert_int_equal(try("two:5", soon()), -ECONNREFUSED);
	assert_why("connect to", "[fd00::1]:5",
		   "connection refused (and 1 more)");
	assert_int_equal(try("last:3", soon()), -EHOSTUNREACH);
	assert_non_null(strstr(cleat_why(), ": no route to host (and 7 more)"));
	assert_int_equal(try("192.0.2.1:80", soon()), -ENETUNREACH);
}

/* A name server that does not answer costs no more than the deadline. */
static void silent_name_server(void)
{
	struct cleat_sockaddr sa = loopback(AF_INET, 53);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	cleat_time end;

	assert_int_equal(bind(fd, &sa.any, sa.len), 0);
	end = cleat_in(50 * CLEAT_MSEC);
	assert_int_equal(try("slow.example:80", end), -ETIMEDOUT);
	assert_true(cleat_now() >= end);
	assert_why("look up", "slow.example", "timed out");
	assert_int_equal(try("slow.example:80", 0), -ETIMEDOUT);
	assert_int_equal(try("slow.example:80", soon()), CLEAT_EDNSAGAIN);
	assert_non_null(strstr(cleat_why(), "slow.example"));
	if (cleat_is_fiber())
		cancel_connect("slow.example:80", 3);
	close(fd);
}

/* Others run while a name is looked up. */
static void resolves_off_the_loop(void)
{
	struct cleat_sockaddr sa = loopback(AF_INET, 53);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct task t = { .addr = "slow.example:80" };
	struct cleat_scope *s;
	int turns = 0;

	assert_int_equal(bind(fd, &sa.any, sa.len), 0);
	ok(cleat_scope_open(&s, 0));
	ok(cleat_go(s, connect_task, &t, soon()));
	while (!t.done) {
		ok(cleat_sleep(cleat_in(10 * CLEAT_MSEC)));
		turns++;
	}
	assert_true(turns > 10);
	assert_int_equal(t.first, CLEAT_EDNSAGAIN);
	cleat_scope_close(s);
	close(fd);
}

/* A peer that vanishes is no deadline of ours: the kernel has given up. */
static void peer_vanishes(void)
{
	struct cleat_options opt = { .user_timeout_ms = 300 };
	struct cleat_listener *l;
	struct cleat_conn *c, *peer;
	char byte;

	ok(cleat_listen(&l, "127.0.0.1:6", NULL));
	ok(cleat_connect(&c, "127.0.0.1:6", &opt, soon()));
	ok(cleat_accept(l, &peer, soon()));
	assert_true(nft("add rule inet t in tcp dport 6 drop"));
	ok(cleat_send(c, "x", 1, soon()));
	assert_int_equal(cleat_recv(c, &byte, 1, soon()), -ENETRESET);
	assert_why("receive from", "127.0.0.1:6", "peer stopped answering");
	assert_true(nft("flush chain inet t in") && nft(RULES));
	cleat_close(c);
	cleat_close(peer);
	cleat_unlisten(l);
}

static int in_own_place(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(families_alternate),
		BOTH(all_lost),
		BOTH(first_lost),
		BOTH(refusals_hurry),
		BOTH(first_error),
		BOTH(silent_name_server),
		FIBER(resolves_off_the_loop),
		BOTH(peer_vanishes),
	};
	const char *why = make_place();

	if (why) {
		print_message("skipped, where packets are lost: %s\n", why);
		return 0;
	}
	return cmocka_run_group_tests_name("where packets are lost", tests,
					   NULL, NULL);
}

static int in_child(int (*fn)(void))
{
	pid_t child;
	int status;

	(void)fflush(stdout);
	child = fork();
	if (child == 0)
		exit(fn());
	return waitpid(child, &status, 0) == child && status == 0 ? 0 : 1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(refused),         BOTH(malformed),
		BOTH(second_answers),  BOTH(by_name),
		BOTH(no_such_name),    BOTH(unix_paths),
		BOTH(not_to_itself),   BOTH(real_names),
		BOTH(from_source),     BOTH(full_queue),
		BOTH(full_unix_queue), FIBER(cancelled),
	};
	int failed;

	make_names();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	return failed + in_child(in_own_place);
}
