"""docs/interop.md: which peer, which feature, and the test that shows it. `python -m tests.interop.matrix` runs them and writes it anew."""

import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from typing import NamedTuple
from xml.etree import ElementTree

from tests.interop.inbound import INBOUND
from tests.interop.outbound import OUTBOUND

ROOT = pathlib.Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "interop.md"
SYSTEM, HERE = "tests/system", "tests/interop"


class Cell(NamedTuple):
    peer: str
    feature: str
    test: str
    """FILE::TEST, as pytest names it; without its [parameters] it is all of them."""


def _cells(peer: str, tests: Mapping[str, str]) -> list[Cell]:
    return [Cell(peer, feature, test) for test, features in tests.items() for feature in features.split(", ")]


REAL: tuple[Cell, ...] = (
    *_cells("baresip", {
        f"{SYSTEM}/test_two_way_audio.py::test_baresip_and_an_agent_hear_each_other": "call in, audio both ways",
        f"{SYSTEM}/test_two_way_audio.py::test_they_hear_each_other_in_every_codec": "wide codecs",
        f"{SYSTEM}/test_streams.py::test_baresip_calls_us_and_we_call_it": "TCP, TLS, call out",
        f"{SYSTEM}/test_srtp.py::test_a_protected_call_is_heard_both_ways_and_by_nobody_else": "SRTP",
        f"{SYSTEM}/test_trunks.py::test_a_phone_with_a_password_calls_from_anywhere": "digest",
        f"{SYSTEM}/test_phones.py::test_a_phone_logs_in_calls_an_agent_and_is_called": "registration",
        f"{SYSTEM}/test_dialogs.py::test_a_telephone_is_held_and_taken_back": "hold, re-INVITE",
        f"{SYSTEM}/test_dialogs.py::test_a_telephone_is_transferred_to_another_one": "REFER",
    }),
    *_cells("Kamailio", {
        f"{SYSTEM}/test_trunks.py::test_a_call_comes_in_by_a_registration_and_another_registrar_start_is_survived": "call in, registration",
        f"{SYSTEM}/test_trunks.py::test_a_call_goes_out_with_a_password_and_so_does_its_bye": "call out, digest",
        f"{SYSTEM}/test_trunks.py::test_a_wrong_password_and_a_forbidden_number_say_what_to_change": "refusals",
    }),
    *_cells("Kamailio with rtpengine", {
        f"{HERE}/test_sbc.py::test_a_telephone_behind_it_hears_itself_and_is_held_and_resumed": "call in, hold, audio both ways",
        f"{HERE}/test_sbc.py::test_it_adds_srtp_towards_us_which_the_telephone_does_not_speak": "SRTP",
        f"{HERE}/test_sbc.py::test_we_call_a_telephone_behind_it": "call out",
    }),
    *_cells("aiosipua", {
        f"{HERE}/test_aiosipua.py::test_it_logs_in_and_calls_an_agent_with_a_password_and_timers":
            "registration, digest, call in, session timer, re-INVITE, INFO keys",
        f"{HERE}/test_aiosipua.py::test_it_is_called_rings_reliably_and_is_hung_up_on": "call out, PRACK",
    }),
    *_cells("sippy", {
        f"{HERE}/test_sippy.py::test_it_calls_an_agent_with_a_password_holds_it_and_hangs_up":
            "registration, digest, call in, hold, re-INVITE",
        f"{HERE}/test_sippy.py::test_it_is_called_held_and_hung_up_on": "call out, hold",
    }),
    *_cells("SIPp", {
        f"{SYSTEM}/test_sip_calls.py::test_every_request_gets_its_answer": "call in, hold, PRACK, session timer, OPTIONS, refusals",
        f"{SYSTEM}/test_streams.py::test_sipp_calls_over_tcp": "TCP",
        f"{SYSTEM}/test_dialogs.py::test_a_far_end_that_wants_a_longer_timer_gets_it": "call out",
        f"{SYSTEM}/test_dialogs.py::test_a_transfer_that_is_answered": "REFER",
        f"{SYSTEM}/test_dialogs.py::test_keys_by_sip_info_reach_the_agent": "INFO keys",
    }),
)  # fmt: skip
PLAYED: tuple[Cell, ...] = tuple(
    Cell(row.peer, feature, f"{HERE}/{file}[{row.script.name}]")
    for rows, file in ((INBOUND, "test_inbound.py::test_a_call_from"), (OUTBOUND, "test_outbound.py::test_a_call"))
    for row in rows
    for feature in row.features
)
HEAD = """\
# Who works with Bellframe

Made by `python -m tests.interop.matrix`: each mark is a test of that run, and a link to where it stands.
"""
REAL_HEAD = """
## The programs themselves

Debian's baresip, Kamailio, rtpengine and SIPp, and aiosipua and sippy from PyPI, started by the tests.
"""
PLAYED_HEAD = """
## Carriers, PBXs and platforms, played by SIPp

What they send and expect, by their documentation and by traces of theirs: `tests/interop/inbound.py` and `outbound.py` have each flow.
None of them was called for this page.
"""


def page(failed: frozenset[str] = frozenset()) -> str:
    """`failed`: tests, as cells name them."""
    return HEAD + REAL_HEAD + _table(REAL, failed) + PLAYED_HEAD + _table(PLAYED, failed)


def _table(cells: tuple[Cell, ...], failed: frozenset[str]) -> str:
    features, peers = list(dict.fromkeys(cell.feature for cell in cells)), list(dict.fromkeys(cell.peer for cell in cells))
    marks: dict[tuple[str, str], list[str]] = {}
    for cell in cells:
        mark = "✘" if cell.test in failed else "✔"
        marks.setdefault((cell.peer, cell.feature), []).append(f"[{mark}](../{cell.test.partition('::')[0]})")
    lines = ["", "| | " + " | ".join(features) + " |", "|---" * (len(features) + 1) + "|"]
    lines += [f"| {peer} | " + " | ".join(" ".join(marks.get((peer, feature), [])) for feature in features) + " |" for peer in peers]
    return "\n".join(lines) + "\n"


def run() -> frozenset[str]:
    """All tests of the page; those that failed, or were left out."""
    tests = list(dict.fromkeys(cell.test for cell in REAL + PLAYED))
    with tempfile.TemporaryDirectory() as folder:
        report = pathlib.Path(folder) / "report.xml"
        subprocess.run([sys.executable, "-m", "pytest", "-q", f"--junit-xml={report}", *tests], cwd=ROOT, check=False)
        cases = list(ElementTree.parse(report).iter("testcase"))
    passed = {f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name')}" for case in cases if not len(case)}
    bad = {f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name')}" for case in cases if len(case)}
    return frozenset(test for test in tests if not _with(test, passed) or _with(test, bad))


def _with(test: str, results: set[str]) -> bool:
    """Is it among these, as it is or with any parameters?"""
    return any(result == test or result.startswith(f"{test}[") for result in results)


if __name__ == "__main__":
    wrong = run()
    PAGE.write_text(page(wrong))
    print(f"{PAGE.relative_to(ROOT)}: {len(REAL + PLAYED)} marks" + (f", failed: {', '.join(sorted(wrong))}" if wrong else ", all good"))
    sys.exit(bool(wrong))
