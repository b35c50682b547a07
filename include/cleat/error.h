/* SPDX-License-Identifier: MIT */
/* Errors: one space of negative numbers, and one line for people. */
#ifndef CLEAT_ERROR_H
#define CLEAT_ERROR_H

#ifdef __cplusplus
extern "C" {
#endif

/* Failures are negative: -errno, or one of these.  Linux errno stops at 4095.
 * errno itself is never set by the library and never to be read after a call.
 */
enum cleat_err {
	CLEAT_EEOF = -5000, /* stream ended where more was asked for */
	CLEAT_ECUT = -5001, /* stream ended inside a block, line or message */
	CLEAT_ENONAME = -5010, /* resolver: no such host or service */
	CLEAT_EDNSAGAIN = -5011, /* resolver: no answer now, try later */
	CLEAT_EDNS = -5012, /* resolver: any other failure */
};

/* cleat_strerror - ERR in a few lower-case words: "connection refused".
 *
 * Accepts both signs.  The text is static.  Any thread; does not block.
 */
const char *cleat_strerror(int err);

/* cleat_why - the last failure of this fiber (or plain thread), in one line:
 * "connect to [::1]:8080: connection refused (and 1 more)".
 *
 * Meaningful right after a call returned a negative code; "" if none has.
 * The text belongs to the thread and is valid until the next cleat_why() on it.
 * Any thread; does not block.
 */
const char *cleat_why(void);

#ifdef __cplusplus
}
#endif
#endif
