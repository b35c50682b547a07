/* SPDX-License-Identifier: MIT */
/* What is said of an answer and of a bind that fails, and what to do about it;
 * and that nothing is left behind whatever fails meanwhile.
 */
#include <fcntl.h>

#include "fault.h"
#include "inspect.h"

static struct cleat_lookup *answer;
static struct cleat_trial *verdict;

static int shared(int type, const char *ip, unsigned port)
{
	struct cleat_sockaddr sa = at(ip, port);
	int fd = new_socket(sa.any.sa_family, type);

	set(fd, SOL_SOCKET, SO_REUSEPORT, 1);
	bind_to(fd, sa);
	if (type == SOCK_STREAM)
		assert_int_equal(listen(fd, 5), 0);
	return fd;
}

static void ask(int type, const char *to, const char *from, unsigned port,
		unsigned from_port)
{
	struct cleat_probe p = { .type = type, .to = at(to, port) };

	if (from)
		p.from = at(from, from_port);
	cleat_lookup_free(answer);
	answer = NULL;
	ok(cleat_lookup_new(&answer, &p));
	for (const char *c = answer->explanation; *c; c++)
		assert_true((unsigned char)*c >= ' ');
}

static void try_at(enum cleat_proto proto, struct cleat_sockaddr sa,
		   bool v6only)
{
	const struct cleat_bind b = { proto, sa, v6only, 0 };

	cleat_trial_free(verdict);
	verdict = NULL;
	ok(cleat_trial_new(&verdict, &b));
}

static void try_tcp(const char *ip, unsigned port)
{
	try_at(CLEAT_TCP, at(ip, port), false);
}

static void let_verdicts_go(void)
{
	cleat_lookup_free(answer);
	cleat_trial_free(verdict);
	answer = NULL;
	verdict = NULL;
}

static void has(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("\"%s\" does not say \"%s\"", text, part);
}

static void has_not(const char *text, const char *part)
{
	if (strstr(text, part))
		fail_msg("\"%s\" says \"%s\"", text, part);
}

/* This process, as it is named there. */
static const char *me(void)
{
	static char text[64];

	(void)snprintf(text, sizeof(text), "test_verdicts (pid %d)", getpid());
	return text;
}

static void advises(const char *line)
{
	for (size_t i = 0; i < verdict->n_advice; i++) {
		if (strstr(verdict->advice[i], line))
			return;
	}
	fail_msg("no advice \"%s\" for: %s", line, verdict->summary);
}

static void never_advises(const char *line)
{
	for (size_t i = 0; i < verdict->n_advice; i++)
		has_not(verdict->advice[i], line);
}

static void can(bool none, bool reuseaddr, bool reuseport, bool both)
{
	assert_int_equal(verdict->none, none);
	assert_int_equal(verdict->reuseaddr, reuseaddr);
	assert_int_equal(verdict->reuseport, reuseport);
	assert_int_equal(verdict->both, both);
}

/* ask */

static void one_answers(void)
{
	shared(SOCK_STREAM, "127.0.0.1", 80);
	shared(SOCK_STREAM, "0.0.0.0", 80);
	shared(SOCK_STREAM, "::", 80);
	ask(SOCK_STREAM, "127.0.0.1", NULL, 80, 0);
	assert_int_equal(answer->answer, CLEAT_ANSWER_ONE);
	assert_int_equal(answer->n_shadowed, 2);
	has(answer->explanation, me());
	has(answer->explanation, "this very address");
	has(answer->explanation, "a bound address comes before a wildcard");
	ask(SOCK_STREAM, "127.0.0.2", NULL, 80, 0);
	has(answer->explanation, "every IPv4 address");
	has(answer->explanation, "an IPv4 socket comes before an IPv6 one");
	ask(SOCK_STREAM, "::1", NULL, 80, 0);
	assert_int_equal(answer->n_shadowed, 0);
	has(answer->explanation, "nobody else would take it");
}

/* Listeners that share a port: a bound device weighs nothing, the newest of
 * IPv4 comes first.
 */
static void newest_is_next(void)
{
	struct cleat_sockaddr sa = at("0.0.0.0", 82);
	int fd = new_socket(AF_INET, SOCK_STREAM);

	set(fd, SOL_SOCKET, SO_REUSEPORT, 1);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", 2),
			 0);
	bind_to(fd, sa);
	assert_int_equal(listen(fd, 5), 0);
	shared(SOCK_STREAM, "0.0.0.0", 82);
	ask(SOCK_STREAM, "127.0.0.1", NULL, 82, 0);
	assert_int_equal(answer->receivers[0].device, 0);
	assert_int_equal(answer->n_shadowed, 1);
	has(answer->explanation, "the newest comes first");
	shared(SOCK_STREAM, "127.0.0.1", 82);
	ask(SOCK_STREAM, "127.0.0.1", NULL, 82, 0);
	assert_int_equal(answer->n_shadowed, 2);
	assert_int_equal(answer->shadowed[0].device, 0);
}

static void dual_stack_answers(void)
{
	listening("::", 80);
	ask(SOCK_STREAM, "127.0.0.1", NULL, 80, 0);
	has(answer->explanation, "without IPV6_V6ONLY takes IPv4 too");
	ask(SOCK_STREAM, "::ffff:127.0.0.1", NULL, 80, 0);
	assert_int_equal(answer->answer, CLEAT_ANSWER_ONE);
}

static void any_answers(void)
{
	for (unsigned i = 0; i < 20; i++)
		shared(SOCK_STREAM, "0.0.0.0", 80);
	ask(SOCK_STREAM, "127.0.0.1", NULL, 80, 0);
	assert_int_equal(answer->answer, CLEAT_ANSWER_ANY_OF);
	assert_int_equal(answer->n_receivers, 20);
	has(answer->explanation, "20 sockets share 0.0.0.0:80");
	ask(SOCK_STREAM, "127.0.0.1", "127.0.0.1", 80, 4444);
	assert_int_equal(answer->answer, CLEAT_ANSWER_ONE);
	has(answer->explanation, "by a hash of both ends");
}

static void connected_answers(void)
{
	struct cleat_sockaddr peer = at("127.0.0.1", 5000);
	int fd = bound(SOCK_DGRAM, "127.0.0.1", 53);

	connect_fd(fd, peer);
	ask(SOCK_DGRAM, "127.0.0.1", "127.0.0.1", 53, 5000);
	assert_int_equal(answer->answer, CLEAT_ANSWER_ONE);
	has(answer->explanation, "is connected");
	ask(SOCK_DGRAM, "127.0.0.1", NULL, 53, 0);
	assert_int_equal(answer->answer, CLEAT_ANSWER_REFUSED);
	has(answer->explanation, "nobody is bound to UDP 127.0.0.1:53");
	has(answer->explanation, "taken elsewhere");
}

static void waiting_answers(void)
{
	int l = listening("127.0.0.1", 80), c = connected(SOCK_STREAM, l);
	const struct cleat_sockaddr from = name_of(c);
	char text[120];

	(void)snprintf(text, sizeof(text),
		       "%s, which has not accepted it yet, is connected from",
		       me());
	ask(SOCK_STREAM, "127.0.0.1", "127.0.0.1", 80,
	    cleat_sockaddr_port(&from));
	assert_int_equal(answer->answer, CLEAT_ANSWER_ONE);
	has(answer->explanation, text);
	has_not(answer->explanation, "closed");
	has_not(answer->explanation, "user id");
}

static void silent_refuses(void)
{
	char text[256];

	bound(SOCK_STREAM, "127.0.0.1", 80);
	listening("127.0.0.2", 80);
	try_tcp("127.0.0.1", 80);
	if (verdict->n_blockers == 0)
		skip(); /* before Linux 6.8 */
	(void)snprintf(text, sizeof(text),
		       "; %s has bound it, but does not listen; the port is "
		       "taken elsewhere, by %s on 127.0.0.2:80.",
		       me(), me());
	ask(SOCK_STREAM, "127.0.0.1", NULL, 80, 0);
	assert_int_equal(answer->answer, CLEAT_ANSWER_REFUSED);
	has(answer->explanation, text);
	ask(SOCK_STREAM, "127.0.0.3", NULL, 80, 0);
	has(answer->explanation, "on 127.0.0.1:80 (not listening)");
	has_not(answer->explanation, "has bound it");
}

static void full_drops(void)
{
	int fd = bound(SOCK_STREAM, "127.0.0.1", 80);

	assert_int_equal(listen(fd, 0), 0);
	connected(SOCK_STREAM, fd);
	ask(SOCK_STREAM, "127.0.0.1", NULL, 80, 0);
	assert_int_equal(answer->answer, CLEAT_ANSWER_DROPPED);
	has(answer->explanation, "accept queue is full (1 waiting, 0");
}

static void nobody_answers(void)
{
	ask(SOCK_STREAM, "127.0.0.1", NULL, 80, 0);
	assert_int_equal(answer->answer, CLEAT_ANSWER_REFUSED);
	has(answer->explanation, "nobody listens on 127.0.0.1:80");
	ask(SOCK_STREAM, "192.0.2.1", NULL, 80, 0);
	assert_int_equal(answer->answer, CLEAT_ANSWER_UNREACHABLE);
	has(answer->explanation, "no route");
	ask(SOCK_STREAM, "127.0.0.1", "192.0.2.1", 80, 0);
	has(answer->explanation, "192.0.2.1 is another machine's");
}

/* A pair of which the listener's side has been closed first. */
static unsigned linger(unsigned port)
{
	int l = listening("127.0.0.1", port);
	int c = connected(SOCK_STREAM, l);
	unsigned from = cleat_sockaddr_port(&(struct cleat_sockaddr){
		.len = name_of(c).len, .in = name_of(c).in });
	int s = accepted(l);

	leave(s);
	leave(c);
	return from;
}

static void lingering_gives_way(void)
{
	const unsigned port = linger(81);

	ask(SOCK_STREAM, "127.0.0.1", "127.0.0.1", 81, port);
	assert_int_equal(answer->answer, CLEAT_ANSWER_ONE);
	has(answer->explanation, "lingers in TIME_WAIT, and gives way");
	leave(fds[n_fds - 1]);
	ask(SOCK_STREAM, "127.0.0.1", "127.0.0.1", 81, port);
	assert_int_equal(answer->answer, CLEAT_ANSWER_REFUSED);
	try_tcp("127.0.0.1", 81);
	assert_int_equal(verdict->error, -EADDRINUSE);
	can(false, true, false, true);
	has(verdict->summary, "lingers in TIME_WAIT for ");
	has(verdict->summary, "SO_REUSEADDR allows the bind");
	has(verdict->advice[0], "set SO_REUSEADDR");
	advises("wait ");
}

/* The other end has not been closed. */
static void halves_linger(void)
{
	int l = listening("127.0.0.1", 83), c = connected(SOCK_STREAM, l);
	const cleat_time end = soon();

	leave(accepted(l));
	assert_int_equal(dup2(c, l), l); /* closes the listener */
	do
		try_tcp("127.0.0.1", 83);
	while (!strstr(verdict->summary, "FIN_WAIT_2") && cleat_now() < end);
	has(verdict->summary, "lingers in FIN_WAIT_2 for ");
	advises("wait ");
}

static void names_break_no_line(void)
{
	assert_int_equal(prctl(PR_SET_NAME, "a\n\x1b b"), 0);
	listening("127.0.0.1", 80);
	ask(SOCK_STREAM, "127.0.0.1", NULL, 80, 0);
	try_tcp("127.0.0.1", 80);
	assert_int_equal(prctl(PR_SET_NAME, "test_verdicts"), 0);
	has(answer->explanation, "a\\x0a\\x1b b (pid ");
	has(verdict->summary, "a\\x0a\\x1b b (pid ");
}

static void is_refused(const char *ip, unsigned port, int type)
{
	const struct cleat_probe p = { .type = type, .to = at(ip, port) };

	if (cleat_lookup_new(&answer, &p) != -EINVAL)
		fail_msg("%s:%u was looked up", ip, port);
	assert_null(answer);
}

static void some_are_no_questions(void)
{
	const struct cleat_bind nowhere = { .proto = CLEAT_TCP };

	let_verdicts_go();
	is_refused("127.0.0.1", 0, SOCK_STREAM);
	is_refused("127.0.0.1", 80, SOCK_RAW);
	is_refused("224.0.0.1", 80, SOCK_DGRAM);
	is_refused("ff02::1", 80, SOCK_DGRAM);
	is_refused("255.255.255.255", 80, SOCK_DGRAM);
	assert_int_equal(cleat_trial_new(&verdict, &nowhere), -EINVAL);
	assert_null(verdict);
}

/* One that is no question spoils all, and is named. */
static void several_at_once(void)
{
	struct cleat_probe p[] = {
		{ .type = SOCK_STREAM, .to = at("127.0.0.1", 80) },
		{ .type = SOCK_STREAM, .to = at("::1", 80) },
		{ .type = SOCK_STREAM, .to = at("192.0.2.1", 80) },
	};
	struct cleat_lookup *l[COUNT(p)] = { NULL };
	const int fd = listening("127.0.0.1", 80);

	ok(cleat_lookup_all(l, p, COUNT(p)));
	assert_int_equal(l[0]->answer, CLEAT_ANSWER_ONE);
	assert_int_equal(l[1]->answer, CLEAT_ANSWER_REFUSED);
	assert_int_equal(l[2]->answer, CLEAT_ANSWER_UNREACHABLE);
	has(l[1]->explanation, "taken elsewhere, by test_verdicts (pid ");
	cleat_lookup_free(l[2]);
	cleat_lookup_free(l[1]);
	assert_int_equal(l[0]->receivers[0].inode, inode_of(fd));
	assert_int_equal(l[0]->receivers[0].owners[0].pid, getpid());
	cleat_lookup_free(l[0]);
	l[0] = NULL;
	p[1].to = at("ff02::1", 80);
	assert_int_equal(cleat_lookup_all(l, p, COUNT(p)), -EINVAL);
	assert_null(l[0]);
	has(cleat_why(), "look up [ff02::1]:80: ");
}

/* try */

static void listener_blocks(void)
{
	char stop[80];

	(void)snprintf(stop, sizeof(stop), "stop %s", me());
	listening("::", 80);
	try_tcp("127.0.0.1", 80);
	assert_int_equal(verdict->error, -EADDRINUSE);
	can(false, false, false, false);
	assert_int_equal(verdict->n_blockers, 1);
	has(verdict->summary, me());
	has(verdict->summary, " listens on [::]:80, which includes IPv4");
	assert_string_equal(verdict->advice[0], stop);
	advises("set IPV6_V6ONLY, which leaves IPv4 to others");
}

static void included_blocks(void)
{
	listening("127.0.0.1", 80);
	try_tcp("::", 80);
	has(verdict->summary, "which [::] without IPV6_V6ONLY includes");
	advises("set IPV6_V6ONLY before bind()");
	advises("bind one address rather than every one");
	try_at(CLEAT_TCP, at("::", 80), true);
	can(true, true, true, true);
	assert_int_equal(verdict->n_advice, 0);
	has(verdict->summary, "can be bound");
}

static void bound_blocks(void)
{
	bound(SOCK_STREAM, "127.0.0.1", 80);
	try_tcp("127.0.0.1", 80);
	can(false, true, false, true);
	has(verdict->summary,
	    " is bound, without listening, to 127.0.0.1:80; ");
	shared(SOCK_DGRAM, "127.0.0.1", 53);
	try_at(CLEAT_UDP, at("0.0.0.0", 53), false);
	can(false, false, true, true);
	advises("set SO_REUSEPORT before bind()");
}

/* In the range that outgoing connections take their ports of. */
static void connection_blocks(void)
{
	int l = listening("127.0.0.1", 80);
	int c = connected(SOCK_STREAM, l);
	struct cleat_sockaddr sa = name_of(c);

	try_at(CLEAT_TCP, sa, false);
	has(verdict->summary, "a connection of test_verdicts");
	advises("sysctl net.ipv4.ip_local_reserved_ports=");
	assert_int_equal(verdict->blockers[0].state, CLEAT_STATE_ESTABLISHED);
}

/* One that was accepted, and whose listener has gone. */
static void accepted_blocks(void)
{
	int l = listening("127.0.0.1", 40084);
	int c = connected(SOCK_STREAM, l), s = accepted(l);

	(void)s;
	assert_int_equal(dup2(c, l), l); /* closes the listener */
	try_tcp("127.0.0.1", 40084);
	assert_int_equal(verdict->error, -EADDRINUSE);
	has(verdict->summary, "a connection of test_verdicts");
	never_advises("ip_local_reserved_ports");
}

static void listeners_come_first(void)
{
	int l = listening("127.0.0.1", 80);

	connected(SOCK_STREAM, l);
	accepted(l);
	linger(81);
	try_tcp("0.0.0.0", 80);
	assert_int_equal(verdict->n_blockers, 2);
	assert_int_equal(verdict->blockers[0].state, CLEAT_STATE_LISTEN);
	has_not(verdict->summary, "more");
	listening("127.0.0.2", 80);
	try_tcp("0.0.0.0", 80);
	assert_int_equal(verdict->n_blockers, 3);
	has(verdict->summary, ", and 1 more in the way");
}

static void sharing_is_not_proposed(void)
{
	shared(SOCK_STREAM, "127.0.0.1", 85);
	try_tcp("127.0.0.1", 85);
	can(false, false, true, true);
	has_not(verdict->summary, "allows");
	advises("set SO_REUSEPORT before bind(); the port is then shared");
}

static void address_is_absent(void)
{
	try_tcp("192.0.2.1", 80);
	assert_int_equal(verdict->error, -EADDRNOTAVAIL);
	assert_int_equal(verdict->n_blockers, 0);
	has(verdict->summary,
	    "not an address of this machine (it has 127.0.0.1");
	advises("set IP_FREEBIND");
	try_tcp("2001:db8::1", 80);
	has(verdict->summary, "(it has ::1)");
	advises("set IPV6_FREEBIND");
}

static bool turn_ip6(const char *off)
{
	int fd = open("/proc/sys/net/ipv6/conf/all/disable_ipv6",
		      O_WRONLY | O_CLOEXEC);
	const bool done = fd >= 0 && write(fd, off, 1) == 1;

	if (fd >= 0)
		close(fd);
	return done;
}

static void ip6_is_off(void)
{
	if (!turn_ip6("1"))
		skip();
	try_tcp("::1", 80);
	assert_true(turn_ip6("0"));
	assert_int_equal(verdict->error, -EADDRNOTAVAIL);
	has(verdict->summary, ": net.ipv6.conf.all.disable_ipv6 is set");
	has(verdict->advice[0], "sysctl net.ipv6.conf.all.disable_ipv6=0");
	advises("bind an IPv4 address");
	try_tcp("2001:db8::1", 80);
	has_not(verdict->summary, "disable_ipv6");
	never_advises("disable_ipv6");
}

static void address_is_wrong(void)
{
	try_tcp("fe80::1", 80);
	assert_int_equal(verdict->error, -EINVAL);
	has(verdict->summary, "no interface is named");
	advises("[fe80::1%INTERFACE]:80");
	try_at(CLEAT_TCP, at("::ffff:127.0.0.1", 80), true);
	has(verdict->summary, "IPV6_V6ONLY excludes");
}

static void port_0_is_free(void)
{
	listening("127.0.0.1", 0);
	try_tcp("127.0.0.1", 0);
	can(true, true, true, true);
	try_at(CLEAT_UDP, at("::", 0), false);
	can(true, true, true, true);
}

/* In another process, which gives its rights away. */
static int run_unprivileged(void)
{
	let_go();
	if (setresuid(65534, 65534, 65534) < 0)
		return 77;
	try_tcp("127.0.0.1", 80);
	return verdict->error == -EACCES && !verdict->both &&
			       strstr(verdict->summary,
				      "port 80 is privileged") &&
			       strstr(verdict->summary, "(1024)") &&
			       strstr(verdict->summary, "user id 0)") &&
			       verdict->n_advice == 3
		       ? 0
		       : 1;
}

static void port_is_privileged(void)
{
	pid_t pid;
	int status;

	listening("127.0.0.1", 80);
	pid = fork();
	if (pid == 0)
		_exit(run_unprivileged());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* Files, in a directory of their own. */

static char directory[] = "/tmp/cleat-verdicts-XXXXXX";

static struct cleat_sockaddr path_of(const char *name)
{
	char path[100];

	(void)snprintf(path, sizeof(path), "%s/%s", directory, name);
	return unix_at(path, strlen(path) + 1);
}

static bool exists(const struct cleat_sockaddr *sa)
{
	return access(sa->un.sun_path, F_OK) == 0;
}

static void path_is_free(void)
{
	const struct cleat_sockaddr sa = path_of("free");

	try_at(CLEAT_UNIX, sa, false);
	can(true, true, true, true);
	assert_false(exists(&sa));
	try_at(CLEAT_UNIX, path_of("none/free"), false);
	assert_int_equal(verdict->error, -ENOENT);
	has(verdict->summary, "directory");
}

static void path_is_served(int type, enum cleat_proto proto)
{
	struct cleat_sockaddr sa = path_of("served");
	int fd = new_socket(AF_UNIX, type | SOCK_NONBLOCK);

	bind_to(fd, sa);
	if (type == SOCK_STREAM)
		assert_int_equal(listen(fd, 5), 0);
	try_at(proto, sa, false);
	assert_int_equal(verdict->error, -EADDRINUSE);
	can(false, false, false, false);
	assert_int_equal(verdict->n_blockers, 1);
	has(verdict->summary, me());
	advises("stop test_verdicts");
	if (type == SOCK_STREAM) /* not disturbed */
		assert_int_equal(accept(fd, NULL, NULL), -1);
	assert_true(exists(&sa));
	leave(fd);
	try_at(proto, sa, false);
	assert_int_equal(verdict->error, -EADDRINUSE);
	assert_int_equal(verdict->n_blockers, 0);
	has(verdict->summary, "left behind");
	advises("remove the file");
	assert_true(exists(&sa));
	assert_int_equal(unlink(sa.un.sun_path), 0);
}

static void path_is_taken(void)
{
	const struct cleat_sockaddr sa = path_of("file");

	path_is_served(SOCK_STREAM, CLEAT_UNIX);
	path_is_served(SOCK_DGRAM, CLEAT_UNIXGRAM);
	path_is_served(SOCK_STREAM, CLEAT_UNIXGRAM);
	path_is_served(SOCK_DGRAM, CLEAT_UNIX);
	close(open(sa.un.sun_path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	try_at(CLEAT_UNIX, sa, false);
	has(verdict->summary, "not a socket");
	assert_int_equal(unlink(sa.un.sun_path), 0);
}

static void name_is_taken(void)
{
	struct cleat_sockaddr sa = unix_at("\0name", 5);
	int fd = new_socket(AF_UNIX, SOCK_STREAM);

	bind_to(fd, sa);
	assert_int_equal(listen(fd, 5), 0);
	try_at(CLEAT_UNIX, sa, false);
	assert_int_equal(verdict->error, -EADDRINUSE);
	assert_int_equal(verdict->n_blockers, 1);
	try_at(CLEAT_UNIXGRAM, sa, false); /* another name space */
	can(true, true, true, true);
}

/* Whatever fails, there is an error, and nothing left. */

static void walk(int (*act)(void))
{
	const char *failed = "";

	for (unsigned long n = 1; failed; n++) {
		const unsigned fds_before = both_entries("/proc/self/fd");
		const long live = fault_live();
		int err;

		fault_arm(FAULT_ERROR, n);
		err = act();
		failed = fault_disarm();
		if (err < 0 && !cleat_why()[0])
			fail_msg("%lu, %s: %d, for no reason", n, failed, err);
		if (err < 0 && !failed)
			fail_msg("%d: %s, and nothing failed", err,
				 cleat_why());
		assert_int_equal(fault_live(), live);
		assert_int_equal(both_entries("/proc/self/fd"), fds_before);
	}
}

static int look_up(void)
{
	const struct cleat_probe p[] = {
		{ .type = SOCK_STREAM,
		  .to = at("127.0.0.1", 8000),
		  .from = at("127.0.0.1", 0) },
		{ .type = SOCK_DGRAM, .to = at("::1", 8001) },
	};
	struct cleat_lookup *l[COUNT(p)] = { NULL };
	int err = cleat_lookup_all(l, p, COUNT(p));

	for (size_t i = 0; i < COUNT(p); i++)
		cleat_lookup_free(l[i]);
	return err;
}

static int try_one(enum cleat_proto proto, struct cleat_sockaddr sa)
{
	const struct cleat_bind b = { proto, sa, false, 0 };
	struct cleat_trial *t = NULL;
	int err = cleat_trial_new(&t, &b);

	cleat_trial_free(t);
	return err;
}

static int try_taken(void)
{
	return try_one(CLEAT_TCP, at("::", 8000));
}

static int try_absent(void)
{
	return try_one(CLEAT_TCP, at("192.0.2.1", 8000));
}

static int try_path(void)
{
	return try_one(CLEAT_UNIX, path_of("left"));
}

static void all_fails(void)
{
	struct cleat_sockaddr sa = path_of("left");

	shared(SOCK_STREAM, "0.0.0.0", 8000);
	shared(SOCK_STREAM, "0.0.0.0", 8000);
	shared(SOCK_STREAM, "127.0.0.1", 8000);
	walk(look_up);
	walk(try_taken);
	walk(try_absent);
	bind_to(new_socket(AF_UNIX, SOCK_STREAM), sa);
	walk(try_path);
	assert_int_equal(unlink(sa.un.sun_path), 0);
}

static int leave_directory(void **state)
{
	(void)state;
	let_verdicts_go();
	return rmdir(directory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		EITHER(one_answers),
		ALONE(newest_is_next),
		ALONE(dual_stack_answers),
		EITHER(any_answers),
		ALONE(connected_answers),
		ALONE(waiting_answers),
		ALONE(silent_refuses),
		ALONE(full_drops),
		ALONE(nobody_answers),
		ALONE(lingering_gives_way),
		ALONE(halves_linger),
		ALONE(names_break_no_line),
		ALONE(some_are_no_questions),
		ALONE(several_at_once),
		EITHER(listener_blocks),
		ALONE(included_blocks),
		ALONE(bound_blocks),
		ALONE(connection_blocks),
		ALONE(accepted_blocks),
		ALONE(listeners_come_first),
		ALONE(sharing_is_not_proposed),
		ALONE(address_is_absent),
		ALONE(ip6_is_off),
		ALONE(address_is_wrong),
		ALONE(port_0_is_free),
		ALONE(port_is_privileged),
		ALONE(path_is_free),
		ALONE(path_is_taken),
		ALONE(name_is_taken),
		ALONE(all_fails),
	};

	if (!in_own_namespace()) {
		print_message("skipped: no right to make a network "
			      "namespace\n");
		return 77;
	}
	if (!mkdtemp(directory))
		return 1;
	return cmocka_run_group_tests_name("verdicts", tests, NULL,
					   leave_directory);
}
