#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""cleat scan from outside: options, bad input, what it prints, and how a scan
that was interrupted goes on.  Whether it finds the truth is for others."""
import collections
import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import tempfile
import threading
import unittest

import own_network
from support import (
    DEADLINE, Peer, Program, acknowledge, is_sanitized, needs_ipv6, run, tool,
    wait_until)
from terminal import Terminal

KEYS = {"host", "address", "port", "proto", "state", "reason", "service",
        "rtt_us", "banner"}
SUMMARY_KEYS = {"hosts", "ports", "open", "closed", "filtered",
                "open|filtered", "seconds", "ports_per_s", "attempts",
                "unanswered", "hosts_answered", "shortages", "silenced",
                "basis", "finished"}
MS = r"\d+\.\d+ ms"

# What is written behind "cleat scan", and what the complaint says of it.
MISUSES = [
    ([], "no host; write cleat scan HOST"),
    (["-p", "90-80", "::1"], "90-80.*backwards"),
    (["-p", "0", "::1"], "0"), (["-p", "65536", "::1"], "65535"),
    (["-p", "", "::1"], "port"), (["-p", "80,", "::1"], "port"),
    (["-p", "no-such-service", "::1"], "no-such-service"),
    (["-p", "80", "--top", "5", "::1"], "-p and --top"),
    (["--top", "0", "::1"], "1 to 65535"),
    (["--top", "65536", "::1"], "1 to 65535"),
    (["--top", "x", "::1"], "1 to 65535"),
    *[([option, value, "::1"], f"{option} {value}: ")
      for option in ("--width", "--rate")
      for value in ("", "0", "-1", "x", "1.5", "99999999999999999999")],
    *[(["--retries", value, "::1"], f"--retries {value}: .*0 to 100")
      for value in ("", "-1", "x", "101", "99999999999999999999")],
    *[(["--shard", value, "::1"], f"--shard {value}: .*1/4")
      for value in ("", "1", "/", "1/", "/2", "0/2", "3/2", "1/0", "x/2",
                    "1/2/3", "-1/2", "1" * 40 + "/2")],
    *[([option, value, "::1"], f"{option} {value}: ")
      for option in ("-w", "--timeout")
      for value in ("", "0", "x", "-1", "1d")],
    (["-4", "-6", "::1"], "-4 and -6"),
    (["-u", "--syn", "::1"], "--syn and -u"),
    (["-u", "--banner", "::1"], "--banner and -u"),
    (["--nosuch", "::1"], "--nosuch"), (["--json=1", "::1"], "takes no value"),
    (["-p"], "needs a value"),
    ([""], "target"), (["127.0.0.1:80"], "port"), (["10.0.0.0/33"], "32"),
    (["10.0.0.0/"], "10.0.0.0/"), (["10.0.0.9-1"], "backwards"),
    (["256.0.0.1"], "256.0.0.1"), (["::/0"], "/64"),
    (["-4", "::1"], "IPv"), (["-6", "127.0.0.1"], "IPv"),
    (["10.0.0.0/8"],
     "10.0.0.0/8: 16777216 addresses; add --yes if you mean them all"),
    (["10.0.0.0/8", "--exclude", "10.0.0.0/9"], "8388608 addresses"),
    (["10.0.0.0/17", "10.1.0.0/17", "10.2.0.0/17"],
     "98304 addresses in all; add --yes"),
    (["127.0.0.1", "--exclude", "127.0.0.0/8"], "all are excluded"),
    (["127.0.0.1", "--exclude", ""], "--exclude"),
    (["127.0.0.1", "--exclude", "10.0.0.1,"], "--exclude"),
    (["127.0.0.1", "--exclude", "10.0.0.1/99"], "10.0.0.1/99"),
    (["@"], "@: needs the name of a file"),
    (["@/nonexistent/hosts"], "@/nonexistent/hosts: no such file"),
    (["@/"], "@/: is a directory"), (["@/dev/zero"], "no list of hosts"),
    (["@/dev/null"], "no host"),
    (["127.0.0.1", "--exclude", "@/nonexistent"], "@/nonexistent: no such"),
    (["127.0.0.1", "--resume", "/dev/null"], "not a file that cleat scan"),
    (["127.0.0.1", "--resume", "/"], "--resume /: is a directory"),
]


def scan(*args, **options):
    return run(tool(), "scan", *args, **options)


def table_of(text):
    """The lines of the table, each as {heading: cell}."""
    lines = text.splitlines()
    start = next((i for i, line in enumerate(lines)
                  if line.startswith("ADDRESS ")), None)
    if start is None:
        return []
    heads = [(m[0], m.start()) for m in re.finditer(r"\S+", lines[start])]
    ends = [at for _, at in heads[1:]] + [None]
    rows = lines[start + 1:lines.index("", start)]
    return [{head: row[at:end].strip()
             for (head, at), end in zip(heads, ends)} for row in rows]


def counts_of(text):
    """Of the summary: (ports, open, closed, filtered)."""
    m = re.search(r"^(\d+) TCP ports? of \d+ hosts?: "
                  r"(\d+) open, (\d+) closed, (\d+) filtered$", text, re.M)
    return tuple(int(n) for n in m.groups())


class Case(own_network.Case):
    def setUp(self):
        self.dir = pathlib.Path(
            self.enterContext(tempfile.TemporaryDirectory()))

    def listen(self, *ports, host="127.0.0.1"):
        for port in ports:
            self.bound(host, port)

    def file(self, name, text):
        path = self.dir / name
        path.write_text(text)
        return str(path)

    def assert_line(self, r, reason, status):
        self.assertRegex(r.stderr, rf"\Acleat scan: [^\n]*{reason}[^\n]*\n\Z")
        self.assertEqual((r.stdout, r.returncode), ("", status))

    def json(self, *args, status=0, **options):
        """What it found, and the summary."""
        r = scan("--json", *args, **options)
        self.assertEqual((r.stderr, r.returncode), ("", status))
        *found, last = [json.loads(line) for line in r.stdout.splitlines()]
        for o in found:
            self.assertEqual(o.keys(), KEYS)
        self.assertEqual(last.keys(), {"summary"})
        self.assertEqual(last["summary"].keys(), SUMMARY_KEYS)
        return found, last["summary"]

    def found(self, *args, **options):
        """{(address, port): state}, each once."""
        found, _ = self.json(*args, **options)
        at = [(o["address"], o["port"]) for o in found]
        self.assertEqual(len(at), len(set(at)))
        return dict(zip(at, (o["state"] for o in found)))


class Printing(Case):
    def test_lines_then_the_table_then_the_summary(self):
        self.listen(22, 9000, 35555)
        r = scan("-p", "1-40000", "127.0.0.1")
        lines, table, summary = r.stdout.split("\n\n")
        self.assertEqual((r.stderr, r.returncode), ("", 0))
        for line in lines.splitlines():
            self.assertRegex(line, rf"\A127\.0\.0\.1:\d+ -- OPEN \({MS}\)\Z")
        self.assertEqual(len(lines.splitlines()), 3)
        head, *rows = table.splitlines()
        self.assertRegex(head, r"\AADDRESS +PORT +STATE +SERVICE +RTT\Z")
        for row, start in zip(rows, ("22 +open +ssh", "9000 +open +",
                                     r"35555 +open +-")):
            self.assertRegex(row, rf"\A127\.0\.0\.1 +{start}[\w-]* +{MS}\Z")
        self.assertEqual(len(rows), 3)
        first, rest = summary.splitlines()
        self.assertEqual(first, "40000 TCP ports of 1 host: 3 open, "
                         "39997 closed, 0 filtered")
        self.assertRegex(rest, r"\A    [\d.]+ s, \d+ ports a second, "
                         r"\d+ attempts\Z")

    def test_nothing_found_is_no_failure(self):
        r = scan("-p", "1-9", "127.0.0.1")
        self.assertEqual(r.stdout.splitlines()[0],
                         "9 TCP ports of 1 host: 0 open, 9 closed, 0 filtered")
        self.assertEqual((r.stderr, r.returncode), ("", 0))

    def test_closed_and_filtered_are_listed_if_asked_for(self):
        self.listen(2)
        hosts = "127.0.0.1", "192.0.2.1"  # to which no route leads
        r = scan("-p", "1-3", "--closed", "--filtered", *hosts)
        rows = {(o["ADDRESS"], o["PORT"]): o for o in table_of(r.stdout)}
        self.assertEqual(len(rows), 6)
        self.assertEqual([p for _, p in rows], ["1", "2", "3"] * 2)
        for at, state, reason in (
                (("127.0.0.1", "1"), "closed", "RST"),
                (("127.0.0.1", "2"), "open", "connected")):
            self.assertEqual((rows[at]["STATE"], rows[at]["REASON"]),
                             (state, reason))
        self.assertEqual(rows["192.0.2.1", "3"]["STATE"], "filtered")
        self.assertEqual(rows["192.0.2.1", "3"]["RTT"], "-")
        self.assertNotEqual(rows["192.0.2.1", "3"]["REASON"], "-")
        self.assertEqual(r.stdout.count(" -- "), 1)
        self.assertIn("    1 of 2 hosts gave no answer\n", r.stdout)
        r = scan("-p", "1-3", "--closed", *hosts)
        self.assertEqual(len(table_of(r.stdout)), 3)
        r = scan("-p", "1-3", *hosts)
        self.assertEqual(len(table_of(r.stdout)), 1)
        self.assertNotIn("REASON", r.stdout)

    def test_json(self):
        self.listen(22)
        found, summary = self.json("-p", "21,22", "--closed", "127.0.0.1")
        by_port = {o["port"]: o for o in found}
        o = by_port[22]
        self.assertGreater(o.pop("rtt_us"), -1)
        self.assertEqual(o, {
            "host": "127.0.0.1", "address": "127.0.0.1", "port": 22,
            "proto": "tcp", "state": "open", "reason": "connected",
            "service": "ssh", "banner": None})
        self.assertEqual(by_port[21]["state"], "closed")
        for key, value in {
                "hosts": 1, "ports": 2, "open": 1, "closed": 1, "filtered": 0,
                "open|filtered": 0, "unanswered": 0, "hosts_answered": 1,
                "silenced": [], "basis": None, "finished": True}.items():
            self.assertEqual(summary[key], value, key)
        self.assertGreaterEqual(summary["attempts"], 2)
        self.assertGreater(summary["seconds"], 0)

    def test_where_no_way_leads_is_no_failure(self):
        plan = "-p", "1-3", "--filtered", "192.0.2.1"
        found, summary = self.json(*plan)
        self.assertEqual([(o["state"], o["reason"]) for o in found],
                         [("filtered", "network is unreachable")] * 3)
        self.assertEqual((summary["hosts_answered"], summary["finished"]),
                         (0, True))
        r = scan(*plan)
        self.assertIn("    the host gave no answer\n", r.stdout)
        self.assertEqual((r.stderr, r.returncode), ("", 0))

    def test_hosts_that_answered_are_counted_exactly(self):
        r = scan("-p", "1", "--json", "127.0.0.0/16", timeout=3 * DEADLINE)
        summary = json.loads(r.stdout.splitlines()[-1])["summary"]
        self.assertEqual((summary["hosts"], summary["closed"],
                          summary["hosts_answered"]), (65536,) * 3)

    def test_a_name_is_the_host_of_its_addresses(self):
        self.listen(22)
        found, _ = self.json("-4", "-p", "22", "localhost")
        self.assertEqual([(o["host"], o["address"]) for o in found],
                         [("localhost", "127.0.0.1")])
        row, = table_of(scan("-4", "-p", "22", "localhost").stdout)
        self.assertEqual(row["HOST"], "localhost")

    def test_what_nobody_answers_is_said(self):
        with contextlib.ExitStack() as stack:
            _, port = self.bound("127.0.0.1", listen=False)
            s = stack.enter_context(socket.socket())
            s.bind(("127.0.0.1", 0))
            s.listen(0)  # the queue fills, and SYNs are dropped
            for _ in range(4):
                c = stack.enter_context(socket.socket())
                c.setblocking(False)
                c.connect_ex(s.getsockname())
            silent = s.getsockname()[1]
            r = scan("-w", "100ms", "--retries", "1", "-p",
                     f"{port},{silent}", "--filtered", "127.0.0.1")
            row, = table_of(r.stdout)
            self.assertEqual((row["PORT"], row["STATE"]),
                             (str(silent), "filtered"))
            self.assertIn("    1 port did not answer 2 attempts\n", r.stdout)
            _, o = self.json("-w", "100ms", "--retries", "0", "-p",
                             f"{silent}", "127.0.0.1")
            self.assertEqual((o["unanswered"], o["hosts_answered"],
                              o["attempts"]), (1, 0, 1))

    def test_banners(self):
        def speak(sock):
            sock.sendall(b"220 hi\x1b[31m\r\nnext\0line")
            sock.recv(1)

        def wait(sock):
            sock.recv(1)

        with Peer(speak) as loud, Peer(wait) as shy:
            ports = f"{loud.port},{shy.port}"
            found, _ = self.json("--banner", "-p", ports, "127.0.0.1")
            by_port = {o["port"]: o["banner"] for o in found}
            self.assertEqual(by_port, {
                loud.port: r"220 hi\x1b[31m\x0d\x0anext\x00line",
                shy.port: None})
            rows = {int(o["PORT"]): o["BANNER"] for o in table_of(
                scan("--banner", "-p", ports, "127.0.0.1").stdout)}
            self.assertEqual(rows, {loud.port: r"220 hi\x1b[31m",
                                    shy.port: "-"})
            found, _ = self.json("-p", ports, "127.0.0.1")
            self.assertEqual([o["banner"] for o in found], [None, None])

    def test_a_banner_has_one_meaning(self):
        said = {b"one\\x0a line": r"one\x5cx0a line",
                b"a\nb": r"a\x0ab", b"\\": r"\x5c",
                b"\\\0\\x00\xff": r"\x5c\x00\x5cx00\xff",
                b"\r\nhi": r"\x0d\x0ahi", b"\\" * 300: r"\x5c" * 256}

        def speaker(text):
            def speak(sock):
                sock.sendall(text)
                sock.recv(1)
            return speak

        by_port = {
            self.enterContext(Peer(speaker(text))).port: banner
            for text, banner in said.items()}
        plan = ["--banner", "-p", ",".join(map(str, by_port)), "127.0.0.1",
                "--resume", str(self.dir / "state")]
        for _ in "found", "read from the file":
            found, _ = self.json(*plan)
            self.assertEqual({o["port"]: o["banner"] for o in found}, by_port)
            lines = {int(o["PORT"]): o["BANNER"]
                     for o in table_of(scan(*plan).stdout)}
            self.assertEqual(
                lines, {port: "a" if banner == r"a\x0ab" else banner
                        for port, banner in by_port.items()})

    def test_udp(self):
        with Peer(acknowledge, udp=True) as peer:
            silent, port = self.udp("127.0.0.1")
            closed = next(p for p in range(2000, 3000)
                          if p not in (port, peer.port))
            ports = f"{peer.port},{port},{closed}"
            args = ["-u", "-w", "100ms", "--retries", "0", "-p", ports,
                    "127.0.0.1"]
            r = scan(*args)
            self.assertRegex(r.stdout, rf"\Audp://127\.0\.0\.1:{peer.port} -- "
                             rf"OPEN \({MS}\)\n\n")
            self.assertIn("3 UDP ports of 1 host: 1 open, 1 closed, "
                          "1 open|filtered\n", r.stdout)
            found, summary = self.json("--closed", "--filtered", *args)
            self.assertEqual({o["port"]: (o["proto"], o["state"])
                              for o in found},
                             {peer.port: ("udp", "open"),
                              port: ("udp", "open|filtered"),
                              closed: ("udp", "closed")})
            self.assertEqual(summary["open|filtered"], 1)

    def test_help_says_what_may_be_scanned(self):
        r = scan("--help")
        self.assertIn("Scan only what is yours, or what you may", r.stdout)
        self.assertEqual([s for s in r.stdout.splitlines() if len(s) > 80], [])


class Plan(Case):
    def test_ports_may_be_given_twice(self):
        self.listen(5, 7, 11)
        self.assertEqual(
            self.found("-p", "1-5", "-p", "11", "127.0.0.1").keys(),
            {("127.0.0.1", 5), ("127.0.0.1", 11)})

    def test_all_ports(self):
        self.listen(1, 65535)
        found, summary = self.json("-p-", "127.0.0.1")
        self.assertEqual({o["port"] for o in found}, {1, 65535})
        self.assertEqual(summary["ports"], 65535)

    def test_the_default_is_the_top_1000(self):
        self.listen(22)
        r = scan("127.0.0.1")
        self.assertEqual(counts_of(r.stdout), (1000, 1, 999, 0))
        self.assertIn("    top 1000 ports: ", r.stdout)
        found, summary = self.json("--top", "30", "127.0.0.1")
        self.assertEqual([o["port"] for o in found], [22])
        self.assertEqual(summary["ports"], 30)
        self.assertTrue(summary["basis"])

    def test_hosts(self):
        self.listen(80, host="0.0.0.0")
        for words, last in (
                (["127.0.0.0/30"], (0, 1, 2, 3)),
                (["127.0.0.1-3"], (1, 2, 3)),
                (["127.0.0.1-127.0.0.3"], (1, 2, 3)),
                (["127.0.0.1", "127.0.0.1", "127.0.0.0/31"], (0, 1)),
                (["127.0.0.0/29", "--exclude", "127.0.0.0/30,127.0.0.5"],
                 (4, 6, 7)),
                (["--exclude", "127.0.0.2", "127.0.0.1-3", "--exclude",
                  "127.0.0.3"], (1,)),
                (["127.0.0.1", "--", "127.0.0.9"], (1, 9))):
            _, summary = self.json("-p", "80", *words)
            # 127.0.0.0 is an address like any other here.
            self.assertEqual(summary["hosts"], len(last), words)
            found = self.found("-p", "80", *words)
            self.assertLessEqual(
                {f"127.0.0.{n}" for n in last if n > 0},
                {a for a, _ in found}, words)

    @needs_ipv6
    def test_ipv6(self):
        self.listen(80, host="::1")
        for word in "::1", "[::1]", "::1/128", "::1-::1":
            self.assertEqual(self.found("-p", "80", word),
                             {("::1", 80): "open"})
        r = scan("-p", "80", "::1")
        self.assertRegex(r.stdout, rf"\A\[::1\]:80 -- OPEN \({MS}\)\n\n")

    def test_files(self):
        self.listen(80, host="0.0.0.0")
        hosts = self.file("hosts", "# ours\n127.0.0.1 127.0.0.2\t# two\n\n"
                          "127.0.0.3#\n  127.0.0.8/31")
        but = self.file("but", "127.0.0.2\n127.0.0.9\n")
        self.assertEqual(
            {a for a, _ in self.found("-p", "80", f"@{hosts}", "--exclude",
                                      f"127.0.0.1,@{but}")},
            {"127.0.0.3", "127.0.0.8"})
        self.assertEqual(
            {a for a, _ in self.found("-p", "80", "@-",
                                      input="127.0.0.4\n127.0.0.5")},
            {"127.0.0.4", "127.0.0.5"})

    def test_a_file_may_begin_with_a_byte_order_mark(self):
        for text in "127.0.0.1", "# ours\n127.0.0.1", "\n127.0.0.1":
            hosts = self.file("hosts", "\ufeff" + text)
            self.assertEqual(counts_of(scan("-p", "1", f"@{hosts}").stdout),
                             (1, 0, 1, 0))

    def test_a_file_is_complained_of_by_line(self):
        hosts = self.file("hosts", "127.0.0.1\n# x\n127.0.0.1/99\n")
        self.assert_line(scan(f"@{hosts}"),
                         rf"{hosts}:3: .*127\.0\.0\.1/99", 2)
        hosts = self.file("large", "\n10.0.0.0/8")
        self.assert_line(scan(f"@{hosts}"), rf"{hosts}:2: 10\.0\.0\.0/8: "
                         "16777216 addresses; add --yes", 2)
        self.assert_line(scan("@-", input="nonsense/24"), "standard input:1: ",
                         2)
        self.assert_line(scan("@-", input="a" * 600), "no list of hosts", 2)
        self.assert_line(scan("@-", input="a\0b"), "no list of hosts", 2)

    def test_yes(self):
        self.assert_line(scan("127.0.0.0/15", "-p", "1"), "add --yes", 2)
        with Program(tool(), "scan", "--yes", "-p", "1", "--rate", "100",
                     "127.0.0.0/15") as p:
            wait_until(lambda: len(os.listdir(f"/proc/{p.pid}/task")) > 1,
                       "the scan to start")
            p.signal(signal.SIGINT)
            self.assertEqual(p.wait(), 130)
            self.assertRegex(p.out, r"(?m)^    stopped with \d+ ports to go$")

    def test_an_unresolved_name_stops_it(self):
        r = scan("-p", "1", "127.0.0.1", "nosuch.invalid")
        self.assert_line(r, r"nosuch\.invalid", 1)

    def test_shards_are_disjoint_and_all(self):
        args = ["--closed", "-p", "1-300", "127.0.0.1-7"]
        times = collections.Counter()
        for i in range(1, 6):
            times.update(list(self.found("--shard", f"{i}/5", *args)))
        self.assertEqual(set(times.values()), {1})
        self.assertEqual(len(times), 2100)
        self.assertIn("    share 2 of 5\n",
                      scan("--shard", "2/5", *args).stdout)

    def test_hosts_of_other_shares_are_not_counted(self):
        for hosts, ports, n in (("127.0.0.1-8", "22", 8),
                                ("127.0.0.1", "22", 1),
                                ("127.0.0.1-3", "21,22", 6)):
            total = 0
            for i in range(1, 5):
                plan = "--shard", f"{i}/4", "-p", ports, hosts
                _, summary = self.json(*plan)
                total += summary["ports"]
                self.assertEqual(summary["hosts"], summary["ports"])
                self.assertEqual(summary["hosts_answered"], summary["hosts"])
                self.assertNotIn("answer", scan(*plan).stdout)
            self.assertEqual(total, n)


class Misuse(Case):
    def test_one_line_and_exit_2(self):
        for args, reason in MISUSES:
            with self.subTest(args):
                self.assert_line(scan(*args), reason, 2)

    @unittest.skipUnless(own_network.can_be_nobody(), "cannot be another user")
    def test_syn_takes_a_right(self):
        r = run(*own_network.AS_NOBODY, tool(), "scan", "--syn", "-p", "1",
                "127.0.0.1")
        self.assert_line(r, "CAP_NET_RAW", 1)


class Resume(Case):
    def setUp(self):
        super().setUp()
        self.path = str(self.dir / "state")
        self.listen(*range(100, 60000, 977))
        self.plan = ["-p", "1-60000", "127.0.0.1", "--resume", self.path]

    def state(self):
        try:
            return json.loads(pathlib.Path(self.path).read_text())
        except FileNotFoundError:
            return None

    def interrupt(self, how, *more):
        """Stop a scan in the middle; what it had written down by then."""
        with Program(tool(), "scan", "--rate", "20000", *self.plan,
                     *more) as p:
            wait_until(lambda: (self.state() or {}).get("mark", 0) > 10000,
                       "some progress to be written down")
            p.signal(how)
            p.wait()
            return p

    def open_ports(self, text):
        return [int(o["PORT"]) for o in table_of(text)]

    def test_killed_and_resumed_is_as_if_it_had_not_been(self):
        self.interrupt(signal.SIGKILL)
        state = self.state()
        self.assertFalse(state["finished"])
        self.assertTrue(0 < state["mark"] < 60000, state["mark"])
        r = scan(*self.plan)
        self.assertEqual((r.stderr, r.returncode), ("", 0))
        self.assertEqual(self.open_ports(r.stdout),
                         list(range(100, 60000, 977)))
        self.assertEqual(counts_of(r.stdout), (60000, 62, 59938, 0))
        # It did not begin again.
        self.assertLess(r.stdout.count(" -- OPEN"), 62)
        self.assertEqual(os.listdir(self.dir), ["state"])

    def test_twice(self):
        for how in signal.SIGKILL, signal.SIGTERM:
            with Program(tool(), "scan", "--rate", "20000", *self.plan) as p:
                mark = (self.state() or {}).get("mark", 0)
                wait_until(lambda: (self.state() or {}).get("mark", 0) > mark,
                           "more progress to be written down")
                p.signal(how)
                p.wait()
        found, summary = self.json(*self.plan)
        self.assertEqual(sorted(o["port"] for o in found),
                         list(range(100, 60000, 977)))
        self.assertEqual((summary["ports"], summary["open"],
                          summary["closed"]), (60000, 62, 59938))

    def test_ctrl_c_writes_down_all_of_it(self):
        p = self.interrupt(signal.SIGINT)
        self.assertEqual(p.process.returncode, 130)
        self.assertIn("; the same command goes on\n", p.out)
        state = self.state()
        self.assertEqual(len(state["found"]), state["marked"]["open"])
        r = scan(*self.plan)
        self.assertEqual(counts_of(r.stdout), (60000, 62, 59938, 0))

    def test_a_finished_one_is_printed_again(self):
        first = scan(*self.plan)
        self.assertTrue(self.state()["finished"])
        again = scan(*self.plan)
        self.assertEqual(table_of(again.stdout), table_of(first.stdout))
        self.assertEqual(counts_of(again.stdout), counts_of(first.stdout))
        self.assertNotIn(" -- OPEN", again.stdout)
        self.assertEqual(again.returncode, 0)

    def test_json_has_what_was_found_before(self):
        self.interrupt(signal.SIGKILL, "--json")
        found, summary = self.json(*self.plan)
        self.assertEqual(sorted(o["port"] for o in found),
                         list(range(100, 60000, 977)))
        self.assertEqual((summary["open"], summary["closed"]), (62, 59938))
        # Which ones they were before is not known.
        self.assertIsNone(summary["hosts_answered"])
        _, again = self.json(*self.plan)
        self.assertEqual(again, summary)

    def test_hosts_are_not_called_mute_for_what_others_said(self):
        plan = ["-p", "1", "127.0.1.0/24", "--resume", self.path]
        with Program(tool(), "scan", "--rate", "60", *plan) as p:
            wait_until(lambda: (self.state() or {}).get("mark", 0) > 0,
                       "some progress to be written down")
            p.signal(signal.SIGINT)
            self.assertEqual(p.wait(), 130)
        r = scan(*plan)
        self.assertEqual(counts_of(r.stdout), (256, 0, 256, 0))
        self.assertNotIn("answer", r.stdout)

    def cut_banners(self, plan, peer):
        """Stop a scan that waits for banners.  Returns what it has said."""
        with Program(tool(), "scan", *plan) as p:
            wait_until(lambda: len(peer.received) > 20,
                       "a banner to be waited for")
            p.signal(signal.SIGINT)
            self.assertEqual(p.wait(), 130)
            return p.out

    def test_banners_that_were_awaited_are_asked_for_again(self):
        may_speak = threading.Event()

        def speak(sock):
            peer.received.append(sock)
            if may_speak.wait(DEADLINE):
                sock.sendall(b"hello")
                sock.recv(1)

        with Peer(speak, ("0.0.0.0", 0)) as peer:
            plan = ["--banner", "-p", str(peer.port), "127.0.0.1-20",
                    "--resume", self.path]
            out = self.cut_banners(plan, peer)
            self.assertFalse(self.state()["finished"])
            self.assertIn("    stopped while banners were awaited; the same "
                          "command goes on\n", out)
            may_speak.set()
            found, summary = self.json(*plan)
        self.assertEqual([o["banner"] for o in found], ["hello"] * 20)
        self.assertEqual((summary["open"], summary["finished"]), (20, True))

    def test_another_scan_is_refused(self):
        hosts = self.file("hosts", "127.0.0.1")
        plan = [f"@{hosts}", "-p", "1-5", "--resume", self.path]
        self.assertEqual(scan(*plan).returncode, 0)
        before = pathlib.Path(self.path).read_bytes()
        for other in (["127.0.0.2", *plan], [*plan, "-p", "6"],
                      [*plan, "--shard", "1/2"], [*plan, "--closed"],
                      [*plan, "--banner"], ["-u", *plan],
                      [*plan, "--exclude", "127.0.0.9"]):
            self.assert_line(scan(*other), "of another scan", 2)
        self.file("hosts", "127.0.0.1 127.0.0.2")
        self.assert_line(scan(*plan), "of another scan", 2)
        self.assertEqual(pathlib.Path(self.path).read_bytes(), before)
        # How fast it goes does not make it another, nor do comments.
        self.file("hosts", "# this\n127.0.0.1\n")
        for same in (["--rate", "9"], ["--width", "2"], ["-w", "1s"],
                     ["--json"]):
            self.assertEqual(scan(*plan, *same).returncode, 0)

    def test_what_is_no_resume_file_is_refused(self):
        self.assertEqual(scan(*self.plan, "-p", "1-5").returncode, 0)
        good = pathlib.Path(self.path).read_text()
        state = json.loads(good)
        one = {"at": "127.0.0.1:1", "place": 0, "state": "open",
               "reason": "connected", "rtt_ns": 1}
        for bad in ("", "{}", "[]", "hello", "null", good[:-10],
                    json.dumps({**state, "cleat_scan": 2}),
                    json.dumps({**state, "mark": 3}),
                    json.dumps({**state, "found": [{}]}),
                    json.dumps({**state, "found": 7}),
                    *[json.dumps({**state, "found": [{**one, "banner": b}]})
                      for b in ("\\", r"\x", r"\x0", r"\xg0", r"\n",
                                "x" * 257)],
                    json.dumps({**state, "silenced": 7}),
                    json.dumps({**state, "silenced": [{}]})):
            pathlib.Path(self.path).write_text(bad)
            self.assert_line(scan(*self.plan, "-p", "1-5"),
                             "not a file that cleat scan has written", 2)
            self.assertEqual(pathlib.Path(self.path).read_text(), bad)

    def test_where_nothing_can_be_written_it_does_not_start(self):
        r = scan("-p", "1-5", "127.0.0.1", "--resume", "/nonexistent/state")
        self.assert_line(r, "/nonexistent/state: cannot be written: no such",
                         1)


class Ends(Case):
    @classmethod
    def setUpClass(cls):
        # The suite may run under nohup(1); what is ignored is inherited.
        signal.signal(signal.SIGHUP, signal.SIG_DFL)

    def slow(self, *args):
        """A scan that has found its open port and would take long."""
        self.listen(1)
        p = self.enterContext(Program(
            tool(), "scan", "--rate", "200", "-p", "1-60000", *args,
            "127.0.0.1"))
        wait_until(lambda: len(os.listdir(f"/proc/{p.pid}/task")) > 1,
                   "the scan to start")
        return p

    def test_signals(self):
        for number in signal.SIGINT, signal.SIGTERM, signal.SIGHUP:
            with Program(tool(), "scan", "--rate", "200", "-p", "1-60000",
                         "127.0.0.1") as p:
                wait_until(
                    lambda: len(os.listdir(f"/proc/{p.pid}/task")) > 1,
                    "the scan to start")
                p.signal(number)
                self.assertEqual(p.wait(), 128 + number)
                self.assertRegex(p.out, r"\A\d+ TCP ports? of 1 host: ")
                self.assertRegex(p.out, r"stopped with \d+ ports to go\n\Z")
                self.assertEqual(p.err, "")

    def test_what_was_found_is_printed(self):
        self.listen(*range(1, 100))
        with Program(tool(), "scan", "--rate", "50", "-p", "1-99",
                     "127.0.0.1") as p:
            p.wait_for(" -- OPEN")
            p.signal(signal.SIGINT)
            self.assertEqual(p.wait(), 130)
            lines = re.findall(r"^127\.0\.0\.1:(\d+) -- OPEN", p.out, re.M)
            self.assertEqual(sorted(map(int, lines)),
                             [int(o["PORT"]) for o in table_of(p.out)])
            self.assertTrue(0 < len(lines) < 99)

    def test_json_has_its_summary(self):
        p = self.slow("--json")
        p.signal(signal.SIGINT)
        self.assertEqual(p.wait(), 130)
        summary = json.loads(p.out.splitlines()[-1])["summary"]
        self.assertFalse(summary["finished"])

    def test_an_ignored_signal_stays_ignored(self):
        self.listen(*range(1, 50))
        with Program("sh", "-c", 'trap "" INT; exec "$@"', "sh", tool(),
                     "scan", "--rate", "100", "-p", "1-49",
                     "127.0.0.1") as p:
            p.wait_for(" -- OPEN")
            p.signal(signal.SIGINT)
            self.assertEqual(p.wait(), 0)
            self.assertEqual(counts_of(p.out), (49, 49, 0, 0))

    def stuck(self):
        """A scan that is done and printing, to a reader who does not read."""
        path = self.dir / "state"
        p = self.enterContext(subprocess.Popen(
            [tool(), "scan", "--closed", "-p", "1-3000", "127.0.0.1",
             "--resume", str(path)], stdout=subprocess.PIPE, text=True))
        self.addCleanup(p.kill)
        wait_until(lambda: path.exists() and '"finished":true' in
                   path.read_text(), "the scan to end")
        return p

    def test_a_signal_at_the_end_does_not_cut_what_it_prints(self):
        p = self.stuck()
        p.send_signal(signal.SIGINT)
        out, _ = p.communicate(timeout=DEADLINE)
        self.assertEqual(p.returncode, 130)
        self.assertEqual(len(table_of(out)), 3000)
        self.assertEqual(counts_of(out), (3000, 0, 3000, 0))
        self.assertNotIn("stopped", out)

    def test_the_second_signal_at_the_end_does(self):
        p = self.stuck()
        p.send_signal(signal.SIGINT)
        status = pathlib.Path(f"/proc/{p.pid}/status")
        wait_until(lambda: not int(re.search(
            r"SigCgt:\s+(\w+)", status.read_text())[1], 16)
            & 1 << signal.SIGINT - 1, "the first to be there")
        p.send_signal(signal.SIGINT)
        self.assertEqual(p.wait(DEADLINE), -signal.SIGINT)

    def test_a_reader_that_has_gone_ends_it(self):
        for args in [], ["--json"]:
            read, write = os.pipe()
            with subprocess.Popen(
                    [tool(), "scan", "--rate", "100", "-p", "2-60000", *args,
                     "127.0.0.1"], stdout=write,
                    stderr=subprocess.PIPE, text=True) as p:
                os.close(write)
                os.close(read)
                _, err = p.communicate(timeout=DEADLINE)
                self.assertEqual(
                    err, "cleat scan: standard output: broken pipe\n")
                self.assertEqual(p.returncode, 1)

    def test_a_full_disk(self):
        self.listen(22)
        for args in [], ["--json"]:
            with open("/dev/full", "w") as full:
                r = scan("-p", "22", *args, "127.0.0.1", stdout=full)
            self.assertEqual(r.stderr, "cleat scan: standard output: "
                             "no space left\n")
            self.assertEqual(r.returncode, 1)

    @unittest.skipIf(is_sanitized(), "its shadow takes the memory")
    def test_a_large_plan_takes_little_memory(self):
        with Program(tool(), "scan", "--yes", "--rate", "100",
                     "127.0.0.0/8") as p:
            wait_until(lambda: len(os.listdir(f"/proc/{p.pid}/task")) > 1,
                       "the scan to start")
            status = pathlib.Path(f"/proc/{p.pid}/status").read_text()
            peak = int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])
            self.assertLess(peak, 32 << 10)


class OnATerminal(Case):
    def terminal(self, *args, columns=80, env=None):
        # Stderr, too, which the Terminal keeps apart.
        return self.enterContext(Terminal(
            "sh", "-c", 'exec "$@" 2>&1', "sh", tool(), "scan", *args,
            "127.0.0.1", columns=columns, env=env))

    def test_progress(self):
        t = self.terminal("--rate", "1000", "-p", "1-60000")
        t.wait_for(r"#+-+ +[1-9]\d*%  \d+/60000  \d+/s  \d+:\d\d left  "
                   r"\d+ in flight")
        t.type(b"\x03")
        status, _ = t.end()
        self.assertEqual(status, 130)
        # Of the line nothing is left.
        rest = t.text[t.text.rindex("\r\033[K"):]
        self.assertRegex(rest, r"\A\r\033\[K\d+ TCP ports of 1 host: ")
        for line in re.findall(r"\r\033\[K([^\r\n]*)", t.text):
            self.assertLess(len(line.replace("^C", "")), 80)

    def test_a_found_port_has_its_line_to_itself(self):
        self.listen(*range(1, 60))
        t = self.terminal("--rate", "100", "-p", "1-59")
        status, _ = t.end()
        self.assertEqual(status, 0)
        lines = re.split(r"\r\n|\r\033\[K", t.text)
        found = [s for s in lines if re.fullmatch(
            r"127\.0\.0\.1:\d+ -- \033\[32mOPEN\033\[0m \([^)]*\)", s)]
        self.assertEqual(len(found), 59)
        self.assertIn("in flight", t.text)

    def test_narrow(self):
        t = self.terminal("--rate", "1000", "-p", "1-60000", columns=30)
        t.wait_for(r"\d+/60000")
        t.type(b"\x03")
        t.end()
        for line in re.findall(r"\r\033\[K([^\r\n]*%[^\r\n]*)\r", t.text):
            self.assertLess(len(line.replace("^C", "")), 30)

    def test_no_colour(self):
        self.listen(22)
        t = self.terminal("-p", "22", env={**os.environ, "NO_COLOR": "1"})
        status, _ = t.end()
        self.assertEqual(status, 0)
        self.assertRegex(t.text, r"127\.0\.0\.1:22 -- OPEN \(")

    def test_the_table_fits(self):
        def speak(sock):
            sock.sendall(b"SSH-2.0-" + b"x" * 200)
            sock.recv(1)

        with Peer(speak) as peer:
            t = self.terminal("--banner", "-p", str(peer.port))
            status, _ = t.end()
        self.assertEqual(status, 0)
        self.assertRegex(t.text, "SSH-2.0-x+\u2026\r\n")
        for line in re.split(r"\r\n|\r\033\[K", t.text):
            self.assertLessEqual(
                len(re.sub(r"\033\[\d+m", "", line)), 80)


if __name__ == "__main__":
    own_network.main()
