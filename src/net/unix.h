/* SPDX-License-Identifier: MIT */
/* What is peculiar to unix sockets: files in the place of ports, and queues
 * that do not tell when they have room.
 */
#ifndef CLEAT_NET_UNIX_H
#define CLEAT_NET_UNIX_H

#include <stdbool.h>
#include <sys/types.h>

#include <cleat/addr.h>

/* A file that a bind has made, for its owner to remove; or "". */
struct cleat__path {
	char name[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
	dev_t dev;
	ino_t ino;
};

/* cleat__path_keep - remember A's path, if it has one, just after the bind. */
void cleat__path_keep(struct cleat__path *p, const struct cleat_addr *a);

/* cleat__path_remove - unless another has put something there meanwhile.  To be
 * called before the socket is closed: until then the inode's number is not
 * given to another file.
 */
void cleat__path_remove(const struct cleat__path *p);

/* cleat__path_is_dead - whether SA is the path of a socket that nobody has open
 * any more.
 */
bool cleat__path_is_dead(const struct cleat_sockaddr *sa);

/* cleat__unix_pause - a queue was full: wait a moment before another try.
 * Returns 0, or -ETIMEDOUT (UNTIL has passed), -ECANCELED.
 */
int cleat__unix_pause(cleat_time until);

#endif
