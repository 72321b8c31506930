import numpy as np
import pytest

from ai_bridge.frame import Frame
from shm.layout import COMFORT_NOISE_FLAG, CONCEALED_FLAG, DISCONTINUITY_FLAG, SPEECH_FLAG


@pytest.mark.parametrize(
    ("flags", "lost", "claims"),
    [
        (0, 0, (False, False, False, False)),
        (SPEECH_FLAG, 0, (True, False, False, False)),
        (CONCEALED_FLAG, 0, (False, True, False, False)),
        (COMFORT_NOISE_FLAG, 0, (False, False, True, False)),
        (DISCONTINUITY_FLAG, 0, (False, False, False, True)),
        (SPEECH_FLAG | CONCEALED_FLAG, 3, (True, True, False, True)),
    ],
)
def test_flags_read_as_claims(flags, lost, claims):
    frame = Frame(np.zeros(160, np.int16), 0, 1, 2, flags, -40, lost)
    assert (frame.is_speech, frame.is_concealed, frame.is_comfort_noise, frame.is_discontinuous) == claims
