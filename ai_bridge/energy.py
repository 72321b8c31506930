"""How much sound a caller makes, by the flags that the media worker's voice activity puts on his frames."""

from shm.layout import FRAME_MS, VOICED_FLAG


class Energy:
    """Of one call. Positions are samples of the line."""

    __slots__ = ("_rate_hz", "is_speech", "since", "until")

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self.is_speech = False
        """As was found last, whoever found it."""
        self.since: int | None = None
        """Where the first of the frames in a row began that have sound. None: the last one had none."""
        self.until = 0
        """Where the last frame with sound ended."""

    def voiced_ms(self, flags: int, position: int, samples: int) -> int:
        """What this frame adds: before it was speech, all the frames in a row that led to it."""
        if not flags & VOICED_FLAG:
            self.since = None
            return 0
        self.since = position if self.since is None else self.since
        self.until = position + samples
        return FRAME_MS if self.is_speech else (self.until - self.since) * 1000 // self._rate_hz
