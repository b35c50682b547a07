#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Run the benchmark of cleat beside its peers; README.md says how to read it."""

import argparse
import contextlib
import ctypes
import datetime
import json
import os
import pathlib
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time

from generators import run_generators
from measure import Broke, middle, ratio, show, table, timed
from ports import run_ports
from scan import run_scan

HERE = pathlib.Path(__file__).resolve().parent
DEBIAN_PYTHON = "/usr/bin/python3"
PYTHON = DEBIAN_PYTHON if os.path.exists(DEBIAN_PYTHON) else sys.executable

CONNS = [1, 50, 500, 5000]
SIZES = [64, 1024, 16384]
IDLE_CONNS = 18000  # with the server's own, within an RLIMIT_NOFILE of 20000
CONN_COUNT = 5000
CONN_ENDINGS = ["fin", "reset"]
SLICES = 5  # of a round, each contender in turn: the machine's speed drifts
PIPE_BYTES = 4 << 30
CHECK_RUNS = 200
CORE = max(os.sched_getaffinity(0))

CLEAT = ["cleat", "cleat_epoll", "cleat_uring"]
RAW = ["raw_epoll", "raw_uring"]
ECHO_SERVERS = [*CLEAT, *RAW, "libuv", "libevent", "go", "asyncio"]
CONN_SERVERS = [*CLEAT, *RAW, "libuv", "go"]
IDLE_SERVERS = ["cleat", "raw_epoll", "libuv", "go", "asyncio"]


# Programs


def programs(build):
    """The commands of the servers, by name, those that were built."""
    bench = build / "bench"
    cleat = [build / "cleat", "serve", "echo", "--workers", "1", "--quiet",
             "127.0.0.1:0"]
    commands = {
        "cleat": cleat,
        "cleat_epoll": [*cleat, "--backend", "epoll"],
        "cleat_uring": [*cleat, "--backend", "uring"],
        "raw_epoll": [bench / "raw_epoll"],
        "raw_uring": [bench / "raw_uring"],
        "libuv": [bench / "echo_libuv"],
        "libevent": [bench / "echo_libevent"],
        "go": [bench / "echo_go"],
        "asyncio": [PYTHON, HERE / "echo_asyncio.py"],
    }
    return {name: [str(word) for word in command]
            for name, command in commands.items()
            if os.access(command[0], os.X_OK)}


def pin():
    """In a child: onto the core that servers and generators share."""
    os.sched_setaffinity(0, {CORE})


def pin_patiently():
    """The same; and it runs once others wait, and not as soon as it may."""
    pin()
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


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
    """The load generator on the same core, against SERVER."""

    def __init__(self, program, server, mode, *words):
        command = [program, mode, server.port, *words]
        self.process = subprocess.Popen(
            [str(word) for word in command], preexec_fn=pin, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()

    def ask(self, line=""):
        """Send LINE; the answer, with the server's CPU time per message."""
        with contextlib.suppress(BrokenPipeError):
            print(line, file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            raise Broke(self.process.communicate()[1].strip() or "load died")
        found = json.loads(answer)
        if "messages" in found:
            found["us"] = found["cpu_us_server"] / found["messages"]
            found["r"] = found["cpu_us_server"] / found["cpu_us_self"]
        return found

    def finish(self):
        """End its input, and see it end well."""
        errors = self.process.communicate()[1]
        if self.process.returncode != 0:
            raise Broke(errors.strip() or "load died")


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
        self.results = {}
        self.broken = False
        self.is_private = False  # a network of its own

    def names(self, wanted):
        chosen = self.args.servers or wanted
        return [n for n in wanted if n in chosen and n in self.commands]

    def interleaved(self, names, prepare, slices=1):
        """What each of NAMES measures, in turn, by name.

        PREPARE(name) is a context in which to measure it; one is made for
        each round and used for SLICES.  Every other round goes backwards: to
        come first is not the same.  A contender that breaks is left out.
        """
        found = {name: [] for name in names}
        for _ in range(self.args.rounds):
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


# Echo


@contextlib.contextmanager
def echo_ready(bench, name, conns, size):
    with Server(bench.commands[name]) as server:
        # A first client comes and goes: malloc and the like settle by it.
        with Load(bench.load, server, "echo", server.pid, 1, size) as first:
            first.ask(0.05)
        with Load(bench.load, server, "echo", server.pid, conns, size) as load:
            load.ask(bench.args.slice)
            yield lambda: load.ask(bench.args.slice)


def echo_cells(bench, names):
    return {(size, conns): bench.interleaved(
                names, lambda name: echo_ready(bench, name, conns, size),
                SLICES)
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


def better_raw(found):
    """The one of RAW that took less, of those that were measured."""
    return min((name for name in RAW if name in found),
               key=lambda name: middle(found[name], "us"), default=None)


def echo_figures(bench, cells):
    for (size, conns), found in cells.items():
        cell = f"{size} B, {conns} conn"
        raw = better_raw(found)
        bench.figure(f"echo {cell}: cleat / {raw}",
                     ratio(found, "cleat", raw), most=1.02)
        if conns >= 50:
            bench.figure(f"echo {cell}: cleat / libuv",
                         ratio(found, "cleat", "libuv"), most=0.6)
            bench.figure(f"echo {cell}: cleat / go",
                         ratio(found, "cleat", "go"), most=0.75)


def run_echo(bench):
    names = bench.names(ECHO_SERVERS)
    cells = echo_cells(bench, names)
    echo_tables(cells, names, "raw_epoll")
    echo_figures(bench, cells)
    bench.results["echo"] = [
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


# Connect and close


def conn_once(bench, server, ending):
    with Load(bench.load, server, "conn", server.pid, CONN_COUNT,
              ending) as load:
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
        cleat = found.get("cleat")
        bench.figure(f"connect and close ({ending}): us of server CPU, cleat",
                     cleat and middle(cleat, "us"), most=3.2)
        bench.figure(f"connect and close ({ending}): cleat / libuv",
                     ratio(found, "cleat", "libuv"), most=0.95)
        bench.results[f"conn_{ending}"] = found


# Idle


def idle_once(bench, name):
    """Memory for each connection that spoke once; then all speak again."""
    count = IDLE_CONNS
    with Server(bench.commands[name]) as server:
        before = server.memory()
        with Load(bench.load, server, "idle", count) as load:
            load.ask()
            after = server.memory()
            load.finish()
    return {key: (after[key] - before[key]) / count for key in before}


def run_idle(bench):
    def prepare(name):
        return contextlib.nullcontext(lambda: idle_once(bench, name))

    found = bench.interleaved(bench.names(IDLE_SERVERS), prepare)
    rows = [[name, show(middle(runs, "rss")), show(middle(runs, "pss"))]
            for name, runs in found.items()]
    table(f"{IDLE_CONNS} idle connections that spoke once: memory",
          ["KiB/connection", "RSS", "PSS"], rows)
    cleat = found.get("cleat")
    bench.figure("idle: KiB of memory for a connection, cleat",
                 cleat and middle(cleat, "rss"), most=4.2)
    bench.figure("idle: connections in one process, each answered",
                 IDLE_CONNS if cleat else None, least=IDLE_CONNS)
    bench.results["idle"] = found


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
        bench.results[f"pipe {service}"] = found


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
    bench.results["check"] = {name: middle(took, "ms")
                              for name, took in found.items()}


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


def machine(is_private):
    info = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.split(":")[1].strip() for line in info
              if line.startswith("model name")]
    control = pathlib.Path("/proc/sys/net/ipv4/tcp_congestion_control")
    network = "a private network" if is_private else "the host's network"
    return (f"{platform.system()} {platform.release()}, "
            f"{models[0] if models else platform.machine()}, "
            f"{os.cpu_count()} cores, {datetime.date.today()}; {network}, "
            f"{control.read_text().strip()}; "
            f"load average {os.getloadavg()[0]:.2f}")


def print_figures(figures):
    words = {True: "ok", False: "missed", None: "not measured"}
    table("Figures", ["", "target", "measured", ""],
          [[f["what"], f["target"], show(f["measured"], 3), words[f["ok"]]]
           for f in figures])


def options():
    parts = {"echo": run_echo, "conn": run_conn, "idle": run_idle,
             "pipe": run_pipe, "check": run_check, "ports": run_ports,
             "scan": run_scan, "generators": run_generators}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("build", type=pathlib.Path, nargs="?",
                        default=HERE.parent / "build",
                        help="the build directory (default: build)")
    parser.add_argument("--quick", action="store_true",
                        help="one short round of each")
    parser.add_argument("--only", choices=parts, action="append",
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
    args.parts = [run_self] if args.is_self else [
        parts[name] for name in args.only or parts]
    return args


def raise_file_limit():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main():
    args = options()
    bench = Bench(args)
    if "raw_epoll" not in bench.commands:
        sys.exit(f"run.py: {args.build}: no raw_epoll there; "
                 "build bench-programs first")
    raise_file_limit()
    bench.is_private = private_network()
    bench.results["machine"] = machine(bench.is_private)
    print(bench.results["machine"])
    for name in ECHO_SERVERS:
        if name not in bench.commands:
            print(f"left out: {name} (not built)")
    for part in args.parts:
        try:
            part(bench)
        except (Broke, OSError) as error:
            bench.broke(error)
    bench.results["figures"] = bench.figures
    (HERE / "results.json").write_text(json.dumps(bench.results, indent=1))
    print_figures(bench.figures)
    return 1 if bench.broken else 0


if __name__ == "__main__":
    sys.exit(main())
