"""What a carrier, a PBX or a stranger may send, told by SIPp: each scenario says what must come back."""

import pathlib
import re

import pytest

from tests.system import sipp
from tests.system.server import Server

SCENARIOS = [
    # scenario           the number called   SIPp's own options
    ("call",               "echo",             ("-d", "300", "-rtp_echo")),
    ("cancel",             "slow",             ()),
    ("hold",               "echo",             ()),
    ("in_dialog",          "echo",             ()),
    ("options",            "echo",             ()),
    ("unknown_method",     "echo",             ()),
    ("required_extension", "echo",             ()),
    ("body_type",          "echo",             ()),
    ("unknown_dialog",     "echo",             ()),
    ("no_codec",           "echo",             ()),
    ("missing_header",     "echo",             ()),
    ("missing_contact",    "echo",             ()),
    ("session_timer",      "echo",             ()),
    ("short_timer",        "echo",             ()),
    ("reliable_ringing",   "slow",             ()),
]  # fmt: skip
CALLS_MADE = {"call": 1, "cancel": 1, "hold": 1, "in_dialog": 1, "no_codec": 1, "session_timer": 1, "reliable_ringing": 1}


@pytest.mark.peer
@pytest.mark.parametrize(("scenario", "to", "options"), SCENARIOS, ids=[row[0] for row in SCENARIOS])
def test_every_request_gets_its_answer(server: Server, tmp_path: pathlib.Path, scenario: str, to: str, options: tuple[str, ...]) -> None:
    before = server.status()
    sipp.run(scenario, server.sip_port, tmp_path, *options, to=to)
    server.wait_until_quiet()
    assert server.status().calls_total - before.calls_total == CALLS_MADE.get(scenario, 0)


@pytest.mark.peer
def test_a_200_that_is_not_acknowledged_comes_again_as_it_was(server: Server, tmp_path: pathlib.Path) -> None:
    answers = responses(sipp.run("lost_ack", server.sip_port, tmp_path, "-nr"), "200 OK", "1 INVITE")
    assert len(answers) == 3 and len(set(answers)) == 1, "twice more, and not again after the ACK"


@pytest.mark.peer
def test_an_invite_that_comes_again_is_the_same_call(server: Server, tmp_path: pathlib.Path) -> None:
    before = server.status().calls_total
    messages = sipp.run("repeated_invite", server.sip_port, tmp_path, "-nr", to="slow")
    ringing = responses(messages, "180 Ringing", "1 INVITE")
    assert len(ringing) == 2 and len(set(ringing)) == 1
    assert len(set(re.findall(r"^To: .*;tag=(\w+)", messages, re.MULTILINE))) == 1
    assert server.status().calls_total == before + 1


def responses(messages: str, status: str, cseq: str) -> list[str]:
    """Those of a SIPp message file, each as it came."""
    blocks = re.split(r"^-{20,}.*$", messages, flags=re.MULTILINE)
    found = [block.partition("SIP/2.0 ")[2].strip() for block in blocks if "message received" in block]
    return [text for text in found if text.startswith(status) and f"CSeq: {cseq}" in text]


@pytest.mark.peer
def test_a_hundred_calls_at_fifty_a_second(server: Server, tmp_path: pathlib.Path) -> None:
    before = server.status()
    sipp.run("call", server.sip_port, tmp_path, "-d", "1000", "-rtp_echo", calls=100, rate=50)
    server.wait_until_quiet()
    after = server.status()
    assert after.calls_total - before.calls_total == 100 and after.calls_refused == before.calls_refused


def test_every_scenario_is_run() -> None:
    """A file that nobody plays tests nothing."""
    others = {"lost_ack", "repeated_invite", "draining", "stranger", "authenticated", "wrong_password"}
    others |= {"info_keys", "wants_longer_timer", "transferee", "busy_transferee", "late_answer", "taken_back"}
    assert {path.stem for path in sipp.SCENARIOS.glob("*.xml")} == {row[0] for row in SCENARIOS} | others
