/* SPDX-License-Identifier: MIT */
#include "process.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/signalfd.h>

int signals_open(const int *numbers, size_t n)
{
	sigset_t set;

	(void)sigemptyset(&set);
	for (size_t i = 0; i < n; i++)
		(void)sigaddset(&set, numbers[i]);
	(void)sigprocmask(SIG_BLOCK, &set, NULL); /* cannot fail */
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

void raise_fd_limit(void)
{
	struct rlimit most;

	(void)getrlimit(RLIMIT_NOFILE, &most); /* cannot fail */
	most.rlim_cur = most.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &most); /* then it stays as it is */
}
