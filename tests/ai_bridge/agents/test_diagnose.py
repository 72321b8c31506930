import asyncio

import numpy as np
import pytest

from ai_bridge import Frame, Quality
from ai_bridge.agents import diagnose
from ai_bridge.agents.diagnose import CHOICE, ECHO, GOODBYE, HELLO, Heard, report
from ai_bridge.agents.spoken import voice
from control_plane.messages import AgentFailed, HangUp, Noted
from shm.layout import CONCEALED_FLAG, SPEECH_FLAG
from tests.ai_bridge.line import tone
from tests.ai_bridge.scene import stage


def heard(*frames: tuple[int, int], qualities: tuple[Quality, ...] = ()) -> Heard:
    """Frames as (flags, level)."""
    found = Heard()
    for flags, level_dbov in frames:
        found.add(Frame(np.zeros(160, np.int16), 0, 0, 0, flags, level_dbov))
    found.qualities = list(qualities)
    return found


def test_one_way_audio_and_a_muted_microphone_are_told_apart_and_come_first() -> None:
    nothing = report(heard((CONCEALED_FLAG, -40)), "PCMU", 8_000)
    assert "no audio arrives from you" in nothing[0] and "one way only" in nothing[0] and len(nothing) == 2
    assert "microphone muted" in report(heard((0, -80), (0, -70)), "PCMU", 8_000)[0]
    assert report(heard((0, -80), (SPEECH_FLAG, -21)), "G722", 16_000)[:2] == [
        "I hear you. Your loudest was 21 decibels below full scale.",
        "The codec is G722, at 16 kilohertz.",
    ]


@pytest.mark.parametrize(("mos", "judgement"), [(4.3, "good"), (3.7, "fair"), (2.1, "poor")])
def test_the_worst_loss_and_the_last_of_the_rest_are_read(mos: float, judgement: str) -> None:
    qualities = (Quality(3.0, 2.25, 40.0, 0.0), Quality(mos, 0.5, 3.2, 84.0))
    text = " ".join(report(heard((SPEECH_FLAG, -20), qualities=qualities), "", 8_000))
    assert "2.2 percent of your packets were lost, and the jitter is 3.2 milliseconds." in text or "2.3 percent" in text
    assert "The round trip takes 84 milliseconds." in text
    assert f"The opinion score is {mos:.1f} of 4.5. That is" in text and judgement in text


def test_a_caller_is_told_and_hears_the_echo_test(tmp_path, monkeypatch) -> None:
    pytest.importorskip("espeakng_loader", reason="pip install 'bellframe[agent]'")
    for name, seconds in (("LISTEN_WITHOUT_MEDIA_S", 0.05), ("ECHO_S", 0.3)):
        monkeypatch.setattr(diagnose, name, seconds)

    async def scenario() -> None:
        async with stage(tmp_path) as (scene, _):
            line = await scene.call("diagnose", format="PCMU", arguments={"listen_seconds": "1"})

            def said() -> list[str]:
                return [note.text for note in scene.of(Noted) if note.kind == "said"]

            def after(text: str) -> bool:
                line.tick()
                line.caller_says(tone(160), SPEECH_FLAG)
                scene.ring()
                return said()[-1:] == [text]

            await scene.until(lambda: after(HELLO))
            line.report(4.2, 0.0, 1.5, 20.0)
            await scene.until(lambda: after(CHOICE))
            (diagnosis,) = [note for note in scene.of(Noted) if note.kind == "diagnosis"]
            assert "The codec is PCMU" in diagnosis.text and diagnosis.values["frames"] > 0 and diagnosis.text in said()
            line.caller_presses("2")
            await scene.until(lambda: after(ECHO))
            await scene.until(lambda: after(CHOICE))
            echoed = line.heard()
            assert any(np.array_equal(echoed[at : at + 160], tone(160)) for at in range(0, echoed.size, 160)), "the caller heard himself"
            line.caller_presses("#")
            await scene.until(lambda: after(GOODBYE))
            await scene.until(lambda: after(GOODBYE) and scene.of(HangUp))
            assert not scene.of(AgentFailed)
        await voice().close()

    asyncio.run(scenario())
