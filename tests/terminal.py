# SPDX-License-Identifier: MIT
"""A terminal for a program to be on."""
import codecs
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios

from support import DEADLINE, check_sanitizers, wait_until


class Terminal:
    """A program on a terminal of its own; `text` is what is on it."""

    def __init__(self, *argv, columns=80, rows=24, env=None):
        self.text = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self.fd, its = pty.openpty()
        self.resize(columns, rows)
        self.process = subprocess.Popen(
            argv, stdin=its, stdout=its, stderr=subprocess.PIPE, env=env,
            preexec_fn=self._lead)
        os.close(its)

    def resize(self, columns, rows):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ,
                    struct.pack("HHHH", rows, columns, 0, 0))

    @staticmethod
    def _lead():
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    def read(self, seconds=0.01):
        if select.select([self.fd], [], [], seconds)[0]:
            try:
                self.text += self._decoder.decode(os.read(self.fd, 65536))
            except OSError:  # nobody has it open any more
                return False
        return True

    def wait_for(self, pattern):
        def found():
            self.read()
            return re.search(pattern, self.text)
        return wait_until(found, f"{pattern!r} on the terminal")

    def type(self, text):
        os.write(self.fd, text)

    def end(self):
        """Its status, and what it complained of."""
        wait_until(lambda: not self.read(), "the program's end")
        err = self.process.stderr.read().decode()
        check_sanitizers(err)
        return self.process.wait(DEADLINE), err

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stderr.close()
        os.close(self.fd)
