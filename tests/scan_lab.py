# SPDX-License-Identifier: MIT
"""Networks in which it is known what every port is: the truth for scanners.

A test program calls own_network.main(), which gives it a network of its own;
from there it scans.  Lab adds a namespace with hosts, on the far end of a veth
pair, and one between them that delays.  Each namespace is held by one process
that dies with the test, whatever ends it, so none outlives it.

	scanner --- link0 --------- link1 --- hosts
	        \\- late0 - relay - late1 --/

This file is also the program in those namespaces: see the end.
"""
import concurrent.futures
import heapq
import ipaddress
import json
import os
import random
import selectors
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
import unittest
import xml.etree.ElementTree

import own_network
from support import check_sanitizers, tool

LONG = bool(os.environ.get("CLEAT_TEST_LONG"))
# It ends with whom started it, even if that is killed.
MORTAL = ["setpriv", "--pdeathsig", "KILL"]
SCAN_DEADLINE = 120  # seconds, for a scan that lost its way
OPEN, CLOSED, FILTERED = "open", "closed", "filtered"
SILENT = "open|filtered"

RST, DROP = "tcp reset", "drop"
ICMP4 = ["port-unreachable", "admin-prohibited", "host-unreachable",
         "net-unreachable", "host-prohibited", "net-prohibited",
         "prot-unreachable"]
ICMP6 = ["port-unreachable", "admin-prohibited", "addr-unreachable", "no-route"]

# What the ports of every host are.  A listener among OPEN_PORTS closes after
# its client, one of ABORTING at once, and by RST.
OPEN_PORTS = range(1000, 1200)
ABORTING = range(1180, 1200)
CLOSED_PORTS = range(2000, 2200)
DROPPED = range(3000, 3010)
RESET = range(3100, 3105)
UDP_ANSWERS = [53, *range(1000, 1020)]  # 53: none but a question of DNS
UDP_SILENT = range(1100, 1105)
ICMP_PORT = 4000  # and from there on ten for each kind of ICMP error


def icmp_ports(version, kind):
    first = ICMP_PORT + 10 * (ICMP4 if version == 4 else ICMP6).index(kind)
    return range(first, first + 3)


def all_icmp_ports(version):
    return [port for kind in (ICMP4 if version == 4 else ICMP6)
            for port in icmp_ports(version, kind)]


# The hosts: NAME -> the last part of their addresses.
HOSTS = {
    "plain": 1, "other": 2,
    "loss1": 11, "loss5": 15, "loss20": 20,
    "late300": 30, "late1500": 31, "jitter": 32, "late1600": 33,
    "late2500": 34,
    "rst-limited": 40, "icmp-limited": 41, "rst-tight": 42,
    "quiet": 50,
}
LOSS = {"loss1": 1, "loss5": 5, "loss20": 20}
# Seconds that an answer is held back: from, to.
DELAYS = {"late300": (0.3, 0.3), "late1500": (1.5, 1.5), "jitter": (0.02, 0.6),
          "late1600": (1.6, 1.6), "late2500": (2.5, 2.5)}
BLOCK = "10.77.24.0/24"  # most of which drops all
ALIVE = [f"10.77.24.{i}" for i in (1, 7, 64, 100, 101, 200, 254, 255)]
PROHIBITED = "10.77.5.0/24"  # by a router, which is not the host
# The link to the hosts: us, them, four whom nobody answers for, and .7, its
# broadcast address.
LINK, OURS, THEIRS = "10.77.255.0/29", "10.77.255.1", "10.77.255.2"


def address(name, version=4):
    return f"10.77.0.{HOSTS[name]}" if version == 4 else f"fd77::{HOSTS[name]}"


def tcp_truth(version=4):
    """What a scan of TCP should say of each port of a host: port -> state."""
    return {**dict.fromkeys(OPEN_PORTS, OPEN),
            **dict.fromkeys([*CLOSED_PORTS, *RESET], CLOSED),
            **dict.fromkeys([*DROPPED, *all_icmp_ports(version)], FILTERED)}


def udp_truth(version=4):
    """The same of UDP."""
    refused = icmp_ports(version, "port-unreachable")
    return {**dict.fromkeys(UDP_ANSWERS, OPEN),
            **dict.fromkeys([*UDP_SILENT, *DROPPED], SILENT),
            **dict.fromkeys(CLOSED_PORTS[:50], CLOSED),
            **dict.fromkeys(all_icmp_ports(version), FILTERED),
            **dict.fromkeys(refused, CLOSED)}


def ranges(ports):
    """A list of ports as scanners take it: "1-3,7"."""
    found = []
    for port in sorted(ports):
        if found and found[-1][1] == port - 1:
            found[-1][1] = port
        else:
            found.append([port, port])
    return ",".join(f"{a}-{b}" if a < b else f"{a}" for a, b in found)


def spread(ports):
    """The reverse: the ports of "1-3,7"."""
    return [port for part in ports.split(",") if part
            for a, _, b in [part.partition("-")]
            for port in range(int(a), int(b or a) + 1)]


# --- Scanners

class Scan:
    """What a scan found: `ports` is {(address, port): object or state}."""

    def __init__(self, argv, timeout=SCAN_DEADLINE, **options):
        start = time.monotonic()
        self.done = subprocess.run(
            [*MORTAL, *argv], stdin=subprocess.DEVNULL, capture_output=True,
            text=True, timeout=timeout, **options)
        self.seconds = time.monotonic() - start
        self.said = f"{argv}: {self.done.returncode}: {self.done.stderr}"
        check_sanitizers(self.done.stderr)

    def states(self, host=None):
        """{port: state} of HOST; of all hosts {(address, port): state}."""
        if host is None:
            return dict(self._found)
        host = str(ipaddress.ip_address(host))
        return {port: state for (at, port), state in self._found.items()
                if at == host}

    def opened(self):
        return {at for at, state in self._found.items() if state == OPEN}


class Cleat(Scan):
    """`cleat scan --json`, of all states unless ONLY_OPEN."""

    def __init__(self, *args, only_open=False, prefix=(), status=(0, 1),
                 **options):
        more = () if only_open else ("--closed", "--filtered")
        super().__init__([*prefix, tool(), "scan", "--json", *more, *args],
                         **options)
        if self.done.returncode not in status:
            raise AssertionError(self.said)
        self.results, self.summary = parse(self.done.stdout)
        self._found = {(r["address"], r["port"]): r["state"]
                       for r in self.results}
        if len(self._found) != len(self.results):
            raise AssertionError(f"{self.said}: a port was told of twice")

    def reasons(self, host):
        return {r["port"]: r["reason"] for r in self.results
                if r["address"] == host}


def at_once(*scans):
    """What each of SCANS() returns; they wait most of the time."""
    with concurrent.futures.ThreadPoolExecutor(len(scans)) as pool:
        return [f.result() for f in [pool.submit(s) for s in scans]]


def parse(text):
    """The results of --json, and the summary, which comes last."""
    *results, last = [json.loads(line) for line in text.splitlines()] or [{}]
    if "summary" not in last or any("summary" in r for r in results):
        raise AssertionError(f"a summary is to come last, and once: {last}")
    return results, last["summary"]


class Nmap(Scan):
    def __init__(self, *args, **options):
        super().__init__(["nmap", "-n", "-Pn", "-oX", "-", *args], **options)
        if self.done.returncode != 0:
            raise AssertionError(self.said)
        self._found = {}
        for host in xml.etree.ElementTree.fromstring(
                self.done.stdout).iter("host"):
            self._add(host.find("address").get("addr"), host.find("ports"))

    def _add(self, at, ports):
        for port in ports.iter("port"):
            self._found[at, int(port.get("portid"))] = (
                port.find("state").get("state"))
        for extra in ports.iter("extraports"):
            for reason in extra.iter("extrareasons"):
                for port in spread(reason.get("ports")):
                    self._found[at, port] = extra.get("state")


def differences(found, truth):
    """Lines that say where they differ; none if they do not."""
    wrong = {}
    for at in sorted(truth.keys() | found.keys()):
        pair = truth.get(at, "not scanned"), found.get(at, "not reported")
        if pair[0] != pair[1]:
            wrong.setdefault(pair, []).append(at)
    return [f"{len(at)} that are {want}, reported as {got}: {at[:8]}"
            for (want, got), at in wrong.items()]


# --- The lab

def do(*argv, input=None):
    done = subprocess.run(argv, input=input, text=True, capture_output=True)
    if done.returncode != 0:
        raise OSError(f"{' '.join(argv)}: {done.stderr.strip()}")
    return done.stdout


class Namespace:
    """Held by a process that runs this file as ARGS say, and then listens.

    It is ours if OWN is not set.
    """

    def __init__(self, *args, own=True):
        self.process = subprocess.Popen(
            [*MORTAL, *(["unshare", "--net"] if own else []), sys.executable,
             __file__, *args], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True)
        self.pid = str(self.process.pid)
        self._expect("started")  # in the namespace, from here on
        self._inside = (["nsenter", f"--net=/proc/{self.pid}/ns/net"]
                        if own else [])

    def _expect(self, word):
        said = self.process.stdout.readline().strip()
        if said != word:
            self.close()
            raise OSError(f"{__file__}: {said or 'ended'}, not {word}")

    def do(self, *argv, input=None):
        return do(*self._inside, *argv, input=input)

    def ip(self, text):
        self.do("ip", "-batch", "-", input=text)

    def sysctl(self, name, value):
        """Returns what it was; None: there is no such one here."""
        path = f"/proc/sys/net/{name}"
        done = subprocess.run(
            [*self._inside, "sh", "-c", f'cat {path} && echo "$0" > {path}',
             str(value)], capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else None

    def begin(self):
        self.process.stdin.write("begin\n")
        self.process.stdin.flush()
        self._expect("ready")

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.kill()
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def listeners(tcp=(), aborting=(), host="::", answers=(), silent=(), own=False):
    """A process that listens, in our own namespace unless OWN is set."""
    return Namespace("serve", json.dumps({
        "host": host, "tcp": list(tcp), "aborting": list(aborting),
        "answers": list(answers), "silent": list(silent)}), own=own)


def is_needed(*programs):
    """A reason to skip: which of PROGRAMS there is not."""
    lacking = [p for p in programs if not shutil.which(p)]
    return f"not installed: {', '.join(lacking)}" if lacking else None


def loss_rules(field):
    return "\n".join(
        f"{family} {field} {address(name, version)} "
        f"numgen random mod 100 < {percent} drop"
        for name, percent in LOSS.items()
        for version, family in ((4, "ip"), (6, "ip6")))


def icmp_rules(version, family):
    return "\n".join(
        f"meta l4proto {{ tcp, udp }} th dport {ranges(icmp_ports(version, k))}"
        f" reject with {family} type {k}"
        for k in (ICMP4 if version == 4 else ICMP6))


def rules():
    return f"""
table inet lab {{
	chain lose_in {{
		type filter hook prerouting priority -300;
		{loss_rules("daddr")}
	}}
	chain lose_out {{
		type filter hook postrouting priority 300;
		{loss_rules("saddr")}
		ip saddr {address("rst-limited")} tcp flags & rst == rst \
			limit rate over 100/second burst 20 packets drop
		ip saddr {address("rst-tight")} tcp flags & rst == rst \
			limit rate over 100/second burst 5 packets drop
		ip saddr {address("icmp-limited")} icmp type \
			destination-unreachable \
			limit rate over 10/second burst 6 packets drop
	}}
	chain quiet {{
	}}
	chain host {{
		type filter hook input priority 0;
		ip daddr {address("quiet")} jump quiet
		ip daddr {BLOCK} ip daddr != {{ {", ".join(ALIVE)} }} drop
		meta l4proto {{ tcp, udp }} th dport {ranges(DROPPED)} drop
		tcp dport {ranges(RESET)} reject with tcp reset
		{icmp_rules(4, "icmp")}
		{icmp_rules(6, "icmpv6")}
	}}
	chain router {{
		type filter hook forward priority 0;
		ip daddr {PROHIBITED} reject with icmp type admin-prohibited
	}}
}}
"""


class Lab:
    """The hosts, while the block runs: `with Lab() as lab`."""

    def __enter__(self):
        self.hosts = listeners(
            set(OPEN_PORTS) - set(ABORTING), ABORTING, own=True,
            answers=UDP_ANSWERS, silent=UDP_SILENT)
        self.relay = None
        try:
            self.relay = Namespace("relay", json.dumps({
                address(name, version): delay
                for name, delay in DELAYS.items() for version in (4, 6)}))
            self._connect()
            self._set_up_hosts()
            self.hosts.do("nft", "-f", "-", input=rules())
            self.hosts.begin()
            self.relay.begin()
        except BaseException:
            self.close()
            raise
        return self

    def _connect(self):
        """The two ways; of the addresses none has to be found free first."""
        hosts, relay = self.hosts.pid, self.relay.pid
        do("ip", "-batch", "-", input=f"""
link add link0 type veth peer name link1 netns {hosts}
link add late0 type veth peer name near netns {relay}
addr add 10.77.255.1/29 dev link0
addr add fd77:ff::1/64 dev link0 nodad
addr add 10.77.254.1/30 dev late0
addr add fd77:fe::1/64 dev late0 nodad
link set link0 up
link set late0 up
""")
        self.relay.ip(f"""
link add far type veth peer name late1 netns {hosts}
link set near up
link set far up
""")

    def _set_up_hosts(self):
        on_lo = "\n".join(f"addr add {address(name)}/32 dev lo\n"
                          f"addr add {address(name, 6)}/128 dev lo nodad"
                          for name in HOSTS)
        self.hosts.ip(f"""
link set lo up
addr add 10.77.255.2/29 dev link1
addr add fd77:ff::2/64 dev link1 nodad
addr add 10.77.254.2/30 dev late1
addr add fd77:fe::2/64 dev late1 nodad
link set link1 up
link set late1 up
{on_lo}
route add local {BLOCK} dev lo
route add {PROHIBITED} dev late1
""")
        late = "\n".join(
            f"route add {address(name)}/32 via 10.77.254.2\n"
            f"route add {address(name, 6)}/128 via fd77:fe::2"
            for name in DELAYS)
        do("ip", "-batch", "-", input=f"""
route add 0.0.0.0/0 via 10.77.255.2
route add ::/0 via fd77:ff::2
{late}
""")
        # Limits are for those tests that are about them.
        for name, value in (("ipv4/icmp_ratelimit", 0),
                            ("ipv4/icmp_ratemask", 0),
                            ("ipv6/icmp/ratelimit", 0),
                            ("ipv4/tcp_invalid_ratelimit", 0),
                            ("ipv4/ip_forward", 1)):
            self.hosts.sysctl(name, value)

    def silence_after(self, packets):
        """The host "quiet" takes so many packets from now on, and no more."""
        self.hosts.do("nft", "-f", "-", input=f"""
flush chain inet lab quiet
add rule inet lab quiet limit rate over 1/day burst {packets} packets drop
""")

    def close(self):
        self.hosts.close()
        if self.relay:
            self.relay.close()

    def __exit__(self, *_):
        self.close()


def open_lab(*programs):
    """For setUpModule: a lab, or the test is left out with the reason."""
    reason = is_needed("ip", "nft", "setpriv", "nsenter", *programs)
    if reason is None:
        try:
            return unittest.enterModuleContext(Lab())
        except OSError as e:
            reason = f"the lab's network cannot be made here: {e}"
    print("skipped:", reason)
    sys.exit(own_network.SKIPPED)


# --- In the namespaces

def hear(selector, s, heard):
    selector.register(s, selectors.EVENT_READ, heard)


def socket_at(host, port, kind):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    s = socket.socket(family, kind)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, host != "::")
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    s.bind((host, port))
    s.setblocking(False)
    return s


def accept_all(selector, s, aborting):
    """Take who waits; the queue never fills."""
    def until_its_end(c):
        try:
            if c.recv(4096):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        selector.unregister(c)
        c.close()

    while True:
        try:
            c, _ = s.accept()
        except OSError:
            return
        if aborting:
            c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                         struct.pack("ii", 1, 0))
            c.close()
        else:
            c.setblocking(False)
            hear(selector, c, until_its_end)


def answer(s):
    """From the address that was asked; on port 53 to a question of DNS."""
    try:
        data, control, _, peer = s.recvmsg(4096, 1024)
    except OSError:
        return
    if s.getsockname()[1] == 53:
        if len(data) < 17 or data[2] & 0xF8 or data[4:6] != b"\0\1":
            return
        data = data[:2] + bytes([data[2] | 0x80, data[3]]) + data[4:]
    try:
        s.sendmsg([data or b"answer"], control, 0, peer)
    except OSError:
        pass


def serve(spec):
    selector = selectors.EpollSelector()
    for key in "tcp", "aborting":
        for port in spec[key]:
            s = socket_at(spec["host"], port, socket.SOCK_STREAM)
            s.listen(4096)
            hear(selector, s, lambda s, aborting=key == "aborting":
                 accept_all(selector, s, aborting))
    for port in spec["answers"]:
        hear(selector, socket_at(spec["host"], port, socket.SOCK_DGRAM), answer)
    silent = [socket_at(spec["host"], port, socket.SOCK_DGRAM)
              for port in spec["silent"]]
    print("ready", flush=True)
    while silent is not None:
        for key, _ in selector.select():
            key.data(key.fileobj)


# linux/if_packet.h: each frame is preceded by what is left to do of it, such
# as its checksum, in the ten bytes of a struct virtio_net_hdr.
SOL_PACKET, PACKET_VNET_HDR, VNET_HDR = 263, 15, 10
OUTGOING = 4


def source(frame):
    kind, packet = frame[12:14], frame[14:]
    if kind == b"\x08\x00":
        return socket.inet_ntop(socket.AF_INET, packet[12:16])
    if kind == b"\x86\xdd":
        return socket.inet_ntop(socket.AF_INET6, packet[8:24])
    return None


def relay(delays):
    """Pass frames on between near and far; what DELAYS names comes late."""
    ends = []
    for name in "near", "far":
        s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        s.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        s.bind((name, 3))  # ETH_P_ALL
        s.setblocking(False)
        ends.append(s)
    selector = selectors.EpollSelector()
    hear(selector, ends[0], ends[1])
    hear(selector, ends[1], ends[0])
    print("ready", flush=True)
    held, count = [], 0
    while True:
        wait = held[0][0] - time.monotonic() if held else None
        for key, _ in selector.select(wait and max(wait, 0)):
            frame, at = key.fileobj.recvfrom(65536)
            if at[2] == OUTGOING:
                continue
            delay = delays.get(source(frame[VNET_HDR:]), (0, 0))
            count += 1
            heapq.heappush(held, (time.monotonic() + random.uniform(*delay),
                                  count, key.data, frame))
        while held and held[0][0] <= time.monotonic():
            _, _, to, frame = heapq.heappop(held)
            to.send(frame)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    print("started", flush=True)
    if sys.stdin.readline() == "begin\n":
        {"serve": serve, "relay": relay}[sys.argv[1]](json.loads(sys.argv[2]))
