#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""cleat scan on the loopback, where all ports are known: never a miss, never a
ghost, however little there is of what it needs."""
import contextlib
import itertools
import json
import os
import pathlib
import random
import signal
import tempfile
import unittest

import own_network
from scan_lab import (
    CLOSED, LONG, OPEN, Cleat, differences, is_needed, listeners,
    parse, ranges)
from support import Program, tool, wait_until

CONNECT, SYN = (), ("--syn",)
ALL = range(1, 65536)
NARROW = range(40000, 40100)  # where a test lets connections begin
RUNS = 50 if LONG else 6

# Other ports on each loopback, so that neither is taken for the other; among
# them the ends, and some that are also connected from.
chosen = random.Random("cleat scan")
LISTENING = {
    host: {1, 65535, 40010, 40050, *chosen.sample(range(2, 65535), 196)}
    for host in ("127.0.0.1", "::1")}
SYSCTLS = pathlib.Path("/proc/sys/net")


def setUpModule():
    for host, ports in LISTENING.items():
        some = sorted(ports)
        server = unittest.enterModuleContext(
            listeners(some[50:], some[:50], host))
        server.begin()
    # ICMP errors are not to be had without limit everywhere.
    with contextlib.suppress(OSError):
        (SYSCTLS / "ipv4/icmp_ratemask").write_text("0")


def truth(host, ports):
    return {port: OPEN if port in LISTENING[host] else CLOSED
            for port in ports}


class Case(unittest.TestCase):
    def narrow(self, ports):
        """Connections begin at PORTS alone."""
        path = SYSCTLS / "ipv4/ip_local_port_range"
        before = path.read_text()
        self.addCleanup(path.write_text, before)
        path.write_text(f"{ports[0]} {ports[-1]}")

    def assert_true(self, ports, *args, hosts=("127.0.0.1",), **options):
        """Every verdict on PORTS, each told of."""
        found = Cleat(*args, "-p", ranges(ports), *hosts, **options)
        for host in hosts:
            self.assertEqual(
                differences(found.states(host), truth(host, ports)), [],
                found.said)
        return found


class AllPorts(Case):
    def test_never_a_miss_or_a_ghost(self):
        cases = itertools.cycle(itertools.product(
            (["127.0.0.1"], ["::1"], ["127.0.0.1", "::1"]), (CONNECT, SYN)))
        for run, (hosts, engine) in zip(range(RUNS), cases):
            with self.subTest(run=run, hosts=hosts, engine=engine):
                found = Cleat(*engine, "-p-", *hosts, only_open=True)
                want = {(host, port): OPEN for host in hosts
                        for port in LISTENING[host]}
                self.assertEqual(differences(found.states(), want), [])
                self.assertEqual(
                    [found.summary[key] for key in
                     ("hosts", "ports", "open", "closed", "filtered")],
                    [len(hosts), 65535 * len(hosts), len(want),
                     65535 * len(hosts) - len(want), 0])

    def test_each_port_is_told_of(self):
        for engine in CONNECT, SYN:
            with self.subTest(engine):
                self.assert_true(ALL, *engine)

    def test_as_a_user_without_rights(self):
        if not own_network.can_be_nobody():
            self.skipTest("there is no other user here")
        found = Cleat("-p-", "127.0.0.1", "::1", only_open=True,
                      prefix=own_network.AS_NOBODY)
        self.assertEqual(found.opened(), {
            (host, port) for host in LISTENING for port in LISTENING[host]})

    @unittest.skipUnless(LONG, "it takes long")
    def test_udp(self):
        """Nobody listens; what the scan itself has open does not count."""
        found = Cleat("-u", "-p-", "127.0.0.1", only_open=True)
        self.assertEqual(found.opened(), set())
        self.assertEqual(found.summary["closed"], 65535)


class Ghosts(Case):
    """Ports that are scanned are connected from as well."""

    PORTS = range(39950, 40150)

    def test_tcp(self):
        self.narrow(NARROW)
        for run, engine in itertools.product(range(10), (CONNECT, SYN)):
            with self.subTest(run=run, engine=engine):
                self.assert_true(self.PORTS, *engine,
                                 hosts=("127.0.0.1", "::1"))

    def test_udp(self):
        self.narrow(NARROW)
        for run in range(10):
            with self.subTest(run=run):
                found = Cleat("-u", "-p", ranges(self.PORTS), "127.0.0.1",
                              "::1")
                for host in "127.0.0.1", "::1":
                    self.assertEqual(
                        differences(found.states(host),
                                    dict.fromkeys(self.PORTS, CLOSED)), [])

    def test_hardly_a_port_to_connect_from(self):
        """Half of what is scanned may be all there is."""
        ports = range(39998, 40012)
        for few in 4, 2:
            self.narrow(range(40008, 40008 + few))
            for engine in CONNECT, SYN:
                with self.subTest(few, engine=engine):
                    self.assert_true(ports, *engine)

    def test_a_single_port_to_connect_from(self):
        """It cannot be connected to, but all others can."""
        self.narrow(range(40008, 40009))
        found = Cleat("-p", "40000-40012", "127.0.0.1")
        want = truth("127.0.0.1", range(40000, 40013))
        got = found.states("127.0.0.1")
        self.assertNotEqual(got.pop(40008), OPEN)
        del want[40008]
        self.assertEqual(differences(got, want), [], found.said)


class Shortage(Case):
    def test_few_descriptors(self):
        for n in 64, 20:
            limit = ["prlimit", f"--nofile={n}"]
            for args in CONNECT, SYN:
                with self.subTest(n, args=args):
                    self.assert_true(range(1, 5001), *args, prefix=limit,
                                     hosts=("127.0.0.1", "::1"))

    def test_few_descriptors_for_datagrams(self):
        found = Cleat("-u", "-p", "1-2000", "127.0.0.1",
                      prefix=["prlimit", "--nofile=32"])
        self.assertEqual(differences(found.states("127.0.0.1"),
                                     dict.fromkeys(range(1, 2001), CLOSED)), [])

    def test_few_ports_to_connect_from(self):
        self.narrow(range(50000, 50010))
        self.assert_true(range(1, 5001))


class Options(Case):
    def test_width(self):
        for engine in CONNECT, SYN:
            for width in "1", "7":
                with self.subTest(engine=engine, width=width):
                    self.assert_true(range(1, 3001), *engine, "--width", width)

    def test_rate(self):
        """At most so many in any second: 3 s worth take 2 at the least."""
        for engine in CONNECT, SYN:
            with self.subTest(engine):
                found = self.assert_true(range(1, 301), *engine, "--rate",
                                         "100")
                self.assertGreaterEqual(found.seconds, 2)
                self.assertGreaterEqual(found.summary["seconds"], 2)
                self.assertLess(found.seconds, 20)

    def test_shards(self):
        """Disjoint, and all of it together."""
        hosts = ["127.0.0.1", "::1"]
        everything = {(host, port): state for host in hosts
                      for port, state in truth(host, range(1, 1001)).items()}
        for n in 1, 2, 3, 7:
            shares = [Cleat("--shard", f"{i}/{n}", "-p", "1-1000", *hosts)
                      for i in range(1, n + 1)]
            union = {}
            for share in shares:
                self.assertEqual(share.summary["ports"], len(share.states()))
                self.assertFalse(union.keys() & share.states().keys())
                union.update(share.states())
            self.assertEqual(differences(union, everything), [])
            sizes = [len(share.states()) for share in shares]
            self.assertLessEqual(max(sizes) - min(sizes), 1)


class Interrupted(Case):
    PORTS = range(1, 40001)

    def setUp(self):
        self.state = os.path.join(
            self.enterContext(tempfile.TemporaryDirectory()), "state")
        self.want = {("127.0.0.1", port) for port in LISTENING["127.0.0.1"]
                     if port in self.PORTS}
        self.args = ["-p", ranges(self.PORTS), "127.0.0.1"]

    def start(self, *args):
        return Program(tool(), "scan", "--json", *args, *self.args)

    def opened(self, out):
        """What whole lines tell of."""
        lines = map(json.loads, out[:out.rfind("\n") + 1].splitlines())
        return {(r["address"], r["port"]) for r in lines
                if r.get("state") == OPEN}

    def wait_for_lines(self, p, n):
        def seen():
            return p.out.count("\n") >= n or p.process.poll() is not None
        wait_until(seen, f"{n} lines of {p.argv}")

    def test_by_the_user(self):
        for engine in CONNECT, SYN:
            for number in signal.SIGINT, signal.SIGTERM:
                with self.subTest(engine, number=number), \
                        self.start(*engine, "--rate", "1000") as p:
                    self.wait_for_lines(p, 3)
                    p.signal(number)
                    self.assertEqual(p.wait(), 128 + number, p.err)
                    found, summary = parse(p.out)
                    self.assertLessEqual(self.opened(p.out), self.want)
                    self.assertEqual(len(found), summary["open"])
                    self.assertLess(summary["open"] + summary["closed"],
                                    len(self.PORTS))

    def test_and_continued(self):
        for engine in CONNECT, SYN:
            with self.subTest(engine):
                self.state += "x"
                found = set()
                for _ in range(3):
                    with self.start(*engine, "--rate", "5000", "--resume",
                                    self.state) as p:
                        n = p.out.count("\n")
                        self.wait_for_lines(p, n + 5)
                        p.signal(signal.SIGINT)
                        self.assertEqual(p.wait(), 130, p.err)
                        parse(p.out)
                        found |= self.opened(p.out)
                self.assertLess(len(found), len(self.want))
                last = Cleat(*engine, "--resume", self.state, *self.args,
                             only_open=True)
                found |= last.opened()
                self.assertEqual(
                    differences(dict.fromkeys(found, OPEN),
                                dict.fromkeys(self.want, OPEN)), [])

    def test_killed_and_continued(self):
        """What is on disk never runs ahead of what was told."""
        for engine in CONNECT, SYN:
            with self.subTest(engine):
                self.state += "x"
                found = set()
                for n in 1, 2, 5, 10, 20, 40:
                    with self.start(*engine, "--rate", "20000", "--resume",
                                    self.state) as p:
                        self.wait_for_lines(p, n)
                        p.signal(signal.SIGKILL)
                        p.wait()
                        found |= self.opened(p.out)
                last = Cleat(*engine, "--resume", self.state, *self.args,
                             only_open=True)
                found |= last.opened()
                self.assertEqual(
                    differences(dict.fromkeys(found, OPEN),
                                dict.fromkeys(self.want, OPEN)), [])

    def test_another_scan_is_not_continued(self):
        with self.start("--rate", "1000", "--resume", self.state) as p:
            self.wait_for_lines(p, 2)
            p.signal(signal.SIGINT)
            self.assertEqual(p.wait(), 130, p.err)
        self.assertTrue(os.path.exists(self.state))
        for args in (["-p", "1-100", "127.0.0.1"],
                     ["-p", ranges(self.PORTS), "127.0.0.2"],
                     ["--shard", "1/2", *self.args]):
            with self.subTest(args), \
                    Program(tool(), "scan", "--resume", self.state,
                            *args) as p:
                self.assertEqual(p.wait(), 2)
                self.assertRegex(p.err, r"\Acleat scan: [^\n]+\n\Z")
                self.assertEqual(p.out, "")


if __name__ == "__main__":
    if reason := is_needed("setpriv", "prlimit", "ip"):
        raise SystemExit(print("skipped:", reason) or own_network.SKIPPED)
    own_network.main()
