#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Each example against an independent peer: Python's own sockets."""
import http.server
import pathlib
import re
import socket
import struct
import threading
import unittest

from support import (
    DEADLINE, OWN_NETWORK, Peer, Program, abort, acknowledge, connect, echo,
    example, held_port, needs_ipv6, needs_own_network, read_all, read_exactly,
    run, silent_port, wait_until)

ANY = "127.0.0.1:0"
SERVERS = ["caps-threads", "dual-stack", "echo-server", "messages-server",
           "share-port", "two-addresses", "udp-ack-server"]
CLIENTS = ["connect-deadline", "echo-client", "http-get", "messages-client",
           "port-check", "socket-options"]


def serve(name, *args):
    return Program(example(name), *(args or [ANY]))


def ask(port, data, host="127.0.0.1"):
    """All that a server says to DATA, from connect to the end."""
    with connect(port, host) as s:
        s.sendall(data)
        s.shutdown(socket.SHUT_WR)
        return read_all(s)


def hear(port, host="127.0.0.1"):
    """What a server says unasked."""
    with connect(port, host) as s:
        return read_all(s).decode(), s.getsockname()


class Case(unittest.TestCase):
    def assert_fails(self, name, *args, reason="", status=1):
        """One line on stderr, nothing on stdout, and not exit status 0."""
        r = run(example(name), *args)
        self.assertRegex(r.stderr, r"\A[^\n]*" + reason + r"[^\n]*\n\Z")
        self.assertTrue(r.stderr.startswith((name + ": ", "usage: " + name)),
                        r.stderr)
        self.assertEqual(r.returncode, status)
        return r

    def run_ok(self, name, *args):
        r = run(example(name), *args)
        self.assertEqual((r.returncode, r.stderr), (0, ""))
        return r.stdout


class Echo(Case):
    def test_server(self):
        data = bytes(range(256)) * 1000
        with serve("echo-server") as p:
            with connect(p.port) as s:
                s.sendall(b"one")
                self.assertEqual(read_exactly(s, 3), b"one")
                writer = threading.Thread(target=s.sendall, args=(data,))
                writer.start()
                self.assertEqual(read_exactly(s, len(data)), data)
                writer.join()
                s.shutdown(socket.SHUT_WR)
                self.assertEqual(read_all(s), b"")

    def test_server_many_at_once(self):
        with serve("echo-server") as p:
            clients = [connect(p.port) for _ in range(50)]
            try:
                for i, s in enumerate(clients):
                    s.sendall(b"client %d" % i)
                for i, s in enumerate(clients):
                    want = b"client %d" % i
                    self.assertEqual(read_exactly(s, len(want)), want)
            finally:
                for s in clients:
                    s.close()

    def test_client(self):
        text = "an answer longer than one buffer " * 1000
        with Peer(echo) as peer:
            out = self.run_ok("echo-client", f"127.0.0.1:{peer.port}", text)
        self.assertEqual(out, text + "\n")

    def test_client_prints_the_answer_not_the_question(self):
        def other(sock):
            sock.recv(100)
            sock.sendall(b"something else")

        with Peer(other) as peer:
            out = self.run_ok("echo-client", f"127.0.0.1:{peer.port}")
        self.assertEqual(out, "something else\n")

    @needs_ipv6
    def test_client_ipv6(self):
        with Peer(echo, ("::1", 0)) as peer:
            out = self.run_ok("echo-client", f"[::1]:{peer.port}", "six")
        self.assertEqual(out, "six\n")

    def test_with_each_other(self):
        with serve("echo-server") as p:
            out = self.run_ok("echo-client", f"127.0.0.1:{p.port}", "both")
        self.assertEqual(out, "both\n")


class Capitals(Case):
    def test_lines(self):
        with serve("caps-threads") as p:
            self.assertEqual(ask(p.port, b"hello\nWorld 1\n\n"),
                             b"HELLO\nWORLD 1\n\n")

    def test_answers_each_line_before_the_next(self):
        with serve("caps-threads") as p, connect(p.port) as s:
            for line in b"one\n", b"two\n":
                s.sendall(line)
                self.assertEqual(read_exactly(s, 4), line.upper())

    def test_a_thread_each(self):
        with serve("caps-threads") as p, connect(p.port) as a, \
                connect(p.port) as b:
            for s in a, b:
                s.sendall(b"x\n")
                self.assertEqual(read_exactly(s, 2), b"X\n")
            tasks = pathlib.Path(f"/proc/{p.pid}/task")
            self.assertGreaterEqual(len(list(tasks.iterdir())), 3)

    def test_cut_and_long_lines_are_reported(self):
        with serve("caps-threads") as p:
            self.assertEqual(ask(p.port, b"whole\ncut"), b"WHOLE\n")
            wait_until(lambda: "caps-threads: " in p.err, "the cut line")
            with connect(p.port) as s:
                s.sendall(b"x" * 2000)
                wait_until(lambda: p.err.count("caps-threads: ") == 2,
                           "the long line")
            self.assertEqual(ask(p.port, b"still\n"), b"STILL\n")


class Udp(Case):
    def test_server(self):
        with serve("udp-ack-server", "udp://" + ANY) as p, \
                socket.socket(type=socket.SOCK_DGRAM) as s:
            s.settimeout(DEADLINE)
            s.connect(("127.0.0.1", p.port))
            for data in b"hello", b"", b"\0\xff" * 700:
                s.send(data)
                self.assertEqual(s.recv(65536), b"ACK: " + data)

    def test_server_survives_what_it_cannot_answer(self):
        with serve("udp-ack-server", "udp://" + ANY) as p, \
                socket.socket(type=socket.SOCK_DGRAM) as s:
            s.settimeout(DEADLINE)
            s.connect(("127.0.0.1", p.port))
            s.send(b"x" * 65505)  # with ACK: more than a datagram holds
            s.send(b"next")
            self.assertEqual(s.recv(65536), b"ACK: next")
            wait_until(lambda: "udp-ack-server: " in p.err, "the complaint")

    def test_client(self):
        with Peer(acknowledge, udp=True) as peer:
            out = self.run_ok("udp-ack-client",
                              f"udp://127.0.0.1:{peer.port}", "hi there")
        self.assertEqual(out, "ACK: hi there\n")
        self.assertEqual(peer.received, [b"hi there"])

    def test_client_asks_again(self):
        def only_the_third(data):
            return b"third" if len(peer.received) == 3 else None

        with Peer(only_the_third, udp=True) as peer:
            out = self.run_ok("udp-ack-client",
                              f"udp://127.0.0.1:{peer.port}", "lost")
        self.assertEqual(out, "third\n")
        self.assertEqual(peer.received, [b"lost"] * 3)

    def test_client_gives_up(self):
        with Peer(lambda data: None, udp=True) as peer:
            self.assert_fails("udp-ack-client",
                              f"udp://127.0.0.1:{peer.port}",
                              reason="timed out")
        self.assertEqual(len(peer.received), 3)

    def test_client_refused(self):
        with socket.socket(type=socket.SOCK_DGRAM) as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        self.assert_fails("udp-ack-client", f"udp://127.0.0.1:{port}",
                          reason="refused")

    def test_a_stream_address_is_refused(self):
        self.assert_fails("udp-ack-client", "127.0.0.1:1")


class Page(http.server.BaseHTTPRequestHandler):
    BODY = b"<p>hello</p>\n" * 5000

    def do_GET(self):
        self.server.seen.append((self.path, self.headers["Host"]))
        self.send_response(200 if self.path == "/page" else 404)
        self.send_header("X-Long", "y" * 3000)
        self.end_headers()
        self.wfile.write(self.BODY)

    def log_message(self, *_):
        pass


class Http(Case):
    def setUp(self):
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
        self.server.seen = []
        self.host = f"127.0.0.1:{self.server.server_port}"
        thread = threading.Thread(target=self.server.serve_forever,
                                  args=(0.02,))
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)

    def test_page(self):
        r = run(example("http-get"), self.host, "/page")
        self.assertEqual(r.returncode, 0)
        self.assertEqual(r.stdout.encode(), Page.BODY)
        self.assertRegex(r.stderr, r"\AHTTP/1\.0 200 OK\s*\Z")
        self.assertEqual(self.server.seen, [("/page", self.host)])

    def test_other_status(self):
        r = run(example("http-get"), self.host)
        self.assertEqual(r.returncode, 1)
        self.assertIn(" 404 ", r.stderr)
        self.assertEqual(self.server.seen, [("/", self.host)])

    def test_long_path(self):
        self.assert_fails("http-get", self.host, "/" + "x" * 5000,
                          reason="too long")

    def test_cut_in_the_headers(self):
        def cut(sock):
            sock.recv(4096)
            sock.sendall(b"HTTP/1.0 200 OK\r\nServer: ")

        with Peer(cut) as peer:
            r = run(example("http-get"), f"127.0.0.1:{peer.port}")
        self.assertEqual((r.returncode, r.stdout), (1, ""))
        self.assertIn("http-get: ", r.stderr)


class Ports(Case):
    def test_check_open(self):
        with Peer(echo) as peer:
            out = self.run_ok("port-check", f"127.0.0.1:{peer.port}")
        self.assertRegex(
            out, rf"\A127\.0\.0\.1:{peer.port} is open \(\d+\.\d ms\)\n\Z")

    def test_check_closed(self):
        with held_port() as port:
            self.assert_fails("port-check", f"127.0.0.1:{port}",
                              reason=f":{port}: connection refused")

    def test_check_silent(self):
        with silent_port() as port:
            self.assert_fails("port-check", f"127.0.0.1:{port}", "50",
                              reason="timed out")

    def test_check_misused(self):
        self.assert_fails("port-check", status=2)
        self.assert_fails("port-check", "127.0.0.1:1", "soon", status=2)

    def test_scan(self):
        with Peer(echo) as a, Peer(echo) as b:
            first, last = sorted((a.port, b.port))
            found = self.scan(first, last)
        self.assertIn(first, found)
        self.assertIn(last, found)
        self.assertTrue(all(first <= port <= last for port in found))

    def test_scan_finds_nothing(self):
        with held_port() as port:
            self.assertEqual(self.scan(port, port), {})

    @needs_own_network
    def test_scan_has_no_ghosts(self):
        """No port is open only because the scanner itself was given it."""
        r = run(*OWN_NETWORK, example("port-scan"), "127.0.0.1:1", "65535")
        self.assertEqual((r.returncode, r.stdout, r.stderr), (0, "", ""))

    def scan(self, first, last):
        out = self.run_ok("port-scan", f"127.0.0.1:{first}", str(last))
        for line in out.splitlines():
            self.assertRegex(line, r"\A127\.0\.0\.1:\d+ \S+\Z")
        found = [line.rpartition(":")[2].split() for line in out.splitlines()]
        self.assertEqual(len({port for port, _ in found}), len(found))
        return {int(port): name for port, name in found}

    def test_scan_names_services(self):
        """On a port that /etc/services knows and nobody uses here."""
        for name in "mysql", "postgresql", "redis", "amqp", "radmin-port":
            try:
                port = socket.getservbyname(name, "tcp")
                peer = Peer(echo, ("127.0.0.1", port))
            except OSError:
                continue
            with peer:
                self.assertEqual(self.scan(port, port), {port: name})
            return
        self.skipTest("no named port is free")

    def test_scan_misused(self):
        for args in [], ["127.0.0.1:1"], ["127.0.0.1:1", "x"], \
                ["127.0.0.1:1", "65536"], ["127.0.0.1:65536", "2"]:
            self.assert_fails("port-scan", *args)


class Addresses(Case):
    @needs_ipv6
    def test_dual_stack(self):
        with serve("dual-stack", "[::]:0") as p:
            self.assertEqual(p.addresses(), [f"[::]:{p.port}"])
            said, own = hear(p.port)
            self.assertEqual(said,
                             f"127.0.0.1:{own[1]} on an IPv6 socket\n")
            said, own = hear(p.port, "::1")
            self.assertEqual(said, f"[::1]:{own[1]} on an IPv6 socket\n")

    def test_dual_stack_given_ipv4(self):
        with serve("dual-stack") as p:
            said, own = hear(p.port)
            self.assertEqual(said, f"127.0.0.1:{own[1]} on an IPv4 socket\n")

    @needs_ipv6
    def test_v6only_pair(self):
        with held_port("0.0.0.0", "::") as port, \
                serve("v6only-pair", str(port)) as p:
            self.assertEqual(p.addresses(2),
                             [f"0.0.0.0:{port}", f"[::]:{port}"])
            self.assertEqual(hear(port)[0], "the IPv4 socket\n")
            self.assertEqual(hear(port, "::1")[0], "the IPv6 socket\n")

    def test_v6only_pair_misused(self):
        self.assert_fails("v6only-pair", "65536")

    def test_two_addresses(self):
        with held_port("127.0.0.2", "127.0.0.3") as port:
            both = [f"127.0.0.2:{port}", f"127.0.0.3:{port}"]
            with serve("two-addresses", *both) as p:
                self.assertEqual(p.addresses(2), both)
                for host in "127.0.0.2", "127.0.0.3":
                    self.assertEqual(hear(port, host)[0],
                                     f"this is {host}:{port}\n")
                with self.assertRaises(ConnectionRefusedError):
                    connect(port, "127.0.0.1")

    def test_share_port(self):
        with serve("share-port") as a:
            with serve("share-port", f"127.0.0.1:{a.port}") as b:
                self.assertEqual(b.port, a.port)
                want = {f"process {p.pid}\n" for p in (a, b)}
                said = set()

                def both_answered():
                    said.add(hear(a.port)[0])
                    return said == want

                wait_until(both_answered, f"{want}, heard {said}")
            self.assertEqual(hear(a.port)[0], f"process {a.pid}\n")

    def test_share_port_with_one_that_does_not(self):
        with Peer(echo) as peer:
            self.assert_fails("share-port", f"127.0.0.1:{peer.port}",
                              reason="in use")


class Messages(Case):
    @staticmethod
    def pack(data):
        return struct.pack("!I", len(data)) + data

    @classmethod
    def unpack(cls, sock):
        return read_exactly(sock, *struct.unpack("!I", read_exactly(sock, 4)))

    def test_server(self):
        with serve("messages-server") as p, connect(p.port) as s:
            whole = b"".join(map(self.pack, [b"abc", b"", b"x" * 4095 + b"y"]))
            for byte in whole[:9]:  # a message is whole however it comes
                s.sendall(bytes([byte]))
            s.sendall(whole[9:])
            for want in b"cba", b"", b"y" + b"x" * 4095:
                self.assertEqual(self.unpack(s), want)

    def test_server_refuses_the_long_and_the_cut(self):
        with serve("messages-server") as p:
            for bad in struct.pack("!I", 4097), self.pack(b"abc")[:-1]:
                before = p.err.count("messages-server: ")
                self.assertEqual(ask(p.port, bad), b"")
                wait_until(lambda: p.err.count("messages-server: ") > before,
                           "the reason")
            self.assertEqual(ask(p.port, self.pack(b"ok")), self.pack(b"ko"))

    def test_client(self):
        def answer(sock):
            while True:
                got = self.unpack(sock)
                peer.received.append(got)
                sock.sendall(self.pack(got.title() * 2))

        with Peer(answer) as peer:
            out = self.run_ok("messages-client", f"127.0.0.1:{peer.port}",
                              "one", "two words", "")
        self.assertEqual(out, "OneOne\nTwo WordsTwo Words\n\n")
        self.assertEqual(peer.received, [b"one", b"two words", b""])

    def test_client_cut(self):
        def cut(sock):
            self.unpack(sock)
            sock.sendall(self.pack(b"answer")[:-1])

        with Peer(cut) as peer:
            self.assert_fails("messages-client", f"127.0.0.1:{peer.port}")

    def test_client_refuses_a_giant(self):
        def giant(sock):
            self.unpack(sock)
            sock.sendall(b"\xff\xff\xff\xff")

        with Peer(giant) as peer:
            self.assert_fails("messages-client", f"127.0.0.1:{peer.port}")


class Options(Case):
    def options(self, *args):
        with Peer(echo) as peer:
            out = self.run_ok("socket-options", f"127.0.0.1:{peer.port}",
                              *args)
        return {name: int(value) for name, value in
                (line.split() for line in out.splitlines())}

    def test_at_birth(self):
        got = self.options()
        with socket.socket() as plain:
            ttl = plain.getsockopt(socket.IPPROTO_IP, socket.IP_TTL)
        self.assertEqual(
            {name: got[name] for name in
             ("keepalive", "keepalive-idle", "nodelay", "ttl")},
            {"keepalive": 1, "keepalive-idle": 30, "nodelay": 1, "ttl": ttl})

    def test_set_is_what_python_gets(self):
        got = self.options("nodelay", "0", "ttl", "9", "sndbuf", "20000")
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 20000)
            sndbuf = s.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        self.assertEqual((got["nodelay"], got["ttl"], got["sndbuf"]),
                         (0, 9, sndbuf))

    def test_wrong(self):
        with Peer(echo) as peer:
            for args in ["colour", "1"], ["ttl", "256"]:
                self.assert_fails("socket-options",
                                  f"127.0.0.1:{peer.port}", *args,
                                  reason=args[0])


class Deadline(Case):
    def test_connected(self):
        with Peer(echo) as peer:
            out = self.run_ok("connect-deadline", f"127.0.0.1:{peer.port}")
        self.assertRegex(out, r"\Aconnected: yes, ticks: \d+\n\Z")

    def test_fibers_go_on(self):
        with silent_port() as port:
            r = run(example("connect-deadline"), f"127.0.0.1:{port}", "500")
        self.assertEqual(r.returncode, 1)
        self.assertRegex(r.stderr, rf"\Aconnect-deadline: .*{port}.*timed out")
        ticks = int(re.fullmatch(r"connected: no, ticks: (\d+)\n",
                                 r.stdout)[1])
        self.assertGreaterEqual(ticks, 2)
        self.assertLessEqual(ticks, 50)  # 10 ms each


class FourModes(Case):
    def test_echo_in_each(self):
        data = b"the same handler " * 5000
        for mode in "fibers", "one", "threads", "processes":
            with self.subTest(mode), serve("four-modes", mode, ANY) as p, \
                    connect(p.port) as s:
                writer = threading.Thread(target=s.sendall, args=(data,))
                writer.start()
                self.assertEqual(read_exactly(s, len(data)), data)
                writer.join()

    def test_second_client(self):
        """Served beside the first, but in "one", where it must wait."""
        for mode in "fibers", "one", "threads", "processes":
            with self.subTest(mode), serve("four-modes", mode, ANY) as p, \
                    connect(p.port) as a, connect(p.port) as b:
                a.sendall(b"a")
                self.assertEqual(read_exactly(a, 1), b"a")
                b.sendall(b"b")
                if mode == "one":
                    b.settimeout(0.2)
                    with self.assertRaises(TimeoutError):
                        b.recv(1)
                    b.settimeout(DEADLINE)
                    a.close()
                self.assertEqual(read_exactly(b, 1), b"b")

    def test_a_process_each(self):
        with serve("four-modes", "processes", ANY) as p, \
                connect(p.port) as a, connect(p.port) as b:
            for s in a, b:
                s.sendall(b"x")
                self.assertEqual(read_exactly(s, 1), b"x")
            self.assertEqual(len(p.children()), 2)
            a.close()
            wait_until(lambda: len(p.children()) == 1, "one to end")

    def test_misused(self):
        self.assert_fails("four-modes", status=2)
        self.assert_fails("four-modes", "sideways", ANY, status=2)


class WrongInput(Case):
    def test_bad_addresses(self):
        for name in SERVERS + CLIENTS + ["udp-ack-client"]:
            for bad in "127.0.0.1:65536", "127.0.0.1:-1", "nonsense://x:1", \
                    "[::1:80":
                with self.subTest(name, address=bad):
                    self.fails_on(name, bad)

    def fails_on(self, name, *args):
        r = run(example(name), *args)
        self.assertRegex(r.stderr, rf"\A{name}: [^\n]+\n\Z")
        self.assertNotEqual(r.returncode, 0)

    def test_port_in_use(self):
        with Peer(echo) as peer:
            for name in SERVERS:
                if not name.startswith("udp"):
                    with self.subTest(name):
                        self.assert_fails(name, f"127.0.0.1:{peer.port}",
                                          reason="in use")

    def test_udp_port_in_use(self):
        with Peer(acknowledge, udp=True) as peer:
            self.assert_fails("udp-ack-server",
                              f"udp://127.0.0.1:{peer.port}", reason="in use")

    def test_mode_and_port_in_use(self):
        with Peer(echo) as peer:
            for mode in "fibers", "one", "threads", "processes":
                self.assert_fails("four-modes", mode,
                                  f"127.0.0.1:{peer.port}", reason="in use")

    def test_not_our_address(self):
        for name in SERVERS:
            with self.subTest(name):
                proto = "udp://" if name.startswith("udp") else ""
                self.assert_fails(name, proto + "192.0.2.1:0")

    def test_refused(self):
        with held_port() as port:
            for name in CLIENTS:
                with self.subTest(name):
                    r = run(example(name), f"127.0.0.1:{port}")
                    self.assertNotEqual(r.returncode, 0)
                    self.assertRegex(
                        r.stderr, rf"\A{name}: [^\n]*:{port}: "
                        r"connection refused[^\n]*\n\Z")

    def test_reset(self):
        """A peer that resets in mid-talk."""
        def reset(sock):
            if name == "echo-client":
                read_all(sock)  # so that it is done with its own part
            else:
                sock.recv(1)
            abort(sock)

        for name in "echo-client", "http-get", "messages-client":
            with self.subTest(name), Peer(reset) as peer:
                self.assert_fails(name, f"127.0.0.1:{peer.port}",
                                  reason="reset")

    def test_a_reset_disturbs_nobody_else(self):
        for name in "echo-server", "caps-threads":
            with self.subTest(name), serve(name) as p, connect(p.port) as a:
                with connect(p.port) as b:
                    b.sendall(b"B\n")
                    self.assertEqual(read_exactly(b, 2), b"B\n")
                    abort(b)
                a.sendall(b"A\n")
                self.assertEqual(read_exactly(a, 2), b"A\n")


class Ends(Case):
    def test_on_sigterm(self):
        for name in SERVERS:
            with self.subTest(name), serve(
                    name, ("udp://" if name.startswith("udp") else "") + ANY
            ) as p:
                self.assertGreater(p.port, 0)
                p.process.terminate()
                self.assertEqual(p.wait(), -15)


if __name__ == "__main__":
    unittest.main()
