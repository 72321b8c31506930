"""Real sockets on loopback: bound, handed over, and chosen."""

import socket
from collections.abc import Callable, Iterator

import pytest

from control_plane import notify
from control_plane.config import Sip
from control_plane.errors import ConfigurationError
from sip_front import sockets
from sip_front.sockets import Sockets
from sip_front.transport import Address, Place

Bind = Callable[..., Sockets]


@pytest.fixture(name="bind")
def _bind() -> Iterator[Bind]:
    made: list[Sockets] = []

    def bind(*listen: str, public: str | tuple[str, ...] = "") -> Sockets:
        made.append(sockets.bind(Sip(listen=listen, public_address=public)))
        return made[-1]

    yield bind
    for one in made:
        one.close()


def port(one: Sockets, index: int = 0) -> int:
    return one.bound[index].listener.port


def test_a_place_is_udp_and_tcp_at_one_port(bind: Bind) -> None:
    one = bind("127.0.0.1:0", "tls:127.0.0.1:0")
    assert [b.listener.transport for b in one.bound] == ["udp", "tcp", "tls"] and port(one) == port(one, 1) != port(one, 2)
    assert str(one) == f"127.0.0.1:{port(one)}, tls:127.0.0.1:{port(one, 2)}"
    towards = {name: one.place_towards(Address("127.0.0.9", 5060, name)).port for name in ("udp", "tcp", "tls")}
    assert towards == {"udp": port(one), "tcp": port(one), "tls": port(one, 2)}


def test_our_address_is_the_one_that_the_peer_reaches(bind: Bind) -> None:
    def host(one: Sockets, towards: str) -> str:
        return one.place_towards(Address(towards, 5060)).host

    assert host(bind("udp:0.0.0.0:0", public="203.0.113.5"), "192.0.2.1") == "203.0.113.5"
    assert host(bind("udp:127.0.0.2:0"), "198.51.100.1") == "127.0.0.2"
    assert host(bind("udp:0.0.0.0:0"), "127.0.0.1") == "127.0.0.1"
    assert host(bind("udp:[::]:0", public="203.0.113.5"), "::1") == "::1", "a public address is of one family"


def test_of_several_places_the_one_is_taken_that_the_far_end_sees(bind: Bind) -> None:
    one = bind("udp:127.0.0.2:0", "udp:127.0.0.1:0", "udp:0.0.0.0:0", public=("192.0.2.9", "", ""))
    towards = one.towards("udp", "127.0.0.1")
    assert towards is not None and towards.listener.host == "127.0.0.1"
    assert one.place_towards(Address("127.0.0.1", 5060, flow=1)) == Place("192.0.2.9", port(one)), "what came by a socket is answered by it"


def test_without_a_place_for_a_transport_we_are_reached_on_our_own_connections_only(bind: Bind) -> None:
    one = bind("udp:127.0.0.1:0")
    assert one.place_towards(Address("127.0.0.1", 5061, "tls")) == Place("127.0.0.1", None)
    assert one.source_of("tls", "127.0.0.1") == "127.0.0.1" and bind("0.0.0.0:0").source_of("tcp", "127.0.0.1") is None
    assert one.families == ("A",) and bind("[::]:0").families == ("A", "AAAA") and bind("[::1]:0").families == ("AAAA",)


def test_both_families_may_have_the_same_port(bind: Bind) -> None:
    first = bind("0.0.0.0:0")
    number = port(first)
    first.close()
    both = bind(f"0.0.0.0:{number}", f"[::]:{number}")
    assert both.families == ("A", "AAAA") and not both.bound[2].reaches("127.0.0.1")


def test_an_ipv4_peer_of_an_ipv6_socket_is_one_again(bind: Bind) -> None:
    (one, _) = bind("[::]:0").bound
    assert one.peer(("::ffff:192.0.2.1", 9)) == ("192.0.2.1", 9) and one.own_form("192.0.2.1") == "::ffff:192.0.2.1"
    assert one.own_form("2001:db8::1") == "2001:db8::1"


def test_a_port_that_is_taken_is_said_with_the_remedy(bind: Bind) -> None:
    taken = bind("127.0.0.1:0")
    with pytest.raises(ConfigurationError, match=rf"sip.listen: cannot listen on tcp:127.0.0.1:{port(taken)}: .*ss -tlpn"):
        bind(f"tcp:127.0.0.1:{port(taken)}")
    with pytest.raises(ConfigurationError, match=rf"cannot listen on 127.0.0.1:{port(taken)}: .*ss -ulpn"):
        bind(f"udp:127.0.0.1:{port(taken)}")


def test_an_address_that_this_machine_does_not_have_is_said_with_the_remedy(bind: Bind) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot listen on 192.0.2.77:5060: .*`ip address` shows"):
        bind("udp:192.0.2.77:5060")


def test_what_was_kept_is_taken_up_again_and_what_is_named_no_more_is_closed(bind: Bind, monkeypatch: pytest.MonkeyPatch) -> None:
    before = bind("127.0.0.1:0")
    copies = [one.socket.dup() for one in before.bound]
    monkeypatch.setattr(notify, "listen_fds", lambda: {sockets.KEPT: [copy.detach() for copy in copies]})
    told: list[tuple[str, list[int] | None]] = []
    monkeypatch.setattr(notify, "notify", lambda state, fds=None: told.append((state, fds)))
    after = bind(f"127.0.0.1:{port(before)}")
    after.keep()
    assert [one.listener for one in after.bound] == [one.listener for one in before.bound] and not after.has_stale
    assert told == [(f"FDSTORE=1\nFDNAME={sockets.KEPT}", [one.socket.fileno() for one in after.bound])]
    with socket.create_connection(("127.0.0.1", port(before)), timeout=1):
        assert after.bound[1].socket.accept()[1][0] == "127.0.0.1"
    copies = [one.socket.dup() for one in before.bound]
    changed = bind("udp:127.0.0.1:0")
    changed.keep()
    assert changed.has_stale and told[-2][0].startswith("FDSTOREREMOVE=1")


def test_sockets_of_a_unit_are_taken_as_their_names_say(bind: Bind, monkeypatch: pytest.MonkeyPatch) -> None:
    made = bind("127.0.0.1:0", "tcp:127.0.0.1:0")
    fds = [one.socket.dup().detach() for one in made.bound]
    monkeypatch.setattr(notify, "listen_fds", lambda: {"sip": fds[:2], "sips": fds[2:]})
    assert [one.listener.transport for one in bind("127.0.0.1:9").bound] == ["udp", "tcp", "tls"]
