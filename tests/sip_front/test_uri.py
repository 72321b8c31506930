from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sip_front import uri
from sip_front.uri import BadUri, UnknownScheme, Uri, parse_number, parse_uri, quoted

URIS = [
    #  text, scheme, user, password, host, port, params, headers
    ("sip:alice@example.com", "sip", "alice", None, "example.com", None, {}, {}),
    ("SIP:alice@example.com:5061", "sip", "alice", None, "example.com", 5061, {}, {}),
    ("sips:example.com", "sips", "", None, "example.com", None, {}, {}),
    ("sip:pbx1", "sip", "", None, "pbx1", None, {}, {}),
    ("sip:a_b@my_host.local.", "sip", "a_b", None, "my_host.local.", None, {}, {}),
    ("sip:alice:secret@10.0.0.1;Transport=UDP;lr", "sip", "alice", "secret", "10.0.0.1", None, {"transport": "UDP", "lr": None}, {}),
    ("sip:[2001:db8::1]:5060", "sip", "", None, "[2001:db8::1]", 5060, {}, {}),
    ("sip:[2001:db8:::192.0.2.1]", "sip", "", None, "[2001:db8::192.0.2.1]", None, {}, {}),
    ("sip:x@[::ffff:192.0.2.1]", "sip", "x", None, "[::ffff:192.0.2.1]", None, {}, {}),
    ("sip:b@h?Replaces=1%40x&Subject=", "sip", "b", None, "h", None, {}, {"replaces": "1%40x", "subject": ""}),
    ("sip:user;par=u%40example.net@example.com", "sip", "user;par=u%40example.net", None, "example.com", None, {}, {}),
    ("sip:*21#@example.com", "sip", "*21#", None, "example.com", None, {}, {}),
    ("tel:+49-30-123;phone-context=+1", "tel", "+49-30-123", None, "", None, {"phone-context": "+1"}, {}),
    ("sip:crazy?,/;;*:&it+has=1@example.com", "sip", "crazy?,/;;*", "&it+has=1", "example.com", None, {}, {}),
]


@pytest.mark.parametrize(("text", "scheme", "user", "password", "host", "port", "params", "headers"), URIS)
def test_a_uri_is_taken_apart_and_put_together_again(text, scheme, user, password, host, port, params, headers):
    uri = parse_uri(text)
    assert uri == Uri(scheme, user, password, host, port, params, headers)
    assert parse_uri(uri.encode()) == uri


BAD_URIS = [
    ("", "does not start with a scheme"),
    ("alice@example.com", "does not start with a scheme"),
    ("sip:", "is not a host"),
    ("sip:alice@", "is not a host"),
    ("sip:@example.com", "one user before one @"),
    ("sip:a@b@example.com", "one user before one @"),
    ("sip::pw@example.com", "a password without a user"),
    ("sip:alice@exa mple.com", "a space"),
    ("sip:alice@example.com\r\nVia: x", "a control character"),
    ("sip:alice@example.com:", "is not a port"),
    ("sip:alice@example.com:65536", "is not a port"),
    ("sip:alice@example.com:+5060", "is not a port"),
    ("sip:alice@example.com:5_0", "is not a port"),
    ("sip:alice@example.com:\u0665\u0660", "is not a port"),
    ("sip:alice@2001:db8::1", "an IPv6 address needs brackets"),
    ("sip:[2001:db8::1", "not an IPv6 address in brackets"),
    ("sip:[fe80::1%eth0]", "not an IPv6 address in brackets"),
    ("sip:[2001:db8:::1]", "not an IPv6 address in brackets"),
    ("sip:[::1]5060", "not an IPv6 address in brackets"),
    ("sip:-x.example.com", "is not a host"),
    ("sip:::1", "is not a host"),
    ("sip:example.com;lr;LR", "twice"),
    ("sip:example.com;=x", "a value without a name"),
    ("tel:;x=y", "has no number"),
]


@pytest.mark.parametrize(("text", "why"), BAD_URIS)
def test_a_bad_uri_is_refused_with_the_reason(text, why):
    with pytest.raises(BadUri, match=why) as refusal:
        parse_uri(text)
    assert refusal.value.sip_status == 400


@pytest.mark.parametrize("text", ["urn:service:sos", "http://example.com", "soap.beep://192.0.2.103:3002"])
def test_an_unknown_scheme_is_another_matter_than_a_bad_uri(text):
    with pytest.raises(UnknownScheme) as refusal:
        parse_uri(text)
    assert refusal.value.sip_status == 416


def test_escapes_are_kept_and_read_only_where_the_number_is_asked_for():
    uri = parse_uri("sip:%75se%72;x=1@example.com")
    assert uri.user == "%75se%72;x=1" and uri.number == "user"
    assert parse_uri("sip:a%2541@example.com").number == "a%41"  # RFC 3986: unescaped once, never again


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("0068", 68),
        ("70", 70),
        ("71", None),
        ("", None),
        ("-1", None),
        ("+5", None),
        ("1_0", None),
        (" 7", None),
        ("\u0661", None),
        ("\u00b2", None),
        ("9" * 5000, None),
        ("0" * 21, None),
        ("1.0", None),
    ],
)
def test_a_number_is_ascii_digits_within_its_limit(text, value):
    assert parse_number(text, 70) == value


def test_what_is_quoted_in_an_error_is_short_and_printable():
    shown = quoted("\x1b[31m\u2028<script>" + "x" * 1000)
    assert shown.isascii() and shown.isprintable() and len(shown) < 200


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60) | st.text(alphabet="sip:tel@[]:;=?&%.a1\u212a ", max_size=40).map("sip:".__add__))
def test_any_text_is_a_uri_that_comes_back_or_a_bad_uri(text):
    try:
        uri = parse_uri(text)
    except BadUri:
        return
    assert parse_uri(uri.encode()) == uri


USUAL = st.from_regex(uri.USUAL_URI, fullmatch=True)
USUAL_AND_NOT = USUAL | st.text("sip:s@tel+%;=?&lr0.-[]", max_size=40).map(lambda text: f"sip:{text}")


@given(USUAL_AND_NOT)
def test_the_short_way_is_the_long_way(text: str) -> None:
    def result(read: Callable[[str], Uri]) -> object:
        try:
            found = read(text)
        except BadUri as failure:
            return str(failure)
        return found, found.number, found.encode()

    assert result(uri.parse_uri) == result(uri._parse_uri)
