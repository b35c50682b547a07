/* SPDX-License-Identifier: MIT */
#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local struct cleat__failure own;
_Thread_local struct cleat__failure *cleat__failure_at;

static const struct {
	int err;
	const char *text;
} texts[] = {
	{ 0, "success" },
	{ -EACCES, "permission denied" },
	{ -EADDRINUSE, "address already in use" },
	{ -EADDRNOTAVAIL, "not an address of this machine" },
	{ -EAFNOSUPPORT, "address family not supported" },
	{ -EAGAIN, "resource temporarily unavailable" },
	{ -EALREADY, "already in progress" },
	{ -EBADF, "bad file descriptor" },
	{ -EBUSY, "in use by another fiber or thread" },
	{ -ECANCELED, "canceled" },
	{ -ECHILD, "no child process" },
	{ -ECONNABORTED, "connection aborted" },
	{ -ECONNREFUSED, "connection refused" },
	{ -ECONNRESET, "connection reset by peer" },
	{ -EDESTADDRREQ, "destination address required" },
	{ -EEXIST, "file exists" },
	{ -EHOSTDOWN, "host is down" },
	{ -EHOSTUNREACH, "no route to host" },
	{ -EINPROGRESS, "in progress" },
	{ -EINTR, "interrupted" },
	{ -EINVAL, "invalid argument" },
	{ -EIO, "input or output error" },
	{ -EISCONN, "already connected" },
	{ -EISDIR, "is a directory" },
	{ -ELOOP, "too many symbolic links" },
	{ -EMFILE, "too many open files; raise ulimit -n" },
	{ -EMSGSIZE, "message too long" },
	{ -ENAMETOOLONG, "name too long" },
	{ -ENETDOWN, "network is down" },
	{ -ENETRESET, "peer stopped answering" },
	{ -ENETUNREACH, "network is unreachable" },
	{ -ENFILE, "too many open files in the system" },
	{ -ENOBUFS, "no buffer space available" },
	{ -ENODEV, "no such device" },
	{ -ENOENT, "no such file or directory" },
	{ -ENOMEM, "out of memory" },
	{ -ENOPROTOOPT, "no such option for this socket" },
	{ -ENOSPC, "no space left" },
	{ -ENOSYS, "not known to this kernel" },
	{ -ENOTCONN, "not connected" },
	{ -ENOTDIR, "not a directory" },
	{ -ENOTSOCK, "not a socket" },
	{ -ENOTSUP, "not supported" },
	{ -EPERM, "operation not permitted" },
	{ -EPIPE, "broken pipe" },
	{ -EPROTO, "protocol error" },
	{ -EPROTONOSUPPORT, "protocol not supported" },
	{ -EPROTOTYPE, "wrong type of socket" },
	{ -ERANGE, "out of range" },
	{ -EROFS, "read-only file system" },
	{ -ETIMEDOUT, "timed out" },
	{ CLEAT_EEOF, "end of stream" },
	{ CLEAT_ECUT, "stream ended in the middle" },
	{ CLEAT_ENONAME, "no such host or service" },
	{ CLEAT_EDNSAGAIN, "name server gave no answer; try later" },
	{ CLEAT_EDNS, "name lookup failed" },
};

const char *cleat_strerror(int err)
{
	const char *text;

	if (err > 0)
		err = -err;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		if (texts[i].err == err)
			return texts[i].text;
	}
	/* Known numbers come from a static table in glibc and in musl; for the
	 * rest these say "Unknown error N" and "No error information". */
	text = err > -4096 ? strerror(-err) : "Unknown";
	if (strncmp(text, "Unknown", 7) == 0 || strncmp(text, "No err", 6) == 0)
		return "unknown error";
	return text;
}

static struct cleat__failure *place(void)
{
	return cleat__failure_at ? cleat__failure_at : &own;
}

void cleat__note(int err, const char *step, const char *text,
		 const char *reason)
{
	struct cleat__failure *f = place();
	size_t len = text ? strlen(text) : 0;

	if (len > sizeof(f->object))
		len = sizeof(f->object);
	f->err = err;
	f->more = 0;
	f->step = step;
	f->reason = reason;
	f->is_text = 1;
	f->object_len = (unsigned char)len;
	if (len > 0)
		memcpy(f->object, text, len);
}

void cleat__note_at(int err, const char *step, const struct cleat_sockaddr *sa)
{
	struct cleat__failure *f = place();

	f->err = err;
	f->more = 0;
	f->step = step;
	f->reason = NULL;
	f->is_text = 0;
	f->object_len = (unsigned char)sa->len;
	memcpy(f->object, &sa->any, sa->len);
}

int cleat__failure_last(void)
{
	return place()->err;
}

void cleat__failure_forget(void)
{
	place()->err = 0;
}

void cleat__fail_because(const char *reason)
{
	place()->reason = reason;
}

void cleat__fail_more(unsigned n)
{
	place()->more = n;
}

/* Text is shown as given, but for bytes that would act on a terminal. */
static void object_format(const struct cleat__failure *f, char *text,
			  size_t len)
{
	struct cleat_sockaddr sa = { .len = f->object_len };
	size_t n = 0;

	if (!f->is_text) {
		memcpy(&sa.any, f->object, f->object_len);
		if (cleat_sockaddr_format(&sa, text, len) < 0)
			text[0] = '\0';
		else if (strcmp(text, "unix:") == 0) /* unnamed */
			text[4] = '\0';
		return;
	}
	for (size_t i = 0; i < f->object_len && n + 1 < len; i++) {
		unsigned char c = (unsigned char)f->object[i];

		text[n++] = (char)(c < ' ' || c == 127 ? '?' : c);
	}
	text[n] = '\0';
}

const char *cleat_why(void)
{
	static _Thread_local char line[640];
	const struct cleat__failure *f = place();
	const char *reason = f->reason;
	char object[CLEAT_ADDR_MAX], more[32] = "";

	if (f->err == 0)
		return "";
	object_format(f, object, sizeof(object));
	if (f->more > 0)
		(void)snprintf(more, sizeof(more), " (and %u more)", f->more);
	if (!reason)
		reason = cleat_strerror(f->err);
	(void)snprintf(line, sizeof(line), "%s%s%s%s%s%s", f->step,
		       object[0] ? " " : "", object, reason[0] ? ": " : "",
		       reason, more);
	return line;
}
