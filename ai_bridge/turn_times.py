"""Where the time of a turn goes: from the caller's last sound to the first of the answer on the wire, in parts.

    caller stopped --- detected --- the model's first audio --- on the wire

All times are CLOCK_MONOTONIC in ns: the first and the last are the media worker's, of packets; those between are ours.
"""

from shm.layout import SPEECH_HANGOVER_MS


class TurnTimes:
    """One turn after the other. `take` gives the parts once a turn has all of them."""

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._stopped_ns = self._detected_ns = self._audio_ns = self._wire_ns = 0

    def caller_speaks(self) -> None:
        """Whatever was being answered is not any more."""
        self._clear()

    def caller_is_silent(self, captured_ns: int) -> None:
        """The first frame without speech: it comes SPEECH_HANGOVER_MS after the last sound."""
        self._stopped_ns = captured_ns - SPEECH_HANGOVER_MS * 1_000_000

    def detected(self, now_ns: int) -> None:
        """Whoever answers takes the caller's turn as over."""
        self._detected_ns = now_ns

    def first_audio(self, now_ns: int) -> bool:
        """True: it is the answer's first."""
        if self._audio_ns or not (self._detected_ns or self._stopped_ns):
            return False
        self._audio_ns = now_ns
        return True

    def on_wire(self, at_ns: int) -> None:
        """0: it was cut off before."""
        if self._audio_ns:
            self._wire_ns = at_ns

    def take(self) -> dict[str, float]:
        """Milliseconds of each part and of the whole; empty: something is not known yet. `detected_ms` is left out where nobody told."""
        stopped, detected, audio, wire = self._stopped_ns, self._detected_ns, self._audio_ns, self._wire_ns
        if not (stopped and audio and wire):
            return {}
        self._clear()
        parts = {"detected_ms": detected - stopped, "model_ms": audio - detected} if detected else {"model_ms": audio - stopped}
        parts |= {"wire_ms": wire - audio, "total_ms": wire - stopped}
        return {name: round(value / 1e6, 1) for name, value in parts.items()}
