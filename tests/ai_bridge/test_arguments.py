from typing import ClassVar

import pytest

from ai_bridge.agents import voicemail
from ai_bridge.arguments import Arguments, read
from ai_bridge.models import settings
from ai_bridge.twiml.agent import TwimlArguments
from ai_bridge.wires.options import Options
from control_plane.errors import ConfigurationError
from control_plane.tenant_config import OPERATORS_ARGUMENTS, why_not_arguments

HARMLESS = (
    "account", "ahead_ms", "answer_seconds", "api_key", "authorization", "barge_in", "channels", "connect_seconds",
    "control_messages", "encoding", "greeting", "idle_seconds", "instructions", "language",
    "longest_seconds", "max_seconds", "method", "model", "recordings_url", "resume_seconds", "retries", "sample_rate_hz", "secret",
    "session", "shortest_seconds", "silence_ms", "silence_seconds", "silent_seconds", "transcription",
    "transfer_to", "turns", "voice",
)  # fmt: skip
"""What a tenant of the server may say of its own calls: texts, numbers, and secrets of its own."""


class Some(Arguments, frozen=True):
    LIMITS: ClassVar[tuple[tuple[str, float, float], ...]] = (("times", 0, 3),)
    name: str = "x"
    times: int = 1


def test_ours_are_taken_and_the_rest_is_left():
    assert read(Some, {"times": "2", "shop": "12"}) == (Some(times=2), {"shop": "12"})


@pytest.mark.parametrize(("times", "why"), [("4", "times is 4, not from 0 to 3"), ("many", "the route's arguments: .*times")])
def test_what_is_wrong_is_named(times, why):
    with pytest.raises(ConfigurationError, match=why):
        read(Some, {"times": times})


@pytest.mark.parametrize("kind", [Options, settings.Settings, TwimlArguments, voicemail.Settings])
def test_each_argument_is_either_harmless_or_the_operators(kind: type[Arguments]):
    """One that is new belongs into one of the two: who rents a part of the server must not read its files with it, or use its keys."""
    for name in kind.__struct_fields__:
        assert (name in HARMLESS) != bool(why_not_arguments({name: ""})), name


def test_what_the_agent_of_wav_files_takes_is_the_operators():
    assert {"play", "record"} <= OPERATORS_ARGUMENTS and why_not_arguments({"linger_ms": "10", "shop": "12"}) == ""
