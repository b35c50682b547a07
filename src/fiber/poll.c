/* SPDX-License-Identifier: MIT */
#include <errno.h>

#include <cleat/fiber.h>

#include "base/error.h"
#include "fiber/sched.h"
#include "fiber/wait.h"

static int poll_watch(struct cleat__watch *w, unsigned dirs, cleat_time until)
{
	int err;

	w->ready = 0;
	err = cleat__wait(w, dirs, until);
	if (w->home)
		w->home->backend->forget(w->home, w);
	if (err == -EPERM) /* epoll_ctl(2): a file, which never blocks */
		return (int)dirs;
	if (err == -EEXIST)
		return -EBUSY;
	return err < 0 ? err : (int)(w->ready & dirs);
}

int cleat_poll(int fd, unsigned events, cleat_time until)
{
	struct cleat__watch w;
	int err = cleat__enter();

	_Static_assert((int)CLEAT_IN == (int)CLEAT__IN &&
			       (int)CLEAT_OUT == (int)CLEAT__OUT,
		       "public and internal directions are the same bits");
	if (err == 0 && (events == 0 || events & ~(CLEAT_IN | CLEAT_OUT)))
		err = -EINVAL;
	if (err == 0 && fd < 0)
		err = -EBADF; /* poll(2) skips these */
	if (err == 0) {
		cleat__watch_init(&w, fd);
		err = poll_watch(&w, events, until);
	}
	return err < 0 ? cleat__fail(err, "poll", NULL, NULL) : err;
}
