#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""cleat scan against hosts of which every port is known, and beside nmap."""
import ipaddress
import shutil
import unittest

import own_network
from scan_lab import (
    ALIVE, BLOCK, CLOSED, CLOSED_PORTS, DROPPED, FILTERED, LINK, LONG, OPEN,
    OPEN_PORTS, OURS, PROHIBITED, RESET, SILENT, THEIRS, Cleat, Nmap, address,
    all_icmp_ports, at_once, differences, do, icmp_ports, listeners, open_lab,
    ranges, tcp_truth, udp_truth)

CONNECT, SYN, UDP = (), ("--syn",), ("-u",)
lab = None
needs_nmap = unittest.skipUnless(shutil.which("nmap"), "no nmap here")


def setUpModule():
    global lab
    lab = open_lab()


def some(truth, step):
    """One port in STEP of those that are open or closed, and all others."""
    return {port: state for port, state in truth.items()
            if port not in OPEN_PORTS and port not in CLOSED_PORTS
            or port % step == 0}


class Case(unittest.TestCase):
    def assert_true(self, found, truth, host):
        self.assertEqual(differences(found.states(host), truth), [],
                         found.said)

    def scan(self, truth, *args, host="plain", version=4):
        """Every verdict is true."""
        return self.scan_all((truth, args, host, version))[0]

    def scan_all(self, *cases):
        """The same of each (truth, args, host, version), at the same time."""
        all_found = at_once(*[
            lambda truth=truth, args=args, at=address(host, version):
            Cleat(*args, "-p", ranges(truth), at)
            for truth, args, host, version in cases])
        for found, (truth, args, host, version) in zip(all_found, cases):
            with self.subTest(args, host=host, version=version):
                self.assert_true(found, truth, address(host, version))
                self.assertEqual(found.summary["ports"], len(truth))
                for state in OPEN, CLOSED, FILTERED, SILENT:
                    self.assertEqual(found.summary[state],
                                     list(truth.values()).count(state))
        return all_found


class Verdicts(Case):
    def test_tcp(self):
        for engine in CONNECT, SYN:
            for version in 4, 6:
                found = self.scan(tcp_truth(version), *engine, version=version)
                with self.subTest(engine, version=version):
                    self.check_reasons(found, version)

    def check_reasons(self, found, version):
        """Of a port that ICMP rejects it says so, and of none else."""
        reasons = found.reasons(address("plain", version))
        rejected = {port for port, reason in reasons.items()
                    if "ICMP" in reason}
        self.assertEqual(rejected, set(all_icmp_ports(version)))
        refused = {port for port, reason in reasons.items() if "RST" in reason}
        self.assertEqual(refused, {*CLOSED_PORTS, *RESET})
        kinds = {reasons[port] for port in rejected}
        self.assertEqual(len(kinds), 7 if version == 4 else 4)  # and which

    def test_udp(self):
        for version in 4, 6:
            with self.subTest(version):
                truth = udp_truth(version)
                found = self.scan(truth, *UDP, version=version)
                reasons = found.reasons(address("plain", version))
                self.assertEqual(
                    {port for port in truth if "ICMP" in reasons[port]},
                    {*all_icmp_ports(version), *CLOSED_PORTS[:50]})

    def test_round_trips(self):
        """Of what answered, and of nothing else."""
        found = self.scan(some(tcp_truth(), 20))
        for r in found.results:
            if r["port"] in DROPPED:
                self.assertIsNone(r["rtt_us"])
            else:
                self.assertTrue(0 <= r["rtt_us"] < 5e6, r)

    def test_round_trips_of_raw_sockets(self):
        """Of ports that are asked together it is not known of each."""
        found = self.scan(tcp_truth(), *SYN)
        self.assertIn(None, [r["rtt_us"] for r in found.results
                             if r["state"] == OPEN])

    @needs_nmap
    def test_nmap_agrees(self):
        """Who made the lab may err too."""
        def ask(how, version, truth):
            six = ["-6"] if version == 6 else []
            return Nmap(how, *six, "-p", ranges(truth),
                        address("plain", version))

        for version in 4, 6:
            tcp, udp = (some(truth(version), 5)
                        for truth in (tcp_truth, udp_truth))
            # For connect(2) alone this is the same as an RST.
            as_user = {**tcp, **dict.fromkeys(
                icmp_ports(version, "port-unreachable"), CLOSED)}
            cases = ("-sS", tcp), ("-sT", as_user), ("-sU", udp)
            for found, (how, truth) in zip(
                    at_once(*[lambda how=how, truth=truth:
                              ask(how, version, truth)
                              for how, truth in cases]), cases):
                with self.subTest(how, version=version):
                    self.assert_true(found, truth, address("plain", version))

    def test_several_hosts_of_both_families(self):
        hosts = [address(name, version) for name in ("plain", "other")
                 for version in (4, 6)]
        truth = {port: state for port, state in tcp_truth().items()
                 if port not in range(4000, 5000)}
        for engine in CONNECT, SYN:
            with self.subTest(engine):
                found = Cleat(*engine, "-p", ranges(truth), *hosts)
                for host in hosts:
                    self.assert_true(found, truth, host)
                self.assertEqual(found.summary["hosts"], 4)
                self.assertEqual(found.summary["hosts_answered"], 4)


class Late(Case):
    def test_tcp(self):
        """What is dropped as well is long waited for here."""
        def truth(version):
            return {port: state for port, state in
                    some(tcp_truth(version), 4).items()
                    if LONG or port not in DROPPED}
        self.scan_all(*[
            (truth(version), engine, name, version)
            for name in ("late300", "late1500", "jitter")
            for engine in (CONNECT, SYN) for version in (4, 6)])

    def test_beside_hosts_that_answer_at_once(self):
        """How long is waited depends on the host, not on its company."""
        truth = {port: state for port, state in some(tcp_truth(), 20).items()
                 if state != FILTERED}
        hosts = [address(name) for name in ("late1600", "late2500", "plain")]
        for found in at_once(*[
                lambda engine=engine: Cleat(*engine, "-p", ranges(truth),
                                            *hosts)
                for engine in (CONNECT, SYN)]):
            for host in hosts:
                with self.subTest(found.said, host=host):
                    self.assert_true(found, truth, host)

    def test_round_trip(self):
        for engine in CONNECT, SYN:
            with self.subTest(engine):
                found = self.scan({1000: OPEN, 2000: CLOSED}, *engine,
                                  host="late300")
                for r in found.results:
                    self.assertGreaterEqual(r["rtt_us"], 300_000)

    def test_udp(self):
        truth = {port: state for port, state in udp_truth().items()
                 if state != SILENT}
        for name in "late300", "late1500":
            with self.subTest(name):
                self.scan(truth, *UDP, host=name)

    def test_a_timeout_of_the_users(self):
        """Then it is not waited for."""
        for engine in CONNECT, SYN:
            with self.subTest(engine):
                self.scan({1000: FILTERED, 2000: FILTERED}, *engine,
                          "--timeout", "100ms", host="late1500")


class Limited(Case):
    """Hosts that answer so many in a second, which is no property of a port."""

    def test_rst(self):
        truth = {port: state for port, state in some(tcp_truth(), 1 if LONG
                                                     else 2).items()
                 if state != FILTERED}
        for engine in CONNECT, SYN:
            self.scan(truth, *engine, host="rst-limited")

    def test_rst_hardly_at_once(self):
        """Of those that are sent together no more than five are answered."""
        truth = {port: state for port, state in tcp_truth().items()
                 if state == CLOSED or port in OPEN_PORTS[:5]}
        truth |= dict.fromkeys(range(2200, 2390), CLOSED)
        truth |= dict.fromkeys(DROPPED[:5], FILTERED)
        self.scan(truth, *SYN, host="rst-tight")

    def test_icmp(self):
        self.scan_all(*[(some(tcp_truth(), 10), engine, "icmp-limited", 4)
                        for engine in (CONNECT, SYN)])

    def test_icmp_of_udp(self):
        truth = {port: state for port, state in udp_truth().items()
                 if state in (OPEN, CLOSED)}
        self.scan(truth, *UDP, host="icmp-limited")

    def test_a_kernel_as_it_comes(self):
        """Of ICMP errors one in a second to whom they are for, and six."""
        for name, value in (("ipv4/icmp_ratelimit", 1000),
                            ("ipv4/icmp_ratemask", 6168),
                            ("ipv6/icmp/ratelimit", 1000)):
            before = lab.hosts.sysctl(name, value)
            if before is None:
                self.skipTest(f"{name} cannot be set")
            self.addCleanup(lab.hosts.sysctl, name, before)
        self.scan_all(*[(some(tcp_truth(version), 10), engine, "plain",
                         version) for engine in (CONNECT, SYN)
                        for version in (4, 6)])
        truth = udp_truth()
        refused = [port for port in truth if truth[port] == CLOSED][:9]
        silent = [port for port in truth if truth[port] == SILENT][:1]
        self.scan({port: truth[port] for port in refused + silent}, *UDP)

    def test_a_host_that_goes_silent(self):
        """All that was heard is true, and it says who fell silent."""
        truth = {port: state for port, state in tcp_truth().items()
                 if state != FILTERED}
        at = address("quiet")
        for engine in CONNECT, SYN:
            with self.subTest(engine):
                lab.silence_after(120)
                found = Cleat(*engine, "-p", ranges(truth), at,
                              address("plain"))
                self.assert_true(found, truth, address("plain"))
                states = found.states(at)
                heard = {port for port, state in states.items()
                         if state != FILTERED}
                self.assertEqual({port: states[port] for port in heard},
                                 {port: truth[port] for port in heard})
                self.assertTrue(0 < len(heard) <= 120, found.said)
                self.assertEqual(
                    [o["address"] for o in found.summary["silenced"]], [at])


class Ways(Case):
    """Of those who are not there, and of those that nothing leads to."""

    def scan_places(self, truth, *targets, engines=(CONNECT, SYN), prefix=()):
        """TRUTH is {(address, port): state}."""
        ports = ranges({port for _, port in truth})
        for engine in engines:
            with self.subTest(engine):
                found = Cleat(*engine, "-p", ports, *targets, prefix=prefix)
                self.assertEqual(differences(found.states(), truth), [],
                                 found.said)

    def test_a_block_in_which_most_is_dropped(self):
        ports = [*OPEN_PORTS[::20], *CLOSED_PORTS[::20]]
        truth = {(str(at), port): tcp_truth()[port] if str(at) in ALIVE
                 else FILTERED for at in ipaddress.ip_network(BLOCK)
                 for port in ports}
        for found in at_once(*[
                lambda engine=engine: Cleat(*engine, "-p", ranges(ports), BLOCK)
                for engine in (CONNECT, SYN)]):
            with self.subTest(found.said):
                self.assertEqual(differences(found.states(), truth), [])
                self.assertEqual(found.summary["hosts_answered"], len(ALIVE))
                self.assertEqual(found.summary["silenced"], [])

    def test_the_link(self):
        """Ourselves, a host, addresses that are nobody's, and broadcast."""
        truth = {(str(at), port): FILTERED
                 for at in ipaddress.ip_network(LINK) for port in (1000, 2000)}
        truth |= {(at, 2000): CLOSED for at in (OURS, THEIRS)}
        truth |= {(OURS, 1000): CLOSED, (THEIRS, 1000): OPEN}
        self.scan_places(truth, LINK)

    def test_nobody_on_the_link(self):
        """That is this machine's word, and takes no time on the way."""
        for at, said in ((OURS[:-1] + "4", "no answer to ARP"),
                         ("fd77:ff::4", "no answer to neighbor discovery")):
            for engine in CONNECT, SYN:
                with self.subTest(engine, at=at):
                    found = Cleat(*engine, "-p", "1000", at)
                    self.assertEqual(found.reasons(at), {1000: said})
                    self.assertIsNone(found.results[0]["rtt_us"])

    def test_the_source_that_the_route_names(self):
        """An address of lo, although each link has but one of its own."""
        ours, at = "192.168.77.1", "10.66.0.1"
        with (listeners(own=True) as us,
              listeners([1000], host=at, own=True) as them):
            us.ip(f"""
link add out type veth peer name in netns {them.pid}
link set lo up
link set out up
addr add 10.55.0.1/30 dev out
addr add {ours}/32 dev lo
""")
            them.ip(f"""
link set lo up
link set in up
addr add 10.55.0.2/30 dev in
addr add {at}/32 dev lo
route add {ours}/32 via 10.55.0.1
""")
            us.ip(f"route add {at}/32 via 10.55.0.2 src {ours}\n")
            them.do("nft", "-f", "-", input=f"""
table inet picky {{
	chain in {{
		type filter hook input priority 0;
		ip saddr 10.55.0.1 drop
	}}
}}
""")
            them.begin()
            self.scan_places(
                {(at, 1000): OPEN, (at, 2000): CLOSED}, at,
                prefix=["nsenter", f"--net=/proc/{us.pid}/ns/net"])

    def test_a_router_forbids(self):
        at = PROHIBITED.replace("0/24", "9")
        for engine in CONNECT, SYN, UDP:
            with self.subTest(engine):
                found = Cleat(*engine, "-p", "1000,2000", at)
                self.assert_true(found, {1000: FILTERED, 2000: FILTERED}, at)
                for reason in found.reasons(at).values():
                    self.assertRegex(reason, "ICMP.*prohibited")

    def test_no_way(self):
        """None of these is why to end, nor is any of them a host's word."""
        kinds = "unreachable", "prohibit", "blackhole"
        truth = {}
        for i, kind in enumerate(kinds, 1):
            for net in f"10.99.{i}.0/24", f"fd99:{i}::/64":
                do("ip", "route", "add", kind, net)
                self.addCleanup(do, "ip", "route", "del", kind, net)
            truth |= {(f"10.99.{i}.1", 1000): FILTERED,
                      (f"fd99:{i}::1", 1000): FILTERED}
        truth |= {(address("plain"), 1000): OPEN}
        self.scan_places(truth, *[at for at, _ in truth])
        self.scan_places(truth, *[at for at, _ in truth], engines=[UDP])

    def test_what_we_ourselves_forbid(self):
        do("nft", "-f", "-", input=f"""
table inet ours {{
	chain out {{
		type filter hook output priority 0;
		meta l4proto {{ tcp, udp }} th dport 1005 drop
		meta l4proto {{ tcp, udp }} th dport 1006 reject
		tcp dport 1007 reject with tcp reset
	}}
}}
""")
        self.addCleanup(do, "nft", "delete", "table", "inet", "ours")
        at = address("plain")
        truth = {1004: OPEN, 1005: FILTERED, 2000: CLOSED}
        for engine in CONNECT, SYN:
            with self.subTest(engine):
                self.scan(truth, *engine)
        self.scan({1004: OPEN, 1005: SILENT}, *UDP)
        for engine in CONNECT, SYN, UDP:
            found = Cleat(*engine, "-p", "1006,1007", at).states(at)
            self.assertNotEqual(found[1006], OPEN)


class Company(Case):
    def test_scans_at_the_same_time(self):
        """Answers to one are none to another, of the same host or not."""
        truth = tcp_truth()
        shares = [{port: state for port, state in truth.items()
                   if port % 3 == i} for i in range(3)]
        self.scan_all(*[(share, engine, "plain", 4)
                        for share in [*shares, truth]
                        for engine in (SYN, SYN, CONNECT)])


class Payloads(Case):
    def test_dns_is_asked_a_question(self):
        """Nothing else is answered there."""
        for version in 4, 6:
            self.scan({53: OPEN}, *UDP, version=version)


if __name__ == "__main__":
    own_network.main()
