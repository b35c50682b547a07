# SPDX-License-Identifier: MIT
"""cleat scan beside nmap, masscan and a bare loop, in networks of its own."""

import contextlib
import ipaddress
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time

from measure import Broke, middle, ratio, show, table

HERE = pathlib.Path(__file__).resolve().parent
ALL_PORTS = 65535
LISTENERS = range(150, ALL_PORTS, 328)  # 200 of them
SLICES = 3  # of the scans of the loopback, which are short

# The other network: a router, behind which are all of these.
NEAR, ROUTER = "192.0.2.1", "192.0.2.2"
ROUTER_MAC = "02:00:00:00:00:02"
BLOCK = ipaddress.ip_network("10.9.0.0/24")  # one address in eight answers
QUICK_BLOCK = ipaddress.ip_network("10.9.0.0/26")
CLOSED = "10.9.1.0-10.9.1.9"  # whose ports refuse, but for those that are open
SILENT = "10.8.0.0-10.8.0.9"  # whose ports drop, as those of all others
HUGE = "10.0.0.0/8"  # whose upper half answers
OPEN = [22, 25, 53, 80, 99]
RULES = """
table netdev scan {
    chain in {
        type filter hook ingress device target priority 0
        ip daddr 10.9.1.0/24 accept
        ip daddr 10.9.0.0/24 ip daddr & 0.0.0.7 == 0.0.0.1 accept
        ip daddr 10.128.0.0/9 accept
        ip daddr 10.0.0.0/8 drop
    }
}
"""


# The networks


@contextlib.contextmanager
def target(address, ports, prefix=()):
    """A process that listens; ended with the input that is its."""
    command = [*prefix, sys.executable, HERE / "scan_target.py", address,
               *ports]
    with subprocess.Popen([str(word) for word in command], text=True,
                          stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as process:
        if not process.stdout.readline():
            raise Broke("scan_target.py died")
        yield process.pid


def tell(command, text):
    if subprocess.run(command, input=text, text=True).returncode != 0:
        raise Broke(f"{' '.join(command)} failed")


@contextlib.contextmanager
def other_network():
    """Behind a veth pair.  It is its process's, and ends with it."""
    with target("0.0.0.0", OPEN, ["unshare", "--net"]) as pid:
        there = ["nsenter", "--net", f"--target={pid}"]
        tell(["ip", "-batch", "-"], f"""
            link add scan type veth peer target address {ROUTER_MAC} netns {pid}
            address add {NEAR}/30 dev scan
            link set scan up""")
        try:
            tell([*there, "ip", "-batch", "-"], f"""
                link set lo up
                address add {ROUTER}/30 dev target
                link set target up
                route add local {HUGE} dev lo""")
            tell([*there, "nft", "-f", "-"], RULES)
            tell(["ip", "-batch", "-"], f"route add default via {ROUTER}")
            yield
        finally:
            subprocess.run(["ip", "link", "delete", "scan"])


# The contenders


def nmap(how, ports, *words):
    return ["nmap", "-n", "-Pn", how, f"-p{ports}", "-oG", "-", *words]


def cleat_scan(bench, ports, *words):
    return [bench.cleat, "scan", f"-p{ports}", "--json", *words]


def installed(commands):
    """Those whose program there is, with its path."""
    for name, command in commands.items():
        if not shutil.which(command[0]):
            print(f"left out: {name} (no {command[0]})")
    return {name: [shutil.which(command[0]), *command[1:]]
            for name, command in commands.items() if shutil.which(command[0])}


def open_ports(text):
    """What a contender found, by its output: pairs of address and port."""
    found = set()
    for line in text.splitlines():
        if line.startswith("{"):
            one = json.loads(line)
            if one.get("state") == "open":
                found.add((one["address"], one["port"]))
        elif line.startswith("Host: "):  # nmap -oG
            address = line.split()[1]
            found |= {(address, int(port))
                      for port in re.findall(r"(\d+)/open/", line)}
        elif line.startswith("Discovered open port "):  # masscan
            words = line.split()
            found.add((words[5], int(words[3].split("/")[0])))
        elif line.isdigit():  # raw_scan
            found.add(("127.0.0.1", int(line)))
    return found


class Scan:
    """One run of a contender; killed if it is left before its end.

    In a directory of its own: masscan leaves a file where it is interrupted."""

    def __init__(self, command):
        self.command = command

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory()
        self.out = open(f"{self.folder.name}/out", "w+")
        self.errors = open(f"{self.folder.name}/errors", "w+")
        self.start = time.perf_counter()
        self.process = subprocess.Popen(
            self.command, stdin=subprocess.DEVNULL, stdout=self.out,
            stderr=self.errors, cwd=self.folder.name)
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.out.close()
        self.errors.close()
        self.folder.cleanup()

    def has_ended(self, flags=0):
        """Waits for that, unless FLAGS say os.WNOHANG."""
        pid, status, self.usage = os.wait4(self.process.pid, flags)
        if pid == 0:
            return False
        self.took = time.perf_counter() - self.start
        self.process.returncode = os.waitstatus_to_exitcode(status)
        return True

    def result(self, truth):
        """Its time, that of its CPUs, and how right it was."""
        self.errors.seek(0)
        if self.process.returncode not in (0, 1):
            said = self.errors.read().strip().splitlines() or ["no word"]
            raise Broke(f"status {self.process.returncode}: {said[-1]}")
        self.out.seek(0)
        found = open_ports(self.out.read())
        return {"ms": self.took * 1e3,
                "cpu_us": (self.usage.ru_utime + self.usage.ru_stime) * 1e6,
                "missed": len(truth - found), "made_up": len(found - truth)}


def measured(command, truth):
    with Scan(command) as scan:
        scan.has_ended()
        return scan.result(truth)


def worst(runs, key):
    return max(run[key] for run in runs)


# All ports of the loopback


def wait_for_ports():
    """Until what was measured before has left no TIME_WAIT, which would hold a
    port of LISTENERS: a minute."""
    sockets = pathlib.Path("/proc/net/sockstat")
    deadline = time.monotonic() + 90
    while " tw 0 " not in sockets.read_text():
        if time.monotonic() > deadline:
            raise Broke("TIME_WAIT does not end")
        time.sleep(0.5)


def run_loopback(bench):
    commands = installed({
        "cleat": cleat_scan(bench, "-", "127.0.0.1"),
        "nmap -sS": nmap("-sS", "-", "127.0.0.1"),
        "nmap -sT": nmap("-sT", "-", "127.0.0.1"),
        "raw loop": [bench.raw_scan],
        "raw loop, reuse": [bench.raw_scan, "reuse"],
    })
    truth = {("127.0.0.1", port) for port in LISTENERS}

    def prepare(name):
        return contextlib.nullcontext(lambda: measured(commands[name], truth))

    wait_for_ports()
    with target("127.0.0.1", LISTENERS):
        found = bench.interleaved(list(commands), prepare, SLICES)
    rows = [[name, show(middle(runs, "ms"), 0),
             show(middle(runs, "cpu_us") / ALL_PORTS),
             str(worst(runs, "missed")), str(worst(runs, "made_up"))]
            for name, runs in found.items()]
    table(f"All ports of the loopback, {len(LISTENERS)} open: median; worst",
          ["", "ms", "CPU us/port", "missed", "made up"], rows)
    for other, most in [("nmap -sS", 0.5), ("nmap -sT", 0.35)]:
        bench.figure(f"scan, loopback, time: cleat / {other}",
                     ratio(found, "cleat", other, "ms"), most=most)
    bench.figure("scan, loopback, CPU: cleat / raw loop",
                 ratio(found, "cleat", "raw loop", "cpu_us"), most=1.1)
    bench.figure("scan, loopback: ports wrong in the worst run, cleat",
                 mistakes(found), most=0)
    bench.results["loopback"] = found


def mistakes(found):
    runs = found.get("cleat")
    return runs and max(run["missed"] + run["made_up"] for run in runs)


# A block of addresses most of which are silent


def side_by_side(bench, commands, truth, found):
    """A run of each at once, for they sleep: one by one is a waste."""
    with contextlib.ExitStack() as stack:
        running = {name: stack.enter_context(Scan(command))
                   for name, command in commands.items() if name in found}
        while running:
            time.sleep(0.01)
            for name in [name for name, scan in running.items()
                         if scan.has_ended(os.WNOHANG)]:
                with bench.survive(found, name):
                    found[name].append(running.pop(name).result(truth))


def run_block(bench):
    block = QUICK_BLOCK if bench.args.quick else BLOCK
    answering = list(block)[1::8]
    truth = {(str(host), port) for host in answering for port in OPEN}
    cleat = {"cleat": cleat_scan(bench, "1-100", str(block))}
    peers = installed({
        "nmap -sT": nmap("-sT", "1-100", str(block)),
        "nmap -sS": nmap("-sS", "1-100", str(block)),
        "nmap -sT -T4": nmap("-sT", "1-100", "-T4", str(block)),
    })
    found = {name: [] for name in [*cleat, *peers]}
    for commands in [cleat, peers] if bench.args.quick else [
            cleat, peers, cleat]:
        side_by_side(bench, commands, truth, found)
    rows = [[name, show(middle(runs, "ms") / 1e3),
             show(middle(runs, "cpu_us") / 1e6),
             show(1 - worst(runs, "missed") / len(truth), 4),
             str(worst(runs, "made_up"))] for name, runs in found.items()]
    table(f"{block}, {len(answering)} of which answer, 100 ports each, "
          f"{len(truth)} open: median; worst",
          ["", "s", "CPU s", "recall", "made up"], rows)
    for other in ["nmap -sT", "nmap -sS"]:
        bench.figure(f"scan, {block}, time: cleat / {other}",
                     block_ratio(found, other), most=0.5)
    bench.figure(f"scan, {block}: ports wrong in the worst run, cleat",
                 mistakes(found), most=0)
    bench.results[str(block)] = found


def block_ratio(found, other):
    """None if OTHER was the better one: faster by missing some is no merit."""
    if "cleat" not in found or other not in found:
        return None
    if worst(found["cleat"], "missed") > worst(found[other], "missed"):
        return None
    return middle(found["cleat"], "ms") / middle(found[other], "ms")


# SYN packets


def packets_sent():
    for line in pathlib.Path("/proc/net/dev").read_text().splitlines():
        name, _, counts = line.partition(":")
        if name.strip() == "scan":
            return int(counts.split()[9])
    raise Broke("no interface")


def wake_masscan():
    """It sees that it is to end only when a packet comes: have one sent."""
    with socket.socket() as one:
        one.setblocking(False)
        one.connect_ex((CLOSED.partition("-")[0], 1))


def packet_rate(samples, probes):
    """Between the first and the last hundredth of PROBES."""
    some = [(at, sent) for at, sent in samples
            if probes * 0.01 <= sent <= probes * 0.99]
    if len(some) < 2 or samples[-1][1] < probes * 0.99:
        raise Broke(f"sent {samples[-1][1]} packets of {probes}")
    (start, first), (end, last) = some[0], some[-1]
    return (last - first) / (end - start)


def flood(command, probes, truth):
    samples = []
    before = packets_sent()
    with Scan(command) as scan:
        while not scan.has_ended(os.WNOHANG):
            wake_masscan()
            samples.append((time.perf_counter(), packets_sent() - before))
            time.sleep(0.01)
        found = scan.result(truth)
    return found | {"cpu_us": found["cpu_us"] / probes,
                    "packets_s": packet_rate(samples, probes)}


def run_syn(bench, title, hosts, truth):
    probes = 10 * ALL_PORTS
    once = ["--retries", "0", "--rate", "10000000"]
    commands = installed({
        "cleat --syn": cleat_scan(bench, "-", "--syn", *once, hosts),
        "masscan": ["masscan", f"-p1-{ALL_PORTS}", *once, "--wait", "0",
                    "--interface", "scan", "--router-mac",
                    ROUTER_MAC.replace(":", "-"), hosts],
    })

    def prepare(name):
        return contextlib.nullcontext(
            lambda: flood(commands[name], probes, truth))

    found = bench.interleaved(list(commands), prepare)
    rows = [[name, show(middle(runs, "packets_s") / 1e3, 0),
             show(middle(runs, "cpu_us")), show(middle(runs, "ms") / 1e3),
             str(worst(runs, "missed")), str(worst(runs, "made_up"))]
            for name, runs in found.items()]
    table(f"One SYN to each of {probes} ports that {title}: median; worst",
          ["", "1000 packets/s", "CPU us/probe", "s", "missed", "made up"],
          rows)
    bench.figure(f"scan, ports that {title}, CPU: cleat --syn / masscan",
                 ratio(found, "cleat --syn", "masscan", "cpu_us"), most=1.0)
    bench.results[f"syn {title}"] = found


# Memory


def peak_memory(command, seconds):
    """In MiB, of a scan interrupted then; by GNU time, for a child of ours
    would begin with our own."""
    out = subprocess.run(
        ["time", "-f", "%M", "timeout", "--foreground", "-s", "INT",
         str(seconds), *command], text=True, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    said = out.stderr.split()
    if out.returncode != 124 or not said:  # it ended by itself
        raise Broke(f"{' '.join(command)}: {out.stderr.strip()}")
    return int(said[-1]) / 1024


def run_memory(bench):
    seconds = 2 if bench.args.quick else 5
    for engine, words in [("connect", []), ("syn", ["--syn"])]:
        command = [bench.cleat, "scan", "--top", "1000", "--yes", *words, HUGE]
        peak = peak_memory(command, seconds)
        bench.figure(f"scan, {HUGE} x 1000 ports, {engine}: MiB at its peak",
                     peak, most=32)
        bench.results[f"memory {engine}"] = peak


def run_scan(bench):
    if not bench.is_private:
        print("\nleft out: scan (needs root)")
        return
    run_loopback(bench)
    with other_network():
        run_block(bench)
        hosts = [f"10.9.1.{i}" for i in range(10)]
        run_syn(bench, "refuse", CLOSED,
                {(host, port) for host in hosts for port in OPEN})
        run_syn(bench, "are silent", SILENT, set())
        run_memory(bench)
