/* SPDX-License-Identifier: MIT */
/* Addresses: one grammar for every call and every command.
 *
 *	[PROTO://]HOST:PORT   PROTO: tcp (default) tcp4 tcp6 udp udp4 udp6 tls
 *	8080                  this port on both loopbacks, 127.0.0.1 and ::1
 *	:8080  *:8080         this port on every interface, dual-stack
 *	0.0.0.0:8080          every IPv4 interface
 *	[::]:8080             every interface, dual-stack
 *	tcp6://[::]:8080      IPv6 only (IPV6_V6ONLY)
 *	[fe80::1%eth0]:8080   an IPv6 address in a zone (RFC 4007 section 11)
 *	example.com:https     names for the host and for the service
 *	unix:/run/x.sock      unix:@name is abstract; unixgram: for datagrams
 */
#ifndef CLEAT_ADDR_H
#define CLEAT_ADDR_H

#include <netinet/in.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cleat/time.h>

#ifdef __cplusplus
extern "C" {
#endif

enum cleat_proto {
	CLEAT_TCP,
	CLEAT_UDP,
	CLEAT_TLS,
	CLEAT_UNIX,
	CLEAT_UNIXGRAM,
};

#define CLEAT_HOST_MAX 256 /* RFC 1035 section 2.3.4: names end at 255 */
#define CLEAT_SERVICE_MAX 64
#define CLEAT_ADDR_MAX 448 /* room for any address as text, with its NUL */

/* An address as written, not yet looked up. */
struct cleat_addr {
	enum cleat_proto proto;
	int family; /* AF_UNSPEC, AF_INET, AF_INET6 (and then only it); AF_UNIX
		     */
	char host[CLEAT_HOST_MAX]; /* "" both loopbacks, "*" every interface;
				    * for unix the path, or @name */
	char service[CLEAT_SERVICE_MAX]; /* a port in decimal, or a name */
};

/* A socket address as the kernel knows it. */
struct cleat_sockaddr {
	socklen_t len;
	union {
		struct sockaddr any;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
		struct sockaddr_un un;
		struct sockaddr_storage storage;
	};
};

/* cleat_addr_parse - read one address in the grammar above.
 *
 * Returns 0 and fills *A, or -EINVAL with the reason in cleat_why(); then *A is
 * untouched.  Any thread; does not block, looks nothing up.
 */
int cleat_addr_parse(struct cleat_addr *a, const char *text);

/* cleat_addr_parse_pair - the same from two words, HOST PORT.
 *
 * HOST may start with PROTO:// and may be an IPv6 address without brackets.
 */
int cleat_addr_parse_pair(struct cleat_addr *a, const char *host,
			  const char *port);

/* cleat_addr_format - the shortest text that parses to *A again.
 *
 * Returns its length, or -ENOSPC if LEN (with the NUL) is too small, which
 * CLEAT_ADDR_MAX never is, or -EINVAL if no text says *A (tls over IPv4 only).
 * Any thread; does not block.
 */
int cleat_addr_format(const struct cleat_addr *a, char *text, size_t len);

/* cleat_sockaddr_format - a socket address as text: "127.0.0.1:80",
 * "[fe80::1%eth0]:80", "unix:/run/x.sock", "unix:@name", "unix:" if unnamed.
 *
 * An IPv4 address mapped into IPv6 is written as IPv4; bytes of a unix name
 * that are not printable ASCII as \xNN.  Returns as
 * cleat_addr_format() does.  Any thread; does not block.
 */
int cleat_sockaddr_format(const struct cleat_sockaddr *sa, char *text,
			  size_t len);

/* cleat_sockaddr_port - its port in host order, 0 if it has none. */
unsigned cleat_sockaddr_port(const struct cleat_sockaddr *sa);

/* What the looked-up addresses are for: they differ for "", "*" and [::]. */
enum cleat_resolve_for {
	CLEAT_TO_CONNECT, /* "*" means this machine: both loopbacks */
	CLEAT_TO_BIND, /* "*" means the wildcard address */
};

/* cleat_resolve - look ADDR up, off the loop; best address first.
 *
 * Stores at most MAX addresses.  For CLEAT_TO_CONNECT families alternate
 * (RFC 8305 section 4).  Numeric addresses are answered at once, without a
 * thread.  Blocks until UNTIL.
 *
 * Returns how many were stored (1 or more), or -EINVAL, CLEAT_ENONAME,
 * CLEAT_EDNSAGAIN, CLEAT_EDNS, -ETIMEDOUT, -ECANCELED, -ENOMEM, -EAGAIN.
 */
int cleat_resolve(const char *addr, enum cleat_resolve_for use,
		  struct cleat_sockaddr *to, unsigned max, cleat_time until);

#ifdef __cplusplus
}
#endif
#endif
