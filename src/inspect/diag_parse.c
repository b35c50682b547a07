/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "inspect/diag.h"

enum {
	TIMER_TIME_WAIT = 3
}; /* of idiag_timer */

/* Of two attributes of a kind the last counts; one that is too short is none.
 */
struct attrs {
	const struct nlattr *of[INET_DIAG_MAX + 1];
};

static void attrs_read(struct attrs *a, const char *payload, size_t len,
		       size_t offset)
{
	const char *end = payload + len;
	const struct nlattr *at;

	memset(a, 0, sizeof(*a));
	offset = MNL_ALIGN(offset);
	while (offset < len) {
		at = (const void *)(payload + offset);
		if (!mnl_attr_ok(at, (int)(end - (const char *)at)))
			return;
		if (mnl_attr_get_type(at) <= INET_DIAG_MAX)
			a->of[mnl_attr_get_type(at)] = at;
		offset += MNL_ALIGN(at->nla_len);
	}
}

/* Copy the attribute of this KIND, if there is one of at least LEN bytes. */
static bool attr_get(const struct attrs *a, unsigned kind, void *to, size_t len)
{
	const struct nlattr *at = a->of[kind];

	if (!at || mnl_attr_get_payload_len(at) < len)
		return false;
	memcpy(to, mnl_attr_get_payload(at), len);
	return true;
}

static uint64_t cookie(const uint32_t half[2])
{
	return (uint64_t)half[1] << 32 | half[0];
}

static void ip_set(struct cleat_sockaddr *sa, int family, const uint32_t ip[4],
		   in_port_t port, unsigned device)
{
	if (family == AF_INET) {
		sa->len = sizeof(sa->in);
		sa->in.sin_family = AF_INET;
		sa->in.sin_port = port;
		sa->in.sin_addr.s_addr = ip[0];
		return;
	}
	sa->len = sizeof(sa->in6);
	sa->in6.sin6_family = AF_INET6;
	sa->in6.sin6_port = port;
	memcpy(&sa->in6.sin6_addr, ip, sizeof(sa->in6.sin6_addr));
	if (IN6_IS_ADDR_LINKLOCAL(&sa->in6.sin6_addr))
		sa->in6.sin6_scope_id = device;
}

/* What inet_sock calls closed has a port: it is not listed otherwise. */
static enum cleat_state inet_state(unsigned state)
{
	enum {
		NEW_SYN_RECV = 12
	};

	if (state == CLEAT_STATE_CLOSED)
		return CLEAT_STATE_BOUND;
	return state == NEW_SYN_RECV ? CLEAT_STATE_SYN_RECEIVED : state;
}

/* Kernels differ in how many numbers there are after this one. */
static unsigned receive_buffer(const struct attrs *a, unsigned kind)
{
	uint32_t mem[SK_MEMINFO_RCVBUF + 1];

	return attr_get(a, kind, mem, sizeof(mem)) ? mem[SK_MEMINFO_RCVBUF] : 0;
}

static void inet_attrs(struct cleat_socket *s, const struct attrs *a)
{
	uint8_t v6only;

	if (s->family == AF_INET6 &&
	    attr_get(a, INET_DIAG_SKV6ONLY, &v6only, sizeof(v6only)))
		s->v6only = v6only ? CLEAT_ON : CLEAT_OFF;
	if (s->state != CLEAT_STATE_LISTEN)
		s->queue_max = receive_buffer(a, INET_DIAG_SKMEMINFO);
}

int cleat__diag_parse_inet(struct cleat_socket *s, int protocol,
			   const void *payload, size_t len)
{
	struct inet_diag_msg m;
	struct attrs a;

	if (len < sizeof(m))
		return -EBADMSG;
	memcpy(&m, payload, sizeof(m));
	if ((m.idiag_family != AF_INET && m.idiag_family != AF_INET6) ||
	    m.idiag_state == 0 || m.idiag_state > CLEAT_STATE_BOUND)
		return -EBADMSG;
	s->family = m.idiag_family;
	s->protocol = protocol;
	s->type = protocol == IPPROTO_TCP ? SOCK_STREAM : SOCK_DGRAM;
	s->state = inet_state(m.idiag_state);
	s->device = m.id.idiag_if;
	ip_set(&s->local, s->family, m.id.idiag_src, m.id.idiag_sport,
	       s->device);
	if (s->state != CLEAT_STATE_LISTEN && s->state != CLEAT_STATE_BOUND)
		ip_set(&s->peer, s->family, m.id.idiag_dst, m.id.idiag_dport,
		       s->device);
	s->inode = m.idiag_inode;
	s->uid = m.idiag_uid;
	s->cookie = cookie(m.id.idiag_cookie);
	s->queue_used = m.idiag_rqueue;
	if (s->state == CLEAT_STATE_LISTEN)
		s->queue_max = m.idiag_wqueue;
	if (m.idiag_timer == TIMER_TIME_WAIT)
		s->expires_ns = (int64_t)m.idiag_expires * CLEAT_MSEC;
	attrs_read(&a, payload, len, sizeof(m));
	inet_attrs(s, &a);
	return 0;
}

/* A path comes with its NUL, and may be one longer than sun_path so. */
static void unix_name(struct cleat_sockaddr *sa, const struct nlattr *at)
{
	size_t len = at ? mnl_attr_get_payload_len(at) : 0;

	if (len == 0)
		return;
	if (len > sizeof(sa->un.sun_path))
		len = sizeof(sa->un.sun_path);
	sa->un.sun_family = AF_UNIX;
	memcpy(sa->un.sun_path, mnl_attr_get_payload(at), len);
	sa->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
}

/* The device is as the kernel has it for itself: MKDEV(). */
static void unix_file(struct cleat_socket *s, const struct attrs *a)
{
	struct unix_diag_vfs file;

	if (!attr_get(a, UNIX_DIAG_VFS, &file, sizeof(file)))
		return;
	s->file_device =
		makedev(file.udiag_vfs_dev >> 20, file.udiag_vfs_dev & 0xfffff);
	s->file_inode = file.udiag_vfs_ino;
}

/* Of datagram sockets the kernel's state says little: since Linux 5.15 it is
 * "established" also of the one that another has connected itself to.
 */
static enum cleat_state unix_state(const struct cleat_socket *s, unsigned state)
{
	if (s->peer_inode != 0)
		return CLEAT_STATE_ESTABLISHED;
	if (s->type != SOCK_DGRAM &&
	    (state == CLEAT_STATE_LISTEN || state == CLEAT_STATE_ESTABLISHED))
		return state;
	return s->local.len > 0 ? CLEAT_STATE_BOUND : CLEAT_STATE_CLOSED;
}

int cleat__diag_parse_unix(struct cleat_socket *s, const void *payload,
			   size_t len)
{
	struct unix_diag_rqlen queue;
	struct unix_diag_msg m;
	struct attrs a;

	if (len < sizeof(m))
		return -EBADMSG;
	memcpy(&m, payload, sizeof(m));
	if (m.udiag_family != AF_UNIX)
		return -EBADMSG;
	attrs_read(&a, payload, len, sizeof(m));
	s->family = AF_UNIX;
	s->type = m.udiag_type;
	s->inode = m.udiag_ino;
	s->cookie = cookie(m.udiag_cookie);
	unix_name(&s->local, a.of[UNIX_DIAG_NAME]);
	unix_file(s, &a);
	(void)attr_get(&a, UNIX_DIAG_PEER, &s->peer_inode,
		       sizeof(s->peer_inode));
	(void)attr_get(&a, UNIX_DIAG_UID, &s->uid, sizeof(s->uid));
	s->state = unix_state(s, m.udiag_state);
	if (attr_get(&a, UNIX_DIAG_RQLEN, &queue, sizeof(queue))) {
		s->queue_used = queue.udiag_rqueue;
		s->queue_max = queue.udiag_wqueue;
	}
	if (s->state != CLEAT_STATE_LISTEN)
		s->queue_max = receive_buffer(&a, UNIX_DIAG_MEMINFO);
	return 0;
}
