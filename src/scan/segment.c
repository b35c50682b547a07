/* SPDX-License-Identifier: MIT */
#include "scan/segment.h"

#include <arpa/inet.h>
#include <netinet/icmp6.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>
#include <string.h>

/* What every host must be able to take, less the headers of Ethernet's. */
#define MSS_IP4 1460
#define MSS_IP6 1440

enum {
	OPTION_MSS = 2, /* RFC 9293 section 3.2 */
	OPTION_MSS_LEN = 4,
	SEGMENT_LEN = sizeof(struct tcphdr) + OPTION_MSS_LEN,
	QUOTE = 8, /* bytes of a segment that ICMP surely quotes (RFC 792) */
};

static uint64_t turn(uint64_t x, unsigned n)
{
	return x << n | x >> (64 - n);
}

/* SipHash-2-4 (Aumasson and Bernstein, 2012): a round, and one word. */
static void sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[2] += v[3];
	v[1] = turn(v[1], 13) ^ v[0];
	v[3] = turn(v[3], 16) ^ v[2];
	v[0] = turn(v[0], 32);
	v[2] += v[1];
	v[0] += v[3];
	v[1] = turn(v[1], 17) ^ v[2];
	v[3] = turn(v[3], 21) ^ v[0];
	v[2] = turn(v[2], 32);
}

static void sip_word(uint64_t v[4], uint64_t word)
{
	v[3] ^= word;
	sip_round(v);
	sip_round(v);
	v[0] ^= word;
}

static uint64_t sip_end(uint64_t v[4])
{
	v[2] ^= 0xff;
	for (int i = 0; i < 4; i++)
		sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* The last word has the length of the whole in its highest byte, which tells
 * the families apart.  The zone is left out: a quoted packet does not say it.
 */
uint32_t cleat__syn_seq(const struct cleat__syn_key *key,
			const struct cleat_sockaddr *at)
{
	uint64_t v[4] = {
		key->k[0] ^ UINT64_C(0x736f6d6570736575),
		key->k[1] ^ UINT64_C(0x646f72616e646f6d),
		key->k[0] ^ UINT64_C(0x6c7967656e657261),
		key->k[1] ^ UINT64_C(0x7465646279746573),
	};
	uint64_t half[2];

	if (at->any.sa_family == AF_INET) {
		sip_word(v, at->in.sin_addr.s_addr |
				    (uint64_t)at->in.sin_port << 32 |
				    UINT64_C(6) << 56);
		return (uint32_t)sip_end(v);
	}
	memcpy(half, &at->in6.sin6_addr, sizeof(half));
	sip_word(v, half[0]);
	sip_word(v, half[1]);
	sip_word(v, at->in6.sin6_port | UINT64_C(18) << 56);
	return (uint32_t)sip_end(v);
}

/* RFC 1071 section 2: in any byte order. */
static uint32_t sum_of(const void *data, size_t len)
{
	const uint8_t *p = data;
	uint32_t sum = 0;

	for (size_t i = 0; i < len; i += 2) {
		uint16_t word;

		memcpy(&word, p + i, sizeof(word));
		sum += word;
	}
	return sum;
}

static uint16_t checksum(const struct ip *ip, const uint8_t *segment)
{
	uint32_t sum = sum_of(segment, SEGMENT_LEN) + htons(SEGMENT_LEN) +
		       htons(IPPROTO_TCP);

	sum += sum_of(&ip->ip_src, sizeof(ip->ip_src));
	sum += sum_of(&ip->ip_dst, sizeof(ip->ip_dst));
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t) ~(sum + (sum >> 16));
}

static void segment_build(uint8_t *buf, uint16_t from, uint16_t to,
			  uint32_t seq, uint16_t mss)
{
	const struct tcphdr h = {
		.th_sport = from,
		.th_dport = to,
		.th_seq = htonl(seq),
		.th_off = SEGMENT_LEN / 4,
		.th_flags = TH_SYN,
		.th_win = htons(mss),
	};

	memcpy(buf, &h, sizeof(h));
	buf[sizeof(h)] = OPTION_MSS;
	buf[sizeof(h) + 1] = OPTION_MSS_LEN;
	buf[sizeof(h) + 2] = (uint8_t)(mss >> 8);
	buf[sizeof(h) + 3] = (uint8_t)mss;
}

/* It cannot be a fragment, so its number has no meaning (RFC 6864 section 4.1);
 * but of 0 the kernel would make another.
 */
size_t cleat__syn_build(uint8_t *buf, const struct cleat_sockaddr *from,
			const struct cleat_sockaddr *to, uint32_t seq)
{
	const struct ip ip = {
		.ip_v = 4,
		.ip_hl = sizeof(ip) / 4,
		.ip_len = htons(sizeof(ip) + SEGMENT_LEN),
		.ip_id = (uint16_t)(seq | 1),
		.ip_off = htons(IP_DF),
		.ip_ttl = IPDEFTTL,
		.ip_p = IPPROTO_TCP,
		.ip_src = from->in.sin_addr,
		.ip_dst = to->in.sin_addr,
	};
	uint8_t *segment = buf + sizeof(ip);
	uint16_t sum;

	if (to->any.sa_family == AF_INET6) {
		segment_build(buf, from->in6.sin6_port, to->in6.sin6_port, seq,
			      MSS_IP6);
		return SEGMENT_LEN;
	}
	memcpy(buf, &ip, sizeof(ip));
	segment_build(segment, from->in.sin_port, to->in.sin_port, seq,
		      MSS_IP4);
	sum = checksum(&ip, segment);
	memcpy(segment + CLEAT__CHECKSUM_AT, &sum, sizeof(sum));
	return sizeof(ip) + SEGMENT_LEN;
}

/* Past the IP header at *DATA, if its packet is of PROTOCOL and begins there.
 */
static bool skip_ip4(struct ip *ip, int protocol, const uint8_t **data,
		     size_t *len)
{
	size_t header;

	if (*len < sizeof(*ip))
		return false;
	memcpy(ip, *data, sizeof(*ip));
	header = ip->ip_hl * 4u;
	if (ip->ip_v != 4 || header < sizeof(*ip) || header > *len ||
	    ip->ip_p != protocol || (ntohs(ip->ip_off) & IP_OFFMASK) != 0)
		return false;
	*data += header;
	*len -= header;
	return true;
}

/* Options before the segment are not expected: a SYN has none. */
static bool skip_ip6(struct ip6_hdr *ip, const uint8_t **data, size_t *len)
{
	if (*len < sizeof(*ip))
		return false;
	memcpy(ip, *data, sizeof(*ip));
	if (ip->ip6_vfc >> 4 != 6 || ip->ip6_nxt != IPPROTO_TCP)
		return false;
	*data += sizeof(*ip);
	*len -= sizeof(*ip);
	return true;
}

static void set_to4(struct cleat__reply *r, struct in_addr ip, uint16_t port)
{
	r->to.len = sizeof(r->to.in);
	r->to.in.sin_family = AF_INET;
	r->to.in.sin_port = port;
	r->to.in.sin_addr = ip;
}

/* The zone is the one that the reply came in by. */
static void set_to6(struct cleat__reply *r, const struct in6_addr *ip,
		    uint16_t port, const struct cleat_sockaddr *from)
{
	r->to.len = sizeof(r->to.in6);
	r->to.in6.sin6_family = AF_INET6;
	r->to.in6.sin6_port = port;
	r->to.in6.sin6_addr = *ip;
	if (IN6_IS_ADDR_LINKLOCAL(ip))
		r->to.in6.sin6_scope_id = from->in6.sin6_scope_id;
}

/* RFC 9293 section 3.10.7.3: without ACK nothing says what it is an answer to.
 */
static bool parse_segment(struct cleat__reply *r,
			  const struct cleat_sockaddr *from,
			  const uint8_t *data, size_t len)
{
	struct tcphdr h;

	if (len < sizeof(h))
		return false;
	memcpy(&h, data, sizeof(h));
	if ((h.th_flags & TH_ACK) == 0)
		return false;
	if ((h.th_flags & TH_RST) != 0)
		r->kind = CLEAT__REPLY_RST;
	else if ((h.th_flags & TH_SYN) != 0)
		r->kind = CLEAT__REPLY_SYN_ACK;
	else
		return false;
	if (from->any.sa_family == AF_INET)
		set_to4(r, from->in.sin_addr, h.th_sport);
	else
		set_to6(r, &from->in6.sin6_addr, h.th_sport, from);
	r->port = h.th_dport;
	r->seq = ntohl(h.th_ack) - 1;
	return true;
}

/* What is quoted of the SYN: its ports and number.  *TO is the port it was sent
 * to.
 */
static bool parse_quote(struct cleat__reply *r, uint16_t *to,
			const uint8_t *data, size_t len)
{
	uint16_t ports[2];
	uint32_t seq;

	if (len < QUOTE)
		return false;
	memcpy(ports, data, sizeof(ports));
	memcpy(&seq, data + sizeof(ports), sizeof(seq));
	r->kind = CLEAT__REPLY_ICMP;
	r->port = ports[0];
	r->seq = ntohl(seq);
	*to = ports[1];
	return true;
}

/* To ourselves the kernel sends from the address that it sends to: an error
 * from the source of the SYN is this machine's own.
 */
static bool parse_icmp4(struct cleat__reply *r,
			const struct cleat_sockaddr *from, const uint8_t *data,
			size_t len)
{
	struct ip ip;
	uint16_t port;

	if (!skip_ip4(&ip, IPPROTO_ICMP, &data, &len) || len < ICMP_MINLEN)
		return false;
	r->type = data[0];
	r->code = data[1];
	if (r->type != ICMP_UNREACH && r->type != ICMP_TIMXCEED)
		return false;
	data += ICMP_MINLEN;
	len -= ICMP_MINLEN;
	if (!skip_ip4(&ip, IPPROTO_TCP, &data, &len) ||
	    !parse_quote(r, &port, data, len))
		return false;
	set_to4(r, ip.ip_dst, port);
	r->is_own = ip.ip_dst.s_addr == from->in.sin_addr.s_addr;
	r->is_ours = ip.ip_src.s_addr == from->in.sin_addr.s_addr;
	return true;
}

static bool parse_icmp6(struct cleat__reply *r,
			const struct cleat_sockaddr *from, const uint8_t *data,
			size_t len)
{
	struct ip6_hdr ip;
	uint16_t port;

	if (len < sizeof(struct icmp6_hdr))
		return false;
	r->type = data[0];
	r->code = data[1];
	if (r->type != ICMP6_DST_UNREACH && r->type != ICMP6_TIME_EXCEEDED)
		return false;
	data += sizeof(struct icmp6_hdr);
	len -= sizeof(struct icmp6_hdr);
	if (!skip_ip6(&ip, &data, &len) || !parse_quote(r, &port, data, len))
		return false;
	set_to6(r, &ip.ip6_dst, port, from);
	r->is_own = memcmp(&ip.ip6_dst, &from->in6.sin6_addr,
			   sizeof(ip.ip6_dst)) == 0;
	r->is_ours = memcmp(&ip.ip6_src, &from->in6.sin6_addr,
			    sizeof(ip.ip6_src)) == 0;
	return true;
}

bool cleat__reply_parse(struct cleat__reply *r, int protocol,
			const struct cleat_sockaddr *from, const uint8_t *data,
			size_t len)
{
	struct ip ip;

	*r = (struct cleat__reply){ 0 };
	if (protocol == IPPROTO_ICMP)
		return parse_icmp4(r, from, data, len);
	if (protocol == IPPROTO_ICMPV6)
		return parse_icmp6(r, from, data, len);
	r->is_own = true;
	if (from->any.sa_family == AF_INET &&
	    !skip_ip4(&ip, IPPROTO_TCP, &data, &len))
		return false;
	return parse_segment(r, from, data, len);
}
