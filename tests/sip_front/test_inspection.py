"""What a request wants that we lack."""

import pytest

from sip_front.inspection import why_not_understood
from sip_front.message import Headers, Request

EXTENSIONS = ("100rel", "timer")
SDP = ("Content-Type", "application/sdp")


@pytest.mark.parametrize(
    ("method", "headers", "body", "status"),
    [
        ("INVITE", (SDP,), b"v=0", None),
        ("INVITE", (("Content-Type", "Application/SDP;charset=utf-8"),), b"v=0", None),
        ("INVITE", (), b"", None),
        ("INVITE", (), b"v=0", 415),
        ("INVITE", (SDP, ("Content-Encoding", "gzip")), b"v=0", 415),
        ("BYE", (("Content-Type", "text/plain"),), b"x", None),
        ("INVITE", (("Require", "100rel, Timer"),), b"", None),
        ("OPTIONS", (("Require", "100rel"), ("Require", "precondition")), b"", 420),
        ("INVITE", (("Accept", "text/plain, application/sdp;level=1"),), b"", None),
        ("INVITE", (("Accept", "*/*"),), b"", None),
        ("INVITE", (("Accept", "application/*;q=0.5"),), b"", None),
        ("INVITE", (("Accept", "text/nobodyKnowsThis"),), b"", 406),
        ("INVITE", (("Accept", ""),), b"", 406),
        ("OPTIONS", (("Accept", "text/plain"),), b"", None),
    ],
)  # fmt: skip
def test_status(method: str, headers: tuple[tuple[str, str], ...], body: bytes, status: int | None) -> None:
    found = why_not_understood(Request(method, "sip:a@b", Headers(headers), body), EXTENSIONS)
    assert (found and found.status) == status
    assert found is None or found.why.startswith(f"{status}: ")


def test_what_is_lacked_is_named() -> None:
    request = Request("OPTIONS", "sip:a@b", Headers((("Require", "timer, one"), ("Require", "two"))))
    found = why_not_understood(request, EXTENSIONS)
    assert found is not None and found.headers == (("Unsupported", "one, two"),)
