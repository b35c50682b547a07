#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""cleat scan where packets are lost, both ways, beside nmap.

Each packet is dropped with probability Q, so an attempt fails with P = 1 - (1 -
Q)^2: 0.0199 at 1%, 0.0975 at 5%, 0.36 at 20%.  A port is wrongly called silent
if all attempts fail.  What is asserted of chance holds but once in some hundred
thousand runs, as the comments reckon: `twice` tries what fails once more, and
says so.
"""
import shutil
import unittest

import own_network
from scan_lab import (
    CLOSED, CLOSED_PORTS, DROPPED, FILTERED, LONG, OPEN, OPEN_PORTS, SILENT,
    UDP_ANSWERS, Cleat, Nmap, address, at_once, differences, open_lab,
    ranges, tcp_truth, udp_truth)

CONNECT, SYN, UDP = (), ("--syn",), ("-u",)
needs_nmap = unittest.skipUnless(shutil.which("nmap"), "no nmap here")
NMAP = {CONNECT: "-sT", SYN: "-sS"}


def setUpModule():
    open_lab()


def chosen(opened=200, closed=100, dropped=0):
    ports = {*OPEN_PORTS[:opened], *CLOSED_PORTS[:closed], *DROPPED[:dropped]}
    return {port: state for port, state in tcp_truth().items()
            if port in ports}


def recall(found, truth):
    """How many of the open ports it found."""
    return sum(found.get(port) == OPEN for port, state in truth.items()
               if state == OPEN)


class Case(unittest.TestCase):
    def twice(self, wrong):
        """WRONG() is not true two times running."""
        first = wrong()
        if first:
            print(f"{self.id()}: once: {first}", flush=True)
            again = wrong()
            if again:
                self.fail(f"{first}; and again: {again}")

    def assert_no_ghost(self, found, truth, said):
        """Whatever is lost, nothing becomes what it is not by that."""
        for port, state in found.items():
            self.assertIn(state, (truth[port], FILTERED, SILENT),
                          f"{port}: {said}")


class OnePercent(Case):
    """No port wrong.

    Three attempts fail for one of 300 ports with probability 300 P^3 = 2.4e-3,
    twice running with 5.7e-6.
    """

    def check(self, engine, truth, version=4):
        at = address("loss1", version)

        def wrong():
            found = Cleat(*engine, "-p", ranges(truth), at)
            self.assert_no_ghost(found.states(at), truth, found.said)
            return differences(found.states(at), truth)
        self.twice(wrong)

    def test_tcp(self):
        for engine in CONNECT, SYN:
            for version in 4, 6:
                with self.subTest(engine, version=version):
                    self.check(engine, chosen(dropped=5), version)

    def test_udp(self):
        truth = {port: state for port, state in udp_truth().items()
                 if state in (OPEN, CLOSED)}
        self.check(UDP, truth)

    def test_more_retries(self):
        """300 P^7 = 3.7e-10: strictly."""
        truth = chosen()
        for engine in CONNECT, SYN:
            with self.subTest(engine):
                found = Cleat(*engine, "--retries", "6", "-p", ranges(truth),
                              address("loss1"))
                self.assertEqual(
                    differences(found.states(address("loss1")), truth), [])


class FivePercent(Case):
    @needs_nmap
    def test_recall_is_at_least_nmaps(self):
        """Three attempts would miss one of 200 with probability 0.17.

        It tries more often where it sees losses, and then is wrong of any port
        in one run of a thousand; twice running in one of a million.
        """
        truth = chosen(dropped=2)
        at = address("loss5")
        for engine in CONNECT, SYN:
            def worse():
                ours, theirs = at_once(
                    lambda: Cleat(*engine, "-p", ranges(truth), at),
                    lambda: Nmap(NMAP[engine], "-p", ranges(truth), at))
                self.assert_no_ghost(ours.states(at), truth, ours.said)
                n, m = (recall(s.states(at), truth) for s in (ours, theirs))
                print(f"5%, {engine}: {n} of 200 in {ours.seconds:.1f} s, nmap"
                      f" {m} in {theirs.seconds:.1f} s", flush=True)
                return n < m and differences(ours.states(at), truth)
            with self.subTest(engine):
                self.twice(worse)

    def test_several_runs(self):
        """What is said of one in a thousand, of closed ports as well."""
        truth = chosen()
        at = address("loss5")
        for engine in CONNECT, SYN:
            def wrong():
                found = Cleat(*engine, "-p", ranges(truth), at)
                self.assert_no_ghost(found.states(at), truth, found.said)
                return differences(found.states(at), truth)
            for run in range(5 if LONG else 1):
                with self.subTest(engine, run=run):
                    self.twice(wrong)

    def test_more_retries(self):
        """300 P^8 = 2.4e-6: strictly."""
        truth = chosen()
        at = address("loss5")
        for engine in CONNECT, SYN:
            with self.subTest(engine):
                found = Cleat(*engine, "--retries", "7", "-p", ranges(truth),
                              at)
                self.assertEqual(differences(found.states(at), truth), [])


class TwentyPercent(Case):
    def test_recall(self):
        """By three attempts 190.7 of 200 are found, give or take 3.

        Fewer than 170 have probability 3e-8 then, and less by more attempts.
        """
        truth = chosen(closed=20)
        at = address("loss20")
        scans = [lambda engine=engine: Cleat(*engine, "-p", ranges(truth), at)
                 for engine in (CONNECT, SYN)]
        if LONG and shutil.which("nmap"):
            scans += [lambda how=how: Nmap(how, "-p", ranges(truth), at)
                      for how in ("-sT", "-sS")]
        for name, found in zip(("connect", "syn", "nmap -sT", "nmap -sS"),
                               at_once(*scans)):
            n = recall(found.states(at), truth)
            print(f"20%, {name}: {n} of 200 in {found.seconds:.1f} s",
                  flush=True)
            if not name.startswith("nmap"):
                self.assert_no_ghost(found.states(at), truth, found.said)
                self.assertGreaterEqual(n, 170, found.said)

    def test_udp(self):
        """20 P^3: 0.9 of 20 are missed; more than 10 with probability 1e-9."""
        at = address("loss20")
        found = Cleat(*UDP, "-p", ranges(UDP_ANSWERS), at).states(at)
        self.assertGreaterEqual(list(found.values()).count(OPEN),
                                len(UDP_ANSWERS) - 10)


if __name__ == "__main__":
    own_network.main()
