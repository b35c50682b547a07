#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""cleat who: which socket it says, how it says so, and what it refuses."""
import contextlib
import fcntl
import json
import os
import pathlib
import pty
import shutil
import socket
import struct
import subprocess
import tempfile
import termios
import unittest

import own_network
from own_network import inode
from support import DEADLINE, Program, read_all, run, silent_port, tool

KEYS = ["target", "proto", "address", "port", "answer", "receivers",
        "shadowed", "explanation"]
SOCKET_KEYS = ["proto", "family", "address", "port", "state", "v6only",
               "device", "inode", "uid", "user", "peer", "queue",
               "reuseport_group", "owners"]
ME = pathlib.Path("/proc/self/comm").read_text().strip()
SHARED = [socket.SO_REUSEPORT]


def who(*args, **options):
    return run(tool(), "who", *args, **options)


def answers(*args, status=0):
    """The objects of --json."""
    r = who("--json", *args)
    if r.returncode != status:
        raise AssertionError(r)
    return [json.loads(line) for line in r.stdout.splitlines()]


def answer(*args, status=0):
    found = answers(*args, status=status)
    if len(found) != 1:
        raise AssertionError(found)
    return found[0]


class Case(own_network.Case):
    def assert_receives(self, a, *sockets):
        self.assertEqual({s["inode"] for s in a["receivers"]},
                         {inode(s) for s in sockets}, a)
        self.assertEqual(a["answer"],
                         "one" if len(sockets) == 1 else "any-of")

    def assert_shadows(self, a, *sockets):
        self.assertEqual([s["inode"] for s in a["shadowed"]],
                         [inode(s) for s in sockets], a)

    def line(self, s, local):
        return f"{ME} (pid {os.getpid()}, fd {s.fileno()}) {local}"


class Answers(Case):
    def test_the_one_that_listens(self):
        s, port = self.bound("127.0.0.1")
        r = who(f"127.0.0.1:{port}")
        self.assertEqual(r.returncode, 0, r)
        self.assertEqual(r.stdout.splitlines()[0], f"127.0.0.1:{port} -- " +
                         self.line(s, f"listening on 127.0.0.1:{port}"))
        self.assertGreater(len(r.stdout.splitlines()), 1)
        self.assertEqual(r.stderr, "")

    def test_json(self):
        s, port = self.bound("127.0.0.1")
        s.listen(7)
        a = answer(f"127.0.0.1:{port}")
        self.assertEqual(list(a), KEYS)
        self.assertEqual(list(a["receivers"][0]), SOCKET_KEYS)
        explanation = a.pop("explanation")
        self.assertGreater(len(explanation), 20)
        self.assertNotIn("\n", explanation)
        self.assertEqual(a, {
            "target": f"127.0.0.1:{port}", "proto": "tcp",
            "address": "127.0.0.1", "port": port, "answer": "one",
            "receivers": [{
                "proto": "tcp", "family": "ipv4", "address": "127.0.0.1",
                "port": port, "state": "listen", "v6only": None,
                "device": None, "inode": inode(s), "uid": os.getuid(),
                "user": a["receivers"][0]["user"], "peer": None,
                "queue": {"used": 0, "max": 7}, "reuseport_group": None,
                "owners": [{"pid": os.getpid(), "fd": s.fileno(),
                            "command": ME}]}],
            "shadowed": []})

    def test_a_bound_address_goes_before_the_wildcard(self):
        every, port = self.bound("0.0.0.0", options=SHARED)
        one, _ = self.bound("127.0.0.1", port, options=SHARED)
        a = answer(f"127.0.0.1:{port}")
        self.assert_receives(a, one)
        self.assert_shadows(a, every)
        self.assert_receives(answer(f"127.0.0.2:{port}"), every)
        r = who(f"127.0.0.1:{port}")
        self.assertIn("    shadowed: " +
                      self.line(every, f"listening on 0.0.0.0:{port}"),
                      r.stdout.splitlines())

    def test_ipv4_goes_before_dual_stack(self):
        both, port = self.bound("::", options=SHARED, v6only=False)
        ipv4, _ = self.bound("0.0.0.0", port, options=SHARED)
        a = answer(f"127.0.0.1:{port}")
        self.assert_receives(a, ipv4)
        self.assert_shadows(a, both)
        self.assert_receives(answer(f"[::1]:{port}"), both)

    def test_dual_stack_stands_for_ipv4(self):
        both, port = self.bound("::", v6only=False)
        r = who(f"127.0.0.1:{port}")
        self.assertIn(f"listening on [::]:{port} (and 0.0.0.0)", r.stdout)
        self.assert_receives(answer(f"127.0.0.1:{port}"), both)

    def test_v6only_does_not(self):
        ipv6, port = self.bound("::", v6only=True)
        self.assertEqual(
            answer(f"127.0.0.1:{port}", status=1)["answer"], "refused")
        self.assert_receives(answer(f"[::1]:{port}"), ipv6)

    def test_a_group_is_any_of_them(self):
        a, port = self.bound("127.0.0.1", options=SHARED)
        others = [self.bound("127.0.0.1", port, options=SHARED)[0]
                  for _ in range(2)]
        self.assert_receives(answer(f"127.0.0.1:{port}"), a, *others)
        r = who(f"127.0.0.1:{port}")
        lines = r.stdout.splitlines()
        self.assertEqual(lines[0], f"127.0.0.1:{port} -- {ME} (pid "
                         f"{os.getpid()}), on any of 3 sockets")
        self.assertEqual(r.stdout.count("    one of them: "), 3)

    def test_a_bound_device_goes_before_none(self):
        plain, port = self.bound("0.0.0.0", options=SHARED)
        bound, _ = self.bound("0.0.0.0", port, options=SHARED, device="lo")
        a = answer("--device", "lo", f"127.0.0.1:{port}")
        self.assert_receives(a, bound)
        self.assert_shadows(a, plain)
        self.assertEqual(a["receivers"][0]["device"], "lo")

    def test_a_connection_goes_before_its_listener(self):
        listener, port = self.bound("127.0.0.1")
        client = self.enterContext(
            socket.create_connection(("127.0.0.1", port)))
        server = self.enterContext(listener.accept()[0])
        source = "%s:%d" % client.getsockname()
        a = answer("--from", source, f"127.0.0.1:{port}")
        self.assert_receives(a, server)
        self.assertEqual(a["receivers"][0]["state"], "established")
        self.assertEqual(a["receivers"][0]["peer"],
                         {"address": "127.0.0.1",
                          "port": client.getsockname()[1]})
        r = who("--from", source, f"127.0.0.1:{port}")
        self.assertIn(f"on 127.0.0.1:{port}, connected to {source}", r.stdout)
        self.assert_receives(answer(f"127.0.0.1:{port}"), listener)
        self.assert_receives(
            answer("--from", "127.0.0.1", f"127.0.0.1:{port}"), listener)

    def test_udp(self):
        s, port = self.udp("127.0.0.1")
        r = who("-u", f"127.0.0.1:{port}")
        self.assertEqual(r.stdout.splitlines()[0],
                         f"udp://127.0.0.1:{port} -- " +
                         self.line(s, f"bound to 127.0.0.1:{port}"))
        a = answer(f"udp://127.0.0.1:{port}")
        self.assertEqual(a["proto"], "udp")
        self.assert_receives(a, s)
        self.assertEqual(
            answer(f"127.0.0.1:{port}", status=1)["answer"], "refused")

    def test_a_connected_udp_socket_hears_its_peer_alone(self):
        server, port = self.udp("127.0.0.1")
        peer, peer_port = self.udp("127.0.0.1")
        server.connect(("127.0.0.1", peer_port))
        source = f"127.0.0.1:{peer_port}"
        self.assert_receives(
            answer("-u", "--from", source, f"127.0.0.1:{port}"), server)
        self.assertEqual(
            answer("-u", "--from", f"127.0.0.2:{peer_port}",
                   f"127.0.0.1:{port}", status=1)["answer"], "refused")

    def test_peers_have_the_ports_it_might_ask_from(self):
        shared = [socket.SO_REUSEADDR]
        server, port = self.udp("127.0.0.1", options=shared)
        for i in range(100):
            s, _ = self.udp("127.0.0.1", port, options=shared)
            s.connect(("127.0.0.1", 32768 + i * 7919 % 28232))
        self.assert_receives(answer(f"udp://127.0.0.1:{port}"), server)

    def test_nobody(self):
        _, port = self.bound("127.0.0.1", listen=False)
        r = who(f"127.0.0.1:{port}")
        self.assertEqual(r.returncode, 1)
        self.assertEqual(r.stdout.splitlines()[0],
                         f"127.0.0.1:{port} -- REFUSED")
        a = answer(f"127.0.0.1:{port}", status=1)
        self.assertEqual((a["answer"], a["receivers"], a["shadowed"]),
                         ("refused", [], []))

    def test_a_full_queue(self):
        with silent_port() as port:
            r = who(f"127.0.0.1:{port}")
            self.assertEqual(r.returncode, 1)
            self.assertIn(f"127.0.0.1:{port} -- DROPPED by {ME} (pid ",
                          r.stdout)
            a = answer(f"127.0.0.1:{port}", status=1)
            self.assertEqual(a["answer"], "dropped")
            self.assertEqual(len(a["receivers"]), 1)

    def test_an_address_of_another_machine(self):
        a = answer("192.0.2.1:80", status=1)
        self.assertEqual((a["answer"], a["receivers"]), ("unreachable", []))
        self.assertTrue(who("192.0.2.1:80").stdout.startswith(
            "192.0.2.1:80 -- UNREACHABLE\n"))


class Addresses(Case):
    def test_both_loopbacks_in_one_process(self):
        ipv4, port = self.bound("127.0.0.1")
        ipv6, _ = self.bound("::1", port)
        found = answers(str(port))
        self.assertEqual([a["address"] for a in found], ["127.0.0.1", "::1"])
        self.assert_receives(found[0], ipv4)
        self.assert_receives(found[1], ipv6)
        self.assertNotIn("different", who(str(port)).stdout)

    def test_both_loopbacks_in_two(self):
        _, port = self.bound("127.0.0.1")
        with Program(tool(), "serve", "echo", f"[::1]:{port}") as p:
            p.addresses()
            r = who(str(port))
            self.assertEqual(r.returncode, 0)
            self.assertEqual(
                r.stdout.splitlines()[-1], f"127.0.0.1:{port} and "
                f"[::1]:{port} go to different processes")
            self.assertIn(f"cleat (pid {p.pid}", r.stdout)
            self.assertNotIn("different", who("-4", str(port)).stdout)

    def child(self, *at):
        """Another process that listens at these, and shares their ports."""
        code = ("import socket, time\n"
                f"for host, port in {at!r}:\n"
                "    six = ':' in host\n"
                "    s = socket.socket(10 if six else 2)\n"
                "    s.setsockopt(1, socket.SO_REUSEPORT, 1)\n"
                "    s.bind((host, port))\n"
                "    s.listen()\n"
                "    globals()[host] = s\n"
                f"print('listening on x:{at[0][1]}', flush=True)\n"
                f"time.sleep({DEADLINE})\n")
        p = self.enterContext(Program("python3", "-c", code))
        p.addresses()
        return p

    def test_a_group_that_has_the_same_process(self):
        """Whichever of the group is told first."""
        _, port = self.bound("127.0.0.1", options=SHARED)
        self.child(("127.0.0.1", port), ("::1", port))
        self.assertNotIn("different", who(str(port)).stdout)
        _, port = self.bound("127.0.0.1", options=SHARED)
        self.child(("127.0.0.1", port))
        self.bound("::1", port, options=SHARED)
        self.assertNotIn("different", who(str(port)).stdout)

    def test_groups_that_have_none_in_common(self):
        _, port = self.bound("127.0.0.1", options=SHARED)
        self.bound("127.0.0.1", port, options=SHARED)
        self.child(("::1", port))
        self.assertIn("go to different processes", who(str(port)).stdout)

    def test_any_two_addresses(self):
        """The first is nobody's."""
        run("ip", "address", "add", "10.9.8.7/32", "dev", "lo")
        self.addCleanup(run, "ip", "address", "del", "10.9.8.7/32", "dev",
                        "lo")
        _, port = self.bound("10.9.8.7")
        self.child(("::1", port))
        self.assertEqual(
            who(f":{port}").stdout.splitlines()[-1], f"10.9.8.7:{port} and "
            f"[::1]:{port} go to different processes")

    def test_one_loopback_is_enough(self):
        _, port = self.bound("::1")
        found = answers(str(port))
        self.assertEqual([a["answer"] for a in found], ["refused", "one"])

    def test_versions(self):
        _, port = self.bound("::", v6only=False)
        for option, address in ("-4", "127.0.0.1"), ("-6", "::1"):
            self.assertEqual(answer(option, str(port))["address"], address)

    def test_every_address_of_this_machine(self):
        run("ip", "address", "add", "10.9.8.7/32", "dev", "lo")
        self.addCleanup(run, "ip", "address", "del", "10.9.8.7/32", "dev",
                        "lo")
        _, port = self.bound("10.9.8.7")
        want = {"127.0.0.1": "refused", "10.9.8.7": "one", "::1": "refused"}
        for text, less in ((f":{port}", ()), (f"[::]:{port}", ()),
                           (f"0.0.0.0:{port}", ("::1",))):
            with self.subTest(text):
                self.assertEqual(
                    {a["address"]: a["answer"] for a in answers(text)},
                    {k: v for k, v in want.items() if k not in less})
        self.assertEqual(
            [a["address"] for a in answers(f"tcp6://[::]:{port}", status=1)],
            ["::1"])

    def test_a_name(self):
        ipv4, port = self.bound("127.0.0.1")
        found = answers("-4", f"localhost:{port}")
        self.assertEqual(found[0]["target"], f"tcp4://localhost:{port}")
        self.assert_receives(found[0], ipv4)

    def test_two_words(self):
        ipv6, port = self.bound("::1")
        self.assert_receives(answer("::1", str(port)), ipv6)

    def test_no_such_name(self):
        r = who("example.invalid:80")
        self.assertEqual((r.returncode, r.stdout), (1, ""))
        self.assertRegex(r.stderr, r"^cleat who: look up example\.invalid: "
                         r"[^\n]+\n$")


class Unix(Case):
    def setUp(self):
        self.dir = self.enterContext(tempfile.TemporaryDirectory())
        self.path = os.path.join(self.dir, "sock")

    def listener(self, path, kind=socket.SOCK_STREAM):
        s = self.enterContext(socket.socket(socket.AF_UNIX, kind))
        s.bind(path)
        if kind != socket.SOCK_DGRAM:
            s.listen(5)
        return s

    def test_a_path(self):
        s = self.listener(self.path)
        a = answer(f"unix:{self.path}")
        self.assertEqual(list(a), KEYS)
        self.assert_receives(a, s)
        self.assertEqual((a["address"], a["port"], a["proto"]),
                         (self.path, None, "unix"))
        self.assertIn(self.line(s, f"listening on {self.path}"),
                      who(f"unix:{self.path}").stdout)

    def test_another_way_to_it(self):
        old = os.getcwd()
        self.addCleanup(os.chdir, old)
        os.chdir(self.dir)
        s = self.listener("sock")
        os.symlink(self.dir, os.path.join(self.dir, "way"))
        self.assert_receives(answer(f"unix:{self.dir}/way/sock"), s)

    def test_the_last_of_two(self):
        self.listener(self.path)
        os.unlink(self.path)
        s = self.listener(self.path)
        self.assert_receives(answer(f"unix:{self.path}"), s)

    def test_a_file_that_was_renamed(self):
        s = self.listener(self.path)
        os.rename(self.path, self.path + "2")
        self.assert_receives(answer(f"unix:{self.path}2"), s)

    def test_a_relative_path_of_another_directory(self):
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.dir)
        s = self.listener("sock")
        os.chdir("/")
        self.assert_receives(answer(f"unix:{self.path}"), s)

    def test_the_name_that_another_has_taken(self):
        """The one whose file it is, whatever order they were made in."""
        new = self.enterContext(socket.socket(socket.AF_UNIX))
        self.listener(self.path)
        os.unlink(self.path)
        new.bind(self.path)
        new.listen()
        self.assert_receives(answer(f"unix:{self.path}"), new)

    @unittest.skipUnless(own_network.can_be_nobody(),
                         "cannot be another user")
    def test_somebody_elses(self):
        os.chmod(self.dir, 0o755)
        self.listener(self.path)
        copy = shutil.copy(tool(), os.path.join(self.dir, "cleat"))
        r = run(*own_network.AS_NOBODY, copy, "who", f"unix:{self.path}")
        self.assertEqual(
            r.stdout.splitlines()[0], f"unix:{self.path} -- an unseen "
            f"process of root listening on {self.path}")

    def test_an_abstract_name(self):
        name = f"who-{os.getpid()}"
        s = self.listener("\0" + name)
        self.assert_receives(answer(f"unix:@{name}"), s)
        self.assertEqual(answer(f"unix:@{name}x", status=1)["answer"],
                         "refused")

    def test_datagrams(self):
        s = self.listener(self.path, socket.SOCK_DGRAM)
        for args in ((f"unixgram:{self.path}",), ("-u", f"unix:{self.path}")):
            self.assert_receives(answer(*args), s)
        a = answer(f"unix:{self.path}", status=1)
        self.assertIn("datagrams", a["explanation"])

    def test_what_was_left_behind(self):
        self.listener(self.path).close()
        a = answer(f"unix:{self.path}", status=1)
        self.assertEqual(a["answer"], "refused")
        self.assertIn("left", a["explanation"])

    def test_no_socket(self):
        self.assertIn("no such file",
                      answer(f"unix:{self.path}", status=1)["explanation"])
        pathlib.Path(self.path).touch()
        self.assertIn("not a socket",
                      answer(f"unix:{self.path}", status=1)["explanation"])


class Misuse(Case):
    def test_bad_input(self):
        for args, message in (
                ((), "no address; write cleat who HOST:PORT"),
                (("80", "81", "82"), "81: one address is enough"),
                (("127.0.0.1:x:y",), "address 127.0.0.1:x:y: "),
                (("127.0.0.1:0",), "127.0.0.1:0: nothing is sent to port 0"),
                (("127.255.255.255:80",), "127.255.255.255:80: broadcast"),
                (("--device", "none0", "80"),
                 "--device none0: no such network interface"),
                (("--from", "1:2:3", "80"), "--from 1:2:3: "),
                (("--from", "::1", "127.0.0.1:80"),
                 "--from ::1: of another kind than 127.0.0.1:80"),
                (("--from", "unix:/x", "127.0.0.1:80"),
                 "--from unix:/x: a unix address; write HOST or HOST:PORT"),
                (("--from", "::1", "unix:/x"), "unix:/x: neither --from"),
                (("-4", "-6", "80"), "-4 and -6: write one of them"),
                (("--from",), "--from: needs a value: ADDR"),
                (("--nope", "80"), "--nope: no such option"),
                (("tls://x:1",), "tls://x:1: tls is not supported yet")):
            with self.subTest(args):
                r = who(*args)
                self.assertEqual((r.returncode, r.stdout), (2, ""), r)
                self.assertTrue(
                    r.stderr.startswith("cleat who: " + message), r)
                self.assertEqual(r.stderr.count("\n"), 1, r)

    def test_stdout_that_cannot_be_written(self):
        _, port = self.bound("127.0.0.1")
        for to in ">/dev/full", ">&-":
            for option in "--json", "-4":
                r = run("sh", "-c", f'exec "$@" {to}', "sh", tool(), "who",
                        option, f"127.0.0.1:{port}")
                self.assertEqual(r.returncode, 1, r)
                self.assertRegex(r.stderr,
                                 r"^cleat who: standard output: [^\n]+\n$")


class Sight(Case):
    def test_a_terminal_is_not_run_over(self):
        _, port = self.bound("0.0.0.0", options=SHARED)
        self.bound("127.0.0.1", port, options=SHARED)
        for width in 10, 20, 50, 60, 200:
            ours, its = pty.openpty()
            fcntl.ioctl(its, termios.TIOCSWINSZ,
                        struct.pack("4H", 24, width, 0, 0))
            with Program(tool(), "who", f"127.0.0.1:{port}") as p:
                p.wait()  # to be compared with: 80 columns
            done = subprocess.run([tool(), "who", f"127.0.0.1:{port}"],
                                  stdout=its, timeout=DEADLINE)
            os.close(its)
            with open(ours, "rb", buffering=0) as f:
                text = b""
                with contextlib.suppress(OSError):  # EIO is its end
                    while chunk := f.read(65536):
                        text += chunk
            lines = text.decode().replace("\r\n", "\n").splitlines()
            self.assertEqual(done.returncode, 0)
            between = "" if width < 40 else " "  # words are broken
            self.assertEqual(between.join(" ".join(lines).split()),
                             between.join(p.out.split()))
            for line in lines[1:]:  # the first is the answer, whole
                self.assertLessEqual(len(line), width)

    @unittest.skipUnless(own_network.can_be_nobody(),
                         "cannot be another user")
    def test_somebody_elses_socket(self):
        s, port = self.bound("127.0.0.1")
        with tempfile.TemporaryDirectory() as d:
            os.chmod(d, 0o755)
            copy = shutil.copy(tool(), os.path.join(d, "cleat"))
            as_nobody = [*own_network.AS_NOBODY, copy, "who",
                         f"127.0.0.1:{port}"]
            r = run(*as_nobody)
            self.assertEqual(r.returncode, 0, r)
            self.assertEqual(
                r.stdout.splitlines()[0], f"127.0.0.1:{port} -- an unseen "
                f"process of root listening on 127.0.0.1:{port}")
            a = json.loads(run(*as_nobody, "--json").stdout)
            self.assertEqual(a["receivers"][0]["owners"], [])

    def test_a_name_that_would_harm_a_terminal(self):
        name = b"x \x1b[2J\ny"
        child = (f"import socket, time\n"
                 f"open('/proc/self/comm', 'wb').write({name!r})\n"
                 f"s = socket.create_server(('127.0.0.1', 0))\n"
                 f"print('listening on x:%d' % s.getsockname()[1],"
                 f" flush=True)\n"
                 f"time.sleep({DEADLINE})\n")
        with Program("python3", "-c", child) as p:
            r = who(f"127.0.0.1:{p.port}")
            self.assertIn(r"x \x1b[2J\x0ay (pid", r.stdout.splitlines()[0])
            self.assertNotIn("\x1b", r.stdout)
            a = answer(f"127.0.0.1:{p.port}")
            self.assertIn("x ", a["receivers"][0]["owners"][0]["command"])


if __name__ == "__main__":
    own_network.main()
