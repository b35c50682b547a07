/* SPDX-License-Identifier: MIT */
/* What a function is called that the dynamic linker has no name for, as a
 * static one: by the symbol table of its file, unless that was stripped.
 */
#ifndef CLEAT_FIBER_SYMBOL_H
#define CLEAT_FIBER_SYMBOL_H

#include <stddef.h>

/* cleat__symbol - the name of the function at CODE, which is in the file PATH
 * that was loaded at BASE, as dladdr(3) says.  NULL if it is not to be had.
 * Never freed: for who is about to end.  Safe in a signal handler.
 */
const char *cleat__symbol(const void *code, const char *path, const void *base);

#endif
