"""Calls of the running server, seen from outside of it: what was sent and received, and what became of them."""

import pathlib
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from control_plane import client
from control_plane.channel import Channel
from control_plane.messages import (
    CallChanged,
    CallFacts,
    Calls,
    Done,
    Failed,
    GetCall,
    GetStatus,
    HangUp,
    HoldCall,
    HoldEnded,
    Message,
    Noted,
    Originate,
    PressKeys,
    SipTraced,
    Status,
    Watch,
)

AGENT = "probe"
END_LIMIT_S, ASK_S = 10.0, 1.0


class Call:
    """One call out, watched from its first message on."""

    def __init__(self, channel: Channel, call_id: str) -> None:
        self.channel, self.call_id = channel, call_id
        self.facts: CallFacts | None = None
        self.refusal = ""
        self.traces: list[SipTraced] = []
        self.keys, self.levels_dbov = "", list[float]()
        self.hold: HoldEnded | None = None
        self._asked = 0.0

    @property
    def has_ended(self) -> bool:
        return bool(self.refusal) or (self.facts is not None and self.facts.state == "ended")

    @property
    def is_up(self) -> bool:
        return self.facts is not None and self.facts.state == "up"

    @property
    def why(self) -> str:
        """How it came to its end, in plain words."""
        return self.refusal or (self.facts.cause if self.facts else "") or "nothing was heard of it"

    def responses(self) -> list[str]:
        """Status lines that came in, such as "183 Session Progress"."""
        return [trace.summary for trace in self.traces if not trace.is_sent and trace.summary[:1].isdigit()]

    def wait(self, is_true: Callable[[], object], limit_s: float) -> bool:
        """Follow the call until then, until its end, or until the limit."""
        deadline = time.monotonic() + limit_s
        while not is_true():
            left_s = deadline - time.monotonic()
            if left_s <= 0 or self.has_ended:
                return bool(is_true())
            if time.monotonic() - self._asked > ASK_S:
                self._asked = time.monotonic()
                self.channel.send(GetCall(self.call_id))
            if self.channel.socket.poll(round(min(left_s, 0.2) * 1000)):
                for message in self.channel.receive():
                    self.take(message)
        return True

    def follow(self, seconds: float) -> None:
        self.wait(lambda: False, seconds)

    def take(self, message: Message) -> None:
        match message:
            case CallChanged(call=facts) if facts.call_id == self.call_id:
                self.facts = facts
            case Calls(calls=(facts, *_)) if facts.call_id == self.call_id:
                self.facts = facts
            case Failed(why=why) if self.facts is None:
                self.refusal = why
            case SipTraced(call_id=self.call_id):
                self.traces.append(message)
            case Noted(call_id=self.call_id, kind="key", text=key):
                self.keys += key
            case Noted(call_id=self.call_id, kind="heard", values=values):
                self.levels_dbov.append(values["level_dbov"])
            case HoldEnded(call_id=self.call_id):
                self.hold = message

    def put_on_hold(self, is_held: bool, limit_s: float = 10.0) -> HoldEnded | None:
        self.hold = None
        self.channel.send(HoldCall(self.call_id, is_held))
        self.wait(lambda: self.hold, limit_s)
        return self.hold

    def press(self, keys: str) -> None:
        self.channel.send(PressKeys(self.call_id, keys))

    def end(self) -> None:
        """Hang up, and wait for what its media counted."""
        if not self.has_ended:
            self.channel.send(HangUp(self.call_id, "certify has seen what it wanted"))
            self.wait(lambda: self.has_ended, END_LIMIT_S)


class Line:
    """Where calls go: a number through a trunk, or a SIP URI."""

    def __init__(self, directory: pathlib.Path, trunk: str, to: str, caller: str = "") -> None:
        self.directory, self.trunk, self.to, self.caller = directory, trunk, to, caller

    @contextmanager
    def call(self, to: str = "", formats: tuple[str, ...] = ()) -> Iterator[Call]:
        """Ended when the block is left."""
        call_id = f"certify-{secrets.token_hex(6)}"
        with client.connection(self.directory) as channel:
            call = Call(channel, call_id)
            channel.send(Watch(call_id=call_id))
            channel.send(Originate(call_id, to or self.to, AGENT, self.caller, trunk=self.trunk, formats=formats))
            try:
                yield call
            finally:
                call.end()

    def status(self) -> Status:
        answer = client.ask(self.directory, GetStatus())
        assert isinstance(answer, Status)
        return answer

    def begin(self, channel: Channel, call_id: str) -> None:
        """One of many, which nobody watches."""
        channel.send(Originate(call_id, self.to, AGENT, self.caller, trunk=self.trunk))


def facts_of(channel: Channel, call_id: str) -> CallFacts | None:
    answer = channel.ask(GetCall(call_id), client.ANSWER_LIMIT_MS)
    while isinstance(answer, Done):  # of an order given before
        answer = next(iter(channel.receive()), None)
    return answer.calls[0] if isinstance(answer, Calls) and answer.calls else None
