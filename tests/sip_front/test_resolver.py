"""RFC 3263 by its rules, with answers made here; and over the wire, with a name server of the test."""

import asyncio
import collections
import socket
import threading
from collections.abc import Iterator

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from sip_front.dns_client import DnsClient
from sip_front.resolver import MAX_NAMES, SECOND, Answer, Naptr, Resolver, Srv, Unresolved
from sip_front.transport import Address
from sip_front.uri import parse_uri

Zone = dict[tuple[str, str], list[Naptr | Srv | str]]
HOSTS: Zone = {("a.example.com", "A"): ["192.0.2.1"], ("b.example.com", "A"): ["192.0.2.2"], ("b.example.com", "AAAA"): ["2001:db8::2"]}


class Dns:
    def __init__(self, zone: Zone, ttl_s: float = 300.0) -> None:
        self.zone, self.ttl_s = HOSTS | zone, ttl_s
        self.asked: list[tuple[str, str]] = []
        self.is_away = False
        self.now_ns = 0
        self.resolver = Resolver(self.ask, seed=1, now_ns=lambda: self.now_ns)

    async def ask(self, name: str, kind: str) -> Answer:
        self.asked.append((name, kind))
        if self.is_away:
            raise OSError("timed out")
        return Answer(tuple(self.zone.get((name, kind), ())), self.ttl_s)

    def find(self, uri: str) -> list[str]:
        return [str(address) for address in asyncio.run(self.resolver.resolve(parse_uri(uri)))]


def srv(target: str, port: int = 5060, priority: int = 10, weight: int = 0) -> Srv:
    return Srv(priority, weight, port, target)


@pytest.mark.parametrize(
    ("uri", "zone", "addresses"),
    [
        ("sip:192.0.2.9", {}, ["192.0.2.9:5060"]),
        ("sips:[2001:db8::9]:5070", {}, ["tls:[2001:db8::9]:5070"]),
        ("sip:b.example.com", {}, ["192.0.2.2:5060", "[2001:db8::2]:5060"]),
        ("sip:b.example.com:5080", {("_sip._udp.b.example.com", "SRV"): [srv("a.example.com")]}, ["192.0.2.2:5080", "[2001:db8::2]:5080"]),
        ("sips:a.example.com", {}, ["tls:192.0.2.1:5061"]),
        ("sip:a.example.com;transport=tls", {}, ["tls:192.0.2.1:5061"]),
        ("sip:x.example.com", {("_sip._udp.x.example.com", "SRV"): [srv("a.example.com", 5070)]}, ["192.0.2.1:5070"]),
        (
            "sip:x.example.com",
            {("_sip._tcp.x.example.com", "SRV"): [srv("a.example.com", 5070)], ("_sip._udp.x.example.com", "SRV"): [srv("192.0.2.7")]},
            ["192.0.2.7:5060", "tcp:192.0.2.1:5070"],
        ),
        ("sip:x.example.com;transport=tcp", {("_sip._tcp.x.example.com", "SRV"): [srv("a.example.com.", 5070)]}, ["tcp:192.0.2.1:5070"]),
        (
            "sips:x.example.com",
            {("_sip._udp.x.example.com", "SRV"): [srv("a.example.com")], ("_sips._tcp.x.example.com", "SRV"): [srv("a.example.com", 5071)]},
            ["tls:192.0.2.1:5071"],
        ),
        (
            "sip:x.example.com",
            {
                ("x.example.com", "NAPTR"): [
                    Naptr(20, 1, "s", "SIP+D2U", "u.example.com."),
                    Naptr(10, 2, "S", "sip+d2t", "t.example.com."),
                    Naptr(10, 1, "s", "SIPS+D2T", "s.example.com."),
                    Naptr(1, 1, "s", "SIP+D2S", "sctp.example.com."),
                    Naptr(1, 1, "u", "SIP+D2U", "!regexp!"),
                ],
                ("u.example.com", "SRV"): [srv("a.example.com", 1)],
                ("t.example.com", "SRV"): [srv("a.example.com", 2)],
                ("s.example.com", "SRV"): [srv("a.example.com", 3)],
            },
            ["tls:192.0.2.1:3", "tcp:192.0.2.1:2", "192.0.2.1:1"],
        ),
        (
            "sips:x.example.com",
            {
                ("x.example.com", "NAPTR"): [Naptr(1, 1, "s", "SIP+D2U", "u.example.com"), Naptr(2, 1, "s", "SIPS+D2T", "s.example.com")],
                ("s.example.com", "SRV"): [srv("a.example.com", 3)],
            },
            ["tls:192.0.2.1:3"],
        ),
    ],
)
def test_where_a_uri_leads(uri: str, zone: Zone, addresses: list[str]) -> None:
    assert Dns(zone).find(uri) == addresses


def test_the_certificate_must_be_for_what_was_asked_for() -> None:
    dns = Dns({("_sips._tcp.x.example.com", "SRV"): [srv("a.example.com", 5061)]})
    assert asyncio.run(dns.resolver.resolve(parse_uri("sips:x.example.com"))) == [Address("192.0.2.1", 5061, "tls", name="x.example.com")]


@pytest.mark.parametrize("uri", ["sip:nowhere.example.com", "sip:gone.example.com", "sips:1@192.0.2.1;transport=udp"])
def test_what_leads_nowhere_says_so(uri: str) -> None:
    with pytest.raises(Unresolved, match=r"DNS|transport"):
        Dns({("_sip._udp.gone.example.com", "SRV"): [srv(".")], ("gone.example.com", "A"): ["192.0.2.3"]}).find(uri)


def test_servers_are_tried_by_priority_and_weight_and_a_dot_is_no_server() -> None:
    servers = [srv("last", priority=20), srv("big", weight=90), srv("small", weight=10), srv(".", priority=1)]
    addresses = {(name, "A"): [f"192.0.2.{n}"] for n, name in enumerate(("last", "big", "small"))}
    dns = Dns({("_sip._udp.x.example.com", "SRV"): servers, **addresses})
    orders = [[place.partition(":")[0] for place in dns.find("sip:x.example.com")] for _ in range(200)]
    assert all(sorted(order) == ["192.0.2.0", "192.0.2.1", "192.0.2.2"] and order[2] == "192.0.2.0" for order in orders)
    assert 160 < collections.Counter(order[0] for order in orders)["192.0.2.1"] < 200


def test_answers_are_kept_for_as_long_as_they_say_and_their_absence_for_a_short_time() -> None:
    dns = Dns({}, ttl_s=100.0)
    dns.find("sip:a.example.com:5060")
    asked = len(dns.asked)
    dns.now_ns = 29 * SECOND
    dns.find("sip:A.example.com:5060")
    assert len(dns.asked) == asked
    dns.now_ns = 31 * SECOND
    dns.find("sip:a.example.com:5060")
    assert dns.asked[asked:] == [("a.example.com", "AAAA")], "there was none"
    dns.now_ns = 101 * SECOND
    dns.find("sip:a.example.com:5060")
    assert ("a.example.com", "A") in dns.asked[asked + 1 :]


def test_what_was_known_is_used_while_no_server_answers() -> None:
    dns = Dns({})
    dns.find("sip:a.example.com:5060")
    dns.is_away, dns.now_ns = True, 4_000 * SECOND
    assert dns.find("sip:a.example.com:5060") == ["192.0.2.1:5060"]
    with pytest.raises(Unresolved, match=r"cannot be looked up \(timed out\); look at sip.nameservers"):
        dns.find("sip:b.example.com:5060")


def test_what_is_kept_is_bounded() -> None:
    dns = Dns({})
    for n in range(MAX_NAMES):
        with pytest.raises(Unresolved):
            dns.find(f"sip:{n}.example.org:5060")
    assert len(dns.resolver.known) == MAX_NAMES
    huge: Zone = {("h.example.com", "A"): [f"192.0.2.{n}" for n in range(200)]}
    assert len(Dns(huge).find("sip:h.example.com:5060")) == 16


# ---- over the wire ---------------------------------------------------------------------------------------------------

RECORDS = {
    ("x.example.com.", "NAPTR"): ("60 IN NAPTR", ['10 1 "s" "SIP+D2T" "" _sip._tcp.x.example.com.']),
    ("_sip._tcp.x.example.com.", "SRV"): ("60 IN SRV", ["10 1 5070 one.example.com.", "20 1 5071 two.example.com."]),
    ("one.example.com.", "A"): ("60 IN A", ["192.0.2.1"]),
    ("two.example.com.", "A"): ("60 IN A", ["192.0.2.2"]),
}


@pytest.fixture(name="server")
def _server() -> Iterator[str]:
    """A name server on loopback that knows RECORDS; ADDRESS:PORT."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=answer, args=(one,))
        thread.start()
        yield f"127.0.0.1:{one.getsockname()[1]}"
        one.sendto(b"stop", one.getsockname())
        thread.join()


def answer(one: socket.socket) -> None:
    while (question := one.recvfrom(4096))[0] != b"stop":
        query = dns.message.from_wire(question[0])
        response = dns.message.make_response(query)
        response.flags |= dns.flags.AA
        asked = query.question[0]
        name, kind = asked.name.to_text(), dns.rdatatype.to_text(asked.rdtype)
        if name.startswith("broken"):
            response.set_rcode(dns.rcode.SERVFAIL)
        elif (name, kind) in RECORDS:
            _, values = RECORDS[name, kind]
            response.answer.append(dns.rrset.from_text(name, 60, "IN", kind, *values))
        elif not any(known == name for known, _ in RECORDS):
            response.set_rcode(dns.rcode.NXDOMAIN)
        one.sendto(response.to_wire(), question[1])


def test_a_real_name_server_is_asked(server: str) -> None:
    resolver = Resolver(DnsClient((server,)).ask)
    found = asyncio.run(resolver.resolve(parse_uri("sip:x.example.com")))
    assert found == [Address("192.0.2.1", 5070, "tcp"), Address("192.0.2.2", 5071, "tcp")]
    assert resolver.known["x.example.com", "NAPTR"][0].ttl_s == 60
    with pytest.raises(Unresolved, match="its name has no address"):
        asyncio.run(Resolver(DnsClient((server,)).ask).resolve(parse_uri("sip:nothing.example.com")))
    with pytest.raises(Unresolved, match="cannot be looked up"):
        asyncio.run(Resolver(DnsClient((server,)).ask).resolve(parse_uri("sip:broken.example.com")))


def test_the_system_knows_names_that_dns_does_not() -> None:
    assert asyncio.run(Resolver(DnsClient(()).ask, ("A",)).resolve(parse_uri("sip:localhost:5060"))) == [Address("127.0.0.1", 5060)]
