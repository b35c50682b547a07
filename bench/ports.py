# SPDX-License-Identifier: MIT
"""cleat ports, who and why beside ss, lsof and netstat, where thousands listen."""

import contextlib
import pathlib
import shutil
import subprocess
import sys

from measure import Broke, middle, ratio, show, table, timed

HERE = pathlib.Path(__file__).resolve().parent
RUNS = 21
PORT = 10500  # one of those that listen
BY_SOCKETS = [(100, 1), (100, 10), (100, 100)]  # processes, listeners in each
BY_PROCESSES = [(10, 1000), (100, 100), (1000, 10), (2000, 5)]


@contextlib.contextmanager
def listeners(processes, each):
    command = [sys.executable, HERE / "listeners.py", processes, each]
    with subprocess.Popen([str(word) for word in command], text=True,
                          stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as made:
        if not made.stdout.readline():
            raise Broke("listeners.py died")
        yield


def installed(commands):
    """Those whose program there is, with its path."""
    return {name: [shutil.which(command[0]), *command[1:]]
            for name, command in commands.items() if shutil.which(command[0])}


def everyone(cleat):
    return installed({
        "cleat ports": [cleat, "ports"],
        "ss -tlnp": ["ss", "-tlnp"],
        "lsof -iTCP": ["lsof", "-nP", "-iTCP", "-sTCP:LISTEN"],
        "netstat -tlnp": ["netstat", "-tlnp"],
        "ss -tln, no owners": ["ss", "-tln"],
    })


def one_port(cleat):
    address = f"127.0.0.1:{PORT}"
    return installed({
        f"cleat ports {PORT}": [cleat, "ports", str(PORT)],
        f"ss -tlnp sport = :{PORT}": ["ss", "-tlnp", f"sport = :{PORT}"],
        "cleat who": [cleat, "who", address],
        "cleat why": [cleat, "why", address],
        "cleat --version": [cleat, "--version"],
    })


def interleaved(commands, runs):
    """Each of COMMANDS in turn.  That a port is taken is why's status 1."""
    found = {name: [] for name in commands}
    for _ in range(runs):
        for name, command in commands.items():
            found[name].append(timed(command, good=(0, 1)))
    return found


def peak_memory(command):
    """In KiB, by GNU time: a child of ours would begin with our own."""
    out = subprocess.run(["time", "-f", "%M", *command], text=True,
                         stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    return int(out.stderr.split()[-1])


def growth(title, sizes, cleat, runs):
    rows = []
    for processes, each in sizes:
        with listeners(processes, each):
            found = interleaved({name: command for name, command
                                 in everyone(cleat).items()
                                 if name in ("cleat ports", "ss -tlnp")}, runs)
        rows.append([f"{processes * each} in {processes}",
                     *(show(middle(took, "ms")) for took in found.values())])
    table(title, ["sockets in processes", *found], rows)
    return rows


def run_ports(bench):
    runs = 5 if bench.args.quick else RUNS
    cleat = bench.cleat
    with listeners(200, 50):
        found = interleaved(everyone(cleat), runs)
        found |= interleaved(one_port(cleat), runs)
        memory = peak_memory([cleat, "ports"])
    table(f"10,000 listeners in 200 processes: wall time, median of {runs}",
          ["", "ms"],
          [[name, show(middle(took, "ms"))] for name, took in found.items()])
    for name, other, most in [
            ("cleat ports", "ss -tlnp", 0.6),
            ("cleat ports", "lsof -iTCP", 0.3),
            (f"cleat ports {PORT}", f"ss -tlnp sport = :{PORT}", 0.5)]:
        bench.figure(f"{name} / {other}", ratio(found, name, other, "ms"),
                     most=most)
    for name in ["cleat who", "cleat why"]:
        bench.figure(f"{name}: ms", middle(found[name], "ms"), most=15)
    bench.figure("cleat ports: MiB at its peak", memory / 1024, most=16)
    bench.results.update({
        "wall": found,
        "peak_kib": memory,
        "by_sockets": growth("Growing with the sockets: wall time, ms",
                             BY_SOCKETS, cleat, runs),
        "by_processes": growth("Growing with the processes: wall time, ms",
                               BY_PROCESSES, cleat, runs),
    })
