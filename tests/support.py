# SPDX-License-Identifier: MIT
"""What the tests that look from outside share: programs, ports and peers.

Nothing here waits a fixed time: what is waited for is a condition, and a
deadline makes it fail.
"""
import contextlib
import os
import pathlib
import re
import signal
import socket
import socketserver
import struct
import subprocess
import threading
import time
import unittest

BUILD = pathlib.Path(os.environ.get("CLEAT_BUILD", "build")).resolve()
DEADLINE = 20  # seconds; generous, since only a failure takes that long
LISTENING = re.compile(r"listening on (\S+)")
SANITIZER = re.compile(r".*(?:Sanitizer|runtime error:).*")

# Starts a program where there is nothing but a loopback of its own.
OWN_NETWORK = ["unshare", "--net", "--map-root-user", "sh", "-c",
               'ip link set lo up && exec "$@"', "sh"]


def example(name):
    return str(BUILD / "examples" / name)


def tool():
    return os.environ.get("CLEAT", str(BUILD / "cleat"))


def wait_until(condition, what, seconds=DEADLINE):
    """The first true value of CONDITION(), or a failure that says WHAT."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds} s in vain for {what}")
        time.sleep(0.005)
    return value


def is_sanitized():
    """Whether the tool looks after its memory, and so takes more of it."""
    return b"__asan_init" in pathlib.Path(tool()).read_bytes()


def check_sanitizers(err):
    """A sanitizer's complaint fails a test whatever else it looks at."""
    text = err if isinstance(err, str) else (err or b"").decode("latin-1")
    if SANITIZER.search(text):
        raise AssertionError(text)


def run(*argv, input="", timeout=DEADLINE, **options):
    """Run a program to its end; bytes go in and come out if INPUT is bytes.

    STDIN, STDOUT and STDERR may be given instead of being piped.
    """
    if "stdin" not in options:
        options["input"] = input
    options.setdefault("stdout", subprocess.PIPE)
    options.setdefault("stderr", subprocess.PIPE)
    done = subprocess.run(argv, text=isinstance(input, str), timeout=timeout,
                          **options)
    check_sanitizers(done.stderr)
    return done


class Program:
    """A program that runs while the block does: `with Program(...) as p`.

    It leads a process group of its own, so that its children end with it.
    `out` and `err` hold what it has written so far.
    """

    def __init__(self, *argv, stdin=subprocess.DEVNULL, **options):
        self.argv = argv
        self.process = subprocess.Popen(
            argv, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True, **options)
        self.pid = self.process.pid
        self.stdin = self.process.stdin
        self._written = {"out": bytearray(), "err": bytearray()}
        self._readers = [
            threading.Thread(target=self._read, args=args, daemon=True)
            for args in (("out", self.process.stdout),
                         ("err", self.process.stderr))]
        for reader in self._readers:
            reader.start()

    def _read(self, name, pipe):
        while chunk := os.read(pipe.fileno(), 65536):
            self._written[name] += chunk

    @property
    def out_bytes(self):
        return bytes(self._written["out"])

    @property
    def out(self):
        return self._written["out"].decode(errors="replace")

    @property
    def err(self):
        return self._written["err"].decode(errors="replace")

    def addresses(self, n=1):
        """The first N addresses it says it listens on, once it has."""
        def announced():
            found = LISTENING.findall(self._whole_lines())
            if len(found) < n and self.process.poll() is not None:
                raise AssertionError(f"{self.argv} ended: {self.err}")
            return found if len(found) >= n else None
        return wait_until(announced, f"{self.argv} to listen")[:n]

    def _whole_lines(self):
        text = self.out + "\n" + self.err
        return text[:text.rfind("\n") + 1]

    def ports(self, n=1):
        return [int(a.rpartition(":")[2]) for a in self.addresses(n)]

    @property
    def port(self):
        return self.ports()[0]

    def wait_for(self, text):
        """Until it has written TEXT, to either side."""
        wait_until(lambda: text in self.out or text in self.err,
                   f"{text!r} from {self.argv}")

    def wait(self, timeout=DEADLINE):
        """Its exit status, with all of its output in `out` and `err`."""
        status = self.process.wait(timeout)
        for reader in self._readers:
            reader.join(timeout)
        return status

    def signal(self, number):
        self.process.send_signal(number)

    def children(self):
        """The pids of its child processes, of whichever thread."""
        found = []
        for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                fields = stat.read_text("latin-1").rpartition(")")[2].split()
                if int(fields[1]) == self.pid:
                    found.append(int(stat.parent.name))
        return found

    def stop(self):
        self._signal_group(signal.SIGTERM)
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            pass
        self._signal_group(signal.SIGKILL)
        self.process.wait()
        for reader in self._readers:
            reader.join()
        for pipe in (self.process.stdin, self.process.stdout,
                     self.process.stderr):
            if pipe:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        check_sanitizers(self._written["err"])

    def _signal_group(self, number):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


@contextlib.contextmanager
def held_port(*hosts):
    """A port that is ours on each of HOSTS and that nobody listens on.

    Connecting to it is refused.  A listener with SO_REUSEADDR, which is what
    cleat's are, may take it all the same, and nobody else gets it by chance.
    """
    hosts = hosts or ("127.0.0.1",)
    with contextlib.ExitStack() as stack:
        port = 0
        for host in hosts:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            s = stack.enter_context(socket.socket(family))
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            s.bind((host, port))
            port = s.getsockname()[1]
        yield port


@contextlib.contextmanager
def silent_port():
    """A port that does not answer: its queue is full, the SYN is dropped."""
    with contextlib.ExitStack() as stack:
        s = stack.enter_context(socket.socket())
        s.bind(("127.0.0.1", 0))
        s.listen(0)
        for _ in range(4):
            c = stack.enter_context(socket.socket())
            c.setblocking(False)
            c.connect_ex(s.getsockname())
        yield s.getsockname()[1]


def connect(port, host="127.0.0.1"):
    return socket.create_connection((host, port), timeout=DEADLINE)


def dial(address):
    """A socket that is connected to ADDRESS, as a server announced it."""
    proto, _, rest = address.rpartition("://")
    kind = socket.SOCK_DGRAM if proto == "udp" else socket.SOCK_STREAM
    family = socket.AF_INET6 if rest.startswith("[") else socket.AF_INET
    if rest.startswith("unix"):
        scheme, _, rest = rest.partition(":")
        kind = (socket.SOCK_DGRAM if scheme == "unixgram" else
                socket.SOCK_STREAM)
        family, to = socket.AF_UNIX, rest
        if rest.startswith("@"):
            to = "\0" + rest[1:]
    else:
        host, _, port = rest.rpartition(":")
        to = (host.strip("[]"), int(port))
    s = socket.socket(family, kind)
    s.settimeout(DEADLINE)
    try:
        if family == socket.AF_UNIX and kind == socket.SOCK_DGRAM:
            s.bind("")  # a name for the answer to go to
        s.connect(to)
    except BaseException:
        s.close()
        raise
    return s


def abort(s):
    """Its close, which follows, sends RST."""
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as s:
            s.bind(("::1", 0))
        return True
    except OSError:
        return False


def has_own_network():
    try:
        return run(*OWN_NETWORK, "true").returncode == 0
    except OSError:
        return False


needs_ipv6 = unittest.skipUnless(has_ipv6(), "no IPv6 loopback here")
needs_own_network = unittest.skipUnless(
    has_own_network(), "no network namespace to be had")


def read_all(s):
    """To the end of the stream."""
    return b"".join(iter(lambda: s.recv(65536), b""))


def read_exactly(s, n):
    data = b""
    while len(data) < n:
        chunk = s.recv(n - len(data))
        if not chunk:
            raise AssertionError(f"ended after {data!r}, wanted {n} bytes")
        data += chunk
    return data


class Peer:
    """A server on Python's standard library, in threads: `with Peer(f) as p`.

    TCP and unix: f(sock) has one connection.  UDP: f(data) is the answer, None
    for no answer.  `received` is for f to append to, or holds the datagrams.
    ADDRESS is (host, port), or a path for a unix socket.
    """

    def __init__(self, handle, address=("127.0.0.1", 0), udp=False):
        self.received = []
        self._handle = handle
        unix = isinstance(address, (str, bytes))
        if unix:
            base = (socketserver.ThreadingUnixDatagramServer if udp else
                    socketserver.ThreadingUnixStreamServer)
        else:
            base = (socketserver.ThreadingUDPServer if udp else
                    socketserver.ThreadingTCPServer)
        ipv6 = not unix and ":" in address[0]

        class Server(base):
            address_family = socket.AF_INET6 if ipv6 else base.address_family
            daemon_threads = True
            block_on_close = False
            request_queue_size = 128
            max_packet_size = 65535

            def shutdown_request(self, request):
                self.close_request(request)  # no FIN before a reset

            def handle_error(self, request, client_address):
                pass  # the program's side of it is what is tested

        self._server = Server(
            address, self._datagram if udp else self._stream)
        self.address = self._server.server_address
        self.port = None if unix else self.address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True)

    def _stream(self, request, client_address, server):
        request.settimeout(DEADLINE)
        self._handle(request)

    def _datagram(self, request, client_address, server):
        data, sock = request
        self.received.append(data)
        answer = self._handle(data)
        if answer is not None:
            sock.sendto(answer, client_address)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def echo(sock):
    while data := sock.recv(65536):
        sock.sendall(data)


def capitals(sock):
    for line in sock.makefile("rb"):
        sock.sendall(line.upper())


def acknowledge(data):
    return b"ACK: " + data
