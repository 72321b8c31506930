"""Speech that went over a telephone line: espeak-ng, 8 kHz, µ-law."""

import asyncio

import numpy as np
import numpy.typing as npt
import pytest

from ai_bridge.offline_speech import rate
from ai_bridge.offline_speech.helper import SpeechFailed
from ai_bridge.offline_speech.recognition import Recognizer, trim
from ai_bridge.offline_speech.synthesis import Voice
from control_plane import g711

pytest.importorskip("espeakng_loader", reason="pip install 'bellframe[agent]'")
pytest.importorskip("pocketsphinx", reason="pip install 'bellframe[agent]'")
PHRASES = ("opening hours", "what time is it", "speak to an agent", "operator", "goodbye", "help", "yes", "no")
OTHERS = ("I would like to buy a car", "seventeen", "could you please tell me", "banana", "the cat sat on the mat")


async def over_the_line(voice: Voice, text: str, gain: float) -> npt.NDArray[np.int16]:
    pcm, rate_hz = await voice.speak(text)
    narrow = rate.to_pcm16(rate.convert(pcm * gain, rate_hz, 8_000))
    line = np.concatenate((np.zeros(2_400, np.int16), narrow, np.zeros(3_200, np.int16)))
    return g711.decode(0, g711.encode(0, line))


@pytest.mark.parametrize("gain", [0.05, 1.0])
def test_every_phrase_is_recognised_over_a_telephone_line(gain: float) -> None:
    async def scene() -> list[str | None]:
        voice, ear = Voice(), Recognizer(PHRASES)
        heard = [await ear.recognize(await over_the_line(voice, phrase, gain), 8_000) for phrase in PHRASES]
        await asyncio.gather(voice.close(), ear.helper.close())
        return [phrase[0] if phrase else None for phrase in heard]

    assert asyncio.run(scene()) == list(PHRASES)


def test_most_of_what_is_no_phrase_is_not_taken_for_one() -> None:
    async def scene() -> list[tuple[str, float] | None]:
        voice, ear = Voice(), Recognizer(PHRASES)
        heard = [await ear.recognize(await over_the_line(voice, text, 0.5), 8_000) for text in OTHERS]
        heard += [await ear.recognize(np.zeros(8_000, np.int16), 8_000), await ear.recognize(np.ones(80, np.int16), 8_000)]
        noise = np.random.default_rng(3).normal(0, 3_000, 8_000).astype(np.int16)
        heard.append(await ear.recognize(noise, 8_000))
        await asyncio.gather(voice.close(), ear.helper.close())
        return heard

    heard = asyncio.run(scene())
    assert heard[-3:] == [None, None, None]  # silence, a click, noise
    assert sum(phrase is not None for phrase in heard) <= 1


def test_the_loop_runs_on_while_it_listens() -> None:
    async def scene() -> float:
        ear = Recognizer(("yes", "no"))
        noise = np.random.default_rng(1).normal(0, 3_000, 24_000).astype(np.int16)
        await ear.recognize(noise, 8_000)  # the process is up
        asked = asyncio.ensure_future(ear.recognize(noise, 8_000))
        ticks = 0
        while not asked.done():
            await asyncio.sleep(0.001)
            ticks += 1
        await ear.helper.close()
        return ticks

    assert asyncio.run(scene()) >= 10


def test_words_that_cannot_be_recognised_are_refused_with_their_names() -> None:
    with pytest.raises(ValueError, match="lower-case"):
        Recognizer(("Opening hours",))
    with pytest.raises(ValueError, match="'a; b'"):
        Recognizer(("a; b",))

    async def scene() -> None:
        ear = Recognizer(("yes", "bellframeish"))
        with pytest.raises(SpeechFailed, match="the dictionary has no bellframeish"):
            await ear.recognize(np.full(8_000, 1_000, np.int16), 8_000)
        await ear.helper.close()

    asyncio.run(scene())


def test_silence_at_both_ends_is_trimmed() -> None:
    speech = np.concatenate((np.zeros(8_000), np.full(4_000, 1_000.0), np.zeros(8_000)))
    assert trim(speech, 8_000).size == 4_000 + 2 * 8 * 80
    assert trim(np.zeros(800), 8_000).size == 0
