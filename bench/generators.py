# SPDX-License-Identifier: MIT
"""cleat bench beside the leanest generator, wrk, redis-benchmark and iperf3.

What is compared is the CPU time that a generator takes for a message.  They talk
to raw_epoll, on the same core: what redis-benchmark sends is an answer as well
once it is echoed.  iperf3 talks to itself, for it must.
"""

import contextlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

from measure import Broke, middle, ratio, show, table

CONNS = [1, 50, 500]
SIZES = [64, 16384]
PING = b"*1\r\n$4\r\nPING\r\n"
ASK = b"GET / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n"
TELL = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
DEPTH = 16


def seconds(bench):
    """Of a turn; of other generators the start is part of it, and shall not
    matter."""
    return max(0.5, bench.args.slice * 5)


def run(bench, command):
    """What COMMAND prints, and the CPU seconds it took, from start to end."""
    words = [str(word) for word in command]
    with tempfile.TemporaryFile() as out:
        pid = subprocess.Popen(words, preexec_fn=bench.pin, stdout=out,
                               stdin=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL).pid
        _, status, used = os.wait4(pid, 0)
        out.seek(0)
        text = out.read().decode()
    if status != 0:
        raise Broke(f"{' '.join(words)}: status {status}")
    return text, used.ru_utime + used.ru_stime


def per_message(cpu, messages):
    return {"us": cpu * 1e6 / messages, "messages": messages}


def cleat(bench, *options):
    text, cpu = run(bench, [bench.cleat, "bench", "--json",
                            "-t", f"{seconds(bench)}s", *options])
    return per_message(cpu, json.loads(text)["messages"])


# The leanest


def lean_turns(bench, server, load, conns, size):
    """Who may be asked for a turn, by name.  Neither's start counts."""
    def own():
        text, _ = run(bench, [bench.cleat, "bench", "--json",
                              "-t", f"{seconds(bench)}s", "-c", conns,
                              "-s", size, f"127.0.0.1:{server.port}"])
        return {"us": json.loads(text)["cpu_us_per_message"]}

    def lean():
        return {"us": load.ask(seconds(bench))["us_self"]}
    return {"cleat bench": own, "lean": lean}


def compare_with_lean(bench):
    rows = []
    for size in SIZES:
        for conns in CONNS:
            with bench.serve("raw_epoll") as server, \
                    bench.generate(server, "talk", server.pid, conns,
                                   size) as load:
                turns = lean_turns(bench, server, load, conns, size)
                found = bench.interleaved(
                    list(turns),
                    lambda name: contextlib.nullcontext(turns[name]))
            of_lean = ratio(found, "cleat bench", "lean")
            rows.append([f"{size} B, {conns} conn",
                         *(show(middle(runs, "us"))
                           for runs in found.values()), show(of_lean)])
            bench.figure(f"generator {size} B, {conns} conn: "
                         "cleat bench / lean", of_lean, most=1.1)
            bench.results.setdefault("lean", []).append(
                {"size": size, "connections": conns, "runs": found})
    table("Generators, same core as the server: CPU us/message",
          ["", "cleat bench", "lean", "x lean"], rows)


# The others


def wrk(bench, port):
    text, cpu = run(bench, ["wrk", "-t", 1, "-c", 50, "-d",
                            max(1, round(seconds(bench))),
                            f"http://127.0.0.1:{port}/"])
    return per_message(cpu, int(re.search(r"(\d+) requests in",
                                                text)[1]))


def redis(bench, port, depth):
    count = int(seconds(bench) * (200000 if depth == 1 else 1000000))
    text, cpu = run(bench, ["redis-benchmark", "-p", port, "-c", 50, "-n",
                            count, "-P", depth, "-q", "PING"])
    return per_message(cpu, count)


def cleat_request(bench, port, request, answer, *options):
    with tempfile.TemporaryDirectory() as folder:
        ask, tell = pathlib.Path(folder, "ask"), pathlib.Path(folder, "tell")
        ask.write_bytes(request)
        tell.write_bytes(answer)
        return cleat(bench, "-c", 50, "--request", ask, "--answer", tell,
                     *options, f"127.0.0.1:{port}")


def rivals(bench, port, http_port):
    """Pairs of those who send the same: {what: (name, other, cleat)}."""
    return {
        "HTTP": ("wrk", lambda: wrk(bench, http_port),
                 lambda: cleat_request(bench, http_port, ASK % http_port,
                                       TELL)),
        "redis": ("redis-benchmark", lambda: redis(bench, port, 1),
                  lambda: cleat_request(bench, port, PING, PING)),
        f"redis, {DEPTH} deep": (
            "redis-benchmark", lambda: redis(bench, port, DEPTH),
            lambda: cleat_request(bench, port, PING, PING, "-d", DEPTH)),
    }


def iperf3(bench):
    """128 KiB at a time, as cleat; a message is one of these."""
    text, cpu = run(bench, ["iperf3", "-c", "127.0.0.1", "-l", "128K", "-J",
                            "-t", max(1, round(seconds(bench)))])
    sent = json.loads(text)["end"]["sum_sent"]["bytes"]
    return per_message(cpu, sent >> 17)


def note(bench, rows, what, name, found):
    times = ratio(found, name, "cleat bench")
    rows.append([f"{what}: {name}",
                 *(show(1e6 / middle(found[n], "us"), 0) if n in found else "-"
                   for n in ("cleat bench", name)), show(times)])
    bench.figure(f"{what}: load for a core's time, cleat bench / {name}",
                 times, least=1)
    bench.results.setdefault("rivals", {})[what] = found


def pair(bench, name, other, own):
    turns = {"cleat bench": own, name: other}
    return bench.interleaved(
        list(turns), lambda name: contextlib.nullcontext(turns[name]))


def compare_with_others(bench):
    rows = []
    with bench.serve("raw_epoll") as server, \
            bench.serve("raw_epoll", "http") as http:
        for what, (name, other, own) in rivals(bench, server.port,
                                               http.port).items():
            if shutil.which(name):
                note(bench, rows, what, name, pair(bench, name, other, own))
    if shutil.which("iperf3"):
        with bench.serve("raw_epoll", "discard") as server, \
                bench.serve("iperf3"):
            found = pair(bench, "iperf3", lambda: iperf3(bench),
                         lambda: cleat(bench, "--stream", "send",
                                       f"127.0.0.1:{server.port}"))
        note(bench, rows, "stream", "iperf3", found)
    table("Generators, 50 connections or a stream: messages for a second of "
          "CPU", ["", "cleat bench", "other", "x other"], rows)


def run_generators(bench):
    compare_with_lean(bench)
    compare_with_others(bench)
