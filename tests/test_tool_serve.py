#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""cleat serve, seen by its clients and by who started it."""
import contextlib
import datetime
import json
import os
import re
import resource
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

from support import (
    DEADLINE, OWN_NETWORK, Program, abort, connect, dial, has_ipv6, held_port,
    is_sanitized, needs_own_network, read_all, read_exactly, run, tool,
    wait_until)

ANY = "127.0.0.1:0"
MODES = ["fibers", "threads", "processes", "one"]
AT_ONCE = MODES[:3]
MUCH = 64 << 20  # bytes, more than all buffers on the way hold
LOG_LINE = re.compile(r"\d\d-\d\d-\d{4} \d\d:\d\d:\d\d - "
                      r"(INFO|WARNING|ERROR) - serve - [^\n]+")
ENDED = re.compile(r"INFO - serve - ended (\S+): received (\d+) bytes, "
                   r"sent (\d+), ")

# Binds the sockets whose descriptors it is told as a supervisor would.
HAND_OVER = """
import fcntl, os, sys
fds = [int(fd) for fd in sys.argv[2].split(",") if fd]
far = [fcntl.fcntl(fd, fcntl.F_DUPFD, 100) for fd in fds]
for i, fd in enumerate(far):
    os.dup2(fd, 3 + i)
    os.close(fd)
os.environ["LISTEN_FDS"] = str(len(fds))
os.environ["LISTEN_PID"] = sys.argv[1] or str(os.getpid())
os.execv(sys.argv[3], sys.argv[3:])
"""

# Serves a name that nobody looks up, and sends the signals given: each shall
# end it at once.
MUTE = """
import pathlib, socket, subprocess, sys
tool, path, *numbers = sys.argv[1:]
pathlib.Path(path).write_text("nameserver 127.0.0.1\\n")
if subprocess.run(["mount", "--bind", path, "/etc/resolv.conf"]).returncode:
    sys.exit(77)
for n in map(int, numbers):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("127.0.0.1", 53))
        s.settimeout(4)
        with subprocess.Popen([tool, "serve", "echo", "slow.test:80"]) as p:
            try:
                s.recv(1)
                p.send_signal(n)
                assert p.wait(4) == -n
            except TimeoutError:
                sys.exit(77)
            finally:
                p.kill()
"""

needs_ipv6 = unittest.skipUnless(has_ipv6(), "no IPv6 loopback here")
needs_plain_memory = unittest.skipIf(
    is_sanitized(), "a sanitizer's own memory is in the way")


def serve(*args, **options):
    return Program(tool(), "serve", *args, **options)


def activated(socks, *args, pid=""):
    fds = [s.fileno() for s in socks]
    return Program(sys.executable, "-c", HAND_OVER, pid,
                   ",".join(map(str, fds)), tool(), "serve", *args,
                   pass_fds=fds)


def ask(s, data):
    """All that is said to DATA, to the end."""
    with s:
        s.sendall(data)
        s.shutdown(socket.SHUT_WR)
        return read_all(s)


def exchange(s, data):
    s.sendall(data)
    return read_exactly(s, len(data))


def wait_for_workers(port):
    """Until each has answered: the kernel gives each some of so many."""
    for _ in range(40):
        ask(connect(port), b"x")


def is_refused(port, host="127.0.0.1"):
    try:
        connect(port, host).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:
        pass  # it stops just now
    return False


def is_ended(s):
    """Waits for the peer's end, be it an orderly one or not."""
    try:
        return read_all(s) is not None
    except ConnectionResetError:
        return True


def fds_of(p):
    return [int(fd) for fd in os.listdir(f"/proc/{p.pid}/fd")]


def memory_of(pid):
    """Resident, in KiB."""
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return int(re.search(r"VmRSS:\s*(\d+)", f.read())[1])


def cpu_of(p):
    """Seconds."""
    with open(f"/proc/{p.pid}/stat", encoding="latin-1") as f:
        ticks = f.read().rpartition(")")[2].split()
    return (int(ticks[11]) + int(ticks[12])) / os.sysconf("SC_CLK_TCK")


def children_of(p):
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            with open(f"/proc/{pid}/stat", encoding="latin-1") as f:
                if int(f.read().rpartition(")")[2].split()[1]) == p.pid:
                    found.append(int(pid))
    return found


def ended(p):
    """(peer, received, sent) of each connection whose end was logged."""
    return [(peer, int(received), int(sent))
            for peer, received, sent in ENDED.findall(p.err)]


def read_aside(s, n):
    """Starts to read N bytes; what it returns gives them."""
    got = []
    t = threading.Thread(target=lambda: got.append(read_exactly(s, n)))
    t.start()

    def result():
        t.join(DEADLINE)
        return got[0] if got else None
    return result


def fill(s, data):
    """Send and never read, until nothing more goes in.  How much went."""
    data *= 65536 // len(data)
    n = 0
    s.setblocking(False)
    while n < MUCH and select.select([], [s], [], 0.3)[1]:
        n += s.send(data)
    return n


class Case(unittest.TestCase):
    def setUp(self):
        self.dir = self.enterContext(tempfile.TemporaryDirectory())

    def assert_stops(self, p, number=signal.SIGTERM):
        p.signal(number)
        self.assertEqual(p.wait(), 0, p.err)

    def assert_log(self, p):
        for line in p.err.splitlines():
            self.assertRegex(line, rf"\A{LOG_LINE.pattern}\Z")

    def assert_fails(self, *args, reason="", status=1, **options):
        r = run(tool(), "serve", *args, **options)
        self.assertRegex(r.stderr, r"\Acleat serve: [^\n]*" + reason +
                         r"[^\n]*\n\Z")
        self.assertEqual((r.returncode, r.stdout), (status, ""))

    def assert_silent(self, s, seconds=0.2):
        self.assertEqual(select.select([s], [], [], seconds)[0], [])

    def everywhere(self, *args):
        """A server on each kind of address, and its addresses."""
        addrs = [ANY, "udp://" + ANY, f"unix:{self.dir}/stream",
                 f"unix:@cleat-test-{os.getpid()}",
                 f"unixgram:{self.dir}/dgram"]
        if has_ipv6():
            addrs += ["[::1]:0", "udp://[::1]:0"]
        p = self.enterContext(serve(*args, *addrs))
        found = p.addresses(len(addrs))
        streams = [a for a in found if not a.startswith(("udp:", "unixgram:"))]
        return streams, [a for a in found if a not in streams]


class Services(Case):
    def test_echo(self):
        streams, dgrams = self.everywhere("echo")
        data = bytes(range(256)) * 4096
        for addr in streams:
            with self.subTest(addr), dial(addr) as s:
                reader = read_aside(s, len(data))
                s.sendall(data)
                self.assertEqual(reader(), data)
                s.shutdown(socket.SHUT_WR)
                self.assertEqual(read_all(s), b"")
        for addr in dgrams:
            with self.subTest(addr), dial(addr) as s:
                for data in (b"hello\n", b"", bytes(range(256)) * 200):
                    s.send(data)
                    self.assertEqual(s.recv(70000), data)

    def test_echo_of_the_largest_datagrams(self):
        for host, size in ("127.0.0.1", 65507), ("[::1]", 65527):
            if host == "[::1]" and not has_ipv6():
                continue
            with serve("echo", f"udp://{host}:0") as p, \
                    dial(p.addresses()[0]) as s:
                data = os.urandom(size)
                s.send(data)
                self.assertEqual(s.recv(70000), data)

    def test_upper_is_ascii_only(self):
        streams, dgrams = self.everywhere("upper")
        data = bytes(range(256))
        for addr in streams:
            with self.subTest(addr):
                self.assertEqual(ask(dial(addr), data), data.upper())
        for addr in dgrams:
            with self.subTest(addr), dial(addr) as s:
                s.send(data)
                self.assertEqual(s.recv(70000), data.upper())

    def test_discard(self):
        streams, dgrams = self.everywhere("discard")
        for addr in streams:
            with self.subTest(addr):
                self.assertEqual(ask(dial(addr), b"x" * 1000000), b"")
        for addr in dgrams:
            with self.subTest(addr), dial(addr) as s:
                s.send(b"x")
                self.assert_silent(s, 0.05)

    @staticmethod
    def pattern(lines):
        """RFC 864's, of 72 of the 95 printing characters a line."""
        ring = "".join(map(chr, range(32, 127))) * 2
        return "".join(ring[i % 95:i % 95 + 72] + "\r\n"
                       for i in range(lines)).encode()

    def test_chargen(self):
        streams, dgrams = self.everywhere("chargen")
        for addr in streams:
            with self.subTest(addr), dial(addr) as s:
                s.sendall(b"ignored")
                want = self.pattern(5000)
                self.assertEqual(read_exactly(s, len(want)), want)
                s.sendall(b"ignored" * 10000)
        for addr in dgrams:
            with self.subTest(addr), dial(addr) as s:
                for _ in range(20):
                    s.send(b"x")
                    data = s.recv(70000)
                    self.assertLessEqual(len(data), 512)
                    self.assertTrue(self.pattern(8).startswith(data), data)

    def test_chargen_ends_with_its_reader(self):
        with serve("chargen", ANY) as p:
            for _ in range(3):
                with connect(p.port) as s:
                    read_exactly(s, 1000)
            wait_until(lambda: p.err.count(" ended ") == 3, "their ends")
            self.assert_log(p)

    def assert_now(self, text):
        """RFC 867's "Weekday, Month Day, Year Time-Zone"."""
        self.assertRegex(text.decode(), r"\A[A-Z][a-z]+, [A-Z][a-z]+ \d\d?, "
                         r"\d{4} \d\d:\d\d:\d\d-UTC\r\n\Z")
        then = datetime.datetime.strptime(
            text.decode(), "%A, %B %d, %Y %H:%M:%S-UTC\r\n")
        now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
        self.assertLess(abs((now - then).total_seconds()), 60)

    def test_daytime(self):
        os.environ["TZ"] = "UTC"
        self.addCleanup(os.environ.pop, "TZ")
        streams, dgrams = self.everywhere("daytime")
        for addr in streams:
            with self.subTest(addr), dial(addr) as s:
                self.assert_now(read_all(s))
            with self.subTest(addr, asked=True):
                self.assert_now(ask(dial(addr), b"what time is it?\n" * 99))
        for addr in dgrams:
            with self.subTest(addr), dial(addr) as s:
                s.send(b"")
                self.assert_now(s.recv(1000))

    def test_daytime_needs_no_end_from_the_client(self):
        """Who is told the time and stays is not waited for for ever."""
        with serve("daytime", ANY) as p, connect(p.port) as s:
            self.assertTrue(read_all(s))
            wait_until(lambda: ended(p), "the end")

    def test_lines_with_a_prefix(self):
        streams, _ = self.everywhere("upper", "--lines", "--prefix", "Echo: ")
        for addr in streams:
            with self.subTest(addr), dial(addr) as s:
                s.sendall(b"hello\n")
                self.assertEqual(read_exactly(s, 12), b"Echo: HELLO\n")
                s.sendall(b"a\n\nb\0c\r\nin ")
                want = b"Echo: A\nEcho: \nEcho: B\0C\r\n"
                self.assertEqual(read_exactly(s, len(want)), want)
                s.sendall(b"two\nno end")
                s.shutdown(socket.SHUT_WR)
                self.assertEqual(read_all(s), b"Echo: IN TWO\nEcho: NO END")

    def test_lines_byte_by_byte(self):
        with serve("echo", "--lines", "--prefix", "> ", ANY) as p, \
                connect(p.port) as s:
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in b"slow\n":
                s.send(bytes([byte]))
            self.assertEqual(read_exactly(s, 7), b"> slow\n")

    def test_the_longest_line_and_a_longer_one(self):
        for mode in MODES:
            with self.subTest(mode), \
                    serve("echo", "--lines", "--mode", mode, ANY) as p:
                longest = b"x" * 65535 + b"\n"
                self.assertEqual(ask(connect(p.port), longest), longest)
                other = (self.enterContext(connect(p.port))
                         if mode != "one" else None)
                with connect(p.port) as s:
                    with contextlib.suppress(ConnectionError):
                        s.sendall(b"x" * 200000)
                    self.assertTrue(is_ended(s))
                p.wait_for("WARNING")
                if other:
                    self.assertEqual(exchange(other, b"fine\n"), b"fine\n")
                    other.close()
                self.assert_log(p)

    def test_prefix_of_datagrams(self):
        _, dgrams = self.everywhere("echo", "--prefix", "ACK: ")
        for addr in dgrams:
            with self.subTest(addr), dial(addr) as s:
                for data in b"hello", b"", b"\0\xff":
                    s.send(data)
                    self.assertEqual(s.recv(1000), b"ACK: " + data)

    def test_lines_of_datagrams(self):
        """All answers in one datagram."""
        _, dgrams = self.everywhere("upper", "--lines", "--prefix", "Echo: ")
        for addr in dgrams:
            with self.subTest(addr), dial(addr) as s:
                for data, answer in (
                        (b"a\nb\n", b"Echo: A\nEcho: B\n"),
                        (b"a\n\nb", b"Echo: A\nEcho: \nEcho: B"),
                        (b"a", b"Echo: A"), (b"\n", b"Echo: \n"),
                        (b"", b"Echo: ")):
                    s.send(data)
                    self.assertEqual(s.recv(1000), answer)

    def test_many_lines_of_a_datagram(self):
        """Answers that would fill the memory are not even made."""
        with serve("echo", "--lines", "--prefix", "x" * 100000,
                   "udp://" + ANY) as p, dial(p.addresses()[0]) as s:
            s.send(b"\n" * 65000)
            p.wait_for("WARNING - serve - dropped an answer of 6500065000 ")
            self.assertLess(memory_of(p.pid), 100 << 10)

    def test_answers_longer_than_a_datagram(self):
        """One warning for all of them, and the rest goes on."""
        for args in [], ["-q", "--mode", "threads"]:
            with self.subTest(args), \
                    socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
                own.bind(("127.0.0.1", 0))
                with activated([own], "echo", "--prefix", "ACK: ",
                               *args) as p, \
                        dial("udp://127.0.0.1:%d" % own.getsockname()[1]) as s:
                    s.send(b"x" * 65503)
                    p.wait_for("WARNING")
                    s.send(b"x" * 65503)
                    s.send(b"x" * 65502)
                    self.assertEqual(s.recv(70000), b"ACK: " + b"x" * 65502)
                    self.assert_stops(p)
                    self.assertRegex(p.err, " - WARNING - serve - [^\n]*65508")
                    self.assertEqual(p.err.count("WARNING"), 1)
                    self.assert_log(p)

    def test_prefix_of_pieces(self):
        with serve("echo", "--prefix=ACK: ", ANY) as p, connect(p.port) as s:
            for _ in range(3):
                s.sendall(b"hello")
                self.assertEqual(read_exactly(s, 10), b"ACK: hello")


class Modes(Case):
    def test_several_clients_at_once(self):
        for mode in AT_ONCE:
            with self.subTest(mode), contextlib.ExitStack() as stack:
                p = stack.enter_context(
                    serve("upper", "--lines", "--mode", mode, ANY))
                clients = [stack.enter_context(connect(p.port))
                           for _ in range(12)]
                for _ in range(2):
                    for i, s in enumerate(clients):
                        s.sendall(b"client %d\n" % i)
                    for i, s in reversed(list(enumerate(clients))):
                        want = b"CLIENT %d\n" % i
                        self.assertEqual(read_exactly(s, len(want)), want)
                for s in clients:
                    s.close()
                self.assert_stops(p)
                self.assertEqual(len(ended(p)), 12, p.err)
                self.assert_log(p)

    def test_one_at_a_time(self):
        with serve("echo", "--mode", "one", ANY) as p:
            with connect(p.port) as first, connect(p.port) as second:
                self.assertEqual(exchange(first, b"1"), b"1")
                second.sendall(b"2")
                self.assert_silent(second)
                self.assertEqual(exchange(first, b"1"), b"1")
                first.close()
                self.assertEqual(read_exactly(second, 1), b"2")

    def test_every_service_in_every_mode(self):
        for mode in MODES:
            for service, data, want in (
                    ("echo", b"Hi", b"Hi"), ("upper", b"Hi", b"HI"),
                    ("discard", b"Hi", b""), ("daytime", b"Hi", None),
                    ("chargen", b"Hi", None)):
                addrs = [ANY, "udp://" + ANY, f"unix:{self.dir}/s"]
                with self.subTest(mode, service=service), \
                        serve("--mode", mode, service, *addrs) as p:
                    tcp, udp, unix = p.addresses(3)
                    for addr in tcp, unix:
                        with dial(addr) as s:
                            s.sendall(data)
                            if service != "chargen":
                                s.shutdown(socket.SHUT_WR)
                                got = read_all(s)
                            else:
                                got = read_exactly(s, 100)
                            if want is not None:
                                self.assertEqual(got, want)
                            self.assertTrue(want is not None or got)
                    with dial(udp) as s:
                        s.send(data)
                        if want:
                            self.assertEqual(s.recv(100), want)
                    self.assert_stops(p)
                    self.assert_log(p)

    def test_nothing_is_left_of_a_connection(self):
        for mode in MODES:
            with self.subTest(mode), serve("echo", "--mode", mode, ANY) as p:
                def some(n, first):
                    for i in range(n):
                        with connect(p.port) as s:
                            exchange(s, b"hello")
                            if i % 3 == 2:
                                abort(s)
                    wait_until(lambda: p.err.count(" ended ") == n + first,
                               "their ends")
                    wait_until(lambda: not children_of(p), "its children")

                some(6, 0)
                before = len(fds_of(p))
                some(60, 6)
                wait_until(lambda: len(fds_of(p)) <= before,
                           "descriptors to be closed")
                self.assert_log(p)

    def test_a_killed_child_disturbs_nobody(self):
        with serve("echo", "--mode", "processes", ANY) as p, \
                connect(p.port) as other:
            exchange(other, b"x")
            kept, = children_of(p)
            with connect(p.port) as s:
                exchange(s, b"x")
                child, = set(children_of(p)) - {kept}
                os.kill(child, signal.SIGKILL)
                self.assertTrue(is_ended(s))
            wait_until(lambda: children_of(p) == [kept], "it to be reaped")
            p.wait_for(" ms: its process has crashed or was killed\n")
            self.assertEqual(exchange(other, b"x"), b"x")
            self.assertEqual(ask(connect(p.port), b"new"), b"new")

    def test_workers_are_threads(self):
        for n in 1, 3:
            with self.subTest(n), \
                    serve("echo", "--workers", str(n), ANY) as p:
                port = p.port
                wait_until(lambda: len(os.listdir(f"/proc/{p.pid}/task")) >= n,
                           "its threads")
                for _ in range(20):
                    self.assertEqual(ask(connect(port), b"x"), b"x")
                self.assert_stops(p)
                self.assertEqual(p.err.count("listening on"), 1)

    def test_a_thousand_clients(self):
        for mode, n in ("fibers", 1000), ("threads", 1000), ("processes", 100):
            with self.subTest(mode), contextlib.ExitStack() as stack:
                p = stack.enter_context(serve("echo", "--mode", mode, ANY))
                clients = [stack.enter_context(connect(p.port))
                           for _ in range(n)]
                for i, s in enumerate(clients):
                    s.sendall(b"%5d" % i * 100)
                for i, s in enumerate(clients):
                    self.assertEqual(read_exactly(s, 500), b"%5d" % i * 100)
                names = ["%s:%d" % s.getsockname() for s in clients]
                for s in clients:
                    s.close()
                self.assert_stops(p)
                # Who else tried this port, by chance, is none of theirs.
                self.assertEqual(
                    sorted(e for e in ended(p) if e[0] in names),
                    sorted((name, 500, 500) for name in names))
                self.assert_log(p)


class Limits(Case):
    def test_once(self):
        for mode in MODES:
            with self.subTest(mode), \
                    serve("echo", "--once", "--mode", mode, ANY) as p:
                with connect(p.port) as s:
                    self.assertEqual(exchange(s, b"hello"), b"hello")
                    self.assertEqual(read_all(s), b"")
                self.assertEqual(p.wait(), 0)
                self.assertTrue(is_refused(p.port))
                self.assertEqual([e[1:] for e in ended(p)], [(5, 5)])

    def test_once_with_lines(self):
        with serve("upper", "--once", "--lines", "--prefix", "Echo: ",
                   ANY) as p, connect(p.port) as s:
            s.sendall(b"hel")
            self.assert_silent(s, 0.05)
            s.sendall(b"lo\nmore\n")
            self.assertEqual(read_all(s), b"Echo: HELLO\n")
            self.assertEqual(p.wait(), 0)

    def test_once_of_a_long_piece_cut_off(self):
        """The answer arrives though more was sent than is read."""
        with serve("echo", "--once", "--lines", ANY) as p, \
                connect(p.port) as s:
            s.sendall(b"first\n" + b"x" * 500000)
            s.shutdown(socket.SHUT_WR)
            self.assertEqual(read_all(s), b"first\n")
            self.assertEqual(p.wait(), 0)

    def test_once_with_datagrams(self):
        for addr in "udp://" + ANY, f"unixgram:{self.dir}/d":
            with self.subTest(addr), \
                    serve("echo", "--once", "--prefix", "ACK: ", addr) as p, \
                    dial(p.addresses()[0]) as s:
                s.send(b"one")
                self.assertEqual(s.recv(100), b"ACK: one")
                self.assertEqual(p.wait(), 0)

    def test_once_with_many_datagrams_waiting(self):
        with serve("echo", "--once", "udp://" + ANY) as p:
            with dial(p.addresses()[0]) as s:
                p.signal(signal.SIGSTOP)
                for i in range(5):
                    s.send(b"%d" % i)
                p.signal(signal.SIGCONT)
                self.assertEqual(s.recv(100), b"0")
                self.assertEqual(p.wait(), 0)
                s.setblocking(False)
                with self.assertRaises(OSError):
                    s.recv(100)

    def test_once_with_many_connections_waiting(self):
        for mode in MODES:
            with self.subTest(mode), contextlib.ExitStack() as stack:
                p = stack.enter_context(
                    serve("echo", "--once", "--mode", mode, ANY))
                port = p.port
                p.signal(signal.SIGSTOP)
                clients = [stack.enter_context(connect(port))
                           for _ in range(4)]
                for s in clients:
                    s.sendall(b"x")
                p.signal(signal.SIGCONT)
                self.assertEqual(p.wait(), 0)
                self.assertEqual([e[1:] for e in ended(p)], [(1, 1)], p.err)
                self.assertEqual(p.err.count(" accepted "), 1)

    def test_once_and_a_client_that_says_nothing(self):
        with serve("echo", "--once", ANY) as p:
            connect(p.port).close()
            self.assertEqual(p.wait(), 0)

    def test_once_and_a_client_that_says_nothing_and_stays(self):
        """A limit ends what --once waits for."""
        with serve("echo", "--once", "--idle", "200ms", ANY) as p, \
                connect(p.port) as s:
            self.assertEqual(read_all(s), b"")
            self.assertEqual(p.wait(), 0)

    def test_max_conns(self):
        for mode in AT_ONCE:
            one = ["--workers", "1"] if mode == "fibers" else []
            with self.subTest(mode), serve("echo", "--mode", mode, *one,
                                           "--max-conns", "2", ANY) as p, \
                    connect(p.port) as a, connect(p.port) as b, \
                    connect(p.port) as c:
                exchange(a, b"x")
                exchange(b, b"x")
                c.sendall(b"x")
                self.assert_silent(c)
                exchange(b, b"x")
                a.close()
                self.assertEqual(read_exactly(c, 1), b"x")
                exchange(b, b"x")

    def test_max_conns_is_for_all_workers_together(self):
        with contextlib.ExitStack() as stack:
            p = stack.enter_context(
                serve("echo", "--workers", "2", "--max-conns", "3", ANY))
            clients = [stack.enter_context(connect(p.port))
                       for _ in range(24)]
            for s in clients:
                s.sendall(b"x")
            wait_until(lambda: p.err.count(" accepted ") >= 3, "three")
            self.assertLessEqual(
                len(select.select(clients, [], [], 0.2)[0]), 3)
            self.assertEqual(p.err.count(" accepted "), 3)

    def test_max_per_source(self):
        for mode in AT_ONCE:
            with self.subTest(mode), serve("echo", "--mode", mode,
                                           "--max-per-source", "2", ANY) as p:
                with connect(p.port) as a, connect(p.port) as b:
                    exchange(a, b"x")
                    exchange(b, b"x")
                    with connect(p.port) as c:
                        self.assertTrue(is_ended(c))
                    p.wait_for("WARNING - serve - rejected 127.0.0.1:")
                    with socket.create_connection(
                            ("127.0.0.1", p.port), DEADLINE,
                            ("127.0.0.2", 0)) as other:
                        exchange(other, b"x")
                    exchange(a, b"x")

                def is_taken():
                    with connect(p.port) as s:
                        with contextlib.suppress(OSError):
                            s.sendall(b"x")
                            return s.recv(1) == b"x"
                    return False
                wait_until(is_taken, "room for another")
                self.assert_log(p)

    def test_idle(self):
        for mode in MODES:
            with self.subTest(mode), serve("echo", "--mode", mode,
                                           "--idle", "300ms", ANY) as p, \
                    connect(p.port) as s:
                exchange(s, b"x")
                start = time.monotonic()
                self.assertTrue(is_ended(s))
                self.assertGreater(time.monotonic() - start, 0.2)
                wait_until(lambda: ended(p), "the end")
                self.assertEqual(ended(p)[0][1:], (1, 1))

    def test_idle_spares_who_talks(self):
        with serve("echo", "--idle", "1s", ANY) as p, connect(p.port) as s:
            end = time.monotonic() + 1.5
            while time.monotonic() < end:
                self.assertEqual(exchange(s, b"x"), b"x")

    def test_idle_ends_who_does_not_read(self):
        """And does it in time: not that of a second or third such wait."""
        for service in "chargen", "echo":
            with self.subTest(service), \
                    serve(service, "--idle", "1500ms", ANY) as p, \
                    connect(p.port) as s:
                if service == "echo":
                    self.assertLess(fill(s, b"x" * 65536), MUCH)
                start = time.monotonic()
                wait_until(lambda: ended(p), "the end")
                self.assertLess(time.monotonic() - start, 2.9)

    def test_lifetime(self):
        for mode in MODES:
            with self.subTest(mode), serve("echo", "--mode", mode,
                                           "--lifetime", "300ms", ANY) as p, \
                    connect(p.port) as s:
                start = time.monotonic()
                with contextlib.suppress(OSError):
                    while True:
                        s.sendall(b"x")
                        if not s.recv(1):
                            break
                self.assertGreater(time.monotonic() - start, 0.2)
                wait_until(lambda: ended(p), "the end")

    def test_lifetime_of_who_never_pauses(self):
        for mode in MODES:
            for service in "chargen", "discard":
                with self.subTest(mode, service=service), \
                        serve(service, "--mode", mode, "--lifetime", "300ms",
                              ANY) as p, connect(p.port) as s:
                    start = time.monotonic()
                    with contextlib.suppress(ConnectionError):
                        while service == "discard":
                            s.sendall(b"x" * 65536)
                        while s.recv(65536):
                            pass
                    self.assertGreater(time.monotonic() - start, 0.2)
                    wait_until(lambda: ended(p), "the end")

    @needs_plain_memory
    def test_who_never_reads_takes_no_memory(self):
        for mode in AT_ONCE:
            for data in b"x" * 65536, b"x" * 99 + b"\n":
                lines = ["--lines"] if b"\n" in data else []
                with self.subTest(mode, lines=lines), \
                        contextlib.ExitStack() as stack:
                    p = stack.enter_context(
                        serve("echo", "--mode", mode, *lines, ANY))
                    clients = [stack.enter_context(connect(p.port))
                               for _ in range(4)]
                    for s in clients:
                        exchange(s, b"x\n")
                    all_of_it = [p.pid, *children_of(p)]
                    before = sum(map(memory_of, all_of_it))
                    for s in clients:
                        self.assertLess(fill(s, data), MUCH)
                    self.assertLess(sum(map(memory_of, all_of_it)) - before,
                                    4 * 1024)

    def test_no_descriptors_left(self):
        for mode in AT_ONCE:
            with self.subTest(mode), contextlib.ExitStack() as stack:
                p = stack.enter_context(serve("echo", "--mode", mode, ANY,
                                              "udp://" + ANY))
                tcp, udp = p.addresses(2)
                wait_for_workers(p.port)
                first = stack.enter_context(dial(tcp))
                exchange(first, b"x")
                before = resource.prlimit(p.pid, resource.RLIMIT_NOFILE)
                resource.prlimit(p.pid, resource.RLIMIT_NOFILE,
                                 (max(fds_of(p)) + 4, before[1]))
                clients = [stack.enter_context(dial(tcp)) for _ in range(30)]
                for s in clients:
                    s.sendall(b"x")
                p.wait_for("WARNING - serve - paused accepting")
                cpu = cpu_of(p)
                self.assert_silent(first, 1)
                self.assertLess(cpu_of(p) - cpu, 0.4)
                self.assertEqual(exchange(first, b"still"), b"still")
                with dial(udp) as s:
                    s.send(b"x")
                    self.assertEqual(s.recv(10), b"x")
                # As many lines as workers, however often each has tried.
                self.assertLessEqual(p.err.count("WARNING"),
                                     os.cpu_count())
                happy = select.select(clients, [], [], 0)[0]
                self.assertLess(len(happy), len(clients))
                while clients:
                    happy = select.select(clients, [], [], DEADLINE)[0]
                    self.assertTrue(happy, p.err)
                    for s in happy:
                        self.assertEqual(read_exactly(s, 1), b"x")
                        clients.remove(s)
                        s.close()
                p.wait_for("INFO - serve - resumed accepting")
                resource.prlimit(p.pid, resource.RLIMIT_NOFILE, before)
                self.assertEqual(exchange(first, b"still"), b"still")
                first.close()
                self.assert_stops(p)
                self.assert_log(p)

    @needs_plain_memory
    def test_no_memory_left(self):
        for mode in AT_ONCE:
            with self.subTest(mode), contextlib.ExitStack() as stack:
                p = stack.enter_context(serve("echo", "--mode", mode, ANY))
                wait_for_workers(p.port)
                first = stack.enter_context(connect(p.port))
                exchange(first, b"x")
                resource.prlimit(p.pid, resource.RLIMIT_AS, (1 << 20, -1))
                for _ in range(200):
                    with connect(p.port) as s:
                        s.sendall(b"x")
                self.assertEqual(exchange(first, b"still"), b"still")
                resource.prlimit(p.pid, resource.RLIMIT_AS, (-1, -1))
                self.assertEqual(ask(connect(p.port), b"again"), b"again")
                first.close()
                self.assert_stops(p)
                self.assert_log(p)

    @needs_plain_memory
    def test_no_memory_when_they_speak(self):
        """Who has been let in and speaks needs none that is not there."""
        with serve("echo", "--workers", "1", ANY) as p, \
                contextlib.ExitStack() as stack:
            socks = [stack.enter_context(connect(p.port)) for _ in range(300)]
            self.assertEqual(exchange(socks[-1], b"last"), b"last")
            resource.prlimit(p.pid, resource.RLIMIT_AS, (1 << 20, -1))
            for i, s in enumerate(socks):
                s.sendall(b"%03d" % i)
            for i, s in enumerate(socks):
                self.assertEqual(read_exactly(s, 3), b"%03d" % i)
                s.close()
            self.assert_stops(p)
            self.assertNotIn("paused", p.err)
            self.assert_log(p)

    @needs_plain_memory
    def test_no_memory_for_an_answer(self):
        """Who gets none is told in the log, with the reason."""
        for mode in "one", "processes":
            for addr, args in ((ANY, ["--prefix", "x" * 100000]),
                               ("udp://" + ANY,
                                ["--lines", "--prefix", "x" * 10000])):
                with self.subTest(mode, addr=addr), \
                        serve("echo", "--mode", mode, *args, addr) as p:
                    to = p.addresses()[0]
                    # No more than it has, which is enough to accept.
                    resource.prlimit(p.pid, resource.RLIMIT_AS, (1 << 20, -1))
                    with dial(to) as s:
                        host, port = s.getsockname()
                        s.sendall(b"\n" * 90)
                        p.wait_for(f"WARNING - serve - cannot answer {host}:"
                                   f"{port}: out of memory\n")
                    self.assert_stops(p)
                    self.assert_log(p)


class BadPeers(Case):
    def test_resets_disturb_nobody(self):
        for mode in MODES:
            for service in "echo", "chargen", "upper":
                lines = ["--lines"] if service == "upper" else []
                with self.subTest(mode, service=service), \
                        serve(service, *lines, "--mode", mode, ANY) as p:
                    other = (self.enterContext(connect(p.port))
                             if mode != "one" else None)
                    for i in range(30):
                        with connect(p.port) as s:
                            s.sendall(b"in the middle of" * i)
                            abort(s)
                    if service == "chargen":
                        with connect(p.port) as s:
                            read_exactly(s, 10)
                    else:
                        self.assertEqual(ask(connect(p.port), b"A\n"), b"A\n")
                    if other and service != "chargen":
                        self.assertEqual(exchange(other, b"A\n"), b"A\n")
                    if other:
                        other.close()
                    wait_until(lambda: p.err.count(" ended ") ==
                               p.err.count(" accepted ") > 1, "their ends")
                    self.assert_stops(p)
                    self.assert_log(p)
                    self.assertNotIn("WARNING", p.err)

    def test_a_datagram_socket_survives_refusals(self):
        """Answers to who has gone come back as errors."""
        with serve("echo", "udp://" + ANY) as p:
            addr = p.addresses()[0]
            for _ in range(50):
                with dial(addr) as s:
                    s.send(b"gone")
            with dial(addr) as s:
                s.send(b"here")
                self.assertEqual(s.recv(10), b"here")

    def test_spoofed_sources_that_cannot_be_answered(self):
        with serve("echo", f"unixgram:{self.dir}/d", "udp://" + ANY) as p:
            unix, udp = p.addresses(2)
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
                for _ in range(10):
                    s.sendto(b"nameless", f"{self.dir}/d")
            for addr in unix, udp:
                with dial(addr) as s:
                    s.send(b"x")
                    self.assertEqual(s.recv(10), b"x")


class Log(Case):
    def test_the_wording(self):
        with serve("echo", ANY) as p:
            port = p.port
            with connect(port) as s:
                peer = "%s:%d" % s.getsockname()
                exchange(s, b"hello")
            wait_until(lambda: ended(p), "the end")
            self.assert_stops(p)
            lines = p.err.splitlines()
            self.assert_log(p)
            self.assertRegex(
                lines[0], r"\A\d\d-\d\d-\d{4} \d\d:\d\d:\d\d - INFO - serve - "
                rf"listening on 127\.0\.0\.1:{port}\Z")
            self.assertTrue(lines[1].endswith(f" - accepted {peer}"), lines)
            self.assertEqual(ended(p), [(peer, 5, 5)])
            self.assertEqual(p.out, "")

    def test_the_time_is_now(self):
        with serve("echo", ANY) as p:
            p.addresses()
            then = datetime.datetime.strptime(p.err[:19], "%d-%m-%Y %H:%M:%S")
            now = datetime.datetime.now()
            self.assertLess(abs((now - then).total_seconds()), 60)

    def test_unix_clients_are_known_by_the_path(self):
        for mode in MODES:
            path = f"{self.dir}/{mode}"
            with self.subTest(mode), serve("echo", "--mode", mode,
                                           f"unix:{path}", ANY) as p:
                unix, tcp = p.addresses(2)
                for addr in unix, tcp:
                    ask(dial(addr), b"x")
                wait_until(lambda: len(ended(p)) == 2, "their ends")
                self.assertEqual(p.err.count(f"accepted unix:{path}\n"), 1)
                self.assertEqual(p.err.count(f"ended unix:{path}: "), 1)
                self.assertEqual(p.err.count("accepted 127.0.0.1:"), 1)

    def test_byte_counts(self):
        big = b"x" * 300000
        for mode in MODES:
            for args, data, want in (
                    (["echo"], big, (300000, 300000)),
                    (["discard"], big, (300000, 0)),
                    (["upper", "--lines", "--prefix", "Echo: "],
                     b"hello\n" * 3, (18, 36)),
                    (["echo"], b"", (0, 0))):
                with self.subTest(mode, args=args), \
                        serve(*args, "--mode", mode, ANY) as p:
                    with connect(p.port) as s:
                        reader = read_aside(s, want[1])
                        s.sendall(data)
                        s.shutdown(socket.SHUT_WR)
                        self.assertEqual(len(reader()), want[1])
                        self.assertEqual(read_all(s), b"")
                    wait_until(lambda: ended(p), "the end")
                    self.assertEqual(ended(p)[0][1:], want)

    def test_json(self):
        with serve("echo", "--log", "json", ANY, "udp://" + ANY,
                   f"unix:{self.dir}/s") as p:
            def whole():
                return [json.loads(line) for line in
                        p.err.rpartition("\n")[0].splitlines()]

            def of(event):
                return [o for o in whole() if o.get("event") == event]

            wait_until(lambda: len(of("listening")) == 3, "three addresses")
            places = [o["local"] for o in of("listening")]
            port = int(places[0].rpartition(":")[2])
            self.assertEqual(places[0], f"127.0.0.1:{port}")
            self.assertRegex(places[1], r"\Audp://127\.0\.0\.1:\d+\Z")
            self.assertEqual(places[2], f"unix:{self.dir}/s")
            with connect(port) as s:
                peer = "%s:%d" % s.getsockname()
                exchange(s, b"hello")
            wait_until(lambda: of("ended"), "the end")
            self.assert_stops(p)
            for o in whole():
                self.assertLessEqual({"time", "level", "name", "message"},
                                     o.keys())
                self.assertEqual(o["name"], "serve")
                self.assertIn(o["level"], ("INFO", "WARNING", "ERROR"))
                datetime.datetime.fromisoformat(o["time"])
            self.assertEqual(whole()[0]["message"],
                             f"listening on 127.0.0.1:{port}")
            accepted, = of("accepted")
            self.assertEqual(accepted["peer"], peer)
            end, = of("ended")
            self.assertEqual((end["peer"], end["received"], end["sent"]),
                             (peer, 5, 5))
            self.assertGreater(end["duration_ms"], 0)

    def test_json_has_the_same_keys_in_every_mode(self):
        keys = []
        for mode in MODES:
            with serve("echo", "--log", "json", "--mode", mode, ANY) as p:
                wait_until(lambda: p.err.endswith("\n"), "the first line")
                port = int(json.loads(p.err)["local"].rpartition(":")[2])
                self.assertEqual(ask(connect(port), b"x"), b"x")
                wait_until(lambda: '"ended"' in p.err, "the end")
                self.assert_stops(p)
                keys.append({o["event"]: set(o) for o in
                             map(json.loads, p.err.splitlines())
                             if "event" in o})
        for other in keys[1:]:
            self.assertEqual(other, keys[0])

    def test_quiet(self):
        for mode in MODES:
            with self.subTest(mode), socket.create_server(
                    ("127.0.0.1", 0)) as s:
                port = s.getsockname()[1]
                with activated([s], "echo", "-q", "--mode", mode,
                               "--max-per-source", "1") as p:
                    with connect(port) as a:
                        exchange(a, b"x")
                        if mode != "one":
                            with connect(port) as b:
                                self.assertTrue(is_ended(b))
                    self.assert_stops(p)
                    self.assertNotIn("INFO", p.err)
                    self.assertEqual(p.err.count("WARNING - serve - rejected"),
                                     mode != "one", p.err)

    def test_an_unseen_log_stops_nothing(self):
        """Nobody reads stderr any more, or it is closed."""
        for how in "closed", "full", "gone":
            with self.subTest(how), socket.create_server(
                    ("127.0.0.1", 0)) as s:
                port = s.getsockname()[1]
                script = {"closed": 'exec "$@" 2>&-',
                          "full": 'exec "$@" 2>/dev/full',
                          "gone": 'exec "$@" 2>&1 | true'}[how]
                argv = ["sh", "-c", script, "sh", sys.executable, "-c",
                        HAND_OVER, "", str(s.fileno()), tool(), "serve",
                        "echo", ANY]
                with Program(*argv, pass_fds=[s.fileno()]):
                    for _ in range(3):
                        self.assertEqual(ask(connect(port), b"x"), b"x")


class Stopping(Case):
    @needs_own_network
    def test_a_signal_ends_it_while_it_looks_a_name_up(self):
        unshare, *rest = OWN_NETWORK
        r = run(unshare, "--mount", *rest, sys.executable, "-c", MUTE, tool(),
                f"{self.dir}/resolv.conf", str(signal.SIGINT.value),
                str(signal.SIGTERM.value))
        if r.returncode == 77:
            self.skipTest("no silent name server to be had")
        self.assertEqual((r.returncode, r.stderr), (0, ""))

    def test_a_signal_ends_it(self):
        for mode in MODES:
            for number in signal.SIGINT, signal.SIGTERM:
                with self.subTest(mode, number=number), \
                        serve("echo", "--mode", mode, ANY,
                              "udp://" + ANY) as p:
                    p.addresses(2)
                    self.assert_stops(p, number)
                    self.assert_log(p)

    def test_open_connections_may_finish(self):
        for mode in MODES:
            with self.subTest(mode), serve("echo", "--mode", mode,
                                           "--drain", "60s", ANY) as p:
                with connect(p.port) as s:
                    exchange(s, b"x")
                    p.signal(signal.SIGTERM)
                    wait_until(lambda: is_refused(p.port), "refusal")
                    self.assertEqual(exchange(s, b"still"), b"still")
                    self.assertIsNone(p.process.poll())
                self.assertEqual(p.wait(), 0)
                self.assertIn(6, [received for _, received, _ in ended(p)])
                self.assert_log(p)

    def test_what_is_left_after_the_drain_is_closed(self):
        for mode in MODES:
            for service in "echo", "chargen":
                with self.subTest(mode, service=service), \
                        serve(service, "--mode", mode, "--drain", "300ms",
                              ANY) as p, connect(p.port) as s:
                    if service == "echo":
                        exchange(s, b"x")
                    else:
                        read_exactly(s, 10)
                    start = time.monotonic()
                    self.assert_stops(p)
                    self.assertGreater(time.monotonic() - start, 0.25)
                    self.assertTrue(is_ended(s))
                    # With what has passed; but who is killed cannot tell.
                    self.assertEqual(
                        (p.err.count(" ended "), len(ended(p))),
                        (1, mode != "processes"), p.err)
                    self.assert_log(p)

    def test_a_second_signal_ends_it_at_once(self):
        for mode in MODES:
            for service in "echo", "chargen":
                with self.subTest(mode, service=service), \
                        serve(service, "--mode", mode, "--drain", "600s",
                              ANY) as p, connect(p.port) as s:
                    s.sendall(b"x")
                    read_exactly(s, 1)
                    p.signal(signal.SIGTERM)
                    wait_until(lambda: is_refused(p.port), "refusal")
                    self.assertIsNone(p.process.poll())
                    p.signal(signal.SIGINT)
                    self.assertEqual(p.wait(), 0)
                    self.assertTrue(is_ended(s))

    def test_no_drain(self):
        for mode in MODES:
            with self.subTest(mode), serve("echo", "--mode", mode, "--drain",
                                           "0", ANY) as p, \
                    connect(p.port) as s:
                exchange(s, b"x")
                self.assert_stops(p)
                self.assertTrue(is_ended(s))

    def test_ctrl_c_reaches_the_whole_group(self):
        with serve("echo", "--mode", "processes", "--drain", "60s",
                   ANY) as p:
            with connect(p.port) as s:
                exchange(s, b"x")
                os.killpg(p.pid, signal.SIGINT)
                wait_until(lambda: is_refused(p.port), "refusal")
                self.assertEqual(exchange(s, b"still"), b"still")
            self.assertEqual(p.wait(), 0)

    def test_no_child_outlives_it(self):
        with serve("echo", "--mode", "processes", "--drain", "0", ANY) as p, \
                connect(p.port) as s:
            exchange(s, b"x")
            child, = children_of(p)
            self.assert_stops(p)
            self.assertFalse(os.path.exists(f"/proc/{child}"))

    def test_its_place_is_free_again(self):
        """Though its connections are still in TIME_WAIT."""
        path = f"{self.dir}/s"
        with held_port() as port:
            for _ in range(3):
                with serve("echo", "--drain", "0", f"127.0.0.1:{port}",
                           f"unix:{path}") as p:
                    tcp, unix = p.addresses(2)
                    with dial(tcp) as s:
                        exchange(s, b"x")
                        self.assertEqual(ask(dial(unix), b"x"), b"x")
                        self.assert_stops(p)

    def test_a_killed_server_leaves_nothing_in_the_way(self):
        path = f"{self.dir}/s"
        with serve("echo", f"unix:{path}") as p:
            p.addresses()
            p.signal(signal.SIGKILL)
            p.wait()
        self.assertTrue(os.path.exists(path))
        with serve("echo", f"unix:{path}") as p:
            self.assertEqual(ask(dial(p.addresses()[0]), b"x"), b"x")


class Activation(Case):
    def test_sockets_are_taken_over(self):
        for mode in MODES:
            with self.subTest(mode), \
                    socket.create_server(("127.0.0.1", 0)) as tcp, \
                    socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, \
                    socket.socket(socket.AF_UNIX) as unix:
                udp.bind(("127.0.0.1", 0))
                unix.bind(f"{self.dir}/{mode}")
                unix.listen()
                ports = [s.getsockname()[1] for s in (tcp, udp)]
                with activated([tcp, udp, unix], "upper", "--mode",
                               mode) as p:
                    self.assertEqual(p.addresses(3), [
                        f"127.0.0.1:{ports[0]}", f"udp://127.0.0.1:{ports[1]}",
                        f"unix:{self.dir}/{mode}"])
                    for addr in p.addresses(3):
                        with self.subTest(addr), dial(addr) as s:
                            s.send(b"hello")
                            self.assertEqual(s.recv(10), b"HELLO")
                    self.assert_stops(p)
                # They are whose they were: a next server can have them.
                connect(ports[0]).close()

    def test_beside_addresses(self):
        with socket.create_server(("127.0.0.1", 0)) as s:
            with activated([s], "echo", ANY) as p:
                ports = p.ports(2)
                self.assertIn(s.getsockname()[1], ports)
                for port in ports:
                    self.assertEqual(ask(connect(port), b"x"), b"x")

    def test_for_another_process(self):
        with socket.create_server(("127.0.0.1", 0)) as s:
            with activated([s], "echo", pid="1") as p:
                self.assertEqual(p.wait(), 2)
                self.assertRegex(p.err, r"\Acleat serve: no address[^\n]*\n\Z")

    def test_what_is_no_listener(self):
        with open("/dev/null", "rb") as f, \
                socket.create_server(("127.0.0.1", 0)) as l, \
                connect(l.getsockname()[1]) as s, socket.socket() as unbound:
            for bad in f, s, unbound:
                with self.subTest(bad), activated([bad], "echo") as p:
                    self.assertEqual(p.wait(), 1, p.err)
                    self.assertRegex(p.err, r"\Acleat serve: [^\n]+\n\Z")

    def test_nonsense(self):
        for env in ({"LISTEN_FDS": "x"}, {"LISTEN_FDS": "-1"},
                    {"LISTEN_FDS": "999999999"}, {"LISTEN_FDS": ""}):
            with self.subTest(env):
                r = run("sh", "-c", 'LISTEN_PID=$$ exec "$0" serve echo',
                        tool(), env={**os.environ, **env})
                self.assertIn(r.returncode, (1, 2))
                self.assertRegex(r.stderr, r"\Acleat serve: [^\n]+\n\Z")


class Places(Case):
    def test_several_addresses(self):
        with serve("echo", ANY, "127.0.0.2:0", "udp://127.0.0.3:0",
                   "127.0.0.1", "0") as p:
            addrs = p.addresses(4)
            self.assertEqual([re.sub(r":\d+$", "", a) for a in addrs], [
                "127.0.0.1", "127.0.0.2", "udp://127.0.0.3", "127.0.0.1"])
            for addr in addrs:
                with dial(addr) as s:
                    self.assertEqual(exchange(s, b"x"), b"x")

    def test_tcp_and_udp_on_one_port(self):
        with held_port() as port, \
                serve("echo", f"127.0.0.1:{port}",
                      f"udp://127.0.0.1:{port}") as p:
            for addr in p.addresses(2):
                with dial(addr) as s:
                    self.assertEqual(exchange(s, b"x"), b"x")

    @needs_ipv6
    def test_a_bare_port_is_both_loopbacks(self):
        for args in ["0"], ["-u", "0"], ["udp://0"]:
            with self.subTest(args), serve("echo", *args) as p:
                addrs = p.addresses(2)
                self.assertEqual(len(set(p.ports(2))), 1, addrs)
                self.assertEqual(
                    {a.rpartition(":")[0].replace("udp://", "")
                     for a in addrs}, {"127.0.0.1", "[::1]"})
                for addr in addrs:
                    with dial(addr) as s:
                        self.assertEqual(exchange(s, b"x"), b"x")
                self.assert_stops(p)
                self.assertEqual(p.err.count("listening on"), 2)

    def test_one_family_of_a_bare_port(self):
        for flag, host in ("-4", "127.0.0.1"), ("-6", "[::1]"):
            if flag == "-6" and not has_ipv6():
                continue
            with self.subTest(flag), serve("echo", flag, "0") as p:
                self.assertEqual(p.addresses()[0].rpartition(":")[0], host)
                self.assert_stops(p)
                self.assertEqual(p.err.count("listening on"), 1)

    @needs_ipv6
    def test_every_interface_is_dual_stack(self):
        for addr in ":0", "*:0", "[::]:0":
            with self.subTest(addr), serve("echo", addr) as p:
                for host in "127.0.0.1", "127.0.0.9", "::1":
                    self.assertEqual(ask(connect(p.port, host), b"x"), b"x")
                # A mapped peer is an IPv4 one to people.
                wait_until(lambda: len(ended(p)) == 3, "the ends")
                self.assertNotIn("ffff", p.err)
        with serve("echo", "udp://:0") as p:
            for host in "127.0.0.1", "[::1]":
                with dial(f"udp://{host}:{p.port}") as s:
                    self.assertEqual(exchange(s, b"x"), b"x")

    @needs_ipv6
    def test_ipv6_only_leaves_ipv4_to_another(self):
        with serve("echo", "tcp6://[::]:0") as p:
            port = p.port
            self.assertEqual(ask(connect(port, "::1"), b"x"), b"x")
            self.assertTrue(is_refused(port))
            with serve("upper", f"0.0.0.0:{port}") as q:
                q.addresses()
                self.assertEqual(ask(connect(port), b"x"), b"X")
                self.assertEqual(ask(connect(port, "::1"), b"x"), b"x")

    def test_ipv4_only_everywhere(self):
        for args in ["0.0.0.0:0"], ["-4", ":0"], ["tcp4://:0"]:
            with self.subTest(args), serve("echo", *args) as p:
                self.assertEqual(p.addresses()[0].rpartition(":")[0],
                                 "0.0.0.0")
                self.assertEqual(ask(connect(p.port), b"x"), b"x")
                if has_ipv6():
                    self.assertTrue(is_refused(p.port, "::1"))

    def test_names(self):
        with serve("echo", "-4", "localhost:0") as p:
            self.assertEqual(p.addresses()[0].rpartition(":")[0], "127.0.0.1")

    def test_a_second_server(self):
        for kind in "", "udp://":
            with serve("echo", f"{kind}127.0.0.1:0") as p:
                port = p.port
                for args in ([], ["--workers", "1"], ["--workers", "4"],
                             ["--mode", "threads"], ["--once"]):
                    with self.subTest(kind, args=args):
                        self.assert_fails(
                            "echo", *args, f"{kind}127.0.0.1:{port}",
                            reason=f"127.0.0.1:{port}.*in use")
                with dial(p.addresses()[0]) as s:
                    self.assertEqual(exchange(s, b"x"), b"x")

    def test_one_worker_and_a_second_server(self):
        with serve("echo", "--workers", "1", ANY) as p:
            self.assert_fails("echo", f"127.0.0.1:{p.port}", reason="in use")

    def test_one_address_in_use_fails_all(self):
        """None is announced before all can be served."""
        with serve("echo", ANY) as p:
            self.assert_fails("echo", ANY, f"127.0.0.1:{p.port}",
                              reason="in use")

    def test_a_second_unix_server(self):
        for kind in "unix", "unixgram":
            for path in f"{self.dir}/{kind}", f"@cleat-test-{os.getpid()}":
                addr = f"{kind}:{path}"
                with self.subTest(addr), serve("echo", addr) as p:
                    p.addresses()
                    self.assert_fails("echo", addr, reason="in use")
                    with dial(addr) as s:
                        self.assertEqual(exchange(s, b"x"), b"x")

    def test_files_are_left_alone(self):
        path = f"{self.dir}/precious"
        with open(path, "w", encoding="ascii") as f:
            f.write("data")
        for kind in "unix", "unixgram":
            self.assert_fails("echo", f"{kind}:{path}", reason="in use")
        with open(path, encoding="ascii") as f:
            self.assertEqual(f.read(), "data")

    def test_by_telnet_nc_and_ncat(self):
        for argv in (["nc", "-N"], ["ncat"], ["socat", "-", "TCP:%s:%d"],
                     ["telnet"]):
            with self.subTest(argv[0]), \
                    serve("upper", "--lines", ANY) as p:
                if run("sh", "-c", "command -v " + argv[0]).returncode != 0:
                    self.skipTest(f"no {argv[0]} here")
                to = ("127.0.0.1", p.port)
                argv = ([*argv[:2], argv[2] % to] if len(argv) > 2 else
                        [*argv, to[0], str(to[1])])
                with Program(*argv, stdin=subprocess.PIPE) as peer:
                    if argv[0] == "telnet":
                        peer.wait_for("Escape character")
                    peer.stdin.write(b"hello\n")
                    peer.stdin.flush()
                    peer.wait_for("HELLO")
                    peer.stdin.close()
                    peer.wait()
                self.assert_stops(p)


if __name__ == "__main__":
    unittest.main()
