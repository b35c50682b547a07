#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""cleat bench: that it sends what it says, notices what is wrong, and counts."""
import contextlib
import itertools
import json
import os
import pathlib
import pty
import re
import select
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest

from support import (
    DEADLINE, Peer, Program, abort, echo, held_port, needs_ipv6, read_exactly,
    run, silent_port, tool, wait_until)

KEYS = {
    "target", "proto", "mode", "connections", "size", "depth", "rate",
    "threads", "seconds", "messages", "errors", "lost", "late", "unsent",
    "messages_per_s", "bytes_per_s", "latency_us", "cpu_us_per_message",
    "server_cpu_us_per_message", "cpu_share", "generator_limited"}
PERCENTILES = ["p50", "p90", "p99", "p99.9", "max"]


def bench(*args, **options):
    return run(tool(), "bench", *map(str, args), **options)


@contextlib.contextmanager
def served(service, address="127.0.0.1:0"):
    with Program(tool(), "serve", service, address) as p:
        yield p.addresses()[0]


def peer_address(peer):
    return f"127.0.0.1:{peer.port}"


def in_messages(answer, size=64):
    """A peer that answers the N-th message of SIZE bytes, from 1 on, with
    ANSWER(n, message)."""
    def handle(sock):
        with contextlib.suppress(OSError):
            for n in itertools.count(1):
                data = b""
                while len(data) < size:
                    chunk = sock.recv(size - len(data))
                    if not chunk:
                        return
                    data += chunk
                sock.sendall(answer(n, data))
    return handle


class Case(unittest.TestCase):
    def setUp(self):
        self.dir = pathlib.Path(
            self.enterContext(tempfile.TemporaryDirectory()))

    def file(self, name, data):
        path = self.dir / name
        path.write_bytes(data)
        return path

    def json(self, *args, errors=0, status=0):
        r = bench("--json", *args)
        o = json.loads(r.stdout)
        self.assertEqual(o.keys(), KEYS)
        self.assertEqual((o["errors"], r.returncode), (errors, status), r)
        if errors == 0 and o["unsent"] == 0 and not o["generator_limited"]:
            self.assertEqual(r.stderr, "")
        return o

    def assert_complains(self, r, reason, status=1):
        self.assertRegex(r.stderr,
                         rf"(?m)^cleat bench: [^\n]*{reason}[^\n]*$")
        self.assertEqual(r.returncode, status, r)

    def assert_error(self, handle, reason, *args):
        """A peer's HANDLE makes a single connection fail with REASON."""
        with Peer(handle) as p:
            r = bench("-n", 20, "--json", *args, peer_address(p))
        self.assert_complains(r, f"1 error: connection 1: {reason}")
        self.assertEqual(json.loads(r.stdout)["errors"], 1)
        return json.loads(r.stdout)


class Modes(Case):
    def test_ping_pong(self):
        with served("echo") as address:
            o = self.json("-n", 1000, address)
        self.assertEqual(
            [o[k] for k in ("target", "proto", "mode", "connections", "size",
                            "depth", "rate", "messages", "lost", "unsent")],
            [address, "tcp", "ping-pong", 1, 64, 1, 0, 1000, 0, 0])
        self.assertAlmostEqual(o["messages_per_s"] * o["seconds"], 1000, 1)
        self.assertAlmostEqual(o["bytes_per_s"] * o["seconds"], 64000, 1)
        self.assertEqual(list(o["latency_us"]), PERCENTILES)
        values = list(o["latency_us"].values())
        self.assertEqual(values, sorted(values))
        self.assertGreater(values[0], 0)
        self.assertLessEqual(values[-1], o["seconds"] * 1e6 + 1)
        self.assertGreater(o["cpu_us_per_message"], 0)
        self.assertIsNone(o["server_cpu_us_per_message"])

    def test_for_a_time(self):
        with served("echo") as address:
            o = self.json("-t", "300ms", "-c", 3, address)
        self.assertGreaterEqual(o["seconds"], 0.29)
        self.assertGreater(o["messages"], 0)

    def test_no_thread_takes_more_than_a_core(self):
        with served("echo") as address:
            for _ in range(5):
                o = self.json("-n", 1, "-c", 500, address)
                self.assertLessEqual(o["cpu_share"], 1)

    def test_many_connections_and_threads(self):
        with served("echo") as address:
            o = self.json("-n", 2999, "-c", 300, "--threads", 3, address)
        self.assertEqual((o["messages"], o["threads"]), (2999, 3))

    def test_no_more_connections_speak_than_there_are_messages(self):
        with served("echo") as address:
            self.assertEqual(self.json("-n", 3, "-c", 10, address)["messages"],
                             3)

    def test_pipelined(self):
        with served("echo") as address:
            o = self.json("-n", 5000, "-c", 2, "-d", 32, address)
        self.assertEqual((o["mode"], o["depth"], o["messages"]),
                         ("pipelined", 32, 5000))

    def test_depth_is_how_many_are_under_way(self):
        most = []

        def handle(sock):
            data = read_exactly(sock, 640)
            sock.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                most.append(len(sock.recv(1)))
            sock.settimeout(DEADLINE)
            sock.sendall(data)
            echo(sock)
        with Peer(handle) as p:
            self.json("-n", 100, "-d", 10, peer_address(p))
        self.assertEqual(most, [])

    def test_messages_that_no_buffer_holds(self):
        with served("echo") as address:
            for depth in 1, 4:
                o = self.json("-n", 12, "-c", 2, "-s", "3M", "-d", depth,
                              address)
                self.assertEqual((o["messages"], o["size"]), (12, 3 << 20))

    def test_odd_sizes(self):
        with served("echo") as address:
            for size in 1, 7, 63, 65, 8128, 8129, 65537:
                self.assertEqual(
                    self.json("-n", 50, "-s", size, "-d", 3,
                              address)["messages"], 50)

    def test_unix(self):
        with served("echo", f"unix:{self.dir}/s") as address:
            o = self.json("-n", 100, "-c", 4, address)
        self.assertEqual((o["messages"], o["proto"]), (100, "unix"))

    @needs_ipv6
    def test_ipv6(self):
        with served("echo", "[::1]:0") as address:
            self.json("-n", 10, address)
            port = address.rpartition(":")[2]
            self.json("-n", 10, "-6", port)
            self.assert_complains(bench("-4", port), "connection refused")

    def test_each_message_is_another(self):
        for size, n, conns in ((64, 180, 2), (64, 251, 1), (64, 251, 251),
                               (251, 300, 1), (16064, 257, 1),
                               (64, 252, 252), (64, 600, 2), (8, 600, 3),
                               (7, 600, 1), (40000, 252, 1)):
            seen = []

            def answer(n, data):
                seen.append(data)
                return data
            with Peer(in_messages(answer, size)) as p:
                self.json("-n", n, "-c", conns, "-s", size, peer_address(p))
            self.assertEqual(len(set(seen)), n)

    def test_times_without_end(self):
        with served("echo") as address:
            self.json("-t", "2562047h", "-w", "2562047h", "-n", 20, address)
            self.json("-t", "2500000h", "-n", 20, "-r", 2147483647, address)
        with served("echo", "udp://127.0.0.1:0") as address:
            self.json("-t", "2562047h", "-w", "2562047h", "-n", 20, address)


class Streams(Case):
    def test_send(self):
        got = []

        def handle(sock):
            n = 0
            while data := sock.recv(65536):
                n += len(data)
            got.append(n)
        with Peer(handle) as p:
            o = self.json("--stream", "send", "-n", 50, "-s", 10000,
                          peer_address(p))
        self.assertEqual(got, [500000])
        self.assertEqual((o["mode"], o["messages"]), ("stream send", 50))
        self.assertEqual(set(o["latency_us"].values()), {None})
        self.assertAlmostEqual(o["bytes_per_s"] * o["seconds"], 500000, 0)

    def test_send_to_one_who_is_slow(self):
        """All is written at once, and then takes thrice the timeout."""
        def slow(sock):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
            while sock.recv(32768):
                time.sleep(0.05)
        with Peer(slow) as p:
            o = self.json("--stream", "send", "-n", 1, "-s", "1M", "-w",
                          "500ms", peer_address(p))
        self.assertGreater(o["seconds"], 0.5)

    def test_send_for_a_time(self):
        with served("discard") as address:
            o = self.json("--stream", "send", "-t", "200ms", "-c", 2, address)
        self.assertEqual(o["size"], 131072)
        self.assertGreater(o["messages"], 0)

    def test_recv(self):
        with served("chargen") as address:
            o = self.json("--stream", "recv", "-t", "200ms", address)
            self.assertGreater(o["bytes_per_s"], 0)
            with socket.create_connection(
                    ("127.0.0.1", int(address.rpartition(":")[2]))) as s:
                cycle = self.file("cycle", read_exactly(s, 95 * 74))
            o = self.json("--stream", "recv", "-n", 100, "--answer", cycle,
                          address)
            self.assertGreaterEqual(o["messages"], 100)
            other = self.file("other", cycle.read_bytes()[:-1] + b"!")
            r = bench("--stream", "recv", "-n", 100, "--answer", other,
                      address)
        self.assert_complains(r, "answer 1 is wrong at byte 7030")

    def test_recv_from_one_who_is_slow(self):
        def drip(sock):
            with contextlib.suppress(OSError):
                while True:
                    sock.sendall(b"drip")
                    time.sleep(0.02)
        with Peer(drip) as p:
            o = self.json("--stream", "recv", "-t", "200ms", peer_address(p))
        self.assertEqual(o["messages"], 0)
        self.assertGreater(o["bytes_per_s"], 0)
        self.assertIsNone(o["cpu_us_per_message"])

    def test_both(self):
        with served("echo") as address:
            o = self.json("--stream", "both", "-n", 200, "-c", 3, address)
            self.assertEqual(o["messages"], 200)
            o = self.json("--stream", "both", "-t", "200ms", address)
            self.assertGreater(o["messages"], 0)

    def test_both_and_unlike(self):
        with served("chargen") as address:
            self.json("--stream", "both", "--answer-size", "1k", "-t", "200ms",
                      address)
            r = bench("--stream", "both", "-t", "200ms", address)
        self.assert_complains(r, "answer 1 is wrong at byte 1")

    def test_both_and_nothing_is_read(self):
        def flood(sock):
            with contextlib.suppress(OSError):
                while True:
                    sock.sendall(bytes(65536))
        with Peer(flood) as p:
            r = bench("--stream", "both", "--answer-size", "1k", "-t", "50ms",
                      "-w", "300ms", peer_address(p))
        self.assert_complains(r, "timed out")

    def test_both_until_all_is_sent(self):
        got = []

        def unread_is_unsent(sock):
            """Reads only once what it sends is read: it waits for both."""
            while data := sock.recv(65536):
                got.append(len(data))
                sock.sendall(bytes(10 * len(data)))
        with Peer(unread_is_unsent) as p:
            o = self.json("--stream", "both", "--answer-size", "1k", "-n", 200,
                          "-s", "100k", peer_address(p))
        self.assertGreaterEqual(o["messages"], 200)
        # Of 20 MB; what is under way at the end is lost.
        self.assertGreater(sum(got), 10_000_000)

    def test_an_end_is_noticed(self):
        self.assert_error(lambda s: None, "ended by the peer",
                          "--stream", "recv")

        def cut(sock):
            sock.recv(100)
            abort(sock)
        self.assert_error(cut, "(send to|receive from|finish with).*"
                          "(reset|broken pipe)", "--stream", "send",
                          "-n", 1000000)

    def test_a_stop_is_noticed(self):
        done = threading.Event()

        def stuck(sock):
            sock.recv(1)
            done.wait(DEADLINE)
        for way in "send", "recv", "both":
            done.clear()
            with Peer(stuck) as p:
                r = bench("--stream", way, "-w", "300ms", "-t", "20s",
                          peer_address(p))
                done.set()
            self.assert_complains(r, "timed out")


class Connects(Case):
    def test_fin(self):
        with Program(tool(), "serve", "echo", "127.0.0.1:0") as p:
            o = self.json("--connects", "-n", 300, "-c", 3, p.addresses()[0])
            wait_until(lambda: p.err.count(": received 0 bytes") == 300,
                       "300 ends")
            self.assertNotIn("reset", p.err)
        self.assertEqual((o["mode"], o["messages"], o["size"]),
                         ("connects", 300, 0))

    def sources(self, *args):
        """How many addresses so many connections came from."""
        with Program(tool(), "serve", "echo", "127.0.0.1:0") as p:
            self.json("--connects", *args, p.addresses()[0])
            wait_until(lambda: p.err.count("ended ") == 300, "300 ends")
            return len(set(re.findall(r"ended (127[0-9.]+):", p.err)))

    def test_from_many_addresses(self):
        """So that no search for a port is measured."""
        self.assertEqual(self.sources("-n", 300), 254)
        self.assertEqual(self.sources("-n", 300, "--reset"), 1)

    def test_reset(self):
        with served("echo") as address:
            o = self.json("--connects", "--reset", "-n", 300, address)
        self.assertEqual(o["mode"], "connects, reset")

    def test_at_a_rate(self):
        with served("echo") as address:
            o = self.json("--connects", "-n", 30, "--rate", 200, address)
        self.assertGreaterEqual(o["seconds"], 29 / 200)

    def test_refused(self):
        with held_port() as port:
            r = bench("--connects", "-n", 10, f"127.0.0.1:{port}")
        self.assert_complains(r, "connection refused")
        self.assertEqual((r.stdout, r.stderr.count("\n")), ("", 1))

    def test_unix(self):
        with served("echo", f"unix:{self.dir}/s") as address:
            self.json("--connects", "-n", 50, address)


class Answers(Case):
    def test_from_files(self):
        ask = self.file("ask", b"GET it\r\n")
        tell = self.file("tell", b"here it is\r\n")
        with Peer(in_messages(lambda n, data: b"here it is\r\n" if data ==
                              b"GET it\r\n" else b"what?", 8)) as p:
            address = peer_address(p)
            o = self.json("--request", ask, "--answer", tell, "-n", 50,
                          "-d", 4, address)
            self.assertEqual((o["messages"], o["size"]), (50, 8))
            o = self.json("--request", ask, "--answer-size", 12, "-n", 50,
                          address)
            self.assertAlmostEqual(o["bytes_per_s"] * o["seconds"], 600, 1)
            r = bench("--request", ask, "-n", 5, address)
            self.assert_complains(r, "answer 1 is wrong at byte 1")

    def test_a_request_that_is_echoed(self):
        ask = self.file("ask", bytes(range(256)) * 700)
        with served("echo") as address:
            self.json("--request", ask, "-n", 10, "-c", 2, address)

    def test_files_that_are_none(self):
        empty = self.file("empty", b"")
        for option in "--request", "--answer":
            self.assert_complains(bench(option, empty, "1"), "is empty")
            self.assert_complains(bench(option, self.dir / "no", "1"),
                                  "no such file")
            self.assert_complains(bench(option, self.dir, "1"), "directory")


class Wrong(Case):
    def test_a_byte(self):
        def answer(n, data):
            return data[:9] + bytes([data[9] ^ 1]) + data[10:] if n == 3 \
                else data
        o = self.assert_error(in_messages(answer),
                              "answer 3 is wrong at byte 10")
        self.assertEqual(o["messages"], 2)

    def test_an_answer_of_before(self):
        old = []

        def answer(n, data):
            old.append(data)
            return old[-2] if n > 1 else data
        self.assert_error(in_messages(answer), "answer 2 is wrong at byte 1")

    def test_an_answer_to_another(self):
        lock, first = threading.Barrier(2, timeout=DEADLINE), []

        def answer(n, data):
            first.append(data)
            lock.wait()
            return first[0]
        with Peer(in_messages(answer)) as p:
            r = bench("-n", 2, "-c", 2, peer_address(p))
        self.assert_complains(r, "1 error.* answer 1 is wrong")

    def test_an_answer_of_long_before(self):
        """Whose other bytes are the same."""
        for options, size in ([], 64), ([], 40000), (["-d", 300], 64), \
                (["--rate", 20000], 64), (["--stream", "both"], 64):
            old = []

            def answer(n, data):
                old.append(data)
                if n != 252:
                    return data
                self.assertEqual(old[0][8:], data[8:])
                return old[0]
            self.assert_error(in_messages(answer, size),
                              "answer 252 is wrong at byte 1",
                              "-n", 300, "-s", size, *options)

    def test_an_answer_to_another_far_away(self):
        """Two of 252 connections, whose other bytes are the same."""
        lock, first = threading.Barrier(252, timeout=DEADLINE), {}

        def answer(n, data):
            first[data] = data
            if lock.wait() == 0:
                a, b = (x for x in first if sum(
                    x[8:] == y[8:] for y in first) == 2)
                first.update({a: b, b: a})
            lock.wait()
            return first[data]
        with Peer(in_messages(answer)) as p:
            r = bench("-n", 252, "-c", 252, peer_address(p))
        self.assert_complains(r, "2 errors.* answer 1 is wrong at byte 1")

    def test_shifted(self):
        self.assert_error(in_messages(lambda n, data: data[1:] + data[:1]),
                          "answer 1 is wrong at byte 1")

    def test_too_much(self):
        ask = self.file("ask", b"x" * 64)
        self.assert_error(in_messages(lambda n, data: data + data),
                          "more came than was asked for", "--request", ask)

    def test_too_little(self):
        def cut(sock):
            sock.sendall(read_exactly(sock, 64)[:60])
        self.assert_error(cut, "ended by the peer, in the middle of")

    def test_ended(self):
        def leave(sock):
            for _ in range(5):
                sock.sendall(read_exactly(sock, 64))
        o = self.assert_error(leave, "(ended by the peer, before|.*reset)")
        self.assertEqual(o["messages"], 5)

    def test_reset(self):
        def cut(sock):
            read_exactly(sock, 64)
            abort(sock)
        self.assert_error(cut, ".*reset")

    def test_others_go_on(self):
        turn = itertools.count()

        def handle(sock):
            if next(turn) == 2:
                sock.recv(1)
                abort(sock)
            else:
                echo(sock)
        with Peer(handle) as p:
            o = self.json("-c", 4, "-n", 400, peer_address(p), errors=1,
                          status=1)
        self.assertEqual(o["messages"], 300)

    def test_silence(self):
        done = threading.Event()
        for options in [], ["--rate", 50], ["-s", "1M"]:
            done.clear()
            with Peer(lambda sock: done.wait(DEADLINE)) as p:
                start = time.monotonic()
                r = bench("-w", "300ms", "-t", "300ms", *options,
                          peer_address(p))
                done.set()
            self.assert_complains(r, "1 error: connection 1: timed out")
            self.assertLess(time.monotonic() - start, DEADLINE / 2)

    def test_refused(self):
        with held_port() as port:
            for options in [], ["-c", 7], ["-c", 2, "--threads", 2]:
                r = bench(*options, f"127.0.0.1:{port}")
                self.assert_complains(r, "connection refused")
                self.assertEqual((r.stdout, r.stderr.count("\n")), ("", 1))

    def test_no_answer_to_the_connect(self):
        """One is enough: many, one after another, would take a minute."""
        with silent_port() as port:
            for n in 1, 64 * 60:
                r = bench("-w", "1s", "-c", n, f"127.0.0.1:{port}")
                self.assert_complains(r, "timed out")

    def test_no_such_name(self):
        self.assert_complains(bench("bench.invalid:1"), "bench.invalid")


class Datagrams(Case):
    def test_echo(self):
        with served("echo", "udp://127.0.0.1:0") as address:
            o = self.json("-n", 500, "-c", 3, address)
            self.assertEqual((o["messages"], o["lost"], o["proto"]),
                             (500, 0, "udp"))
            self.assertAlmostEqual(o["bytes_per_s"] * o["seconds"], 32000, 1)
            o = self.json("-n", 500, "-d", 8, "-s", 1400, "-u",
                          address.removeprefix("udp://"))
            self.assertEqual(o["messages"], 500)

    def test_unix(self):
        with served("echo", f"unixgram:{self.dir}/d") as address:
            self.assertEqual(
                self.json("-n", 100, "-c", 3, address)["messages"], 100)

    def test_lost(self):
        turn = itertools.count()
        with Peer(lambda data: None if next(turn) % 5 == 4 else data,
                  udp=True) as p:
            o = self.json("-n", 20, "-w", "200ms", "-u", peer_address(p))
        self.assertEqual((o["messages"], o["lost"]), (16, 4))

    def test_all_lost(self):
        with Peer(lambda data: None, udp=True) as p:
            r = bench("-t", "200ms", "-w", "50ms", "-u", "-c", 2,
                      peer_address(p))
        self.assert_complains(r, "no answer came")
        self.assertRegex(r.stdout, r"messages +0, .* lost \(100\.00%\)")

    def test_who_falls_silent_was_asked_all_the_time(self):
        turn = itertools.count()
        with Peer(lambda data: data if next(turn) < 20 else None,
                  udp=True) as p:
            o = self.json("-t", "500ms", "-w", "50ms", "-u", peer_address(p))
        self.assertEqual(o["messages"], 20)
        self.assertGreaterEqual(o["seconds"], 0.5)

    def speak(self, talk, *args):
        """The bench with a peer that is TALK(socket), on a thread."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.bind(("127.0.0.1", 0))
            s.settimeout(DEADLINE)
            t = threading.Thread(target=talk, args=(s,))
            t.start()
            r = bench("--json", "-u", *args,
                      f"127.0.0.1:{s.getsockname()[1]}")
            t.join()
        return r, json.loads(r.stdout)

    def test_out_of_order_and_doubled(self):
        def talk(s):
            for _ in range(10):
                got = [s.recvfrom(2048) for _ in range(4)]
                for data, whom in reversed(got + got[:1]):
                    s.sendto(data, whom)
        r, o = self.speak(talk, "-d", 4, "-n", 40, "-w", "10s")
        self.assertEqual((o["messages"], o["lost"], o["errors"]), (40, 0, 0),
                         r)
        self.assertIn(o["late"], (9, 10))  # the last may find nobody there

    def test_late(self):
        """What was lost does no harm when it comes in the end."""
        def talk(s):
            late = s.recvfrom(2048)
            data, whom = s.recvfrom(2048)
            s.sendto(*late)
            s.sendto(data, whom)
        r, o = self.speak(talk, "-n", 2, "-w", "200ms")
        self.assertEqual((o["messages"], o["lost"], o["errors"]), (1, 1, 0), r)
        self.assertEqual(o["late"], 1)

    def test_very_late(self):
        """Also when a thousand others were answered in between."""
        def talk(s):
            first = s.recvfrom(2048)
            for n in range(1, 1000):
                data, whom = s.recvfrom(2048)
                if n in (300, 998):
                    s.sendto(*first)
                s.sendto(data, whom)
        for size in 64, 65, 1400:
            r, o = self.speak(talk, "-n", 1000, "-w", "500ms", "-s", size)
            self.assertEqual((o["messages"], o["lost"], o["errors"]),
                             (999, 1, 0), r)

    def test_an_answer_of_long_before(self):
        """Which is late, and not that to a message of the same bytes."""
        def talk(s):
            got = [s.recvfrom(2048)]
            for _ in range(251):
                s.sendto(*got[-1])
                got.append(s.recvfrom(2048))
            s.sendto(*got[0])
        r, o = self.speak(talk, "-n", 252, "-w", "300ms")
        self.assertEqual((o["messages"], o["lost"], o["errors"]), (251, 1, 0),
                         r)

    def test_wrong(self):
        for change in (lambda data: data[:-1], lambda data: data + b"x",
                       lambda data: b"?" + data[1:], lambda data: b"",
                       lambda data: data * 20):
            def talk(s, change=change):
                data, whom = s.recvfrom(2048)
                s.sendto(change(data), whom)
            r, _ = self.speak(talk, "-n", 5)
            self.assert_complains(r, "1 error: connection 1: a datagram came")

    def test_refused(self):
        with held_port() as port:
            r = bench("-u", "-n", 5, f"127.0.0.1:{port}")
        self.assert_complains(r, "connection refused")
        self.assertRegex(r.stdout, "(?m), 0 lost$")

    def test_at_a_rate(self):
        with served("echo", "udp://127.0.0.1:0") as address:
            o = self.json("--rate", 500, "-n", 100, "-c", 3, address)
        self.assertEqual((o["messages"], o["lost"]), (100, 0))
        self.assertGreaterEqual(o["seconds"], 0.19)

    def test_send(self):
        with served("discard", "udp://127.0.0.1:0") as address:
            o = self.json("--stream", "send", "-n", 100, address)
        self.assertEqual((o["messages"], o["size"]), (100, 1024))

    def test_requests(self):
        ask, tell = self.file("ask", b"marco"), self.file("tell", b"polo!!")
        with Peer(lambda data: b"polo!!" if data == b"marco" else b"?",
                  udp=True) as p:
            o = self.json("-u", "--request", ask, "--answer", tell, "-n", 20,
                          peer_address(p))
        self.assertEqual(o["messages"], 20)


class Rate(Case):
    def test_it_is_kept(self):
        with served("echo") as address:
            o = self.json("--rate", 400, "-t", "500ms", "-c", 7, address)
        self.assertEqual((o["mode"], o["messages"], o["unsent"]),
                         ("rate", 200, 0))
        self.assertGreaterEqual(o["seconds"], 0.49)

    def test_a_second_is_one_although_it_has_one_message(self):
        with served("echo") as address:
            o = self.json("--rate", 2, "-t", "1s", address)
            self.assertEqual((o["messages"], o["seconds"]), (2, 1))
            o = self.json("--rate", 20, "-n", 3, "-t", "5s", address)
            self.assertLess(o["seconds"], 4)

    def test_no_omission_is_coordinated(self):
        """Who waits behind one slow answer has waited as well."""
        def answer(n, data):
            if n == 50:
                time.sleep(0.4)
            return data
        with Peer(in_messages(answer)) as p:
            o = self.json("--rate", 200, "-n", 200, peer_address(p))
        # 80 of 200 were due during these 400 ms: a fifth waited half of it.
        self.assertGreater(o["latency_us"]["p90"], 200_000)
        self.assertGreaterEqual(o["latency_us"]["max"], 390_000)
        with Peer(in_messages(answer)) as p:
            o = self.json("-n", 200, peer_address(p))
        self.assertLess(o["latency_us"]["p90"], 200_000)

    def test_it_is_too_high(self):
        def slow(n, data):
            time.sleep(0.01)
            return data
        with Peer(in_messages(slow, 65536)) as p:
            r = bench("--rate", 100000, "-t", "300ms", "-s", "64k", "--json",
                      peer_address(p))
        self.assert_complains(r, "were due and not sent", status=0)
        o = json.loads(r.stdout)
        self.assertEqual(o["messages"] + o["unsent"], 30000)


class Ends(Case):
    def test_ctrl_c_reports(self):
        for number in signal.SIGINT, signal.SIGTERM:
            with served("echo") as address, \
                    Peer(echo) as peer:
                for to in address, peer_address(peer):
                    with Program(tool(), "bench", "-t", "1h", "-c", "3",
                                 "--threads", "2", to) as p:
                        wait_until(lambda: self.is_talking(p.pid), "a start")
                        p.signal(number)
                        self.assertEqual(p.wait(), 128 + number)
                        self.assertRegex(p.out, r"messages +\d+, \d+/s")

    @staticmethod
    def is_talking(pid):
        """Whether it has taken 50 ms of CPU: it is measuring by then."""
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
        fields = stat.rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12]) >= 5

    @staticmethod
    def sockets(pid):
        n = 0
        for fd in pathlib.Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                n += "socket" in os.readlink(fd)
        return n

    def test_ctrl_c_while_connecting(self):
        with silent_port() as port, \
                Program(tool(), "bench", "-w", "1h", f"127.0.0.1:{port}") as p:
            wait_until(lambda: self.sockets(p.pid) > 0, "a socket")
            p.signal(signal.SIGINT)
            self.assertEqual((p.wait(), p.out, p.err), (130, "", ""))

    def test_ctrl_c_at_any_moment(self):
        with served("echo") as address:
            for n in 1, 10, 50, 100, 150, 190, 200, 200, 200, 200:
                with Program(tool(), "bench", "-t", "1h", "-c", "200",
                             "--threads", "3", address) as p:
                    wait_until(lambda: self.sockets(p.pid) >= n, "sockets")
                    p.signal(signal.SIGINT)
                    self.assertEqual(p.wait(), 130)

    def test_ctrl_c_while_nothing_comes(self):
        done, asked = threading.Event(), threading.Event()

        def wait(sock):
            sock.recv(1)
            asked.set()
            done.wait(DEADLINE)
        for options in [], ["--rate", "10"], ["-s", "1M"], \
                ["--stream", "both"]:
            done.clear()
            asked.clear()
            with Peer(wait) as peer, \
                    Program(tool(), "bench", "-w", "1h", *options,
                            peer_address(peer)) as p:
                self.assertTrue(asked.wait(DEADLINE))
                p.signal(signal.SIGINT)
                self.assertEqual(p.wait(), 130)
                done.set()

    def test_output_that_cannot_be_written(self):
        with served("echo") as address, open("/dev/full", "w") as full:
            for options in [], ["--json"]:
                r = bench("-n", 5, *options, address, stdout=full)
                self.assert_complains(r, "standard output: no space")
            self.assert_complains(
                bench("-n", 5, "--hdr", "/dev/full", address),
                "/dev/full: no space")

    def test_what_is_told_before_the_run(self):
        gone = subprocess.Popen(["true"])
        gone.wait()
        with Peer(echo) as p:
            for options, reason in [
                    (["--hdr", self.dir / "no" / "f"], "no such file"),
                    (["--pid", gone.pid], "no such process")]:
                r = bench("-t", "1h", *options, peer_address(p))
                self.assert_complains(r, reason)
                self.assertEqual((r.stdout, r.stderr.count("\n")), ("", 1))

    def test_hdr_keeps_what_it_has_until_there_is_more(self):
        path = self.file("h", b"of before " * 10_000)
        with held_port() as port:
            bench("--hdr", path, f"127.0.0.1:{port}")
        self.assertEqual(path.stat().st_size, 100_000)
        with served("echo") as address:
            bench("-n", 5, "--hdr", path, address)
        self.assertNotIn("of before", path.read_text())


class Told(Case):
    def test_report(self):
        with served("echo") as address:
            r = bench("-n", 1000, "-c", 2, "-d", 3, address)
        lines = r.stdout.splitlines()
        time = r"\d+(\.\d+)? (us|ms|s)"
        self.assertRegex(lines[0], rf"^{address} -- pipelined 3, "
                         r"2 connections, 64 bytes, 1 thread, \d+\.\d\d s$")
        self.assertRegex(lines[1],
                         r"^  messages    1000, \d+/s, \d+(\.\d+)? .?B/s$")
        self.assertRegex(lines[2], r"^  latency     " + ", ".join(
            rf"{p} {time}" for p in PERCENTILES) + "$")
        self.assertRegex(lines[3],
                         rf"^  CPU         {time} each here, \d+% of a core$")
        for line in lines[4:]:
            self.assertRegex(
                line, rf"^  (<= *{time}|      more) +\d+\.\d+%( #+)?$")
            self.assertLessEqual(len(line), 80)
        shares = [float(re.search(r"([\d.]+)%", line)[1])
                  for line in lines[4:]]
        self.assertAlmostEqual(sum(shares), 100, 1)

    def test_a_core_that_is_full(self):
        """The generator shares it with the server, and neither has it all."""
        allowed = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(allowed)})
        try:
            with Program(tool(), "serve", "echo", "127.0.0.1:0") as p:
                r = bench("--json", "-t", "300ms", "-c", 20, "--pid", p.pid,
                          p.addresses()[0])
        finally:
            os.sched_setaffinity(0, allowed)
        o = json.loads(r.stdout)
        taken = o["messages_per_s"] / 1e6 * (
            o["cpu_us_per_message"] + o["server_cpu_us_per_message"])
        if abs(taken - 0.95) > 0.001:  # others may have taken some of it
            self.assertEqual(o["generator_limited"], taken > 0.95)
        if o["generator_limited"]:
            self.assert_complains(r, rf"this generator and pid {p.pid} took [\d.]+ of 1 core:",
                                  status=0)

    def test_server_cpu(self):
        with Program(tool(), "serve", "echo", "127.0.0.1:0") as p:
            o = self.json("-n", 2000, "--pid", p.pid, p.addresses()[0])
            self.assertGreater(o["server_cpu_us_per_message"], 0)
            r = bench("-n", 100, "--pid", p.pid, p.addresses()[0])
            self.assertRegex(r.stdout, rf"each of pid {p.pid}, \d+%")

    def test_server_that_ends(self):
        with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as server:
            def end(n, data):
                server.stdin.close()
                server.wait()
                return data
            with Peer(in_messages(end)) as p:
                r = bench("-n", 1, "--pid", server.pid, peer_address(p))
        self.assert_complains(r, rf"--pid {server.pid}: has ended", status=0)

    def test_hdr(self):
        path = self.dir / "h"
        with served("echo") as address:
            o = self.json("-n", 1000, "--hdr", path, address)
        text = path.read_text().splitlines()
        self.assertEqual(text[0].split(), ["Value", "Percentile", "TotalCount",
                                           "1/(1-Percentile)"])
        rows = [[float(x) for x in line.split()] for line in text[2:-3]]
        for column in zip(*[row[:3] for row in rows]):
            self.assertEqual(list(column), sorted(column))
        for row in rows[:-1]:
            self.assertAlmostEqual(row[3] * (1 - row[1]), 1, 1)
        self.assertEqual(rows[0][1], 0)
        self.assertEqual(rows[-1][1:], [1, 1000])
        self.assertAlmostEqual(rows[-1][0], o["latency_us"]["max"], 2)
        by_level = {row[1]: row[0] for row in rows}
        self.assertAlmostEqual(by_level[0.5], o["latency_us"]["p50"], 2)
        self.assertRegex(text[-3], r"^#\[Mean += +[\d.]+, StdDeviation += ")
        self.assertRegex(text[-2], r"^#\[Max += +[\d.]+, Total count += +1000")

    def test_compare(self):
        path = self.dir / "then"
        with served("echo") as address:
            o = self.json("-n", 500, address)
            o["messages_per_s"] = 1.0
            path.write_text(json.dumps(o))
            r = bench("-n", 500, "--compare", path, address)
            self.assertEqual((r.returncode, r.stderr), (0, ""))
            self.assertRegex(r.stdout, r"(?m)^ +then +now +difference$")
            self.assertRegex(
                r.stdout, r"(?m)^  messages_per_s +1\.00 +\d+\.\d\d "
                r"+\+\d+\.\d%$")
            for name in PERCENTILES:
                self.assertIn(f"  latency_us.{name} ", r.stdout)
            r = bench("-n", 500, "-c", 2, "--compare", path, address)
            self.assert_complains(r, "connections was 1 and is 2", status=0)

    def test_compare_with_what_is_none(self):
        for text in "", "{", "[]", "{}", "1", '{"messages_per_s":"x"}':
            path = self.file("then", text.encode())
            self.assert_complains(bench("--compare", path, "1"), "--compare")
        self.assert_complains(bench("--compare", self.dir / "no", "1"),
                              "--compare")

    def test_progress_is_for_terminals(self):
        with served("echo") as address:
            master, slave = pty.openpty()
            with subprocess.Popen(
                    [tool(), "bench", "-t", "700ms", address],
                    stdout=subprocess.PIPE, stderr=slave) as p:
                os.close(slave)
                seen = b""
                end = time.monotonic() + DEADLINE
                while time.monotonic() < end:
                    if not select.select([master], [], [], DEADLINE)[0]:
                        break
                    try:
                        seen += os.read(master, 4096)
                    except OSError:  # nobody has it open any more
                        break
                out = p.stdout.read().decode()
            os.close(master)
            self.assertEqual(p.returncode, 0)
            self.assertRegex(seen.decode(),
                             r"\r\x1b\[K0\.\d s, \d+ done, \d+/s")
            self.assertNotIn("done", out)
            r = bench("-t", "700ms", address)
            self.assertNotIn("\r", r.stdout + r.stderr)


class Misused(Case):
    def test_a_file_that_no_datagram_holds(self):
        r = bench("-u", "--request", self.file("f", bytes(65508)), "1")
        self.assert_complains(r, "--request .*65507", status=2)
        self.assertEqual((r.stdout, r.stderr.count("\n")), ("", 1))

    def test_options(self):
        for args, reason in [
                ([], "no address"),
                (["1", "2", "3"], "one address is enough"),
                (["-c", "0", "1"], "-c 0: "),
                (["-s", "0", "1"], "-s 0: "),
                (["-s", "2G", "1"], "-s 2G: "),
                (["-t", "0", "1"], "-t 0: "),
                (["--stream", "up", "1"], "send, recv or both"),
                (["-4", "-6", "1"], "-4 and -6"),
                (["--answer", "f", "--answer-size", "1", "1"], "one of them"),
                (["--request", "f", "-s", "1", "1"], "one of them"),
                (["--json", "--compare", "f", "1"], "one of them"),
                (["--rate", "1", "--depth", "2", "1"], "--rate"),
                (["--rate", "1", "--stream", "send", "1"], "--rate"),
                (["--connects", "--stream", "send", "1"], "--connects"),
                (["--connects", "-s", "5", "1"], "--connects"),
                (["--connects", "-u", "1"], "--connects"),
                (["--reset", "1"], "--reset"),
                (["--stream", "send", "-d", "2", "1"], "--depth"),
                (["--depth", "65537", "1"], "65536 at most"),
                (["--stream", "send", "--hdr", "f", "1"], "--hdr"),
                (["--stream", "both", "-u", "1"], "datagrams"),
                (["--stream", "send", "--answer", "f", "1"], "no answer"),
                (["--stream", "recv", "--request", "f", "1"], "no request"),
                (["-u", "-s", "64k", "1"], "65507"),
                (["tls://h:1"], "tls")]:
            r = bench(*args)
            self.assert_complains(r, re.escape(reason), status=2)
            self.assertEqual((r.stdout, r.stderr.count("\n")), ("", 1))


if __name__ == "__main__":
    unittest.main()
