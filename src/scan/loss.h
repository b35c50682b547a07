/* SPDX-License-Identifier: MIT */
/* How many attempts are lost on the way, and how many to make therefore. */
#ifndef CLEAT_SCAN_LOSS_H
#define CLEAT_SCAN_LOSS_H

#include <stdint.h>

enum {
	CLEAT__ATTEMPTS = 3, /* at least */
	CLEAT__ATTEMPTS_MOST = 10,
};

/* Of ports that answered: their attempts, and how many of these in vain. */
struct cleat__loss {
	uint64_t attempts, lost;
};

/* cleat__loss_add - a port has answered; so many attempts were LOST before. */
void cleat__loss_add(struct cleat__loss *l, unsigned lost);

/* cleat__loss_take_back - one of them was not. */
void cleat__loss_take_back(struct cleat__loss *l);

/* cleat__loss_part - which part of the attempts was lost. */
double cleat__loss_part(const struct cleat__loss *l);

/* cleat__attempts_for - how many a port gets, so that hardly (1 in 1000) one of
 * PORTS, or of those in ALL that answered, is missed.  HOST is what its host
 * has lost, or NULL: what others have lost may be lost to it as well.
 */
unsigned cleat__attempts_for(const struct cleat__loss *host,
			     const struct cleat__loss *all, unsigned ports);

#endif
