"""What the demo's caller does with each agent and on each wire: one row each, so that a name that is not here can be told at once."""

from typing import Any, NamedTuple

Script = tuple[dict[str, Any], ...]
PHRASES = {"hours.wav": "opening hours", "operator.wav": "operator", "goodbye.wav": "goodbye"}
"""What the caller can say."""
OUT = "{out}"
"""In an argument: the folder that the demo leaves its files in."""


def _say(wav: str) -> dict[str, Any]:
    return {"do": "say", "wav": wav, "text": PHRASES[wav]}


def _interrupt(wav: str) -> dict[str, Any]:
    return {"do": "interrupt", "wav": wav, "text": PHRASES[wav], "after_ms": 1500}


def _wait(ms: int) -> dict[str, Any]:
    return {"do": "wait", "ms": ms}


def _press(key: str) -> dict[str, Any]:
    return {"do": "press", "key": key}


WAIT_QUIET, WAIT_SPEECH, WAIT_END, HANG_UP = ({"do": name} for name in ("wait_quiet", "wait_speech", "wait_end", "hang_up"))
SPEAK_AND_HANG_UP: Script = (
    _wait(2000), _say("hours.wav"), _wait(3000), _press("2"), _wait(2000), _say("goodbye.wav"), _wait(3000), HANG_UP,
)  # fmt: skip
SPEAK_OVER_IT: Script = (
    WAIT_QUIET, _say("hours.wav"), _interrupt("operator.wav"), WAIT_QUIET, _press("2"), WAIT_SPEECH, _interrupt("goodbye.wav"),
)  # fmt: skip


class Scene(NamedTuple):
    script: Script
    expected: tuple[str, ...] = ()
    """The words and keys that the agent must have understood, in order."""
    arguments: dict[str, str] = {}
    """Of the route."""

    def arguments_with(self, out: str) -> dict[str, str]:
        return {name: value.replace(OUT, out) for name, value in self.arguments.items()}


AGENTS = {
    "menu": Scene((*SPEAK_OVER_IT, WAIT_END), ("opening hours", "operator", "2", "goodbye")),
    "echo": Scene(SPEAK_AND_HANG_UP),
    "echo_batch": Scene(SPEAK_AND_HANG_UP),
    "probe": Scene(SPEAK_AND_HANG_UP, ("2",)),
    "voicemail": Scene((WAIT_QUIET, _say("hours.wav"), _wait(1000), _press("#"), WAIT_END), arguments={"directory": f"{OUT}/messages"}),
    "diagnose": Scene((WAIT_QUIET, _say("hours.wav"), _say("operator.wav"), WAIT_QUIET, _press("#"), WAIT_END)),
    "wav": Scene((_wait(500), _say("goodbye.wav"), WAIT_END), arguments={"play": f"{OUT}/hours.wav", "record": f"{OUT}/heard.wav"}),
}
OWN = Scene(SPEAK_AND_HANG_UP)
"""Somebody's own agent, of which nothing is known."""
WIRES = {
    name: Scene((*SPEAK_OVER_IT, _wait(3000), HANG_UP), ("2",), arguments)
    for name, arguments in {
        "bellframe": {}, "twilio": {}, "telnyx": {}, "plivo": {}, "vobiz": {}, "exotel": {}, "vonage": {}, "jambonz": {},
        "asterisk": {"control_messages": "json"},
    }.items()
}  # fmt: skip
