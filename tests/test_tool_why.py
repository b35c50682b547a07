#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""cleat why: what it says is in the way of a bind; and that cleat serve and
cleat listen say it too."""
import json
import os
import pathlib
import re
import shutil
import socket
import tempfile
import time
import unittest

import own_network
from own_network import inode
from support import DEADLINE, Program, run, tool, wait_until

KEYS = ["target", "proto", "address", "port", "can_bind", "error", "with",
        "blockers", "advice"]
ME = pathlib.Path("/proc/self/comm").read_text().strip()
KERNEL = tuple(int(n) for n in re.findall(r"\d+", os.uname().release)[:2])
LISTS_BOUND = KERNEL >= (6, 8)

NEVER = dict(none=False, reuseaddr=False, reuseport=False, both=False)
ALWAYS = dict(none=True, reuseaddr=True, reuseport=True, both=True)
BY_REUSEADDR = dict(none=False, reuseaddr=True, reuseport=False, both=True)
BY_REUSEPORT = dict(none=False, reuseaddr=False, reuseport=True, both=True)


def why(*args, **options):
    return run(tool(), "why", *args, **options)


def verdicts(*args, status=1):
    """The objects of --json."""
    r = why("--json", *args)
    if r.returncode != status:
        raise AssertionError(r)
    return [json.loads(line) for line in r.stdout.splitlines()]


def verdict(*args, status=1):
    found = verdicts(*args, status=status)
    if len(found) != 1:
        raise AssertionError(found)
    return found[0]


class Case(own_network.Case):
    def free_port(self):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            return s.getsockname()[1]

    def assert_blocked(self, v, error, options, *blockers):
        self.assertEqual((v["can_bind"], v["error"], v["with"]),
                         (False, error, options), v)
        self.assertEqual({b["inode"] for b in v["blockers"]},
                         {inode(s) for s in blockers}, v)
        self.assertTrue(v["advice"], v)

    def assert_free(self, *args):
        for v in verdicts(*args, status=0):
            self.assertEqual((v["can_bind"], v["error"], v["with"],
                              v["blockers"]), (True, None, ALWAYS, []), v)


class Tcp(Case):
    def test_a_free_port(self):
        port = self.free_port()
        self.assert_free(f"127.0.0.1:{port}")
        r = why(f"127.0.0.1:{port}")
        self.assertEqual((r.returncode, r.stdout, r.stderr),
                         (0, f"127.0.0.1:{port} -- can be bound\n", ""))
        self.assert_free("127.0.0.1:0")

    def test_a_listener(self):
        s, port = self.bound("127.0.0.1")
        r = why(f"127.0.0.1:{port}")
        self.assertEqual((r.returncode, r.stderr), (1, ""))
        lines = r.stdout.splitlines()
        self.assertEqual(lines[0], f"127.0.0.1:{port} -- CANNOT BIND "
                         "(address already in use)")
        self.assertIn(f"{ME} (pid {os.getpid()}", lines[1])
        self.assertIn("    no option  SO_REUSEADDR  SO_REUSEPORT  both", lines)
        self.assertIn("    no         no            no            no", lines)
        self.assertIn(f"    in the way: {ME} (pid {os.getpid()}, fd "
                      f"{s.fileno()}) listening on 127.0.0.1:{port}", lines)
        self.assertRegex(lines[-1], "^    (try:|     ) ")
        self.assert_free(f"127.0.0.2:{port}", )
        self.assert_free(f"[::1]:{port}")
        self.assert_free("-u", f"127.0.0.1:{port}")

    def test_json(self):
        s, port = self.bound("127.0.0.1")
        v = verdict(f"127.0.0.1:{port}")
        self.assertEqual(list(v), KEYS)
        self.assert_blocked(v, "EADDRINUSE", NEVER, s)
        self.assertEqual((v["target"], v["proto"], v["address"], v["port"]),
                         (f"127.0.0.1:{port}", "tcp", "127.0.0.1", port))
        self.assertEqual(list(v["with"]),
                         ["none", "reuseaddr", "reuseport", "both"])
        self.assertEqual(v["blockers"][0]["owners"], [
            {"pid": os.getpid(), "fd": s.fileno(), "command": ME}])

    def test_dual_stack_is_in_the_way_of_ipv4(self):
        s, port = self.bound("::", v6only=False)
        self.assert_blocked(verdict(f"127.0.0.1:{port}"), "EADDRINUSE", NEVER,
                            s)
        self.assertIn(f"listening on [::]:{port} (and 0.0.0.0)",
                      why(f"127.0.0.1:{port}").stdout)

    def test_ipv4_is_in_the_way_of_dual_stack(self):
        s, port = self.bound("0.0.0.0")
        for text in f":{port}", f"*:{port}", f"[::]:{port}":
            self.assert_blocked(verdict(text), "EADDRINUSE", NEVER, s)
        self.assert_free(f"tcp6://[::]:{port}")
        self.assert_free("-6", f":{port}")

    def test_a_wildcard_is_in_the_way_of_an_address(self):
        s, port = self.bound("0.0.0.0")
        self.assert_blocked(verdict(f"127.0.0.1:{port}"), "EADDRINUSE", NEVER,
                            s)

    def test_what_is_bound_and_does_not_listen(self):
        s, port = self.bound("127.0.0.1", listen=False)
        v = verdict(f"127.0.0.1:{port}")
        self.assert_blocked(v, "EADDRINUSE", NEVER,
                            *((s,) if LISTS_BOUND else ()))

    def test_reuseaddr_of_both_where_none_listens(self):
        s, port = self.bound("127.0.0.1", listen=False,
                             options=[socket.SO_REUSEADDR])
        v = verdict(f"127.0.0.1:{port}")
        self.assert_blocked(v, "EADDRINUSE", BY_REUSEADDR,
                            *((s,) if LISTS_BOUND else ()))

    def test_reuseport_of_both(self):
        s, port = self.bound("127.0.0.1", options=[socket.SO_REUSEPORT])
        self.assert_blocked(verdict(f"127.0.0.1:{port}"), "EADDRINUSE",
                            BY_REUSEPORT, s)

    def connection(self, **options):
        """A connection, its client first, whose listener is gone."""
        listener, port = self.bound("127.0.0.1", **options)
        client = self.enterContext(
            socket.create_connection(("127.0.0.1", port)))
        server = self.enterContext(listener.accept()[0])
        listener.close()
        return client, server, port

    def test_a_connection(self):
        client, server, port = self.connection()
        v = verdict(f"127.0.0.1:{port}")
        self.assertEqual((v["error"], v["can_bind"]), ("EADDRINUSE", False))
        self.assertIn(inode(server), [b["inode"] for b in v["blockers"]])
        self.assertIn("connected to", why(f"127.0.0.1:{port}").stdout)

    def time_wait(self, **options):
        client, server, port = self.connection(**options)
        server.close()  # who closes first waits
        client.recv(1)
        client.close()
        return port, wait_until(
            lambda: next((v for v in verdicts(f"127.0.0.1:{port}")
                          if v["blockers"][0]["state"] == "time-wait"), None),
            "TIME-WAIT")

    def test_time_wait(self):
        port, v = self.time_wait(options=[socket.SO_REUSEADDR])
        self.assertEqual((v["error"], v["with"]), ("EADDRINUSE", BY_REUSEADDR))
        self.assertEqual(v["blockers"][0]["owners"], [])
        self.assertEqual(v["blockers"][0]["inode"], 0)
        text = " ".join(why(f"127.0.0.1:{port}").stdout.split())
        left = re.search(r"in time-wait with \S+ for (\d+) s", text)
        self.assertTrue(left, text)
        self.assertTrue(0 < int(left[1]) <= 60, text)
        self.assertIn("SO_REUSEADDR", " ".join(v["advice"]))
        self.assertRegex(" ".join(v["advice"]), r"wait \d+ s")

    def test_time_wait_of_a_server_without_reuseaddr(self):
        port, v = self.time_wait()
        self.assertEqual((v["error"], v["with"]), ("EADDRINUSE", NEVER))
        self.assertRegex(" ".join(v["advice"]), r"wait \d+ s")

    def test_an_ephemeral_port(self):
        listener, port = self.bound("127.0.0.1", 8080)  # which is not one
        client = self.enterContext(
            socket.create_connection(("127.0.0.1", port)))
        taken = client.getsockname()[1]
        v = verdict(f"127.0.0.1:{taken}")
        self.assertEqual((v["error"], v["with"]["none"]),
                         ("EADDRINUSE", False))
        self.assertIn(inode(client), [b["inode"] for b in v["blockers"]])
        self.assertIn("ip_local_reserved_ports", why(
            f"127.0.0.1:{taken}").stdout)

    def test_a_device(self):
        s, port = self.bound("127.0.0.1", device="lo")
        self.assert_blocked(verdict(f"127.0.0.1:{port}"), "EADDRINUSE", NEVER,
                            s)
        self.assert_blocked(verdict("--device", "lo", f"127.0.0.1:{port}"),
                            "EADDRINUSE", NEVER, s)


class Udp(Case):
    def test_one(self):
        s, port = self.udp("127.0.0.1")
        v = verdict("-u", f"127.0.0.1:{port}")
        self.assert_blocked(v, "EADDRINUSE", NEVER, s)
        self.assertEqual(v["proto"], "udp")
        self.assertIn(f"udp://127.0.0.1:{port} -- CANNOT BIND",
                      why(f"udp://127.0.0.1:{port}").stdout)
        self.assert_free(f"127.0.0.1:{port}")

    def test_options(self):
        for option, want in ((socket.SO_REUSEADDR, BY_REUSEADDR),
                             (socket.SO_REUSEPORT, BY_REUSEPORT)):
            s, port = self.udp("127.0.0.1", options=[option])
            self.assert_blocked(verdict("-u", f"127.0.0.1:{port}"),
                                "EADDRINUSE", want, s)


class Addresses(Case):
    def test_both_loopbacks(self):
        s, port = self.bound("::1")
        ipv4, ipv6 = verdicts(str(port))
        self.assertTrue(ipv4["can_bind"])
        self.assert_blocked(ipv6, "EADDRINUSE", NEVER, s)
        self.assert_free("-4", str(port))

    def test_an_address_of_another_machine(self):
        v = verdict("192.0.2.1:8080")
        self.assertEqual((v["error"], v["with"], v["blockers"]),
                         ("EADDRNOTAVAIL", NEVER, []))
        text = why("192.0.2.1:8080").stdout
        self.assertTrue(text.startswith(
            "192.0.2.1:8080 -- CANNOT BIND (not an address of this "
            "machine)\n"), text)
        self.assertIn("127.0.0.1", text)

    def test_names(self):
        s, port = self.bound("127.0.0.1")
        self.assert_blocked(verdict("-4", f"localhost:{port}"), "EADDRINUSE",
                            NEVER, s)
        r = why("example.invalid:80")
        self.assertEqual((r.returncode, r.stdout), (1, ""))
        self.assertRegex(r.stderr, r"^cleat why: look up example\.invalid: "
                         r"[^\n]+\n$")

    def test_ipv6_that_is_off(self):
        """In yet another network, which then has none."""
        script = ("sysctl -qw net.ipv6.conf.all.disable_ipv6=1 && "
                  'exec "$@"')
        def there(*args):
            return run(*own_network.unshare(), "sh", "-c", script, "sh",
                       tool(), "why", *args)
        r = there("--json", "[::1]:8080")
        v = json.loads(r.stdout)
        self.assertEqual((r.returncode, v["error"]), (1, "EADDRNOTAVAIL"), r)
        self.assertIn("disable_ipv6", there("[::1]:8080").stdout)
        # As for cleat serve, one of both will do.
        r = there("8080")
        self.assertEqual(r.returncode, 0, r)
        self.assertIn("127.0.0.1:8080 -- can be bound\n", r.stdout)
        self.assertIn("[::1]:8080 -- CANNOT BIND", r.stdout)


@unittest.skipUnless(own_network.can_be_nobody(), "cannot be another user")
class Unprivileged(Case):
    def setUp(self):
        d = self.enterContext(tempfile.TemporaryDirectory())
        os.chmod(d, 0o755)
        self.nobody = [*own_network.AS_NOBODY,
                       shutil.copy(tool(), os.path.join(d, "cleat"))]

    def why(self, *args):
        return run(*self.nobody, "why", *args)

    def test_a_low_port(self):
        first = pathlib.Path(
            "/proc/sys/net/ipv4/ip_unprivileged_port_start")
        old = first.read_text()
        self.addCleanup(first.write_text, old)
        first.write_text("1024")
        r = self.why("--json", "127.0.0.1:80")
        v = json.loads(r.stdout)
        self.assertEqual((r.returncode, v["error"], v["with"]),
                         (1, "EACCES", NEVER))
        text = self.why("127.0.0.1:80").stdout
        for word in ("permission denied", "ip_unprivileged_port_start",
                     "1024", "CAP_NET_BIND_SERVICE"):
            self.assertIn(word, text)
        r = run(*self.nobody, "serve", "echo", "127.0.0.1:80")
        self.assertRegex(r.stderr, "^cleat serve: bind 127.0.0.1:80: "
                         "permission denied: .*ip_unprivileged_port_start"
                         ".*\n$")
        first.write_text("80")
        self.assertEqual(self.why("127.0.0.1:80").returncode, 0)
        self.assertEqual(why("127.0.0.1:79").returncode, 0)  # by root

    def test_somebody_elses_socket(self):
        s, port = self.bound("127.0.0.1")
        r = self.why(f"127.0.0.1:{port}")
        self.assertEqual(r.returncode, 1)
        self.assertIn("in the way: an unseen process of root listening on "
                      f"127.0.0.1:{port}", r.stdout)

    def test_somebody_elses_group(self):
        s, port = self.bound("127.0.0.1", options=[socket.SO_REUSEPORT])
        v = json.loads(self.why("--json", f"127.0.0.1:{port}").stdout)
        self.assertEqual(v["with"], NEVER)
        self.assert_blocked(verdict(f"127.0.0.1:{port}"), "EADDRINUSE",
                            BY_REUSEPORT, s)


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

    def test_a_free_path(self):
        for kind in "unix", "unixgram":
            self.assert_free(f"{kind}:{self.path}")
            self.assertEqual(os.listdir(self.dir), [])
        v = verdict(f"unix:{self.path}", status=0)
        self.assertEqual((v["address"], v["port"]), (self.path, None))

    def test_a_living_server(self):
        for kind, type in (("unix", socket.SOCK_STREAM),
                           ("unixgram", socket.SOCK_DGRAM)):
            path = f"{self.path}-{kind}"
            s = self.listener(path, type)
            before = os.stat(path).st_ino
            v = verdict(f"{kind}:{path}")
            self.assert_blocked(v, "EADDRINUSE", NEVER, s)
            text = why(f"{kind}:{path}").stdout
            self.assertIn(f"{ME} (pid {os.getpid()}", text)
            self.assertNotIn("SO_REUSEADDR", text.split("try:")[0])
            self.assertEqual(os.stat(path).st_ino, before)
            s.setblocking(False)
            with self.assertRaises(BlockingIOError):  # it was not disturbed
                s.accept() if kind == "unix" else s.recv(1)

    def test_what_was_left_behind(self):
        self.listener(self.path).close()
        v = verdict(f"unix:{self.path}")
        self.assertEqual((v["error"], v["blockers"]), ("EADDRINUSE", []))
        self.assertRegex(" ".join(v["advice"]), "remove|rm ")
        self.assertTrue(os.path.exists(self.path))

    def test_a_missing_directory(self):
        v = verdict(f"unix:{self.path}/x/y")
        self.assertEqual(v["error"], "ENOENT")
        pathlib.Path(self.path).touch()
        self.assertEqual(verdict(f"unix:{self.path}/x")["error"], "ENOTDIR")

    def test_a_file_that_was_renamed(self):
        s = self.listener(self.path)
        os.rename(self.path, self.path + "2")
        self.assert_blocked(verdict(f"unix:{self.path}2"), "EADDRINUSE",
                            NEVER, s)
        self.assert_free(f"unix:{self.path}")

    def test_the_name_that_another_has_taken(self):
        self.listener(self.path)
        os.unlink(self.path)
        s = self.listener(self.path)
        self.assert_blocked(verdict(f"unix:{self.path}"), "EADDRINUSE",
                            NEVER, s)

    def test_a_relative_path_of_another_directory(self):
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.dir)
        s = self.listener("sock")
        os.chdir("/")
        self.assert_blocked(verdict(f"unix:{self.path}"), "EADDRINUSE",
                            NEVER, s)

    def test_an_abstract_name(self):
        name = f"why-{os.getpid()}"
        self.assert_free(f"unix:@{name}")
        s = self.listener("\0" + name)
        self.assert_blocked(verdict(f"unix:@{name}"), "EADDRINUSE", NEVER, s)


class OfOthers(Case):
    """What cleat serve and cleat listen say when they cannot bind."""

    def assert_explained(self, r, command, at, words):
        self.assertEqual((r.returncode, r.stdout), (1, ""), r)
        self.assertEqual(r.stderr.count("\n"), 1, r)
        self.assertTrue(r.stderr.startswith(
            f"cleat {command}: bind {at}: address already in use: "), r)
        self.assertIn(words, r.stderr)

    def test_tcp(self):
        with Program(tool(), "serve", "echo", "127.0.0.1:0") as p:
            at = f"127.0.0.1:{p.port}"
            for command in (("serve", "echo"), ("listen",)):
                self.assert_explained(run(tool(), *command, at), command[0],
                                      at, f"cleat (pid {p.pid})")
            self.assert_explained(
                run(tool(), "serve", "echo", "127.0.0.1:0", at), "serve", at,
                f"cleat (pid {p.pid})")

    def test_udp(self):
        s, port = self.udp("127.0.0.1")
        at = f"udp://127.0.0.1:{port}"
        for command in (("serve", "echo"), ("listen",)):
            self.assert_explained(run(tool(), *command, at), command[0], at,
                                  f"{ME} (pid {os.getpid()})")

    def test_dual_stack(self):
        s, port = self.bound("0.0.0.0")
        self.assert_explained(run(tool(), "listen", f":{port}"), "listen",
                              f"[::]:{port}", f"{ME} (pid {os.getpid()})")

    def test_unix(self):
        with tempfile.TemporaryDirectory() as d, \
                socket.socket(socket.AF_UNIX) as s:
            s.bind(f"{d}/s")
            s.listen()
            self.assert_explained(
                run(tool(), "serve", "echo", f"unix:{d}/s"), "serve",
                f"unix:{d}/s", f"{ME} (pid {os.getpid()})")

    def test_what_is_no_bind(self):
        r = run(tool(), "listen", "example.invalid:80")
        self.assertEqual((r.returncode, r.stderr.count("\n")), (1, 1), r)
        self.assertIn("look up example.invalid", r.stderr)

    def test_time_wait_does_not_hinder_them(self):
        listener, port = self.bound("127.0.0.1",
                                    options=[socket.SO_REUSEADDR])
        client = socket.create_connection(("127.0.0.1", port))
        listener.accept()[0].close()
        client.recv(1)
        client.close()
        listener.close()
        with Program(tool(), "serve", "echo", f"127.0.0.1:{port}") as p:
            self.assertEqual(p.port, port)


class Misuse(Case):
    def test_bad_input(self):
        for args, message in (
                ((), "no address; write cleat why HOST:PORT"),
                (("80", "81", "82"), "81: one address is enough"),
                (("127.0.0.1:x:y",), "address 127.0.0.1:x:y: "),
                (("127.0.0.1:65536",), "address 127.0.0.1:65536: "),
                (("--device", "none0", "80"),
                 "--device none0: no such network interface"),
                (("-4", "-6", "80"), "-4 and -6: write one of them"),
                (("--device",), "--device: needs a value: DEV"),
                (("--from", "1", "80"), "--from: no such option"),
                (("tls://x:1",), "tls://x:1: tls is not supported yet")):
            with self.subTest(args):
                r = why(*args)
                self.assertEqual((r.returncode, r.stdout), (2, ""), r)
                self.assertTrue(
                    r.stderr.startswith("cleat why: " + message), r)
                self.assertEqual(r.stderr.count("\n"), 1, r)

    def test_stdout_that_cannot_be_written(self):
        for to in ">/dev/full", ">&-":
            for option in "--json", "-4":
                r = run("sh", "-c", f'exec "$@" {to}', "sh", tool(), "why",
                        option, "127.0.0.1:0")
                self.assertEqual(r.returncode, 1, r)
                self.assertRegex(r.stderr,
                                 r"^cleat why: standard output: [^\n]+\n$")


if __name__ == "__main__":
    own_network.main()
