"""The voice of the built-in agents: one synthesiser for all calls of a process."""

import functools

from ai_bridge.frame import Pcm
from ai_bridge.offline_speech import SpeechFailed, Voice


@functools.cache
def voice() -> Voice:
    return Voice()


async def synthesize(text: str) -> tuple[Pcm, int]:
    """Speech and its rate; tried twice, because the process that speaks may just have died. Raises SpeechFailed."""
    try:
        return await voice().speak(text)
    except SpeechFailed:
        return await voice().speak(text)
