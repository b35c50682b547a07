/* SPDX-License-Identifier: MIT */
/* Time, and errors as text. */
#include "both.h"

#include <cleat/addr.h>

#include <ctype.h>
#include <errno.h>
#include <time.h>

static void now_is_the_monotonic_clock(void)
{
	struct timespec t;
	cleat_time before = cleat_now(), now;

	for (int i = 0; i < 1000; i++) {
		now = cleat_now();
		assert_true(now >= before);
		before = now;
	}
	assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &t), 0);
	now = t.tv_sec * CLEAT_SEC + t.tv_nsec;
	assert_true(now >= before);
	assert_true(cleat_now() >= now);
}

static void in_counts_from_now(void)
{
	static const int64_t spans[] = {
		0, 1, -1, CLEAT_USEC, -CLEAT_SEC, 5 * CLEAT_SEC, INT64_MIN / 2
	};

	for (size_t i = 0; i < COUNT(spans); i++) {
		cleat_time low = cleat_now(), at = cleat_in(spans[i]),
			   high = cleat_now();

		assert_true(at >= low + spans[i]);
		assert_true(at <= high + spans[i]);
	}
}

static void in_saturates(void)
{
	assert_true(cleat_in(CLEAT_FOREVER) == CLEAT_FOREVER);
	assert_true(cleat_in(CLEAT_FOREVER - 1) == CLEAT_FOREVER);
	assert_true(cleat_in(CLEAT_FOREVER - cleat_now()) == CLEAT_FOREVER);
	assert_true(cleat_in(CLEAT_FOREVER / 2) < CLEAT_FOREVER);
	assert_true(cleat_in(INT64_MIN) < 0); /* has passed, to be sure */
}

static void units(void)
{
	assert_true(CLEAT_USEC * 1000 == CLEAT_MSEC);
	assert_true(CLEAT_MSEC * 1000 == CLEAT_SEC);
	assert_true(CLEAT_SEC == 1000000000);
}

static void known_texts(void)
{
	static const struct {
		int err;
		const char *text;
	} cases[] = {
		{ 0, "success" },
		{ -ECONNREFUSED, "connection refused" },
		{ ECONNREFUSED, "connection refused" },
		{ -ETIMEDOUT, "timed out" },
		{ CLEAT_ENONAME, "no such host or service" },
		{ -CLEAT_ENONAME, "no such host or service" },
		{ CLEAT_EEOF, "end of stream" },
	};

	for (size_t i = 0; i < COUNT(cases); i++)
		assert_string_equal(cleat_strerror(cases[i].err),
				    cases[i].text);
}

/* One line, whatever the number. */
static void every_number_has_a_text(void)
{
	static const int odd[] = { INT32_MIN, INT32_MAX, -4095, -4096,
				   -4999,     -5000,     -5001, -5010,
				   -5011,     -5012,     -5013, INT32_MIN + 1 };

	for (int err = 1; err < 200; err++) {
		const char *text = cleat_strerror(-err);

		assert_true(strlen(text) > 0);
		assert_null(strchr(text, '\n'));
		assert_string_equal(cleat_strerror(err), text);
	}
	for (size_t i = 0; i < COUNT(odd); i++)
		assert_true(strlen(cleat_strerror(odd[i])) > 0);
}

/* What our system calls may fail with: in lower case, as the rest of a line. */
static void common_texts_are_in_lower_case(void)
{
	static const int common[] = {
		EACCES,       EADDRINUSE,   EADDRNOTAVAIL, EAFNOSUPPORT,
		EAGAIN,       EALREADY,     EBADF,         EBUSY,
		ECANCELED,    ECHILD,       ECONNABORTED,  ECONNREFUSED,
		ECONNRESET,   EDESTADDRREQ, EEXIST,        EHOSTDOWN,
		EHOSTUNREACH, EINPROGRESS,  EINTR,         EINVAL,
		EIO,          EISCONN,      EISDIR,        ELOOP,
		EMFILE,       EMSGSIZE,     ENAMETOOLONG,  ENETDOWN,
		ENETUNREACH,  ENFILE,       ENOBUFS,       ENODEV,
		ENOENT,       ENOMEM,       ENOPROTOOPT,   ENOSPC,
		ENOSYS,       ENOTCONN,     ENOTDIR,       ENOTSOCK,
		ENOTSUP,      EPERM,        EPIPE,         EPROTO,
		EPROTOTYPE,   ERANGE,       EROFS,         ETIMEDOUT,
	};

	for (size_t i = 0; i < COUNT(common); i++) {
		const char *text = cleat_strerror(-common[i]);

		if (!islower((unsigned char)text[0]))
			fail_msg("%d: \"%s\"", common[i], text);
	}
}

/* The text stays what it was when others are asked for. */
static void texts_are_static(void)
{
	const char *a = cleat_strerror(-ECONNREFUSED);
	const char *b = cleat_strerror(-4000), *c = cleat_strerror(-4001);

	assert_string_equal(a, "connection refused");
	assert_string_equal(b, "unknown error");
	assert_string_equal(c, "unknown error");
}

static void *why_elsewhere(void *arg)
{
	struct cleat_addr a;

	assert_string_equal(cleat_why(), "");
	assert_int_equal(cleat_addr_parse(&a, arg), -EINVAL);
	assert_non_null(strstr(cleat_why(), arg));
	return NULL;
}

static void each_thread_has_its_reason(void)
{
	struct cleat_addr a;
	pthread_t thread;

	assert_int_equal(cleat_addr_parse(&a, "mine:99999"), -EINVAL);
	assert_int_equal(pthread_create(&thread, NULL, why_elsewhere,
					(char[]){ "other:99999" }),
			 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_non_null(strstr(cleat_why(), "mine:99999"));
	assert_null(strchr(cleat_why(), '\n'));
}

static void fail_inside(void *arg)
{
	struct cleat_addr a;

	assert_string_equal(cleat_why(), "");
	assert_int_equal(cleat_addr_parse(&a, arg), -EINVAL);
	assert_non_null(strstr(cleat_why(), arg));
}

/* A thread's own reason is there again when its fibers have gone. */
static void fibers_leave_the_thread_its_reason(void)
{
	struct cleat_addr a;

	assert_int_equal(cleat_addr_parse(&a, "mine:99999"), -EINVAL);
	ok(both_run(fail_inside, (char[]){ "fiber:99999" }));
	assert_non_null(strstr(cleat_why(), "mine:99999"));
}

/* However long what it is about, it stays one line. */
static void long_objects_are_cut(void)
{
	struct cleat_addr a;
	char text[2000];

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	assert_int_equal(cleat_addr_parse(&a, text), -EINVAL);
	assert_true(strlen(cleat_why()) > 0);
	assert_true(strlen(cleat_why()) < 700);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(now_is_the_monotonic_clock),
		BOTH(in_counts_from_now),
		BOTH(in_saturates),
		BOTH(units),
		BOTH(known_texts),
		BOTH(every_number_has_a_text),
		BOTH(common_texts_are_in_lower_case),
		BOTH(texts_are_static),
		BOTH(each_thread_has_its_reason),
		THREAD(fibers_leave_the_thread_its_reason),
		BOTH(long_objects_are_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
