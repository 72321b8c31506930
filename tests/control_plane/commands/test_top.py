"""What `bellframe top` makes of the shared counters, read over the keeper's real socket."""

import json
import os
import pathlib
import threading
from collections.abc import Iterator

import msgspec
import pytest
from rich.console import Console

from control_plane.command import main
from control_plane.commands import top, top_figures, top_screen
from control_plane.messages import CallFacts, Calls, GetCalls
from shm import handover, segment
from shm.counters import CALL_COLUMN, WORKER, Counters, counters_bytes, counters_format
from tests.control_plane.test_client import Exchange

FACT = CallFacts("c-1", "talking", "inbound", "sip:alice@192.0.2.1", "sip:100@192.0.2.9", "menu", 0.0, 65.0)


def fill(views: Counters) -> None:
    views.workers[0, [WORKER["pid"], WORKER["core"], WORKER["generation"], WORKER["calls_open"]]] = 4711, 3, 2, 1
    views.workers[0, WORKER["worst_lateness_ns"]] = 1_500_000
    row = views.calls[1]
    row["call_id"], row["worker"], row["rtp_port"] = b"c-1", 0, 10002
    counted = {"packets_received": 990, "lost": 10, "jitter_us": 2500, "level_rx_dbov": -20, "level_tx_dbov": -127, "concealed_frames": 9}
    for name, value in counted.items():
        row["counters"][CALL_COLUMN[name]] = value


@pytest.fixture
def views() -> Counters:
    made = counters_format(bytearray(counters_bytes(2, 4)), 2, 4)
    fill(made)
    return made


def sample(views: Counters, at_ns: int) -> top_figures.Sample:
    return top_figures.Sample(at_ns, views.workers.tolist(), views.lateness.tolist())


def test_figures_are_those_between_two_samples(views: Counters) -> None:
    before = sample(views, 0)
    views.workers[0, WORKER["busy_ns"]] += 250_000_000
    views.lateness[0, 0], views.lateness[0, 9] = 95, 5
    worker, idle = top_figures.measure(before, sample(views, 1_000_000_000), views, ()).workers
    assert (worker.busy_percent, worker.late_p99_us, worker.worst_late_us) == (25.0, 512, 1500)
    assert (worker.pid, worker.core, worker.generation, worker.calls) == (4711, 3, 2, 1)
    assert (idle.busy_percent, idle.late_p99_us) == (0.0, 0)


def test_a_call_has_its_media_and_who_talks(views: Counters) -> None:
    (call,) = top_figures.measure(sample(views, 0), sample(views, 1), views, (FACT,)).calls
    assert (call.call_id, call.caller, call.agent, call.duration_s) == ("c-1", FACT.caller, "menu", 65.0)
    assert (call.lost, call.lost_percent, call.jitter_ms, call.level_rx_dbov, call.rtp_port) == (10, 1.0, 2.5, -20, 10002)


def test_without_the_front_the_media_is_shown_all_the_same(views: Counters) -> None:
    (call,) = top_figures.measure(sample(views, 0), sample(views, 1), views, ()).calls
    assert (call.state, call.caller, call.lost) == ("media only", "", 10)


@pytest.mark.parametrize(("share", "late_us"), [(0.5, 0), (0.95, 0), (0.99, 512), (1.0, 512)])
def test_percentiles_come_from_the_buckets(share: float, late_us: int) -> None:
    assert top_figures.percentile_us([95] + [0] * 8 + [5], share) == late_us


def test_nothing_counted_is_nothing_late() -> None:
    assert top_figures.percentile_us([0] * 32, 0.99) == 0


@pytest.mark.parametrize(("level_dbov", "bar"), [(-127, "   "), (-60, "   "), (-30, "▄▄▄"), (0, "███"), (5, "███")])
def test_loudness_is_a_bar(level_dbov: int, bar: str) -> None:
    assert top_screen.level_bar(level_dbov) == bar


def test_the_picture_shows_workers_and_calls_and_is_not_driven_by_names(views: Counters) -> None:
    fact = CallFacts("c-1", "talking", "inbound", "[red]mallory\x1b[2J", "sip:100", "menu", 0.0, 65.0)
    console = Console(width=160, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(top_screen.draw(top_figures.measure(sample(views, 0), sample(views, 1), views, (fact,))))
    console.file.close()
    text = console.export_text()
    assert "0 (replaced 1x)" in text and "1:05" in text and "1.0 %" in text
    assert "[red]mallory\\x1b[2J" in text and "\x1b" not in text


def test_without_calls_there_are_no_headings_of_calls(views: Counters) -> None:
    console = Console(width=80, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(top_screen.draw(msgspec.structs.replace(top_figures.measure(sample(views, 0), sample(views, 1), views, ()), calls=())))
    console.file.close()
    heading, first, *_, last = [line.rstrip() for line in console.export_text().splitlines()]
    assert heading.split()[:4] == ["worker", "core", "pid", "calls"] and heading.index("sent late") + 9 == len(heading) == len(first)
    assert last == "no calls" and "caller" not in console.export_text()


@pytest.fixture
def server(tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A keeper's socket that hands out counters, and a front's that knows the call."""
    memory = segment.make("counters", counters_bytes(1, 4))
    fill(counters_format(segment.map_fd(memory), 1, 4))
    readable, listener = segment.read_only(memory), handover.listen(tmp_path)
    listener.setblocking(True)
    thread = threading.Thread(target=handover.serve_one, args=(listener, memory, readable, []))
    thread.start()
    front = Exchange(tmp_path, lambda message: [Calls(calls=(FACT,))] if isinstance(message, GetCalls) else [])
    yield tmp_path
    thread.join()
    front.close()
    listener.close()
    os.close(memory)
    os.close(readable)


def test_json_is_one_snapshot(server: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["top", "--json", "--runtime-dir", str(server)]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["workers"][0]["pid"] == 4711 and values["calls"][0]["callee"] == FACT.callee


def test_media_is_shown_while_the_front_is_away(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, views: Counters
) -> None:
    monkeypatch.setattr(top, "open_counters", lambda directory: views)
    assert main(["top", "--json", "--runtime-dir", str(tmp_path)]) == 0
    assert json.loads(capsys.readouterr().out)["calls"][0]["state"] == "media only"


def test_once_is_one_picture(server: pathlib.Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    assert main(["top", "--once", "--runtime-dir", str(server)]) == 0
    assert "4711" in (text := capsys.readouterr().out) and "c-1" in text
