from ai_bridge.energy import Energy
from shm.layout import VOICED_FLAG


def test_sound_that_led_to_speech_counts_and_then_frame_by_frame() -> None:
    energy = Energy(8_000)
    assert [energy.voiced_ms(VOICED_FLAG, at, 160) for at in (0, 160, 320)] == [20, 40, 60]
    assert (energy.since, energy.until) == (0, 480)
    energy.is_speech = True
    assert energy.voiced_ms(VOICED_FLAG, 480, 160) == 20
    assert energy.voiced_ms(0, 640, 160) == 0 and (energy.since, energy.until) == (None, 640)
    energy.is_speech = False
    assert energy.voiced_ms(VOICED_FLAG, 960, 160) == 20 and energy.since == 960
