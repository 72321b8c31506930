"""The messages of our own wire, version 1: what they are called, what is in them, and their JSON schema.

    python -m ai_bridge.wires.bellframe_messages > docs/wire.schema.json

docs/wire.md is the page for those who write bots.
"""

import re
import struct
import sys
from typing import Any

import msgspec

VERSION = 1
SUBPROTOCOL = "bellframe.v1"
RATES_HZ = (8_000, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
"""What a bot may hear and speak at: each has whole samples in 20 ms, and a filter's table is kept for each."""

HEADER = struct.Struct("<IIQ")
"""Before the samples of every binary message, both ways: turn, flags, position. 16 octets, so that samples stay aligned."""
SPEECH, CONCEALED, COMFORT_NOISE, DISCONTINUITY = 1, 2, 4, 8
"""Flags of what the caller says. A bot sends 0."""


def in_snake_case(name: str) -> str:
    return re.sub(r"(?<!^)([A-Z])", r"_\1", name).lower()


class Message(msgspec.Struct, frozen=True, tag_field="type", tag=in_snake_case):
    pass


# ---- to the bot ---------------------------------------------------------------------------------------------------


class Start(Message):
    """First of all messages of a connection. Audio follows once the bot has answered `ready`."""

    version: int
    call_id: str
    caller: str
    callee: str
    direction: str
    headers: dict[str, str]
    """Of the INVITE, as far as they were passed on."""
    arguments: dict[str, str]
    """Of the route, but for those that are for Bellframe."""
    line_rate_hz: int
    """Of the codec: to hear this rate costs nothing and loses nothing."""
    is_held: bool
    turn: int
    """The turn that the call is in: 0, or where a connection before this one left it."""
    said_ms: float
    """What was taken of that turn, played or not: go on from here."""
    heard_ms: float
    """What the caller heard of that turn."""
    resumed: str
    """Empty: a new call. "connection": the connection broke, and nothing else is lost. "process": Bellframe's agent
    process was replaced as well: the bot may be another, marks are forgotten, and said_ms may have shrunk."""
    away_ms: float
    """How long nobody was connected. What was said by the caller meanwhile follows, as far as it is kept (5 s)."""


class SpeechStarted(Message):
    """The caller began to speak."""

    position: int
    """Of the frame in which it was found, which follows: in samples, as in the header of audio."""


class SpeechStopped(Message):
    """The caller has been silent for a while."""

    position: int


class Key(Message):
    """The caller pressed a key: 0-9, *, #, A-D."""

    key: str


class MarkPlayed(Message):
    """The caller heard everything that was said before this mark."""

    name: str


class MarkCleared(Message):
    """The turn of this mark ended before it was played."""

    name: str


class Played(Message):
    """How far the caller is. Every `report_ms`, as long as it changes."""

    turn: int
    heard_ms: float
    queued_ms: float


class Drained(Message):
    """Everything said is on the wire: the line falls silent."""

    turn: int
    heard_ms: float


class TurnEnded(Message):
    """A turn is over, and nothing more of it will be heard. The next one has the next number."""

    turn: int
    cause: str
    """"bot": it began the next turn. "caller": spoke or pressed a key, see `ready`. "hold"."""
    said_ms: float
    """What the bot sent of it, as far as it was taken."""
    heard_ms: float
    """What the caller heard of that, exact to the sample."""


class QueueFull(Message):
    """More than `ahead_ms` wait to be heard: send no more speech until `queue_low`. Beyond a minute it is dropped."""

    queued_ms: float


class QueueLow(Message):
    """Half of `ahead_ms` is left: speak on."""

    queued_ms: float


class Hold(Message):
    """The far end put us on hold, or took us back. Being held ends the turn, and what the bot says meanwhile is dropped."""

    is_held: bool


class HoldEnded(Message):
    """What became of the bot's `hold` or `unhold`."""

    is_held: bool
    was_accepted: bool
    status: int
    why: str


class TransferEnded(Message):
    """What became of a transfer. If it was accepted, the call ends."""

    was_accepted: bool
    status: int
    why: str


class Quality(Message):
    """What the caller's audio was made of, since the last such message."""

    position: int
    frames: int
    """Of 20 ms."""
    concealed: int
    """Made up, because no packet came in time."""
    lost: int
    """Not delivered to the bot, because it did not read for seconds."""
    comfort_noise: int
    """The far end was silent and sent nothing."""
    level_dbov: float
    """Mean over the frames with speech; -127 if there was none."""


class Stop(Message):
    """The call is over. Last of all messages; the connection is closed behind it."""

    cause: str
    turn: int
    heard_ms: float


ToBot = (
    Start
    | SpeechStarted
    | SpeechStopped
    | Key
    | MarkPlayed
    | MarkCleared
    | Played
    | Drained
    | TurnEnded
    | QueueFull
    | QueueLow
    | Hold
    | HoldEnded
    | TransferEnded
    | Quality
    | Stop
)


# ---- from the bot -------------------------------------------------------------------------------------------------


class Ready(Message):
    """First of all messages of the bot, within 5 s of `start`."""

    version: int
    rate_hz: int
    """What it hears, and speaks."""
    say_rate_hz: int = 0
    """What it speaks, if that is another rate."""
    interrupt_on_speech: bool = False
    """End the turn as soon as the caller speaks over it: at the next packet, without asking the bot."""
    interrupt_on_key: bool = False
    ahead_ms: int = 30_000
    """How much speech may wait before `queue_full`: 100 to 50000."""
    report_ms: int = 0
    """How often `played` comes: from 20. 0: never."""
    quality_ms: int = 0
    """How often `quality` comes: from 1000. 0: never."""


class Turn(Message):
    """Begin this turn, the next number: what was said before and not heard yet is dropped. Audio of the next number does the same."""

    turn: int


class Mark(Message):
    """Tell when the caller has heard everything before."""

    turn: int
    name: str


class Press(Message):
    """Press these keys for the far end (0-9, *, #, A-D; "," waits half a second), behind what was said."""

    keys: str


class Pause(Message):
    """Stop speaking where we are."""


class Resume(Message):
    """Go on there."""


class HoldCall(Message, tag="hold"):
    """Put the far end on hold."""


class Unhold(Message):
    """Take the far end back."""


class Transfer(Message):
    """Send the far end elsewhere: to a SIP URI or a number, or to the far end of another call."""

    to: str = ""
    with_call: str = ""


class Note(Message):
    """Show this to whoever watches the call."""

    kind: str
    text: str
    values: dict[str, float] = {}


class HangUp(Message):
    """End the call once everything said was heard, or at once. Closing the connection in order is the former."""

    cause: str = "the bot hung up"
    at_once: bool = False


FromBot = Ready | Turn | Mark | Press | Pause | Resume | HoldCall | Unhold | Transfer | Note | HangUp

encode = msgspec.json.Encoder().encode
decode_from_bot = msgspec.json.Decoder(FromBot).decode
decode_to_bot = msgspec.json.Decoder(ToBot).decode


def schema() -> dict[str, Any]:
    """JSON schema of all text messages: `to_bot` and `from_bot`."""
    (to_bot, from_bot), parts = msgspec.json.schema_components((ToBot, FromBot))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Text messages of {SUBPROTOCOL}",
        "to_bot": to_bot,
        "from_bot": from_bot,
        "$defs": parts,
    }


if __name__ == "__main__":
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(schema()), indent=2).decode() + "\n")
