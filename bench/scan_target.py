# SPDX-License-Identifier: MIT
"""scan_target.py ADDRESS PORT...: listens on each, and closes each connection
as soon as it comes.  Says a line once it listens; ends with its input."""

import selectors
import signal
import socket
import sys


def main(address, *ports):
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # its input ends then, too
    ready = selectors.DefaultSelector()
    ready.register(sys.stdin, selectors.EVENT_READ)
    for port in ports:
        listener = socket.create_server((address, int(port)), backlog=64)
        listener.setblocking(False)
        ready.register(listener, selectors.EVENT_READ)
    print("ready", flush=True)
    while True:
        for key, _ in ready.select():
            if key.fileobj is sys.stdin:
                return
            try:
                key.fileobj.accept()[0].close()
            except OSError:  # gone already
                pass


main(*sys.argv[1:])
