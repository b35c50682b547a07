/* SPDX-License-Identifier: MIT */
/* The commands, as main.c calls them.  Each returns an exit status. */
#ifndef CMD_H
#define CMD_H

#include "opt.h"

enum {
	STATUS_DONE = 0,
	STATUS_FAILED = 1,
	STATUS_MISUSED = 2,
};

/* argv[0] is the name of the command. */
int cmd_bench(int argc, char **argv);
int cmd_check(int argc, char **argv);
int cmd_connect(int argc, char **argv);
int cmd_listen(int argc, char **argv);
int cmd_ports(int argc, char **argv);
int cmd_scan(int argc, char **argv);
int cmd_serve(int argc, char **argv);
int cmd_who(int argc, char **argv);
int cmd_why(int argc, char **argv);

extern const struct usage bench_usage;
extern const struct usage check_usage;
extern const struct usage connect_usage;
extern const struct usage listen_usage;
extern const struct usage ports_usage;
extern const struct usage scan_usage;
extern const struct usage serve_usage;
extern const struct usage who_usage;
extern const struct usage why_usage;

#endif
