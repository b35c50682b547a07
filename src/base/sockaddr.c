/* SPDX-License-Identifier: MIT */
/* Socket addresses as text, in the grammar of cleat/addr.h. */
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

#include <cleat/addr.h>

#define PATH_MAX_BYTES sizeof(((struct sockaddr_un *)0)->sun_path)

static int give(char *text, size_t len, const char *all, int n)
{
	if ((size_t)n >= len)
		return -ENOSPC;
	memcpy(text, all, (size_t)n + 1);
	return n;
}

static int format_ip4(const struct in_addr *ip, unsigned port, char *text,
		      size_t len)
{
	char host[INET_ADDRSTRLEN], all[INET_ADDRSTRLEN + 8];

	(void)inet_ntop(AF_INET, ip, host, sizeof(host)); /* it has room */
	return give(text, len, all,
		    snprintf(all, sizeof(all), "%s:%u", host, port));
}

static int format_ip6(const struct sockaddr_in6 *in6, char *text, size_t len)
{
	const unsigned port = ntohs(in6->sin6_port);
	char host[INET6_ADDRSTRLEN], zone[IF_NAMESIZE + 1] = "";
	char all[sizeof(host) + sizeof(zone) + 16];
	struct in_addr v4;

	if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr)) {
		memcpy(&v4, &in6->sin6_addr.s6_addr[12], sizeof(v4));
		return format_ip4(&v4, port, text, len);
	}
	(void)inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
	if (in6->sin6_scope_id != 0 &&
	    !if_indextoname(in6->sin6_scope_id, zone))
		(void)snprintf(zone, sizeof(zone), "%u", in6->sin6_scope_id);
	return give(text, len, all,
		    snprintf(all, sizeof(all), "[%s%s%s]:%u", host,
			     zone[0] ? "%" : "", zone, port));
}

/* Any byte may be in a name, and programs do pad abstract ones with NULs. */
static int format_name(const char *head, const char *name, size_t n, char *text,
		       size_t len)
{
	char all[16 + 4 * PATH_MAX_BYTES], *end = all;

	end += snprintf(all, 16, "unix:%s", head);
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)name[i];

		if (c < ' ' || c > 126)
			end += snprintf(end, 5, "\\x%02x", c);
		else
			*end++ = (char)c;
	}
	*end = '\0';
	return give(text, len, all, (int)(end - all));
}

static int format_unix(const struct cleat_sockaddr *sa, char *text, size_t len)
{
	const size_t before = offsetof(struct sockaddr_un, sun_path);
	const char *path = sa->un.sun_path;
	size_t n = sa->len > before ? sa->len - before : 0;

	if (n > PATH_MAX_BYTES)
		n = PATH_MAX_BYTES;
	if (n > 0 && path[0] == '\0')
		return format_name("@", path + 1, n - 1, text, len);
	n = strnlen(path, n);
	if (n > 0 && path[0] == '@') /* a file so called: not abstract */
		return format_name("./", path, n, text, len);
	if (n > 1 && path[0] == '/' && path[1] == '/')
		return format_name("//", path, n, text, len);
	return format_name("", path, n, text, len);
}

int cleat_sockaddr_format(const struct cleat_sockaddr *sa, char *text,
			  size_t len)
{
	char all[32];

	/* What an unnamed unix socket sends comes from no address at all. */
	if (sa->len == 0 || sa->any.sa_family == AF_UNIX)
		return format_unix(sa, text, len);
	if (sa->any.sa_family == AF_INET)
		return format_ip4(&sa->in.sin_addr, ntohs(sa->in.sin_port),
				  text, len);
	if (sa->any.sa_family == AF_INET6)
		return format_ip6(&sa->in6, text, len);
	return give(text, len, all,
		    snprintf(all, sizeof(all), "family %d", sa->any.sa_family));
}

unsigned cleat_sockaddr_port(const struct cleat_sockaddr *sa)
{
	if (sa->len > 0 && sa->any.sa_family == AF_INET)
		return ntohs(sa->in.sin_port);
	if (sa->len > 0 && sa->any.sa_family == AF_INET6)
		return ntohs(sa->in6.sin6_port);
	return 0;
}
