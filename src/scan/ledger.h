/* SPDX-License-Identifier: MIT */
/* Who tries which places, and what is done: places are taken in blocks, each by
 * one thread, and settled in any order by any.
 */
#ifndef CLEAT_SCAN_LEDGER_H
#define CLEAT_SCAN_LEDGER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <cleat/scan.h>

enum {
	CLEAT__BLOCK = 64, /* places */
	/* Blocks between the first that is not done and the last taken: some
	 * four million places. */
	CLEAT__BLOCKS_MAX = 65536,
};

struct cleat__block {
	_Atomic uint64_t settled; /* a bit a place */
	_Atomic uint32_t counts; /* a byte for each state, low ones first */
};

struct cleat__ledger {
	struct cleat__block *ring; /* CLEAT__BLOCKS_MAX */
	uint64_t total; /* places */
	uint64_t start; /* and what lies before it is not ours to count */
	pthread_mutex_t lock; /* of the rest */
	uint64_t next; /* the first block not taken, as a number from 0 */
	uint64_t low; /* the first block not done */
	struct cleat_scan_count counts; /* of the blocks before LOW */
};

int cleat__ledger_init(struct cleat__ledger *l, uint64_t total, uint64_t start);
void cleat__ledger_done(struct cleat__ledger *l);

/* cleat__ledger_take - the next places to try: *FIRST, and how many, at most
 * CLEAT__BLOCK.  Returns 0 if there are none: *FIRST is TOTAL if all are taken,
 * and else so many are under way that some must be settled first.
 */
unsigned cleat__ledger_take(struct cleat__ledger *l, uint64_t *first);

/* cleat__ledger_count - PLACE, which was taken, is STATE; said once.
 * cleat__ledger_settle - and there is no more to say of it.
 */
void cleat__ledger_count(struct cleat__ledger *l, uint64_t place,
			 enum cleat_port_state state);
void cleat__ledger_settle(struct cleat__ledger *l, uint64_t place);

/* cleat__ledger_read - the mark, what lies before it, and what is done. */
void cleat__ledger_read(struct cleat__ledger *l, struct cleat_scan_progress *p);

#endif
