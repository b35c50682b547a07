/* SPDX-License-Identifier: MIT */
#ifndef CLEAT_NET_OPTIONS_H
#define CLEAT_NET_OPTIONS_H

#include <cleat/options.h>

/* cleat__options_or_default - OPT, or all zero for NULL. */
const struct cleat_options *
cleat__options_or_default(const struct cleat_options *opt);

/* cleat__apply - set on a new socket of FAMILY and TYPE what OPT asks for and
 * such a socket knows.  Returns 0 or the first failure.
 */
int cleat__apply(int fd, int family, int type, const struct cleat_options *opt);

#endif
