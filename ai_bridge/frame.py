"""What an agent hears: 20 ms of the caller."""

import numpy as np
import numpy.typing as npt

from shm.layout import COMFORT_NOISE_FLAG, CONCEALED_FLAG, DISCONTINUITY_FLAG, ECHO_FLAG, SPEECH_FLAG

Pcm = npt.NDArray[np.int16]


class Frame:
    """20 ms of the caller's audio, the agent's own: keep it, change it."""

    __slots__ = ("captured_ns", "flags", "level_dbov", "lost", "pcm", "position", "rtp_timestamp")

    pcm: Pcm
    """int16, one dimension, `call.frame_samples` long."""
    position: int
    """Of the first sample, counted in samples since the caller began to send."""
    captured_ns: int
    """CLOCK_MONOTONIC when the packet that completed it was read: `time.monotonic_ns()` tells its age."""
    rtp_timestamp: int
    level_dbov: int
    """Loudness: 0 is the loudest sine there is, -127 silence."""
    lost: int
    """Frames missing right before this one, because this agent or its process was too slow for seconds."""

    def __init__(self, pcm: Pcm, position: int, captured_ns: int, rtp_timestamp: int, flags: int, level_dbov: int, lost: int = 0) -> None:
        self.pcm = pcm
        self.position = position
        self.captured_ns = captured_ns
        self.rtp_timestamp = rtp_timestamp
        self.flags = flags
        self.level_dbov = level_dbov
        self.lost = lost

    @property
    def is_speech(self) -> bool:
        return bool(self.flags & SPEECH_FLAG)

    @property
    def is_concealed(self) -> bool:
        """Made up, because no packet came in time."""
        return bool(self.flags & CONCEALED_FLAG)

    @property
    def is_comfort_noise(self) -> bool:
        """The far end said that it is silent, and sends nothing."""
        return bool(self.flags & COMFORT_NOISE_FLAG)

    @property
    def is_echo(self) -> bool:
        """Nothing but what is left of the agent's own voice (`echo_guard`)."""
        return bool(self.flags & ECHO_FLAG)

    @property
    def is_discontinuous(self) -> bool:
        """Something is missing between the frame before and this one."""
        return self.lost > 0 or bool(self.flags & DISCONTINUITY_FLAG)

    def __repr__(self) -> str:
        return f"Frame(position={self.position}, samples={self.pcm.size}, level_dbov={self.level_dbov}, is_speech={self.is_speech})"
