# SPDX-License-Identifier: MIT
"""Streams of 64 KiB at a time: the server's CPU time for each of these."""

import contextlib

from measure import middle, ratio, show, table
from servers import CLEAT, Load, Server, pin_patiently

CONNS = [1, 10]
SERVERS = [*CLEAT, "raw_epoll"]
WAYS = {"discard": "send", "echo": "both"}


def command_of(bench, name, service):
    command = bench.commands[name]
    if name == "raw_epoll":
        return [*command, service]
    return [service if word == "echo" else word for word in command]


@contextlib.contextmanager
def stream_ready(bench, name, service, conns):
    with Server(command_of(bench, name, service), pin_patiently) as server, \
            Load(bench.load, server, "stream", server.pid, conns,
                 WAYS[service], prepare=pin_patiently) as load:
        load.ask(bench.args.slice)
        yield lambda: load.ask(bench.args.slice)


def run_stream(bench):
    rows = []
    names = bench.names(SERVERS)
    for service in WAYS:
        for conns in CONNS:
            found = bench.interleaved(
                names,
                lambda name: stream_ready(bench, name, service, conns),
                slices=2, rounds=2 * bench.args.rounds)
            what = f"{service}, {conns} conn"
            rows.append([what, *(show(middle(found[name], "us"))
                                 if name in found else "-"
                                 for name in names)])
            bench.figure(f"stream to {what}: bytes for CPU time, "
                         "cleat / raw_epoll",
                         ratio(found, "raw_epoll", "cleat"), least=0.97)
            bench.results[what] = found
    table("Stream, same core: server CPU us/64 KiB", ["", *names], rows)
