/* SPDX-License-Identifier: MIT */
/* What a scan is made of: round trips, windows, hosts, the wheel, the ledger.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <arpa/inet.h>
#include <cmocka.h>

#include "scan/engine.h"
#include "scan/wheel.h"

#define MS CLEAT_MSEC

/* Round trips. */

static void a_timeout_doubles(void **state)
{
	const struct cleat__rtt unknown = { 0 };

	(void)state;
	assert_int_equal(cleat__rtt_timeout(&unknown, 0, 4 * CLEAT_SEC),
			 CLEAT_SEC);
	assert_int_equal(cleat__rtt_timeout(&unknown, 1, 4 * CLEAT_SEC),
			 2 * CLEAT_SEC);
	assert_int_equal(cleat__rtt_timeout(&unknown, 2, 4 * CLEAT_SEC),
			 4 * CLEAT_SEC);
	assert_int_equal(cleat__rtt_timeout(&unknown, 200, 4 * CLEAT_SEC),
			 4 * CLEAT_SEC);
	assert_int_equal(cleat__rtt_timeout(&unknown, 0, 300 * MS), 300 * MS);
}

/* RFC 6298 section 2.2: of the first sample R it is R + 4 * R/2. */
static void a_timeout_follows_the_samples(void **state)
{
	struct cleat__rtt r = { 0 };

	(void)state;
	cleat__rtt_add(&r, 200 * MS);
	assert_int_equal(cleat__rtt_timeout(&r, 0, CLEAT_SEC), 600 * MS);
	for (int i = 0; i < 100; i++)
		cleat__rtt_add(&r, 200 * MS);
	assert_in_range(cleat__rtt_timeout(&r, 0, CLEAT_SEC), 200 * MS,
			201 * MS);
	/* One that comes late makes the next waits longer. */
	cleat__rtt_add(&r, 600 * MS);
	assert_in_range(cleat__rtt_timeout(&r, 0, CLEAT_SEC), 600 * MS,
			700 * MS);
	/* Never so short that a busy machine would seem silent. */
	for (int i = 0; i < 100; i++)
		cleat__rtt_add(&r, 0);
	assert_int_equal(cleat__rtt_timeout(&r, 0, CLEAT_SEC), 100 * MS);
}

/* Windows. */

static void a_window_grows_and_is_halved_once(void **state)
{
	struct cleat__window w;

	(void)state;
	cleat__window_init(&w, 10, 1000);
	for (int i = 0; i < 90; i++)
		cleat__window_grow(&w);
	assert_float_equal(w.size, 100, 0.001);
	/* All that were in flight at 7 are one loss. */
	assert_true(cleat__window_shrink(&w, 5, 7));
	assert_false(cleat__window_shrink(&w, 6, 8));
	assert_float_equal(w.size, 50, 0.001);
	assert_true(cleat__window_shrink(&w, 7, 9));
	assert_float_equal(w.size, 25, 0.001);
	/* From here on by one in a round trip. */
	for (int i = 0; i < 25; i++)
		cleat__window_grow(&w);
	assert_float_equal(w.size, 26, 0.02);
}

static void a_window_keeps_its_bounds(void **state)
{
	struct cleat__window w;

	(void)state;
	cleat__window_init(&w, 10, 4);
	assert_float_equal(w.size, 4, 0);
	cleat__window_grow(&w);
	assert_float_equal(w.size, 4, 0);
	for (int i = 1; i < 10; i++)
		(void)cleat__window_shrink(&w, i, i);
	assert_float_equal(w.size, 1, 0);
	cleat__window_yield(&w, 1);
	assert_float_equal(w.size, 1, 0);
}

/* Losses. */

static void attempts_follow_the_losses(void **state)
{
	struct cleat__loss none = { 0 }, host = { 0 }, all = { 0 };

	(void)state;
	assert_int_equal(cleat__attempts_for(NULL, &none, 65535), 3);
	/* One in eleven: of a thousand ports hardly one is lost six times. */
	for (int i = 0; i < 9; i++)
		cleat__loss_add(&host, 0);
	cleat__loss_add(&host, 1);
	assert_int_equal(1000 * cleat__loss_part(&host), 90);
	assert_int_equal(cleat__attempts_for(&host, &none, 900), 6);
	assert_int_equal(cleat__attempts_for(&host, &none, 1), 3);
	/* What others lose may be lost to it, and the more the more they are.
	 */
	for (int i = 0; i < 8000; i++)
		cleat__loss_add(&all, 0);
	for (int i = 0; i < 1000; i++)
		cleat__loss_add(&all, 1);
	assert_int_equal(cleat__attempts_for(NULL, &all, 1), 7);
	cleat__loss_add(&host, 100);
	assert_int_equal(cleat__attempts_for(&host, &all, 1), 10);
	cleat__loss_take_back(&none);
	assert_int_equal(none.lost, 0);
}

/* Hosts. */

static struct cleat_sockaddr v4(uint32_t ip)
{
	return (struct cleat_sockaddr){
		.len = sizeof(struct sockaddr_in),
		.in = { .sin_family = AF_INET,
			.sin_port = htons(80),
			.sin_addr.s_addr = htonl(ip) },
	};
}

static void a_host_may_answer_but_so_many(void **state)
{
	struct cleat__host h = { .answered = 0 };

	(void)state;
	/* Two of three may be lost by chance, for a while. */
	for (int i = 1; i <= 4; i++)
		cleat__host_learn(&h, 2, i);
	assert_false(h.is_limited);
	for (int i = 5; i <= 12; i++)
		cleat__host_learn(&h, 2, i);
	assert_true(h.is_limited);
	assert_in_range(h.turned, 5, 12);
	assert_int_equal(h.limited, 12);
	/* So may an answer come at once. */
	cleat__host_learn(&h, 0, 13);
	assert_true(h.is_limited);
	for (int i = 14; i < 40; i++)
		cleat__host_learn(&h, 0, i);
	assert_false(h.is_limited);
	assert_in_range(h.turned, 14, 39);
	assert_in_range(h.limited, 12, 14);
}

static void a_host_is_found_again(void **state)
{
	struct cleat_sockaddr a = v4(0x0a000001), b = v4(0x0a000002), back;
	struct cleat__hosts h;
	struct cleat__host *host;

	(void)state;
	assert_int_equal(cleat__hosts_init(&h, 100, 42), 0);
	assert_null(cleat__hosts_find(&h, &a));
	host = cleat__hosts_get(&h, &a);
	host->answered = 7;
	a.in.sin_port = 0; /* does not count */
	assert_ptr_equal(cleat__hosts_find(&h, &a), host);
	assert_ptr_equal(cleat__hosts_get(&h, &a), host);
	assert_null(cleat__hosts_find(&h, &b));
	cleat__host_at(host, 443, &back);
	assert_int_equal(back.in.sin_addr.s_addr, a.in.sin_addr.s_addr);
	assert_int_equal(cleat_sockaddr_port(&back), 443);
	cleat__hosts_done(&h);
}

static void zones_are_different_hosts(void **state)
{
	struct cleat_sockaddr a = {
		.len = sizeof(a.in6),
		.in6 = { .sin6_family = AF_INET6,
			 .sin6_addr.s6_addr = { 0xfe, 0x80, [15] = 1 },
			 .sin6_scope_id = 1 },
	};
	struct cleat__hosts h;
	struct cleat__host *first;

	(void)state;
	assert_int_equal(cleat__hosts_init(&h, 100, 42), 0);
	first = cleat__hosts_get(&h, &a);
	a.in6.sin6_scope_id = 2;
	assert_null(cleat__hosts_find(&h, &a));
	assert_ptr_not_equal(cleat__hosts_get(&h, &a), first);
	cleat__hosts_done(&h);
}

/* Where there is no room, who is least known is forgotten; never who is used.
 */
static void the_table_is_bounded(void **state)
{
	struct cleat_sockaddr known = v4(1), used = v4(2), at;
	struct cleat__hosts h;

	(void)state;
	assert_int_equal(cleat__hosts_init(&h, CLEAT__HOSTS_SET, 42), 0);
	cleat__hosts_get(&h, &known)->answered = 1;
	cleat__hosts_get(&h, &used)->in_flight = 1;
	for (uint32_t ip = 3; ip < 1000; ip++) {
		at = v4(ip);
		assert_non_null(cleat__hosts_get(&h, &at));
	}
	assert_non_null(cleat__hosts_find(&h, &known));
	assert_non_null(cleat__hosts_find(&h, &used));
	for (unsigned i = 0; i < CLEAT__HOSTS_SET; i++)
		h.v[i].in_flight = 1;
	at = v4(1000);
	assert_null(cleat__hosts_get(&h, &at));
	cleat__hosts_done(&h);
}

static void silence_is_told_from_chance(void **state)
{
	struct cleat__host h = { .answered = 0 };

	(void)state;
	/* Of 100 half were silent: ten in a row may be chance. */
	for (int i = 0; i < 50; i++) {
		cleat__host_heard(&h, 100 + i);
		cleat__host_unheard(&h, 100 + i);
	}
	for (int i = 0; i < 10; i++)
		cleat__host_unheard(&h, 200);
	assert_false(cleat__host_is_silenced(&h));
	for (int i = 0; i < 20; i++)
		cleat__host_unheard(&h, 200);
	assert_true(cleat__host_is_silenced(&h));
	/* What was tried before the last answer does not count. */
	cleat__host_heard(&h, 300);
	for (int i = 0; i < 100; i++)
		cleat__host_unheard(&h, 250);
	assert_false(cleat__host_is_silenced(&h));
}

/* The census. */

static void answers_are_counted_by_host(void **state)
{
	struct cleat__census c;

	(void)state;
	assert_int_equal(cleat__census_init(&c, 130), 0);
	assert_int_equal(cleat__census_count(&c), 0);
	cleat__census_add(&c, 0);
	cleat__census_add(&c, 129);
	cleat__census_add(&c, 129);
	assert_int_equal(cleat__census_count(&c), 2);
	cleat__census_done(&c);
	/* Of so many nobody keeps count. */
	assert_int_equal(cleat__census_init(&c, UINT64_C(1) << 40), 0);
	cleat__census_add(&c, 1);
	assert_true(cleat__census_count(&c) == UINT64_MAX);
	cleat__census_done(&c);
}

/* The wheel. */

enum {
	PROBES = 2000
};

static void probes_are_given_up_in_time(void **state)
{
	struct cleat__probe *p, *v = calloc(PROBES, sizeof(*v));
	struct cleat__wheel w;
	cleat_time now = 12345 * MS;
	int left = PROBES;

	(void)state;
	assert_non_null(v);
	cleat__wheel_init(&w, now);
	assert_int_equal(cleat__wheel_until(&w), CLEAT_FOREVER);
	/* Some beyond a round of the wheel, and some that have passed. */
	for (int i = 0; i < PROBES; i++) {
		v[i].until = now - 50 * MS + (int64_t)i * 10 * MS;
		cleat__wheel_add(&w, &v[i]);
	}
	for (int i = 0; i < PROBES; i += 2) {
		cleat__wheel_remove(&v[i]);
		left--;
	}
	while (left > 0) {
		const cleat_time until = cleat__wheel_until(&w);

		assert_true(until > now - 8 * MS &&
			    until < now + 9 * CLEAT_SEC);
		now = until > now ? until : now + MS;
		while ((p = cleat__wheel_next(&w, now))) {
			assert_true(p->until <= now);
			assert_true(p->until < 12345 * MS ||
				    now - p->until <= 16 * MS);
			assert_int_equal((p - v) % 2, 1);
			left--;
		}
	}
	assert_int_equal(cleat__wheel_until(&w), CLEAT_FOREVER);
	free(v);
}

/* The ledger. */

static void done(struct cleat__ledger *l, uint64_t place,
		 enum cleat_port_state state)
{
	cleat__ledger_count(l, place, state);
	cleat__ledger_settle(l, place);
}

static void places_are_taken_once(void **state)
{
	struct cleat__ledger l;
	uint64_t first, next = 10;
	unsigned n;

	(void)state;
	assert_int_equal(cleat__ledger_init(&l, 300, 10), 0);
	while ((n = cleat__ledger_take(&l, &first)) > 0) {
		assert_int_equal(first, next);
		next += n;
	}
	assert_int_equal(next, 300);
	assert_int_equal(first, 300);
	cleat__ledger_done(&l);
}

static void the_mark_is_behind_what_is_done(void **state)
{
	struct cleat_scan_progress p;
	struct cleat__ledger l;
	uint64_t first;

	(void)state;
	assert_int_equal(cleat__ledger_init(&l, 150, 0), 0);
	while (cleat__ledger_take(&l, &first) > 0)
		;
	/* All but one of the first block, and the second and third. */
	for (uint64_t i = 149; i > 0; i--)
		done(&l, i, i % 3 ? CLEAT_PORT_CLOSED : CLEAT_PORT_SILENT);
	cleat__ledger_read(&l, &p);
	assert_int_equal(p.mark, 0);
	assert_int_equal(p.marked.closed, 0);
	assert_int_equal(p.done.closed, 100);
	assert_int_equal(p.done.silent, 49);
	assert_int_equal(p.done.open, 0);
	cleat__ledger_count(&l, 0, CLEAT_PORT_OPEN);
	cleat__ledger_read(&l, &p);
	assert_int_equal(p.done.open, 1);
	assert_int_equal(p.mark, 0);
	cleat__ledger_settle(&l, 0);
	cleat__ledger_read(&l, &p);
	assert_int_equal(p.mark, 150);
	assert_int_equal(p.total, 150);
	assert_int_equal(p.marked.open, 1);
	assert_int_equal(p.marked.closed, 100);
	assert_int_equal(p.marked.silent, 49);
	assert_int_equal(p.marked.filtered, 0);
	cleat__ledger_done(&l);
}

/* Who is far ahead of the slowest waits for it. */
static void the_ledger_is_bounded(void **state)
{
	const uint64_t total = UINT64_C(1) << 40;
	struct cleat__ledger l;
	uint64_t first;
	unsigned blocks = 0;

	(void)state;
	assert_int_equal(cleat__ledger_init(&l, total, 0), 0);
	while (cleat__ledger_take(&l, &first) > 0)
		blocks++;
	assert_int_equal(blocks, CLEAT__BLOCKS_MAX);
	assert_int_not_equal(first, total);
	for (uint64_t i = 0; i < CLEAT__BLOCK; i++)
		done(&l, i, CLEAT_PORT_FILTERED);
	assert_int_equal(cleat__ledger_take(&l, &first), CLEAT__BLOCK);
	assert_int_equal(cleat__ledger_take(&l, &first), 0);
	cleat__ledger_done(&l);
}

enum {
	THREADS = 4,
	PLACES = 100003
};

static void *settle_all(void *arg)
{
	struct cleat__ledger *l = arg;
	uint64_t first;
	unsigned n;

	while ((n = cleat__ledger_take(l, &first)) > 0)
		while (n-- > 0)
			done(l, first + n,
			     (first + n) % 7 ? CLEAT_PORT_CLOSED
					     : CLEAT_PORT_OPEN);
	return NULL;
}

static void threads_share_a_ledger(void **state)
{
	struct cleat_scan_progress p;
	struct cleat__ledger l;
	pthread_t t[THREADS];

	(void)state;
	assert_int_equal(cleat__ledger_init(&l, PLACES, 0), 0);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, settle_all, &l),
				 0);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(t[i], NULL), 0);
	cleat__ledger_read(&l, &p);
	assert_int_equal(p.mark, PLACES);
	assert_int_equal(p.marked.open, (PLACES + 6) / 7);
	assert_int_equal(p.marked.open + p.marked.closed, PLACES);
	cleat__ledger_done(&l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_timeout_doubles),
		cmocka_unit_test(a_timeout_follows_the_samples),
		cmocka_unit_test(a_window_grows_and_is_halved_once),
		cmocka_unit_test(a_window_keeps_its_bounds),
		cmocka_unit_test(attempts_follow_the_losses),
		cmocka_unit_test(a_host_may_answer_but_so_many),
		cmocka_unit_test(a_host_is_found_again),
		cmocka_unit_test(zones_are_different_hosts),
		cmocka_unit_test(the_table_is_bounded),
		cmocka_unit_test(silence_is_told_from_chance),
		cmocka_unit_test(answers_are_counted_by_host),
		cmocka_unit_test(probes_are_given_up_in_time),
		cmocka_unit_test(places_are_taken_once),
		cmocka_unit_test(the_mark_is_behind_what_is_done),
		cmocka_unit_test(the_ledger_is_bounded),
		cmocka_unit_test(threads_share_a_ledger),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
