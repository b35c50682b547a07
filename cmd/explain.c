/* SPDX-License-Identifier: MIT */
#include "explain.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <cleat/error.h>

#include "answer.h"
#include "out.h"

enum {
	WHY_MAX = 1024,
};

bool explain_is_absent(int err)
{
	return err == -EAFNOSUPPORT || err == -EADDRNOTAVAIL;
}

static struct cleat_bind question(const struct cleat_addr *a,
				  const struct cleat_sockaddr *at,
				  unsigned device)
{
	return (struct cleat_bind){
		.proto = a->proto,
		.at = *at,
		.v6only = at->any.sa_family == AF_INET6 &&
			  a->family == AF_INET6, /* as tcp6:// has it */
		.device = device,
	};
}

int explain_try(struct explain v[EXPLAIN_MAX], const struct addr *a,
		unsigned device)
{
	struct cleat_sockaddr at[EXPLAIN_MAX];
	const int found = cleat_resolve(a->text, CLEAT_TO_BIND, at, EXPLAIN_MAX,
					CLEAT_FOREVER);

	for (int i = 0; i < found; i++) {
		int err;

		v[i].bind = question(&a->parsed, &at[i], device);
		err = cleat_trial_new(&v[i].trial, &v[i].bind);
		if (err < 0) {
			explain_free(v, i);
			return err;
		}
		if (a->parsed.host[0] == '*' &&
		    !explain_is_absent(v[i].trial->error))
			return i + 1;
	}
	return found;
}

void explain_free(struct explain *v, int n)
{
	while (n > 0)
		cleat_trial_free(v[--n].trial);
}

/* Whether a bind as the commands make it, with SO_REUSEADDR for TCP, fails
 * with ERR. */
static bool has_failed(const struct explain *e, int err)
{
	return e->trial->error == err &&
	       !(e->bind.proto == CLEAT_TCP && e->trial->reuseaddr);
}

/* What there is to say of E, which failed with ERR: each thing once. */
static void tell(const char *command, const struct explain *e, int err)
{
	const char *why = cleat_strerror(err), *summary = e->trial->summary;
	char at[CLEAT_ADDR_MAX], reason[128];
	const char *said;

	(void)snprintf(reason, sizeof(reason), ": %s", why);
	said = strstr(summary, reason);
	answer_address(at, e->bind.proto, &e->bind.at);
	if (err == -EADDRNOTAVAIL) /* the summary says it in words of its own */
		complain(command, "bind %s: %s", at, summary);
	else if (said)
		complain(command, "bind %s%s", at, said);
	else
		complain(command, "bind %s: %s: %s", at, why, summary);
}

/* Complain of the first of these that fails with ERR, if there is one. */
static bool tell_first(const char *command, const struct explain *v, int n,
		       int err)
{
	for (int i = 0; i < n; i++) {
		if (has_failed(&v[i], err)) {
			tell(command, &v[i], err);
			return true;
		}
	}
	return false;
}

void explain_bind(const char *command, const struct addr *addrs, int n, int err)
{
	struct explain v[EXPLAIN_MAX];
	char why[WHY_MAX];
	bool told = false;

	/* Before another call changes it. */
	(void)snprintf(why, sizeof(why), "%s", cleat_why());
	/* Below stand the failures to look a name up. */
	for (int i = 0; i < n && err > CLEAT_EEOF && !told; i++) {
		const int tried = explain_try(v, &addrs[i], 0);

		told = tell_first(command, v, tried, err);
		explain_free(v, tried);
	}
	if (!told)
		complain(command, "%s", why);
}
