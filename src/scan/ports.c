/* SPDX-License-Identifier: MIT */
#include <cleat/scan.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

#define DIGITS "0123456789"

struct range {
	unsigned first, last;
};

/* A failure of ITEM, of which LEN bytes are meant. */
static int refuse(int err, const char *item, size_t len, const char *why)
{
	char object[128] = "";

	memcpy(object, item, len < sizeof(object) ? len : sizeof(object) - 1);
	return cleat__fail(err, "ports", object, why);
}

static int refuse_backwards(const struct range *r)
{
	char object[128];

	(void)snprintf(object, sizeof(object),
		       "%u-%u: range runs backwards; write %u-%u", r->first,
		       r->last, r->last, r->first);
	return cleat__fail(-ERANGE, "ports", object, "");
}

/* Read the digits at *S, of which there may be none: then PORT stays. */
static const char *scan_port(unsigned *port, const char **s)
{
	const size_t n = strspn(*s, DIGITS);
	const unsigned long number = strtoul(*s, NULL, 10); /* saturates */

	if (n == 0)
		return NULL;
	*s += n;
	if (number == 0)
		return "the first port is 1";
	if (number > 65535)
		return "the last port is 65535";
	*port = (unsigned)number;
	return NULL;
}

static int scan_range(struct range *r, const char *item, size_t len)
{
	const char *s = item, *why;

	*r = (struct range){ 1, 65535 };
	why = scan_port(&r->first, &s);
	if (!why && s == item + len)
		r->last = r->first;
	else if (!why && *s++ == '-')
		why = scan_port(&r->last, &s);
	if (why)
		return refuse(-ERANGE, item, len, why);
	if (s != item + len)
		return refuse(-EINVAL, item, len,
			      "a range has two ends, as in 8000-8100");
	return r->first > r->last ? refuse_backwards(r) : 0;
}

/* The port of a service; how long a line of services(5) is, nobody says. */
static int scan_service(struct range *r, const char *item, size_t len,
			enum cleat_proto proto)
{
	const char *why = proto == CLEAT_UDP ? "no such UDP service"
					     : "no such TCP service";
	char name[CLEAT_SERVICE_MAX] = "", buf[4096];
	struct servent entry, *found = NULL;

	if (len >= sizeof(name))
		return refuse(CLEAT_ENONAME, item, len, why);
	memcpy(name, item, len);
	if (getservbyname_r(name, proto == CLEAT_UDP ? "udp" : "tcp", &entry,
			    buf, sizeof(buf), &found) != 0 ||
	    !found)
		return refuse(CLEAT_ENONAME, item, len, why);
	r->first = r->last = ntohs((uint16_t)entry.s_port);
	return 0;
}

static int scan_item(struct range *r, const char *item, size_t len,
		     enum cleat_proto proto)
{
	if (len == 0)
		return cleat__fail(-EINVAL, "ports", NULL,
				   "an empty place in the list; write 22,80");
	if (memchr(item, ' ', len))
		return refuse(-EINVAL, item, len, "a list has no blanks");
	if (strspn(item, DIGITS "-") < len)
		return scan_service(r, item, len, proto);
	return scan_range(r, item, len);
}

int cleat_ports_add(struct cleat_ports *p, const char *list,
		    enum cleat_proto proto)
{
	struct cleat_ports new = *p;

	for (;; list++) {
		const size_t len = strcspn(list, ",");
		struct range r;
		const int err = scan_item(&r, list, len, proto);

		if (err < 0)
			return err;
		for (; r.first <= r.last; r.first++)
			new.bits[r.first / 64] |= UINT64_C(1) << r.first % 64;
		list += len;
		if (!*list)
			break;
	}
	*p = new;
	return 0;
}

bool cleat_ports_has(const struct cleat_ports *p, unsigned port)
{
	return port < 65536 && (p->bits[port / 64] >> port % 64 & 1);
}

unsigned cleat_ports_count(const struct cleat_ports *p)
{
	unsigned n = 0;

	for (unsigned i = 0; i < 65536 / 64; i++)
		n += (unsigned)__builtin_popcountll(p->bits[i]);
	return n;
}
