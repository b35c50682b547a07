/* SPDX-License-Identifier: MIT */
/* libcleat - sockets for C: straight-line code, deadlines, fibers.
 *
 * The same calls run on a plain thread (they poll) and on a fiber (they park
 * it).  Whatever can fail returns a negative code, -errno or a CLEAT_E* of
 * cleat/error.h, and cleat_why() says in one line what happened.
 */
#ifndef CLEAT_H
#define CLEAT_H

#include <cleat/addr.h>
#include <cleat/chan.h>
#include <cleat/conn.h>
#include <cleat/dgram.h>
#include <cleat/error.h>
#include <cleat/fiber.h>
#include <cleat/frame.h>
#include <cleat/inspect.h>
#include <cleat/options.h>
#include <cleat/scan.h>
#include <cleat/serve.h>
#include <cleat/time.h>

#endif
