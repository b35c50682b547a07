# SPDX-License-Identifier: MIT
"""What the clients cost: `cleat connect` as a pipe, and `cleat check`."""

import contextlib
import os
import resource
import shutil
import subprocess
import tempfile
import time

from measure import Broke, middle, ratio, show, table, timed
from servers import PYTHON, Server, pin

CHECK_RUNS = 200


# Pipe


def pipe_clients(bench):
    """Commands with an input, by name; PORT is put in."""
    size = str(bench.args.pipe_bytes)
    clients = {
        "raw, memory": ([bench.raw_pipe, "PORT", size], None),
        "raw, file": ([bench.raw_pipe, "PORT"], "file"),
        "raw, pipe": ([bench.raw_pipe, "PORT"], "pipe"),
    }
    if "cleat" in bench.commands:
        command = [bench.cleat, "connect", "127.0.0.1:PORT"]
        clients["cleat, file"] = (command, "file")
        clients["cleat, pipe"] = (command, "pipe")
    return clients


@contextlib.contextmanager
def pipe_input(kind, size):
    """SIZE zeros, from a file that is all hole, or from a small writer."""
    if kind is None:
        yield subprocess.DEVNULL
    elif kind == "file":
        where = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        with tempfile.TemporaryFile(dir=where) as file:
            file.truncate(size)
            yield file
    else:
        writer = subprocess.Popen(
            ["dd", "if=/dev/zero", "bs=64k", f"count={size >> 16}"],
            preexec_fn=pin, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL)
        with writer, writer.stdout:
            yield writer.stdout


def run_client(command, server, source, sink):
    """The seconds from start to end of one client of SERVER."""
    command = [word.replace("PORT", str(server.port)) for word in command]
    start = time.monotonic()
    run = subprocess.run(command, preexec_fn=pin, stdin=source, stdout=sink,
                         stderr=subprocess.DEVNULL)
    if run.returncode != 0:
        raise Broke(f"{' '.join(command)}: exit {run.returncode}")
    return time.monotonic() - start


def cpu_seconds(server):
    """The CPU time of SERVER and of every child that has ended."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    clock = ~server.pid << 3 | 2  # what clock_getcpuclockid(3) makes
    return ended.ru_utime + ended.ru_stime + time.clock_gettime(clock)


def pipe_once(bench, service, name):
    command, kind = pipe_clients(bench)[name]
    size = bench.args.pipe_bytes
    counted = service == "discard" and kind is not None
    with Server([*bench.commands["raw_epoll"], service]) as server, \
            tempfile.TemporaryFile() as count:
        before = cpu_seconds(server)
        with pipe_input(kind, size) as source:
            seconds = run_client(command, server, source,
                                 count if counted else subprocess.DEVNULL)
        cpu = cpu_seconds(server) - before
        count.seek(0)
        if counted and int(count.read() or 0) != size:
            raise Broke(f"not all of the {size} bytes arrived")
    gib = size / (1 << 30)
    return {"gib_s": gib / seconds, "cpu_gib": cpu / gib}


def pipe_is_true(bench, name):
    """What NAME gets back from the echo is what it sent, byte for byte."""
    command = pipe_clients(bench)[name][0]
    sent = os.urandom(32 << 20)
    with Server(bench.commands["raw_epoll"]) as server, \
            tempfile.TemporaryFile() as source, \
            tempfile.TemporaryFile() as sink:
        source.write(sent)
        source.seek(0)
        run_client(command, server, source, sink)
        sink.seek(0)
        if sink.read() != sent:
            raise Broke("the echo is not what was sent")


def run_pipe(bench):
    for name in ["raw, file", "cleat, file"]:
        if name in pipe_clients(bench):
            pipe_is_true(bench, name)
    for service in ["echo", "discard"]:
        def prepare(name):
            return contextlib.nullcontext(
                lambda: pipe_once(bench, service, name))

        found = bench.interleaved(list(pipe_clients(bench)), prepare)
        pipe_report(bench, service, found)
        bench.results[service] = found


def pipe_report(bench, service, found):
    rows = [[name, show(middle(runs, "gib_s")), show(middle(runs, "cpu_gib")),
             show(ratio(found, name, "raw, memory", "gib_s"))]
            for name, runs in found.items()]
    table(f"Pipe through {service}, same core",
          ["", "GiB/s", "CPU s/GiB, all", "x raw, memory"], rows)
    for kind in ["file", "pipe"]:
        bench.figure(f"pipe through {service}, from a {kind}: cleat / raw",
                     ratio(found, f"cleat, {kind}", f"raw, {kind}", "gib_s"),
                     least=0.9)


# Check


def check_commands(bench, port):
    commands = {
        "cleat check": [bench.cleat, "check", f"127.0.0.1:{port}"],
        "nc -z": ["nc", "-z", "127.0.0.1", str(port)],
        "python": [PYTHON, "-c", "import socket; socket.create_connection("
                   f"('127.0.0.1', {port})).close()"],
        "true (the floor)": ["true"],
    }
    return {name: [shutil.which(command[0]), *command[1:]]
            for name, command in commands.items() if shutil.which(command[0])}


def run_check(bench):
    runs = min(CHECK_RUNS, 50 if bench.args.quick else CHECK_RUNS)
    with Server(bench.commands["raw_epoll"]) as server:
        commands = check_commands(bench, server.port)
        found = {name: [] for name in commands}
        for _ in range(runs):
            for name, command in commands.items():
                found[name].append(timed(command))
    table(f"Check of one open port: wall time, median of {runs}", ["", "ms"],
          [[name, show(middle(took, "ms"))] for name, took in found.items()])
    cleat = found.get("cleat check")
    bench.figure("check: ms for the whole process, cleat",
                 cleat and middle(cleat, "ms"), most=5)
    bench.results["wall"] = found
