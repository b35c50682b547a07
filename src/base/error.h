/* SPDX-License-Identifier: MIT */
/* What the last failure was: raw facts, made into text only when asked for. */
#ifndef CLEAT_BASE_ERROR_H
#define CLEAT_BASE_ERROR_H

#include <stddef.h>

#include <cleat/addr.h>
#include <cleat/error.h>

/* One per fiber and one per plain thread. */
struct cleat__failure {
	int err;
	unsigned more; /* further causes, beyond this first one */
	const char *step; /* "connect to"; static */
	const char *reason; /* what ERR alone does not say; static, or NULL */
	char object[128]; /* a socket address or text, told by is_text */
	unsigned char object_len;
	unsigned char is_text;
};

/* cleat__note - note that STEP on the object TEXT (may be NULL) failed with
 * ERR, for REASON or, if NULL, for what cleat_strerror(ERR) says; "" if TEXT
 * says that itself.  STEP and REASON must be static.  Too long a TEXT is cut.
 */
void cleat__note(int err, const char *step, const char *text,
		 const char *reason);

/* cleat__note_at - the same where the object is a socket address. */
void cleat__note_at(int err, const char *step, const struct cleat_sockaddr *sa);

/* cleat__fail, cleat__fail_at - the same, and return ERR. */
static inline int cleat__fail(int err, const char *step, const char *text,
			      const char *reason)
{
	cleat__note(err, step, text, reason);
	return err;
}

static inline int cleat__fail_at(int err, const char *step,
				 const struct cleat_sockaddr *sa)
{
	cleat__note_at(err, step, sa);
	return err;
}

/* cleat__fail_because - the static REASON of the failure just noted. */
void cleat__fail_because(const char *reason);

/* cleat__fail_more - N further causes stand behind the failure just noted. */
void cleat__fail_more(unsigned n);

/* cleat__failure_last - the code of the last failure noted, or 0;
 * cleat__failure_forget - there is none yet.
 */
int cleat__failure_last(void);
void cleat__failure_forget(void);

/* Where failures are noted: a fiber's own, or the thread's if NULL. */
extern _Thread_local struct cleat__failure *cleat__failure_at
	__attribute__((visibility("hidden")));

#endif
