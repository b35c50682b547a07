/* SPDX-License-Identifier: MIT */
#ifndef CLEAT_SCAN_TOP_H
#define CLEAT_SCAN_TOP_H

#include <cleat/scan.h>

/* cleat__ports_add_top - cleat_ports_add_top() by the frequencies in FILE, if
 * there is such a file.
 */
int cleat__ports_add_top(struct cleat_ports *p, unsigned n,
			 enum cleat_proto proto, const char *file,
			 const char **basis);

#endif
