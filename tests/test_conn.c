/* SPDX-License-Identifier: MIT */
/* Streams: both directions, every way to end, and what comes in between:
 * resets, urgent data, passed descriptors.
 */
#include "both.h"
#include "pair.h"

#include <fcntl.h>

/* Talking. */

static void talk(const char *addr)
{
	struct cleat_sockaddr x, y;
	struct cleat_counts n;
	struct pair p;

	pair_open(&p, addr);
	ok(cleat_conn_local(p.a, &x));
	ok(cleat_conn_peer(p.b, &y));
	assert_same_name(&x, &y);
	ok(cleat_conn_peer(p.a, &x));
	ok(cleat_conn_local(p.b, &y));
	assert_same_name(&x, &y);
	ok(cleat_send(p.a, "question", 8, soon()));
	assert_recv(p.b, "question");
	ok(cleat_send(p.b, "", 0, soon()));
	ok(cleat_send(p.b, "answer", 6, soon()));
	assert_recv(p.a, "answer");
	ok(cleat_shutdown(p.a, CLEAT_WRITE));
	assert_ended(p.b);
	ok(cleat_send(p.b, "last", 4, soon()));
	ok(cleat_shutdown(p.b, CLEAT_WRITE));
	ok(cleat_finish(p.a, soon()));
	n = cleat_conn_counts(p.b);
	assert_int_equal(n.received, 8);
	assert_int_equal(n.sent, 10);
	assert_true(fcntl(cleat_conn_fd(p.b), F_GETFL) & O_NONBLOCK);
	assert_true(fcntl(cleat_conn_fd(p.b), F_GETFD) & FD_CLOEXEC);
	assert_true(fcntl(cleat_conn_fd(p.a), F_GETFD) & FD_CLOEXEC);
	pair_close(&p);
}

static void talks(void)
{
	for (size_t i = 0; i < COUNT(kinds); i++)
		talk(kinds[i]);
	cleat_close(NULL);
	cleat_unlisten(NULL);
}

static void receives_nothing(void)
{
	for (size_t i = 0; i < COUNT(kinds); i++) {
		struct pair p;
		char c;

		pair_open(&p, kinds[i]);
		assert_int_equal(cleat_recv(p.a, &c, 0, soon()), 0);
		ok(cleat_send(p.b, "x", 1, soon()));
		assert_int_equal(cleat_recv(p.a, &c, 0, soon()), 0);
		assert_recv(p.a, "x");
		pair_close(&p);
	}
}

static unsigned char pattern(size_t at)
{
	return (unsigned char)(at * 7 + at / 251);
}

/* A reader of all that comes, which checks it. */
struct drain {
	int fd;
	size_t got;
	bool wrong;
};

static void drain(void *arg)
{
	struct drain *d = arg;
	unsigned char buf[4096];
	ssize_t n;

	while ((n = recv(d->fd, buf, sizeof(buf), 0)) > 0)
		for (ssize_t i = 0; i < n; i++)
			d->wrong |= buf[i] != pattern(d->got++);
}

static void assert_drained(struct cleat_conn *c, struct both_later *l,
			   struct drain *d, size_t len)
{
	cleat_close(c);
	both_join(l);
	assert_int_equal(d->got, len);
	assert_false(d->wrong);
	close(d->fd);
}

static void sends_all(void)
{
	size_t len = 3 * MIB + 17;
	unsigned char *data = malloc(len);

	for (size_t i = 0; i < len; i++)
		data[i] = pattern(i);
	for (size_t k = 0; k < COUNT(kinds); k++) {
		struct both_later reader;
		struct cleat_conn *c;
		struct drain d = { .fd = raw_open(&c, kinds[k]) };

		both_later(&reader, drain, &d);
		ok(cleat_send(c, data, len, soon()));
		assert_int_equal(cleat_conn_counts(c).sent, len);
		assert_drained(c, &reader, &d, len);
	}
	free(data);
}

/* Pieces of all lengths, empty ones among them, more than IOV_MAX of them. */
static void sends_pieces(void)
{
	enum {
		N = 2600
	};
	struct iovec *v = calloc(N, sizeof(*v)), *copy = calloc(N, sizeof(*v));
	unsigned char *data = malloc(4 * MIB);
	size_t len = 0;

	for (int i = 0; i < N; i++) {
		v[i].iov_base = data + len;
		v[i].iov_len = i % 5 == 0      ? 0
			       : i % 100 == 99 ? 100000
					       : (size_t)i % 777;
		len += v[i].iov_len;
		assert_in_range(len, 0, 4 * MIB);
	}
	for (size_t i = 0; i < len; i++)
		data[i] = pattern(i);
	memcpy(copy, v, N * sizeof(*v));
	for (size_t k = 0; k < COUNT(kinds); k++) {
		struct both_later reader;
		struct cleat_conn *c;
		struct drain d = { .fd = raw_open(&c, kinds[k]) };

		both_later(&reader, drain, &d);
		ok(cleat_sendv(c, NULL, 0, soon()));
		ok(cleat_sendv(c, v, 1, soon()));
		ok(cleat_sendv(c, v, N, soon()));
		assert_memory_equal(v, copy, N * sizeof(*v));
		assert_drained(c, &reader, &d, len);
	}
	free(data);
	free(copy);
	free(v);
}

struct speech {
	struct cleat_conn *c;
	const void *data;
	size_t len;
	int err;
};

static void speak(void *arg)
{
	struct speech *s = arg;

	s->err = cleat_send(s->c, s->data, s->len, soon());
}

static void *repeat_all(void *arg)
{
	static char buf[65536];
	int fd = *(int *)arg;
	ssize_t n;

	while ((n = recv(fd, buf, sizeof(buf), 0)) > 0)
		put(fd, buf, (size_t)n);
	return NULL;
}

static void hear_all(const struct speech *s)
{
	unsigned char buf[5000];
	size_t got = 0;

	while (got < s->len) {
		ssize_t n = recv_in_time(s->c, buf, sizeof(buf));

		ok(n);
		assert_int_not_equal(n, 0);
		for (ssize_t i = 0; i < n; i++)
			assert_int_equal(buf[i], pattern(got++));
	}
}

static void speak_and_hear(struct speech *s)
{
	struct cleat_scope *scope;
	struct both_later l;

	if (!cleat_is_fiber()) {
		both_later(&l, speak, s);
		hear_all(s);
		both_join(&l);
		return;
	}
	ok(cleat_scope_open(&scope, 0));
	ok(cleat_go(scope, speak, s, soon()));
	hear_all(s);
	ok(cleat_scope_wait(scope, soon()));
	cleat_scope_close(scope);
}

/* One sends and another receives, on the same connection, at the same time. */
static void both_directions(void)
{
	struct speech s = { .len = 12 * MIB };
	unsigned char *data = malloc(s.len);

	s.data = data;
	for (size_t i = 0; i < s.len; i++)
		data[i] = pattern(i);
	for (size_t k = 0; k < COUNT(kinds); k++) {
		pthread_t echo;
		int fd = raw_open(&s.c, kinds[k]);

		assert_int_equal(pthread_create(&echo, NULL, repeat_all, &fd),
				 0);
		speak_and_hear(&s);
		assert_int_equal(s.err, 0);
		cleat_close(s.c);
		assert_int_equal(pthread_join(echo, NULL), 0);
		close(fd);
	}
	free(data);
}

static void pieces_beyond_size(void)
{
	char data[1] = "x";
	struct iovec v[2] = { { data, SIZE_MAX / 2 }, { data, SIZE_MAX / 2 } };
	struct pair p;

	pair_open(&p, kinds[0]);
	assert_int_equal(cleat_sendv(p.a, v, 2, soon()), -EINVAL);
	assert_int_equal(cleat_conn_counts(p.a).sent, 0);
	pair_close(&p);
}

/* What is viewed goes back as it is, while the next view waits. */
static void views(void)
{
	for (size_t k = 0; k < COUNT(kinds); k++) {
		const void *data;
		struct pair p;

		pair_open(&p, kinds[k]);
		for (int i = 0; i < 100; i++) {
			char text[16];
			ssize_t n;

			(void)snprintf(text, sizeof(text), "line %d\n", i);
			ok(cleat_send(p.a, text, strlen(text), soon()));
			n = cleat_view(p.b, &data, soon());
			assert_int_equal(n, strlen(text));
			assert_memory_equal(data, text, (size_t)n);
			ok(cleat_send(p.b, data, (size_t)n, soon()));
			assert_recv(p.a, text);
		}
		/* A view of what a frame call left, then new bytes. */
		ok(cleat_send(p.a, "one\ntwo", 7, soon()));
		assert_int_equal(cleat_recv_until(p.b, (char[8]){ 0 }, 8, "\n",
						  1, soon()),
				 4);
		assert_int_equal(cleat_view(p.b, &data, soon()), 3);
		assert_memory_equal(data, "two", 3);
		assert_int_equal(cleat_view(p.b, &data, 0), -ETIMEDOUT);
		assert_int_equal(cleat_conn_counts(p.a).sent,
				 cleat_conn_counts(p.b).received);
		pair_close(&p);
	}
}

/* Ends. */

/* How bytes come to C: before its reader has looked, while he waits, or all in
 * one event to a scheduler that knows C.
 */
enum arrival {
	UNSEEN,
	AWAITED,
	IN_ONE_EVENT,
	ARRIVALS
};

static void arrive(enum arrival how, struct cleat_conn *c, struct both_later *l,
		   void (*fn)(void *), int *fd)
{
	if (how == AWAITED) {
		both_later(l, fn, fd);
		return;
	}
	if (how == IN_ONE_EVENT)
		assert_int_equal(cleat_recv(c, (char[1]){ 0 }, 1, 0),
				 -ETIMEDOUT);
	fn(fd);
	ok(cleat_yield());
	ok(cleat_yield());
}

/* At least WANT bytes, as many at once as there are.  Returns how many. */
static size_t recv_all(struct cleat_conn *c, char *buf, size_t len, size_t want)
{
	size_t got = 0;

	while (got < want) {
		ssize_t n = recv_in_time(c, buf + got, len - got);

		ok(n);
		assert_int_not_equal(n, 0);
		got += (size_t)n;
	}
	return got;
}

static void put_and_close(void *arg)
{
	const int *fd = arg;

	put(*fd, "hello", 5);
	close(*fd);
}

/* The last bytes and the end come at once, to buffers of every size. */
static void end_with_data(const char *addr, enum arrival how)
{
	for (size_t room = 1; room <= 7; room++) {
		struct both_later l;
		struct cleat_conn *c;
		int fd = raw_open(&c, addr);
		char buf[8];
		size_t got = 0;
		ssize_t n;

		arrive(how, c, &l, put_and_close, &fd);
		while ((n = recv_in_time(c, buf + got,
					 room < 8 - got ? room : 8 - got)) > 0)
			got += (size_t)n;
		assert_int_equal(n, 0);
		assert_int_equal(got, 5);
		assert_memory_equal(buf, "hello", 5);
		assert_ended(c);
		if (how == AWAITED)
			both_join(&l);
		cleat_close(c);
	}
}

static void ends_with_data(void)
{
	for (size_t k = 0; k < COUNT(kinds); k++)
		for (int how = 0; how < ARRIVALS; how++)
			end_with_data(kinds[k], (enum arrival)how);
}

static void reset_now(void *arg)
{
	const int *fd = arg;

	reset(*fd);
}

static void reset_in_message(void)
{
	char buf[16];

	for (int waiting = 0; waiting < 2; waiting++) {
		struct both_later l;
		struct cleat_conn *c;
		int fd = raw_open(&c, kinds[0]);
		ssize_t n;

		put(fd, "abc", 3);
		if (waiting)
			both_later(&l, reset_now, &fd);
		else
			reset(fd);
		n = cleat_recv_exactly(c, buf, 10, soon());
		assert_int_equal(n, -ECONNRESET);
		assert_why_ends("connection reset by peer");
		if (waiting)
			both_join(&l);
		n = cleat_send(c, "x", 1, soon());
		assert_true(n == -EPIPE || n == -ECONNRESET);
		assert_int_equal(cleat_send(c, "x", 1, soon()), -EPIPE);
		assert_int_not_equal(cleat_finish(c, soon()), 0);
		cleat_close(c);
	}
}

/* One connection that is reset does not touch another. */
static void reset_disturbs_no_other(void)
{
	struct pair p;
	struct cleat_conn *c;
	int fd = raw_open(&c, kinds[1]);

	pair_open(&p, kinds[0]);
	reset(fd);
	ok(cleat_send(p.a, "fine", 4, soon()));
	assert_recv(p.b, "fine");
	assert_int_equal(cleat_recv(c, (char[1]){ 0 }, 1, soon()), -ECONNRESET);
	cleat_close(c);
	pair_close(&p);
}

static void say_more(void *arg)
{
	const int *fd = arg;
	char buf[8];

	assert_int_equal(recv(*fd, buf, sizeof(buf), MSG_WAITALL), 3);
	put(*fd, "more of it", 10);
	assert_int_equal(shutdown(*fd, SHUT_WR), 0);
}

static void finishes(void)
{
	for (size_t k = 0; k < COUNT(kinds); k++) {
		struct both_later l;
		struct cleat_conn *c;
		int fd = raw_open(&c, kinds[k]);

		ok(cleat_send(c, "bye", 3, soon()));
		both_later(&l, say_more, &fd);
		ok(cleat_finish(c, soon()));
		both_join(&l);
		assert_ended(c);
		assert_int_equal(cleat_send(c, "x", 1, soon()), -EPIPE);
		cleat_close(c);
		close(fd);

		fd = raw_open(&c, kinds[k]); /* who never says goodbye */
		assert_int_equal(cleat_finish(c, cleat_in(10 * CLEAT_MSEC)),
				 -ETIMEDOUT);
		cleat_close(c);
		close(fd);
	}
}

static void unread_data_resets(void)
{
	struct cleat_conn *c;
	int fd = raw_open(&c, kinds[0]);
	char byte;

	put(fd, "unread", 6);
	assert_int_equal(cleat_recv(c, &byte, 1, soon()), 1);
	cleat_close(c);
	assert_int_equal(recv(fd, &byte, 1, 0), -1);
	assert_int_equal(errno, ECONNRESET);
	close(fd);
}

struct cut {
	struct cleat_conn *c;
	enum cleat_direction d;
};

static void cut(void *arg)
{
	const struct cut *cut = arg;

	assert_int_equal(cleat_shutdown(cut->c, cut->d), 0);
}

/* Shut down by another thread, under one who waits. */
static void shutdown_wakes(void)
{
	static char block[65536];

	for (size_t k = 0; k < COUNT(kinds); k++) {
		struct both_later l;
		struct cut cuts;
		struct pair p;

		pair_open(&p, kinds[k]);
		cuts = (struct cut){ p.a, CLEAT_READ };
		both_later(&l, cut, &cuts);
		assert_int_equal(cleat_recv(p.a, block, 1, soon()), 0);
		both_join(&l);
		fill_up(p.a);
		cuts.d = CLEAT_WRITE;
		both_later(&l, cut, &cuts);
		assert_int_equal(cleat_send(p.a, block, sizeof(block), soon()),
				 -EPIPE);
		both_join(&l);
		cuts = (struct cut){ p.b, CLEAT_BOTH };
		cut(&cuts);
		assert_int_equal(cleat_send(p.b, block, 1, soon()), -EPIPE);
		pair_close(&p);
	}
}

static void shutdown_after_reset(void)
{
	struct cleat_conn *c;
	int fd = raw_open(&c, kinds[0]);

	reset(fd);
	assert_int_equal(cleat_recv(c, (char[1]){ 0 }, 1, soon()), -ECONNRESET);
	assert_int_equal(cleat_shutdown(c, CLEAT_WRITE), -ENOTCONN);
	assert_why_ends("not connected");
	cleat_close(c);
}

/* The short-read rule and what it must not miss. */

struct chunks {
	int fd;
	size_t len;
	unsigned seed;
};

static void send_chunks(void *arg)
{
	const struct chunks *s = arg;
	unsigned char buf[3000];
	unsigned r = s->seed;

	for (size_t at = 0; at < s->len;) {
		size_t n;

		r = r * 1103515245 + 12345;
		n = 1 + (r >> 8) % (r & 64 ? 20 : sizeof(buf));
		n = n < s->len - at ? n : s->len - at;
		for (size_t i = 0; i < n; i++)
			buf[i] = pattern(at + i);
		put(s->fd, buf, n);
		at += n;
		if (r & 32)
			(void)sched_yield();
	}
	assert_int_equal(shutdown(s->fd, SHUT_WR), 0);
}

/* Data that comes between a short read and the wait for more. */
static void loses_no_wakeup(void)
{
	for (size_t k = 0; k < COUNT(kinds); k++) {
		struct both_later l;
		struct cleat_conn *c;
		struct chunks s = { .fd = raw_open(&c, kinds[k]),
				    .len = MIB / 2,
				    .seed = (unsigned)k };
		unsigned char buf[2000];
		size_t got = 0;
		ssize_t n;

		both_later(&l, send_chunks, &s);
		while ((n = recv_in_time(c, buf, 1 + got % sizeof(buf))) > 0)
			for (ssize_t i = 0; i < n; i++)
				assert_int_equal(buf[i], pattern(got++));
		ok(n);
		assert_int_equal(got, s.len);
		both_join(&l);
		cleat_close(c);
		close(s.fd);
	}
}

static void urgent(int fd, char byte)
{
	assert_int_equal(send(fd, &byte, 1, MSG_OOB | MSG_NOSIGNAL), 1);
}

static void urgent_in_between(void *arg)
{
	const int *fd = arg;

	put(*fd, "abc", 3);
	urgent(*fd, '!');
	put(*fd, "def", 3);
}

static void urgent_first(void *arg)
{
	const int *fd = arg;

	urgent(*fd, '!');
	put(*fd, "abcdef", 6);
}

static void urgent_twice(void *arg)
{
	const int *fd = arg;

	put(*fd, "ab", 2);
	urgent(*fd, '1');
	put(*fd, "cd", 2);
	urgent(*fd, '2');
	put(*fd, "ef", 2);
}

/* A read stops at the urgent byte, though more is there. */
static void urgent_in(void (*fn)(void *), enum arrival how)
{
	struct both_later l;
	struct cleat_conn *c;
	int fd = raw_open(&c, kinds[0]);
	char buf[64];
	size_t got;

	arrive(how, c, &l, fn, &fd);
	got = recv_all(c, buf, sizeof(buf), 6);
	if (how == AWAITED)
		both_join(&l);
	/* Of two urgent bytes the first becomes an ordinary one. */
	assert_in_range(got, 6, 7);
	assert_memory_equal(buf, "ab", 2);
	assert_int_equal(buf[got - 1], 'f');
	close(fd);
	assert_ended(c);
	cleat_close(c);
}

static void urgent_data(void)
{
	for (int how = 0; how < ARRIVALS; how++) {
		urgent_in(urgent_in_between, (enum arrival)how);
		urgent_in(urgent_first, (enum arrival)how);
		urgent_in(urgent_twice, (enum arrival)how);
	}
}

static void pass(int fd, const char *text, int passed)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(int))];
	} control = { .align = { .cmsg_level = SOL_SOCKET,
				 .cmsg_type = SCM_RIGHTS,
				 .cmsg_len = CMSG_LEN(sizeof(int)) } };
	struct iovec v = { (void *)(uintptr_t)text, strlen(text) };
	const struct msghdr m = { .msg_iov = &v,
				  .msg_iovlen = 1,
				  .msg_control = &control,
				  .msg_controllen = sizeof(control) };

	memcpy(CMSG_DATA(&control.align), &passed, sizeof(passed));
	assert_int_equal(sendmsg(fd, &m, MSG_NOSIGNAL), v.iov_len);
}

static void pass_some(void *arg)
{
	const int *fd = arg;

	put(*fd, "ab", 2);
	pass(*fd, "cd", *fd);
	put(*fd, "ef", 2);
	pass(*fd, "gh", 0);
	pass(*fd, "ij", 0);
}

/* A read stops at passed descriptors, though more is there; they are dropped.
 */
static void passed_descriptors(void)
{
	for (int how = 0; how < ARRIVALS; how++) {
		struct both_left before;
		struct both_later l;
		struct cleat_conn *c;
		int fd = raw_open(&c, unix_addr);
		char buf[64];

		before = both_count();
		arrive((enum arrival)how, c, &l, pass_some, &fd);
		assert_int_equal(recv_all(c, buf, sizeof(buf), 10), 10);
		if (how == AWAITED)
			both_join(&l);
		assert_memory_equal(buf, "abcdefghij", 10);
		both_assert_nothing_left(before);
		close(fd);
		assert_ended(c);
		cleat_close(c);
	}
}

/* Borrowed bytes outlive a send that waits, whoever reads meanwhile. */

struct borrow {
	struct pair in, out;
	bool pieces;
	int err;
};

static void forward(void *arg)
{
	struct borrow *b = arg;
	const void *data;
	ssize_t n = cleat_view(b->in.b, &data, soon());
	struct iovec v[3] = { { (char *)(uintptr_t) "<", 1 },
			      { (void *)(uintptr_t)data,
				n > 0 ? (size_t)n : 0 },
			      { (char *)(uintptr_t) ">", 1 } };

	ok(n);
	assert_int_equal(n, 1000);
	b->err = b->pieces ? cleat_sendv(b->out.a, v, 3, soon())
			   : cleat_send(b->out.a, data, (size_t)n, soon());
	ok(cleat_shutdown(b->out.a, CLEAT_WRITE));
}

static void read_until_last(struct cleat_conn *c, const char *want, size_t len)
{
	char tail[1100];
	size_t held = 0;
	ssize_t n;

	while ((n = cleat_recv(c, tail + held, sizeof(tail) - held, soon())) >
	       0) {
		held += (size_t)n;
		if (held > len) {
			memmove(tail, tail + held - len, len);
			held = len;
		}
	}
	ok(n);
	assert_int_equal(held, len);
	assert_memory_equal(tail, want, len);
}

static void forward_slowly(bool pieces)
{
	struct borrow b = { .pieces = pieces };
	char text[1002] = "<", other[1000];
	struct cleat_scope *s;
	const void *data;
	size_t len = pieces ? 1002 : 1000;

	memset(text + 1, 'A', 1000);
	text[1001] = '>';
	memset(other, 'B', sizeof(other));
	pair_open(&b.in, kinds[0]);
	pair_open(&b.out, kinds[2]);
	ok(cleat_scope_open(&s, 0));
	fill_up(b.out.a);
	ok(cleat_send(b.in.a, text + 1, 1000, soon()));
	ok(cleat_go(s, forward, &b, soon()));
	for (int i = 0; i < 5; i++)
		ok(cleat_yield());
	ok(cleat_send(b.in.a, other, sizeof(other), soon()));
	assert_int_equal(cleat_view(b.in.b, &data, soon()), 1000);
	assert_memory_equal(data, other, 1000);
	assert_int_equal(cleat_conn_counts(b.out.a).sent, 0);
	read_until_last(b.out.b, pieces ? text : text + 1, len);
	assert_int_equal(b.err, 0);
	assert_int_equal(cleat_conn_counts(b.out.a).sent, len);
	cleat_scope_close(s);
	pair_close(&b.in);
	pair_close(&b.out);
}

static void borrowed_while_waiting(void)
{
	forward_slowly(false);
	forward_slowly(true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(talks),
		BOTH(receives_nothing),
		BOTH(sends_all),
		BOTH(sends_pieces),
		BOTH(both_directions),
		BOTH(pieces_beyond_size),
		BOTH(views),
		BOTH(ends_with_data),
		BOTH(reset_in_message),
		BOTH(reset_disturbs_no_other),
		BOTH(finishes),
		BOTH(unread_data_resets),
		BOTH(shutdown_wakes),
		BOTH(shutdown_after_reset),
		BOTH(loses_no_wakeup),
		BOTH(urgent_data),
		BOTH(passed_descriptors),
		FIBER(borrowed_while_waiting),
	};

	make_names();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
