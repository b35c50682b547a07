/* SPDX-License-Identifier: MIT */
/* Socket options: at creation as a struct, on live sockets by name. */
#ifndef CLEAT_OPTIONS_H
#define CLEAT_OPTIONS_H

#include <sys/socket.h>

#ifdef __cplusplus
extern "C" {
#endif

enum cleat_switch {
	CLEAT_DEFAULT,
	CLEAT_ON,
	CLEAT_OFF,
};

/* For cleat_connect(), cleat_listen(), cleat_dgram_open().  All zero is the
 * default, and NULL means all zero.  What a kind of socket has no use for is
 * ignored.  Linux hands a listener's options down to what it accepts.
 */
struct cleat_options {
	enum cleat_switch reuseaddr; /* SO_REUSEADDR; on for stream listeners */
	enum cleat_switch reuseport; /* SO_REUSEPORT; off */
	enum cleat_switch
		v6only; /* IPV6_V6ONLY; off for [::], on for tcp6:// */
	enum cleat_switch nodelay; /* TCP_NODELAY; on, as in Go and asyncio */
	enum cleat_switch
		keepalive; /* SO_KEEPALIVE; off, on if a time is set */
	enum cleat_switch freebind; /* IP_FREEBIND, IPV6_FREEBIND; off */
	enum cleat_switch broadcast; /* SO_BROADCAST, datagrams; off */
	enum cleat_switch linger; /* SO_LINGER with linger_s; off */
	int linger_s; /* seconds; CLEAT_ON and 0: close() sends RST */
	int backlog; /* connections; 0 is net.core.somaxconn */
	int keepalive_idle_s, keepalive_interval_s, keepalive_count;
	int sndbuf, rcvbuf; /* bytes; the kernel doubles them (socket(7)) */
	int ttl; /* IP_TTL, IPV6_UNICAST_HOPS: 1 to 255 */
	int user_timeout_ms; /* TCP_USER_TIMEOUT */
	const char *device; /* SO_BINDTODEVICE, a name such as "eth0" */
	const char *source; /* connect from here: "10.0.0.2:0", HOST:PORT */
};

/* The same by name, for a live socket.  Switches are 0 or 1. */
enum cleat_option {
	CLEAT_REUSEADDR,
	CLEAT_REUSEPORT,
	CLEAT_V6ONLY,
	CLEAT_NODELAY,
	CLEAT_KEEPALIVE,
	CLEAT_KEEPALIVE_IDLE_S,
	CLEAT_KEEPALIVE_INTERVAL_S,
	CLEAT_KEEPALIVE_COUNT,
	CLEAT_SNDBUF,
	CLEAT_RCVBUF,
	CLEAT_LINGER_S, /* -1: off */
	CLEAT_TTL,
	CLEAT_USER_TIMEOUT_MS,
	CLEAT_FREEBIND,
	CLEAT_BROADCAST,
	CLEAT_DEVICE, /* an index of if_nametoindex(3), 0: any; Linux 5.0 */
};

/* cleat_set, cleat_get - change or read one option of the socket FD, which is
 * cleat_conn_fd(), cleat_listener_fd(), cleat_dgram_fd() or any other.
 *
 * Return 0, or -ENOPROTOOPT (this kind of socket has no such option), -EINVAL,
 * -EPERM.  Buffer sizes read back as the kernel counts them, doubled.
 * Any thread; do not block.
 */
int cleat_set(int fd, enum cleat_option option, int value);
int cleat_get(int fd, enum cleat_option option, int *value);

/* cleat_set_raw, cleat_get_raw - the rest: any (level, name) of setsockopt(2).
 *
 * LEN is the value's size in bytes; cleat_get_raw() stores the size it got.
 */
int cleat_set_raw(int fd, int level, int name, const void *value,
		  socklen_t len);
int cleat_get_raw(int fd, int level, int name, void *value, socklen_t *len);

#ifdef __cplusplus
}
#endif
#endif
