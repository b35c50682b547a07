#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""docs/ports.md: every command in it does what the page says.

usage: test_docs_ports.py [--write]

A block that starts with a prompt is a terminal.  What belongs to the moment,
such as process ids, may differ.  --write puts what came out into the page.
"""
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import unittest

import own_network
from support import DEADLINE, tool, wait_until

PAGE = pathlib.Path(
    os.environ.get("CLEAT_SOURCE", pathlib.Path(__file__).parent.parent),
    "docs/ports.md")
WRITE = "--write" in sys.argv
PROMPT = "    $ "
STAYS = re.compile(r"^(cleat (serve|listen|connect)|hold) [^>]*$")
VARIES = [
    (re.compile(p), to) for p, to in (
        (r"\d\d-\d\d-\d{4} \d\d:\d\d:\d\d", "DATE"),
        (r"pid \d+", "pid N"),
        (r"fd \d+", "fd N"),
        (r"\d+\.\d ms", "N ms"),
        (r"\b\d{1,2} s\b", "N s"),
        (r":[3-6]\d{4}\b", ":PORT"),
        (r"\s+", " "),  # a longer pid may break a line elsewhere
    )]


def normal(text):
    for pattern, to in VARIES:
        text = pattern.sub(to, text)
    return text.strip()


class Command:
    def __init__(self, line, at):
        self.line, self.at = line, at  # its line in the page
        self.output = []

    @property
    def wanted(self):
        return normal("\n".join(self.output))


def sections(lines):
    """[(title, [command...])...] of the page."""
    found, command = [], None
    for at, line in enumerate(lines):
        if line.startswith("#"):
            found.append((line.lstrip("# "), []))
        if line.startswith(PROMPT):
            command = Command(line[len(PROMPT):], at)
            found[-1][1].append(command)
        elif command and line.startswith("    "):
            command.output.append(line[4:])
        else:
            command = None
    return found


class Terminal:
    """A command that has been started, and what it has written."""

    def __init__(self, line, environment):
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            ["sh", "-c", f"exec {line}"], stdin=subprocess.PIPE,
            stdout=self.log, stderr=subprocess.STDOUT, env=environment)

    @property
    def text(self):
        return os.pread(self.log.fileno(), 1 << 20, 0).decode()

    def has_ended(self):
        return self.process.poll() is not None

    def is_waiting(self):
        """It has a socket, and sleeps."""
        fds = f"/proc/{self.process.pid}/fd"
        stat = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text()
        return (stat.rpartition(") ")[2][0] == "S" and
                any(os.readlink(f"{fds}/{fd}").startswith("socket:")
                    for fd in os.listdir(fds)))

    def close(self):
        self.process.terminate()
        self.process.stdin.close()
        self.process.wait()
        self.log.close()


class Page(unittest.TestCase):
    def setUp(self):
        self.dir = pathlib.Path(
            self.enterContext(tempfile.TemporaryDirectory()))
        os.chmod(self.dir, 0o755)  # some commands are another user's
        text = PAGE.read_text()
        hold = self.dir / "hold"
        hold.write_text(re.search(r"^```python\n(.*?)^```", text,
                                  re.M | re.S)[1])
        hold.chmod(0o755)
        copy = self.dir / "cleat"
        copy.write_bytes(pathlib.Path(tool()).read_bytes())
        copy.chmod(0o755)
        self.environment = dict(
            os.environ, PATH=f"{self.dir}:{os.environ['PATH']}")
        old = os.getcwd()
        self.addCleanup(os.chdir, old)
        os.chdir(self.dir)

    def start(self, command):
        t = Terminal(command.line, self.environment)
        self.addCleanup(t.close)
        return t

    def run_command(self, command):
        """What it has written once it has ended, or waits."""
        t = self.start(command)
        if STAYS.match(command.line):
            wait_until(lambda: t.has_ended() or t.is_waiting() and
                       t.text.count("\n") >= len(command.output),
                       f"output of {command.line}: {command.output}")
            if WRITE:
                time.sleep(0.3)
        else:
            t.process.wait(DEADLINE)
        return t.text

    def check(self, command):
        # Another terminal may not be as far yet.
        may_repeat = re.match(r"cleat (who|why)|setpriv", command.line)
        end = time.monotonic() + (5 if may_repeat else 0)
        got = self.run_command(command)
        if WRITE:
            command.output = got.splitlines()
            return
        while normal(got) != command.wanted and time.monotonic() < end:
            got = self.run_command(command)
        if normal(got) != command.wanted:
            self.fail(f"{PAGE.name}:{command.at + 1}: $ {command.line}\n"
                      f"says:\n{got}\nthe page:\n" +
                      "\n".join(command.output))

    def run_section(self, commands):
        if (any("setpriv" in c.line for c in commands) and
                not own_network.can_be_nobody()):
            self.skipTest("cannot be another user")
        for command in commands:
            self.check(command)


def write(lines, all_sections):
    commands = {c.at: c for _, cs in all_sections for c in cs}
    out, at = [], 0
    while at < len(lines):
        out.append(lines[at])
        command = commands.get(at)
        at += 1
        if command:
            out += ["    " + line for line in command.output]
            while (at < len(lines) and lines[at].startswith("    ") and
                   at not in commands):
                at += 1
    PAGE.write_text("\n".join(out) + "\n")


LINES = PAGE.read_text().splitlines()
SECTIONS = sections(LINES)


def test_of(commands):
    return lambda self: self.run_section(commands)


for title, commands in SECTIONS:
    if commands:
        name = "test_" + re.sub(r"\W+", "_", title.lower())
        setattr(Page, name, test_of(commands))


if __name__ == "__main__":
    if WRITE and os.environ.get(own_network.MARK):
        done = unittest.TextTestRunner().run(
            unittest.defaultTestLoader.loadTestsFromTestCase(Page))
        if done.wasSuccessful():
            write(LINES, SECTIONS)
        sys.exit(not done.wasSuccessful())
    own_network.main()
