"""Reasons, written and read."""

import pytest

from sip_front.message import Request
from sip_front.reason import CAUSES, read_reason, reason


@pytest.mark.parametrize(
    ("values", "read"),
    [
        (["Q.850;cause=16"], "Q.850 16: normal call clearing"),
        (['Q.850 ;cause=17 ;text="User \x1b busy"'], "Q.850 17: User \\x1b busy"),
        (['SIP;cause=200;text="Call completed elsewhere"'], "SIP 200: Call completed elsewhere"),
        (['SIP;cause=480, Q.850;cause=19;text=""'], "SIP 480; Q.850 19: no answer from the user"),
        (["Q.850;cause=126"], "Q.850 126"),
        (["Q.850;cause=x"], "Q.850"),
        ([], ""),
        (["Q.850;cause=16"] * 9, "; ".join(["Q.850 16: normal call clearing"] * 4)),
    ],
)
def test_reading(values: list[str], read: str) -> None:
    request = Request("BYE", "sip:a@b")
    for value in values:
        request.headers.add("Reason", value)
    assert read_reason(request) == read


def test_what_we_write_can_be_read() -> None:
    request = Request("BYE", "sip:a@b")
    request.headers.add("Reason", reason('he said "no"\r\nand\\left é', 31))
    assert request.headers.get("Reason") == "Q.850;cause=31;text=\"he said 'no'andleft ?\""
    assert read_reason(request) == "Q.850 31: he said 'no'andleft ?"


def test_the_table_is_in_order() -> None:
    assert list(CAUSES) == sorted(CAUSES) and all(1 <= cause <= 127 for cause in CAUSES)
