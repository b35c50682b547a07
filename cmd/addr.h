/* SPDX-License-Identifier: MIT */
/* Addresses on the command line, the same for every command. */
#ifndef CMD_ADDR_H
#define CMD_ADDR_H

#include <stdbool.h>
#include <stddef.h>

#include <cleat/addr.h>

#include "opt.h"

/* -4, -6 and -u. */
struct net {
	bool ipv4, ipv6, udp;
};

/* clang-format off */
#define OPT_NET(type, member) \
	{ '4', "ipv4", NULL, offsetof(type, member.ipv4), NULL, \
	  "IPv4 only, of names and of ports without a host" }, \
	{ '6', "ipv6", NULL, offsetof(type, member.ipv6), NULL, \
	  "IPv6 only" }, \
	{ 'u', "udp",  NULL, offsetof(type, member.udp),  NULL, \
	  "UDP; for unix addresses, datagrams" }
/* clang-format on */

#define ADDR_ABOUT                                                             \
	"ADDR is [PROTO://]HOST:PORT, PORT (on both loopbacks), :PORT (on\n"   \
	"every interface), unix:PATH or unix:@NAME; PROTO is tcp tcp4 tcp6\n"  \
	"udp udp4 or udp6. A word that is no address, lacking a port, takes\n" \
	"the next word as its port: HOST PORT."

/* An address that parses, as text. */
struct addr {
	struct cleat_addr parsed;
	char text[CLEAT_ADDR_MAX];
};

bool addr_is_datagram(const struct addr *a);

/* addr_why - what ERR, of a connect to A, means for who wrote it; NULL where
 * that is all there is to say. */
const char *addr_why(const struct addr *a, int err);

/* addr_list - the addresses that the N words at V say, N at most.
 *
 * Returns how many, and *LIST to be freed with free(); or -1, having
 * complained.
 */
int addr_list(struct addr **list, char **v, int n, const struct net *net,
	      const char *command);

/* addr_one - the same where there is to be exactly one.  Returns 0 or -1. */
int addr_one(struct addr *a, const struct words *words, const struct net *net,
	     const char *command);

#endif
