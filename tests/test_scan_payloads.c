/* SPDX-License-Identifier: MIT */
/* What a scan says to UDP services, read anew as its RFC has it. */
#include "both.h"

#include "scan/payloads.h"

static const unsigned char *data;
static size_t len;

static void take_payload(unsigned port, unsigned attempt)
{
	const struct cleat__payload *p = cleat__payload(port, attempt);

	data = p->data;
	len = p->len;
}

static unsigned u16(size_t i)
{
	assert_true(i + 2 <= len);
	return (unsigned)data[i] << 8 | data[i + 1];
}

static unsigned u32(size_t i)
{
	return u16(i) << 16 | u16(i + 2);
}

/* RFC 1035 section 4.1: one question, and nothing behind it. */
static void is_question(unsigned port, unsigned flags, unsigned type)
{
	size_t i = 12;

	take_payload(port, 0);
	assert_int_equal(u16(2), flags);
	assert_int_equal(u16(4), 1);
	assert_int_equal(u32(6), 0);
	assert_int_equal(u16(10), 0);
	for (; u16(i) >> 8 != 0; i += 1 + data[i])
		assert_in_range(data[i], 1, 63);
	assert_int_equal(u16(i + 1), type);
	assert_int_equal(u16(i + 3), 1);
	assert_int_equal(len, i + 5);
}

static void dns(void)
{
	is_question(53, 0x0100, 2);
	is_question(5353, 0, 12);
	assert_memory_equal(data + 12, "\x9_services\x7_dns-sd\4_udp\5local",
			    30);
	is_question(137, 0, 0x21);
	assert_int_equal(data[12], 32);
	for (int i = 0; i < 16; i++) {
		const int high = data[13 + 2 * i] - 'A';
		const int low = data[14 + 2 * i] - 'A';

		assert_int_equal(high * 16 + low, i == 0 ? '*' : 0);
	}
}

/* X.690: elements of definite length that fill theirs; how many there are. */
static unsigned der(size_t first, size_t end)
{
	unsigned n = 0;

	for (size_t i = first; i < end; n++) {
		const bool is_made_of = data[i] & 0x20;
		size_t size = data[i + 1];

		i += 2;
		assert_in_range(size, 0, 127);
		assert_true(i + size <= end);
		if (is_made_of)
			n += der(i, i + size);
		i += size;
	}
	return n;
}

static void ber(void)
{
	take_payload(161, 0);
	assert_int_equal(der(0, len), 11);
	assert_int_equal(data[4], 1);
	take_payload(161, 2);
	assert_int_equal(der(0, len), 11);
	assert_int_equal(data[4], 0);
	take_payload(161, 1);
	assert_int_equal(data[4], 3);
	assert_int_equal(der(0, len), 16);
	/* The security parameters are an element within a string. */
	assert_int_equal(data[21], 4);
	assert_int_equal(der(23, 23 + data[22]), 7);
	take_payload(161, 3);
	assert_int_equal(data[4], 1);
	take_payload(389, 0);
	assert_int_equal(der(0, len), 12);
	take_payload(88, 0);
	assert_int_equal(der(0, len), 35);
}

static void rpc(void)
{
	for (int i = 0; i < 2; i++) {
		take_payload(i ? 2049 : 111, 0);
		assert_int_equal(len, 40);
		assert_int_equal(u32(4), 0);
		assert_int_equal(u32(8), 2);
		assert_int_equal(u32(12), i ? 100003 : 100000);
		assert_int_equal(u32(16), i ? 3 : 2);
		for (size_t k = 20; k < len; k += 4)
			assert_int_equal(u32(k), 0);
	}
}

/* RFC 7296 section 3.2 and RFC 2408 section 3.1: each tells which comes next,
 * and its length.
 */
static unsigned ike_payloads(void)
{
	unsigned n = 0, next = data[16];
	size_t i = 28;

	assert_int_equal(u32(24), len);
	for (; next != 0; n++) {
		next = data[i];
		assert_true(u16(i + 2) >= 4);
		i += u16(i + 2);
		assert_true(i <= len);
	}
	assert_int_equal(i, len);
	return n;
}

static void ike(void)
{
	take_payload(500, 0);
	assert_int_equal(ike_payloads(), 3);
	assert_int_equal(u16(28 + 48 + 4), 14);
	assert_int_equal(u16(28 + 48 + 2), 8 + 2048 / 8);
	assert_int_equal(data[28 + 48 + 8 + 255], 2);
	take_payload(4500, 0);
	assert_int_equal(u32(0), 0);
	data += 4;
	len -= 4;
	assert_int_equal(ike_payloads(), 3);
	take_payload(500, 1);
	assert_int_equal(ike_payloads(), 1);
	assert_int_equal(data[17], 0x10);
}

static void attributes(void)
{
	size_t i = 12, n = 0;

	take_payload(1701, 0);
	assert_int_equal(u16(0), 0xc802);
	assert_int_equal(u16(2), len);
	for (; i < len; i += u16(i) & 0x3ff, n++) {
		assert_int_equal(u16(i) >> 10, 0x20); /* M */
		assert_int_equal(u16(i + 2), 0);
	}
	assert_int_equal(i, len);
	assert_int_equal(n, 5);
	take_payload(1812, 0);
	assert_int_equal(u16(2), len);
	for (i = 20; i < len; i += data[i + 1])
		assert_true(data[i + 1] > 2);
	assert_int_equal(i, len);
	take_payload(1645, 0);
	assert_int_equal(u16(2), len);
}

static void fixed(void)
{
	take_payload(123, 0);
	assert_int_equal(len, 48);
	assert_int_equal(data[0] >> 3 & 7, 4);
	assert_int_equal(data[0] & 7, 3);
	take_payload(443, 0);
	assert_true(len >= 1200);
	assert_int_equal(data[0] & 0xc0, 0xc0);
	assert_int_equal(u32(1) & 0x0f0f0f0f, 0x0a0a0a0a);
	assert_int_equal(data[5], 8);
	assert_int_equal(data[14], 8);
	take_payload(520, 0);
	assert_int_equal(len, 24);
	assert_int_equal(u32(0), 0x01020000);
	assert_int_equal(u32(20), 16);
	take_payload(623, 0);
	assert_int_equal(len, 12);
	assert_int_equal(u32(4), 4542);
	take_payload(1194, 0);
	assert_int_equal(len, 14);
	assert_int_equal(data[0] >> 3, 7);
	take_payload(3478, 0);
	assert_int_equal(len, 20);
	assert_int_equal(u32(0), 0x00010000);
	assert_int_equal(u32(4), 0x2112a442);
	take_payload(5683, 0);
	assert_int_equal(len, 4);
	assert_int_equal(u16(0), 0x4000);
	take_payload(11211, 0);
	assert_int_equal(u16(4), 1);
	assert_memory_equal(data + 8, "version\r\n", len - 8);
	take_payload(69, 0);
	assert_int_equal(u16(0), 1);
	assert_int_equal(data[len - 1], 0);
	assert_string_equal(data + len - 6, "octet");
	for (unsigned i = 0; i < 3; i++) {
		take_payload(7000 + i, i);
		assert_int_equal(len, 1);
		assert_int_equal(data[0], '\n');
	}
}

/* Lines, the last of them empty. */
static void texts(void)
{
	static const unsigned ports[] = { 1900, 5060 };

	for (size_t i = 0; i < COUNT(ports); i++) {
		take_payload(ports[i], 0);
		assert_memory_equal(data + len - 4, "\r\n\r\n", 4);
		for (size_t k = 0; k < len; k++) {
			if (data[k] == '\n')
				assert_int_equal(data[k - 1], '\r');
			else if (data[k] != '\r')
				assert_in_range(data[k], ' ', '~');
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		THREAD(dns),        THREAD(ber),   THREAD(rpc),   THREAD(ike),
		THREAD(attributes), THREAD(fixed), THREAD(texts),
	};

	return cmocka_run_group_tests_name("scan_payloads", tests, NULL, NULL);
}
