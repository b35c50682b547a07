/* SPDX-License-Identifier: MIT */
#include "scan/syn_wire.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/icmp.h>
#include <linux/sock_diag.h>
#include <netinet/icmp6.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "base/time.h"

/* Some ten thousand replies. */
#define RECEIVE_BUFFER (16 << 20)

/* While addresses are looked for that nobody has, what was sent to them is kept
 * for seconds (arp(7)), and nothing else goes out: then the socket may hold
 * more.  Not before, lest a device's queue run over, of which nothing is told.
 */
#define SEND_BUFFER_MOST (64 << 20)
#define STANDSTILL (20 * CLEAT_MSEC)

/* Addresses whose source is remembered: as many as a /16 has. */
#define SOURCES 65536

/* Where routes are looked up to; nothing is sent. */
#define ANY_PORT 9

/* Batches that are read in a row. */
#define READS_MAX 16

enum {
	TCP4,
	TCP6,
	ICMP4,
	ICMP6,
	N_SOCKETS,
};

struct outgoing {
	int fd;
	unsigned n, sent;
	cleat_time moved; /* when one went out */
	uint64_t places[CLEAT__WIRE_BATCH];
	struct mmsghdr messages[CLEAT__WIRE_BATCH];
	struct iovec parts[CLEAT__WIRE_BATCH];
	struct sockaddr_in6 to[CLEAT__WIRE_BATCH]; /* or sockaddr_in */
	uint8_t data[CLEAT__WIRE_BATCH][CLEAT__SYN_MAX];
};

struct incoming {
	struct mmsghdr messages[CLEAT__WIRE_BATCH];
	struct iovec parts[CLEAT__WIRE_BATCH];
	struct sockaddr_in6 from[CLEAT__WIRE_BATCH];
	uint8_t data[CLEAT__WIRE_BATCH][CLEAT__REPLY_MAX];
};

struct source {
	struct in_addr to, from; /* FROM 0: not known */
};

struct cleat__wire {
	struct cleat__syn_key key;
	uint16_t port; /* that SYNs are sent from, in network order */
	int holder; /* has that port */
	int asker; /* a UDP socket, asked for sources */
	struct pollfd sockets[N_SOCKETS];
	uint32_t drops[N_SOCKETS]; /* so far */
	struct outgoing out4, out6;
	struct incoming in;
	struct source *sources;
};

static const struct {
	int family, protocol;
} kinds[N_SOCKETS] = {
	[TCP4] = { AF_INET, IPPROTO_TCP },
	[TCP6] = { AF_INET6, IPPROTO_TCP },
	[ICMP4] = { AF_INET, IPPROTO_ICMP },
	[ICMP6] = { AF_INET6, IPPROTO_ICMPV6 },
};

/* Replies to PORT alone: ACK is set, and SYN or RST.  Over IPv6 the IP header
 * has been taken off before.
 */
static int filter_segments(int fd, int family, uint16_t port)
{
	struct sock_filter code[] = {
		family == AF_INET
			? (struct sock_filter)BPF_STMT(
				  BPF_LDX | BPF_B | BPF_MSH, 0)
			: (struct sock_filter)BPF_STMT(BPF_LDX | BPF_IMM, 0),
		BPF_STMT(BPF_LD | BPF_H | BPF_IND,
			 offsetof(struct tcphdr, th_dport)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ntohs(port), 0, 4),
		BPF_STMT(BPF_LD | BPF_B | BPF_IND,
			 offsetof(struct tcphdr, th_flags)),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, TH_ACK, 0, 2),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, TH_SYN | TH_RST, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, CLEAT__REPLY_MAX),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};
	const struct sock_fprog program = {
		.len = sizeof(code) / sizeof(code[0]),
		.filter = code,
	};

	return sys_setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program,
			      sizeof(program));
}

static int filter_icmp(int fd, int family)
{
	const struct icmp_filter filter4 = {
		~(1u << ICMP_DEST_UNREACH | 1u << ICMP_TIME_EXCEEDED),
	};
	struct icmp6_filter filter6;

	if (family == AF_INET)
		return sys_setsockopt(fd, SOL_RAW, ICMP_FILTER, &filter4,
				      sizeof(filter4));
	ICMP6_FILTER_SETBLOCKALL(&filter6);
	ICMP6_FILTER_SETPASS(ICMP6_DST_UNREACH, &filter6);
	ICMP6_FILTER_SETPASS(ICMP6_TIME_EXCEEDED, &filter6);
	return sys_setsockopt(fd, IPPROTO_ICMPV6, ICMP6_FILTER, &filter6,
			      sizeof(filter6));
}

/* Who writes the header says which address the checksum was made for; over
 * IPv6 the kernel makes the checksum.
 */
static int set_up_segments(int fd, int family, uint16_t port)
{
	const int on = 1, at = CLEAT__CHECKSUM_AT;
	int err = filter_segments(fd, family, port);

	if (err < 0)
		return err;
	if (family == AF_INET)
		return sys_setsockopt(fd, IPPROTO_IP, IP_HDRINCL, &on,
				      sizeof(on));
	return sys_setsockopt(fd, IPPROTO_IPV6, IPV6_CHECKSUM, &at, sizeof(at));
}

static void make_room(int fd)
{
	const int size = RECEIVE_BUFFER;

	/* It takes CAP_NET_ADMIN; else there is as much as anyone may have. */
	if (sys_setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size,
			   sizeof(size)) < 0)
		(void)sys_setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size,
				     sizeof(size));
}

static int open_raw(struct cleat__wire *w, int i)
{
	const int family = kinds[i].family;
	const int fd = sys_socket(family, SOCK_RAW, kinds[i].protocol);

	if (fd == -EAFNOSUPPORT && family == AF_INET6)
		return 0;
	if (fd < 0)
		return fd;
	w->sockets[i].fd = fd;
	make_room(fd);
	return kinds[i].protocol == IPPROTO_TCP
		       ? set_up_segments(fd, family, w->port)
		       : filter_icmp(fd, family);
}

static int bind_any(int family, struct cleat_sockaddr *name)
{
	const int off = 0;
	int fd = sys_socket(family, SOCK_STREAM, 0);
	int err = 0;

	if (fd < 0)
		return fd;
	*name = (struct cleat_sockaddr){ .any.sa_family = (sa_family_t)family };
	name->len = family == AF_INET ? sizeof(name->in) : sizeof(name->in6);
	if (family == AF_INET6)
		err = sys_setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off,
				     sizeof(off));
	if (err == 0)
		err = sys_bind(fd, &name->any, name->len);
	if (err == 0)
		err = sys_getsockname(fd, &name->any, &name->len);
	if (err < 0) {
		sys_close(fd);
		return err;
	}
	return fd;
}

/* A port that nobody else gets while we hold it.  The kernel answers a SYN-ACK
 * to it with RST, for nobody connects from there; which takes down what the SYN
 * began, and comes too late to take the SYN-ACK from the raw socket.
 */
static int hold_port(struct cleat__wire *w)
{
	struct cleat_sockaddr name;

	w->holder = bind_any(AF_INET6, &name);
	if (w->holder < 0)
		w->holder = bind_any(AF_INET, &name);
	if (w->holder < 0)
		return w->holder;
	w->port = name.in.sin_port; /* where sin6_port is, too */
	return 0;
}

static void prepare(struct cleat__wire *w)
{
	for (unsigned i = 0; i < CLEAT__WIRE_BATCH; i++) {
		w->in.parts[i] =
			(struct iovec){ w->in.data[i], sizeof(w->in.data[i]) };
		w->in.messages[i].msg_hdr.msg_iov = &w->in.parts[i];
		w->in.messages[i].msg_hdr.msg_iovlen = 1;
		w->in.messages[i].msg_hdr.msg_name = &w->in.from[i];
	}
}

static void prepare_out(struct outgoing *o, int fd)
{
	o->fd = fd;
	for (unsigned i = 0; i < CLEAT__WIRE_BATCH; i++) {
		o->parts[i].iov_base = o->data[i];
		o->messages[i].msg_hdr.msg_iov = &o->parts[i];
		o->messages[i].msg_hdr.msg_iovlen = 1;
		o->messages[i].msg_hdr.msg_name = &o->to[i];
	}
}

static int open_all(struct cleat__wire *w)
{
	int err = hold_port(w);

	sys_random(&w->key, sizeof(w->key));
	for (int i = 0; i < N_SOCKETS && err == 0; i++)
		err = open_raw(w, i);
	if (err < 0)
		return err;
	w->asker = sys_socket(AF_INET, SOCK_DGRAM, 0);
	if (w->asker < 0)
		return w->asker;
	cleat__wire_renew(w);
	prepare(w);
	prepare_out(&w->out4, w->sockets[TCP4].fd);
	prepare_out(&w->out6, w->sockets[TCP6].fd);
	return 0;
}

int cleat__wire_open(struct cleat__wire **ret)
{
	struct cleat__wire *w = calloc(1, sizeof(*w));
	int err;

	if (!w)
		return -ENOMEM;
	w->holder = w->asker = -1;
	for (int i = 0; i < N_SOCKETS; i++)
		w->sockets[i] = (struct pollfd){ .fd = -1, .events = POLLIN };
	w->sources = calloc(SOURCES, sizeof(*w->sources));
	err = w->sources ? open_all(w) : -ENOMEM;
	if (err < 0) {
		cleat__wire_close(w);
		return err;
	}
	*ret = w;
	return 0;
}

static void close_if(int fd)
{
	if (fd >= 0)
		sys_close(fd);
}

void cleat__wire_close(struct cleat__wire *w)
{
	if (!w)
		return;
	for (int i = 0; i < N_SOCKETS; i++)
		close_if(w->sockets[i].fd);
	close_if(w->holder); /* last: its port is no more than ours */
	close_if(w->asker);
	free(w->sources);
	free(w);
}

void cleat__wire_renew(struct cleat__wire *w)
{
	memset(w->sources, 0, SOURCES * sizeof(*w->sources));
}

/* What the kernel would send from.  Once a socket has got its source it keeps
 * it, even where it is connected anew; unless it is disconnected before.
 */
static int ask_source(struct cleat__wire *w, struct in_addr to,
		      struct in_addr *from)
{
	const struct sockaddr nowhere = { .sa_family = AF_UNSPEC };
	struct cleat_sockaddr sa = {
		.in = {
			.sin_family = AF_INET,
			.sin_port = htons(ANY_PORT),
			.sin_addr = to,
		},
		.len = sizeof(sa.in),
	};
	int err = sys_connect(w->asker, &sa.any, sa.len);

	if (err < 0)
		return err;
	err = sys_getsockname(w->asker, &sa.any, &sa.len);
	if (err == 0)
		*from = sa.in.sin_addr;
	if (err == 0)
		err = sys_connect(w->asker, &nowhere, sizeof(nowhere));
	return err;
}

/* To ask takes longer than to send.  The multiplier is 2^32 divided by the
 * golden ratio.
 */
static int find_source(struct cleat__wire *w, struct in_addr to,
		       struct in_addr *from)
{
	const uint32_t hash = ntohl(to.s_addr) * UINT32_C(0x9e3779b1);
	struct source *s = &w->sources[hash / (UINT32_MAX / SOURCES + 1)];
	int err = 0;

	if (s->to.s_addr != to.s_addr || s->from.s_addr == 0) {
		s->to = to;
		s->from.s_addr = 0;
		err = ask_source(w, to, &s->from);
	}
	*from = s->from;
	return err;
}

/* A raw socket takes a port for a protocol: none is given (ipv6(7)). */
static void set_name(struct outgoing *o, const struct cleat_sockaddr *at)
{
	struct cleat_sockaddr to = *at;

	to.in.sin_port = 0; /* where sin6_port is, too */
	memcpy(&o->to[o->n], &to.any, to.len);
	o->messages[o->n].msg_hdr.msg_namelen = to.len;
}

int cleat__wire_put(struct cleat__wire *w, const struct cleat_sockaddr *at,
		    uint64_t place)
{
	const bool is_ip4 = at->any.sa_family == AF_INET;
	struct outgoing *o = is_ip4 ? &w->out4 : &w->out6;
	struct cleat_sockaddr from = { 0 };
	int err = o->fd < 0 ? -EAFNOSUPPORT : 0;

	if (is_ip4)
		err = find_source(w, at->in.sin_addr, &from.in.sin_addr);
	if (err < 0)
		return err;
	from.in.sin_port = w->port; /* where sin6_port is, too */
	set_name(o, at);
	o->parts[o->n].iov_len = cleat__syn_build(o->data[o->n], &from, at,
						  cleat__syn_seq(&w->key, at));
	o->places[o->n++] = place;
	return 0;
}

static void allow_more(struct outgoing *o)
{
	int size = 0; /* twice what was set (socket(7)) */
	socklen_t len = sizeof(size);

	if (cleat_now() - o->moved < STANDSTILL ||
	    sys_getsockopt(o->fd, SOL_SOCKET, SO_SNDBUF, &size, &len) < 0 ||
	    size >= SEND_BUFFER_MOST)
		return;
	o->moved = cleat_now();
	/* It takes CAP_NET_ADMIN; without, it takes longer. */
	(void)sys_setsockopt(o->fd, SOL_SOCKET, SO_SNDBUFFORCE, &size,
			     sizeof(size));
}

static int flush(struct outgoing *o,
		 void (*failed)(void *arg, uint64_t place, int err), void *arg)
{
	while (o->sent < o->n) {
		const int n = sys_sendmmsg(o->fd, &o->messages[o->sent],
					   o->n - o->sent);

		if (n == -EAGAIN || n == -ENOBUFS || n == -ENOMEM) {
			allow_more(o);
			return -EAGAIN;
		}
		if (n < 0)
			failed(arg, o->places[o->sent], n);
		o->sent += n < 0 ? 1 : (unsigned)n;
		o->moved = cleat_now();
	}
	o->sent = o->n = 0;
	return 0;
}

int cleat__wire_flush(struct cleat__wire *w,
		      void (*failed)(void *arg, uint64_t place, int err),
		      void *arg)
{
	int err = flush(&w->out4, failed, arg);
	int err6 = flush(&w->out6, failed, arg);

	return err < 0 ? err : err6;
}

/* Room in a device's queue, unlike that in a socket's buffer, is told by
 * nobody: it is tried again after a millisecond.
 */
void cleat__wire_wait(struct cleat__wire *w, cleat_time until)
{
	if (w->out4.n > 0 || w->out6.n > 0)
		until = cleat__earlier(until, cleat_in(CLEAT_MSEC));
	/* A signal ends it: then nothing has come. */
	if (sys_poll(w->sockets, N_SOCKETS, cleat__left_ms(until)) < 0)
		for (int i = 0; i < N_SOCKETS; i++)
			w->sockets[i].revents = 0;
}

static int receive(struct cleat__wire *w, int fd)
{
	for (unsigned i = 0; i < CLEAT__WIRE_BATCH; i++)
		w->in.messages[i].msg_hdr.msg_namelen = sizeof(w->in.from[i]);
	return sys_recvmmsg(fd, w->in.messages, CLEAT__WIRE_BATCH);
}

static void tell(struct cleat__wire *w, int protocol, unsigned i,
		 void (*heard)(void *arg, const struct cleat__reply *r),
		 void *arg)
{
	const struct mmsghdr *m = &w->in.messages[i];
	struct cleat_sockaddr from = { .len = m->msg_hdr.msg_namelen };
	struct cleat__reply r;

	memcpy(&from.in6, &w->in.from[i], sizeof(from.in6));
	if (cleat__reply_parse(&r, protocol, &from, w->in.data[i],
			       m->msg_len) &&
	    r.port == w->port && r.seq == cleat__syn_seq(&w->key, &r.to))
		heard(arg, &r);
}

void cleat__wire_read(struct cleat__wire *w,
		      void (*heard)(void *arg, const struct cleat__reply *r),
		      void *arg)
{
	for (int i = 0; i < N_SOCKETS; i++) {
		int n = w->sockets[i].revents ? CLEAT__WIRE_BATCH : 0;

		for (int k = 0; k < READS_MAX && n == CLEAT__WIRE_BATCH; k++) {
			n = receive(w, w->sockets[i].fd);
			for (int m = 0; m < n; m++)
				tell(w, kinds[i].protocol, (unsigned)m, heard,
				     arg);
		}
	}
}

unsigned cleat__wire_dropped(struct cleat__wire *w)
{
	unsigned dropped = 0;

	for (int i = 0; i < N_SOCKETS; i++) {
		uint32_t v[SK_MEMINFO_VARS] = { 0 };
		socklen_t len = sizeof(v);

		if (w->sockets[i].fd < 0 ||
		    sys_getsockopt(w->sockets[i].fd, SOL_SOCKET, SO_MEMINFO, v,
				   &len) < 0)
			continue;
		dropped += v[SK_MEMINFO_DROPS] - w->drops[i];
		w->drops[i] = v[SK_MEMINFO_DROPS];
	}
	return dropped;
}
