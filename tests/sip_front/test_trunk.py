"""A trunk's own decisions: which numbers, written how, called by whom, how many."""

import pytest

from control_plane import trunk_config
from control_plane.secret import Secret
from sip_front.trunk import Trunk, explain

SECOND = 1_000_000_000


def trunk(**settings: object) -> Trunk:
    values = {"name": "carrier", "gateways": ("sip.example.com",), "allow_numbers": ("+49*",), **settings}
    return Trunk(trunk_config.Trunk(**values))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "number", "written"),
    [
        ({}, "+49 (30) 123-45", "+493012345"),
        ({}, "100", "100"),
        ({"number_format": "+e164", "country_code": "49"}, "030/12345", "+493012345"),
        ({"number_format": "+e164"}, "004930123", "+4930123"),
        ({"number_format": "+e164"}, "4930123", "+4930123"),
        ({"number_format": "e164"}, "+4930123", "4930123"),
        ({"number_format": "e164", "country_code": "1"}, "004930123", "4930123"),
        ({"strip": "+49", "prefix": "0"}, "+4930123", "030123"),
        ({"prefix": "9988", "number_format": "e164"}, "+4930123", "99884930123"),
    ],
)
def test_a_number_is_written_as_the_carrier_wants_it(settings: dict[str, object], number: str, written: str) -> None:
    assert trunk(**settings).written(number) == written


@pytest.mark.parametrize("number", ["+900123", "+1", "030", "", "+49 30;x=1", "+49@evil", "+49\r\n"])
def test_what_no_pattern_names_is_not_called(number: str) -> None:
    assert trunk().why_not(number, 0) != ""


def test_the_refusal_names_the_patterns_and_the_remedy() -> None:
    assert trunk().why_not("+900123", 0) == (
        "403: trunk carrier may not call +900123: allow_numbers has +49*; add a pattern if it is meant"
    )
    assert "allow_numbers has nothing" in trunk(allow_numbers=()).why_not("+4930", 0)
    assert "has no gateways" in trunk(gateways=()).why_not("+4930", 0)


def test_another_spelling_does_not_slip_past_the_patterns() -> None:
    german = trunk(country_code="49", allow_numbers=("+4930*",))
    assert german.why_not("030 1", 0) == "" and german.why_not("0049301", 0) == ""
    assert german.why_not("00900123", 0) != "" and german.why_not("0900123", 0) != ""


def test_calls_at_a_time_and_calls_a_second_are_limited() -> None:
    full = trunk(max_calls=1)
    full.limit.calls.add("one")
    assert "its max_calls" in full.why_not("+4930", 0)
    slow = trunk(max_calls_per_second=2.0)
    assert [slow.why_not("+4930", 0) == "" for _ in range(3)] == [True, True, False]
    assert slow.why_not("+4930", SECOND // 2) == ""


def test_a_refused_number_takes_no_place_in_the_rate() -> None:
    slow = trunk(max_calls_per_second=1.0)
    slow.why_not("+900", 0)
    assert slow.why_not("+4930", 0) == ""


@pytest.mark.parametrize(
    ("settings", "caller", "from_value", "headers"),
    [
        ({}, "+49 30 1", "<sip:+49301@gw>", ()),
        ({}, "", "<sip:bellframe@gw>", ()),
        ({"username": "acct"}, "", "<sip:acct@gw>", ()),
        ({"from_user": "acct", "from_domain": "d", "caller_header": "P-Asserted-Identity"}, "+491", "<sip:acct@d>",
         (("P-Asserted-Identity", "<sip:+491@d>"),)),
        ({"caller_header": "P-Preferred-Identity", "hides_caller": True}, "+491", '"Anonymous" <sip:anonymous@anonymous.invalid>',
         (("P-Preferred-Identity", "<sip:+491@gw>"), ("Privacy", "id"))),
        ({"caller_header": "Remote-Party-ID"}, "+491", "<sip:+491@gw>",
         (("Remote-Party-ID", "<sip:+491@gw>;party=calling;privacy=off;screen=no"),)),
        ({}, 'a"<b>;c\r\nX: y@z', "<sip:abcXyz@gw>", ()),
    ],
)  # fmt: skip
def test_the_caller_is_shown_by_policy(
    settings: dict[str, object], caller: str, from_value: str, headers: tuple[tuple[str, str], ...]
) -> None:
    assert trunk(**settings).identity(caller, "gw") == (from_value, headers)


def test_only_headers_that_are_named_go_out() -> None:
    open_one = trunk(send_headers=("X-Campaign*",))
    assert open_one.why_not_headers({"x-campaign-id": "7"}) == ""
    assert "not among send_headers" in open_one.why_not_headers({"X-Other": "7"})
    assert "not among send_headers" in trunk(send_headers=("*",)).why_not_headers({"Route": "<sip:evil>"})
    assert "cannot be sent" in open_one.why_not_headers({"X-Campaign": "a\r\nRoute: <sip:evil>"})


def test_a_gateway_that_is_down_is_tried_last() -> None:
    two = trunk(gateways=("a.example.com", "b.example.com"))
    two.gateways[0].is_down = True
    assert [gateway.name for gateway in two.candidates()] == ["b.example.com", "a.example.com"]


def test_calls_are_shared_by_weight_and_go_to_the_next_priority_last() -> None:
    ranked = ("backup;priority=9", "big:5070;weight=75;transport=tcp", "small;weight=25;priority=0")
    config = trunk_config.Trunk("carrier", gateways=ranked)
    shared = Trunk(config, seed=3)
    orders = [[gateway.name for gateway in shared.candidates()] for _ in range(4_000)]
    assert all(order[2] == "backup" for order in orders)
    assert sum(order[0] == "big:5070" for order in orders) / 4_000 == pytest.approx(0.75, abs=0.03)
    shared.gateways[0].is_down = True
    assert {tuple(gateway.name for gateway in shared.candidates()) for _ in range(50)} == {("small", "backup", "big:5070")}
    assert [gateway.name for gateway in shared.gateways] == ["big:5070", "small", "backup"], "as a registration tries them"


def test_a_wrong_user_name_is_explained() -> None:
    text = explain("vobiz", 401, "Unauthorized", "401: it refuses the credentials of user 'Jane'")
    assert text == (
        "401 Unauthorized from trunk vobiz: the user name 'Jane' is not known on trunk vobiz, or the password is wrong; "
        "carriers want the credential's user name, not the display name"
    )
    assert "the trunk has none" in explain("vobiz", 407, "Proxy Authentication Required")
    assert "look at realm" in explain("t", 401, "U", "401: it asks in the realm 'a', and credentials are for 'b' only")
    assert explain("t", 486, "Busy Here") == "486 Busy Here from trunk t"


def test_no_password_is_no_credentials() -> None:
    assert trunk(username="u").client is None and trunk(username="u", password=Secret("p")).client is not None
