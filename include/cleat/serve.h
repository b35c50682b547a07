/* SPDX-License-Identifier: MIT */
/* Serving: one handler, four ways to run it. */
#ifndef CLEAT_SERVE_H
#define CLEAT_SERVE_H

#include <stdbool.h>

#include <cleat/conn.h>
#include <cleat/dgram.h>
#include <cleat/fiber.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What is served.  A handler that is NULL is a kind of address not served. */
struct cleat_service {
	/* One connection, from accept to its end; cleat_serve() closes it. */
	void (*stream)(struct cleat_conn *c, void *arg);
	/* Instead of STREAM, where clients speak first and what was said before
	 * does not matter: one exchange, whenever C has something to be
	 * received.  Returns whether C stays open for another.  In between it
	 * rests, with neither fiber nor stack: some 300 bytes.  One that ends,
	 * or reaches a limit, at rest is closed without a call: C is the
	 * handler's, and its fibers', until it returns. */
	bool (*exchange)(struct cleat_conn *c, void *arg);
	/* One datagram; answer with cleat_sendto(d, ..., from, ...).  DATA is
	 * the handler's to change until it returns. */
	void (*dgram)(struct cleat_dgram *d, const struct cleat_sockaddr *from,
		      void *data, size_t len, void *arg);
	void *arg;
};

enum cleat_serve_mode {
	CLEAT_SERVE_FIBERS, /* a fiber each, on every core */
	CLEAT_SERVE_ONE, /* one client at a time; others wait in the backlog */
	CLEAT_SERVE_THREADS, /* a thread each; who finds none left waits */
	CLEAT_SERVE_PROCESSES, /* a forked process each */
};

enum cleat_serve_what {
	CLEAT_SERVE_LISTENING, /* LOCAL is open, and every worker accepts */
	CLEAT_SERVE_ACCEPTED, /* PEER came */
	CLEAT_SERVE_ENDED, /* PEER's handler returned, or was never called; or
			    * its process was killed after the drain, or
			    * crashed */
	CLEAT_SERVE_REJECTED, /* PEER is over its cap: closed at once */
	CLEAT_SERVE_PAUSED, /* accepting waits, or calling a handler does:
			     * ERROR, as -EMFILE, says why */
	CLEAT_SERVE_RESUMED, /* all who waited are in */
	CLEAT_SERVE_DRAINING, /* told to stop; ACTIVE connections may finish */
	CLEAT_SERVE_CUT, /* the drain time is over, or stopped again; ACTIVE
			  * are being closed; told once */
};

struct cleat_serve_event {
	enum cleat_serve_what what;
	int error; /* of PAUSED; of ENDED what the handler last ran into, if
		    * anything but the end of the stream, or would have;
		    * -ECANCELED of a process killed, -ECONNABORTED of one
		    * crashed, -EAGAIN of one that had got no thread at the
		    * stop; else 0 */
	bool is_fault; /* of ENDED: ERROR is there, and not what peers and
			* limits do every day: -ECONNRESET, -EPIPE, -ETIMEDOUT,
			* -ECANCELED */
	enum cleat_proto proto;
	const struct cleat_sockaddr *local; /* of LISTENING, else NULL */
	const struct cleat_sockaddr *peer; /* of the three with a PEER */
	struct cleat_counts bytes; /* of ENDED; 0 where no process could tell */
	int64_t duration_ns; /* of ENDED */
	unsigned active; /* connections open, on all workers */
};

/* All zero but ADDRS or FDS is the default. */
struct cleat_serve_options {
	const char *const *addrs; /* where, NULL-terminated */
	const int *fds; /* sockets that listen already, or bound datagram */
	unsigned n_fds; /* ones; cleat_serve() closes those it can adopt */
	const struct cleat_options *socket; /* for those of ADDRS; or NULL */
	enum cleat_serve_mode mode;
	unsigned workers; /* threads of FIBERS; 0: one a core we may use */
	enum cleat_backend backend; /* see cleat_run() */
	unsigned max_conns; /* at once, on all workers together; further ones
			     * wait in the backlog; 0: what RLIMIT_NOFILE
			     * leaves */
	unsigned max_per_source; /* at once from one IP address; 0: no cap */
	unsigned long count; /* stop after so many connections or datagrams,
			      * with no drain time for those open until told
			      * to stop; 0: never; takes one worker */
	int64_t idle_ns, lifetime_ns; /* see cleat_conn_limit(); 0: no limit */
	int64_t drain_ns; /* what open connections get after a stop */
	int stop_fd; /* readable: stop; again: at once.  Is read from, as
		      * a pipe, eventfd or signalfd.  0: none */
	/* Told of each event; may run on any worker's thread, several at once.
	 * ENDED comes from the handler's thread, or its process. */
	void (*event)(const struct cleat_serve_event *e, void *arg);
	void *event_arg;
	unsigned mute; /* events not to tell, as bits 1u << what, but for an
			* ENDED that is a fault */
};

/* cleat_serve - serve until told to stop.  Blocks; not to be called on a fiber.
 *
 * Every address is opened, and every worker up, before any is announced or
 * accepts.  Addresses are opened exclusively: a second server on the same port
 * is refused though workers share it (SO_REUSEPORT).
 * Handlers still running when the drain time is over are cancelled (fibers),
 * find their connection shut down (threads) or are killed (processes).
 *
 * Returns 0 after an orderly stop, or the first failure: as cleat_listen(),
 * -EPROTOTYPE (no handler for that kind of address), -EBUSY (on a fiber), ...
 */
int cleat_serve(const struct cleat_service *service,
		const struct cleat_serve_options *opt);

#ifdef __cplusplus
}
#endif
#endif
