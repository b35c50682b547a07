# SPDX-License-Identifier: MIT
"""Connections that come and go, those that stay and say nothing, and how two
workers share them."""

import contextlib
import os

from measure import SLICES, Broke, middle, ratio, show, table
from servers import CLEAT, RAW, Load, Server, pin_first, pin_patiently

IDLE_CONNS = 18000  # with the server's own, within an RLIMIT_NOFILE of 20000
CONN_COUNT = 5000
CONN_ENDINGS = ["fin", "reset"]
PREPARE = {"fin": pin_first, "reset": pin_patiently}  # the latter never waits
CONN_SERVERS = [*CLEAT, *RAW, "libuv", "libev", "go", "threads"]
IDLE_SERVERS = ["cleat", "raw_epoll", "libuv", "libev", "go", "asyncio",
                "threads"]
IDLE_MOST = {"spoken": 4.2, "silent": 0.6}  # KiB


# Connect and close


def conn_once(bench, server, ending):
    with Load(bench.load, server, "conn", server.pid, CONN_COUNT, ending,
              prepare=PREPARE[ending]) as load:
        return load.ask()


@contextlib.contextmanager
def conn_ready(bench, name, ending):
    with Server(bench.commands[name], pin_patiently) as server:
        yield lambda: conn_once(bench, server, ending)


def run_conn(bench):
    for ending in CONN_ENDINGS:
        found = bench.interleaved(
            bench.names(CONN_SERVERS),
            lambda name: conn_ready(bench, name, ending), SLICES)
        rows = [[name, show(middle(runs, "us")),
                 show(ratio(found, name, "raw_epoll"))]
                for name, runs in found.items()]
        table(f"Connect and close ({ending}): server CPU",
              ["", "us/connection", "x raw_epoll"], rows)
        conn_figures(bench, ending, found)
        bench.results[ending] = found


def conn_figures(bench, ending, found):
    what = f"connect and close ({ending}):"
    for name, most in [("cleat", 3.2), ("cleat_uring", 2.2)]:
        runs = found.get(name)
        bench.figure(f"{what} us of server CPU, {name}",
                     runs and middle(runs, "us"), most=most)
    bench.figure(f"{what} cleat / libuv", ratio(found, "cleat", "libuv"),
                 most=0.95)


# Idle


def idle_once(bench, name, kind):
    """Memory for each connection of KIND; then all of them speak."""
    count = IDLE_CONNS
    with Server(bench.commands[name]) as server:
        before = server.memory()
        with Load(bench.load, server, "idle", count, kind) as load:
            load.ask()
            after = server.memory()
            load.finish()
    return {key: (after[key] - before[key]) / count for key in before}


def run_idle(bench):
    for kind, most in IDLE_MOST.items():
        def prepare(name):
            return contextlib.nullcontext(
                lambda: idle_once(bench, name, kind))

        found = bench.interleaved(bench.names(IDLE_SERVERS), prepare)
        rows = [[name, show(middle(runs, "rss")), show(middle(runs, "pss"))]
                for name, runs in found.items()]
        table(f"{IDLE_CONNS} idle connections, {kind}: memory",
              ["KiB/connection", "RSS", "PSS"], rows)
        cleat = found.get("cleat")
        bench.figure(f"idle, {kind}: KiB of memory for a connection, cleat",
                     cleat and middle(cleat, "rss"), most=most)
        bench.figure(f"idle, {kind}: connections in one process, each "
                     "answered", IDLE_CONNS if cleat else None,
                     least=IDLE_CONNS)
        bench.results[kind] = found
