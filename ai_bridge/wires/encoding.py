"""Audio as bots send and get it, to and from samples. Tables and views: no loop over samples."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from ai_bridge.frame import Pcm
from ai_bridge.wires.options import Options
from ai_bridge.wires.wire import BotViolation
from control_plane.errors import ConfigurationError
from control_plane.g711 import ALAW_TO_PCM, PCM_TO_ALAW, PCM_TO_ULAW, ULAW_TO_PCM


class Encoding(NamedTuple):
    encode: Callable[[Pcm], bytes]
    decode: Callable[[bytes], Pcm]
    """Raises BotViolation for half a sample."""


def decode_l16(payload: bytes) -> Pcm:
    return _samples(payload, "<i2")


def decode_l16_big_endian(payload: bytes) -> Pcm:
    return _samples(payload, ">i2").astype(np.int16)


def _samples(payload: bytes, dtype: str) -> Pcm:
    if len(payload) % 2:
        raise BotViolation(f"the bot sent {len(payload)} bytes of 16-bit audio: a sample is two bytes, so send an even number")
    return np.frombuffer(payload, dtype)


PCMU = Encoding(
    lambda pcm: PCM_TO_ULAW.take(pcm.view(np.uint16)).tobytes(),
    lambda payload: ULAW_TO_PCM.take(np.frombuffer(payload, np.uint8)),
)
PCMA = Encoding(
    lambda pcm: PCM_TO_ALAW.take(pcm.view(np.uint16)).tobytes(),
    lambda payload: ALAW_TO_PCM.take(np.frombuffer(payload, np.uint8)),
)
L16 = Encoding(lambda pcm: pcm.astype("<i2", copy=False).tobytes(), decode_l16)
L16_BIG_ENDIAN = Encoding(lambda pcm: pcm.astype(">i2").tobytes(), decode_l16_big_endian)


LINE = "line"


def as_the_line(options: Options, line_format: str, line_rate_hz: int) -> Options:
    """The same, for what the line has (a name of control_plane/formats.py, and its rate): nothing is coded anew or resampled."""
    encoding = line_format if line_format in ("PCMU", "PCMA") else "L16"
    return msgspec.structs.replace(options, encoding=encoding, sample_rate_hz=line_rate_hz)


def choose(options: Options, offered: Sequence[tuple[str, int]]) -> tuple[str, int]:
    """Encoding and rate of what the bot gets: the first pair that fits the route's arguments. Raises ConfigurationError."""
    for encoding, rate_hz in offered:
        if options.encoding.upper() in ("", encoding) and options.sample_rate_hz in (0, rate_hz):
            return encoding, rate_hz
    there = ", ".join(f"{encoding} at {rate_hz}" for encoding, rate_hz in offered)
    wanted = f"{options.encoding or 'audio'} at {options.sample_rate_hz or 'its usual rate'}"
    raise ConfigurationError(f"the route's arguments: this wire has no {wanted}; it has {there}: set encoding and sample_rate_hz")
