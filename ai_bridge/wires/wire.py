"""What every wire is: the bot's messages in and out, without a socket, a task or a clock.

`bot.py` feeds it what happens on the line and what the bot sends, and does what it asks for. A method gives the
messages to send, in order; what the bot sends is turned into actions.
"""

import datetime
import secrets
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, NamedTuple, TypeVar

import msgspec

from ai_bridge.frame import Pcm
from ai_bridge.wires.options import Options
from control_plane.errors import PeerViolation


class BotViolation(PeerViolation):
    """The bot sent what its wire does not have. The text is for whoever wrote the bot."""


class About(NamedTuple):
    """What a bot is told of its call."""

    call_id: str
    caller: str
    callee: str
    direction: str
    parameters: Mapping[str, str]
    """Headers of the INVITE that were passed on, and the route's arguments but for Options."""
    options: Options
    url: str
    """As dialled, for signatures."""
    now: Callable[[], datetime.datetime]
    """UTC, for the wires that tell the time."""


class Say(NamedTuple):
    """Play this after what is playing."""

    pcm: Pcm
    rate_hz: int


class Mark(NamedTuple):
    """Tell when everything before has been played."""

    name: str


class Clear(NamedTuple):
    """Drop what has not been played."""


class Press(NamedTuple):
    """Send these keys to the caller's side, behind what is playing."""

    keys: str


class Finish(NamedTuple):
    """End the call; `at_once`: without playing what is queued."""

    cause: str
    at_once: bool = False


class Pause(NamedTuple):
    """Stop playing where we are."""


class Resume(NamedTuple):
    """Go on there."""


class Look(NamedTuple):
    """Tell how much waits, by `queue`."""


class Begin(NamedTuple):
    """The bot is ready to hear: on wires where it is not as soon as the connection is up."""


class Reply(NamedTuple):
    """Send it these."""

    messages: Sequence[bytes]


class Note(NamedTuple):
    """Show this to whoever watches the call."""

    kind: str
    text: str


class Ignored(NamedTuple):
    """Not an error, but not done either: worth a line in the log, once."""

    what: str


Action = Say | Mark | Clear | Press | Pause | Resume | Look | Finish | Begin | Reply | Note | Ignored
Messages = Sequence[bytes]


class Wire:
    """One connection to a bot. A connection that is dialled anew gets a new one."""

    sample_rate_hz: int = 8_000
    """Of the audio that the bot gets, whatever the line has."""
    has_binary_audio: ClassVar[bool] = False
    """Audio goes out in binary messages. Everything else is text, on all wires."""
    subprotocol: ClassVar[str] = ""
    bot_class: ClassVar[str] = "ai_bridge.wires.bot:Bot"
    """The agent that speaks it: another one where a wire has more to tell than the methods here."""

    def __init__(self, about: About) -> None:
        """Raises ConfigurationError for options that this wire does not have."""
        self.about = about

    def headers(self) -> dict[str, str]:
        """Of the upgrade request: signatures."""
        return {}

    def start(self) -> Messages:
        """The first messages, right after the connection is up."""
        raise NotImplementedError

    def audio(self, pcm: Pcm, position_ms: int) -> bytes:
        """20 ms of the caller at `sample_rate_hz`; `position_ms` since the stream's start."""
        raise NotImplementedError

    def key(self, key: str) -> Messages:
        """The caller pressed a key."""
        return ()

    def played(self, name: str) -> Messages:
        """Everything before the mark of this name was played."""
        return ()

    def cleared(self, names: Sequence[str]) -> Messages:
        """The bot's Clear was done; marks of these names were waiting, and never will be played."""
        return ()

    def hold(self, is_held: bool) -> Messages:
        """The far end put us on hold, or took us back. What the bot says meanwhile is dropped."""
        return ()

    queue_high_ms: float = 0
    """More than this waits to be heard: the bot gets `queue_full`, and `queue_low` once no more than `queue_low_ms` are left. 0: never."""
    queue_low_ms: float = 0

    def queue_full(self, queued_ms: float) -> Messages:
        return ()

    def queue_low(self, queued_ms: float) -> Messages:
        return ()

    def queue(self, queued_ms: float, is_paused: bool) -> Messages:
        """The answer to the bot's Look."""
        return ()

    def drained(self) -> Messages:
        """Everything said is on the wire: the line falls silent. Told with `bot_class` DrainedBot."""
        return ()

    def stop(self, cause: str) -> Messages:
        """The last messages: the call is over."""
        return ()

    def receive_text(self, message: bytes) -> Sequence[Action]:
        """Raises BotViolation."""
        raise BotViolation("the bot sent a text message, and this wire has none: send audio as binary messages")

    def receive_binary(self, message: bytes) -> Sequence[Action]:
        """Raises BotViolation."""
        raise BotViolation("the bot sent a binary message, and this wire has none: audio goes into JSON, as base64")


T = TypeVar("T")


def read(decode: Callable[[bytes], T], message: bytes, provider: str) -> T:
    """A message of the bot as its wire has it. Raises BotViolation."""
    try:
        return decode(message)
    except (msgspec.DecodeError, UnicodeDecodeError) as failure:
        raise BotViolation(f"the bot sent what is not a message of {provider}: {failure}") from None


def random_hex(digits: int) -> str:
    return secrets.token_hex((digits + 1) // 2)[:digits]


def random_digits(digits: int) -> str:
    return str(secrets.randbelow(10**digits)).rjust(digits, "0")


def random_uuid() -> str:
    return str(uuid.uuid4())
