"""What sip.listen and its neighbours may say."""

import pytest

from control_plane.config import Config, Sip, check
from control_plane.errors import ConfigurationError
from control_plane.listen_config import check_listen, listeners, media_host, nameservers, places


def names(sip: Sip) -> list[str]:
    return [str(listener) for listener in listeners(sip)]


def test_a_place_without_a_transport_is_udp_and_tcp() -> None:
    assert names(Sip()) == ["udp:127.0.0.1:5060", "tcp:127.0.0.1:5060"]
    assert names(Sip(listen="[::]:5070")) == ["udp:[::]:5070", "tcp:[::]:5070"] and places(Sip()) == ("127.0.0.1:5060",)


def test_there_may_be_several() -> None:
    public = ("192.0.2.1", "", "192.0.2.1")
    sip = Sip(listen=("udp:0.0.0.0:5060", "tcp:[::1]:5060", "tls:0.0.0.0:5061"), public_address=public, tls_certificate="/x")
    assert names(check(Config(sip)).sip) == ["udp:0.0.0.0:5060", "tcp:[::1]:5060", "tls:0.0.0.0:5061"]
    assert [listener.public_address for listener in listeners(sip)] == ["192.0.2.1", "", "192.0.2.1"]
    assert {listener.public_address for listener in listeners(Sip(public_address="192.0.2.1"))} == {"192.0.2.1"}


@pytest.mark.parametrize(
    ("sip", "said"),
    [
        (Sip(listen=()), "0 places; name 1 to 32"),
        (Sip(listen="everywhere"), '"everywhere" is not ADDRESS:PORT'),
        (Sip(listen="sctp:127.0.0.1:5060"), "is not ADDRESS:PORT"),
        (Sip(listen="tls:127.0.0.1"), "is not ADDRESS:PORT"),
        (Sip(listen=("0.0.0.0:5060", "udp:0.0.0.0:5060")), "udp:0.0.0.0:5060 is there twice"),
        (Sip(listen=("0.0.0.0:5060", "tls:0.0.0.0:5060"), tls_certificate="/x"), "TCP and TLS need a port each"),
        (Sip(listen=("127.0.0.1:5060", "127.0.0.2:5060"), public_address=("192.0.2.1",)), "1 for 2 places of sip.listen"),
        (Sip(public_address="here"), '"here" is neither an IP address nor "stun:HOST'),
        (Sip(listen="tls:127.0.0.1:5061"), "tls: needs sip.tls_certificate"),
        (Sip(tls_key="/key.pem"), "sip.tls_key: it is the key of sip.tls_certificate, which is not named"),
        (Sip(tls_certificate="cert.pem"), 'sip.tls_certificate: "cert.pem" is not an absolute path'),
        (Sip(nameservers=("dns.example.com",)), 'sip.nameservers: "dns.example.com" is not ADDRESS:PORT'),
    ],
)
def test_what_is_wrong_is_said_with_the_remedy(sip: Sip, said: str) -> None:
    with pytest.raises(ConfigurationError, match="sip\\.") as failure:
        check(Config(sip))
    assert said in str(failure.value)


def test_name_servers_have_a_port_or_the_usual_one() -> None:
    assert nameservers(("192.0.2.1", "192.0.2.1:5353", "2001:db8::1", "[::1]:5353")) == [
        ("192.0.2.1", 53), ("192.0.2.1", 5353), ("2001:db8::1", 53), ("::1", 5353),
    ]  # fmt: skip


def test_audio_comes_in_wherever_sip_does() -> None:
    assert media_host(Sip()) == "127.0.0.1" and media_host(Sip(listen=("127.0.0.1:1", "udp:127.0.0.2:1"))) == "0.0.0.0"
    assert media_host(Sip(listen=("127.0.0.1:1", "[::1]:1"))) == "::"


@pytest.mark.parametrize(("text", "stun"), [("stun:s.example.com", "s.example.com:3478"), ("stun:192.0.2.1:19302", "192.0.2.1:19302")])
def test_a_public_address_may_be_asked_for(text: str, stun: str) -> None:
    (udp, tcp) = listeners(Sip(listen="0.0.0.0:5060", public_address=text))
    assert (udp.public_address, udp.stun) == (tcp.public_address, tcp.stun) == ("", stun)


@pytest.mark.parametrize("text", ["stun:", "stun:a b", "stun:host:0", "stun:host:x", "stun:host:99999", "stun:[::1]:1"])
def test_a_stun_server_that_cannot_be_one_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="public_address"):
        listeners(Sip(public_address=text))


def test_web_pages_are_named_as_browsers_do() -> None:
    check_listen(Sip(listen="ws:127.0.0.1:80", websocket_origins=("https://a.example:8443", "*", "app://x")))
    for origin in ("a.example", "https://a.example/", "https://a.example/page", ""):
        with pytest.raises(ConfigurationError, match="websocket_origins"):
            check_listen(Sip(listen="ws:127.0.0.1:80", websocket_origins=(origin,)))
    with pytest.raises(ConfigurationError, match=r"wss: needs sip\.tls_certificate"):
        check_listen(Sip(listen="wss:127.0.0.1:443"))
