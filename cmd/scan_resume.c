/* SPDX-License-Identifier: MIT */
/* A scan that is written down: how far it is, and what it has found up to
 * there.  What lies beyond is found again by who goes on. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cleat/error.h>

#include "cmd.h"
#include "scan.h"

enum {
	VERSION = 1,
	NUMBER_MAX = 17, /* 64 bits in hex, and a NUL */
};

/* JSON's integers end at 63 bits. */
static const char *hex(char to[NUMBER_MAX], uint64_t n)
{
	(void)snprintf(to, NUMBER_MAX, "%016" PRIx64, n);
	return to;
}

/* Writing. */

static json_t *json_of_finding(const struct finding *f)
{
	char at[CLEAT_ADDR_MAX], banner[SCAN_BANNER_TEXT];
	struct cleat_sockaddr sa;

	if (f->banner)
		(void)banner_text(banner, f->banner, f->banner_len);
	finding_sockaddr(&sa, f);
	(void)cleat_sockaddr_format(&sa, at, sizeof(at)); /* it fits */
	return json_pack("{s:s,s:I,s:s,s:s,s:I,s:s*,s:s*}", "at", at, "place",
			 (json_int_t)f->place, "state",
			 cleat_port_state_name(f->state), "reason", f->reason,
			 "rtt_ns", (json_int_t)f->rtt_ns, "host", f->host,
			 "banner", f->banner ? banner : NULL);
}

static json_t *json_of_counts(const struct cleat_scan_count *c)
{
	return json_pack("{s:I,s:I,s:I,s:I}", "open", (json_int_t)c->open,
			 "closed", (json_int_t)c->closed, "filtered",
			 (json_int_t)c->filtered, "silent",
			 (json_int_t)c->silent);
}

static json_t *json_of(uint64_t digest, const struct outcome *now,
		       const struct findings *all)
{
	const struct cleat_scan_progress *p = &now->sums;
	char plan[NUMBER_MAX], seed[NUMBER_MAX];
	json_t *found = json_array();

	for (size_t i = 0; i < all->n; i++) {
		if (all->v[i]->place < p->mark &&
		    json_array_append_new(found, json_of_finding(all->v[i])) <
			    0) {
			json_decref(found);
			return NULL;
		}
	}
	return json_pack(
		"{s:i,s:s,s:s,s:b,s:I,s:I,s:o,s:I,s:I,s:I,s:I,s:I,"
		"s:O*,s:o}",
		"cleat_scan", VERSION, "plan", hex(plan, digest), "seed",
		hex(seed, p->seed), "finished", now->is_finished, "mark",
		(json_int_t)p->mark, "total", (json_int_t)p->total, "marked",
		json_of_counts(&p->marked), "hosts", (json_int_t)p->hosts,
		"hosts_answered", (json_int_t)p->hosts_answered, "sent",
		(json_int_t)p->sent, "shortages", (json_int_t)p->shortages,
		"elapsed_ns", (json_int_t)p->elapsed_ns, "silenced",
		now->silenced, "found", found);
}

static int write_all(int fd, const char *text, size_t len)
{
	while (len > 0) {
		const ssize_t n = write(fd, text, len);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			text += n;
			len -= (size_t)n;
		}
	}
	return 0;
}

/* So that the name, too, is there after a crash of the machine. */
static void sync_folder(const char *path)
{
	char *copy = strdup(path);
	const int fd =
		copy ? open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC)
		     : -1;

	if (fd >= 0) {
		(void)fsync(fd); /* not every file system can */
		(void)close(fd);
	}
	free(copy);
}

/* Fill a new file, called NAME. */
static int create(const char *name, const char *text)
{
	int fd, err;

	(void)unlink(name); /* of a run that was killed, if any */
	fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (fd < 0)
		return -errno;
	err = write_all(fd, text, strlen(text));
	if (err == 0 && fsync(fd) < 0)
		err = -errno;
	if (close(fd) < 0 && err == 0)
		err = -errno;
	return err;
}

int resume_write(const char *path, const char *text)
{
	char *next;
	int err;

	if (asprintf(&next, "%s.new", path) < 0)
		return -ENOMEM;
	err = create(next, text);
	if (err == 0 && rename(next, path) < 0)
		err = -errno;
	if (err < 0)
		(void)unlink(next); /* nothing shall be left of it */
	else
		sync_folder(path);
	free(next);
	return err;
}

char *resume_text(uint64_t digest, const struct outcome *now,
		  const struct findings *all)
{
	json_t *o = json_of(digest, now, all);
	char *text = json_dumps(o, JSON_COMPACT);

	json_decref(o);
	return text;
}

/* Reading. */

static bool state_of(enum cleat_port_state *to, const char *name)
{
	for (int i = CLEAT_PORT_OPEN; i <= CLEAT_PORT_SILENT; i++) {
		*to = (enum cleat_port_state)i;
		if (strcmp(cleat_port_state_name(*to), name) == 0)
			return true;
	}
	return false;
}

/* Returns 0, -EINVAL or -ENOMEM. */
static int read_finding(struct findings *all, json_t *o, uint64_t mark)
{
	struct cleat_scan_result r = { .banner = NULL };
	const char *at, *state, *text = NULL;
	char banner[SCAN_BANNER_MAX];
	json_int_t place, rtt;
	ssize_t n;

	if (json_unpack(o, "{s:s,s:I,s:s,s:s,s:I,s?:s,s?:s}", "at", &at,
			"place", &place, "state", &state, "reason", &r.reason,
			"rtt_ns", &rtt, "host", &r.host, "banner", &text) < 0 ||
	    !state_of(&r.state, state) ||
	    cleat_resolve(at, CLEAT_TO_CONNECT, &r.at, 1, 0) != 1)
		return -EINVAL;
	r.place = (uint64_t)place;
	r.rtt_ns = rtt;
	if (text) {
		n = banner_bytes(banner, text);
		if (n < 0)
			return -EINVAL;
		r.banner = banner;
		r.banner_len = (size_t)n;
	}
	return r.place < mark ? findings_add(all, finding_new(&r)) : -EINVAL;
}

static int read_counts(struct cleat_scan_count *c, const json_t *o)
{
	json_int_t open, closed, filtered, silent;

	if (json_unpack((json_t *)(uintptr_t)o, "{s:I,s:I,s:I,s:I}", "open",
			&open, "closed", &closed, "filtered", &filtered,
			"silent", &silent) < 0)
		return -EINVAL;
	*c = (struct cleat_scan_count){ (uint64_t)open, (uint64_t)closed,
					(uint64_t)filtered, (uint64_t)silent };
	return 0;
}

/* Whether LIST, or NULL, is one of hosts. */
static bool are_hosts(const json_t *list)
{
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *o = json_array_get(list, i);

		if (!json_is_string(json_object_get(o, "address")))
			return false;
	}
	return !list || json_is_array(list);
}

/* Returns 0, -EINVAL: it is none; -ESTALE: of another scan; or -ENOMEM. */
static int read_object(json_t *o, uint64_t digest, struct outcome *before,
		       struct findings *all)
{
	struct cleat_scan_progress *p = &before->sums;
	json_int_t mark, total, hosts, answered, sent, shortages;
	json_int_t elapsed;
	const char *plan, *seed;
	json_t *marked, *found, *silenced = NULL;
	char mine[NUMBER_MAX];
	int version, is_finished, err = 0;

	if (json_unpack(o,
			"{s:i,s:s,s:s,s:b,s:I,s:I,s:o,s:I,s:I,s:I,s:I,s:I,"
			"s?:o,s:o}",
			"cleat_scan", &version, "plan", &plan, "seed", &seed,
			"finished", &is_finished, "mark", &mark, "total",
			&total, "marked", &marked, "hosts", &hosts,
			"hosts_answered", &answered, "sent", &sent, "shortages",
			&shortages, "elapsed_ns", &elapsed, "silenced",
			&silenced, "found", &found) < 0 ||
	    version != VERSION || !json_is_array(found) ||
	    !are_hosts(silenced) || read_counts(&p->marked, marked) < 0 ||
	    outcome_done(&p->marked) != (uint64_t)mark || mark > total)
		return -EINVAL;
	if (strcmp(plan, hex(mine, digest)) != 0)
		return -ESTALE;
	p->done = p->marked;
	p->mark = (uint64_t)mark;
	p->total = (uint64_t)total;
	p->hosts = (uint64_t)hosts;
	p->hosts_answered = (uint64_t)answered;
	p->sent = (uint64_t)sent;
	p->shortages = (uint64_t)shortages;
	p->elapsed_ns = elapsed;
	p->seed = strtoull(seed, NULL, 16);
	p->hosts_silenced = json_array_size(silenced);
	before->silenced = json_incref(silenced);
	before->is_finished = is_finished;
	for (size_t i = 0; i < json_array_size(found) && err == 0; i++)
		err = read_finding(all, json_array_get(found, i), p->mark);
	return err;
}

int resume_read(const char *path, uint64_t digest, struct outcome *before,
		struct findings *all)
{
	FILE *f = fopen(path, "re");
	json_error_t error;
	json_t *o;
	int err = f ? 0 : -errno;

	if (err == -ENOENT)
		return OPT_GO_ON;
	if (f) {
		o = json_loadf(f, 0, &error);
		if (ferror(f))
			err = -errno;
		else
			err = o ? read_object(o, digest, before, all) : -EINVAL;
		json_decref(o);
		(void)fclose(f); /* it was only read */
	}
	if (err == 0)
		return OPT_GO_ON;
	complain("scan", "--resume %s: %s", path,
		 err == -EINVAL ? "not a file that cleat scan has written"
		 : err == -ESTALE
			 ? "of another scan, with other hosts, ports or options"
			 : cleat_strerror(err));
	return err == -ENOMEM ? STATUS_FAILED : STATUS_MISUSED;
}
