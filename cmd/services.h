/* SPDX-License-Identifier: MIT */
/* The services of cleat serve, each for streams and for datagrams. */
#ifndef CMD_SERVICES_H
#define CMD_SERVICES_H

#include <stdbool.h>
#include <stddef.h>

#include <cleat/serve.h>

#include "log.h"

struct answer {
	const struct log *log; /* for warnings */
	const char *prefix; /* before each answer; "" for none */
	bool lines; /* answer each line, not each chunk */
	bool once; /* one answer for a connection */
	bool upper; /* set by service_pick() */
	_Atomic bool has_warned; /* of a datagram that cannot be answered */
};

/* service_pick - the service called NAME, to answer as A says.
 *
 * A must outlive S.  Returns NULL, or why it cannot be.
 */
const char *service_pick(struct cleat_service *s, const char *name,
			 struct answer *a);

/* service_chargen - LEN characters of RFC 864's pattern: lines of 72, each
 * starting one character later than the one before. */
void service_chargen(char *to, size_t len);

#endif
