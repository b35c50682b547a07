/* SPDX-License-Identifier: MIT */
/* A socket bound to every interface would answer from whichever address routing
 * chooses, and a client that asked another would not take that for an answer.
 * So the kernel is asked where each datagram came to (IP_PKTINFO, IPV6_PKTINFO:
 * ip(7), ipv6(7)), and an answer leaves from there.
 */
#include <string.h>

#include "base/sys.h"
#include "net/dgram.h"

static bool is_wild(const struct cleat_sockaddr *sa)
{
	if (sa->any.sa_family == AF_INET)
		return sa->in.sin_addr.s_addr == INADDR_ANY;
	return sa->any.sa_family == AF_INET6 &&
	       IN6_IS_ADDR_UNSPECIFIED(&sa->in6.sin6_addr);
}

/* A failure means that routing chooses, as without this. */
void cleat__asked_watch(struct cleat_dgram *d)
{
	const int on = 1;

	for (unsigned i = 0; i < d->n; i++) {
		struct cleat_sockaddr sa = { .len = sizeof(sa.storage) };
		int fd = d->io[i].fd;

		if (sys_getsockname(fd, &sa.any, &sa.len) < 0 || !is_wild(&sa))
			continue;
		d->is_wild = true;
		(void)sys_setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on,
				     sizeof(on)); /* dual-stack ones too */
		if (sa.any.sa_family == AF_INET6)
			(void)sys_setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO,
					     &on, sizeof(on));
	}
}

/* What was broadcast is not answered from there but from IPI_SPEC_DST, and what
 * was multicast as routing chooses.
 */
static bool find_local(struct msghdr *m, struct in6_addr *local)
{
	struct cleat_sockaddr sa = { .len = sizeof(sa.in) };
	struct in6_pktinfo in6;
	struct in_pktinfo in;
	bool found = false;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
			memcpy(&in, CMSG_DATA(c), sizeof(in));
			sa.in.sin_addr = in.ipi_spec_dst;
			*local = cleat__mapped(&sa).in6.sin6_addr;
			return true;
		}
		if (c->cmsg_level == IPPROTO_IPV6 &&
		    c->cmsg_type == IPV6_PKTINFO) {
			memcpy(&in6, CMSG_DATA(c), sizeof(in6));
			*local = in6.ipi6_addr;
			found = !IN6_IS_ADDR_MULTICAST(local);
		}
	}
	return found;
}

void cleat__asked_note(struct cleat_dgram *d, unsigned k,
		       const struct cleat_sockaddr *peer, struct msghdr *m)
{
	struct cleat__asked a = { .peer = *peer };
	bool found = find_local(m, &a.local);

	(void)pthread_mutex_lock(&d->asked_lock);
	if (k == 0)
		d->n_asked = 0;
	if (found)
		d->asked[d->n_asked++] = a;
	(void)pthread_mutex_unlock(&d->asked_lock);
}

static bool has_asked(struct cleat_dgram *d, const struct cleat_sockaddr *peer,
		      struct in6_addr *local)
{
	bool found = false;

	(void)pthread_mutex_lock(&d->asked_lock);
	for (unsigned i = d->n_asked; i-- > 0 && !found;) {
		const struct cleat__asked *a = &d->asked[i];

		found = a->peer.len == peer->len &&
			memcmp(&a->peer.any, &peer->any, peer->len) == 0;
		if (found)
			*local = a->local;
	}
	(void)pthread_mutex_unlock(&d->asked_lock);
	return found;
}

static void put(struct msghdr *m, union cleat__control *control, int level,
		int type, const void *data, size_t len)
{
	control->head = (struct cmsghdr){
		.cmsg_len = (socklen_t)CMSG_LEN(len),
		.cmsg_level = level,
		.cmsg_type = type,
	};
	memcpy(CMSG_DATA(&control->head), data, len);
	m->msg_control = control;
	m->msg_controllen = (socklen_t)CMSG_SPACE(len);
}

void cleat__asked_answer(struct cleat_dgram *d, unsigned i,
			 const struct cleat_sockaddr *to, struct msghdr *m,
			 union cleat__control *control)
{
	struct in6_pktinfo in6 = { .ipi6_ifindex = 0 };
	struct in_pktinfo in = { .ipi_ifindex = 0 };

	if (!has_asked(d, to, &in6.ipi6_addr))
		return;
	memcpy(&in.ipi_spec_dst, &in6.ipi6_addr.s6_addr[12], 4);
	if (d->family[i] == AF_INET)
		put(m, control, IPPROTO_IP, IP_PKTINFO, &in, sizeof(in));
	else
		put(m, control, IPPROTO_IPV6, IPV6_PKTINFO, &in6, sizeof(in6));
}
