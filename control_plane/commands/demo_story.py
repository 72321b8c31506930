"""What happened in the demo's call, out of what the phone and the server tell: lines to watch, verdicts, a recording.

Both tell times of the same monotonic clock, so that they can be compared to the microsecond.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from control_plane.commands.picture import Interruption, Recording
from control_plane.messages import CallChanged, Message, Noted

CALLER, AGENT, WIRE, BARGE_IN, FAINT = "bold blue", "bold yellow", "cyan", "bold red", "dim"
ARROW = 34
MOST_LOST = 0.01  # of the packets: on loopback none should be, but the machine may be busy


class Line(NamedTuple):
    """One to show: a style of rich, and the text."""

    style: str
    text: str


class Part(NamedTuple):
    """One thing that the demo is to show."""

    name: str
    is_done: bool
    figure: str


class Story:
    """`expected`: the phrases and keys that the agent must have understood, in order."""

    def __init__(self, expected: tuple[str, ...]) -> None:
        self.expected = expected
        self.began_ns = 0
        self.events: list[dict[str, Any]] = []
        self.notes: list[Noted] = []
        self.summary: dict[str, Any] = {}
        self.cause = ""
        self._interrupting = ""

    # ---- live -------------------------------------------------------------------------------------------------

    def receive_phone(self, event: dict[str, Any]) -> list[Line]:
        """A line of the phone's events."""
        self.began_ns = self.began_ns or int(event.get("at_ns", 0))
        if event["event"] == "summary":
            self.summary = event
            return []
        self.events.append(event)
        if event["event"] == "step":
            self._interrupting = event["text"] if event["do"] == "interrupt" else ""
        if event["event"] == "speech" and event["who"] == "caller" and event["is_started"] and self._interrupting:
            return [Line(CALLER, f"{self._time(event['at_ns'])}  caller says  “{self._interrupting}”, over the agent")]
        return [Line(style, f"{self._time(event['at_ns'])}  {text}") for style, text in _phone_lines(event)]

    def receive_server(self, message: Message) -> list[Line]:
        """What the front lets a watcher see."""
        if isinstance(message, CallChanged) and message.call.cause:
            self.cause = message.call.cause
        if not isinstance(message, Noted):
            return []
        self.notes.append(message)
        return [Line(style, f"{self._time(message.at_ns)}  {text}") for style, text in _note_lines(message)]

    def _time(self, at_ns: int) -> str:
        return f"{(at_ns - (self.began_ns or at_ns)) / 1e9:7.3f}"

    # ---- afterwards -------------------------------------------------------------------------------------------

    @property
    def understood(self) -> list[str]:
        return [note.text for note in self.notes if note.kind in ("heard", "key")]

    def interruptions(self) -> list[Interruption]:
        """With when the agent noticed, where it told. Times are seconds since the call was answered."""
        found = []
        origin_ns = self.summary.get("origin_ns", 0)
        for event in self.events:
            if event["event"] != "interruption":
                continue
            onset_ns, silent_ns = event["at_ns"], event["silent_ns"]
            noticed = [note.at_ns for note in self.notes if note.kind == "speech" and onset_ns <= note.at_ns <= silent_ns + 200_000_000]
            decided_s = (noticed[0] - origin_ns) / 1e9 if noticed else None
            found.append(Interruption((onset_ns - origin_ns) / 1e9, (silent_ns - origin_ns) / 1e9, event["text"], decided_s))
        return found

    def parts(self) -> list[Part]:
        """What the demo is to show, and whether it did."""
        answered = next((event for event in self.events if event["event"] == "answered"), None)
        quality = self.summary.get("quality", {})
        set_up = f"{answered['set_up_ms']:.1f} ms from INVITE to ACK" if answered else ""
        parts = [Part("the call was answered", answered is not None, set_up)]
        left = list(self.understood)
        for wanted in self.expected:
            is_there = wanted in left
            left = left[left.index(wanted) + 1 :] if is_there else left
            what = "key" if len(wanted) == 1 else "words"
            parts.append(Part(f"the agent understood the {what} “{wanted}”", is_there, self._certainty(wanted)))
        interruptions = [event for event in self.events if event["event"] == "interruption"]
        wanted_interruptions = [event for event in self.events if event["event"] == "step" and event["do"] == "interrupt"]
        for one in self.interruptions():
            parts.append(Part(f"“{one.text}” interrupted the agent", True, interruption_figures(one)))
        if len(interruptions) < len(wanted_interruptions):
            parts.append(Part("the agent fell silent when interrupted", False, "it did not, or it was not speaking"))
        received, lost = quality.get("received", 0), quality.get("lost", 0)
        is_clean = received > 0 and lost <= MOST_LOST * received
        figures = f"{received} packets, {lost} lost, {quality.get('late', 0)} more than 20 ms late" if received else "none came"
        parts.append(Part("the caller heard the agent", is_clean, figures))
        failure = self.summary.get("failure", "the phone did not come to its end")
        parts.append(Part("the script ran to its end", not failure, failure or self.cause))
        return parts

    def latency_ms(self) -> tuple[float, float] | None:
        """Median and 99th percentile from a packet's arrival to the agent's handler, over the call so far, as told last."""
        told: list[dict[str, float]] = [note.values for note in self.notes if "packet_to_agent_ms" in note.values]
        return (told[-1]["packet_to_agent_ms"], told[-1]["packet_to_agent_p99_ms"]) if told else None

    def _certainty(self, wanted: str) -> str:
        for note in self.notes:
            if note.kind == "heard" and note.text == wanted:
                return f"recognised in {note.values['took_ms']:.0f} ms"
        return ""

    def recording(self, stereo: npt.NDArray[np.int16], rate_hz: int, title: str) -> Recording:
        """For the picture. `stereo` begins when the call was answered."""
        origin_ns: int = self.summary["origin_ns"]

        def seconds(at_ns: int) -> float:
            return (at_ns - origin_ns) / 1e9

        spurts = [[(seconds(begin), seconds(end)) for begin, end in self.summary[name]] for name in ("caller_spurts", "agent_spurts")]
        said_by_caller = []
        for event in self.events:
            if event["event"] == "interruption" or (event["event"] == "step" and event["do"] == "say"):
                said_by_caller.append((seconds(event["at_ns"]), event["text"]))
        said_by_agent = [(seconds(note.at_ns), note.text) for note in self.notes if note.kind == "said"]
        keys = [(seconds(at_ns), key) for at_ns, key in self.summary["keys"]]
        return Recording(stereo, rate_hz, (spurts[0], spurts[1]), keys, self.interruptions(), (said_by_caller, said_by_agent), title)


def interruption_figures(one: Interruption) -> str:
    """The whole and its parts."""
    whole_ms = (one.silent_s - one.onset_s) * 1000
    if one.decided_s is None:
        return f"silence on the wire after {whole_ms:.1f} ms"
    noticed_ms = (one.decided_s - one.onset_s) * 1000
    if noticed_ms > whole_ms:
        return f"silence on the wire after {whole_ms:.1f} ms"
    parts = f"{noticed_ms:.1f} until the agent knew, {whole_ms - noticed_ms:.1f} until its next packet was silent"
    return f"silence on the wire after {whole_ms:.1f} ms: {parts}"


def _phone_lines(event: dict[str, Any]) -> list[tuple[str, str]]:
    match event["event"]:
        case "sip":
            return [(WIRE, _arrow(event["summary"], event["is_sent"]))]
        case "answered":
            return [(FAINT, f"audio goes both ways with {event['rtp']}; set up in {event['set_up_ms']:.1f} ms")]
        case "step" if event["do"] == "say":
            return [(CALLER, f"caller says  “{event['text']}”")]
        case "step" if event["do"] == "interrupt":
            return [(FAINT, f"caller waits for the agent to be speaking, to say “{event['text']}” over it")]
        case "key":
            return [(CALLER, f"caller presses  {event['key']}")]
        case "interruption":
            return [(BARGE_IN, f"from “{event['text']}” to silence on the wire: {event['to_silence_ms']:.1f} ms")]
        case "ended":
            return [(FAINT, f"the call was ended by {event['by']}")]
        case "note":
            return [(FAINT, event["text"])]
        case _:
            return []


def _arrow(text: str, is_sent: bool) -> str:
    if is_sent:
        return f"caller  ──{f' {text} ':─<{ARROW}}▶  bellframe"
    return f"caller  ◀{f' {text} ':─>{ARROW}}──  bellframe"


def _note_lines(note: Noted) -> list[tuple[str, str]]:
    values = note.values
    latency = f"; packets reach it in {values['packet_to_agent_ms']:.2f} ms" if "packet_to_agent_ms" in values else ""
    match note.kind:
        case "said":
            return [(AGENT, f"agent says   “{note.text}”")]
        case "heard":
            return [(AGENT, f"agent understood “{note.text}”  (score {round(values['score'])}, in {values['took_ms']:.0f} ms{latency})")]
        case "key":
            return [(AGENT, f"agent got the key {note.text}")]
        case "not understood":
            return [(AGENT, "agent did not understand")]
        case "interrupted":
            return [(BARGE_IN, f"agent was cut off: {values['heard_ms']:.0f} of {values['of_ms']:.0f} ms were heard")]
        case "speech":
            return []
        case _:
            return [(FAINT, f"agent: {note.kind} {note.text}")]
