/* SPDX-License-Identifier: MIT */
/* echo_threads: a thread for each connection, which reads and writes and waits
 * in both.  The stacks are small, and what is not touched of one takes no
 * memory. */
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "listen.h"

enum {
	STACK = 32768,
	BUFFER = 16384 /* on it */
};

static void die(const char *what)
{
	perror(what);
	exit(1);
}

/* A blocking send is complete, or it failed. */
static void *echo(void *arg)
{
	const int fd = (int)(intptr_t)arg;
	char buf[BUFFER];
	ssize_t n;

	while ((n = recv(fd, buf, sizeof(buf), 0)) > 0 &&
	       send(fd, buf, (size_t)n, MSG_NOSIGNAL) == n)
		;
	close(fd);
	return NULL;
}

int main(void)
{
	const int listener = listen_anywhere(0);
	pthread_attr_t attr;
	pthread_t thread;
	int fd, err;

	if (pthread_attr_init(&attr) != 0 ||
	    pthread_attr_setstacksize(&attr, STACK) != 0 ||
	    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED) != 0)
		die("pthread_attr");
	while ((fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0 ||
	       errno == ECONNABORTED) {
		if (fd < 0)
			continue;
		err = pthread_create(&thread, &attr, echo,
				     (void *)(intptr_t)fd);
		if (err != 0) {
			fprintf(stderr, "a thread: %s\n", strerror(err));
			return 1;
		}
	}
	die("accept4");
}
