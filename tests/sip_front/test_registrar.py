"""Phones that log in: the cases of RFC 3261 10.3 as a table, and what must never get through."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip_front.message import Headers, Request, parse
from sip_front.registrar import DEFAULT_EXPIRES_S, MAX_BINDINGS, Registrar, expiry, place
from sip_front.transport import Address
from sip_front.uri import parse_uri
from tests.sip_front import torture

SECOND = 1_000_000_000
NOW = 1_000 * SECOND
DESK, MOBILE = Address("198.51.100.7", 40_000, flow=3), Address("203.0.113.9", 50_000, "tls", 77)
INSTANCE = '"<urn:uuid:00000000-0000-1000-8000-AABBCCDDEEFF>"'


@pytest.fixture
def registrar() -> Registrar:
    return Registrar(("anna", "100"), 60, 3600)


def register(*contacts: str, cseq: int = 1, call_id: str = "phone-1", to: str = "sip:anna@192.0.2.1", **headers: str) -> Request:
    base = [("From", f"<{to}>;tag=a"), ("To", f"<{to}>"), ("Call-ID", call_id), ("CSeq", f"{cseq} REGISTER")]
    more = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return Request("REGISTER", "sip:192.0.2.1", Headers([*base, *(("Contact", contact) for contact in contacts), *more]))


def contacts(registrar: Registrar, now_ns: int = NOW) -> list[str]:
    return [binding.contact for binding in registrar.of("anna", now_ns)]


CASES = [
    # contacts, headers                                                   status  what the answer lists
    (("<sip:anna@10.0.0.7>",), {"Expires": "600"},                           200, ["<sip:anna@10.0.0.7>;expires=600"]),
    (("<sip:anna@10.0.0.7>;expires=120",), {"Expires": "600"},               200, ["<sip:anna@10.0.0.7>;expires=120"]),
    (("<sip:anna@10.0.0.7>",), {},                                           200, ["<sip:anna@10.0.0.7>;expires=3600"]),
    (("<sip:anna@10.0.0.7>;expires=soon",), {},                              200, ["<sip:anna@10.0.0.7>;expires=3600"]),
    (("<sip:anna@10.0.0.7>;expires=99999999",), {},                          200, ["<sip:anna@10.0.0.7>;expires=3600"]),
    (("<sip:anna@10.0.0.7>;expires=60",), {},                                200, ["<sip:anna@10.0.0.7>;expires=60"]),
    (("<sip:anna@10.0.0.7>;expires=59",), {},                                423, []),
    (("<sip:anna@10.0.0.7>;expires=0",), {},                                 200, []),
    (("<sip:a@10.0.0.7>;q=0.3", "<sip:a@10.0.0.8>;q=0.9"), {},               200, ["<sip:a@10.0.0.8>;expires=3600;q=0.9",
                                                                                   "<sip:a@10.0.0.7>;expires=3600;q=0.3"]),
    (("<sip:a@10.0.0.7>;q=7",), {},                                          200, ["<sip:a@10.0.0.7>;expires=3600"]),
    (("<sip:a@10.0.0.7>", "<sip:a@10.0.0.8>;expires=5"), {},                 423, []),
    ((), {},                                                                 200, []),
    (("*",), {"Expires": "0"},                                               200, []),
    (("*",), {"Expires": "60"},                                              400, []),
    (("*",), {},                                                             400, []),
    (("*", "<sip:anna@10.0.0.7>"), {"Expires": "0"},                         400, []),
    (("<mailto:anna@example.com>",), {},                                     400, []),
    (("<tel:+4930>",), {},                                                   400, []),
    (("<sip:anna@10.0.0.7",), {},                                            400, []),
    (("<sip:\N{LATIN SMALL LETTER A WITH DIAERESIS}@10.0.0.7>",), {},        400, []),
    (tuple(f"<sip:anna@10.0.0.{i}>" for i in range(MAX_BINDINGS + 1)), {},   400, []),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "headers", "status", "listed"), CASES)
def test_what_a_phone_gets(registrar: Registrar, asked: tuple[str, ...], headers: dict[str, str], status: int, listed: list[str]) -> None:
    answer = registrar.receive(register(*asked, **headers), "anna", DESK, NOW)
    assert answer.status == status and bool(answer.why) == (status != 200)
    assert [value for name, value in answer.headers if name == "Contact"] == listed
    assert answer.headers == (("Min-Expires", "60"),) or status != 423
    assert len(contacts(registrar)) == len(listed), "all of it or nothing"


@pytest.mark.parametrize("to", ["sip:100@192.0.2.1", "sip:192.0.2.1", "sip:Anna@192.0.2.1", "tel:anna", "sip:anna%20@192.0.2.1"])
def test_nobody_registers_for_another_user(registrar: Registrar, to: str) -> None:
    answer = registrar.receive(register("<sip:x@10.0.0.7>", to=to), "anna", DESK, NOW)
    assert answer.status == 403 and "must be the same" in answer.why and not registrar.bindings


def test_any_name_of_ours_and_escapes_are_the_same_user(registrar: Registrar) -> None:
    assert registrar.receive(register("<sip:x@10.0.0.7>", to="sip:%61nna@pbx.example.com:5070"), "anna", DESK, NOW).status == 200


def test_a_refresh_keeps_one_binding_and_follows_a_nat_that_moves(registrar: Registrar) -> None:
    registrar.receive(register("<sip:anna@10.0.0.7>"), "anna", DESK, NOW)
    registrar.receive(register("<sip:anna@10.0.0.7:5060;transport=udp>", cseq=2), "anna", DESK._replace(port=41_000), NOW + 60 * SECOND)
    (binding,) = registrar.of("anna", NOW + 60 * SECOND)
    assert (binding.source.port, binding.source.flow, binding.expires_ns) == (41_000, 3, NOW + 3660 * SECOND)


def test_a_late_register_changes_nothing_at_all(registrar: Registrar) -> None:
    registrar.receive(register("<sip:anna@10.0.0.7>", cseq=5), "anna", DESK, NOW)
    late = registrar.receive(register("<sip:anna@10.0.0.8>", "<sip:anna@10.0.0.7>;expires=0", cseq=4), "anna", DESK, NOW)
    assert late.status == 500 and contacts(registrar) == ["sip:anna@10.0.0.7"]
    assert registrar.receive(register("*", cseq=5, Expires="0"), "anna", DESK, NOW).status == 500
    assert registrar.receive(register("*", cseq=1, call_id="after a restart", Expires="0"), "anna", DESK, NOW).status == 200
    assert contacts(registrar) == []


def test_several_phones_the_freshest_first_unless_one_wants_to_be(registrar: Registrar) -> None:
    registrar.receive(register("<sip:anna@10.0.0.7>"), "anna", DESK, NOW)
    registrar.receive(register("<sip:anna@10.0.0.8;transport=tls>", call_id="b"), "anna", MOBILE, NOW + 1)
    assert contacts(registrar) == ["sip:anna@10.0.0.8;transport=tls", "sip:anna@10.0.0.7"]
    registrar.receive(register("<sip:anna@10.0.0.8;transport=tls>;q=0.5", call_id="b", cseq=2), "anna", MOBILE, NOW + 2)
    assert contacts(registrar) == ["sip:anna@10.0.0.7", "sip:anna@10.0.0.8;transport=tls"]
    listed = registrar.receive(register(call_id="c"), "anna", DESK, NOW + 3).headers
    assert len(listed) == 2, "a query lists all and changes nothing"


def test_a_phone_that_names_itself_replaces_its_old_contact(registrar: Registrar) -> None:
    for port in (5060, 5062):
        contact = f"<sip:anna@10.0.0.7:{port}>;+sip.instance={INSTANCE};reg-id=1"
        registrar.receive(register(contact, call_id=f"{port}"), "anna", DESK, NOW)
    assert contacts(registrar) == ["sip:anna@10.0.0.7:5062"]


def test_the_table_is_bounded_and_the_oldest_makes_room(registrar: Registrar) -> None:
    for i in range(50):
        registrar.receive(register(f"<sip:anna@10.0.0.{i}>", call_id=f"{i}"), "anna", DESK, NOW + i)
    assert contacts(registrar) == [f"sip:anna@10.0.0.{i}" for i in range(49, 49 - MAX_BINDINGS, -1)]


def test_bindings_end_with_their_time_their_connection_and_not_otherwise(registrar: Registrar) -> None:
    registrar.receive(register("<sip:anna@10.0.0.7>", Expires="60"), "anna", DESK, NOW)
    registrar.receive(register("<sip:anna@10.0.0.8;transport=tls>", call_id="b"), "anna", MOBILE, NOW)
    assert len(contacts(registrar, NOW + 60 * SECOND - 1)) == 2
    assert contacts(registrar, NOW + 60 * SECOND) == ["sip:anna@10.0.0.8;transport=tls"], "before anybody cleans up"
    registrar.expire(NOW + 60 * SECOND)
    assert len(registrar.bindings["anna"]) == 1
    registrar.lose(MOBILE._replace(flow=78))
    assert len(registrar.bindings["anna"]) == 1
    registrar.lose(MOBILE)
    assert registrar.bindings == {} and registrar.changed == {"anna"}


def test_what_outlives_the_front_is_what_can_still_be_reached(registrar: Registrar) -> None:
    registrar.receive(register("<sip:anna@10.0.0.7>"), "anna", DESK, NOW)
    registrar.receive(register("<sip:anna@10.0.0.8;transport=tls>", call_id="b"), "anna", MOBILE, NOW)
    fresh = Registrar(("anna",), 60, 3600)
    fresh.restore("anna", registrar.bindings["anna"], NOW + SECOND)
    fresh.restore("gone", registrar.bindings["anna"], NOW + SECOND)
    assert [(user, [b.contact for b in found]) for user, found in fresh.bindings.items()] == [("anna", ["sip:anna@10.0.0.7"])]
    fresh.restore("anna", registrar.bindings["anna"], NOW + 3600 * SECOND)
    assert fresh.bindings == {}


def test_what_people_are_shown(registrar: Registrar) -> None:
    registrar.receive(register("<sip:anna@10.0.0.8;transport=tls>", User_Agent="Phone\x1b[31m 1.0"), "anna", MOBILE, NOW)
    (facts,) = registrar.facts(NOW + SECOND)
    assert (facts.user, facts.address, facts.transport, facts.expires_s) == ("anna", "tls:203.0.113.9:50000", "tls", 3599)
    assert "\x1b" not in facts.user_agent and facts.user_agent.startswith("Phone")


def test_the_same_place_in_other_words() -> None:
    same = ["sip:a@h", "sip:a@H:5060", "sip:%61@h;transport=UDP", "sip:a@h;ob"]
    assert len({place(parse_uri(text)) for text in same}) == 1
    others = ["sip:b@h", "sip:a@h:5062", "sip:a@h;transport=tcp", "sip:a@h;transport=tls", "sip:A@h"]
    assert len({place(parse_uri(text)) for text in [*same, *others]}) == 6


@given(st.text(max_size=12), st.one_of(st.none(), st.text(max_size=12)))
def test_an_expiry_is_a_number_whatever_is_written(own: str, overall: str | None) -> None:
    assert 0 <= expiry(own, overall) < 2**32
    assert expiry("x", "") == DEFAULT_EXPIRES_S


WORDS = st.sampled_from(["*", "<sip:anna@10.0.0.7>", ";expires=", "0", "61", ";q=", "0.5", "sip:", *'@<>",a;=\xff'])


@given(st.lists(st.lists(WORDS, max_size=8).map("".join), max_size=10), st.lists(WORDS, max_size=3).map("".join), st.integers(0, 2**31))
def test_garbage_is_refused_and_leaves_nothing(values: list[str], expires: str, cseq: int) -> None:
    registrar = Registrar(("anna",), 60, 3600)
    registrar.receive(register("<sip:anna@192.0.2.99>", cseq=0), "anna", DESK, NOW)
    before = dict(registrar.bindings)
    answer = registrar.receive(register(*values, cseq=cseq, call_id="other", Expires=expires), "anna", DESK, NOW + 1)
    assert answer.status in (200, 400, 423) and len(registrar.of("anna", NOW + 1)) <= MAX_BINDINGS
    assert answer.status == 200 or registrar.bindings == before
    for binding in registrar.of("anna", NOW + 1):
        parse_uri(binding.contact)


@pytest.mark.parametrize(
    ("name", "user", "bound"),
    [
        ("escnull", "null-\0-null", ["sip:%00@host5.example.com", "sip:%00%00@host5.example.com"]),
        ("cparam01", "watson", ["sip:+19725552222@gw1.example.net"]),  # the parameter is the header's
        ("cparam02", "watson", ["sip:+19725552222@gw1.example.net;unknownparam"]),  # it is the URI's
        ("regescrt", "user", ["sip:user@example.com"]),  # headers in a URI are nobody's order to us (RFC 3261 19.1.5)
    ],
)
def test_torture(name: str, user: str, bound: list[str]) -> None:
    registrar, request = Registrar((user,), 60, 3600), parse(torture.OCTETS[name])
    assert isinstance(request, Request) and registrar.receive(request, user, DESK, NOW).status == 200
    assert sorted(b.contact for b in registrar.of(user, NOW)) == sorted(bound)
