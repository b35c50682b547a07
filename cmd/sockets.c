/* SPDX-License-Identifier: MIT */
#include "sockets.h"

#include <net/if.h>
#include <netdb.h>
#include <pwd.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "out.h"

static bool is_ip(const struct cleat_sockaddr *a)
{
	return a->len > 0 && a->any.sa_family != AF_UNIX;
}

const char *socket_proto(const struct cleat_socket *s)
{
	if (s->family == AF_UNIX)
		return s->type == SOCK_STREAM  ? "unix"
		       : s->type == SOCK_DGRAM ? "unixgram"
					       : "unixpacket";
	if (s->type == SOCK_RAW)
		return "raw";
	if (s->protocol == IPPROTO_TCP)
		return "tcp";
	return s->protocol == IPPROTO_UDP ? "udp" : "other";
}

bool socket_is_dual_stack(const struct cleat_socket *s)
{
	return s->family == AF_INET6 && s->type != SOCK_RAW &&
	       s->v6only == CLEAT_OFF && s->local.len > 0 &&
	       IN6_IS_ADDR_UNSPECIFIED(&s->local.in6.sin6_addr);
}

bool socket_has_family(const struct cleat_socket *s, int family)
{
	const bool is_mapped = s->family == AF_INET6 && s->local.len > 0 &&
			       IN6_IS_ADDR_V4MAPPED(&s->local.in6.sin6_addr);

	if (family == AF_INET && (is_mapped || socket_is_dual_stack(s)))
		return true;
	return s->family == family && !is_mapped;
}

/* Users. */

/* Looking a user up reads a file or asks a server, so each is asked for once.
 * The one thing here that is not const: a memory of what does not change. */
const char *socket_user(uid_t uid)
{
	static struct user {
		bool is_known;
		uid_t uid;
		char name[64];
	} users[64];
	struct user *u = &users[uid % (sizeof(users) / sizeof(users[0]))];
	const struct passwd *p;

	if (u->is_known && u->uid == uid)
		return u->name;
	p = getpwuid(uid);
	if (p)
		(void)out_escape(u->name, sizeof(u->name), p->pw_name);
	else
		(void)snprintf(u->name, sizeof(u->name), "%ju", (uintmax_t)uid);
	u->uid = uid;
	u->is_known = true;
	return u->name;
}

/* Text. */

/* Text that grows, as far as there is room; by hand, for snprintf() is what
 * listing thousands of sockets would wait for. */
struct text {
	char *to;
	size_t len, n;
};

static void put(struct text *t, const char *more)
{
	while (*more && t->n + 1 < t->len)
		t->to[t->n++] = *more++;
	t->to[t->n] = '\0';
}

static void put_number(struct text *t, unsigned number)
{
	char digits[12], *d = digits + sizeof(digits);

	*--d = '\0';
	do
		*--d = (char)('0' + number % 10);
	while ((number /= 10) > 0);
	put(t, d);
}

static const char *device_name(unsigned device, char name[IF_NAMESIZE])
{
	if (!if_indextoname(device, name))
		(void)snprintf(name, IF_NAMESIZE, "%u", device);
	return name;
}

/* Without the "unix:" that goes without saying here. */
static const char *format(const struct cleat_sockaddr *a,
			  char text[CLEAT_ADDR_MAX])
{
	(void)cleat_sockaddr_format(a, text, CLEAT_ADDR_MAX); /* it fits */
	return is_ip(a) ? text : text + strlen("unix:");
}

size_t socket_local(char *to, size_t len, const struct cleat_socket *s)
{
	char text[CLEAT_ADDR_MAX], device[IF_NAMESIZE];
	const char *address = format(&s->local, text);
	struct text t = { to, len, 0 };

	put(&t, address[0] ? address : "-");
	if (socket_is_dual_stack(s))
		put(&t, " (and 0.0.0.0)");
	/* A link-local address has said it already. */
	if (s->device > 0 && !(s->family == AF_INET6 && is_ip(&s->local) &&
			       s->local.in6.sin6_scope_id == s->device)) {
		put(&t, " on ");
		put(&t, device_name(s->device, device));
	}
	return t.n;
}

size_t socket_peer(char *to, size_t len, const struct cleat_socket *s)
{
	char text[CLEAT_ADDR_MAX];
	struct text t = { to, len, 0 };

	put(&t, s->peer.len > 0 ? format(&s->peer, text) : "");
	return t.n;
}

/* "4352", "208K", "16M" */
static void put_bytes(struct text *t, unsigned n)
{
	const bool is_large = n >= 10000u << 10;

	if (n < 10000) {
		put_number(t, n);
	} else {
		put_number(t, is_large ? n >> 20 : n >> 10);
		put(t, is_large ? "M" : "K");
	}
}

size_t socket_queue(char *to, size_t len, const struct cleat_socket *s)
{
	struct text t = { to, len, 0 };

	if (s->state == CLEAT_STATE_LISTEN) {
		put_number(&t, s->queue_used);
		put(&t, "/");
		put_number(&t, s->queue_max);
	} else {
		put_bytes(&t, s->queue_used);
		put(&t, "/");
		put_bytes(&t, s->queue_max);
	}
	return t.n;
}

size_t socket_owner(char *to, size_t len, const struct cleat_socket *s,
		    const struct cleat_owner *first)
{
	const struct cleat_owner *o = s->owners;
	char name[4 * sizeof(o->command)];
	struct text t = { to, len, 0 };
	unsigned others = 0;

	for (unsigned i = 1; i < s->n_owners; i++)
		others += o[i].pid != o[i - 1].pid;
	(void)out_escape(name, sizeof(name), first->command);
	put(&t, name);
	put(&t, " (pid ");
	put_number(&t, (unsigned)first->pid);
	put(&t, ", fd ");
	put_number(&t, (unsigned)first->fd);
	put(&t, ")");
	if (others > 0) {
		put(&t, " and ");
		put_number(&t, others);
		put(&t, " more");
	}
	return t.n;
}

size_t socket_owners(char *to, size_t len, const struct cleat_socket *s)
{
	to[0] = '\0';
	return s->n_owners > 0 ? socket_owner(to, len, s, s->owners) : 0;
}

/* JSON. */

static json_t *json_host(const struct cleat_sockaddr *a)
{
	char text[CLEAT_ADDR_MAX], safe[4 * CLEAT_ADDR_MAX];
	const char *host = text;

	if (!is_ip(a))
		host = format(a, text);
	else if (getnameinfo(&a->any, a->len, text, sizeof(text), NULL, 0,
			     NI_NUMERICHOST) != 0)
		return json_null();
	if (!host[0])
		return json_null();
	(void)out_escape(safe, sizeof(safe), host);
	return json_string(safe);
}

static json_t *json_port(const struct cleat_sockaddr *a)
{
	return is_ip(a) ? json_integer(cleat_sockaddr_port(a)) : json_null();
}

static json_t *json_peer(const struct cleat_socket *s)
{
	if (s->peer.len == 0)
		return json_null();
	return json_pack("{s:o,s:o}", "address", json_host(&s->peer), "port",
			 json_port(&s->peer));
}

static json_t *json_device(const struct cleat_socket *s)
{
	char name[IF_NAMESIZE], safe[4 * IF_NAMESIZE];

	if (s->device == 0)
		return json_null();
	(void)out_escape(safe, sizeof(safe), device_name(s->device, name));
	return json_string(safe);
}

static json_t *json_owners(const struct cleat_socket *s)
{
	char name[4 * sizeof(s->owners->command)];
	json_t *list = json_array();

	for (unsigned i = 0; i < s->n_owners; i++) {
		const struct cleat_owner *o = &s->owners[i];

		(void)out_escape(name, sizeof(name), o->command);
		(void)json_array_append_new(
			list, json_pack("{s:i,s:i,s:s}", "pid", (int)o->pid,
					"fd", o->fd, "command", name));
	}
	return list;
}

json_t *socket_json(const struct cleat_socket *s)
{
	const char *family = s->family == AF_INET    ? "ipv4"
			     : s->family == AF_INET6 ? "ipv6"
						     : "unix";
	/* Where no descriptor is left, the kernel does not tell whose it was.
	 */
	const bool has_user = s->inode > 0;

	return json_pack(
		"{s:s,s:s,s:o,s:o,s:s,s:o,s:o,s:I,s:o,s:s?,s:o,s:{s:I,s:I},"
		"s:o,s:o}",
		"proto", socket_proto(s), "family", family, "address",
		json_host(&s->local), "port", json_port(&s->local), "state",
		cleat_state_name(s->state), "v6only",
		s->v6only == CLEAT_DEFAULT
			? json_null()
			: json_boolean(s->v6only == CLEAT_ON),
		"device", json_device(s), "inode", (json_int_t)s->inode, "uid",
		has_user ? json_integer(s->uid) : json_null(), "user",
		has_user ? socket_user(s->uid) : NULL, "peer", json_peer(s),
		"queue", "used", (json_int_t)s->queue_used, "max",
		(json_int_t)s->queue_max, "reuseport_group",
		s->reuseport_group > 0 ? json_integer(s->reuseport_group)
				       : json_null(),
		"owners", json_owners(s));
}
