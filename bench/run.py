#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Run the benchmark of cleat beside its peers; README.md says how to read it."""

import argparse
import contextlib
import ctypes
import os
import pathlib
import resource
import subprocess
import sys

import plot
import results
from clients import run_check, run_pipe
from conns import run_conn, run_idle
from echo import SERVERS, run_echo, run_self
from generators import run_generators
from measure import SLICES, Broke, show, table
from ports import run_ports
from scan import run_scan
from servers import HERE, Load, Server, pin, pin_patiently, programs
from stream import run_stream
from workers import run_workers

PIPE_BYTES = 4 << 30
PARTS = {"echo": run_echo, "conn": run_conn, "idle": run_idle,
         "workers": run_workers, "stream": run_stream, "pipe": run_pipe,
         "check": run_check, "ports": run_ports, "scan": run_scan,
         "generators": run_generators}


class Bench:
    """What was asked for, and what has been found."""

    def __init__(self, args):
        self.args = args
        self.load = str(args.build / "bench" / "load")
        self.raw_pipe = str(args.build / "bench" / "raw_pipe")
        self.raw_scan = str(args.build / "bench" / "raw_scan")
        self.cleat = str(args.build / "cleat")
        self.commands = programs(args.build)
        self.figures = []
        self.results = {}  # of the part that is being measured
        self.broken = False
        self.is_private = False  # a network of its own

    def names(self, wanted):
        chosen = self.args.servers or wanted
        return [n for n in wanted if n in chosen and n in self.commands]

    def interleaved(self, names, prepare, slices=1, rounds=None):
        """What each of NAMES measures, in turn, by name.

        PREPARE(name) is a context in which to measure it; one is made for
        each of ROUNDS and used for SLICES.  Every other round goes backwards: to
        come first is not the same.  A contender that breaks is left out.
        """
        found = {name: [] for name in names}
        for _ in range(rounds or self.args.rounds):
            names = names[::-1]
            with contextlib.ExitStack() as stack:
                ready = {}
                for name in [n for n in names if n in found]:
                    with self.survive(found, name):
                        ready[name] = stack.enter_context(prepare(name))
                for _ in range(slices):
                    for name in [n for n in names if n in found]:
                        with self.survive(found, name):
                            found[name].append(ready[name]())
        return found

    pin = staticmethod(pin)

    def serve(self, name, *words):
        """NAME as a server that a generator's every send does not wake."""
        command = (["iperf3", "-s", "-4", "-B", "127.0.0.1"]
                   if name == "iperf3" else self.commands[name])
        return Server([*command, *words], pin_patiently)

    def generate(self, server, mode, *words):
        return Load(self.load, server, mode, *words)

    @contextlib.contextmanager
    def survive(self, found, name):
        try:
            yield
        except (Broke, OSError) as error:
            found.pop(name)
            self.broke(f"{name}: {error}")

    def broke(self, what):
        self.broken = True
        print(f"broke: {what}", file=sys.stderr)

    def figure(self, what, measured, most=None, least=None):
        """A figure to reach: said at the end, with its verdict."""
        if measured is None:
            ok = None
        elif most is not None:
            ok = measured <= most
        else:
            ok = measured >= least
        target = f"<= {most}" if most is not None else f">= {least}"
        self.figures.append({"what": what, "target": target,
                             "measured": measured, "ok": ok})


# The whole


def private_network():
    """A loopback to itself, with reno and no other traffic; root only.

    It ends with this process.  Streams suffer from bbr's pacing there."""
    clone_newnet = 0x40000000
    if os.geteuid() != 0 or ctypes.CDLL(None).unshare(clone_newnet) != 0:
        return False
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    pathlib.Path("/proc/sys/net/ipv4/tcp_congestion_control").write_text(
        "reno")
    return True


def print_figures(figures):
    words = {True: "ok", False: "missed", None: "not measured"}
    table("Figures", ["", "target", "measured", ""],
          [[f["what"], f["target"], show(f["measured"], 3), words[f["ok"]]]
           for f in figures])


def options():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("build", type=pathlib.Path, nargs="?",
                        default=HERE.parent / "build",
                        help="the build directory (default: build)")
    parser.add_argument("--quick", action="store_true",
                        help="one short round of each")
    parser.add_argument("--only", choices=PARTS, action="append",
                        help="this part, and others so named")
    parser.add_argument("--servers", type=lambda s: s.split(","),
                        metavar="LIST", help="only these, as cleat,raw_epoll")
    parser.add_argument("--rounds", type=int, metavar="N",
                        help="of each contender in turn (default 4)")
    parser.add_argument("--seconds", type=float, metavar="S",
                        help="of each server, echo cell and round "
                        "(default 1)")
    parser.add_argument("--self", action="store_true", dest="is_self",
                        help="only raw_epoll against itself, to see the noise")
    args = parser.parse_args()
    args.build = args.build.resolve()
    args.rounds = args.rounds or (1 if args.quick else 4)
    args.slice = (args.seconds or (0.2 if args.quick else 1.0)) / SLICES
    args.pipe_bytes = PIPE_BYTES >> (4 if args.quick else 0)
    args.parts = {"self": run_self} if args.is_self else {
        name: PARTS[name] for name in args.only or PARTS}
    is_whole = not (args.quick or args.servers or args.is_self)
    args.out = HERE if is_whole else args.build / "bench"
    return args


def raise_file_limit():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def measure(bench, name, part):
    """What is to be kept of PART; its figures join the others."""
    before = len(bench.figures)
    bench.results = {}
    where = results.machine(bench.is_private)
    try:
        part(bench)
    except (Broke, OSError) as error:
        bench.broke(f"{name}: {error}")
    return {"machine": where, "rounds": bench.args.rounds,
            "figures": bench.figures[before:], "found": bench.results}


def main():
    args = options()
    bench = Bench(args)
    if "raw_epoll" not in bench.commands:
        sys.exit(f"run.py: {args.build}: no raw_epoll there; "
                 "build bench-programs first")
    raise_file_limit()
    bench.is_private = private_network()
    print(results.describe(results.machine(bench.is_private)))
    for name in SERVERS:
        if name not in bench.commands:
            print(f"left out: {name} (not built)")
    path = args.out / "results.json"
    parts = results.read(path)
    for name, part in args.parts.items():
        parts[name] = measure(bench, name, part)
        results.write(path, parts)
    if "echo" in args.parts and parts["echo"]["found"] and not args.servers:
        plot.draw(path)
    print_figures(bench.figures)
    return 1 if bench.broken else 0


if __name__ == "__main__":
    sys.exit(main())
