"""What a route may say of its model: arguments beside those of every bot (ai_bridge/wires/options.py)."""

import pathlib
import re
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import msgspec

from ai_bridge.arguments import Arguments
from control_plane.errors import ConfigurationError

MOST_TEXT = 100_000
PLACE = re.compile(r"\{\{\s*([\w.-]+)\s*\}\}")


class Settings(Arguments, frozen=True):
    LIMITS: ClassVar[tuple[tuple[str, float, float], ...]] = (
        ("silence_ms", 100, 10_000),
        ("ahead_ms", 100, 30_000),
        ("answer_seconds", 1, 300),
        ("idle_seconds", 5, 86_400),
        ("max_seconds", 10, 86_400),
    )

    key: str = ""
    """The name of the API key: of [keys], of a credential, or OPENAI_API_KEY of the environment. Empty: the model's own name."""
    key_header: str = ""
    """Send the key bare in this header instead of where the model's maker has it: "api-key" for Azure."""
    model: str = ""
    """Which one, where the address does not say it."""
    instructions: str = ""
    """Who the model is and what it is to do. {{caller}}, {{callee}} and other arguments of the route are put in."""
    instructions_file: str = ""
    """The same from a file."""
    greeting: str = ""
    """Instructions for what the model says first. Empty: it waits for the caller."""
    voice: str = ""
    language: str = ""
    """Of the caller, "en": helps what writes down their words."""
    transcription: str = ""
    """The model that writes down what the caller says, for the notes of the call; where there is a choice. Empty: nobody does."""
    turns: Literal["model", "semantic", "line"] = "model"
    """Who decides that the caller has finished: the model by silence, the model by meaning, or the line's own voice detection."""
    silence_ms: int = 500
    """How long a silence ends the caller's turn, where the model goes by silence. Shorter is snappier, and cuts off who thinks."""
    barge_in: Literal["model", "line", "off"] = "model"
    """Who decides that the caller interrupts. "line" is sooner by the way to the model and back; a cough is enough for it."""
    tools: str = ""
    """What the model may do, by commas: hang_up, press_keys, transfer, and MODULE:FUNCTION of your own."""
    transfer_to: str = ""
    """Where the model may transfer to, "desk = sip:desk@pbx.example, sales = +4930123": it is told the names and nothing else."""
    tools_file: str = ""
    """More tools, a JSON list of {name, description, parameters}. `tools_url` is asked to do them."""
    tools_url: str = ""
    """POST {call_id, caller, callee, tool, arguments}; what it answers is what the model gets."""
    tools_secret_file: str = ""
    """Signs what is posted, as webhooks are (Bellframe-Signature). A bare name is looked for among the service's credentials."""
    session: str = ""
    """JSON that is laid over what we configure the session with, for whatever has no argument here."""
    ahead_ms: int = 1000
    """How much of the model's speech is given to the line ahead of the caller's ear; the rest waits in the bridge."""
    answer_seconds: float = 20.0
    """A model that owes an answer and says nothing for as long is stuck: the session is opened anew."""
    idle_seconds: float = 300.0
    """Nobody speaks for as long: the call is ended."""
    max_seconds: float = 3600.0
    """The longest call. Whoever wrote the instructions may have forgotten how callers get out."""

    def __post_init__(self) -> None:
        session_of(self)


def session_of(settings: Settings) -> dict[str, Any]:
    """Raises ConfigurationError."""
    try:
        return msgspec.json.decode(settings.session or "{}", type=dict[str, Any])
    except msgspec.DecodeError as failure:
        raise ConfigurationError(f"the route's arguments: session is no JSON object: {failure}") from None


def instructions_of(settings: Settings, values: Mapping[str, str]) -> str:
    """With the values put in; a name that there is no value for stands for nothing. Raises ConfigurationError."""
    text = settings.instructions
    if settings.instructions_file:
        text = text_of(settings.instructions_file, "instructions_file")
    return PLACE.sub(lambda place: values.get(place[1], ""), text)


def text_of(path: str, where: str) -> str:
    try:
        text = pathlib.Path(path).read_text()
    except (OSError, UnicodeDecodeError) as failure:
        raise ConfigurationError(f"the route's arguments: {where}: {path} cannot be read: {failure}") from None
    if len(text) > MOST_TEXT:
        raise ConfigurationError(f"the route's arguments: {where}: {path} has {len(text)} characters, {MOST_TEXT} are the most")
    return text
