#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""cleat check: what it finds, how it says so, and what it runs then."""
import contextlib
import json
import os
import pathlib
import pty
import re
import resource
import socket
import subprocess
import sys
import tempfile
import time
import unittest

from support import (
    DEADLINE, OWN_NETWORK, Peer, Program, acknowledge, has_ipv6,
    has_own_network, held_port, read_all, run, silent_port, tool)

KEYS = {"target", "proto", "state", "address", "port", "rtt_us", "error"}
MS = r"\d+\.\d ms"

# Leaves itself no port to connect from but those it holds, then runs a program
# against a server of its own.  With "later" it lets go of one meanwhile.
NO_PORTS = """
import socket, struct, subprocess, sys, threading
try:
    with open("/proc/sys/net/ipv4/ip_local_port_range", "w") as f:
        f.write("60000 60003")
except OSError:
    sys.exit(77)
server = socket.create_server(("127.0.0.1", 7), backlog=100)
held = []
try:
    while True:
        held.append(socket.create_connection(("127.0.0.1", 7)))
except OSError:
    pass
def let_go():
    held[0].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                       struct.pack("ii", 1, 0))
    held[0].close()
if sys.argv[1] == "later":
    threading.Timer(0.3, let_go).start()
sys.exit(subprocess.run(sys.argv[2:]).returncode)
"""

needs_ipv6 = unittest.skipUnless(has_ipv6(), "no IPv6 loopback here")
needs_own_network = unittest.skipUnless(
    has_own_network(), "no network namespace to be had")


def check(*args, **options):
    return run(tool(), "check", *args, **options)


@contextlib.contextmanager
def open_port(host="127.0.0.1"):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as s:
        yield s.getsockname()[1]


@contextlib.contextmanager
def udp_port(is_open):
    """One that receives and does not answer; or one that refuses."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s, \
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        s.bind(("127.0.0.1", 0))
        if not is_open:  # it is somebody else's alone
            other.bind(("127.0.0.1", 0))
            s.connect(other.getsockname())
        yield s.getsockname()[1]


class Case(unittest.TestCase):
    def setUp(self):
        self.dir = self.enterContext(tempfile.TemporaryDirectory())
        self.marker = pathlib.Path(self.dir, "marker")

    def assert_says(self, r, *lines, status=0):
        found = r.stdout.splitlines()
        self.assertEqual(len(found), len(lines), r)
        for line, want in zip(found, lines):
            self.assertRegex(line, rf"\A{want}\Z")
        self.assertEqual((r.stderr, r.returncode), ("", status))

    def assert_line(self, r, reason, status=1):
        self.assertRegex(r.stderr, rf"\Acleat check: [^\n]*{reason}[^\n]*\n\Z")
        self.assertEqual(r.returncode, status)

    def json(self, *args):
        r = check("--json", *args)
        self.assertEqual(r.stderr, "")
        found = [json.loads(line) for line in r.stdout.splitlines()]
        for o in found:
            self.assertEqual(o.keys(), KEYS)
        self.assertEqual(r.returncode,
                         any(o["state"] != "open" for o in found))
        return found


class States(Case):
    def test_open(self):
        with open_port() as port:
            self.assert_says(check(f"127.0.0.1:{port}"),
                             rf"127\.0\.0\.1:{port} -- OPEN \({MS}\)")

    def test_closed(self):
        with held_port() as port:
            self.assert_says(
                check(f"127.0.0.1:{port}"), rf"127\.0\.0\.1:{port} -- CLOSED "
                rf"\(connection refused, {MS}\)", status=1)

    def test_filtered(self):
        with silent_port() as port:
            start = time.monotonic()
            r = check("-w", "300ms", f"127.0.0.1:{port}")
            self.assertGreaterEqual(time.monotonic() - start, 0.3)
            self.assert_says(
                r, rf"127\.0\.0\.1:{port} -- FILTERED \(timed out\)", status=1)

    def test_the_default_deadline(self):
        with silent_port() as port:
            start = time.monotonic()
            r = check(f"127.0.0.1:{port}")
            self.assertGreaterEqual(time.monotonic() - start, 2)
            self.assertEqual(r.returncode, 1)

    @needs_own_network
    def test_unreachable_is_filtered(self):
        r = run(*OWN_NETWORK, tool(), "check", "203.0.113.1:80")
        self.assert_says(
            r, r"203\.0\.113\.1:80 -- FILTERED \([a-z ]*unreachable[a-z ]*\)",
            status=1)

    @needs_own_network
    def test_unresolved(self):
        r = run(*OWN_NETWORK, tool(), "check", "nosuch.invalid:80")
        self.assert_says(
            r, r"nosuch\.invalid:80 -- UNRESOLVED \([a-z ,;]+\)", status=1)

    def test_an_unknown_service_is_unresolved(self):
        r = check("127.0.0.1:no-such-service")
        self.assert_says(r, r"127\.0\.0\.1:no-such-service -- UNRESOLVED "
                         r"\([a-z ,;]+\)", status=1)

    def test_udp(self):
        with Peer(acknowledge, udp=True) as peer:
            self.assert_says(
                check(f"udp://127.0.0.1:{peer.port}"),
                rf"udp://127\.0\.0\.1:{peer.port} -- OPEN \({MS}\)")
        with udp_port(is_open=False) as port:
            self.assert_says(
                check("-u", f"127.0.0.1:{port}"), rf"udp://127\.0\.0\.1:{port}"
                rf" -- CLOSED \(connection refused, {MS}\)", status=1)
        with udp_port(is_open=True) as port:
            start = time.monotonic()
            r = check("-w", "300ms", f"udp://127.0.0.1:{port}")
            self.assertGreaterEqual(time.monotonic() - start, 0.3)
            self.assert_says(
                r, rf"udp://127\.0\.0\.1:{port} -- OPEN\|FILTERED", status=1)

    def test_udp_services_of_cleat(self):
        with Program(tool(), "serve", "echo", "udp://127.0.0.1:0") as p:
            r = check(p.addresses()[0])
            self.assertIn("-- OPEN (", r.stdout)
            self.assertEqual(r.returncode, 0)

    def test_unix(self):
        path = f"{self.dir}/s"
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(path)
            closed = rf"unix:{path} -- CLOSED \(connection refused, {MS}\)"
            self.assert_says(check(f"unix:{path}"), closed, status=1)
            s.listen()
            self.assert_says(check(f"unix:{path}"),
                             rf"unix:{path} -- OPEN \({MS}\)")
        self.assert_says(check(f"unix:{path}"), closed, status=1)
        r = check(f"unix:{path}-none")
        self.assert_says(r, rf"unix:{path}-none -- CLOSED \(no such file or "
                         rf"directory, {MS}\)", status=1)

    def test_unix_datagrams(self):
        path = f"{self.dir}/d"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.bind(path)
            self.assert_says(check(f"unixgram:{path}"),
                             rf"unixgram:{path} -- OPEN \({MS}\)")
        self.assertEqual(check(f"unixgram:{path}").returncode, 1)

    @needs_ipv6
    def test_a_name_is_as_open_as_its_best_address(self):
        for host in "127.0.0.1", "::1":
            with open_port(host) as port:
                self.assert_says(check(str(port)), rf"{port} -- OPEN \({MS}\)")
        with open_port("::1") as port:
            self.assertEqual(check("-4", str(port)).returncode, 1)
            self.assertEqual(check("-6", str(port)).returncode, 0)
            self.assertEqual(check("::1", str(port)).returncode, 0)

    def test_nobody_listens_to_himself(self):
        """A connect to a free ephemeral port can meet itself."""
        with open("/proc/sys/net/ipv4/ip_local_port_range",
                  encoding="ascii") as f:
            low, high = map(int, f.read().split())
        with held_port() as port:
            self.assertIn(port, range(low, high + 1))
            targets = [f"127.0.0.1:{port}"] * 500
            r = check(*targets)
            self.assertEqual(r.stdout.count(" -- CLOSED "), 500)

    def test_it_leaves_no_word(self):
        """An open port is not spoken to."""
        with socket.create_server(("127.0.0.1", 0)) as s:
            check("127.0.0.1", str(s.getsockname()[1]))
            c, _ = s.accept()
            with c:
                c.settimeout(DEADLINE)
                with contextlib.suppress(ConnectionResetError):
                    self.assertEqual(c.recv(10), b"")


class Many(Case):
    def test_the_order_is_that_of_the_command_line(self):
        with open_port() as good, held_port() as bad, silent_port() as ugly:
            a, b, c = (f"127.0.0.1:{port}" for port in (ugly, good, bad))
            r = check("-w", "300ms", a, b, c, "127.0.0.1", str(good), a, b)
            self.assertEqual(
                [re.split(r" -- | \(", line)[:2]
                 for line in r.stdout.splitlines()],
                [[a, "FILTERED"], [b, "OPEN"], [c, "CLOSED"], [b, "OPEN"],
                 [a, "FILTERED"], [b, "OPEN"]])
            self.assertEqual(r.returncode, 1)

    def test_all_open(self):
        with open_port() as one, open_port() as other:
            r = check(f"127.0.0.1:{one}", f"127.0.0.1:{other}")
            self.assertEqual((r.returncode, r.stdout.count("OPEN")), (0, 2))

    def test_in_parallel(self):
        with silent_port() as port:
            start = time.monotonic()
            r = check("-w", "500ms", *[f"127.0.0.1:{port}"] * 200)
            took = time.monotonic() - start
            self.assertEqual(r.stdout.count(" -- FILTERED (timed out)\n"), 200)
            self.assertGreaterEqual(took, 0.5)
            self.assertLess(took, 20)  # one after another: 100

    def test_thousands(self):
        with Peer(read_all) as peer, held_port() as bad:
            targets = [f"127.0.0.1:{port}" for port in (peer.port, bad)] * 1000
            r = check(*targets)
            self.assertEqual([line.partition(" ")[0] for line in
                              r.stdout.splitlines()], targets)
            self.assertEqual(r.stdout.count("CLOSED"), 1000)

    def test_each_is_told_as_soon_as_it_is_known(self):
        for args in [], ["--json"]:
            with self.subTest(args), open_port() as good, \
                    silent_port() as slow, \
                    Program(tool(), "check", *args, "-w", "600s",
                            f"127.0.0.1:{good}", f"127.0.0.1:{slow}") as p:
                p.wait_for("open" if args else "OPEN")
                self.assertTrue(p.out.endswith("\n"))
                self.assertIsNone(p.process.poll())


class Shortage(Case):
    """What is lacking here says nothing of the target."""

    def limited(self, n, *args):
        return check(*args, preexec_fn=lambda: resource.setrlimit(
            resource.RLIMIT_NOFILE, (n, n)))

    def test_no_descriptors_for_all(self):
        """They wait for one another."""
        with Peer(read_all) as peer:
            for n in 12, 20, 100:
                r = self.limited(n, *[f"127.0.0.1:{peer.port}"] * 400)
                self.assertEqual((r.stdout.count(" -- OPEN "), r.returncode,
                                  r.stderr), (400, 0, ""))

    def test_no_descriptors(self):
        """However few there are, what is said is true."""
        untried = 0
        with open_port() as port:
            targets = f"127.0.0.1:{port}", f"localhost:{port}"
            for n in range(3, 12):
                r = self.limited(n, "-w", "200ms", "-4", *targets)
                if r.returncode == 127:
                    continue  # not even its libraries
                said = [line for line in r.stderr.splitlines()
                        if line.startswith("cleat check: ")]
                for line in said:
                    self.assertIn("too many open files", line)
                self.assertEqual(r.stderr.count("\n"), len(said))
                found = r.stdout.splitlines()
                self.assertEqual(r.stdout.count(" -- OPEN "), len(found), r)
                self.assertEqual(r.returncode, int(bool(said)))
                untried += any(f": tcp4://{targets[0]}: " in line
                               or f": {targets[0]}: " in line for line in said)
                if said and said[0] != ("cleat check: too many open files; "
                                        "raise ulimit -n"):
                    self.assertEqual(len(said) + len(found), 2)
        self.assertGreater(untried, 0)

    def test_in_json_there_is_no_state(self):
        found = []
        with open_port() as port:
            for n in range(3, 12):
                r = self.limited(n, "-w", "200ms", "--json",
                                 f"127.0.0.1:{port}")
                found += map(json.loads, r.stdout.splitlines())
        untried = [o for o in found if o["state"] != "open"]
        for o in untried:
            self.assertEqual(o, {
                "target": f"127.0.0.1:{port}", "proto": "tcp", "state": None,
                "address": "127.0.0.1", "port": port, "rtt_us": None,
                "error": "too many open files; raise ulimit -n"})
        self.assertTrue(0 < len(untried) < len(found))

    def run_without_ports(self, when, *args):
        r = run(*OWN_NETWORK, sys.executable, "-c", NO_PORTS, when, tool(),
                "check", *args, "127.0.0.1:7")
        if r.returncode == 77:
            self.skipTest("the range of ports cannot be set here")
        return r

    @needs_own_network
    def test_no_ports(self):
        r = self.run_without_ports("never", "-w", "300ms")
        self.assert_line(r, "127.0.0.1:7: no port left")
        self.assertEqual(r.stdout, "")

    @needs_own_network
    def test_it_is_waited_out(self):
        r = self.run_without_ports("later", "-w", "60s")
        self.assert_says(r, rf"127\.0\.0\.1:7 -- OPEN \({MS}\)")

    @needs_own_network
    def test_no_ipv6_is_no_shortage(self):
        """Where there is no way there will be none in a second either."""
        r = run(*OWN_NETWORK, "sh", "-c",
                'echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6 && '
                'exec "$@"', "sh", tool(), "check", "-w", "600s", "[::1]:7")
        if r.returncode == 2:
            self.skipTest("IPv6 cannot be switched off here")
        self.assert_says(r, r"\[::1\]:7 -- FILTERED \([a-z ]+\)", status=1)


class Json(Case):
    def test_open(self):
        with open_port() as port:
            o, = self.json(f"127.0.0.1:{port}")
            self.assertGreaterEqual(o.pop("rtt_us"), 0)
            self.assertEqual(o, {
                "target": f"127.0.0.1:{port}", "proto": "tcp", "state": "open",
                "address": "127.0.0.1", "port": port, "error": None})

    def test_closed(self):
        with held_port() as port:
            o, = self.json(f"127.0.0.1:{port}")
            self.assertIsInstance(o.pop("rtt_us"), int)
            self.assertEqual(o, {
                "target": f"127.0.0.1:{port}", "proto": "tcp",
                "state": "closed", "address": "127.0.0.1", "port": port,
                "error": "connection refused"})

    def test_filtered(self):
        with silent_port() as port:
            o, = self.json("-w", "200ms", f"127.0.0.1:{port}")
            self.assertEqual(o, {
                "target": f"127.0.0.1:{port}", "proto": "tcp",
                "state": "filtered", "address": "127.0.0.1", "port": port,
                "rtt_us": None, "error": "timed out"})

    def test_unresolved(self):
        o, = self.json("127.0.0.1:no-such-service")
        self.assertIsInstance(o.pop("error"), str)
        self.assertEqual(o, {
            "target": "127.0.0.1:no-such-service", "proto": "tcp",
            "state": "unresolved", "address": None, "port": None,
            "rtt_us": None})

    def test_udp(self):
        with udp_port(is_open=True) as port:
            o, = self.json("-w", "200ms", f"udp://127.0.0.1:{port}")
            self.assertEqual(o, {
                "target": f"udp://127.0.0.1:{port}", "proto": "udp",
                "state": "open|filtered", "address": "127.0.0.1", "port": port,
                "rtt_us": None, "error": None})

    @needs_ipv6
    def test_ipv6(self):
        with open_port("::1") as port:
            o, = self.json(f"[::1]:{port}")
            self.assertEqual((o["address"], o["port"]), ("::1", port))

    def test_unix(self):
        for name in f"{self.dir}/s", f"@cleat-test-{os.getpid()}":
            with socket.socket(socket.AF_UNIX) as s:
                s.bind(name.replace("@", "\0"))
                s.listen()
                o, = self.json(f"unix:{name}")
                self.assertEqual(
                    (o["target"], o["proto"], o["state"], o["address"],
                     o["port"]), (f"unix:{name}", "unix", "open", name, None))

    def test_bytes_that_are_no_text(self):
        r = check("--json", b"unix:/nonexistent/\xff\x1b[31m\"\\")
        o = json.loads(r.stdout)
        self.assertEqual(o.keys(), KEYS)
        self.assertTrue(r.stdout[:-1].isprintable())

    def test_one_object_a_line_in_order(self):
        with open_port() as good, held_port() as bad, silent_port() as ugly:
            found = self.json("-w", "200ms", f"127.0.0.1:{ugly}",
                              f"127.0.0.1:{good}", f"127.0.0.1:{bad}")
            self.assertEqual([o["port"] for o in found], [ugly, good, bad])


class Waiting(Case):
    def test_until_a_server_has_started(self):
        """The other target says when it has begun to look."""
        with held_port() as port, \
                socket.create_server(("127.0.0.1", 0)) as first, \
                Program(tool(), "check", "--wait", "60s",
                        f"127.0.0.1:{first.getsockname()[1]}",
                        f"127.0.0.1:{port}") as p:
            first.settimeout(DEADLINE)
            first.accept()[0].close()
            self.assertIsNone(p.process.poll())
            with socket.create_server(("127.0.0.1", port)):
                self.assertEqual(p.wait(), 0)
            self.assertEqual(p.out.count(" -- OPEN "), 2)

    def test_until_a_socket_is_there(self):
        path = f"{self.dir}/s"
        with Program(tool(), "check", "--wait", "60s", f"unix:{path}") as p, \
                socket.socket(socket.AF_UNIX) as s:
            s.bind(path)
            s.listen()
            self.assertEqual(p.wait(), 0)

    def test_in_vain(self):
        with held_port() as port:
            start = time.monotonic()
            r = check("--wait", "500ms", f"127.0.0.1:{port}")
            self.assertGreaterEqual(time.monotonic() - start, 0.3)
            self.assertIn(" -- CLOSED ", r.stdout)
            self.assertEqual((r.returncode, r.stdout.count("\n")), (1, 1))

    def test_ends_a_longer_attempt(self):
        with silent_port() as port:
            start = time.monotonic()
            r = check("--wait", "500ms", "-w", "600s", f"127.0.0.1:{port}")
            self.assertGreaterEqual(time.monotonic() - start, 0.3)
            self.assertEqual(r.returncode, 1)

    def test_not_for_what_is_open(self):
        with open_port() as port:
            r = check("--wait", "600s", f"127.0.0.1:{port}")
            self.assertEqual(r.returncode, 0)


class Commands(Case):
    def test_words_reach_it_as_they_are(self):
        with open_port() as port:
            words = ["a b", "$HOME", "*", "", "--", "-w", "'\"\\", "\n", "é"]
            r = check(f"127.0.0.1:{port}", "--", "printf", "%s|", *words)
            self.assertEqual(r.stdout, "|".join(words) + "|")
            self.assertEqual(r.returncode, 0)
            self.assertRegex(r.stderr,
                             rf"\A127\.0\.0\.1:{port} -- OPEN \({MS}\)\n\Z")

    def test_its_status(self):
        with open_port() as port:
            for status in 0, 1, 2, 7, 255:
                r = check(f"127.0.0.1:{port}", "--", "sh", "-c",
                          f"exit {status}")
                self.assertEqual(r.returncode, status)
            r = check(f"127.0.0.1:{port}", "--", "sh", "-c", "kill -9 $$")
            self.assertEqual(r.returncode, -9)

    def test_not_if_something_is_closed(self):
        with open_port() as good, held_port() as bad:
            r = check(f"127.0.0.1:{good}", f"127.0.0.1:{bad}", "--", "touch",
                      str(self.marker))
            self.assertEqual(r.returncode, 1)
            self.assertFalse(self.marker.exists())

    def test_after_waiting(self):
        with held_port() as port, \
                socket.create_server(("127.0.0.1", 0)) as first, \
                Program(tool(), "check", "--wait", "60s",
                        f"127.0.0.1:{first.getsockname()[1]}",
                        f"127.0.0.1:{port}", "--", "touch",
                        str(self.marker)) as p:
            first.settimeout(DEADLINE)
            first.accept()[0].close()
            self.assertFalse(self.marker.exists())
            with socket.create_server(("127.0.0.1", port)):
                self.assertEqual(p.wait(), 0)
            self.assertTrue(self.marker.exists())

    def test_that_is_not_there(self):
        with open_port() as port:
            for name in "no-such-command", "/no/such/command", "":
                r = check(f"127.0.0.1:{port}", "--", name)
                said = r.stderr.splitlines(keepends=True)
                self.assertEqual(len(said), 2, r)
                r.stderr = said[1]
                self.assert_line(r, "no such file", 127)

    def test_that_cannot_be_run(self):
        self.marker.write_text("not a program", encoding="ascii")
        with open_port() as port:
            for name in str(self.marker), self.dir:
                r = check(f"127.0.0.1:{port}", "--", name)
                r.stderr = r.stderr.splitlines(keepends=True)[1]
                self.assert_line(r, "permission denied", 126)

    def test_it_starts_afresh(self):
        """Nothing of ours is open, blocked or ignored; stdin is untouched."""
        with open_port() as port:
            # By read, for a shell that forks blocks signals meanwhile.
            args = f"127.0.0.1:{port}", "--"
            r = check(*args, "ls", "/proc/self/fd")
            self.assertEqual(r.stdout.split(), ["0", "1", "2", "3"])  # its own
            # As we start it ourselves: make lets signal 32 be ignored.
            status = "grep", "-E", "Sig(Blk|Ign)", "/proc/self/status"
            plain = subprocess.run(status, capture_output=True, text=True,
                                   check=True)
            self.assertEqual(check(*args, *status).stdout, plain.stdout)
            r = check(*args, "cat", input="stdin")
            self.assertEqual(r.stdout, "stdin")

    def test_json_beside_it(self):
        with open_port() as port:
            r = check("--json", f"127.0.0.1:{port}", "--", "echo", "hello")
            self.assertEqual(r.stdout, "hello\n")
            self.assertEqual(json.loads(r.stderr)["state"], "open")

    def test_none_after_all(self):
        with open_port() as port:
            r = check(f"127.0.0.1:{port}", "--")
            self.assertIn(r.returncode, (0, 2))
            self.assertLessEqual((r.stdout + r.stderr).count("\n"), 1)


class Output(Case):
    def redirected(self, redirection, *args):
        return run("sh", "-c", f'exec "$@" {redirection}', "sh", tool(),
                   "check", *args)

    def test_nowhere_to_print(self):
        with open_port() as port:
            for to in ">&-", ">/dev/full":
                for args in [], ["--json"]:
                    with self.subTest(to, args=args):
                        r = self.redirected(to, *args, f"127.0.0.1:{port}")
                        self.assert_line(r, "standard output: ")

    def test_a_reader_that_has_gone(self):
        with held_port() as port:
            r = run("sh", "-c", '{ "$@"; echo $? >&2; } | head -c1', "sh",
                    tool(), "check", *[f"127.0.0.1:{port}"] * 3000)
            self.assertEqual(r.stdout, "1")
            # What is printed may all go into the pipe before its end closes.
            line, status, _ = r.stderr.rpartition("1\n")
            self.assertEqual(status, "1\n")
            if line:
                r.stderr, r.returncode = line, 1
                self.assert_line(r, "standard output: ")

    def test_colour_is_for_terminals(self):
        with open_port() as port:
            ours, its = pty.openpty()
            r = run(tool(), "check", f"127.0.0.1:{port}", stdout=its)
            self.assertEqual(r.returncode, 0)
            self.assertIn(b"\033[", os.read(ours, 1000))
            env = {**os.environ, "NO_COLOR": "1"}
            run(tool(), "check", f"127.0.0.1:{port}", stdout=its, env=env)
            self.assertNotIn(b"\033", os.read(ours, 1000))
            os.close(ours)
            os.close(its)


if __name__ == "__main__":
    unittest.main()
