#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""cleat connect and cleat listen: stdin and stdout joined to a peer."""
import contextlib
import fcntl
import hashlib
import os
import pty
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import threading
import time
import unittest

from support import (
    DEADLINE, OWN_NETWORK, Peer, Program, abort, acknowledge, connect, dial,
    echo, has_ipv6, has_own_network, held_port, read_all, read_exactly, run,
    silent_port, tool, wait_until)

ANY = "127.0.0.1:0"
MIB = 1 << 20
HEX_LINE = re.compile(r"([<>]) ([0-9a-f]{8}) +((?:[0-9a-f]{2} +)+)\|(.{1,16})"
                      r"\|\n")

# Runs a client of a peer that answers and closes; stdin stays open.
FORGETFUL = """
import socket, subprocess, sys
try:
    with open("/proc/sys/net/ipv4/tcp_fin_timeout", "w") as f:
        f.write("1")
except OSError:
    sys.exit(77)
server = socket.create_server(("127.0.0.1", 7))
p = subprocess.Popen([sys.argv[1], "connect", "127.0.0.1:7"],
                     stdin=subprocess.PIPE)
p.stdin.write(b"request")
p.stdin.flush()
s = server.accept()[0]
s.recv(100)
s.sendall(b"answer")
s.close()
sys.exit(p.wait())
"""

needs_ipv6 = unittest.skipUnless(has_ipv6(), "no IPv6 loopback here")


def needs(*names):
    missing = [name for name in names if not shutil.which(name)]
    return unittest.skipIf(missing, f"no {' or '.join(missing)} here")


def at(peer):
    """A Peer's address in words."""
    if isinstance(peer.address, (str, bytes)):
        return f"unix:{peer.address}"
    host = peer.address[0]
    return f"[{host}]:{peer.port}" if ":" in host else f"{host}:{peer.port}"


def client(*args, **options):
    return Program(tool(), "connect", *args, **options)


def listen(*args, **options):
    return Program(tool(), "listen", *args, **options)


def say_back(sock):
    """All that it was told, once that has ended."""
    sock.sendall(read_all(sock))


def say_and_end(sock):
    sock.sendall(b"hello\n")


def reset(sock):
    sock.recv(1)
    abort(sock)


def pump(stream, data):
    """Starts to write DATA, then closes."""
    def write():
        with contextlib.suppress(BrokenPipeError), stream:
            stream.write(data)
    threading.Thread(target=write, daemon=True).start()


class Case(unittest.TestCase):
    def setUp(self):
        self.dir = self.enterContext(tempfile.TemporaryDirectory())

    def path(self, name):
        return os.path.join(self.dir, name)

    def assert_done(self, r, out=None, err=""):
        self.assertEqual((r.returncode, r.stderr or type(r.stderr)()),
                         (0, err.encode() if isinstance(r.stderr, bytes)
                          else err))
        if out is not None:
            self.assertEqual(r.stdout, out)

    def assert_line(self, err, reason, command="connect"):
        """One line, of printable characters."""
        if isinstance(err, bytes):
            err = err.decode()
        self.assertRegex(err, rf"\Acleat {command}: [^\n]*(?:{reason})[^\n]*\n\Z")
        self.assertTrue(err[:-1].isprintable(), repr(err))

    def assert_fails(self, *args, reason="", status=1, **options):
        r = run(tool(), "connect", *args, **options)
        self.assert_line(r.stderr, reason)
        self.assertEqual(r.returncode, status)
        return r

    def shell(self, redirection, *args, command="connect"):
        return run("sh", "-c", f'exec "$@" {redirection}', "sh", tool(),
                   command, *args)

    def ends(self, p):
        """The end of P, which listens: its status, and its last words."""
        return p.wait(), p.err.splitlines()[-1:]


class Data(Case):
    @classmethod
    def setUpClass(cls):
        cls.data = os.urandom(64 * MIB)
        cls.hash = hashlib.sha256(cls.data).hexdigest()

    def assert_same(self, data):
        self.assertEqual(len(data), len(self.data))
        self.assertEqual(hashlib.sha256(data).hexdigest(), self.hash)

    def test_both_ways_from_a_file_to_a_file(self):
        with open(self.path("in"), "wb+") as i, \
                open(self.path("out"), "wb+") as o, Peer(echo) as peer:
            i.write(self.data)
            i.seek(0)
            r = run(tool(), "connect", at(peer), stdin=i, stdout=o)
            self.assert_done(r)
            o.seek(0)
            self.assert_same(o.read())

    def test_both_ways_through_pipes(self):
        with Peer(echo) as peer:
            r = run(tool(), "connect", at(peer), input=self.data)
            self.assert_done(r)
            self.assert_same(r.stdout)

    def test_both_ways_over_a_unix_socket(self):
        with Peer(echo, self.path("s")) as peer:
            r = run(tool(), "connect", at(peer), input=self.data)
            self.assert_done(r)
            self.assert_same(r.stdout)

    def test_through_cleat_serve(self):
        with Program(tool(), "serve", "echo", ANY) as p:
            r = run(tool(), "connect", p.addresses()[0], input=self.data)
            self.assert_done(r)
            self.assert_same(r.stdout)

    def test_to_who_answers_only_at_the_end(self):
        with Peer(say_back) as peer:
            r = run(tool(), "connect", at(peer), input=self.data)
            self.assert_done(r)
            self.assert_same(r.stdout)

    def test_from_a_peer_that_is_not_listened_to(self):
        with Peer(lambda s: s.sendall(self.data)) as peer:
            r = run(tool(), "connect", at(peer), input=b"")
            self.assert_done(r)
            self.assert_same(r.stdout)

    def test_to_a_slow_reader_of_stdout(self):
        """A pipe that is not to block, and is full most of the time."""
        get, put = os.pipe()
        os.set_blocking(put, False)
        with Peer(lambda s: s.sendall(self.data[:MIB])) as peer:
            p = subprocess.Popen([tool(), "connect", at(peer)], stdout=put,
                                 stdin=subprocess.DEVNULL)
            os.close(put)
            got = b""
            while chunk := os.read(get, 1000):
                got += chunk
            os.close(get)
            self.assertEqual(p.wait(DEADLINE), 0)
            self.assertEqual(got, self.data[:MIB])

    def test_from_a_pipe_that_does_not_block(self):
        get, put = os.pipe()
        os.set_blocking(get, False)
        with Peer(say_back) as peer, client(at(peer), stdin=get) as p:
            pump(os.fdopen(put, "wb"), self.data[:MIB])
            self.assertEqual(p.wait(), 0)
            self.assertEqual(p.out_bytes, self.data[:MIB])
            self.assertEqual(p.err, "")
        os.close(get)

    def test_files_keep_their_modes(self):
        """What is shared with other programs is left as it was."""
        out, back = socket.socketpair()
        get, put = os.pipe()
        with out, back, Peer(echo) as peer:
            os.write(put, b"hello")
            os.close(put)
            before = [fcntl.fcntl(f, fcntl.F_GETFL) for f in (get, out)]
            with subprocess.Popen([tool(), "connect", at(peer)], stdin=get,
                                  stdout=out) as p:
                self.assertEqual(read_exactly(back, 5), b"hello")
                self.assertEqual(p.wait(DEADLINE), 0)
            self.assertEqual([fcntl.fcntl(f, fcntl.F_GETFL)
                              for f in (get, out)], before)
        os.close(get)

    def test_listen_both_ways(self):
        with listen(ANY, stdin=subprocess.PIPE) as p:
            s = connect(p.port)
            pump(p.stdin, self.data)
            reader = threading.Thread(
                target=lambda: (s.sendall(self.data),
                                s.shutdown(socket.SHUT_WR)))
            with s:
                reader.start()
                self.assert_same(read_all(s))
                reader.join()
            self.assertEqual(p.wait(), 0)
            self.assert_same(p.out_bytes)

    def assert_passes(self, sender, receiver):
        """One way at a time: nc ends with what it hears, though it is still
        to send."""
        part = self.data[:8 * MIB]
        pump(sender.stdin, part)
        wait_until(lambda: len(receiver.out_bytes) == len(part), "all of it")
        receiver.stdin.close()
        self.assertEqual((sender.wait(), receiver.wait()), (0, 0))
        self.assertEqual(receiver.out_bytes, part)

    def assert_passes_both_ways(self, *argv):
        for we_send in True, False:
            with self.subTest(we_send), \
                    listen(ANY, stdin=subprocess.PIPE) as p, \
                    Program(*argv, "127.0.0.1", str(p.port),
                            stdin=subprocess.PIPE) as q:
                self.assert_passes(*((p, q) if we_send else (q, p)))

    @needs("nc")
    def test_with_nc(self):
        self.assert_passes_both_ways("nc", "-N")
        for we_send in True, False:
            with self.subTest(we_send), held_port() as port, \
                    Program("nc", "-N", "-v", "-l", "127.0.0.1", str(port),
                            stdin=subprocess.PIPE) as p:
                p.wait_for("Listening")
                with client("127.0.0.1", str(port),
                            stdin=subprocess.PIPE) as q:
                    self.assert_passes(*((q, p) if we_send else (p, q)))

    @needs("ncat")
    def test_with_ncat(self):
        self.assert_passes_both_ways("ncat")

    @needs("socat")
    def test_with_socat(self):
        part = self.data[:8 * MIB]
        with Program("socat", "-t", str(DEADLINE), "-d", "-d",
                     "TCP-LISTEN:0,bind=127.0.0.1",
                     "EXEC:cat") as p:
            p.wait_for("listening on")
            port = re.search(r"127\.0\.0\.1:(\d+)", p.err)[1]
            r = run(tool(), "connect", "127.0.0.1", port, input=part)
            self.assert_done(r, part)


class Ends(Case):
    def test_half_close(self):
        """The peer sees the end of stdin, and is heard to its own end."""
        with Peer(say_back) as peer:
            r = run(tool(), "connect", at(peer), input="hello")
            self.assert_done(r, "hello")

    def test_an_end_without_a_byte(self):
        with Peer(lambda s: s.sendall(b"end" + read_all(s))) as peer:
            self.assert_done(run(tool(), "connect", at(peer)), "end")

    def test_the_peer_ends_first_while_stdin_stays_open(self):
        with Peer(say_and_end) as peer, \
                client(at(peer), stdin=subprocess.PIPE) as p:
            self.assertEqual(p.wait(), 0)
            self.assertEqual((p.out, p.err), ("hello\n", ""))

    def test_the_peer_half_closes_and_listens_on(self):
        """What is ready on stdin when the peer ends still reaches it."""
        got = threading.Event()

        def handle(sock):
            sock.shutdown(socket.SHUT_WR)
            peer.received.append(read_all(sock))
            got.set()

        with Peer(handle) as peer:
            self.assert_done(run(tool(), "connect", at(peer),
                                 input=b"x" * 500000), b"")
            got.wait(DEADLINE)
            self.assertEqual(peer.received, [b"x" * 500000])

    def test_the_peer_half_closes_and_stdin_takes_its_time(self):
        """Who has spoken may speak again: that is not lost."""
        def listen_on(sock):
            sock.shutdown(socket.SHUT_WR)
            while data := sock.recv(100):
                peer.received.append(data)

        for address in ("127.0.0.1", 0), self.path("s"):
            with self.subTest(address), \
                    Peer(listen_on, address) as peer, \
                    client(at(peer), stdin=subprocess.PIPE) as p:
                for piece in b"first\n", b"second\n":
                    p.stdin.write(piece)
                    p.stdin.flush()
                    wait_until(lambda: piece in peer.received, "it")
                    # Longer than a silent stdin would be waited for.
                    self.assertRaises(subprocess.TimeoutExpired,
                                      p.process.wait, 0.8)
                p.stdin.close()
                self.assertEqual((p.wait(), p.err), (0, ""))

    def test_the_peer_is_gone(self):
        """A unix socket tells at once; TCP when it is asked."""
        def answer(sock):
            sock.sendall(b"answer " + sock.recv(10))

        with Peer(answer, self.path("s")) as peer, \
                client(at(peer), stdin=subprocess.PIPE) as p:
            p.stdin.write(b"request")
            p.stdin.flush()
            self.assertEqual(p.wait(), 0)
            self.assertEqual((p.out, p.err), ("answer request", ""))

    @unittest.skipUnless(has_own_network(), "no network namespace to be had")
    def test_the_peer_is_gone_and_forgotten(self):
        """Where that takes a second and not a minute."""
        r = run(*OWN_NETWORK, sys.executable, "-c", FORGETFUL, tool())
        if r.returncode == 77:
            self.skipTest("the time cannot be set here")
        self.assert_done(r, "answer")

    def test_what_is_said_to_who_is_gone_is_lost(self):
        with Peer(say_and_end) as peer, \
                client(at(peer), stdin=subprocess.PIPE) as p:
            p.wait_for("hello")
            p.stdin.write(b"lost")
            p.stdin.flush()
            self.assertEqual(p.wait(), 1)
            self.assert_line(p.err, "left before it had all|broken pipe")

    def test_no_shutdown(self):
        def handle(sock):
            peer.received.append(sock.recv(10))
            ready = select.select([sock], [], [], 0.3)[0]
            sock.sendall(b"end seen" if ready else b"no end")

        with Peer(handle) as peer:
            r = run(tool(), "connect", "--no-shutdown", at(peer), input="hi")
            self.assert_done(r, "no end")
            self.assertEqual(peer.received, [b"hi"])

    def test_linger(self):
        """A peer that does not end is left, with what it said till then."""
        def handle(sock):
            sock.sendall(b"answer")
            read_all(sock)
            gone.wait(DEADLINE)

        gone = threading.Event()
        self.addCleanup(gone.set)
        for args in ["--linger", "300ms"], ["--linger=0.3", "--no-shutdown"]:
            with self.subTest(args), Peer(handle) as peer:
                start = time.monotonic()
                r = run(tool(), "connect", *args, at(peer))
                self.assertGreaterEqual(time.monotonic() - start, 0.3)
                self.assert_done(r, "answer")

    def test_linger_is_no_delay(self):
        with Peer(say_back) as peer:
            r = run(tool(), "connect", "--linger", "1h", at(peer), input="hi")
            self.assert_done(r, "hi")

    def test_linger_waits_for_stdin(self):
        with Peer(say_back) as peer, \
                client("--linger", "10s", at(peer),
                       stdin=subprocess.PIPE) as p:
            self.assertRaises(subprocess.TimeoutExpired, p.process.wait, 0.3)
            p.stdin.write(b"late")
            p.stdin.close()
            self.assertEqual(p.wait(), 0)
            self.assertEqual(p.out, "late")

    def test_idle(self):
        def handle(sock):
            sock.sendall(b"hello")
            read_all(sock)

        with Peer(handle) as peer, \
                client("--idle", "300ms", at(peer),
                       stdin=subprocess.PIPE) as p:
            start = time.monotonic()
            self.assertEqual(p.wait(), 1)
            self.assertGreater(time.monotonic() - start, 0.2)
            self.assert_line(p.err, "idle")
            self.assertEqual(p.out, "hello")

    def test_idle_to_a_peer_that_does_not_read(self):
        gone = threading.Event()
        self.addCleanup(gone.set)
        with Peer(lambda s: gone.wait(DEADLINE)) as peer, \
                open("/dev/zero", "rb") as zero:
            r = run(tool(), "connect", "--idle", "500ms", at(peer), stdin=zero)
            self.assertEqual(r.returncode, 1)
            self.assert_line(r.stderr, "idle")

    def test_idle_while_nobody_reads_stdout(self):
        gone = threading.Event()
        self.addCleanup(gone.set)

        def handle(sock):
            with contextlib.suppress(OSError):
                sock.sendall(b"x" * MIB)
                gone.wait(DEADLINE)

        get, put = os.pipe()
        self.addCleanup(os.close, get)
        self.addCleanup(os.close, put)
        with Peer(handle) as peer:
            self.assert_fails("--idle", "500ms", at(peer), stdout=put,
                              reason="idle")

    def test_idle_after_the_peer_has_ended(self):
        """It half-closes, and does not read what it is sent then."""
        gone = threading.Event()
        self.addCleanup(gone.set)

        def handle(sock):
            sock.shutdown(socket.SHUT_WR)
            gone.wait(DEADLINE)

        with Peer(handle) as peer, open("/dev/zero", "rb") as zero:
            self.assert_fails("--idle", "500ms", at(peer), stdin=zero,
                              reason="idle")

    def test_idle_keeps_up(self):
        """What it writes in pieces is the same, and soon there."""
        data = os.urandom(4 * MIB)
        with Peer(echo) as peer:
            r = run(tool(), "connect", "--idle", "10s", at(peer), input=data)
            self.assert_done(r, data)

    def test_idle_spares_who_talks(self):
        def handle(sock):
            end = time.monotonic() + 1.5
            while time.monotonic() < end:
                sock.sendall(b"x")
                select.select([], [], [], 0.02)

        with Peer(handle) as peer:
            r = run(tool(), "connect", "--idle", "1s", at(peer))
            self.assert_done(r)

    def test_a_reset(self):
        for address in ("127.0.0.1", 0), ("::1", 0):
            if address[0] == "::1" and not has_ipv6():
                continue
            with Peer(reset, address) as peer, \
                    client(at(peer), stdin=subprocess.PIPE) as p:
                p.stdin.write(b"x")
                p.stdin.flush()
                self.assertEqual(p.wait(), 1)
                self.assert_line(p.err, "reset")

    def test_a_reset_while_sending(self):
        """A peer that ends with our bytes unread, or in their midst."""
        def leave(sock):
            read_exactly(sock, 100000)

        for handle in reset, leave:
            with self.subTest(handle), Peer(handle) as peer, \
                    open("/dev/zero", "rb") as zero:
                r = run(tool(), "connect", at(peer), stdin=zero)
                self.assertEqual(r.returncode, 1)
                self.assert_line(r.stderr, "reset|broken pipe|peer left")

    def test_what_came_before_a_reset_is_written(self):
        def handle(sock):
            sock.sendall(b"last words")
            sock.recv(1)  # they have been read by then
            abort(sock)

        with Peer(handle) as peer, \
                client(at(peer), stdin=subprocess.PIPE) as p:
            p.wait_for("last words")
            p.stdin.write(b"x")
            p.stdin.flush()
            self.assertEqual(p.wait(), 1)
            self.assertEqual(p.out, "last words")
            self.assert_line(p.err, "reset")

    def test_killed_by_a_signal_is_quiet(self):
        for number in signal.SIGINT, signal.SIGTERM:
            with Peer(echo) as peer, \
                    client(at(peer), stdin=subprocess.PIPE) as p:
                p.stdin.write(b"x")
                p.stdin.flush()
                p.wait_for("x")
                p.signal(number)
                self.assertNotEqual(p.wait(), 0)
                self.assertLessEqual(p.err.count("\n"), 1)


class Files(Case):
    def test_closed_stdin(self):
        with Peer(say_and_end) as peer:
            self.assert_done(self.shell("<&-", at(peer)), "hello\n")

    def test_closed_stdout(self):
        with Peer(say_and_end) as peer:
            r = self.shell(">&-", at(peer))
            self.assertEqual(r.returncode, 1)
            self.assert_line(r.stderr, "output")

    def test_closed_stdout_and_nothing_to_write(self):
        with Peer(read_all) as peer:
            self.assert_done(self.shell(">&- </dev/null", at(peer)))

    def test_all_closed(self):
        """No socket shall become descriptor 0, 1 or 2."""
        def handle(sock):
            peer.received.append(b"")
            sock.sendall(b"hello")
            peer.received.append(read_all(sock))
            done.set()

        done = threading.Event()
        with Peer(handle) as peer:
            r = self.shell("<&- >&- 2>&-", at(peer))
            self.assertEqual(r.returncode, 1)
            done.wait(DEADLINE)
            self.assertEqual(b"".join(peer.received), b"")
            r = self.shell("<&- >&- 2>&-", "127.0.0.1:70000")
            self.assertEqual(r.returncode, 2)

    def test_full_stdout(self):
        with Peer(say_and_end) as peer:
            r = self.shell(">/dev/full", at(peer))
            self.assertEqual(r.returncode, 1)
            self.assert_line(r.stderr, "no space")

    def test_a_reader_that_has_gone(self):
        """`cleat connect | head -c1`."""
        def handle(sock):
            with contextlib.suppress(OSError):
                while True:
                    sock.sendall(b"y" * 65536)

        with Peer(handle) as peer:
            r = run("sh", "-c", '{ "$@"; echo $? >&2; } | head -c1', "sh",
                    tool(), "connect", at(peer))
            self.assertEqual(r.stdout, "y")
            line, status = r.stderr.splitlines()
            self.assert_line(line + "\n", "output: broken pipe")
            self.assertEqual(status, "1")

    def test_a_directory_as_stdin(self):
        with Peer(say_back) as peer:
            r = self.shell("</", at(peer))
            self.assertEqual(r.returncode, 1)
            self.assert_line(r.stderr, "input: .*directory")

    def test_stdin_that_is_not_for_reading(self):
        with Peer(say_back) as peer:
            r = self.shell("0>/dev/null", at(peer))
            self.assertEqual(r.returncode, 1)
            self.assert_line(r.stderr, "input")

    def test_stdin_without_an_end(self):
        with Peer(lambda s: s.recv(1)) as peer, \
                open("/dev/zero", "rb") as zero:
            r = run(tool(), "connect", at(peer), stdin=zero)
            self.assertLessEqual(r.returncode, 1)
            self.assertLessEqual(r.stderr.count("\n"), 1)

    def test_a_socket_as_stdin_and_stdout(self):
        ours, its = socket.socketpair()
        with ours, its, Peer(echo) as peer, \
                subprocess.Popen([tool(), "connect", at(peer)], stdin=its,
                                 stdout=its, stderr=subprocess.PIPE) as p:
            its.close()
            ours.sendall(b"hello")
            self.assertEqual(read_exactly(ours, 5), b"hello")
            ours.shutdown(socket.SHUT_WR)
            self.assertEqual(read_all(ours), b"")
            self.assertEqual((p.wait(DEADLINE), p.stderr.read()), (0, b""))

    def on_terminal(self, *args):
        """A client that has a terminal, and our end of that."""
        ours, its = pty.openpty()
        self.addCleanup(os.close, ours)
        self.addCleanup(os.close, its)
        p = self.enterContext(client(*args, stdin=its))
        return p, ours, its

    def test_a_terminal(self):
        with Peer(echo) as peer:
            p, ours, its = self.on_terminal(at(peer))
            before = termios.tcgetattr(its), fcntl.fcntl(its, fcntl.F_GETFL)
            os.write(ours, b"hello\n")
            p.wait_for("hello\n")
            os.write(ours, b"again\n\x04")  # end of file
            self.assertEqual(p.wait(), 0)
            self.assertEqual((p.out, p.err), ("hello\nagain\n", ""))
            self.assertEqual((termios.tcgetattr(its),
                              fcntl.fcntl(its, fcntl.F_GETFL)), before)

    def test_a_terminal_and_a_peer_that_ends(self):
        with Peer(lambda s: s.sendall(s.recv(10))) as peer:
            p, ours, _ = self.on_terminal(at(peer))
            os.write(ours, b"bye\n")
            self.assertEqual(p.wait(), 0)
            self.assertEqual((p.out, p.err), ("bye\n", ""))

    def test_a_terminal_that_hangs_up(self):
        with Peer(echo) as peer:
            ours, its = pty.openpty()
            with client(at(peer), stdin=its) as p:
                os.close(its)
                os.write(ours, b"hello\n")
                p.wait_for("hello\n")
                os.close(ours)
                p.wait()
                self.assertLessEqual(p.err.count("\n"), 1)

    def test_crlf(self):
        cases = {b"a\nb\r\n\n\r\r\nc": b"a\r\nb\r\n\r\n\r\r\nc",
                 b"\n" * 100000: b"\r\n" * 100000,
                 b"no end": b"no end", b"": b""}
        for data, want in cases.items():
            with self.subTest(data[:20]), Peer(say_back) as peer:
                r = run(tool(), "connect", "--crlf", at(peer), input=data)
                self.assert_done(r, want)

    def test_crlf_that_comes_in_pieces(self):
        with Peer(echo) as peer, \
                client("--crlf", at(peer), stdin=subprocess.PIPE) as p:
            for piece, so_far in (b"a\r", 2), (b"\nb", 4), (b"\n", 6):
                p.stdin.write(piece)
                p.stdin.flush()
                wait_until(lambda: len(p.out_bytes) >= so_far, "an echo")
            p.stdin.close()
            self.assertEqual(p.wait(), 0)
            self.assertEqual(p.out_bytes, b"a\r\nb\r\n")

    def test_hex(self):
        data = bytes(range(256)) * 3 + b"odd"
        name = self.path("dump")
        with Peer(echo) as peer:
            r = run(tool(), "connect", "--hex", name, at(peer), input=data)
            self.assert_done(r, data)
        with open(name, encoding="ascii") as f:
            text = f.read()
        whole = {"<": b"", ">": b""}
        end = 0
        for line in HEX_LINE.finditer(text):
            self.assertEqual(line.start(), end)
            end = line.end()
            mark, offset, digits, shown = line.groups()
            part = bytes.fromhex(digits)
            self.assertEqual(int(offset, 16), len(whole[mark]))
            self.assertEqual(shown, "".join(
                chr(c) if 32 <= c < 127 else "." for c in part))
            whole[mark] += part
        self.assertEqual(end, len(text))
        self.assertEqual(whole, {">": data, "<": data})

    def test_hex_to_where_it_cannot_go(self):
        with Peer(echo) as peer:
            self.assert_fails("--hex", "/nonexistent/dump", at(peer),
                              reason="/nonexistent/dump: no such file")
            self.assert_fails("--hex", "/dev/full", at(peer), input="x",
                              reason="/dev/full: no space left")
            # More than is kept back, so that it fails before the end.
            self.assert_fails("--hex", "/dev/full", at(peer),
                              input="x" * 100000,
                              reason="/dev/full: no space left")
            self.assert_fails("--hex", "", at(peer), reason="no such file")


class Places(Case):
    def test_statuses(self):
        with Peer(echo) as peer, held_port() as port:
            self.assertEqual(run(tool(), "connect", at(peer)).returncode, 0)
            self.assert_fails(f"127.0.0.1:{port}",
                              reason=f"127.0.0.1:{port}: connection refused")
            self.assert_fails("127.0.0.1:70000", status=2, reason="range")

    def test_two_words(self):
        with Peer(say_back) as peer:
            r = run(tool(), "connect", "127.0.0.1", str(peer.port), input="x")
            self.assert_done(r, "x")

    @needs_ipv6
    def test_a_bare_port_is_either_loopback(self):
        for host in "127.0.0.1", "::1":
            with self.subTest(host), Peer(say_back, (host, 0)) as peer:
                r = run(tool(), "connect", str(peer.port), input="x")
                self.assert_done(r, "x")

    @needs_ipv6
    def test_one_family(self):
        for host, good, bad in ("127.0.0.1", "-4", "-6"), ("::1", "-6", "-4"):
            with self.subTest(host), Peer(say_back, (host, 0)) as peer:
                r = run(tool(), "connect", good, str(peer.port), input="x")
                self.assert_done(r, "x")
                self.assert_fails(bad, str(peer.port), reason="refused")
                self.assert_fails(bad, at(peer), status=2, reason=bad)
        with Peer(say_back) as peer:
            r = run(tool(), "connect", "-4", f"localhost:{peer.port}",
                    input="x")
            self.assert_done(r, "x")

    def test_source(self):
        def handle(sock):
            sock.sendall(("%s:%d" % sock.getpeername()).encode())

        with Peer(handle) as peer:
            for source in "127.0.0.3", "127.0.0.3:0":
                r = run(tool(), "connect", "--source", source, at(peer))
                self.assert_done(r)
                self.assertRegex(r.stdout, r"\A127\.0\.0\.3:\d+\Z")
            for source in "127.0.0.4:%d", ":%d":
                with held_port() as port:
                    pass
                r = run(tool(), "connect", "--source", source % port, at(peer))
                self.assert_done(r)
                self.assertEqual(r.stdout.rpartition(":")[2], str(port))
            self.assert_fails("--source", "203.0.113.1", at(peer),
                              reason="not an address of this machine")
            self.assert_fails("--source", "unix:/x", at(peer), status=2)
            self.assert_fails("--source", "127.0.0.1:x:y", at(peer), status=2)
            self.assert_fails("--source", "", at(peer), status=2)
            # A port of ours that somebody has.
            self.assert_fails("--source", at(peer), at(peer), reason="in use")

    @needs_ipv6
    def test_source_of_the_other_family(self):
        with Peer(echo) as peer:
            self.assert_fails("--source", "::1", at(peer), reason="family")

    def test_timeout(self):
        with silent_port() as port:
            start = time.monotonic()
            self.assert_fails("-w", "300ms", f"127.0.0.1:{port}",
                              reason=f"127.0.0.1:{port}: timed out")
            self.assertGreaterEqual(time.monotonic() - start, 0.3)

    def test_timeout_is_for_connecting_only(self):
        def handle(sock):
            sock.recv(1)
            select.select([], [], [], 0.5)
            sock.sendall(b"late")

        with Peer(handle) as peer:
            r = run(tool(), "connect", "-w", "200ms", at(peer), input="x")
            self.assert_done(r, "late")

    @unittest.skipUnless(has_own_network(), "no network namespace to be had")
    def test_a_name_that_is_none(self):
        """Where nobody can be asked, either."""
        r = run(*OWN_NETWORK, tool(), "connect", "nosuch.invalid:80")
        self.assertEqual(r.returncode, 1)
        self.assert_line(r.stderr, "look up nosuch.invalid: ")

    def test_a_service_that_is_none(self):
        self.assert_fails("127.0.0.1:no-such-service", reason="service")

    @unittest.skipUnless(has_own_network(), "no network namespace to be had")
    def test_a_network_that_is_not_reached(self):
        for addr in "203.0.113.1:80", "[2001:db8::1]:80":
            r = run(*OWN_NETWORK, tool(), "connect", addr)
            self.assertEqual(r.returncode, 1)
            self.assert_line(r.stderr, "unreachable")

    def test_unix(self):
        for path, written in ((self.path("s"),) * 2,
                              (f"\0cleat-test-{os.getpid()}",
                               f"@cleat-test-{os.getpid()}")):
            with Peer(say_back, path) as peer:
                r = run(tool(), "connect", f"unix:{written}", input="x")
                self.assert_done(r, "x")
        self.assert_fails(f"unix:{self.path('none')}", reason="no such file")
        self.assert_fails(f"unix:{self.dir}", reason="refused")
        self.assert_fails("unix:" + "x" * 200, status=2, reason="long")

    def test_unix_datagrams(self):
        with Peer(acknowledge, self.path("d"), udp=True) as peer:
            for args in [f"unixgram:{self.path('d')}"], [
                    "-u", f"unix:{self.path('d')}"]:
                r = run(tool(), "connect", "--linger", "300ms", *args,
                        input="x")
                self.assert_done(r, "ACK: x")
            self.assertEqual(peer.received, [b"x"] * 2)
        self.assertEqual(os.listdir(self.dir), ["d"])

    def test_udp(self):
        for host in "127.0.0.1", "::1":
            if host == "::1" and not has_ipv6():
                continue
            with Peer(acknowledge, (host, 0), udp=True) as peer:
                for args in ["-u", at(peer)], ["udp://" + at(peer)]:
                    start = time.monotonic()
                    r = run(tool(), "connect", "--linger", "300ms", *args,
                            input="hello\n")
                    self.assert_done(r, "ACK: hello\n")
                    self.assertGreaterEqual(time.monotonic() - start, 0.3)
                self.assertEqual(peer.received, [b"hello\n"] * 2)

    def test_udp_lingers_a_second_unless_told(self):
        with Peer(acknowledge, udp=True) as peer:
            start = time.monotonic()
            r = run(tool(), "connect", "-u", at(peer), input="hello")
            self.assert_done(r, "ACK: hello")
            self.assertGreaterEqual(time.monotonic() - start, 1)

    def test_udp_one_read_one_datagram(self):
        with Peer(acknowledge, udp=True) as peer, \
                client("-u", "--linger", "0", at(peer),
                       stdin=subprocess.PIPE) as p:
            for i in range(5):
                p.stdin.write(b"line %d\n" % i)
                p.stdin.flush()
                p.wait_for(f"ACK: line {i}\n")
            p.stdin.close()
            self.assertEqual(p.wait(), 0)
            self.assertEqual(peer.received, [b"line %d\n" % i
                                             for i in range(5)])

    def test_udp_more_than_a_datagram_holds(self):
        data = os.urandom(150000)
        with Peer(lambda data: None, udp=True) as peer, \
                open(self.path("in"), "wb+") as f:
            f.write(data)
            f.seek(0)
            r = run(tool(), "connect", "-u", "--linger", "0", at(peer),
                    stdin=f)
            self.assert_done(r)
            wait_until(lambda: len(b"".join(peer.received)) == len(data),
                       "all of it")
            # Each on a thread of the peer: their order is not ours.
            self.assertEqual(sorted(map(len, peer.received))[-1], 65507)

    def test_udp_answers_of_no_bytes(self):
        """An empty datagram is no end."""
        answers = iter([b"", b"second"])
        with Peer(lambda data: next(answers), udp=True) as peer, \
                client("-u", "--linger", "10s", at(peer),
                       stdin=subprocess.PIPE) as p:
            for piece in b"1", b"2":
                p.stdin.write(piece)
                p.stdin.flush()
                wait_until(lambda: piece in peer.received, "its datagram")
            p.wait_for("second")
            self.assertIsNone(p.process.poll())

    def test_udp_refused(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s, \
                socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
            # One that is connected to elsewhere has its port, yet refuses.
            s.bind(("127.0.0.1", 0))
            taken.bind(("127.0.0.1", 0))
            s.connect(taken.getsockname())
            port = s.getsockname()[1]
            self.assert_fails("-u", f"127.0.0.1:{port}", input="x",
                              reason="connection refused")

    def test_udp_idle(self):
        with Peer(lambda data: None, udp=True) as peer, \
                client("-u", "--idle", "300ms", at(peer),
                       stdin=subprocess.PIPE) as p:
            self.assertEqual(p.wait(), 1)
            self.assert_line(p.err, "idle")


class Listen(Case):
    def test_one_connection(self):
        with listen(ANY, stdin=subprocess.PIPE) as p:
            port = p.port
            with connect(port) as s:
                s.sendall(b"to stdout")
                p.wait_for("to stdout")
                p.wait_for(" accepted ")
                with self.assertRaises(ConnectionRefusedError):
                    connect(port)
                p.stdin.write(b"from stdin")
                p.stdin.close()
                self.assertEqual(read_all(s), b"from stdin")
                self.assertIsNone(p.process.poll())
            self.assertEqual(p.wait(), 0)
            self.assertEqual(p.out, "to stdout")

    def test_the_announcement(self):
        with listen(ANY) as p:
            self.assertRegex(
                p.addresses() and p.err.splitlines()[0],
                r"\A\d\d-\d\d-\d{4} \d\d:\d\d:\d\d - INFO - listen - "
                rf"listening on 127\.0\.0\.1:{p.port}\Z")
            with connect(p.port) as s:
                name = "%s:%d" % s.getsockname()
                s.sendall(b"hello")
            self.assertEqual(p.wait(), 0)
            lines = [line.partition(" - INFO - listen - ")[2]
                     for line in p.err.splitlines()]
            self.assertEqual(lines[1], f"accepted {name}")
            self.assertIn(f"ended {name}: received 5 bytes, sent 0", lines[2])
            self.assertEqual(p.out, "hello")

    def test_keep(self):
        with listen("--keep", ANY) as p:
            for i in range(3):
                with connect(p.port) as s:
                    s.sendall(b"%d\n" % i)
                wait_until(lambda: p.err.count(" ended ") == i + 1, "its end")
            p.wait_for("0\n1\n2\n")
            self.assertIsNone(p.process.poll())

    def test_keep_takes_them_one_after_another(self):
        with listen("--keep", ANY) as p, connect(p.port) as first, \
                connect(p.port) as second:
            second.sendall(b"second")
            first.sendall(b"first ")
            p.wait_for("first ")
            self.assertEqual(p.out, "first ")
            first.close()
            p.wait_for("first second")

    def test_keep_survives_a_reset(self):
        with listen("--keep", ANY, stdin=subprocess.PIPE) as p:
            with connect(p.port) as s:
                s.sendall(b"x")
                p.wait_for("x")
                abort(s)
            p.wait_for("reset")
            with connect(p.port) as s:
                s.sendall(b"next")
                p.wait_for("xnext")

    def test_a_reset(self):
        with listen(ANY, stdin=subprocess.PIPE) as p:
            with connect(p.port) as s:
                s.sendall(b"x")
                p.wait_for("x")
                abort(s)
            status, last = self.ends(p)
            self.assertEqual(status, 1)
            self.assert_line(last[0] + "\n", "reset", "listen")

    def test_nobody_comes(self):
        for args in [ANY], ["-u", ANY], [f"unix:{self.path('s')}"]:
            with self.subTest(args):
                start = time.monotonic()
                r = run(tool(), "listen", "-w", "300ms", *args)
                self.assertGreaterEqual(time.monotonic() - start, 0.3)
                self.assertEqual(r.returncode, 1)
                log, line = r.stderr.splitlines()
                self.assertIn(" - INFO - listen - listening on ", log)
                self.assert_line(line + "\n", "timed out", "listen")

    @needs_ipv6
    def test_a_bare_port_is_both_loopbacks(self):
        for host in "127.0.0.1", "::1":
            with listen("0") as p:
                self.assertEqual(len(set(p.ports(2))), 1)
                with connect(p.port, host) as s:
                    s.sendall(b"hello")
                self.assertEqual(p.wait(), 0)
                self.assertEqual(p.out, "hello")

    @needs_ipv6
    def test_every_interface(self):
        for host in "127.0.0.1", "::1":
            with listen(":0") as p:
                with connect(p.port, host) as s:
                    s.sendall(b"hello")
                self.assertEqual(p.wait(), 0)

    def test_unix(self):
        path = self.path("s")
        for _ in range(2):
            with listen(f"unix:{path}", stdin=subprocess.PIPE) as p:
                with dial(p.addresses()[0]) as s:
                    s.sendall(b"hello")
                    p.stdin.write(b"answer")
                    p.stdin.close()
                    self.assertEqual(read_all(s), b"answer")
                self.assertEqual(p.wait(), 0)
                self.assertEqual(p.out, "hello")

    def test_udp(self):
        """The first sender is the peer; others are not heard."""
        with listen("-u", ANY, stdin=subprocess.PIPE) as p, \
                dial(p.addresses()[0]) as first, \
                dial(p.addresses()[0]) as other:
            first.send(b"first\n")
            p.wait_for("first\n")
            p.stdin.write(b"answer")
            p.stdin.flush()
            self.assertEqual(first.recv(100), b"answer")
            other.send(b"other\n")
            first.send(b"again\n")
            p.wait_for("again\n")
            self.assertEqual(p.out, "first\nagain\n")
            p.stdin.close()
            self.assertEqual(p.wait(), 0)

    def test_udp_without_stdin_lingers(self):
        with listen("-u", "--linger", "300ms", ANY) as p, \
                dial(p.addresses()[0]) as s:
            s.send(b"hello")
            self.assertEqual(p.wait(), 0)
            self.assertEqual(p.out, "hello")

    def test_unix_datagrams(self):
        with listen(f"unixgram:{self.path('d')}",
                    stdin=subprocess.PIPE) as p, \
                dial(p.addresses()[0]) as s:
            s.send(b"hello")
            p.wait_for("hello")
            p.stdin.write(b"answer")
            p.stdin.close()
            self.assertEqual(s.recv(100), b"answer")
            self.assertEqual(p.wait(), 0)

    def test_in_use(self):
        with socket.create_server(("127.0.0.1", 0)) as s:
            port = s.getsockname()[1]
            r = run(tool(), "listen", f"127.0.0.1:{port}")
            self.assertEqual(r.returncode, 1)
            self.assert_line(r.stderr, f"{port}.*in use", "listen")

    def test_options_of_connect(self):
        with listen("--crlf", "--hex", self.path("dump"), ANY,
                    stdin=subprocess.PIPE) as p, connect(p.port) as s:
            p.stdin.write(b"a\nb\n")
            p.stdin.close()
            self.assertEqual(read_all(s), b"a\r\nb\r\n")
            s.close()
            self.assertEqual(p.wait(), 0)
            with open(self.path("dump"), encoding="ascii") as f:
                self.assertTrue(f.read().startswith("> 00000000 "))
        with listen("--linger", "300ms", ANY) as p, connect(p.port) as s:
            self.assertEqual(p.wait(), 0)
        with listen("--idle", "300ms", ANY, stdin=subprocess.PIPE) as p, \
                connect(p.port) as s:
            status, last = self.ends(p)
            self.assertEqual(status, 1)
            self.assert_line(last[0] + "\n", "idle", "listen")

    def test_full_stdout(self):
        with Program("sh", "-c", 'exec "$@" >/dev/full', "sh", tool(),
                     "listen", "--keep", ANY) as p:
            with connect(p.port) as s:
                s.sendall(b"x")
                status, last = self.ends(p)
            self.assertEqual(status, 1)
            self.assert_line(last[0] + "\n", "no space", "listen")

    def test_with_cleat_connect(self):
        with listen(ANY, stdin=subprocess.PIPE) as p:
            p.stdin.write(b"from there")
            p.stdin.close()
            r = run(tool(), "connect", p.addresses()[0], input="from here")
            self.assert_done(r, "from there")
            self.assertEqual(p.wait(), 0)
            self.assertEqual(p.out, "from here")

    @needs("nc")
    def test_with_nc_over_udp_and_unix(self):
        with listen("-u", "--linger", "0", ANY, stdin=subprocess.PIPE) as p, \
                Program("nc", "-u", "127.0.0.1", str(p.port),
                        stdin=subprocess.PIPE) as q:
            q.stdin.write(b"ping")
            q.stdin.flush()
            p.wait_for("ping")
            p.stdin.write(b"pong")
            p.stdin.close()
            q.wait_for("pong")
            self.assertEqual(p.wait(), 0)
        with listen(f"unix:{self.path('s')}") as p:
            p.addresses()
            r = run("nc", "-N", "-U", self.path("s"), input="ping")
            self.assertEqual(r.returncode, 0)
            self.assertEqual(p.wait(), 0)
            self.assertEqual(p.out, "ping")


if __name__ == "__main__":
    unittest.main()
