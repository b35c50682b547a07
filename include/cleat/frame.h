/* SPDX-License-Identifier: MIT */
/* Framing: blocks, lines and messages on a stream.
 *
 * On failure nothing is consumed: what had arrived is kept and read again by
 * the next call, so a deadline in the middle loses nothing.  (-ENOMEM, where
 * there is no room to keep it, is the exception: then close the connection.)
 * The end of the stream is CLEAT_EEOF between two units and CLEAT_ECUT inside
 * one.
 */
#ifndef CLEAT_FRAME_H
#define CLEAT_FRAME_H

#include <cleat/conn.h>

#ifdef __cplusplus
extern "C" {
#endif

/* cleat_recv_exactly - LEN bytes, no fewer.  Waits until UNTIL.
 *
 * Returns LEN, or CLEAT_EEOF (no byte came), CLEAT_ECUT (some did), or as
 * cleat_recv().
 */
ssize_t cleat_recv_exactly(struct cleat_conn *c, void *buf, size_t len,
			   cleat_time until);

/* cleat_recv_until - up to and including the first DELIM (of DLEN bytes).
 *
 * Returns how many bytes, the delimiter among them, or -EMSGSIZE (none in the
 * first LEN bytes), -EINVAL (DLEN is 0), CLEAT_EEOF, CLEAT_ECUT (a last line
 * without its delimiter: cleat_recv() gives it).
 */
ssize_t cleat_recv_until(struct cleat_conn *c, void *buf, size_t len,
			 const void *delim, size_t dlen, cleat_time until);

enum cleat_endian {
	CLEAT_BIG_ENDIAN, /* network order, struct.pack('!I') in Python */
	CLEAT_LITTLE_ENDIAN,
};

/* How messages are laid on a stream.  All zero is the default; NULL too. */
struct cleat_frame {
	unsigned prefix; /* bytes of the length: 1, 2, 4 (and 0: 4) or 8 */
	enum cleat_endian endian;
	size_t cap; /* longest message, in bytes; 0 is 16 MiB */
};

/* cleat_send_msg - the length, then LEN bytes.  Waits until UNTIL.
 *
 * Returns 0, or -EMSGSIZE (over the cap, or more than the prefix can say:
 * nothing was sent), -EINVAL (F), or as cleat_send().
 */
int cleat_send_msg(struct cleat_conn *c, const void *data, size_t len,
		   const struct cleat_frame *f, cleat_time until);

/* cleat_recv_msg - one message into the caller's LEN bytes.
 *
 * Returns its length, which may be 0, or -EMSGSIZE (longer than LEN or the cap:
 * refused before any of it is read), -EINVAL (F), CLEAT_EEOF, CLEAT_ECUT.
 */
ssize_t cleat_recv_msg(struct cleat_conn *c, void *buf, size_t len,
		       const struct cleat_frame *f, cleat_time until);

/* cleat_take_msg - one message into memory made for it, with a NUL behind the
 * last byte.  The caller frees *DATA with free().
 *
 * Returns as cleat_recv_msg(), or -ENOMEM.
 */
ssize_t cleat_take_msg(struct cleat_conn *c, void **data,
		       const struct cleat_frame *f, cleat_time until);

#ifdef __cplusplus
}
#endif
#endif
