# SPDX-License-Identifier: MIT
"""A network that is this test's alone: nothing but a loopback of its own.

A test program that calls main() instead of unittest.main() is started once
more in a network namespace, so that any port is free and every socket is its
own.
"""
import os
import socket
import subprocess
import sys
import unittest

SKIPPED = 77
MARK = "CLEAT_OWN_NETWORK"
# Starts a program as another user, who has no rights.
AS_NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]


def can_be_nobody():
    """Not without being root, nor where root is the only user there is."""
    try:
        return subprocess.run([*AS_NOBODY, "true"],
                              capture_output=True).returncode == 0
    except OSError:
        return False


def unshare():
    """The command that starts another in a new network.

    Root stays who he is, since other users are unknown in a user namespace.
    """
    mine = [] if os.geteuid() == 0 else ["--map-root-user"]
    return ["unshare", "--net", *mine, "sh", "-c",
            'ip link set lo up && exec "$@"', "sh"]


def inode(s):
    return os.fstat(s.fileno()).st_ino


class Case(unittest.TestCase):
    """With sockets of ours, which end with the test."""

    def bound(self, host, port=0, kind=socket.SOCK_STREAM, v6only=True,
              listen=True, options=(), device=None):
        """A socket, and the port that it is bound to."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        s = self.enterContext(socket.socket(family, kind))
        if family == socket.AF_INET6:
            s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, v6only)
        for option in options:
            s.setsockopt(socket.SOL_SOCKET, option, 1)
        if device:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE,
                         device.encode())
        s.bind((host, port))
        if listen and kind == socket.SOCK_STREAM:
            s.listen()
        return s, s.getsockname()[1]

    def udp(self, host, port=0, **options):
        return self.bound(host, port, socket.SOCK_DGRAM, **options)


def main():
    if os.environ.get(MARK):
        unittest.main()
    new = unshare()
    try:
        can = subprocess.run([*new, "true"], capture_output=True)
    except OSError as e:
        can = e
    if getattr(can, "returncode", 1) != 0:
        print("skipped: no network namespace to be had:",
              getattr(can, "stderr", can))
        sys.exit(SKIPPED)
    os.environ[MARK] = "1"
    os.execvp(new[0], [*new, sys.executable, *sys.argv])
