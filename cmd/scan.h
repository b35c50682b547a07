/* SPDX-License-Identifier: MIT */
/* What the files of cleat scan share: scan.c (options), scan_what.c (targets
 * and ports), scan_run.c, scan_found.c (what was found), scan_print.c (lines,
 * the table, JSON), scan_bar.c (progress) and scan_resume.c. */
#ifndef CMD_SCAN_H
#define CMD_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <jansson.h>

#include <cleat/scan.h>

#include "addr.h"
#include "opt.h"
#include "out.h"

enum {
	SCAN_BANNER_MAX = 256, /* bytes */
	SCAN_BANNER_TEXT = 4 * SCAN_BANNER_MAX + 1, /* these, escaped */
	SCAN_ADDRESSES_MAX = 65536, /* without --yes */
	SCAN_TOP = 1000, /* ports, unless others are asked for */
	SCAN_NAMED_MAX = 4, /* hosts of a list that people are shown */
};

/* Of an option that may be repeated. */
struct texts {
	const char **v;
	unsigned n;
};

struct share {
	unsigned i, n; /* the I-th of N, from 1; both 0: all */
};

/* What is asked for. */
struct scan {
	struct net net;
	struct texts ports, exclude;
	unsigned top, width, rate;
	unsigned attempts; /* 0: --retries is not given */
	struct share share;
	int64_t timeout;
	const char *resume;
	bool syn, banner, closed, filtered, json, yes;
};

/* The states that are listed, as bits. */
unsigned scan_states(const struct scan *o);

/* What to scan; all zero is nothing. */
struct what {
	struct cleat_targets *targets;
	struct cleat_ports ports;
	const char *basis; /* of the top ports; NULL: they were given */
	uint64_t digest; /* of all that makes it another scan */
};

/* what_read - fill W, which is to be freed in any case.  Returns OPT_GO_ON, or
 * the status to exit with, having complained. */
int what_read(struct what *w, const struct scan *o, const struct words *words);
void what_free(struct what *w);

/* What was found of one port.  Its texts but the banner are escaped. */
struct finding {
	union {
		struct sockaddr any;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	} at;
	enum cleat_port_state state;
	int64_t rtt_ns; /* -1: none */
	uint64_t place;
	const char *reason;
	const char *host; /* or NULL */
	const char *banner; /* or NULL: as it came, without a NUL */
	size_t banner_len; /* SCAN_BANNER_MAX at most */
	char texts[]; /* these */
};

struct findings {
	struct finding **v;
	size_t n, room;
};

/* finding_new - a copy of R, to be freed with free(); NULL: no memory. */
struct finding *finding_new(const struct cleat_scan_result *r);

/* findings_add - take F over, or free it.  Returns 0 or -ENOMEM; F may be NULL,
 * which is that. */
int findings_add(struct findings *all, struct finding *f);
void findings_sort(struct findings *all); /* by address, then port */
void findings_free(struct findings *all);

/* finding_sockaddr - its address with the port. */
void finding_sockaddr(struct cleat_sockaddr *sa, const struct finding *f);

/* finding_address - its address as text, without the port. */
void finding_address(char to[CLEAT_ADDR_MAX], const struct finding *f);

unsigned finding_port(const struct finding *f);

/* banner_text - LEN bytes of a banner, SCAN_BANNER_MAX at most, as out_escape()
 * has them; backslashes are escaped too, so that nothing else looks like it.
 * Returns the length.
 */
size_t banner_text(char to[SCAN_BANNER_TEXT], const char *banner, size_t len);

/* banner_bytes - what banner_text() made TEXT of.  Returns how many, or
 * -EINVAL.
 */
ssize_t banner_bytes(char to[SCAN_BANNER_MAX], const char *text);

/* How it went: of this run, and of those that it continues. */
struct outcome {
	struct cleat_scan_progress sums; /* DONE is from the first place on */
	json_t *silenced; /* a list of objects, as JSON has them; or NULL */
	bool is_finished;
};

/* outcome_add - sums of what was done BEFORE and by this run, which is NOW. The
 * rest of WHOLE stays.  HOSTS_ANSWERED is UINT64_MAX where it is not known. */
void outcome_add(struct outcome *whole, const struct outcome *before,
		 const struct cleat_scan_progress *now);

/* outcome_done - how many ports. */
uint64_t outcome_done(const struct cleat_scan_count *c);

/* Printing. */

struct services;

/* services_new - the names of the ports; NULL: no memory. */
struct services *services_new(bool is_udp);
void services_free(struct services *s);

/* print_open - the line of a port that is open. */
void print_open(struct out *out, const struct scan *o, const struct finding *f);

/* print_table - all of them, which are sorted by it.  Returns 0 or -ENOMEM. */
int print_table(const struct scan *o, struct findings *all,
		const struct services *s);
void print_summary(const struct scan *o, const struct what *w,
		   const struct outcome *all);

/* print_json - an object; of an open port it is there at once. */
void print_json(struct out *out, const struct scan *o, const struct finding *f,
		const struct services *s);
void print_json_summary(struct out *out, const struct scan *o,
			const struct what *w, const struct outcome *all);

/* One line on stderr that is drawn again and again, if that is a terminal.  All
 * zero but IS_WANTED, and LAST_DONE, what was done before, is one to begin
 * with. */
struct bar {
	bool is_wanted, is_shown;
	double rate; /* ports a second, lately */
	int64_t last_ns;
	uint64_t last_done;
	char text[256];
};

/* bar_is_possible - whether stderr is a terminal, and this is at its front. */
bool bar_is_possible(void);

/* bar_update - draw how far the WHOLE is, ELAPSED_NS from the start of this
 * run.
 */
void bar_update(struct bar *b, const struct cleat_scan_progress *whole,
		int64_t elapsed_ns);
void bar_wipe(struct bar *b);
void bar_redraw(struct bar *b); /* as it was, after bar_wipe() */

/* A scan that is written down, so that it can be continued. */

/* resume_read - what PATH has of a scan with DIGEST, if there is such a file.
 * Returns OPT_GO_ON, or the status to exit with, having complained. */
int resume_read(const char *path, uint64_t digest, struct outcome *before,
		struct findings *all);

/* resume_text - what to write of it; NULL: no memory.  To be freed. */
char *resume_text(uint64_t digest, const struct outcome *now,
		  const struct findings *all);

/* resume_write - have TEXT replace the file at PATH, whole or not at all.
 * Returns 0 or -errno. */
int resume_write(const char *path, const char *text);

/* scan_run - scan it, and print what is found.  Returns the status to exit
 * with.
 */
int scan_run(const struct scan *o, const struct what *w);

#endif
