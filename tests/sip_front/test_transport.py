"""Which transport a URI asks for, and what an address knows."""

import pytest

from sip_front.transport import TRANSPORTS, Address, Place, address_of, transport_of
from sip_front.uri import parse_uri


@pytest.mark.parametrize(
    ("uri", "address"),
    [
        ("sip:1@192.0.2.1", Address("192.0.2.1", 5060)),
        ("sip:1@192.0.2.1:5070", Address("192.0.2.1", 5070)),
        ("sip:1@192.0.2.1;transport=UDP", Address("192.0.2.1", 5060)),
        ("sip:1@192.0.2.1;transport=tcp", Address("192.0.2.1", 5060, "tcp")),
        ("sip:1@192.0.2.1;transport=tls", Address("192.0.2.1", 5061, "tls")),
        ("sips:1@192.0.2.1", Address("192.0.2.1", 5061, "tls")),
        ("sips:1@192.0.2.1;transport=tcp", Address("192.0.2.1", 5061, "tls")),
        ("sips:1@192.0.2.1:5070;transport=tls", Address("192.0.2.1", 5070, "tls")),
        ("sips:1@192.0.2.1;transport=udp", None),
        ("sip:1@192.0.2.1;transport=sctp", None),
        ("sip:1@192.0.2.1:0", None),
        ("sip:1@[2001:DB8::0:1]", Address("2001:db8::1", 5060)),
        ("sip:1@[::ffff:192.0.2.1]", Address("192.0.2.1", 5060)),
        ("sip:1@example.com", None),
        ("tel:+49301", None),
    ],
)
def test_an_address_needs_no_look_up(uri: str, address: Address | None) -> None:
    assert address_of(parse_uri(uri)) == address


def test_a_name_has_a_transport_but_no_address() -> None:
    assert transport_of(parse_uri("sips:1@example.com")) == "tls" and transport_of(parse_uri("sip:1@example.com;transport=tcp")) == "tcp"


def test_an_address_is_written_as_in_the_configuration() -> None:
    assert str(Address("192.0.2.1", 5060)) == "192.0.2.1:5060"
    assert str(Address("2001:db8::1", 5061, "tls", 7)) == "tls:[2001:db8::1]:5061"
    assert Place("192.0.2.1", 5060).encode() == "192.0.2.1:5060" and Place("::1", None).encode() == "[::1]"


def test_one_connection_serves_what_differs_in_its_flow_only() -> None:
    one = Address("192.0.2.1", 5061, "tls", 7, "a.example")
    assert one.key == one._replace(flow=0).key
    assert len({one.key, one._replace(name="b.example").key, one._replace(port=1).key, one._replace(transport="tcp").key}) == 4


def test_what_each_transport_is() -> None:
    assert {name for name, transport in TRANSPORTS.items() if transport.is_stream} == {"tcp", "tls"}
    assert {name for name, transport in TRANSPORTS.items() if transport.is_reliable} == {"tcp", "tls", "ws", "wss"}
    assert {name for name in TRANSPORTS if Address("192.0.2.1", 5060, name).can_connect} == {"udp", "tcp", "tls"}


def test_nobody_is_connected_to_by_websocket() -> None:
    for uri in ("sip:a@192.0.2.1;transport=ws", "sip:a@192.0.2.1;transport=wss", "sips:a@192.0.2.1;transport=ws"):
        assert transport_of(parse_uri(uri)) is None and address_of(parse_uri(uri)) is None
