# SPDX-License-Identifier: MIT
"""The servers, and the load generator, on the core that they share."""

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

from measure import Broke

HERE = pathlib.Path(__file__).resolve().parent
DEBIAN_PYTHON = "/usr/bin/python3"
PYTHON = DEBIAN_PYTHON if os.path.exists(DEBIAN_PYTHON) else sys.executable
CORE = max(os.sched_getaffinity(0))

CLEAT = ["cleat", "cleat_epoll", "cleat_uring"]
RAW = ["raw_epoll", "raw_uring", "raw_uring_poll"]


def programs(build):
    """The commands of the servers, by name, those that were built."""
    bench = build / "bench"
    cleat = [build / "cleat", "serve", "echo", "--workers", "1", "--quiet",
             "127.0.0.1:0"]
    commands = {
        "cleat": cleat,
        "cleat_epoll": [*cleat, "--backend", "epoll"],
        "cleat_uring": [*cleat, "--backend", "uring"],
        "cleat_fibers": [build / "examples/echo-server", "127.0.0.1:0"],
        "raw_epoll": [bench / "raw_epoll"],
        "raw_uring": [bench / "raw_uring"],
        "raw_uring_poll": [bench / "raw_uring_poll"],
        "libuv": [bench / "echo_libuv"],
        "libevent": [bench / "echo_libevent"],
        "libev": [bench / "echo_libev"],
        "go": [bench / "echo_go"],
        "asyncio": [PYTHON, HERE / "echo_asyncio.py"],
        "threads": [bench / "echo_threads"],
    }
    return {name: [str(word) for word in command]
            for name, command in commands.items()
            if os.access(command[0], os.X_OK)}


def pin(core=CORE):
    """In a child: onto the core that servers and generators share."""
    os.sched_setaffinity(0, {core})


def pin_patiently(core=CORE):
    """The same; and it runs once others wait, and not as soon as it may."""
    pin(core)
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def pin_first(core=CORE):
    """The same; and nothing stops it until it waits, if we are root."""
    pin_patiently(core)
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))


class Server:
    """A server on the measured core, from its start to its SIGTERM."""

    def __init__(self, command, prepare=pin):
        self.command = command
        self.prepare = prepare

    def __enter__(self):
        self.errors = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            self.command, preexec_fn=self.prepare, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=self.errors)
        self.pid = self.process.pid
        try:
            self.port = self.wait_port()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.errors.close()

    def wait_port(self):
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and self.process.poll() is None:
            port = listening_port(self.pid)
            if port:
                return port
            time.sleep(0.002)
        self.errors.seek(0)
        said = self.errors.read().decode(errors="replace").strip()
        raise Broke(f"{self.command[0]} does not listen: {said}")

    def memory(self):
        """Resident KiB: of this process, and its share of what is shared."""
        with open(f"/proc/{self.pid}/smaps_rollup") as file:
            fields = [line.split() for line in file]
        sizes = {words[0]: int(words[1]) for words in fields[1:]}
        return {"rss": sizes["Rss:"], "pss": sizes["Pss:"]}


def listening_port(pid):
    """The port PID listens on, or None; asks no server to be talkative."""
    inodes = set()
    with contextlib.suppress(FileNotFoundError):
        for fd in os.scandir(f"/proc/{pid}/fd"):
            with contextlib.suppress(FileNotFoundError):
                inodes.add(os.readlink(fd.path))
    with open(f"/proc/{pid}/net/tcp") as file:
        for line in list(file)[1:]:
            words = line.split()
            if words[3] == "0A" and f"socket:[{words[9]}]" in inodes:
                return int(words[1].split(":")[1], 16)
    return None


class Load:
    """The load generator on the same core, or on CORE, against SERVER."""

    def __init__(self, program, server, mode, *words, core=CORE, prepare=pin):
        command = [program, mode, server.port, *words]
        self.process = subprocess.Popen(
            [str(word) for word in command], text=True,
            preexec_fn=lambda: prepare(core),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()

    def start(self, line=""):
        with contextlib.suppress(BrokenPipeError):
            print(line, file=self.process.stdin, flush=True)

    def answer(self):
        """The answer, with both sides' CPU time for a message."""
        answer = self.process.stdout.readline()
        if not answer:
            raise Broke(self.process.communicate()[1].strip() or "load died")
        found = json.loads(answer)
        if "messages" not in found:
            return found
        count = found["messages"]
        return {"us": found["cpu_us_server"] / count,
                "us_self": found["cpu_us_self"] / count, "messages": count}

    def ask(self, line=""):
        self.start(line)
        return self.answer()

    def finish(self):
        """End its input, and see it end well."""
        errors = self.process.communicate()[1]
        if self.process.returncode != 0:
            raise Broke(errors.strip() or "load died")
