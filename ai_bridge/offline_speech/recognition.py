"""Which of a few phrases was said: pocketsphinx with a closed grammar, over a telephone line.

What it needs for that, all of it measured with speech over 8 kHz µ-law:
* the whole utterance at once, at an even loudness, with 0.4 s of faint noise around it;
* wide beams: with those that come with it, the end of a phrase is sometimes lost;
* something above 4 kHz, where its model listens for s and f and the line has nothing. Doubling the rate without a
  filter mirrors 2-4 kHz to 4-6 kHz: a fifth of that is close enough to a real fricative ("help", "five").

It answers something to anything. So each utterance is decoded again as free phones, and how much worse than those the
phrase fits, per 10 ms, is its score. Phrases score from -19 up, most other things below; a "no" of more than a second
is none either. A few short words fail ("time", "six", "seven"): let people press keys for digits.
"""

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ai_bridge.offline_speech import rate
from ai_bridge.offline_speech.helper import Heard, Helper, Recognize, Request

LEAST_SCORE = -20.0
TIMEOUT_S = 20.0
MIN_MS, MAX_MS = 120, 8_000
"""An utterance outside is no phrase, and would only cost time: 0.2 s for one of a second."""
MODEL_RATE_HZ = 16_000
PAD_SAMPLES = MODEL_RATE_HZ * 4 // 10
PEAK, NOISE = 16_000, 10.0
MIRRORED = 0.2
LONGEST_MS, LONGEST_PHONE_MS = 250, 200
"""What a phrase may last: so much, and so much for each of its phones. Slow speakers need two thirds of it."""
BLOCK_MS = 10
SILENT_BELOW = 10 ** (-30 / 20)  # of the loudest 10 ms: what is cut off at both ends
MARGIN_BLOCKS = 8
GRAMMARS = 64
LOG_BASE = math.log(1.0001)  # pocketsphinx counts in this
PHRASE = re.compile(r"[a-z']+(?: [a-z']+)*")


class Recognizer:
    """Tells which phrase of a list was said. Those of one process share the helper that does the work."""

    shared: Helper | None = None

    def __init__(self, phrases: Sequence[str], least_score: float = LEAST_SCORE) -> None:
        """Raises ValueError for a phrase that is not lower-case English words."""
        for phrase in phrases:
            if not PHRASE.fullmatch(phrase):
                raise ValueError(f"{phrase!r} is not a phrase: write lower-case words with one space between them")
        self.phrases, self.least_score = tuple(phrases), least_score
        if Recognizer.shared is None:
            Recognizer.shared = Helper("recognition")
        self.helper = Recognizer.shared

    async def warm_up(self) -> None:
        """Start the process and load these phrases, so that the first caller does not wait for it. Raises SpeechFailed."""
        await self.helper.ask(Recognize(self.phrases, MODEL_RATE_HZ, b""), Heard, TIMEOUT_S)

    async def recognize(self, pcm: npt.NDArray[np.int16], rate_hz: int) -> tuple[str, float] | None:
        """The phrase and its score, about -20 (barely) to 30 (certain); None: none of them. Raises SpeechFailed."""
        if not MIN_MS <= pcm.size * 1000 / rate_hz <= MAX_MS:
            return None
        request = Recognize(self.phrases, rate_hz, np.ascontiguousarray(pcm, np.int16).tobytes())
        heard = await self.helper.ask(request, Heard, TIMEOUT_S)
        return (heard.phrase, heard.score) if heard.phrase and heard.score >= self.least_score else None


def trim(samples: npt.NDArray[np.float64], rate_hz: int) -> npt.NDArray[np.float64]:
    """Without the silence at both ends, but for 80 ms of it."""
    block = rate_hz * BLOCK_MS // 1000
    levels = np.sqrt((samples[: samples.size // block * block].reshape(-1, block) ** 2).mean(axis=1))
    loud = np.flatnonzero(levels > levels.max(initial=0.0) * SILENT_BELOW)
    if not loud.size:
        return samples[:0]
    return samples[max(0, int(loud[0]) - MARGIN_BLOCKS) * block : (int(loud[-1]) + 1 + MARGIN_BLOCKS) * block]


def prepare(samples: npt.NDArray[np.float64], rate_hz: int) -> npt.NDArray[np.int16]:
    """Trimmed speech as the model likes it: 16 kHz, loud, and between two stretches of faint noise."""
    if rate_hz == MODEL_RATE_HZ // 2:
        smooth = rate.convert(samples, rate_hz, MODEL_RATE_HZ)[: 2 * samples.size]
        doubled = np.zeros(2 * samples.size)
        doubled[::2] = 2 * samples
        samples, peak = smooth + MIRRORED * (doubled - smooth), np.abs(smooth).max()
    else:
        samples = rate.convert(samples, rate_hz, MODEL_RATE_HZ)
        peak = np.abs(samples).max()
    padded = np.pad(samples * (PEAK / max(1.0, peak)), PAD_SAMPLES)
    noise = np.random.default_rng(1).normal(0, NOISE, padded.size)  # the same each time: so is the answer
    return rate.to_pcm16(padded + noise)


class Sphinx:
    """The decoder, with a grammar for each list of phrases that was asked about."""

    def __init__(self) -> None:
        """Raises RuntimeError if it is not installed."""
        try:
            from pocketsphinx import Decoder, get_model_path
        except ImportError as failure:
            raise RuntimeError("pocketsphinx is not installed: pip install 'bellframe[agent]'") from failure
        model, wide = f"{get_model_path()}/en-us", 1e-200
        self._decoder: Any = Decoder(
            hmm=f"{model}/en-us", dict=f"{model}/cmudict-en-us.dict", lm=None, samprate=MODEL_RATE_HZ, loglevel="FATAL",
            beam=wide, wbeam=wide, pbeam=wide, bestpath=False,
        )  # fmt: skip
        self._decoder.add_allphone_file("phones", f"{model}/en-us-phone.lm.bin")
        self._grammars: dict[tuple[str, ...], str] = {}
        self._count = 0

    def recognize(self, phrases: tuple[str, ...], samples: npt.NDArray[np.float64], rate_hz: int) -> tuple[str, float] | None:
        """The best of the phrases with its score; None: there is no speech, or nothing like a phrase."""
        speech = trim(samples, rate_hz)
        if speech.size * 1000 < MIN_MS * rate_hz:
            return None
        pcm = prepare(speech, rate_hz).tobytes()
        said = self._decode(self._grammar(phrases), pcm)
        free = self._decode("phones", pcm)
        if said is None or free is None or said[0] not in phrases:
            return None
        phones = sum(len(self._decoder.lookup_word(word).split()) for word in said[0].split())
        if speech.size * 1000 > (LONGEST_MS + LONGEST_PHONE_MS * phones) * rate_hz:
            return None
        return said[0], (said[1] - free[1]) / (speech.size * 100 / rate_hz)

    def _decode(self, search: str, pcm: bytes) -> tuple[str, float] | None:
        self._decoder.activate_search(search)
        self._decoder.start_utt()
        self._decoder.process_raw(pcm, full_utt=True)
        self._decoder.end_utt()
        best = self._decoder.hyp()
        return (best.hypstr, math.log(max(best.score, 1e-300)) / LOG_BASE) if best else None

    def _grammar(self, phrases: tuple[str, ...]) -> str:
        """Raises ValueError for a word that the dictionary has not."""
        if phrases not in self._grammars:
            unknown = sorted({word for phrase in phrases for word in phrase.split() if self._decoder.lookup_word(word) is None})
            if unknown or not phrases:
                raise ValueError(f"the dictionary has no {', '.join(unknown)}" if unknown else "there are no phrases to choose from")
            if len(self._grammars) >= GRAMMARS:
                self._decoder.remove_search(self._grammars.pop(next(iter(self._grammars))))
            self._count += 1
            name = f"grammar{self._count}"
            self._decoder.add_jsgf_string(name, f"#JSGF V1.0; grammar {name}; public <phrase> = {' | '.join(phrases)};")
            self._grammars[phrases] = name
        return self._grammars[phrases]

    def handle(self, request: Request) -> Heard:
        if not isinstance(request, Recognize):
            raise ValueError(f"{type(request).__name__} is not for the recognition")
        found = self.recognize(request.phrases, np.frombuffer(request.pcm, np.int16).astype(np.float64), request.rate_hz)
        return Heard(*found) if found else Heard("", 0.0)
