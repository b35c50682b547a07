/* SPDX-License-Identifier: MIT */
/* What a command asks of its own process. */
#ifndef CMD_PROCESS_H
#define CMD_PROCESS_H

#include <stddef.h>

/* signals_open - the N signals NUMBERS as a descriptor, instead of what they
 * do. Threads that start later inherit that, so that none is interrupted.
 * Returns it, or -1 and errno. */
int signals_open(const int *numbers, size_t n);

/* raise_fd_limit - as many descriptors as may be had. */
void raise_fd_limit(void);

#endif
