/* SPDX-License-Identifier: MIT */
/* The bytes of a SYN, and of what comes back. */
#ifndef CLEAT_SCAN_SEGMENT_H
#define CLEAT_SCAN_SEGMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cleat/addr.h>

enum {
	CLEAT__SYN_MAX = 44, /* bytes of a SYN */
	/* As much of a reply as is looked at: of ICMP over IPv4 two IP headers
	 * with options, its own of 8 bytes, and 8 of the SYN. */
	CLEAT__REPLY_MAX = 136,
	CLEAT__CHECKSUM_AT = 16, /* in a segment */
};

/* Random; whoever has it can forge replies. */
struct cleat__syn_key {
	uint64_t k[2];
};

/* cleat__syn_seq - the sequence number of every SYN to AT: a cookie, by which
 * replies are known without any memory of what was sent.
 */
uint32_t cleat__syn_seq(const struct cleat__syn_key *key,
			const struct cleat_sockaddr *at);

/* cleat__syn_build - a SYN from FROM to TO, addresses of one family, into BUF,
 * of CLEAT__SYN_MAX bytes.  IPv4: with the IP header, whose checksum is the
 * kernel's to fill in (raw(7)).  IPv6: the segment alone, without its checksum.
 * Returns its length.
 */
size_t cleat__syn_build(uint8_t *buf, const struct cleat_sockaddr *from,
			const struct cleat_sockaddr *to, uint32_t seq);

enum cleat__reply_kind {
	CLEAT__REPLY_SYN_ACK,
	CLEAT__REPLY_RST,
	CLEAT__REPLY_ICMP,
};

struct cleat__reply {
	enum cleat__reply_kind kind;
	struct cleat_sockaddr to; /* where the SYN was sent to */
	uint16_t port; /* where from, in network order */
	uint32_t seq; /* of that SYN */
	bool is_own; /* of ICMP: TO itself says so, no router */
	bool is_ours; /* of ICMP: this machine says so */
	uint8_t type, code; /* of ICMP */
};

/* cleat__reply_parse - what a raw socket for PROTOCOL (IPPROTO_TCP, _ICMP,
 * _ICMPV6) received from FROM: LEN bytes, over IPv4 with the IP header.  False:
 * no reply to a SYN.  Of ICMP only what ends an attempt is one.
 */
bool cleat__reply_parse(struct cleat__reply *r, int protocol,
			const struct cleat_sockaddr *from, const uint8_t *data,
			size_t len);

#endif
