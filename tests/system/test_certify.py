"""`bellframe certify` from one Bellframe to another: everything that can be seen, each outcome, and the report."""

import json
import pathlib
import time

import pytest

from control_plane.certify.checks import Result
from control_plane.certify.page import page
from control_plane.certify.report import Report, markdown
from tests.system.conftest import StartServer
from tests.system.server import HOST, Server, wait_for

ROUTES = [
    {"to": "486", "refuse": 486},
    {"to": "300", "agent": "probes:SlowMirror"},
    {"agent": "probes:Mirror"},
]


@pytest.fixture(scope="module")
def far_end(start_server: StartServer) -> Server:
    return start_server(only=ROUTES, media={"formats": ["PCMU", "PCMA", "G722"]})


@pytest.fixture(scope="module")
def server(start_server: StartServer, far_end: Server) -> Server:
    trunk = {"name": "carrier", "gateways": [f"{HOST}:{far_end.sip_port}"], "ping_seconds": 2, "allow_numbers": ["*"]}
    return start_server(agent="echo", trunks=[trunk], media={"formats": ["PCMU", "G722", "L16/8000"]})


def certify(server: Server, folder: pathlib.Path, *words: str) -> tuple[int, dict[str, dict[str, object]], str]:
    file = folder / "report.md"
    done = server.command("certify", *words, "--long", "0.04", "--calls", "4", "--rate", "4", "--report", str(file), limit_s=100)
    assert file.exists(), done.stdout + done.stderr
    found = json.loads(file.with_suffix(".json").read_text())
    return done.returncode, {result["name"]: result for result in found["results"]}, file.read_text()


def test_a_trunk_to_another_bellframe(server: Server, tmp_path: pathlib.Path) -> None:
    wait_for("the gateway answers", lambda: "up" in next(iter(server.status().trunks)).gateways.values(), 10.0)
    code, found, text = certify(server, tmp_path, "carrier", "--to", "100", "--busy", "486", "--ringing", "300")
    outcomes = {name: result["outcome"] for name, result in found.items()}
    assert outcomes == {
        "OPTIONS": "passed", "registration": "not testable",
        "codec PCMU": "passed", "codec G722": "passed", "codec L16/8000": "not testable",
        "DTMF": "passed", "hold and resume": "passed", "early media": "not testable", "CANCEL": "passed", "busy": "passed",
        "long call": "passed", "session timer": "not testable", "load": "passed", "failover": "not testable",
    }, text  # fmt: skip
    assert code == 0 and "488" in str(found["codec L16/8000"]["found"]) and "give --long" in str(found["session timer"]["found"])
    sent = (tmp_path / "report.html").read_text()
    assert sent.count("<figure>") == 2 and "time to the answer of each call" in sent and "0 failed" in sent
    assert "0 failed, " in text and text.startswith("# Interoperability of carrier with Bellframe ")
    server.wait_until_quiet()


def test_a_far_end_that_is_not_there_fails(server: Server, tmp_path: pathlib.Path) -> None:
    began = time.monotonic()
    code, found, text = certify(server, tmp_path, f"sip:nobody@{HOST}:9", "--codecs", "PCMU")
    assert code == 1 and found["codec PCMU"]["outcome"] == "failed" and "**failed**" in text
    assert found["hold and resume"]["found"] == "no call could be set up with any codec"
    assert time.monotonic() - began < 90


def test_what_a_far_end_said_stays_within_its_cell() -> None:
    made = Report("sip:a|b", 0.0, 1.0, "1", (Result("x", "y", "failed", "no | pipes\nand no lines", {"n": 1.5}),))
    assert "| x | y | **failed** | no \\| pipes and no lines |" in markdown(made) and "| x | n 1.5 |" in markdown(made)
    assert not made.is_good


def test_what_a_far_end_said_is_text_on_the_page_and_each_series_is_a_picture() -> None:
    result = Result("x", "y", "failed", "<script>alert(1)</script>", {}, {"loud, dBov": (-40.0, -20.0), "ms": (10.0, 20.0, 0.0)})
    found = page(Report("sip:<b>", 0.0, 1.0, "1", (result,)))
    assert "<script>" not in found and "&lt;script&gt;" in found and "sip:&lt;b&gt;" in found
    assert found.count("<figure>") == 2 and 'height="90.0"' in found and "from -40 to -20" in found
