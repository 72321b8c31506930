"""Speech out of text with espeak-ng: 22,050 Hz, a sentence in about a millisecond.

`Voice` is what agents use. `Espeak` is what its process runs: the library is GPL-3, so nothing else loads it.
"""

import ctypes
import os
from collections import OrderedDict

import numpy as np
import numpy.typing as npt

from ai_bridge.offline_speech.helper import Helper, Request, Say, Speech

VOICE = "en-us"  # what the recogniser understands best, too: other voices cost it half of the phrases
WORDS_PER_MINUTE = 160
TIMEOUT_S = 15.0  # the first request waits for the process to start, on a busy machine as well
MAX_TEXT = 2_000  # characters: two minutes of speech
CACHED_SAMPLES = 22_050 * 300
"""How much speech `Voice` keeps, 13 MB: a menu says the same few sentences to everybody."""


class Voice:
    """Says text. One for a process is enough, whatever the number of calls."""

    def __init__(self, voice: str = VOICE, words_per_minute: int = WORDS_PER_MINUTE) -> None:
        self.voice, self.words_per_minute = voice, words_per_minute
        self.helper = Helper("synthesis")
        self._cache: OrderedDict[str, Speech] = OrderedDict()
        self._cached_samples = 0

    async def speak(self, text: str) -> tuple[npt.NDArray[np.int16], int]:
        """PCM and its rate in Hz; read-only, the next one may get the same. Raises SpeechFailed."""
        speech = self._cache.get(text)
        if speech is None:
            request = Say(text[:MAX_TEXT], self.voice, self.words_per_minute)
            speech = await self.helper.ask(request, Speech, TIMEOUT_S)
            self._keep(text, speech)
        else:
            self._cache.move_to_end(text)
        return np.frombuffer(speech.pcm, np.int16), speech.rate_hz

    def _keep(self, text: str, speech: Speech) -> None:
        if text not in self._cache:
            self._cache[text] = speech
            self._cached_samples += len(speech.pcm) // 2
        while self._cached_samples > CACHED_SAMPLES and len(self._cache) > 1:
            _, oldest = self._cache.popitem(last=False)
            self._cached_samples -= len(oldest.pcm) // 2

    async def close(self) -> None:
        await self.helper.close()


# espeak-ng/speak_lib.h
AUDIO_OUTPUT_SYNCHRONOUS = 2
RATE_PARAMETER = 1
POSITION_CHARACTER = 1
CHARACTERS_UTF8 = 1
CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class Espeak:
    """The library, loaded. Not for two threads, and not for two of them in a process: its state is global."""

    def __init__(self) -> None:
        """Raises RuntimeError if it is not installed or does not find its data."""
        try:
            import espeakng_loader
        except ImportError as failure:
            raise RuntimeError("espeakng-loader is not installed: pip install 'bellframe[agent]'") from failure
        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        folder = os.path.dirname(espeakng_loader.get_data_path())  # it wants the one that espeak-ng-data lies in
        self.rate_hz = int(self._library.espeak_Initialize(AUDIO_OUTPUT_SYNCHRONOUS, 0, folder.encode(), 0))
        if self.rate_hz <= 0:
            raise RuntimeError(f"espeak-ng did not start with the data in {folder}")
        self._chunks: list[npt.NDArray[np.int16]] = []
        self._callback = CALLBACK(self._receive)  # espeak-ng keeps the pointer: Python must keep the object
        self._library.espeak_SetSynthCallback(self._callback)

    def _receive(self, samples: "ctypes._Pointer[ctypes.c_short]", count: int, events: int) -> int:
        if samples and count > 0:
            self._chunks.append(np.ctypeslib.as_array(samples, (count,)).astype(np.int16))
        return 0

    def say(self, text: str, voice: str, words_per_minute: int) -> npt.NDArray[np.int16]:
        """int16 at `rate_hz`. Raises ValueError for a voice that there is not."""
        if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise ValueError(f"espeak-ng has no voice {voice!r}")
        self._library.espeak_SetParameter(RATE_PARAMETER, words_per_minute, 0)
        octets = text.replace("\0", " ").encode() + b"\0"
        self._chunks.clear()
        if self._library.espeak_Synth(octets, len(octets), 0, POSITION_CHARACTER, 0, CHARACTERS_UTF8, None, None) != 0:
            raise RuntimeError("espeak-ng could not say it")
        self._library.espeak_Synchronize()
        return np.concatenate(self._chunks) if self._chunks else np.zeros(0, np.int16)

    def handle(self, request: Request) -> Speech:
        if not isinstance(request, Say):
            raise ValueError(f"{type(request).__name__} is not for the synthesis")
        return Speech(self.rate_hz, self.say(request.text, request.voice, request.words_per_minute).tobytes())
