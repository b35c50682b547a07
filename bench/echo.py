# SPDX-License-Identifier: MIT
"""The echo table: the server's CPU time for a message, by its size and the
connections."""

import contextlib

from measure import SLICES, middle, ratio, show, table
from servers import CLEAT, RAW, Load, Server, pin_patiently

CONNS = [1, 50, 500, 5000]
SIZES = [64, 1024, 16384]
SERVERS = [*CLEAT, "cleat_fibers", *RAW, "libuv", "libevent", "libev", "go", "asyncio",
           "threads"]
MANY = 5000  # where memory happens to lie matters: more processes


@contextlib.contextmanager
def echo_ready(bench, name, conns, size):
    with Server(bench.commands[name], pin_patiently) as server:
        # A first client comes and goes: malloc and the like settle by it.
        with Load(bench.load, server, "echo", server.pid, 1, size) as first:
            first.ask(0.05)
        with Load(bench.load, server, "echo", server.pid, conns, size,
                  prepare=pin_patiently) as load:
            load.ask(bench.args.slice)
            yield lambda: load.ask(bench.args.slice)


def echo_cells(bench, names):
    return {(size, conns): bench.interleaved(
                names, lambda name: echo_ready(bench, name, conns, size),
                SLICES, bench.args.rounds * (1 if conns < MANY else 2))
            for size in SIZES for conns in CONNS}


def echo_tables(cells, names, base):
    for size in SIZES:
        head = [f"us/message (x {base})"]
        head += [f"{conns} conn" for conns in CONNS]
        rows = [[name] + [echo_cell(cells[size, conns], name, base)
                          for conns in CONNS] for name in names]
        table(f"Echo, {size} B, same core: server CPU", head, rows)


def echo_cell(found, name, base):
    if name not in found:
        return "-"
    times = show(ratio(found, name, base))
    return f"{middle(found[name], 'us'):.2f} ({times})"


def pick(found, names, choose):
    """The one of NAMES that took least, or most, of those measured."""
    return choose((name for name in names if name in found),
                  key=lambda name: middle(found[name], "us"), default=None)


def echo_figures(bench, cells):
    for (size, conns), found in cells.items():
        cell = f"echo {size} B, {conns} conn: cleat"
        best = pick(found, RAW, min)
        worse = pick(found, CLEAT[1:], max)
        bench.figure(f"{cell} / {best}", ratio(found, "cleat", best),
                     most=1.02)
        if size != 1024:
            bench.figure(f"{cell} / raw_epoll",
                         ratio(found, "cleat", "raw_epoll"), most=1.05)
        # It is one of the two: what is more than 1 is chance.
        bench.figure(f"{cell} / {worse}, the worse backend",
                     ratio(found, "cleat", worse), most=1.02)
        if conns >= 50:
            bench.figure(f"{cell} / libuv", ratio(found, "cleat", "libuv"),
                         most=0.6)
            bench.figure(f"{cell} / go", ratio(found, "cleat", "go"),
                         most=0.75)


def run_echo(bench):
    names = bench.names(SERVERS)
    cells = echo_cells(bench, names)
    echo_tables(cells, names, "raw_epoll")
    echo_figures(bench, cells)
    bench.results["cells"] = [
        {"size": size, "connections": conns, "runs": found}
        for (size, conns), found in cells.items()]


def run_self(bench):
    """raw_epoll against itself: how far chance alone moves a ratio."""
    bench.commands["again"] = bench.commands["raw_epoll"]
    cells = echo_cells(bench, ["raw_epoll", "again"])
    echo_tables(cells, ["raw_epoll", "again"], "raw_epoll")
    for (size, conns), found in cells.items():
        off = ratio(found, "again", "raw_epoll")
        bench.figure(f"raw_epoll {size} B, {conns} conn: "
                     "off 1 by", off and abs(off - 1), most=0.02)
