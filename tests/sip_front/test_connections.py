"""The table of connections in simulated time."""

from sip_front.connections import PING_NS, SECOND, STRANGERS_BURST, Connections, Limits
from sip_front.framing import PING
from sip_front.transport import Address

OPTIONS = b"OPTIONS sip:a@b SIP/2.0\r\nContent-Length: 0\r\n\r\n"
FAR = Address("192.0.2.1", 5060, "tcp")
NONE: frozenset[object] = frozenset()


def table(most: int = 10, per_source: int = 5) -> Connections:
    return Connections(Limits(5 * SECOND, 60 * SECOND, most, per_source))


def test_a_connection_is_found_by_its_flow_and_ours_by_where_they_lead() -> None:
    connections = table()
    theirs = connections.accept("192.0.2.1", 40_000, "tcp", 0)
    assert connections.find(theirs.remote) is theirs
    assert connections.find(FAR) is None, "one that they opened leads nobody else there"
    ours = connections.open(FAR, 0)
    assert connections.find(FAR) is ours and connections.find(FAR._replace(flow=theirs.remote.flow)) is theirs
    assert connections.drop(theirs) and not connections.drop(theirs)
    assert connections.find(FAR._replace(flow=theirs.remote.flow)) is ours, "where the one that it names has gone"
    connections.drop(ours)
    assert connections.find(FAR) is None and not connections.per_source and not connections.by_flow and not connections.by_key


def test_a_name_and_a_transport_make_another_connection() -> None:
    connections = table()
    connections.open(FAR._replace(transport="tls", name="a.example"), 0)
    assert connections.find(FAR._replace(transport="tls", name="b.example")) is None and connections.find(FAR) is None


def test_there_are_so_many_and_no_more() -> None:
    connections = table(most=3, per_source=2)
    first = connections.accept("192.0.2.1", 1, "tcp", 0)
    connections.accept("192.0.2.1", 2, "tcp", 0)
    assert "raise sip.max_connections_per_source" in connections.why_full("192.0.2.1", False, 0)
    assert not connections.why_full("192.0.2.2", False, 0)
    connections.accept("192.0.2.2", 3, "tcp", 0)
    assert "raise sip.max_connections if" in connections.why_full("192.0.2.3", False, 0)
    connections.drop(first)
    assert not connections.why_full("192.0.2.1", False, 0)


def test_strangers_leave_places_to_those_whom_we_know() -> None:
    connections = table(most=8, per_source=8)
    held = [connections.accept("198.51.100.1", port, "tcp", 0, is_stranger=True) for port in range(6)]
    assert "6 strangers are connected" in connections.why_full("198.51.100.2", True, 0)
    assert connections.why_full("192.0.2.1", False, 0) == ""
    connections.drop(held[0])
    assert connections.why_full("198.51.100.2", True, 0) == "" and connections.strangers == 5


def test_strangers_who_storm_in_are_taken_at_a_pace() -> None:
    connections = table(most=100_000)
    taken = [not connections.why_full("198.51.100.2", True, 0) for _ in range(2_000)]
    assert taken == [True] * int(STRANGERS_BURST) + [False] * (2_000 - int(STRANGERS_BURST))
    assert "try again" in connections.why_full("198.51.100.2", True, 0) and not connections.why_full("192.0.2.1", False, 0)
    assert not connections.why_full("198.51.100.2", True, SECOND), "500 more"


def test_a_handshake_that_stalls_and_a_first_message_that_does_not_come_end_it() -> None:
    connections = table()
    stalled, mute, partial, good = (connections.accept("192.0.2.1", port, "tls", 0) for port in range(4))
    for connection in (mute, partial, good):
        connections.made(connection, SECOND)
    partial.receive(OPTIONS[:9], 2 * SECOND)
    partial.receive(OPTIONS[9:10], 4 * SECOND)  # an octet now and then buys no time
    assert good.receive(OPTIONS, 2 * SECOND) == [OPTIONS]
    assert connections.take_expired(5 * SECOND - 1, NONE) == []
    assert set(connections.take_expired(5 * SECOND, NONE)) == {stalled, mute, partial}
    assert stalled.why_expired == "no handshake in time" and mute.why_expired == "no whole message within 5 s"


def test_a_later_message_must_end_too() -> None:
    connections = table()
    one = connections.accept("192.0.2.1", 1, "tcp", 0)
    connections.made(one, 0)
    one.receive(OPTIONS, SECOND)
    connections.take_expired(6 * SECOND, NONE)
    one.receive(OPTIONS + OPTIONS[:5], 20 * SECOND)
    connections.deadlines.schedule(one)
    assert connections.take_expired(24 * SECOND, NONE) == [] and connections.take_expired(25 * SECOND, NONE) == [one]


def test_silence_ends_a_connection_that_nobody_uses() -> None:
    connections = table()
    one, used = connections.accept("192.0.2.1", 1, "tcp", 0), connections.accept("192.0.2.1", 2, "tcp", 0)
    for connection in (one, used):
        connections.made(connection, 0)
        connection.receive(OPTIONS, SECOND)
    assert connections.take_expired(5 * SECOND, NONE) == []
    assert connections.take_expired(61 * SECOND, frozenset((used.remote.flow,))) == [one] and one.why_expired == "silent for 60 s"
    connections.drop(one)
    assert connections.take_expired(121 * SECOND, NONE) == [used]


def test_a_ping_is_a_sign_of_life() -> None:
    connections = table()
    one = connections.accept("192.0.2.1", 1, "tcp", 0)
    connections.made(one, 0)
    assert one.receive(PING, 4 * SECOND) == [PING]
    assert connections.take_expired(63 * SECOND, NONE) == [] and connections.take_expired(64 * SECOND, NONE) == [one]


def test_ours_waits_for_its_handshake_and_then_for_use() -> None:
    connections = table()
    ours = connections.open(FAR, 0)
    ours.waiting += [b"a", b"bc"]
    assert ours.waiting_bytes == 3
    assert connections.made(ours, SECOND) == [b"a", b"bc"] and ours.waiting == []
    assert connections.take_expired(60 * SECOND, NONE) == [] and connections.take_expired(61 * SECOND, NONE) == [ours]


def test_ours_are_kept_open_through_a_nat_while_they_are_used() -> None:
    connections = table()
    ours, used = connections.open(FAR, 0), frozenset((FAR.key,))
    assert connections.take_pings(PING_NS, used) == [], "not before it is made"
    connections.made(ours, 0)
    assert connections.take_pings(PING_NS - 1, used) == [] and connections.take_pings(PING_NS, NONE) == []
    assert connections.take_pings(PING_NS, used) == [ours] and connections.take_pings(PING_NS + 1, used) == []
