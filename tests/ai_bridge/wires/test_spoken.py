import numpy as np

from ai_bridge.frame import Frame
from ai_bridge.wires.spoken import QualityCounts
from shm.layout import COMFORT_NOISE_FLAG, CONCEALED_FLAG, SPEECH_FLAG


def frame(flags: int, level_dbov: int, lost: int = 0) -> Frame:
    return Frame(np.zeros(160, np.int16), 0, 0, 0, flags, level_dbov, lost)


def test_quality_is_counted_anew_once_it_was_taken():
    counts = QualityCounts()
    counts.count(frame(SPEECH_FLAG, -20), 0)
    counts.count(frame(SPEECH_FLAG | CONCEALED_FLAG, -30, lost=2), 480)
    counts.count(frame(COMFORT_NOISE_FLAG, -70), 640)
    taken = counts.take()
    assert (taken.position, taken.frames, taken.concealed, taken.lost, taken.comfort_noise) == (640, 3, 1, 2, 1)
    assert taken.level_dbov == -25.0
    counts.count(frame(0, -70), 800)
    assert (counts.take().frames, counts.take().level_dbov) == (1, -127.0)
