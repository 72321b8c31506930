"""Who calls."""

import pytest

from sip_front.identity import caller_of
from sip_front.message import Request, parse

ASSERTED = 'P-Asserted-Identity: "Ann" <sip:+15551230001@carrier.example;user=phone>\r\n'


def invite(user: str, headers: str = "") -> Request:
    text = (
        "INVITE sip:echo@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK1\r\nMax-Forwards: 70\r\n"
        f"From: <sip:{user}@anonymous.invalid>;tag=1\r\nTo: <sip:echo@192.0.2.1>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\n{headers}\r\n"
    )
    message = parse(text.encode())
    assert isinstance(message, Request)
    return message


@pytest.mark.parametrize(
    ("user", "headers", "caller"),
    [
        ("+4930123",   ASSERTED,                                                    "+4930123"),
        ("anonymous",  ASSERTED,                                                    "+15551230001"),
        ("Anonymous",  "P-Asserted-Identity: <tel:+15551230001>, <sip:a@b.c>\r\n",  "+15551230001"),
        ("Restricted", "Remote-Party-ID: <sip:+1555@h.example>;party=calling\r\n",  "+1555"),
        ("anonymous",  ASSERTED + "Privacy: id\r\n",                                "anonymous"),
        ("anonymous",  ASSERTED + "Privacy: header; user\r\n",                      "anonymous"),
        ("anonymous",  ASSERTED + "Privacy: none\r\n",                              "+15551230001"),
        ("anonymous",  "P-Asserted-Identity: <\r\n",                                "anonymous"),
        ("anonymous",  "",                                                          "anonymous"),
    ],
)  # fmt: skip
def test_a_hidden_caller_is_whom_the_network_asserts_unless_it_asks_for_privacy(user: str, headers: str, caller: str) -> None:
    assert caller_of(invite(user, headers)) == caller
