/* SPDX-License-Identifier: MIT */
/* What cleat scan is to scan: words, and files of words. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cleat/error.h>

#include "cmd.h"
#include "scan.h"

enum {
	WORD_MAX = 511, /* longer than any target */
	NAME_ADDRESSES_MAX = 64, /* of a name */
};

#define LOOKUP_NS (30 * CLEAT_SEC)

/* Words are read for this. */
struct reader {
	struct what *what;
	const struct scan *o;
	const char *file; /* NULL: the command line */
	unsigned line;
	bool is_exclusion;
	bool is_any; /* there was a word */
};

/* TEXT, of what is read now. */
static void complain_there(const struct reader *r, const char *text)
{
	if (r->file)
		complain("scan", "%s:%u: %s", r->file, r->line, text);
	else
		complain("scan", "%s", text);
}

/* FNV-1a: it tells plans apart; nobody gains by making two look alike. */
static uint64_t digest_of(uint64_t digest, const void *data, size_t len)
{
	const unsigned char *byte = data;

	for (size_t i = 0; i < len; i++)
		digest = (digest ^ byte[i]) * UINT64_C(0x100000001b3);
	return digest;
}

static void add_to_digest(struct what *w, const void *data, size_t len)
{
	w->digest = digest_of(w->digest, data, len);
}

static int family_of(const struct net *net)
{
	return net->ipv4 ? AF_INET : net->ipv6 ? AF_INET6 : AF_UNSPEC;
}

/* Whether WORD is neither an address nor a block or range of them. */
static bool is_name(const char *word)
{
	return !strpbrk(word, ":/") && word[strspn(word, "0123456789.-")];
}

/* A name that leads elsewhere by now makes it another scan.  The order in which
 * addresses come is nobody's promise. */
static void add_addresses(struct what *w, const char *name,
			  const struct net *net)
{
	struct cleat_sockaddr at[NAME_ADDRESSES_MAX];
	char text[WORD_MAX + 16];
	uint64_t sum = 0;
	int n;

	(void)snprintf(text, sizeof(text), "tcp%s://%s:1",
		       net->ipv4   ? "4"
		       : net->ipv6 ? "6"
				   : "",
		       name);
	n = cleat_resolve(text, CLEAT_TO_CONNECT, at, NAME_ADDRESSES_MAX,
			  cleat_in(LOOKUP_NS));
	for (int i = 0; i < n; i++)
		sum += digest_of(0, &at[i].any, at[i].len);
	add_to_digest(w, &sum, sizeof(sum));
}

/* Whether so many were added by WORD. */
static bool is_too_many(const struct reader *r, const char *word, uint64_t more)
{
	char text[WORD_MAX + 128];

	if (more <= SCAN_ADDRESSES_MAX || r->o->yes)
		return false;
	(void)snprintf(text, sizeof(text),
		       "%s: %ju addresses; add --yes if you mean them all",
		       word, (uintmax_t)more);
	complain_there(r, text);
	return true;
}

static int take_word(struct reader *r, const char *word)
{
	struct cleat_targets *t = r->what->targets;
	const int family = family_of(&r->o->net);
	const cleat_time until = cleat_in(LOOKUP_NS);
	/* Counting takes long where there are many. */
	const bool may_be_large = !r->is_exclusion && strpbrk(word, "-/");
	const uint64_t before = may_be_large ? cleat_targets_count(t) : 0;
	int err = r->is_exclusion
			  ? cleat_targets_exclude(t, word, family, until)
			  : cleat_targets_add(t, word, family, until);

	r->is_any = true;
	if (err < 0) {
		complain_there(r, cleat_why());
		return err == -EINVAL ? STATUS_MISUSED : STATUS_FAILED;
	}
	if (may_be_large &&
	    is_too_many(r, word, cleat_targets_count(t) - before))
		return STATUS_MISUSED;
	add_to_digest(r->what, word, strlen(word) + 1);
	if (r->o->resume && is_name(word))
		add_addresses(r->what, word, &r->o->net);
	return OPT_GO_ON;
}

/* Read the words of F, which blanks and comments separate. */
static int take_stream(struct reader *r, FILE *f)
{
	char word[WORD_MAX + 1];
	bool is_comment = false;
	size_t len = 0;
	int c, status = OPT_GO_ON;

	(void)fscanf(f, "\xef\xbb\xbf"); /* a byte order mark, if any */
	for (r->line = 1; status == OPT_GO_ON; r->line += c == '\n') {
		c = getc_unlocked(f);
		is_comment = c != '\n' && (is_comment || c == '#');
		if (c == EOF || is_comment || isspace(c)) {
			word[len] = '\0';
			if (len > 0)
				status = take_word(r, word);
			len = 0;
		} else if (c == '\0' || len == WORD_MAX) {
			complain_there(r, "this is no list of hosts");
			status = STATUS_MISUSED;
		} else {
			word[len++] = (char)c;
		}
		if (c == EOF)
			break;
	}
	return status;
}

/* "-" is standard input. */
static int take_file(struct reader *r, const char *name)
{
	const bool is_stdin = strcmp(name, "-") == 0;
	FILE *f = is_stdin ? stdin : fopen(name, "re");
	int err = f ? 0 : errno, status = OPT_GO_ON;

	if (f) {
		r->file = is_stdin ? "standard input" : name;
		status = take_stream(r, f);
		if (ferror(f))
			err = errno;
		r->file = NULL;
		if (!is_stdin)
			(void)fclose(f); /* it was only read */
	}
	if (err) {
		complain("scan", "@%s: %s", name, cleat_strerror(err));
		return STATUS_MISUSED;
	}
	return status;
}

static int take(struct reader *r, const char *word)
{
	if (word[0] != '@')
		return take_word(r, word);
	if (!word[1]) {
		complain("scan", "@: needs the name of a file, or - for "
				 "standard input");
		return STATUS_MISUSED;
	}
	return take_file(r, word + 1);
}

/* The words of LIST, which commas separate. */
static int take_list(struct reader *r, const char *list)
{
	char word[WORD_MAX + 1];
	int status = OPT_GO_ON;
	size_t len;

	for (; status == OPT_GO_ON; list += len + 1) {
		len = strcspn(list, ",");
		if (len == 0 || len > WORD_MAX) {
			complain("scan", "--exclude: a host is %s",
				 len == 0 ? "missing" : "too long");
			return STATUS_MISUSED;
		}
		memcpy(word, list, len);
		word[len] = '\0';
		status = take(r, word);
		if (!list[len])
			break;
	}
	return status;
}

/* What is left out comes first, so that the targets count without it. */
static int read_targets(struct what *w, const struct scan *o,
			const struct words *words)
{
	struct reader r = { .what = w, .o = o, .is_exclusion = true };
	int status = OPT_GO_ON;

	for (unsigned i = 0; i < o->exclude.n && status == OPT_GO_ON; i++)
		status = take_list(&r, o->exclude.v[i]);
	add_to_digest(w, "", 1);
	r.is_exclusion = r.is_any = false;
	for (int i = 0; i < words->n && status == OPT_GO_ON; i++)
		status = take(&r, words->v[i]);
	if (status != OPT_GO_ON)
		return status;
	if (cleat_targets_count(w->targets) == 0) {
		complain("scan", r.is_any ? "no host is left: all are excluded"
					  : "no host; write cleat scan HOST");
		return STATUS_MISUSED;
	}
	if (cleat_targets_count(w->targets) > SCAN_ADDRESSES_MAX && !o->yes) {
		complain("scan",
			 "%ju addresses in all; add --yes if you mean them all",
			 (uintmax_t)cleat_targets_count(w->targets));
		return STATUS_MISUSED;
	}
	return OPT_GO_ON;
}

static int read_ports(struct what *w, const struct scan *o)
{
	const enum cleat_proto proto = o->net.udp ? CLEAT_UDP : CLEAT_TCP;

	for (unsigned i = 0; i < o->ports.n; i++) {
		if (cleat_ports_add(&w->ports, o->ports.v[i], proto) < 0) {
			complain("scan", "%s", cleat_why());
			return STATUS_MISUSED;
		}
	}
	if (o->ports.n == 0 &&
	    cleat_ports_add_top(&w->ports, o->top, proto, &w->basis) < 0) {
		complain("scan", "%s", cleat_why());
		return STATUS_FAILED;
	}
	return OPT_GO_ON;
}

int what_read(struct what *w, const struct scan *o, const struct words *words)
{
	const unsigned how[] = {
		o->net.udp,
		o->syn,
		o->banner,
		scan_states(o),
		o->share.i,
		o->share.n,
		(unsigned)family_of(&o->net),
	};
	int status;

	w->digest = UINT64_C(0xcbf29ce484222325);
	if (cleat_targets_new(&w->targets) < 0) {
		complain("scan", "out of memory");
		return STATUS_FAILED;
	}
	status = read_ports(w, o); /* no lookup takes time here */
	if (status == OPT_GO_ON)
		status = read_targets(w, o, words);
	add_to_digest(w, &w->ports, sizeof(w->ports));
	add_to_digest(w, how, sizeof(how));
	return status;
}

void what_free(struct what *w)
{
	cleat_targets_free(w->targets);
}
