import asyncio

import numpy as np
import pytest

from ai_bridge.offline_speech import synthesis
from ai_bridge.offline_speech.synthesis import Voice

pytest.importorskip("espeakng_loader", reason="pip install 'bellframe[agent]'")


def test_text_becomes_speech_of_a_plausible_length() -> None:
    async def scene() -> None:
        voice = Voice()
        pcm, rate_hz = await voice.speak("We are open on weekdays from nine to five.")
        assert rate_hz == 22_050 and pcm.dtype == np.int16
        assert 1.5 < pcm.size / rate_hz < 5
        assert np.abs(pcm.astype(int)).max() > 5_000
        again, _ = await voice.speak("We are open on weekdays from nine to five.")
        assert np.array_equal(again, pcm)
        silence, _ = await voice.speak("")
        assert silence.size < rate_hz
        await voice.close()

    asyncio.run(scene())


def test_the_cache_is_bounded_and_keeps_what_was_said_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthesis, "CACHED_SAMPLES", 90_000)

    async def scene() -> None:
        voice = Voice()
        for number in range(8):
            await voice.speak("this is sentence zero")
            await voice.speak(f"sentence {number} of eight")
        assert sum(len(speech.pcm) // 2 for speech in voice._cache.values()) <= 90_000
        assert "this is sentence zero" in voice._cache and "sentence 0 of eight" not in voice._cache
        await voice.close()

    asyncio.run(scene())
