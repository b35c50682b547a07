# SPDX-License-Identifier: MIT
"""Two workers on two cores: what a message costs beside one worker, and how
connections spread.

Each core has a worker and a generator; beside one worker there are the same two
generators.
"""

import contextlib
import os
import re
import statistics

from measure import SLICES, ratio, show, table
from servers import Load, Server

CONNS = 500
SIZE = 64
SPREAD_CONNS = 16000  # chance alone makes 1.6% of difference
WORKERS = {"one worker": 1, "two workers": 2}


def workers(bench, count, name="cleat"):
    """The command of the server NAME with COUNT workers."""
    command = list(bench.commands[name])
    command[command.index("--workers") + 1] = str(count)
    return command


def pin_threads(server, cores):
    """Each thread of SERVER is a worker, and gets a core of its own."""
    threads = sorted(int(name) for name in
                     os.listdir(f"/proc/{server.pid}/task"))
    for thread, core in zip(threads, cores):
        os.sched_setaffinity(thread, {core})


def together(loads, seconds):
    """What the server spent on a message, both of LOADS at work."""
    for load in loads:
        load.start(seconds)
    found = [load.answer() for load in loads]
    messages = sum(one["messages"] for one in found)
    spent = statistics.mean(one["us"] * one["messages"] for one in found)
    return {"us": spent / messages, "messages": messages}


@contextlib.contextmanager
def worker_ready(bench, name, cores):
    with Server(workers(bench, WORKERS[name]), None) as server, \
            contextlib.ExitStack() as stack:
        pin_threads(server, cores)
        loads = [stack.enter_context(
                     Load(bench.load, server, "talk", server.pid,
                          CONNS // len(cores), SIZE, core=core))
                 for core in cores]
        together(loads, bench.args.slice)
        yield lambda: together(loads, bench.args.slice)


def held(server):
    """How many connections each worker holds, by the kernel's list of what is
    in its epoll."""
    counts = []
    folder = f"/proc/{server.pid}/fdinfo"
    for name in os.listdir(folder):
        with open(f"{folder}/{name}") as file:
            counts.append(len(re.findall("^tfd:", file.read(), re.M)))
    return sorted(counts)[-2:]


def spread_once(bench):
    """The difference between two workers, as a share of what each should
    have."""
    with Server(workers(bench, 2, "cleat_epoll"), None) as server, \
            Load(bench.load, server, "idle", SPREAD_CONNS, "spoken") as load:
        load.ask()
        counts = held(server)
    return {"fewer": counts[0], "more": counts[1],
            "off": (counts[1] - counts[0]) / (sum(counts) / 2)}


def run_workers(bench):
    cores = sorted(os.sched_getaffinity(0))[-2:][::-1]
    if len(cores) < 2 or "cleat_epoll" not in bench.commands:
        print("left out: two workers, for want of a second core")
        return
    found = bench.interleaved(
        list(WORKERS), lambda name: worker_ready(bench, name, cores), SLICES)
    spread = bench.interleaved(
        ["spread"],
        lambda name: contextlib.nullcontext(lambda: spread_once(bench)))
    rows = [[name, show(statistics.median(run["us"] for run in runs)),
             show(ratio(found, name, "one worker"))]
            for name, runs in found.items()]
    table(f"Two cores, {CONNS} connections of {SIZE} B: server CPU",
          ["", "us/message", "x one worker"], rows)
    bench.figure("two workers: CPU for a message / of one worker",
                 ratio(found, "two workers", "one worker"), most=1.05)
    bench.figure(f"two workers, {SPREAD_CONNS} connections: difference of "
                 "what they hold / share",
                 max((run["off"] for run in spread.get("spread", [])),
                     default=None), most=0.1)
    bench.results.update(cpu=found, spread=spread)
