# SPDX-License-Identifier: MIT
"""listeners.py PROCESSES EACH: so many processes, each listening on so many
ports of 127.0.0.1, from 10000 on.  Says a line once all do; ends with its
input."""

import os
import signal
import socket
import sys

FIRST = 10000


def listen_and_wait(ports, ready):
    held = []
    try:
        for port in ports:
            listener = socket.socket()
            listener.bind(("127.0.0.1", port))
            listener.listen()
            held.append(listener)
        os.write(ready, b".")
        signal.pause()
    finally:
        os.write(ready, b"!")
        os._exit(1)


def main(processes, each):
    children = []
    is_ready, ready = os.pipe()
    try:
        for i in range(processes):
            start = FIRST + i * each
            child = os.fork()
            if child == 0:
                listen_and_wait(range(start, start + each), ready)
            children.append(child)
        os.close(ready)
        said = b""
        while len(said) < processes and b"!" not in said:
            said += os.read(is_ready, 4096)
        if b"!" in said:
            sys.exit("listeners.py: a port is taken")
        print("listening", flush=True)
        sys.stdin.read()
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
        for child in children:
            os.waitpid(child, 0)  # its ports are free only then


main(*map(int, sys.argv[1:]))
