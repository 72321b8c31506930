"""The agent processes: Python code that hears callers and speaks to them.

    from ai_bridge import Agent

    class Echo(Agent):
        async def on_audio(self, frame):
            self.call.say(frame.pcm)

docs/agents.md shows the way from here to the telephone.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ai_bridge.agent import Agent, BatchAgent
    from ai_bridge.awaited import Mark, Utterance
    from ai_bridge.barge_in import Interruption
    from ai_bridge.call import Call, Connection
    from ai_bridge.frame import Frame
    from ai_bridge.quality import Quality
    from ai_bridge.resample import Resampler
    from ai_bridge.speech import SpeechStream

__all__ = [
    "Agent", "BatchAgent", "Call", "Connection", "Frame", "Interruption", "Mark", "Quality", "Resampler", "SpeechStream",
    "Utterance",
]
HOMES = {
    "Agent": "agent",
    "BatchAgent": "agent",
    "Call": "call",
    "Connection": "call",
    "Frame": "frame",
    "Interruption": "barge_in",
    "Mark": "awaited",
    "Quality": "quality",
    "Resampler": "resample",
    "SpeechStream": "speech",
    "Utterance": "awaited",
}


def __getattr__(name: str) -> object:
    """Loaded when first named: the processes of ai_bridge.offline_speech must not bring numba with them."""
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{HOMES[name]}"), name)
