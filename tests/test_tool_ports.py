#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""cleat ports: what it lists, which of it, and how it looks."""
import contextlib
import json
import os
import pathlib
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import unittest

import own_network
from support import Program, is_sanitized, run, tool, wait_until
from terminal import Terminal

KEYS = ["proto", "family", "address", "port", "state", "v6only", "device",
        "inode", "uid", "user", "peer", "queue", "reuseport_group", "owners"]
ME = rf"[^ ]+ \(pid {os.getpid()}, fd (\d+)\)"
INET6_V6ONLY = (socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
REUSEPORT = (socket.SOL_SOCKET, socket.SO_REUSEPORT)
DEVICE = (socket.SOL_SOCKET, socket.SO_BINDTODEVICE)
STREAM, DGRAM = socket.SOCK_STREAM, socket.SOCK_DGRAM
LISTS_BOUND = tuple(map(int, re.findall(r"\d+", os.uname().release)[:2])) >= \
    (6, 8)
SS_STATES = {"listen": "LISTEN", "established": "ESTAB", "bound": "UNCONN",
             "closed": "UNCONN", "time-wait": "TIME-WAIT",
             "syn-sent": "SYN-SENT", "close-wait": "CLOSE-WAIT",
             "fin-wait-2": "FIN-WAIT-2"}

needs_ss = unittest.skipUnless(shutil.which("ss"), "no ss to compare with")


def ports(*args, **options):
    return run(tool(), "ports", *args, **options)


def as_nobody(*argv):
    return ["setpriv", "--reuid=65534", "--clear-groups", *argv]


def can_be_nobody():
    try:
        return run(*as_nobody("true")).returncode == 0
    except OSError:
        return False


needs_nobody = unittest.skipUnless(can_be_nobody(), "no other user to be had")


class Case(unittest.TestCase):
    def bound(self, host="127.0.0.1", port=0, kind=STREAM, options=()):
        """A socket, and its port; HOST may be a unix name."""
        family = (socket.AF_UNIX if host[:1] in ("/", "\0") else
                  socket.AF_INET6 if ":" in host else socket.AF_INET)
        s = self.enterContext(socket.socket(family, kind))
        for option in options:
            s.setsockopt(*option)
        s.bind(host if family == socket.AF_UNIX else (host, port))
        return s, None if family == socket.AF_UNIX else s.getsockname()[1]

    def listener(self, host="127.0.0.1", port=0, options=(), backlog=5):
        s, port = self.bound(host, port, options=options)
        s.listen(backlog)
        return s, port

    def connected(self, port, host="127.0.0.1"):
        return self.enterContext(socket.create_connection((host, port)))

    def lines(self, *args):
        r = ports(*args)
        self.assertEqual((r.stderr, r.returncode), ("", 0), r)
        return r.stdout.splitlines()

    def json(self, *args):
        return [json.loads(line) for line in self.lines("--json", *args)]

    def assert_lines(self, args, *wanted):
        found = self.lines(*args)
        self.assertEqual(len(found), len(wanted), found)
        for line, want in zip(found, wanted):
            self.assertRegex(line, rf"\A{want}\Z")

    def assert_line(self, r, reason, status):
        self.assertRegex(r.stderr, rf"\Acleat ports: [^\n]*{reason}[^\n]*\n\Z")
        self.assertEqual((r.stdout, r.returncode), ("", status))


class WhoListens(Case):
    def test_tcp(self):
        s, port = self.listener()
        self.connected(port)  # waits to be accepted
        self.assert_lines(
            [], rf"tcp  127\.0\.0\.1:{port}  1/5  \S+  {ME}")

    def test_a_full_queue(self):
        _, port = self.listener(backlog=0)
        self.connected(port)
        self.assert_lines([], rf"tcp  \S+  1/0  .*")

    def test_udp(self):
        _, port = self.bound(kind=DGRAM)
        self.assert_lines([], rf"udp  127\.0\.0\.1:{port}  0/\d+K  \S+  {ME}")

    def test_not_what_does_not_listen(self):
        s, port = self.listener()
        self.connected(port)
        self.bound()
        u, _ = self.bound(kind=DGRAM)
        u.connect(("127.0.0.1", 9))
        self.bound("\0name")[0].listen()
        self.assertEqual(len(self.lines()), 1)

    def test_ip_versions(self):
        self.listener("127.0.0.1", 1001)
        self.listener("::1", 1001)
        self.listener("::", 1002, [(*INET6_V6ONLY, 0)])
        self.listener("0.0.0.0", 1003)
        self.listener("::", 1003, [(*INET6_V6ONLY, 1)])
        self.listener("::ffff:127.0.0.1", 1004)
        self.bound("::", 1005, DGRAM, [(*INET6_V6ONLY, 0)])
        self.assertEqual(
            [re.split("  +", line)[1] for line in self.lines()],
            ["127.0.0.1:1001", "[::1]:1001", "[::]:1002 (and 0.0.0.0)",
             "0.0.0.0:1003", "[::]:1003", "127.0.0.1:1004",
             "[::]:1005 (and 0.0.0.0)"])

    def test_sorted_by_port(self):
        for port in 30000, 9, 1000, 200:
            self.listener("127.0.0.1", port)
        self.bound("127.0.0.1", 201, DGRAM)
        self.assertEqual([o["port"] for o in self.json()],
                         [9, 200, 201, 1000, 30000])

    def test_shared_ports(self):
        s, port = self.listener(options=[(*REUSEPORT, 1)])
        t, _ = self.listener(port=port, options=[(*REUSEPORT, 1)])
        _, other = self.listener()
        found = self.lines(str(port))
        for line, sock in zip(found, (s, t), strict=True):
            self.assertRegex(line, rf" 127\.0\.0\.1:{port} shared  .*"
                             rf" fd {sock.fileno()}\)")
        groups = [o["reuseport_group"] for o in self.json(str(port))]
        self.assertEqual(groups, [1, 1])
        self.assertIsNone(self.json(str(other))[0]["reuseport_group"])

    def test_a_device(self):
        self.bound("0.0.0.0", 67, DGRAM, [(*DEVICE, b"lo")])
        self.assert_lines([], r"udp  0\.0\.0\.0:67 on lo  .*")
        self.assertEqual(self.json()[0]["device"], "lo")

    def test_several_owners(self):
        s, port = self.listener()
        with Program("sleep", "60", pass_fds=[s.fileno()]) as p:
            wait_until(lambda: len(self.json()[0]["owners"]) == 2, "a child")
            self.assert_lines([], rf".* \(pid \d+, fd \d+\) and 1 more")
            self.assert_lines(["sleep"], rf".* sleep \(pid {p.pid}, "
                              rf"fd {s.fileno()}\) and 1 more")
            self.assert_lines(["--pid", str(p.pid)], r".* sleep \(.*")


class Everything(Case):
    def test_states(self):
        s, port = self.listener()
        c = self.connected(port)
        a, _ = s.accept()
        a.close()
        gone = self.connected(port)
        late, _ = s.accept()
        late.close()
        gone.close()
        here, there = rf"127\.0\.0\.1:{port}", r"127\.0\.0\.1:\d+"
        wait_until(lambda: {"fin-wait-2", "time-wait"} <= {
            o["state"] for o in self.json("--all", str(port))}, "the ends")
        self.assert_lines(
            ["--all", str(port)],
            rf"tcp  listen      {here}  -  +0/5 .*",
            rf"tcp  fin-wait-2  {here}  {there} .*",
            rf"tcp  time-wait   {here}  {there} +-  +-  +-")
        self.assertEqual({o["state"] for o in self.json("--state",
                                                        "time-wait")},
                         {"time-wait"})
        self.assertEqual({o["state"] for o in
                          self.json("--state", "listen,close-wait")},
                         {"listen", "close-wait"})

    @unittest.skipUnless(LISTS_BOUND, "a kernel that does not list it")
    def test_bound_only(self):
        s, port = self.bound()
        self.assert_lines(["--all", "-t", str(port)],
                          rf"tcp  bound  127\.0\.0\.1:{port}  -  .* {ME}")

    def test_raw(self):
        try:
            self.enterContext(socket.socket(socket.AF_INET, socket.SOCK_RAW,
                                            socket.IPPROTO_ICMP))
        except PermissionError:
            self.skipTest("no raw sockets to be had")
        self.assert_lines(["--raw"], r"raw  0\.0\.0\.0:1  .*")
        self.assert_line(ports("--raw", "1"), "nothing found", 1)

    def test_unix(self):
        folder = self.enterContext(tempfile.TemporaryDirectory())
        path = os.path.join(folder, "a b\n\033[2J")
        s, _ = self.bound(path)
        s.listen(3)
        self.bound("\0a name", kind=DGRAM)
        p, _ = self.bound("\0packets", kind=socket.SOCK_SEQPACKET)
        p.listen(1)
        safe = re.escape(path.replace("\n", r"\x0a").replace("\033", r"\x1b"))
        found = [line for line in self.lines("--unix") if " @" in line or
                 folder in line]
        for line, want in zip(found, (
                rf"unixgram +@a name +0/\d+K .* {ME}",
                rf"unixpacket +@packets +0/1 .* {ME}",
                rf"unix +{safe} +0/3 .* {ME}"), strict=True):
            self.assertRegex(line, rf"\A{want}\Z")
        self.assert_lines([f"unix:{path}"], rf"unix .*{safe} .*")
        self.assert_lines(["unix:@packets"], "unixpacket .*")
        o, = self.json("unix:@packets")
        self.assertEqual((o["family"], o["address"], o["port"]),
                         ("unix", "@packets", None))

    def test_json(self):
        s, port = self.listener("::1")
        c = self.connected(port, "::1")
        found = self.json("--all", str(port))
        for o in found:
            self.assertEqual(list(o), KEYS)
            self.assertEqual(list(o["queue"]), ["used", "max"])
        inode = int(re.search(r"\d+", os.readlink(
            f"/proc/self/fd/{s.fileno()}"))[0])
        comm = pathlib.Path("/proc/self/comm").read_text().strip()
        listener = {
            "proto": "tcp", "family": "ipv6", "address": "::1", "port": port,
            "state": "listen", "v6only": True, "device": None,
            "inode": inode, "uid": os.getuid(), "peer": None,
            "queue": {"used": 1, "max": 5}, "reuseport_group": None,
            "owners": [{"pid": os.getpid(), "fd": s.fileno(),
                        "command": comm}]}
        user = found[0].pop("user")
        self.assertIn(user, run("id", "-nu").stdout.split() + ["root"])
        self.assertEqual(found[0], listener)
        self.assertEqual(found[1]["peer"], {
            "address": "::1", "port": c.getsockname()[1]})
        self.assertIs(found[1]["inode"], 0)  # not accepted yet
        self.assertIsNone(found[1]["user"])


def ss_host(o):
    host = o["address"] if o["family"] == "ipv4" else f"[{o['address']}]"
    if o["address"] == "::" and o["v6only"] is False and o["proto"] != "raw":
        host = "*"
    return host + (f"%{o['device']}" if o["device"] else "")


def ss_line(o):
    """What ss has of the same socket."""
    peer = o["peer"] or {"address": None, "port": "*"}
    return (o["proto"], SS_STATES[o["state"]], f"{ss_host(o)}:{o['port']}",
            str(peer["port"]))


@needs_ss
class LikeSs(Case):
    def scene(self):
        for host in "127.0.0.1", "::1":
            s, port = self.listener(host)
            self.connected(port, host)
            self.bound(host, kind=DGRAM)
        self.listener("::", options=[(*INET6_V6ONLY, 0)])
        self.listener("::", options=[(*INET6_V6ONLY, 1)])
        self.listener("0.0.0.0", options=[(*DEVICE, b"lo")])
        s, port = self.listener("::ffff:127.0.0.1")
        self.connected(port)
        u, _ = self.bound(kind=DGRAM)
        u.connect(("127.0.0.1", 9))

    def test_the_same_sockets(self):
        self.scene()
        r = run("ss", "-H", "-a", "-n", "-t", "-u")
        wanted = sorted((f[0], f[1], f[4], f[5].rpartition(":")[2])
                        for f in map(str.split, r.stdout.splitlines()))
        found = [o for o in self.json("--all", "-t", "-u")
                 if not (o["proto"] == "tcp" and o["state"] == "bound")]
        self.assertEqual(sorted(map(ss_line, found)), wanted)

    def test_the_same_owners(self):
        self.scene()
        r = run("ss", "-H", "-tlnp")
        wanted = sorted(
            (int(re.search(r":(\d+) ", line)[1]), int(m[1]), int(m[2]))
            for line in r.stdout.splitlines()
            for m in re.finditer(r"pid=(\d+),fd=(\d+)", line))
        self.assertEqual(sorted(
            (o["port"], w["pid"], w["fd"])
            for o in self.json("-t") for w in o["owners"]), wanted)
        self.assertTrue(wanted)

    def test_the_same_unix_sockets(self):
        self.bound("\0one")[0].listen()
        self.bound("\0two", kind=DGRAM)
        for s in socket.socketpair():
            self.enterContext(s)
        r = run("ss", "-H", "-a", "-n", "-x")
        wanted = sorted(int(line.split()[5])
                        for line in r.stdout.splitlines())
        self.assertEqual(sorted(o["inode"] for o in
                                self.json("--all", "--unix")), wanted)


class Filters(Case):
    def setUp(self):
        for host, port in (("127.0.0.1", 8000), ("::1", 8000),
                           ("127.0.0.2", 8050), ("0.0.0.0", 8100),
                           ("127.0.0.1", 443)):
            self.listener(host, port)
        self.listener("::", 9000, [(*INET6_V6ONLY, 0)])
        self.bound("127.0.0.1", 8000, DGRAM)

    def found(self, *args):
        return [o["proto"][0] + ("6" if o["family"] == "ipv6" else "4") +
                ":" + str(o["port"]) for o in self.json(*args)]

    def test_each(self):
        me = pathlib.Path("/proc/self/comm").read_text().strip()
        at_8000 = ["t4:8000", "t6:8000", "u4:8000"]
        everything = ["t4:443", *at_8000, "t4:8050", "t4:8100", "t6:9000"]
        for args, want in (
                ([], everything),
                (["8000"], at_8000),
                ([":8000"], at_8000),
                (["*:8000"], at_8000),
                (["8000", "443"], ["t4:443", *at_8000]),
                (["8000-8099"], [*at_8000, "t4:8050"]),
                ([":8050-8100"], ["t4:8050", "t4:8100"]),
                (["443-443"], ["t4:443"]),
                ([":https"], ["t4:443"]),
                (["127.0.0.2"], ["t4:8050"]),
                (["127.0.0.1", "8000"], ["t4:8000", "u4:8000"]),
                (["127.0.0.1:8000"], ["t4:8000", "u4:8000"]),
                (["tcp://127.0.0.1:8000"], ["t4:8000"]),
                (["udp://*:8000"], ["u4:8000"]),
                (["tcp6://*:8000"], ["t6:8000"]),
                (["::1"], ["t6:8000"]),
                (["[::1]"], ["t6:8000"]),
                (["[::1]:8000"], ["t6:8000"]),
                (["0.0.0.0"], ["t4:8100", "t6:9000"]),
                (["[::]:9000"], ["t6:9000"]),
                ([me], everything),
                ([me[:-1] + "?", "443"], ["t4:443"]),
                (["443", me, "other"], ["t4:443"]),
                (["-t", "8000"], ["t4:8000", "t6:8000"]),
                (["-u"], ["u4:8000"]),
                (["-tu", "8000"], at_8000),
                (["-4", "9000"], ["t6:9000"]),
                (["-4", "8000"], ["t4:8000", "u4:8000"]),
                (["-6"], ["t6:8000", "t6:9000"]),
                (["--pid", str(os.getpid()), "443"], ["t4:443"]),
                (["--user", str(os.getuid()), "443"], ["t4:443"]),
                (["--state", "listen", "8000"], ["t4:8000", "t6:8000"]),
                (["--", "443"], ["t4:443"])):
            with self.subTest(args=args):
                self.assertEqual(self.found(*args), want)

    def test_a_name(self):
        """Which may have one address, or two."""
        self.assertIn("t4:8000", self.found("localhost:8000"))
        self.assertNotIn("t4:443", self.found("localhost:8000"))

    def test_nothing(self):
        for args in (["8001"], ["nobody-is-called-so"], ["--pid", "1"],
                     ["127.0.0.3"], ["443", "127.0.0.2"], ["-u", "443"],
                     ["--user", "4294967294"], ["unix:/no/such/path"]):
            with self.subTest(args=args):
                self.assert_line(
                    ports(*args), "nothing found; --all has more", 1)
        self.assert_line(ports("--all", "8001"), "nothing found", 1)

    def test_misuse(self):
        for args, reason in (
                (["0"], "port out of range"),
                (["65536"], "port out of range"),
                (["99999999999999999999999"], "port out of range"),
                (["8100-8000"], "runs backwards; write 8000-8100"),
                (["80,81"], "each as a word"),
                ([""], "no port"),
                ([":"], "port"),
                ([":no-such-service"], "service"),
                (["[::1]:x:y"], "."),
                (["ftp://x:1"], "."),
                (["--state", "open"], "no such state; there are listen"),
                (["--state", "listen,"], "no such state"),
                (["--user", "no-such-user"], "no such user"),
                (["--pid", "0"], "out of range"),
                (["--pid", "x"], "not a count"),
                (["--watch=5"], "not a time with a unit"),
                (["--watch=0s"], "leaves no time"),
                (["-4", "-6"], "write one of them"),
                (["--json", "--tree"], "write one of them"),
                (["--json", "--watch"], "write one of them"),
                (["--nosuch"], "no such option")):
            with self.subTest(args=args):
                self.assert_line(ports(*args), reason, 2)


class Owners(Case):
    @needs_nobody
    def test_other_users(self):
        _, port = self.listener()
        self.listener("::1")
        r = run(*as_nobody(tool(), "ports"))
        self.assertEqual(r.stderr, "cleat ports: owners of 2 sockets unknown; "
                         "root sees those of other users\n")
        self.assertEqual(r.returncode, 0)
        for line in r.stdout.splitlines():
            self.assertRegex(line, r"\Atcp  \S+ +0/5  root  -\Z")
        r = run(*as_nobody(tool(), "ports", "--json", str(port)))
        self.assertIn("owners of 1 socket unknown", r.stderr)
        self.assertEqual(json.loads(r.stdout)["owners"], [])

    @needs_nobody
    def test_ones_own(self):
        with Program(*as_nobody(tool(), "serve", "echo", "--workers", "1",
                                "127.0.0.1:0")) as p:
            r = run(*as_nobody(tool(), "ports", str(p.port)))
            self.assertRegex(r.stdout, rf"  nobody  cleat \(pid {p.pid}, ")
            self.assertEqual(r.stderr, "")

    def test_nasty_names(self):
        for name in (b"a b", b"x) (y", b"new\nline", b"\033[2J\007",
                     b"\xff\xfe", b"\xe2\x80\xa6" * 5, b"'\"\\", b"-- :1"):
            with self.subTest(name=name), Program(
                    sys.executable, "-c", "import socket, sys, time\n"
                    f"open('/proc/self/comm', 'wb').write({name!r})\n"
                    "s = socket.create_server(('127.0.0.1', 0))\n"
                    "print('listening on x:%d' % s.getsockname()[1],"
                    " flush=True)\n"
                    "time.sleep(60)\n") as p:
                port = str(p.port)
                for args in [port], ["--tree", port], ["--json", port]:
                    r = run(tool(), "ports", *args, input=b"")
                    self.assertEqual(r.returncode, 0)
                    text = r.stdout.decode()
                    self.assertEqual(text.count("\n"),
                                     2 if "--tree" in args else 1)
                    self.assertNotRegex(text, r"[\0-\x09\x0b-\x1f\x7f-\x9f]")
                o, = self.json(port)
                self.assertEqual(o["owners"][0]["pid"], p.pid)
                if name.isascii() and b"\n" not in name and \
                        name.decode().isprintable() and b":" not in name:
                    self.assertEqual(o["owners"][0]["command"], name.decode())
                    self.assertEqual(len(self.lines(name.decode())), 1)

    def test_a_process_with_a_name_like_an_address(self):
        for name, pattern in (("[x] y", "?x] y"), ("a:80", "a?80")):
            with self.subTest(name), Program(
                    "python3", "-c", "import socket, time\n"
                    f"open('/proc/self/comm', 'w').write({name!r})\n"
                    "s = socket.create_server(('127.0.0.1', 0))\n"
                    "print('listening on x:%d' % s.getsockname()[1],"
                    " flush=True)\n"
                    "time.sleep(60)\n") as p:
                self.assertGreater(p.port, 0)
                self.assert_line(ports(name), re.escape("write ? for [ and :"),
                                 2)
                o, = self.json(pattern)
                self.assertEqual(o["owners"][0]["pid"], p.pid)

    def test_processes_that_vanish(self):
        self.listener()
        churn = ("while :; do /bin/true & /bin/true & /bin/true & wait; done")
        with Program("sh", "-c", churn):
            for _ in range(50):
                self.assertEqual(len(self.lines()), 1)

    def test_tree(self):
        s, port = self.listener()
        again = self.enterContext(contextlib.closing(s.dup()))
        self.bound("127.0.0.1", port, DGRAM)
        with Program(tool(), "serve", "echo", "--workers", "1",
                     "127.0.0.1:0", pass_fds=[s.fileno()]) as p:
            p.addresses()
            fds = ", ".join(map(str, sorted((s.fileno(), again.fileno()))))
            found = self.lines("--tree")
            mine = found.index(next(x for x in found
                                    if f"(pid {os.getpid()})" in x))
            self.assertRegex(found[mine + 1], rf"\A  tcp .*:{port}  .* "
                             rf"fd {fds}\Z")
            self.assertRegex(found[mine + 2], rf"\A  udp .*:{port} ")
            its = found.index(f"cleat (pid {p.pid})")
            self.assertRegex(found[its + 1] + found[its + 2],
                             rf":{p.port} .* fd \d+")
            self.assertEqual(len(found), 6)  # two of it, one inherited
            self.assertEqual(self.lines("--tree", "cleat"),
                             [x for x in self.lines("--tree", "--pid",
                                                    str(p.pid))])


class Netns(Case):
    def setUp(self):
        _, self.port = self.listener("127.0.0.1", 1234)
        self.other = self.enterContext(Program(
            "unshare", "--net", "sh", "-c", 'ip link set lo up; exec "$@"',
            "sh", tool(), "serve", "echo", "--workers", "1", "127.0.0.1:4321"))
        if self.other.process.poll() is None:
            try:
                self.other.wait_for("listening")
                return
            except AssertionError:
                pass
        self.skipTest("no second network namespace to be had")

    def test_of_a_process(self):
        pid = str(self.other.pid)
        self.assert_lines(["--netns", pid],
                          rf"tcp  127\.0\.0\.1:4321  .*\(pid {pid}, .*")
        self.assert_lines(["--netns", str(os.getpid()), "1234"], ".*:1234 .*")

    def test_by_name(self):
        name = f"cleat-test-{os.getpid()}"
        r = run("ip", "netns", "attach", name, str(self.other.pid))
        if r.returncode != 0:
            self.skipTest(r.stderr)
        try:
            self.assert_lines(["--netns", name], r"tcp  127\.0\.0\.1:4321 .*")
        finally:
            run("ip", "netns", "delete", name)

    def test_there_is_none(self):
        for name in "no-such-name", "", "../netns/x", ".":
            self.assert_line(ports("--netns", name), "--netns ", 1)
        self.assert_line(ports("--netns", "4194305"), "no such process", 1)


class OnATerminal(Case):
    def on_terminal(self, *args, **options):
        with Terminal(tool(), "ports", *args, **options) as t:
            self.assertEqual(t.end(), (0, ""))
            return t.text.replace("\r", "").splitlines()

    def test_width(self):
        self.listener("127.0.0.1", 80)
        self.listener("::", 10080, [(*INET6_V6ONLY, 0)])
        self.bound("127.255.255.255", 65535, DGRAM)
        self.bound("\0" + 80 * "n")[0].listen()
        for width in 10, 20, 40, 60, 80, 200:
            for args in [], ["--all"], ["--unix"], ["--tree"]:
                with self.subTest(width=width, args=args):
                    found = self.on_terminal(*args, columns=width)
                    self.assertLessEqual(max(map(len, found)), width)
                    if args or width < 20:
                        continue
                    starts = [found[0].index(h) for h in
                              re.findall(r"\S+", found[0])]
                    self.assertEqual(len(starts), 5)
                    for line in found:
                        for start in starts[1:]:
                            self.assertEqual(line[start - 2:start], "  ")
                            self.assertNotEqual(line[start], " ")
                    cut = any("…" in line for line in found[1:])
                    self.assertEqual(cut, width < 200 and width != 80, found)
                    if width >= 40:
                        self.assertRegex(found[1], r"^tcp +127\.0\.0\.1:80 ")
        self.assertNotIn("…", "".join(self.lines("--unix")))

    def test_headings(self):
        self.listener()
        self.assertEqual(self.on_terminal()[0].split(),
                         ["PROTO", "ADDRESS", "QUEUE", "USER", "PROCESS"])
        self.assertEqual(self.on_terminal("--state", "listen")[0].split(),
                         ["PROTO", "STATE", "ADDRESS", "PEER", "QUEUE", "USER",
                          "PROCESS"])

    def test_colour(self):
        _, port = self.listener(backlog=0)
        self.connected(port)
        self.assertTrue(self.on_terminal()[1].startswith("\033[33m"))
        env = {**os.environ, "NO_COLOR": "1"}
        self.assertNotIn("\033", "".join(self.on_terminal(env=env)))

    def test_a_terminal_without_a_size(self):
        self.listener()
        self.assertLessEqual(
            max(map(len, self.on_terminal("--all", columns=0, rows=0))), 80)


class Watch(Case):
    def setUp(self):
        self.listener("127.0.0.1", 1000)

    def watch(self, *args, **options):
        return self.enterContext(
            Terminal(tool(), "ports", "--watch", "100ms", *args, **options))

    def change(self, t, lead=r"(?:\033\[\d+m)?"):
        """Something appears, and vanishes."""
        t.wait_for(r"\033\[K  tcp +127\.0\.0\.1:1000 ")
        s, port = self.listener("127.0.0.1", 2000)
        t.wait_for(rf"\033\[K{lead}\+ tcp +127\.0\.0\.1:2000 ")
        t.wait_for(r"\033\[K  tcp +127\.0\.0\.1:2000 ")
        s.close()
        t.wait_for(rf"\033\[K{lead}- tcp +127\.0\.0\.1:2000 ")

    def assert_restored(self, t):
        self.assertEqual(t.end(), (0, ""))
        self.assertTrue(t.text.startswith("\033[?1049h\033[?25l"))
        self.assertTrue(t.text.endswith("\033[?25h\033[?1049l"))

    def test_changes(self):
        t = self.watch()
        self.change(t)
        t.type(b"\x03")
        self.assert_restored(t)

    def test_without_colour(self):
        t = self.watch(env={**os.environ, "NO_COLOR": "1"})
        self.change(t, lead="")
        t.type(b"\x03")
        self.assert_restored(t)

    def test_tree(self):
        t = self.watch("--tree")
        self.change(t)
        t.process.send_signal(signal.SIGTERM)
        self.assert_restored(t)

    def test_stopped_and_continued(self):
        t = self.watch()
        t.wait_for(":1000 ")
        t.process.send_signal(signal.SIGTSTP)
        t.wait_for(r"\033\[\?25h\033\[\?1049l\Z")
        wait_until(lambda: "T" in pathlib.Path(
            f"/proc/{t.process.pid}/stat").read_text().split()[2], "its stop")
        t.text = ""
        t.process.send_signal(signal.SIGCONT)
        t.wait_for(":1000 ")
        t.type(b"\x03")
        self.assert_restored(t)

    def test_more_than_fit(self):
        for port in range(2000, 2030):
            self.listener("127.0.0.1", port)
        t = self.watch(rows=10)
        t.wait_for(r"\.\.\. and 25 more")
        t.type(b"\x03")
        self.assert_restored(t)
        for screen in t.text.split("\033[H")[1:]:
            self.assertLess(screen.count("\n"), 10)

    def test_another_size(self):
        t = self.watch("--watch=1h")
        t.wait_for(":1000 ")
        self.listener("127.0.0.1", 3000)
        t.resize(100, 30)
        t.wait_for(":3000 ")
        t.type(b"\x03")
        self.assert_restored(t)

    def test_nothing_yet(self):
        t = self.watch("4000")
        t.wait_for(" 0 listed")
        self.listener("127.0.0.1", 4000)
        t.wait_for(r"\+ tcp +127\.0\.0\.1:4000 ")
        t.type(b"\x03")
        self.assert_restored(t)

    def test_no_terminal(self):
        for args in (["--watch", "50ms"], ["--watch=50ms", "1000", "2000"]):
            with Program(tool(), "ports", *args) as p:
                p.wait_for(":1000")
                s, _ = self.listener("127.0.0.1", 2000)
                p.wait_for("+ tcp")
                s.close()
                p.wait_for("- tcp")
                p.signal(signal.SIGINT)
                self.assertEqual(p.wait(), 0)
                found = p.out.splitlines()
                self.assertEqual(len(found), 3)
                for line, want in zip(found, (
                        "  tcp  127.0.0.1:1000 ", "+ tcp  127.0.0.1:2000 ",
                        "- tcp  127.0.0.1:2000 ")):
                    self.assertTrue(line.startswith(want), found)
                self.assertEqual(p.err, "")

    def test_each_signal_restores_the_terminal(self):
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM,
                       signal.SIGHUP):
            with self.subTest(number):
                t = self.watch()
                t.wait_for(":1000 ")
                t.process.send_signal(number)
                self.assert_restored(t)
        t = self.watch()
        t.wait_for(":1000 ")
        t.type(b"\x1c")
        self.assert_restored(t)

    def test_a_bad_time(self):
        for args, reason in (
                (["--watch", "0s"], "--watch 0s: leaves no time"),
                (["--watch=0ms"], "--watch 0ms: leaves no time"),
                (["--watch", "1x2s"], "--watch 1x2s: not a time"),
                (["--watch=5"], "--watch 5: not a time with a unit"),
                (["--watch="], "--watch : not a time with a unit")):
            with self.subTest(args):
                r = ports(*args)
                self.assertRegex(r.stderr,
                                 rf"\Acleat ports: {reason}[^\n]*\n\Z")
                self.assertEqual((r.stdout, r.returncode), ("", 2))

    def test_the_word_behind_it(self):
        """A time has a unit; else it is a filter, or another option."""
        for args in (["--watch", "1000"], ["--watch", "-t"], ["--watch"]):
            with Program(tool(), "ports", *args) as p:
                p.wait_for(":1000")
                p.signal(signal.SIGINT)
                self.assertEqual(p.wait(), 0)


class Output(Case):
    def redirected(self, redirection, *args):
        return run("sh", "-c", f'exec "$@" {redirection}', "sh", tool(),
                   "ports", *args)

    def test_nowhere_to_print(self):
        self.listener()
        for to in ">&-", ">/dev/full":
            for args in [], ["--json"], ["--tree"], ["--watch", "50ms"]:
                with self.subTest(to, args=args):
                    self.assert_line(self.redirected(to, *args),
                                     "standard output: ", 1)

    def test_a_reader_that_has_gone(self):
        self.listener()
        for args in "", "--watch=50ms":
            r = run("sh", "-c", '{ "$@"; echo $? >&2; } | head -c1', "sh",
                    tool(), "ports", *filter(None, [args, "--all"]))
            self.assertIn(r.stderr[-2:], ("0\n", "1\n"))
            if r.stderr != "0\n":
                self.assertRegex(r.stderr, r"\Acleat ports: standard output: "
                                 r"[^\n]+\n1\n\Z")

    def test_no_descriptors(self):
        self.listener()
        r = ports(preexec_fn=lambda: resource.setrlimit(
            resource.RLIMIT_NOFILE, (4, 4)))
        self.assert_line(r, "too many open files", 1)


class Many(Case):
    PROCESSES, EACH = 20, 500
    CHILD = ("import resource, socket, sys, time\n"
             "hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]\n"
             "resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))\n"
             "first, n = map(int, sys.argv[1:])\n"
             "held = [socket.create_server(('127.0.0.1', p))\n"
             "        for p in range(first, first + n)]\n"
             "print('listening on x:1', flush=True)\n"
             "time.sleep(600)\n")

    def setUp(self):
        self.children = [
            self.enterContext(Program(sys.executable, "-c", self.CHILD,
                                      str(10000 + i * self.EACH),
                                      str(self.EACH)))
            for i in range(self.PROCESSES)]
        for child in self.children:
            child.addresses()

    def test_ten_thousand(self):
        n = self.PROCESSES * self.EACH
        found = self.json("-t")
        self.assertEqual([o["port"] for o in found],
                         list(range(10000, 10000 + n)))
        for o in found:
            child = self.children[(o["port"] - 10000) // self.EACH]
            self.assertEqual([w["pid"] for w in o["owners"]], [child.pid])
        self.assertEqual(len(self.lines()), n)
        self.assertEqual(len(self.lines("--pid", str(self.children[3].pid))),
                         self.EACH)
        self.assertEqual(len(self.lines("10500")), 1)
        with Program(tool(), "ports", "--watch=1h") as p:
            p.wait_for(f":{10000 + n - 1} ")
            status = pathlib.Path(f"/proc/{p.pid}/status").read_text()
        if not is_sanitized():
            self.assertLess(int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]),
                            16 << 10)


if __name__ == "__main__":
    own_network.main()
