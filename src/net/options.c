/* SPDX-License-Identifier: MIT */
#include "net/options.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <string.h>

#include "base/error.h"
#include "base/sys.h"

/* Where the kernel keeps an option; for IPv6 sockets elsewhere, if NAME6. */
static const struct where {
	const char *step;
	int level, name;
	int level6, name6;
} table[] = {
	[CLEAT_REUSEADDR] = { "set SO_REUSEADDR", SOL_SOCKET, SO_REUSEADDR, 0,
			      0 },
	[CLEAT_REUSEPORT] = { "set SO_REUSEPORT", SOL_SOCKET, SO_REUSEPORT, 0,
			      0 },
	[CLEAT_V6ONLY] = { "set IPV6_V6ONLY", IPPROTO_IPV6, IPV6_V6ONLY, 0, 0 },
	[CLEAT_NODELAY] = { "set TCP_NODELAY", IPPROTO_TCP, TCP_NODELAY, 0, 0 },
	[CLEAT_KEEPALIVE] = { "set SO_KEEPALIVE", SOL_SOCKET, SO_KEEPALIVE, 0,
			      0 },
	[CLEAT_KEEPALIVE_IDLE_S] = { "set TCP_KEEPIDLE", IPPROTO_TCP,
				     TCP_KEEPIDLE, 0, 0 },
	[CLEAT_KEEPALIVE_INTERVAL_S] = { "set TCP_KEEPINTVL", IPPROTO_TCP,
					 TCP_KEEPINTVL, 0, 0 },
	[CLEAT_KEEPALIVE_COUNT] = { "set TCP_KEEPCNT", IPPROTO_TCP, TCP_KEEPCNT,
				    0, 0 },
	[CLEAT_SNDBUF] = { "set SO_SNDBUF", SOL_SOCKET, SO_SNDBUF, 0, 0 },
	[CLEAT_RCVBUF] = { "set SO_RCVBUF", SOL_SOCKET, SO_RCVBUF, 0, 0 },
	[CLEAT_LINGER_S] = { "set SO_LINGER", SOL_SOCKET, SO_LINGER, 0, 0 },
	[CLEAT_TTL] = { "set IP_TTL", IPPROTO_IP, IP_TTL, IPPROTO_IPV6,
			IPV6_UNICAST_HOPS },
	[CLEAT_USER_TIMEOUT_MS] = { "set TCP_USER_TIMEOUT", IPPROTO_TCP,
				    TCP_USER_TIMEOUT, 0, 0 },
	[CLEAT_FREEBIND] = { "set IP_FREEBIND", IPPROTO_IP, IP_FREEBIND,
			     IPPROTO_IPV6, IPV6_FREEBIND },
	[CLEAT_BROADCAST] = { "set SO_BROADCAST", SOL_SOCKET, SO_BROADCAST, 0,
			      0 },
	[CLEAT_DEVICE] = { "set SO_BINDTOIFINDEX", SOL_SOCKET, SO_BINDTOIFINDEX,
			   0, 0 },
};

static int find(int fd, int option, struct where *w)
{
	int family = AF_UNSPEC;
	socklen_t len = sizeof(family);
	int err;

	if (option < 0 || (size_t)option >= sizeof(table) / sizeof(table[0]))
		return -EINVAL;
	*w = table[option];
	if (!w->name6)
		return 0;
	err = sys_getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &len);
	if (family == AF_INET6) {
		w->level = w->level6;
		w->name = w->name6;
	}
	return err;
}

static int set_linger(int fd, int seconds)
{
	struct linger l = {
		.l_onoff = seconds >= 0,
		.l_linger = seconds >= 0 ? seconds : 0,
	};

	return sys_setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
}

static int get_linger(int fd, int *seconds)
{
	struct linger l = { 0 };
	socklen_t len = sizeof(l);
	int err = sys_getsockopt(fd, SOL_SOCKET, SO_LINGER, &l, &len);

	if (err == 0)
		*seconds = l.l_onoff ? l.l_linger : -1;
	return err;
}

/* Linux takes a time that it cannot hold for a short one. */
static bool is_sane(enum cleat_option option, int value)
{
	return value >= 0 || (option == CLEAT_LINGER_S && value == -1);
}

int cleat_set(int fd, enum cleat_option option, int value)
{
	struct where w = { .step = "set option" };
	int err = find(fd, option, &w);

	if (err == 0 && !is_sane(option, value))
		err = -EINVAL;
	if (err == 0 && option == CLEAT_LINGER_S)
		err = set_linger(fd, value);
	else if (err == 0)
		err = sys_setsockopt(fd, w.level, w.name, &value,
				     sizeof(value));
	/* Of IPv4 mapped into IPv6; raw sockets have none of that. */
	if (err == 0 && option == CLEAT_TTL && w.level == IPPROTO_IPV6)
		(void)sys_setsockopt(fd, IPPROTO_IP, IP_TTL, &value,
				     sizeof(value));
	if (err == -EOPNOTSUPP)
		err = -ENOPROTOOPT; /* what unix sockets say */
	return err < 0 ? cleat__fail(err, w.step, NULL, NULL) : 0;
}

int cleat_get(int fd, enum cleat_option option, int *value)
{
	struct where w;
	int got = 0;
	socklen_t len = sizeof(got);
	int err = find(fd, option, &w);

	if (err == 0 && option == CLEAT_LINGER_S)
		err = get_linger(fd, &got);
	else if (err == 0)
		err = sys_getsockopt(fd, w.level, w.name, &got, &len);
	if (err == -EOPNOTSUPP)
		err = -ENOPROTOOPT;
	if (err < 0)
		return cleat__fail(err, "get option", NULL, NULL);
	*value = got;
	return 0;
}

int cleat_set_raw(int fd, int level, int name, const void *value, socklen_t len)
{
	int err = sys_setsockopt(fd, level, name, value, len);

	return err < 0 ? cleat__fail(err, "set option", NULL, NULL) : 0;
}

int cleat_get_raw(int fd, int level, int name, void *value, socklen_t *len)
{
	int err = sys_getsockopt(fd, level, name, value, len);

	return err < 0 ? cleat__fail(err, "get option", NULL, NULL) : 0;
}

const struct cleat_options *
cleat__options_or_default(const struct cleat_options *opt)
{
	static const struct cleat_options none;

	return opt ? opt : &none;
}

static int apply_switch(int fd, enum cleat_option option, enum cleat_switch s)
{
	return s == CLEAT_DEFAULT ? 0 : cleat_set(fd, option, s == CLEAT_ON);
}

/* 0 is the default of every number here, and of no use as a value. */
static int apply_number(int fd, enum cleat_option option, int value)
{
	return value == 0 ? 0 : cleat_set(fd, option, value);
}

static int apply_socket(int fd, const struct cleat_options *opt)
{
	int err = apply_switch(fd, CLEAT_REUSEADDR, opt->reuseaddr);

	if (err == 0)
		err = apply_number(fd, CLEAT_SNDBUF, opt->sndbuf);
	if (err == 0)
		err = apply_number(fd, CLEAT_RCVBUF, opt->rcvbuf);
	if (err == 0 && opt->linger != CLEAT_DEFAULT)
		err = cleat_set(fd, CLEAT_LINGER_S,
				opt->linger == CLEAT_ON ? opt->linger_s : -1);
	return err;
}

static int apply_ip(int fd, const struct cleat_options *opt)
{
	int err = apply_switch(fd, CLEAT_REUSEPORT, opt->reuseport);

	if (err == 0)
		err = apply_number(fd, CLEAT_TTL, opt->ttl);
	if (err == 0)
		err = apply_switch(fd, CLEAT_FREEBIND, opt->freebind);
	if (err == 0 && opt->device) {
		err = sys_setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE,
				     opt->device,
				     (socklen_t)strlen(opt->device));
		if (err < 0)
			cleat__note(err, "bind to device", opt->device, NULL);
	}
	return err;
}

static int apply_tcp(int fd, const struct cleat_options *opt)
{
	bool timed = opt->keepalive_idle_s || opt->keepalive_interval_s ||
		     opt->keepalive_count;
	int err = 0;

	if (opt->nodelay != CLEAT_OFF)
		err = cleat_set(fd, CLEAT_NODELAY, 1);
	if (err == 0 && timed && opt->keepalive == CLEAT_DEFAULT)
		err = cleat_set(fd, CLEAT_KEEPALIVE, 1);
	if (err == 0)
		err = apply_switch(fd, CLEAT_KEEPALIVE, opt->keepalive);
	if (err == 0)
		err = apply_number(fd, CLEAT_KEEPALIVE_IDLE_S,
				   opt->keepalive_idle_s);
	if (err == 0)
		err = apply_number(fd, CLEAT_KEEPALIVE_INTERVAL_S,
				   opt->keepalive_interval_s);
	if (err == 0)
		err = apply_number(fd, CLEAT_KEEPALIVE_COUNT,
				   opt->keepalive_count);
	if (err == 0)
		err = apply_number(fd, CLEAT_USER_TIMEOUT_MS,
				   opt->user_timeout_ms);
	return err;
}

int cleat__apply(int fd, int family, int type, const struct cleat_options *opt)
{
	bool ip = family == AF_INET || family == AF_INET6;
	int err = apply_socket(fd, opt);

	if (err == 0 && ip)
		err = apply_ip(fd, opt);
	if (err == 0 && ip && type == SOCK_STREAM)
		err = apply_tcp(fd, opt);
	if (err == 0 && ip && type != SOCK_STREAM)
		err = apply_switch(fd, CLEAT_BROADCAST, opt->broadcast);
	return err;
}
