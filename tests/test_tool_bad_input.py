#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What users get wrong, and what machines refuse: one clear line each."""
import contextlib
import os
import re
import resource
import signal
import socket
import tempfile
import unittest

from support import (
    DEADLINE, OWN_NETWORK, Peer, Program, check_sanitizers, connect, echo,
    has_own_network, is_sanitized, needs_ipv6, read_exactly, run, tool)

COMMANDS = ["serve", "connect", "listen", "check"]
ANY = "127.0.0.1:0"
LOG_LINE = re.compile(r"\d\d-\d\d-\d{4} [\d:]{8} - INFO - \w+ - [^\n]*\n")

# An address that is malformed, and a word of what is said of it.
ADDRESSES = [
    ("65536", "out of range"), ("99999999999999999999", "out of range"),
    ("127.0.0.1:65536", "out of range"), ("127.0.0.1:-1", "sign"),
    ("127.0.0.1:+1", "sign"), ("127.0.0.1:", "port"), ("127.0.0.1", "port"),
    (":", "port"), ("", "no port"), ("[::1]", "port"), ("[::1]:", "port"),
    ("[::1", "]"), ("[::1]8080", ""), ("::1", r"\[::1\]"),
    ("::1:8080", r"\[::1\]"), ("[]:80", "IPv6"), ("[::g]:80", "IPv6"),
    ("[127.0.0.1]:80", "IPv6"), ("1.2.3.4.5:80", ""), ("256.1.1.1:80", ""),
    ("nosuch://h:1", "nosuch|protocol"), ("://h:1", "protocol"),
    ("tcp6://127.0.0.1:1", "IPv"), ("tcp4://[::1]:1", "IPv"),
    ("unix:", "path"), ("unix:@", "path"),
    ("unix:" + "x" * 200, "long"), ("a" * 300 + ":80", "long|at most"),
    ("h:" + "p" * 100, "long|at most"), ("h o s t:80", ""), ("h:8 0", ""),
    ("127.0.0.1:80/", ""), ("127.0.0.1:80:90", ""), ("http://h:80", "http"),
    ("127.0.0.1:0x50", ""), ("127.0.0.1:80 ", ""), (" 127.0.0.1:80", ""),
    ("tls://127.0.0.1:1", "tls"), ("user@h:80", ""), ("[fe80::1%]:80", ""),
]

# Options, what they are of, and values that they do not take.
VALUES = [
    (["serve", "echo", ANY], "--mode", ["", "FIBERS", "fibers ", "nosuch"]),
    (["serve", "echo", ANY], "--log", ["", "xml"]),
    *[(["serve", "echo", ANY], option,
       ["", "0", "-1", "+1", "1.5", "1e3", "x", "1x", "0x10", " 1",
        "2147483648", "99999999999999999999"])
      for option in ("--workers", "--max-conns", "--max-per-source")],
    *[(argv, option, ["", "-1", "+1", "x", "1x", "1e3", "0x10", "1 s", "nan",
                      "inf", "1d", "s", ".", "1..5", "9" * 30 + "h"])
      for argv, options in (
          (["serve", "echo", ANY], ["--idle", "--lifetime", "--drain"]),
          (["connect", ANY], ["-w", "--timeout", "--linger", "--idle"]),
          (["listen", ANY], ["-w", "--timeout", "--linger", "--idle"]),
          (["check", ANY], ["-w", "--timeout", "--wait"]))
      for option in options],
    (["connect", ANY], "-w", ["0", "0s", "0.0ms"]),
    (["check", ANY], "-w", ["0"]),
    (["listen", ANY], "-w", ["0"]),
]

MISUSES = [
    ([], "no command"), ([""], "not a command"), (["nosuch"], "nosuch"),
    (["SERVE"], "not a command"), (["--nosuch"], "--nosuch"), (["-x"], "-x"),
    (["help", "nosuch"], "nosuch"), (["serv"], "is it serve"),
    (["connetc"], "is it connect"), (["--"], "--"), (["-"], "-"),
    (["serve"], "no service"), (["serve", "echo"], "no address"),
    (["serve", "nosuch", ANY], "nosuch.*echo upper discard chargen daytime"),
    (["serve", "", ANY], "service"), (["serve", ANY], "127.0.0.1:0"),
    (["serve", "discard", "--lines", ANY], "--lines"),
    (["serve", "daytime", "--prefix", "x", ANY], "--prefix"),
    (["serve", "echo", "--mode", "threads", "--workers", "2", ANY],
     "--workers"),
    (["serve", "echo", "-4", "-6", ANY], "-4 and -6"),
    (["connect"], "no address"), (["listen"], "no address"),
    (["check"], "no address"), (["check", "--", "true"], "no address"),
    (["connect", "127.0.0.1:1", "127.0.0.1:2"], "one address"),
    (["listen", "127.0.0.1:0", "127.0.0.2:0"], "one address"),
    (["connect", "a", "1", "c"], "c: one address"),
    (["serve", "echo", "--mode", "one", "--max-conns", "5", ANY],
     "--max-conns"),
    (["serve", "echo", "127.0.0.1:1", ANY, "127.0.0.1", "1"],
     "127.0.0.1:1: given twice"),
    (["connect", "-6", "127.0.0.1:1"], "-6"),
    (["connect", "-4", "[::1]:1"], "-4"),
    (["connect", "-u", "tcp://127.0.0.1:1"], "-u"),
    (["check", "-4", "-6", "localhost:1"], "-4 and -6"),
    (["listen", "--keep", "-u", ANY], "--keep"),
    (["connect", "--source", "nonsense:x:y", "127.0.0.1:1"], "--source"),
    (["connect", "--", "-w"], "-w"), (["connect", "-"], "-"),
    (["serve", "--quiet=yes", "echo", ANY], "--quiet"),
    (["check", "--json=1", ANY], "--json"),
]


class Case(unittest.TestCase):
    def assert_line(self, err, command=None, reason=""):
        """One line of printable characters, which says whose it is."""
        who = f"cleat {command}: " if command else "cleat: "
        self.assertTrue(err.startswith(who), err)
        self.assertRegex(err, rf"\A[^\n]+\n\Z")
        self.assert_printable(err[:-1])
        self.assertRegex(err[len(who):], reason or ".")
        self.assertGreater(len(err), len(who) + 3)

    def assert_printable(self, text):
        """Nothing that a terminal would obey: C0, C1, or what is no text."""
        for c in text:
            self.assertFalse(ord(c) < 32 or 127 <= ord(c) < 160 or
                             0xd800 <= ord(c) < 0xe000, repr(text))

    def assert_fails(self, *argv, reason="", status, **options):
        r = run(tool(), *argv, **options)
        command = argv[0] if argv and argv[0] in COMMANDS else None
        self.assert_line(r.stderr, command, reason)
        self.assertEqual((r.returncode, r.stdout), (status, ""), r.stderr)
        return r.stderr


class Misuse(Case):
    def assert_fits(self, text):
        for line in text.splitlines():
            self.assertLessEqual(len(line), 80)
            self.assertEqual(line, line.rstrip())

    def test_help(self):
        for argv in ["--help"], ["-h"], ["help"]:
            r = run(tool(), *argv)
            self.assertEqual((r.returncode, r.stderr), (0, ""))
            for command in COMMANDS:
                self.assertRegex(r.stdout, rf"(?m)^  {command} ")
            self.assert_fits(r.stdout)
        for command in COMMANDS:
            texts = set()
            for argv in ([command, "--help"], [command, "-h"],
                         ["help", command], [command, "-w", "1s", "--help"],
                         [command, "x:y:z", "--help"]):
                if command == "serve" and "-w" in argv:
                    continue
                r = run(tool(), *argv)
                self.assertEqual((r.returncode, r.stderr), (0, ""))
                texts.add(r.stdout)
            self.assertEqual(len(texts), 1)
            text = texts.pop()
            self.assertTrue(text.startswith(f"Usage: cleat {command} "))
            self.assertIn("\nExamples:\n", text)
            self.assert_fits(text)

    def test_help_behind_the_dashes_is_no_option(self):
        self.assert_fails("connect", "--", "--help", status=2)

    def test_version(self):
        r = run(tool(), "--version")
        self.assertRegex(r.stdout, r"\Acleat \d+\.\d+[^\n]*\n\Z")
        self.assertEqual((r.returncode, r.stderr), (0, ""))

    def test_help_that_cannot_be_printed(self):
        for argv in ["--help"], ["--version"], ["serve", "--help"]:
            for to in ">/dev/full", ">&-":
                r = run("sh", "-c", f'exec "$@" {to}', "sh", tool(), *argv)
                self.assertEqual(r.returncode, 1)
                self.assert_line(r.stderr, argv[0] if argv[0] in COMMANDS
                                 else None, "standard output: ")

    def test_misuses(self):
        for argv, reason in MISUSES:
            with self.subTest(argv):
                self.assert_fails(*argv, status=2, reason=reason)

    def test_malformed_addresses(self):
        for command in COMMANDS:
            before = ["echo"] if command == "serve" else []
            for addr, reason in ADDRESSES:
                with self.subTest(command, addr=addr):
                    self.assert_fails(command, *before, addr, status=2,
                                      reason=reason)

    def test_malformed_pairs(self):
        for host, port, reason in (
                ("127.0.0.1", "65536", "65536: port out of range"),
                ("::1", "65536", "65536: port out of range"),
                ("tcp4://localhost", "99999", "99999: port out of range"),
                ("127.0.0.1", "1x", "1x: neither a port"),
                ("127.0.0.1", "-1", "-1: a port has no sign"),
                ("127.0.0.1", "+1", "[+]1: a port has no sign"),
                # There it is the first that is to be mended.
                ("127.0.0.1", "", "127.0.0.1: no port"),
                ("127.0.0.1", "127.0.0.1:80", "127.0.0.1: no port"),
                ("::1", "x y", "::1: more than one colon"),
                ("65536", "80", "65536: port out of range"),
                ("unix:/x", "80", "80: one address"),
                ("127.0.0.1:80", "90", "90: one address")):
            with self.subTest(host, port=port):
                self.assert_fails("connect", "--", host, port, status=2,
                                  reason=reason)

    def test_unknown_options(self):
        for command in COMMANDS:
            for option in ("--nosuch", "--nosuch=1", "-Z", "-qZ", "---", "--=",
                           "--hel", "--helpme", "--ipv4x", "-\x01", "--\xe9"):
                with self.subTest(command, option=option):
                    self.assert_fails(command, option, ANY, status=2,
                                      reason="no such option; see cleat "
                                      f"{command} --help")

    def test_missing_values(self):
        for command, options in (
                ("serve", ["--prefix", "--mode", "--workers", "--idle",
                           "--log"]),
                ("connect", ["-w", "--timeout", "--source", "--hex"]),
                ("listen", ["-w", "--linger"]), ("check", ["-w", "--wait"])):
            for option in options:
                with self.subTest(command, option=option):
                    self.assert_fails(command, option, status=2,
                                      reason=f"{option}.*value")

    def test_values(self):
        for argv, option, values in VALUES:
            for value in values:
                with self.subTest(argv[0], option=option, value=value):
                    self.assert_fails(argv[0], option, value, *argv[1:],
                                      status=2, reason=re.escape(option))
                if option.startswith("--"):
                    self.assert_fails(argv[0], f"{option}={value}", *argv[1:],
                                      status=2, reason=re.escape(option))

    def test_a_wrong_option_beats_a_right_address(self):
        """Nothing has been done when the misuse is told."""
        with Peer(echo) as peer:
            self.assert_fails("connect", f"127.0.0.1:{peer.port}", "--nosuch",
                              status=2)

    def test_long_words(self):
        for command in COMMANDS:
            for word in "x" * 100000, "-" * 100000, "x" * 100000 + ":80":
                with self.subTest(command, word=word[:9]):
                    err = self.assert_fails(command, word, word, status=2)
                    self.assertLess(len(err), 2100)
        self.assert_fails("x" * 100000, status=2)
        self.assert_fails("serve", "echo", "--mode", "\x1b" * 9999, ANY,
                          status=2)
        self.assert_fails("connect", "--hex", "x" * 9999, ANY, status=1)

    def test_long_words_keep_their_reason(self):
        long = "x" * 5000
        for argv, reason in (
                (["connect", "--wait=" + long], "no such option"),
                (["check", "-w", long, ANY], "not a time; write 300ms or 2s"),
                (["serve", "echo", "--mode", long, ANY],
                 "processes or one"),
                (["serve", long, ANY], "discard chargen daytime"),
                (["serve", "echo", "--mode", "\x1b" * 5000, ANY],
                 "processes or one"),
                (["serve", "echo", "--mode", "\u20ac" * 5000, ANY],
                 "processes or one"), ([long], "not a command")):
            with self.subTest(argv):
                self.assert_fails(*argv, status=2, reason=reason)
        self.assert_fails("connect", "--hex", f"/{long}", ANY, status=1,
                          reason="name too long")

    def test_many_words(self):
        self.assert_fails("connect", *["127.0.0.1:1"] * 20000, status=2)
        r = run(tool(), "serve", "echo", *["127.0.0.1:x:y"] * 20000)
        self.assert_line(r.stderr, "serve")


class Bytes(Case):
    """Nothing that a terminal would obey reaches it."""

    WORDS = [b"\x1b[31mred", b"\x1b]0;title\x07", b"\xff\xfe", b"a\nb", b"\r",
             b"\x9b31m", b"\xc2\x9b31m", b"\xed\xa0\x80", b"\xc0\x80",
             b"\xf4\x90\x80\x80", b"\xe2\x80\xae", b"\x7f", b"tab\t",
             b"\xe2\x82", b"%s%n%d", b"\\x1b"]

    def assert_harmless(self, *argv, status=2):
        r = run(tool(), *argv, input=b"")
        check_sanitizers(r.stderr)
        self.assertEqual(r.returncode, status, r)
        text = r.stderr.decode()  # is UTF-8
        self.assertRegex(text, r"\Acleat[^\n]*: [^\n]+\n\Z")
        self.assert_printable(text[:-1])
        self.assertEqual(r.stdout, b"")

    def test_in_words(self):
        for word in self.WORDS:
            for argv in ([word], ["help", word], ["serve", word, ANY],
                         ["serve", "echo", word], ["connect", word],
                         ["connect", word, b"80:"],
                         ["connect", b"--" + word, ANY],
                         ["connect", b"-" + word, ANY],
                         ["connect", b"unix:" + word + b"x" * 200],
                         ["connect", b"-w", word, ANY],
                         ["connect", b"--source", b"x:y:" + word, ANY],
                         ["check", b"--wait=" + word, ANY],
                         ["listen", b"127.0.0.1:" + word + b":"],
                         ["connect", b"[" + word + b"]:80"]):
                with self.subTest(argv):
                    self.assert_harmless(*argv)

    def test_in_names_of_files(self):
        for word in self.WORDS:
            with self.subTest(word):
                self.assert_harmless(
                    "connect", b"--hex", b"/nonexistent/" + word, ANY,
                    status=1)
                self.assert_harmless(
                    "connect", b"unix:/nonexistent/" + word, status=1)
                self.assert_harmless(
                    "serve", "echo", b"unix:/nonexistent/" + word, status=1)

    def test_in_the_log_and_in_results(self):
        with tempfile.TemporaryDirectory() as d:
            for word in self.WORDS:
                path = os.fsencode(d) + b"/" + word
                with self.subTest(word), \
                        Program(tool(), "serve", "echo", b"unix:" + path) as p:
                    p.addresses()
                    self.assert_printable(p.err[:-1])
                    self.assertEqual(p.err.count("\n"), 1)
                    r = run(tool(), "check", b"unix:" + path)
                    self.assert_printable(r.stdout[:-1])
                    self.assertEqual(r.stdout.count("\n"), 1)
                    self.assertEqual(r.returncode, 0, r.stdout)

    def test_in_a_command(self):
        with socket.create_server(("127.0.0.1", 0)) as s:
            for word in self.WORDS:
                r = run(tool(), "check", f"127.0.0.1:{s.getsockname()[1]}",
                        "--", b"/nonexistent/" + word)
                self.assertEqual(r.returncode, 127)
                self.assertEqual(r.stderr.count("\n"), 2)
                self.assert_printable(r.stderr.replace("\n", ""))


class Machine(Case):
    def every(self, addr):
        """The commands that listen, on ADDR."""
        return ["serve", "echo", addr], ["listen", addr]

    def test_a_port_in_use(self):
        with socket.create_server(("127.0.0.1", 0)) as s:
            addr = f"127.0.0.1:{s.getsockname()[1]}"
            for argv in self.every(addr):
                self.assert_fails(*argv, status=1, reason=f"{addr}: .*in use")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.bind(("127.0.0.1", 0))
            addr = f"udp://127.0.0.1:{s.getsockname()[1]}"
            for argv in self.every(addr):
                self.assert_fails(*argv, status=1, reason="in use")

    def test_an_address_of_another_machine(self):
        for argv in self.every("203.0.113.1:0"):
            self.assert_fails(*argv, status=1, reason=r"203\.0\.113\.1:0: .*"
                              "not an address of this machine")

    def unprivileged(self):
        """What starts a program that may not take a low port."""
        with contextlib.suppress(OSError, ValueError):
            with open("/proc/sys/net/ipv4/ip_unprivileged_port_start",
                      encoding="ascii") as f:
                if int(f.read()) > 79:
                    if os.getuid() != 0:
                        return []
                    prefix = ["unshare", "--user"]
                    if run(*prefix, "true").returncode == 0:
                        return prefix
        self.skipTest("no way to be without privileges here")

    def test_a_privileged_port(self):
        prefix = self.unprivileged()
        for argv in self.every("127.0.0.1:79"):
            r = run(*prefix, tool(), *argv)
            self.assertEqual(r.returncode, 1)
            self.assert_line(r.stderr, argv[0],
                             r"127\.0\.0\.1:79: permission denied")

    @unittest.skipUnless(has_own_network(), "no network namespace to be had")
    def test_what_cannot_be_reached_or_resolved(self):
        for addr, reason in (("203.0.113.1:80", "network.*unreachable"),
                             ("[2001:db8::1]:80", "unreachable"),
                             ("nosuch.invalid:80", "look up nosuch.inva")):
            r = run(*OWN_NETWORK, tool(), "connect", addr)
            self.assertEqual(r.returncode, 1)
            self.assert_line(r.stderr, "connect", reason)
        r = run(*OWN_NETWORK, tool(), "serve", "echo", "nosuch.invalid:80")
        self.assertEqual(r.returncode, 1)
        self.assert_line(r.stderr, "serve", "nosuch.invalid")

    def test_places_for_unix_sockets(self):
        with tempfile.TemporaryDirectory() as d:
            for path, reason in ((f"{d}/no/s", "no such"), (d, "in use"),
                                 ("/proc/s", "no such|permission|not")):
                for argv in self.every(f"unix:{path}"):
                    self.assert_fails(*argv, status=1,
                                      reason=f"unix:{path}: .*(?:{reason})")

    def test_a_reason_is_given_once(self):
        for argv in self.every("unix:/nonexistent/s"):
            err = self.assert_fails(*argv, status=1)
            for part in "unix:/nonexistent/s", "no such", "the directory":
                self.assertEqual(err.count(part), 1, err)

    @needs_ipv6
    def test_a_link_local_address_without_its_interface(self):
        """Whatever interfaces there are."""
        reason = r"link-local; .*\[fe80::1%eth0\]:80"
        self.assert_fails("connect", "[fe80::1]:80", status=1, reason=reason)
        for addr in "[fe80::1]:80", "udp://[fe80::1]:80":
            r = run(tool(), "check", addr)
            self.assertEqual((r.returncode, r.stderr), (1, ""))
            self.assertRegex(r.stdout, f"FILTERED.*{reason}")

    def limited(self, what, n):
        return lambda: resource.setrlimit(what, (n, n))

    def assert_works_or_says_why(self, *argv, **options):
        """A program under a limit.  Whether it worked."""
        r = run(tool(), *argv, **options)
        if r.returncode == 127:
            self.assertIn("shared libraries", r.stderr)
            return False
        err = LOG_LINE.sub("", r.stderr)
        self.assertIn(r.returncode, (0, 1), r.stderr)
        if err or (r.returncode == 1 and argv[0] != "check"):
            self.assert_line(err, argv[0])
        return r.returncode == 0

    def assert_serves_or_says_why(self, **options):
        with Program(tool(), "serve", "echo", ANY, **options) as p:
            with contextlib.suppress(AssertionError, OSError):
                with connect(p.port) as s:  # or it has ended
                    s.settimeout(0.3)
                    s.sendall(b"x")
                    s.recv(1)
            p.signal(signal.SIGTERM)
            if p.wait() == 127:
                self.assertIn("shared libraries", p.err)
            elif p.wait() != 0:
                self.assertEqual(p.wait(), 1, p.err)
                last = p.err.splitlines(keepends=True)[-1]
                self.assert_line(last, "serve")

    def test_few_descriptors(self):
        """However few: it works, or one line says that it does not."""
        with Peer(echo) as peer:
            addr = f"127.0.0.1:{peer.port}"
            for n in range(3, 20):
                limit = self.limited(resource.RLIMIT_NOFILE, n)
                for argv in (["connect", addr], ["check", addr],
                             ["check", "localhost:1"],
                             ["listen", "-w", "10ms", ANY],
                             ["connect", "-u", "--linger", "0", addr]):
                    with self.subTest(n, argv=argv):
                        worked = self.assert_works_or_says_why(
                            *argv, preexec_fn=limit)
                        if n >= 16 and argv[-1] == addr:
                            self.assertTrue(worked)
                with self.subTest(n, argv="serve"):
                    self.assert_serves_or_says_why(preexec_fn=limit)

    @unittest.skipIf(is_sanitized(), "a sanitizer needs memory of its own")
    def test_little_memory(self):
        """The same, of address space."""
        with Peer(echo) as peer:
            addr = f"127.0.0.1:{peer.port}"
            for mib in (4, 6, 7, 8, 9, 10, 12, 14, 16, 20, 24, 32, 64, 512):
                limit = self.limited(resource.RLIMIT_AS, mib << 20)
                for argv in (["connect", addr], ["check", addr],
                             ["listen", "-w", "10ms", ANY]):
                    with self.subTest(mib, argv=argv):
                        worked = self.assert_works_or_says_why(
                            *argv, preexec_fn=limit)
                        if mib == 512 and argv[-1] == addr:
                            self.assertTrue(worked)
                with self.subTest(mib, argv="serve"):
                    self.assert_serves_or_says_why(preexec_fn=limit)

    def test_no_threads(self):
        """connect needs one, and serve with workers does."""
        if os.getuid() == 0:
            self.skipTest("root is not limited in threads")
        with Peer(echo) as peer:
            self.assert_fails(
                "connect", f"127.0.0.1:{peer.port}", status=1,
                preexec_fn=self.limited(resource.RLIMIT_NPROC, 0))

    def test_a_server_goes_on(self):
        """Whatever its clients send."""
        with Program(tool(), "serve", "upper", "--lines", ANY) as p, \
                connect(p.port) as other:
            for junk in (os.urandom(50000), b"\n" * 50000, b"\0" * 70000,
                         b"GET / HTTP/1.1\r\n\r\n", b"\x1b[2J\n" * 100):
                with connect(p.port) as s, \
                        contextlib.suppress(ConnectionError):
                    s.settimeout(DEADLINE)
                    s.sendall(junk)
                    s.recv(1000)
            other.sendall(b"still\n")
            self.assertEqual(read_exactly(other, 6), b"STILL\n")
            self.assertNotIn("\x1b", p.err)


if __name__ == "__main__":
    unittest.main()
