"""What every model is: its messages in and out, without a socket, a task or a clock.

A model is a wire (`ai_bridge/wires/wire.py`) with more to it: it is asked to begin, speaks in items of which the caller
may have heard a part, tells when the caller speaks, and uses tools. `agent.py` feeds it and does what it asks for.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, TypeVar

import msgspec

from ai_bridge.frame import Pcm
from ai_bridge.models.settings import Settings
from ai_bridge.wires import wire
from ai_bridge.wires.encoding import L16, PCMA, PCMU, Encoding
from ai_bridge.wires.wire import BotViolation, Finish, Ignored, Messages, Wire
from control_plane.errors import ConfigurationError
from control_plane.secret import Secret


class About(NamedTuple):
    """What a model is made from."""

    call: wire.About
    settings: Settings
    key: Secret
    instructions: str
    """With the call's values in them."""
    tools: Sequence[Mapping[str, Any]]
    """`name`, `description` and `parameters`, a JSON schema."""
    line: str
    """The line's audio: PCMU, PCMA, or L16 where the model should get PCM."""
    memory: dict[str, str]
    """What a session leaves to those that follow it in the same call."""


class Ready(NamedTuple):
    """The model has taken what `start` sent: the caller's audio may go out."""


class Speak(NamedTuple):
    """A part of an item. Items are said one after the other."""

    item: str
    pcm: Pcm
    rate_hz: int


class Spoken(NamedTuple):
    """Nothing more comes of this item."""

    item: str


class CallerSpeaks(NamedTuple):
    """The model hears the caller: what is being said is cut off, unless the route says otherwise."""


class CallerStopped(NamedTuple):
    """The model takes the caller's turn as over."""


class Use(NamedTuple):
    """Use a tool; `Model.used` tells what came of it."""

    use_id: str
    name: str
    arguments: dict[str, Any]


class Told(NamedTuple):
    """Words: what the caller said ("heard"), or what the model says ("said")."""

    kind: str
    text: str


class Reply(NamedTuple):
    """Send these."""

    messages: Messages


class Trouble(NamedTuple):
    """The model complains, and goes on."""

    what: str


Deed = Ready | Speak | Spoken | CallerSpeaks | CallerStopped | Use | Told | Reply | Trouble | Finish | Ignored


class Model(Wire):
    """One session with a model. One that is dialled anew gets a new one."""

    title: ClassVar[str]
    """In logs."""
    key_name: ClassVar[str]
    """The usual name of its API key (control_plane/credentials.py)."""
    goodbye_ends_call: ClassVar[bool] = False
    """It closes its connection in order to end the call. Else its closing is a failure, and the session is opened anew."""
    is_ready_at_start: ClassVar[bool] = False
    """It hears from the first moment on, and there is no `Ready`."""
    tells_end: ClassVar[bool] = True
    """`Spoken` comes. Else an item ends with a pause."""
    turn_kinds: ClassVar[Sequence[str]] = ("model", "semantic", "line")
    """Of the settings' `turns`, those that it can do."""
    is_busy = False
    """It works on an answer: so long a silence of its own means that it is stuck."""

    def __init__(self, about: About) -> None:
        """Raises ConfigurationError for settings that this model does not have."""
        super().__init__(about.call)
        self.session = about
        if about.settings.turns not in self.turn_kinds:
            why = f'turns is "{about.settings.turns}": {self.title} has {", ".join(self.turn_kinds)}'
            raise ConfigurationError(f"the route's arguments: {why}")

    def address(self, url: str) -> "str | Request":
        """Where to dial; or what to ask for it first."""
        return url

    def joined(self, answer: bytes) -> str:
        """Where to dial, from the answer to the Request of `address`. Raises BotViolation."""
        raise NotImplementedError

    def greet(self) -> Messages:
        """Speak first: the call has just begun."""
        return ()

    def recall(self, history: Sequence[Told]) -> Messages:
        """A session before this one broke: what was said in it, oldest first. Go on from there."""
        return ()

    def cut(self, item: str, heard_ms: int) -> Messages:
        """The caller heard this much of the item, and will hear no more of it."""
        return ()

    def cancel(self) -> Messages:
        """We have cut the model off, not the model itself: stop answering. What still comes of that answer is dropped."""
        return ()

    def keep_alive(self) -> Messages:
        """Nobody speaks, or the call is on hold: said every KEEP_ALIVE_S, so that the session does not end for it."""
        return ()

    def start_of_speech(self) -> Messages:
        """The line's own voice detection hears the caller (`turns = "line"`): audio follows."""
        return ()

    def end_of_speech(self) -> Messages:
        """The line's own voice detection ends the caller's turn (`turns = "line"`): answer now."""
        return ()

    def pressed(self, keys: str) -> Messages:
        """The caller pressed these, and no more for a while."""
        return ()

    def probe(self) -> Messages:
        """What any session that is alive answers at once. Empty: there is no such message."""
        return ()

    def used(self, results: Mapping[str, str]) -> Messages:
        """What the tools of one answer gave, by use: text, JSON as a rule."""
        return ()

    def receive(self, message: bytes) -> Sequence[Deed]:
        """A text message. Raises BotViolation."""
        raise NotImplementedError

    def receive_audio(self, message: bytes) -> Sequence[Deed]:
        """A binary message. Raises BotViolation."""
        raise BotViolation(f"the model sent a binary message, and {self.title} has none")


class Request(NamedTuple):
    """An HTTPS request to make before dialling."""

    url: str
    headers: dict[str, str]
    body: bytes
    method: str = "POST"


ENCODINGS: dict[str, tuple[Encoding, int]] = {"PCMU": (PCMU, 8_000), "PCMA": (PCMA, 8_000), "L16": (L16, 24_000)}
"""What the models of this kind take, and its rate."""

T = TypeVar("T")


def read(decode: Callable[[bytes], T], message: bytes, title: str) -> T:
    """A message of the model as its documentation has it. Raises BotViolation."""
    try:
        return decode(message)
    except (msgspec.DecodeError, UnicodeDecodeError) as failure:
        raise BotViolation(f"the model sent what is not a message of {title}: {failure}") from None


def arguments_of(text: str | Mapping[str, Any]) -> dict[str, Any]:
    """Of a tool, as models write them. What is no object is {}: the tool then tells what it lacks."""
    if not isinstance(text, str):
        return dict(text)
    try:
        found = msgspec.json.decode(text or "{}")
    except msgspec.DecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def merged(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` wins, object by object."""
    result = dict(base)
    for name, value in over.items():
        mine = result.get(name)
        result[name] = merged(mine, value) if isinstance(mine, dict) and isinstance(value, dict) else value
    return result
