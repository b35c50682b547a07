/* SPDX-License-Identifier: MIT */
/* A socket as people and programs read it, the same in every command.  What is
 * written here is safe for a terminal (out_escape()). */
#ifndef CMD_SOCKETS_H
#define CMD_SOCKETS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include <jansson.h>

#include <cleat/inspect.h>

enum {
	SOCKET_TEXT_MAX = CLEAT_ADDR_MAX + 64, /* room for each of the below */
};

/* socket_json - as a JSON object; NULL: no memory.  The caller's. */
json_t *socket_json(const struct cleat_socket *s);

/* socket_proto - "tcp", "udp", "raw"; "unix", "unixgram", "unixpacket".  A
 * protocol that has no name here is "other". */
const char *socket_proto(const struct cleat_socket *s);

/* socket_is_dual_stack - whether it is bound to [::] for IPv4 as well. */
bool socket_is_dual_stack(const struct cleat_socket *s);

/* socket_has_family - whether packets of FAMILY reach it: of AF_INET also IPv6
 * sockets that are dual-stack, or bound to a mapped address. */
bool socket_has_family(const struct cleat_socket *s, int family);

/* socket_local - its own address, and what else it answers for:
 * "127.0.0.1:80", "[::]:80 (and 0.0.0.0)", "0.0.0.0:67 on eth0",
 * "/run/x.sock", "@name"; "-" of a unix socket without one.
 * socket_peer - its peer's; "" if it has none.
 * socket_queue - "0/128", connections, or "0/208K", bytes: used and room.
 * socket_owners - "nginx (pid 812, fd 6)", "nginx (pid 812, fd 6) and 3 more"
 * processes; "" if none is known.  socket_owner() names FIRST first.
 *
 * Cut to fit LEN, with the NUL.  They return the length. */
size_t socket_local(char *to, size_t len, const struct cleat_socket *s);
size_t socket_peer(char *to, size_t len, const struct cleat_socket *s);
size_t socket_queue(char *to, size_t len, const struct cleat_socket *s);
size_t socket_owners(char *to, size_t len, const struct cleat_socket *s);
size_t socket_owner(char *to, size_t len, const struct cleat_socket *s,
		    const struct cleat_owner *first);

/* socket_user - the name of user UID; its number if it has none.  Good until
 * the next call. */
const char *socket_user(uid_t uid);

#endif
