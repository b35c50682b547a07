/* SPDX-License-Identifier: MIT */
#include "inspect/diag.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* No dump comes in larger datagrams: netlink_recvmsg() of the kernel. */
#define DATAGRAM (32 * 1024)

/* A request is at most this, and so is the answer to one that is no dump. */
#define SMALL 1024

/* What is being asked for, and where the answers go. */
struct dump {
	struct cleat__found *f;
	int protocol; /* 0: unix */
};

struct cleat_socket *cleat__found_add(struct cleat__found *f)
{
	if (f->n == f->room) {
		size_t room = f->room ? 2 * f->room : 64;
		void *v = realloc(f->v, room * sizeof(f->v[0]));

		if (!v)
			return NULL;
		f->v = v;
		f->room = room;
	}
	return memset(&f->v[f->n++], 0, sizeof(f->v[0]));
}

int cleat__diag_open(struct cleat__diag *d)
{
	int fd = sys_socket(AF_NETLINK, SOCK_RAW, NETLINK_SOCK_DIAG);

	if (fd == -EPROTONOSUPPORT || fd == -EAFNOSUPPORT)
		return -EOPNOTSUPP;
	if (fd < 0)
		return fd;
	*d = (struct cleat__diag){ .fd = fd };
	return 0;
}

void cleat__diag_close(struct cleat__diag *d)
{
	sys_close(d->fd);
}

/* A request of SIZE bytes, to be filled in, in BUF of SMALL bytes. */
static void *request(struct cleat__diag *d, void *buf, int flags, size_t size)
{
	struct nlmsghdr *h = mnl_nlmsg_put_header(buf);

	h->nlmsg_type = SOCK_DIAG_BY_FAMILY;
	h->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
	h->nlmsg_seq = ++d->seq;
	return mnl_nlmsg_put_extra_header(h, size);
}

static int ask(const struct cleat__diag *d, const void *buf)
{
	const struct nlmsghdr *h = buf;
	ssize_t n = sys_send(d->fd, h, h->nlmsg_len);

	return n < 0 ? (int)n : 0;
}

/* The error that ends a dump or stands for an answer; 0: none. */
static int verdict(const struct nlmsghdr *h)
{
	int err;

	if (mnl_nlmsg_get_payload_len(h) < sizeof(err))
		return -EBADMSG;
	memcpy(&err, mnl_nlmsg_get_payload(h), sizeof(err));
	return err;
}

static bool is_verdict(const struct nlmsghdr *h)
{
	return h->nlmsg_type == NLMSG_ERROR || h->nlmsg_type == NLMSG_DONE;
}

static int parse(struct cleat_socket *s, int protocol, const struct nlmsghdr *h)
{
	const void *payload = mnl_nlmsg_get_payload(h);
	size_t len = mnl_nlmsg_get_payload_len(h);

	if (protocol == 0)
		return cleat__diag_parse_unix(s, payload, len);
	return cleat__diag_parse_inet(s, protocol, payload, len);
}

static int add(const struct dump *what, const struct nlmsghdr *h)
{
	struct cleat_socket *s = cleat__found_add(what->f);
	int err;

	if (!s)
		return -ENOMEM;
	err = parse(s, what->protocol, h);
	if (err < 0)
		what->f->n--;
	return err;
}

/* Add what one datagram tells of: 1, or 0 if it was the last, or -errno. */
static int add_all(const struct cleat__diag *d, const struct dump *what,
		   const void *buf, size_t len)
{
	const struct nlmsghdr *h = buf;
	int left = (int)len, err;

	for (; mnl_nlmsg_ok(h, left); h = mnl_nlmsg_next(h, &left)) {
		if (h->nlmsg_seq != d->seq)
			continue;
		err = is_verdict(h) ? verdict(h) : add(what, h);
		if (err < 0 || is_verdict(h))
			return err;
	}
	return 1;
}

/* The kernel answers within send and recv themselves: there is no waiting.
 * Returns how many datagrams it took, or -errno.
 */
static int dump(struct cleat__diag *d, const struct dump *what,
		const void *question, void *buf)
{
	int err = ask(d, question), datagrams = 0;
	ssize_t n;

	if (err < 0)
		return err;
	do {
		n = sys_recv(d->fd, buf, DATAGRAM);
		if (n < 0)
			return (int)n;
		datagrams++;
		err = add_all(d, what, buf, (size_t)n);
	} while (err > 0);
	if (err == -ENOENT) /* it knows no such family or protocol */
		return -EOPNOTSUPP;
	return err < 0 ? err : datagrams;
}

/* Only sockets of these local ports.  Each comparison is two words; where it
 * fails, it jumps past the end of all.
 */
static void put_ports(struct nlmsghdr *h, const struct cleat_query *q)
{
	const struct inet_diag_bc_op code[] = {
		{ INET_DIAG_BC_S_GE, 8, 20 },
		{ .no = (uint16_t)q->port },
		{ INET_DIAG_BC_S_LE, 8, 12 },
		{ .no = (uint16_t)q->last_port },
	};

	if (q->port > 0 || q->last_port < 65535)
		mnl_attr_put(h, INET_DIAG_REQ_BYTECODE, sizeof(code), code);
}

/* States as the kernel has them: of UDP, bound is closed. */
static unsigned inet_states(const struct cleat_query *q, int protocol)
{
	const unsigned bound = 1u << CLEAT_STATE_BOUND;
	const unsigned established = 1u << CLEAT_STATE_ESTABLISHED;

	if (protocol == IPPROTO_TCP) /* for more all buckets are looked at */
		return q->listening ? q->states & 1u << CLEAT_STATE_LISTEN
				    : q->states;
	return (q->states & established) |
	       (q->states & bound ? 1u << CLEAT_STATE_CLOSED : 0);
}

/* How much memory they take; of listeners nobody asks. */
static uint8_t extensions(unsigned states)
{
	return states == 1u << CLEAT_STATE_LISTEN
		       ? 0
		       : 1u << (INET_DIAG_SKMEMINFO - 1);
}

static int dump_inet(struct cleat__diag *d, const struct dump *what,
		     const struct cleat_query *q, int family, void *buf)
{
	_Alignas(struct nlmsghdr) char text[SMALL];
	struct inet_diag_req_v2 *r = request(d, text, NLM_F_DUMP, sizeof(*r));

	r->sdiag_family = (uint8_t)family;
	r->sdiag_protocol = (uint8_t)what->protocol;
	r->idiag_states = inet_states(q, what->protocol);
	if (r->idiag_states == 0)
		return 0;
	r->idiag_ext = extensions(r->idiag_states);
	put_ports((struct nlmsghdr *)text, q);
	return dump(d, what, text, buf);
}

/* To find those of one family the kernel goes through all that there are, in
 * all namespaces.  So both families at once, which only requests of the older
 * kind ask for.
 */
static int dump_tcp(struct cleat__diag *d, const struct dump *what,
		    const struct cleat_query *q, void *buf)
{
	_Alignas(struct nlmsghdr) char text[SMALL];
	struct inet_diag_req *r = request(d, text, NLM_F_DUMP, sizeof(*r));
	struct nlmsghdr *h = (void *)text;

	h->nlmsg_type = TCPDIAG_GETSOCK;
	r->idiag_states = inet_states(q, what->protocol);
	if (r->idiag_states == 0)
		return 0;
	r->idiag_ext = extensions(r->idiag_states);
	if (q->port == q->last_port) /* mostly looked at before the code */
		r->id.idiag_sport = htons((uint16_t)q->port);
	put_ports(h, q);
	return dump(d, what, text, buf);
}

static int dump_unix_once(struct cleat__diag *d, const struct dump *what,
			  void *buf)
{
	_Alignas(struct nlmsghdr) char text[SMALL];
	struct unix_diag_req *r = request(d, text, NLM_F_DUMP, sizeof(*r));

	r->sdiag_family = AF_UNIX;
	r->udiag_states = ~0u; /* not as we count them */
	r->udiag_show = UDIAG_SHOW_NAME | UDIAG_SHOW_VFS | UDIAG_SHOW_PEER |
			UDIAG_SHOW_UID | UDIAG_SHOW_RQLEN | UDIAG_SHOW_MEMINFO;
	return dump(d, what, text, buf);
}

/* Between two datagrams the kernel keeps its place by counting, in one of just
 * 256 buckets: for one that is closed there meanwhile, another is skipped.  So
 * what came in more than one, and the last, which is empty, is asked for again.
 */
static int dump_unix(struct cleat__diag *d, const struct dump *what, void *buf)
{
	int datagrams = dump_unix_once(d, what, buf);

	return datagrams > 2 ? dump_unix_once(d, what, buf) : datagrams;
}

static int dump_part(struct cleat__diag *d, const struct dump *what,
		     const struct cleat_query *q, int family, void *buf)
{
	if (family == AF_UNIX)
		return dump_unix(d, what, buf);
	if (family == AF_UNSPEC)
		return dump_tcp(d, what, q, buf);
	return dump_inet(d, what, q, family, buf);
}

/* TCP of both families is one part. */
static bool is_asked_for(const struct cleat_query *q, enum cleat_kind kind,
			 int family)
{
	if (!(q->kinds & kind))
		return false;
	return q->family == family ||
	       (q->family == AF_UNSPEC && kind != CLEAT_KIND_TCP);
}

static int dump_all(struct cleat__diag *d, struct cleat__found *f,
		    const struct cleat_query *q, void *buf)
{
	static const struct {
		enum cleat_kind kind;
		int family, protocol;
	} parts[] = {
		{ CLEAT_KIND_TCP, AF_UNSPEC, IPPROTO_TCP },
		{ CLEAT_KIND_TCP, AF_INET, IPPROTO_TCP },
		{ CLEAT_KIND_TCP, AF_INET6, IPPROTO_TCP },
		{ CLEAT_KIND_UDP, AF_INET, IPPROTO_UDP },
		{ CLEAT_KIND_UDP, AF_INET6, IPPROTO_UDP },
		{ CLEAT_KIND_UNIX, AF_UNIX, 0 },
	};
	int err = 0;

	for (size_t i = 0; i < COUNT(parts) && err >= 0; i++) {
		const struct dump what = { f, parts[i].protocol };

		if (is_asked_for(q, parts[i].kind, parts[i].family))
			err = dump_part(d, &what, q, parts[i].family, buf);
	}
	return err < 0 ? err : 0;
}

int cleat__diag_dump(struct cleat__found *f, const struct cleat_query *q)
{
	struct cleat__diag d;
	void *buf = malloc(DATAGRAM);
	int err;

	if (!buf)
		return -ENOMEM;
	err = cleat__diag_open(&d);
	if (err == 0) {
		err = dump_all(&d, f, q, buf);
		cleat__diag_close(&d);
	}
	free(buf);
	return err;
}

static void id_put(uint32_t ip[4], uint16_t *port,
		   const struct cleat_sockaddr *sa)
{
	if (sa->any.sa_family == AF_INET) {
		ip[0] = sa->in.sin_addr.s_addr;
		*port = sa->in.sin_port;
	} else {
		memcpy(ip, &sa->in6.sin6_addr, sizeof(sa->in6.sin6_addr));
		*port = sa->in6.sin6_port;
	}
}

/* "src" is the socket's own side, as in its answers; but of UDP the sender's:
 * udp_dump_one() of the kernel has kept to a mistake.
 */
static void id_of(struct inet_diag_sockid *id, const struct cleat_probe *p)
{
	bool is_tcp = p->type == SOCK_STREAM;

	id_put(id->idiag_src, &id->idiag_sport, is_tcp ? &p->to : &p->from);
	id_put(id->idiag_dst, &id->idiag_dport, is_tcp ? &p->from : &p->to);
	id->idiag_if = p->device;
	id->idiag_cookie[0] = INET_DIAG_NOCOOKIE;
	id->idiag_cookie[1] = INET_DIAG_NOCOOKIE;
}

static int answer(const struct cleat__diag *d, struct cleat_socket *s,
		  int protocol)
{
	_Alignas(struct nlmsghdr) char buf[SMALL];
	const struct nlmsghdr *h = (const void *)buf;
	struct cleat_socket found = { 0 };
	ssize_t n = sys_recv(d->fd, buf, sizeof(buf));
	int err;

	if (n < 0)
		return (int)n;
	if (!mnl_nlmsg_ok(h, (int)n) || h->nlmsg_seq != d->seq)
		return -EBADMSG;
	err = is_verdict(h) ? verdict(h) : parse(&found, protocol, h);
	if (err == 0)
		*s = found;
	return err;
}

int cleat__diag_one(struct cleat__diag *d, struct cleat_socket *s,
		    const struct cleat_probe *p)
{
	_Alignas(struct nlmsghdr) char buf[SMALL];
	struct inet_diag_req_v2 *r = request(d, buf, 0, sizeof(*r));
	const int protocol = p->type == SOCK_STREAM ? IPPROTO_TCP : IPPROTO_UDP;
	int err;

	r->sdiag_family = (uint8_t)p->to.any.sa_family;
	r->sdiag_protocol = (uint8_t)protocol;
	r->idiag_ext = 1u << (INET_DIAG_SKMEMINFO - 1);
	id_of(&r->id, p);
	err = ask(d, buf);
	return err < 0 ? err : answer(d, s, protocol);
}
