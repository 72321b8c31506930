import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control_plane.errors import Misuse
from sip_front import header, message
from sip_front.header import COMPACT, KNOWN, BadMessage, Headers, NameAddress, Via, canonical, parse_name_address, parse_via, split_list
from sip_front.uri import parse_uri


@pytest.mark.parametrize(("letter", "name"), COMPACT.items())
def test_every_compact_form_is_its_header(letter, name):
    assert canonical(letter) == canonical(letter.upper()) == canonical(name.upper()) == canonical(f" {name}\t ") == name


@pytest.mark.parametrize("name", sorted(set(KNOWN.values())))
def test_every_known_header_has_one_spelling(name):
    assert canonical(name.lower()) == canonical(name.upper()) == canonical(name.swapcase()) == name


@pytest.mark.parametrize("name", ["", " ", "Via\x00", "V\u00a0ia", "\u2028Via", "Via\x85", "a b", "\u212a", "Fro\u00f6m", "a(b", "X\x1c"])
def test_a_name_that_could_slip_past_a_filter_is_refused(name):
    with pytest.raises(BadMessage, match="is not the name of a header"):
        canonical(name)


def test_unknown_headers_are_kept_under_one_spelling():
    headers = Headers([("x-TENANT-id", "7")])
    assert headers.get("X-Tenant-ID") == "7" and list(headers.items()) == [("X-Tenant-Id", "7")]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a", ["a"]),
        ("a, b\t,c", ["a", "b", "c"]),
        ("", []),
        (" , ,", []),
        ('"x, y" <sip:a@b,c>, <sip:d?e=f,g>;h="i,j"', ['"x, y" <sip:a@b,c>', '<sip:d?e=f,g>;h="i,j"']),
        (r'"a\", b", c', [r'"a\", b"', "c"]),
        ('"never closed, b', ['"never closed, b']),
        ("<never closed, b", ["<never closed, b"]),
    ],
)
def test_a_list_is_cut_at_commas_outside_quotes_and_angles(text, parts):
    assert split_list(text) == parts


def test_lines_and_commas_make_no_difference_where_a_value_is_a_list():
    one, two = Headers([("Via", "SIP/2.0/UDP a, SIP/2.0/UDP b")]), Headers([("v", "SIP/2.0/UDP a"), ("VIA", "SIP/2.0/UDP b")])
    assert one.get_all("via") == two.get_all("Via") == ["SIP/2.0/UDP a", "SIP/2.0/UDP b"]
    assert one.get("Via") == two.get("v") == "SIP/2.0/UDP a"
    assert Headers([("Subject", "a, b")]).get("s") == "a, b" and Headers([("Subject", "a, b")]).get_all("Subject") == ["a, b"]


def test_headers_are_added_replaced_and_removed_in_place():
    headers = Headers([("Via", "1"), ("From", "f"), ("Via", "2, 3"), ("To", "t")])
    headers.prepend("v", "0")
    assert headers.get_all("Via") == ["0", "1", "2", "3"] and next(headers.items()) == ("Via", "0")
    headers.replace_first("Via", "0;received=192.0.2.1")
    assert headers.get_all("Via") == ["0;received=192.0.2.1", "1", "2", "3"]
    twin = headers.copy()
    headers.set("f", "other")
    headers.remove("via")
    headers.add("Route", "<sip:p;lr>")
    assert list(headers.items()) == [("From", "other"), ("To", "t"), ("Route", "<sip:p;lr>")]
    assert "via" in twin and "V" not in headers and len(twin) == 6 and headers.get("Via") is None and headers != twin


@pytest.mark.parametrize("value", ["a\r\nVia: evil", "a\n", "\r"])
def test_no_value_of_ours_can_become_a_second_header(value):
    for change in (Headers().add, Headers().set, Headers().prepend):
        with pytest.raises(Misuse, match="a line end"):
            change("Subject", value)


VIAS = [
    ("SIP/2.0/UDP 192.0.2.1", Via("UDP", "192.0.2.1", None)),
    ("sip/2.0/udp host.example:5060;Branch=z9hG4bKx;rport", Via("UDP", "host.example", 5060, {"branch": "z9hG4bKx", "rport": None})),
    ("SIP  /    2.0   / TCP  h : 5070  ; branch=\tz ", Via("TCP", "h", 5070, {"branch": "z"})),
    ("SIP/2.0/TLS [2001:db8::9]:5061;received=2001:db8::1", Via("TLS", "[2001:db8::9]", 5061, {"received": "2001:db8::1"})),
    ('SIP/2.0/UDP a;x="y;z"', Via("UDP", "a", None, {"x": '"y;z"'})),
    ("SIP/2.0/UDP a;branch=1;branch=1;", Via("UDP", "a", None, {"branch": "1"})),
]


@pytest.mark.parametrize(("text", "via"), VIAS)
def test_a_via_is_read(text, via):
    assert parse_via(text) == via == parse_via(via.encode())


@pytest.mark.parametrize(
    "text",
    [
        "",
        ";",
        "SIP/2.0/UDP",
        "SIP/2.0/UDP ",
        "SIP/3.0/UDP a",
        "SIP/2.0 /UDP a b",
        "SIP/2.0/UDP a:x",
        "SIP/2.0/UDP a:99999",
        "SIP/2.0/UDP a;branch=1;branch=2",
        "SIP/2.0/UDP a;b c=1",
        'SIP/2.0/UDP a;b="c',
        "HTTP/2.0/UDP a",
        "\u017fIP/2.0/UDP a",
    ],
)
def test_a_bad_via_is_refused(text):
    with pytest.raises(BadMessage):
        parse_via(text)


def test_received_and_rport_are_added_without_touching_the_original():
    via = parse_via("SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK1;rport")
    seen = via.with_param("rport", "31337").with_param("received", "192.0.2.7")
    assert seen.encode() == "SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK1;rport=31337;received=192.0.2.7" and seen.branch == "z9hG4bK1"
    assert via.params == {"branch": "z9hG4bK1", "rport": None}


ADDRESSES = [
    ("sip:a@b;tag=1", NameAddress("", "sip:a@b", {"tag": "1"})),
    ("<sip:a@b;lr>;tag=1", NameAddress("", "sip:a@b;lr", {"tag": "1"})),
    ("Alice Adams <sip:a@b>", NameAddress("Alice Adams", "sip:a@b")),
    (r'"J \"R\" \\" <sip:a@b> ; TAG = x ;lr', NameAddress('J "R" \\', "sip:a@b", {"tag": "x", "lr": None})),
    ('"a, <b>;c" <sip:a@b>', NameAddress("a, <b>;c", "sip:a@b")),
    ("< sip:a@b >", NameAddress("", "sip:a@b")),
    ("*", NameAddress("", "*")),
    ("<tel:+49301>;tag=2", NameAddress("", "tel:+49301", {"tag": "2"})),
    ("<sip:a@b?Replaces=1>", NameAddress("", "sip:a@b?Replaces=1")),
    ("J\u00fcrgen \udcff <sip:a@b>", NameAddress("J\u00fcrgen \udcff", "sip:a@b")),
]


@pytest.mark.parametrize(("text", "address"), ADDRESSES)
def test_an_address_is_read(text, address):
    assert parse_name_address(text) == address == parse_name_address(address.encode())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<>",
        "<sip:a@b",
        "sip:a b",
        '"x',
        '"x" sip:a@b',
        '"x" y <sip:a@b>',
        '"x\\" <sip:a@b>',
        "<sip:a@b> x",
        "<sip:a@b>>",
        "sip:a@b?c=d",
        "a, sip:b",
        '<sip:a@b>;tag="',
        "<sip:a@b>;tag=1;tag=2",
        "<sip:a@b>;=1",
        'x "y" <sip:a@b>',
        "<sip:a@b\x00>",
    ],
)
def test_a_bad_address_is_refused(text):
    with pytest.raises(BadMessage):
        parse_name_address(text)


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet='<>";,\\=: \tsipaz@\u212a\x00', max_size=60) | st.text(max_size=60))
def test_any_text_is_an_address_that_comes_back_or_a_bad_message(text):
    for parse in (parse_name_address, parse_via):
        try:
            value = parse(text)
        except BadMessage:
            continue
        assert parse(value.encode()) == value
    assert split_list(", ".join(split_list(text))) == split_list(text) or '"' in text or "<" in text


@pytest.mark.parametrize("unit", ['"', "\\", ";", ",", "<", '",', ";a=1", ' "a\\', "<>", ';a="', " ", '\\"'])
def test_time_grows_with_length_and_no_faster(unit):
    """At the limit of one value. A pattern that backtracks would take seconds for some of these."""
    text = "SIP/2.0/UDP a" + unit * (8000 // len(unit))
    started = time.process_time()
    for parse in (parse_via, parse_name_address, lambda t: parse_name_address('"' + t), split_list):
        try:
            parse(text)
        except BadMessage as refusal:
            assert len(str(refusal)) < 500
    assert time.process_time() - started < 1.0


ADDRESSES = st.from_regex(header.USUAL_ADDRESS, fullmatch=True) | st.text('"<>;= \\\\sip:a@b.c,?tag', max_size=40)
VIAS = st.from_regex(header.USUAL_VIA, fullmatch=True) | st.text("SIP/2.0UDP ab.:;=rtnch,-1", max_size=60).map(lambda t: f"SIP/2.0/UDP {t}")


@given(ADDRESSES)
def test_the_short_way_through_an_address_is_the_long_way(text: str) -> None:
    assert result(header.parse_name_address, text) == result(header._parse_name_address, text)


@given(VIAS)
def test_the_short_way_through_a_via_is_the_long_way(text: str) -> None:
    assert result(header.parse_via, text) == result(header._parse_via, text)


@given(st.from_regex(message.USUAL_TARGET, fullmatch=True))
def test_what_is_right_beyond_doubt_is_right(text: str) -> None:
    parse_uri(text)


def result(parse: Callable[[str], object], text: str) -> object:
    try:
        return parse(text)
    except BadMessage as failure:
        return str(failure)
