"""Every question of the benchmarks can be asked, timed and drawn. Nothing is measured here: that takes minutes and a quiet machine."""

import ast
import importlib
import importlib.util
import pathlib
from typing import Any

import pytest

from bench import picture
from bench.__main__ import QUESTIONS, show, words

BENCH = pathlib.Path(picture.__file__).parent
PERCENTILES_MS = {50: 21.4, 99: 30.2, 100: 33.9}
STEP = {
    "calls": 100, "cpu_us": 9.5, "core_percent": 9.6, "lost": 0, "sent_late": 0, "heard_late": 0, "longest_gap_ms": 21.0,
    "round_trip_ms": PERCENTILES_MS, "added_ms": PERCENTILES_MS, "lateness_ms": {50: 0.06, 99: 1.0, 99.9: 2.0},
    "generator_late_ms": 0.4, "memory_mb": 140.0, "bare_us": 6.5, "ratio": 1.46,
    "disturbance_ms": [0.4, 0.6],
}
SPEECH = {"heard": "25 of 25", "from_first_packet_ms": PERCENTILES_MS, "from_telling_packet_ms": PERCENTILES_MS}
LATE = {"p50_us": 64.0, "p99_us": 256.0, "p99.9_us": 512.0, "packets": 50_000, "http_cpu_percent": 0.4}
ANSWERS: dict[str, Any] = {  # as recorded once, shortened
    "ring_hop": {"hop_us": {"publish, read_at": 0.11, "try_say, try_take": 0.09}, "wake_up_us": {"p50": 12.0, "p99": 48.0, "p99.9": 90.0}},
    "frame_cost": {name: {"decode": 0.06, "encode": 0.3, "packet -> ring": 0.5} for name in ("PCMU", "PCMA")},
    "capacity": [{"kind": "PCMU", "us_per_frame": 8.5, "calls_per_core": 2352, "rated_per_core": 1176}],
    "sip_parse": {"octets": 1218, "parse, µs": {"best": 14.8, "median": 15.0}, "parse and route, µs": {"best": 48.1, "median": 49.0}},
    "concealment": {
        "PCMU": {"0 %": 4.1, "1 %": 3.93, "10 %": 3.18},
        "bar, PCMU": {"1 %": 3.83, "10 %": 2.54},
        "one lost packet, us": {"8 kHz": 33.0},
    },
    "packet_to_agent": {n: {"p50": 60.0, "p99": 410.0, "worst": 900.0} for n in (1, 100)},
    "interruption": {"loud": SPEECH, "duck": SPEECH, "pause": SPEECH, "soft": SPEECH},
    "voice_activity": {
        "cost_us": {"8 kHz, 1 at once": 130.0},
        "car, 10 dB": {name: {"missed": 0, "of": 12, "false_a_minute": 14.6, "told_after_ms": 38.9} for name in ("energy", "silero")},
    },
    "agents": {"echo, 500 calls": {"calls": 500, "core_percent": 31.2, "us_per_frame": 12.5, "underruns": 0}},
    "echo": {
        "clean, 80 ms, -12 dB": {
            name: {"self_interruptions_a_minute": 24.5, "missed": 0, "of": 6, "told_after_ms": 26.9, "worst_ms": 80.0, "erle_db": 20.7}
            for name in ("unguarded", "guarded")
        },
    },
    "turns": {
        "calls": 40, "turns": 10_000, "interrupted": 7_196, "told_wrong": 0, "samples_of_an_old_turn": 0, "turns_with_a_hole": 0,
        "packets": 146_000, "packets_missing": 0,
    },
    "takeover": {
        "calls": 200, "kills": 10, "lost": 0, "refused": 0, "gap_ms": PERCENTILES_MS, "takeover_ms": {"median": 51.0, "worst": 64},
    },
    "front_takeover": {
        "calls": 200, "kills": 5, "lost": 0, "lost_setups": 0, "answered_ms": {"median": 420.0, "worst": 470.0},
        "setup_ms": {"median": 15.0, "worst": 1100.0}, "gap_ms": PERCENTILES_MS,
    },
    "bot_faults": {
        "stalls": {"calls": 50, "lost_calls": 0, "gap_ms": PERCENTILES_MS, "frames": 75_000, "missing": 0, "twice": 0, "unheard_calls": 0},
        "kills": {
            "calls": 50, "lost_calls": 0, "gap_ms": PERCENTILES_MS, "frames": 90_000, "missing": 0, "twice": 0, "unheard_calls": 0,
            "kills": 20, "back_ms": {50: 120.0, 99: 400.0, 100: 430.0},
        },
    },
    "kills": {
        **{kind: {
            "kills": 100, "calls": 200, "lost": 0, "setups": 2000, "failed_setups": 0, "failures": {}, "gap_ms": PERCENTILES_MS,
            "bar_ms": 100, "out_of_order_afterwards": 0, "back_ms": PERCENTILES_MS,
        } for kind in ("worker", "front", "stopped worker")},
        "records": {"calls": 2200, "missing": 0, "twice": 0},
    },
    "upgrade": {
        "calls": 200, "upgrades": 3, "cut": 0, "setups": 840, "failures": [], "took_s": {"median": 12.0, "worst": 13.0},
        "gap_ms": PERCENTILES_MS, "setup_ms": PERCENTILES_MS,
    },
    "flood": [
        {"sources": n, "messages_per_second": 19_988.0, "set_ups": 190, "failed": 0, "setup_ms": PERCENTILES_MS, "failed_after": 0,
         "setup_after_ms": PERCENTILES_MS, "longest_gap_ms": 26.0, "front_percent": 35.0, "front_grew_mb": 5.1, "generator_late_ms": 6.6}
        for n in (1, 10_000)
    ],
    "hostile_input": {
        "messages": 1_000_000, "read as SIP": 228_000, "raised": 0, "kinds": {}, "took over 5 ms": 0, "seemed to, beside other work": 900,
        "us_a_message": 120.0,
    },
    "idle_connections": [
        {"step": name, "opened": 10_000, "taken": 10_000, "all_gone_after_s": 14.2, "grew_mb": 272.5, "kept_mb": 35.7}
        | {when: {"connects": 240, "failed": 0, "connect_ms": {"50": 3.2, "99": 129.0, "100": 330.0}} for when in ("during", "after")}
        for name in ("held", "strangers")
    ],
    "call_setups": [
        {"rate": n, "calls": 10 * n, "failed": 0, "failures": {}, "setup_ms": PERCENTILES_MS, "front_percent": 58.0,
         "front_us_per_call": 2070.0, "repeats": 0, "generator_late_ms": 5.0}
        for n in (100, 300)
    ],
    "metrics_scrape": {
        "cost": {"p50_ms": 3.1, "p99_ms": 5.0, "p100_ms": 8.0, "cpu_ms": 1.9, "bar_ms": 50.0, "calls": 1000},
        "lateness, not scraped": LATE,
        "lateness, scraped 10/s": LATE,
    },
    "wire_bots": [
        {"calls": n, "bridge_percent": 80.0, "packet_to_bot_ms": {"50": 0.3, "99": 3.4, "99.9": 6.7}, "missing_at_bot": 0}
        for n in (100, 300)
    ],
    "recording": {
        "calls": 400, "worker_us": {"not recorded": 9.0, "recorded": 9.3}, "more_percent": 3.3, "bar_percent": 10,
        "recorder_core_percent": 6.0, "written_mb": 250.0,
    },
    "joined_legs": [STEP | {"legs": n, "comfort_noise": 0, "stretched_ms": 1.5} for n in (200, 2_000)],
    "calls_per_core": [STEP, STEP | {"calls": 200, "lost": 2}],
    "shared_port": [STEP, STEP | {"calls": 200}],
    "capacity_curves": {kind: [STEP, STEP | {"calls": 200, "lost": 1}] for kind in ("PCMU", "G722")},
}


def test_what_is_said_with_a_question() -> None:
    assert words(["kills", "--times", "100", "--kinds", "worker,front"]) == (["kills"], {"times": 100, "kinds": "worker,front"})


def test_every_question_has_its_picture_and_its_answer_here() -> None:
    assert set(picture.PICTURES) == set(QUESTIONS) == set(ANSWERS)


def test_whoever_can_answer_is_asked() -> None:
    able = {path.stem for path in BENCH.glob("*.py") if "answer" in names_of(path)}
    assert able == set(QUESTIONS)


def names_of(path: pathlib.Path) -> set[str]:
    """What the module defines at its top."""
    body = ast.parse(path.read_text()).body
    assigned = {target.id for node in body if isinstance(node, ast.Assign) for target in node.targets if isinstance(target, ast.Name)}
    return assigned | {node.name for node in body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_question_can_be_asked_alone_and_by_pytest_benchmark(name: str) -> None:
    module = importlib.import_module(f"bench.{name}")
    assert callable(module.answer) and (module.__doc__ or "").count("?"), "says what it asks"
    timed = getattr(module, f"test_{name}")
    assert timed.__code__.co_varnames[: timed.__code__.co_argcount] == ("benchmark",)


@pytest.mark.parametrize("name", QUESTIONS)
def test_an_answer_is_drawn_and_read(name: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    show(ANSWERS[name])
    assert capsys.readouterr().out
    if importlib.util.find_spec("matplotlib") is None:
        assert picture.draw(name, ANSWERS[name], tmp_path / "picture.png") is None
        pytest.skip("matplotlib is not installed: no picture")
    drawn = picture.draw(name, ANSWERS[name], tmp_path / "picture.png")
    assert drawn is not None and drawn.read_bytes().startswith(b"\x89PNG")
