from typing import Any

import numpy as np

from control_plane.commands.demo_story import Story, interruption_figures
from control_plane.commands.picture import Interruption
from control_plane.messages import CallChanged, CallFacts, Noted

MS, S = 1_000_000, 1_000_000_000
ORIGIN = 100 * S
QUALITY = {"received": 500, "lost": 0, "late": 2}


def told(**changes: Any) -> Story:
    """A call in which everything went as it should, but for `changes` to its summary."""
    story = Story(("opening hours", "operator", "2"))
    lines = []
    for event in (
        {"event": "sip", "at_ns": ORIGIN - 20 * MS, "is_sent": True, "summary": "INVITE"},
        {"event": "answered", "at_ns": ORIGIN, "rtp": "127.0.0.1:2", "set_up_ms": 20.0},
        {"event": "step", "at_ns": ORIGIN + 2 * S, "do": "say", "text": "opening hours"},
        {"event": "step", "at_ns": ORIGIN + 4 * S, "do": "interrupt", "text": "operator"},
        {"event": "speech", "at_ns": ORIGIN + 5 * S, "who": "caller", "is_started": True},
    ):
        lines += story.receive_phone(event)
    for at_ms, kind, text, values in (
        (100, "said", "Welcome", {}),
        (3_000, "heard", "opening hours", {"score": 9.0, "took_ms": 80.0, "packet_to_agent_ms": 0.2, "packet_to_agent_p99_ms": 1.5}),
        (5_021, "speech", "the caller speaks", {}),
        (6_000, "heard", "operator", {"score": 9.0, "took_ms": 90.0, "packet_to_agent_ms": 0.25, "packet_to_agent_p99_ms": 1.6}),
        (7_000, "key", "2", {}),
    ):
        lines += story.receive_server(Noted(call_id="a", at_ns=ORIGIN + at_ms * MS, kind=kind, text=text, values=values))
    story.receive_phone(
        {"event": "interruption", "at_ns": ORIGIN + 5 * S, "silent_ns": ORIGIN + 5_034 * MS, "to_silence_ms": 34.0, "text": "operator"}
    )
    summary = {"failure": "", "origin_ns": ORIGIN, "keys": [[ORIGIN + 7 * S, "2"]], "quality": QUALITY}
    spurts = {"caller_spurts": [[ORIGIN + 2 * S, ORIGIN + 3 * S]], "agent_spurts": []}
    story.receive_phone({"event": "summary", **summary, **spurts, **changes})
    story.lines = lines  # type: ignore[attr-defined]
    return story


def test_what_is_watched_has_its_time_and_both_sides() -> None:
    text = [line.text for line in told().lines]  # type: ignore[attr-defined]
    assert text[0].startswith("  0.000  caller  ── INVITE ──") and text[0].endswith("▶  bellframe")
    assert "  2.020  caller says  “opening hours”" in text
    assert "  5.020  caller says  “operator”, over the agent" in text
    assert "  0.120  agent says   “Welcome”" in text
    assert any("understood “opening hours”" in line and "0.20 ms" in line for line in text)
    assert "  7.020  agent got the key 2" in text


def test_everything_shown_is_a_demo_that_succeeded() -> None:
    story = told()
    parts = story.parts()
    assert all(part.is_done for part in parts), [part for part in parts if not part.is_done]
    (interrupted,) = [part for part in parts if "interrupted" in part.name]
    assert interrupted.figure == "silence on the wire after 34.0 ms: 21.0 until the agent knew, 13.0 until its next packet was silent"
    assert story.latency_ms() == (0.25, 1.6)


def missing(story: Story) -> list[str]:
    return [part.name for part in story.parts() if not part.is_done]


def test_each_part_that_failed_is_named() -> None:
    assert missing(told(quality={"received": 0})) == ["the caller heard the agent"]
    assert missing(told(quality={**QUALITY, "lost": 6})) == ["the caller heard the agent"]
    assert missing(told(failure="step 3 (wait) took too long")) == ["the script ran to its end"]
    story = told()
    story.notes = [note for note in story.notes if note.text != "operator"]
    assert missing(story) == ["the agent understood the words “operator”"]
    story.notes.reverse()
    assert len(missing(story)) == 2, "the order counts"
    story = told()
    story.events = [event for event in story.events if event["event"] != "interruption"]
    assert missing(story) == ["the agent fell silent when interrupted"]


def test_nothing_at_all_names_everything() -> None:
    assert len(missing(Story(("yes",)))) == 4


def test_why_the_server_ended_the_call_is_kept() -> None:
    story = told()
    facts = CallFacts("a", "ended", "inbound", "caller", "menu", "menu", started_at=0, duration_s=1, cause="the menu said goodbye")
    story.receive_server(CallChanged(facts))
    assert story.parts()[-1].figure == "the menu said goodbye"


def test_the_recording_has_everything_in_seconds_since_the_answer() -> None:
    recording = told().recording(np.zeros((10, 2), np.int16), 8_000, "title")
    assert recording.keys == [(7.0, "2")] and recording.spurts == ([(2.0, 3.0)], [])
    assert recording.texts == ([(2.0, "opening hours"), (5.0, "operator")], [(0.1, "Welcome")])
    assert recording.interruptions == [Interruption(5.0, 5.034, "operator", 5.021)]


def test_without_word_from_the_agent_the_whole_is_told_alone() -> None:
    assert interruption_figures(Interruption(1.0, 1.05, "stop")) == "silence on the wire after 50.0 ms"
    assert interruption_figures(Interruption(1.0, 1.05, "stop", 1.2)) == "silence on the wire after 50.0 ms"
