"""The ladder, as people see it."""

from control_plane.ladder import Ladder, draw
from control_plane.messages import SipTraced

ONE, OTHER, HERE = "192.0.2.10:5060", "tcp:192.0.2.99:5060", "192.0.2.1:5060"
MESSAGES = (
    SipTraced("c", 1_000_000_000, False, "INVITE", ONE, HERE, text="INVITE sip:a@b SIP/2.0\r\nVia: x\x1b[31m\r\n\r\n"),
    SipTraced("c", 1_201_000_000, True, "200 OK (INVITE)", ONE, HERE),
    SipTraced("c", 1_501_000_000, True, "BYE", OTHER, HERE),
)


def test_a_column_for_each_far_end_and_an_arrow_for_each_message() -> None:
    assert draw(MESSAGES) == [
        "             192.0.2.1:5060                          192.0.2.10:5060                         tcp:192.0.2.99:5060",
        "             │                                       │                                       │",
        "   +0.000 s  │<─────────────── INVITE ───────────────│                                       │",
        "   +0.201 s  │────────── 200 OK (INVITE) ───────────>│                                       │",
        "   +0.501 s  │──────────────────────────────────── BYE ─────────────────────────────────────>│",
    ]


def test_live_a_far_end_gets_its_column_when_it_appears() -> None:
    ladder = Ladder()
    lines = [line for message in MESSAGES for line in ladder.lines(message)]
    assert len(lines) == 7 and lines[1].count("│") == 2 and lines[5].count("│") == 3


def test_messages_are_shown_below_and_drive_no_terminal() -> None:
    lines = draw(MESSAGES, is_whole=True)
    assert "    INVITE sip:a@b SIP/2.0" in lines and "    Via: x\\x1b[31m" in lines


def test_a_summary_that_is_too_long_is_cut_and_nothing_is_nothing() -> None:
    long = SipTraced("c", 1, True, "x" * 500, ONE, HERE)
    assert all(len(line) <= 70 for line in draw([long])) and draw([]) == []
