"""What a worker says of its load."""

import numpy as np
import pytest

from media_workers.load import FEWEST_PACKETS, LATE_BUCKET, LoadMeter
from shm.counters import LATENESS_COLUMNS, WORKER, WORKER_COLUMNS

SECOND = 1_000_000_000


class Scene:
    def __init__(self) -> None:
        self.totals, self.lateness, self.now_ns = np.zeros(WORKER_COLUMNS, np.int64), np.zeros(LATENESS_COLUMNS, np.int64), SECOND
        self.meter = LoadMeter(self.totals, self.lateness, self.now_ns)

    def second(self, busy_s: float, in_time: int = 0, late: int = 0) -> tuple[float, float]:
        self.now_ns += SECOND
        self.totals[WORKER["busy_ns"]] += int(busy_s * SECOND)
        self.lateness[3] += in_time
        self.lateness[LATE_BUCKET] += late
        return tuple(self.meter.measure(self.now_ns))


def test_figures_settle_within_a_few_seconds_and_fade_as_fast() -> None:
    scene = Scene()
    rising = [scene.second(0.8, 900, 100) for _ in range(5)]
    assert rising[0] == (40.0, 5.0) and rising[-1] == pytest.approx((80, 10), abs=3)
    assert [scene.second(0, 1_000)[1] for _ in range(4)][-1] < 1


def test_a_few_late_packets_among_few_say_nothing() -> None:
    assert Scene().second(0.1, 0, FEWEST_PACKETS - 1) == (5.0, 0.0)


def test_what_was_counted_before_does_not_count() -> None:
    scene = Scene()
    scene.second(1, 0, 10_000)
    successor = LoadMeter(scene.totals, scene.lateness, scene.now_ns)
    assert successor.measure(scene.now_ns) == successor.measure(scene.now_ns + SECOND) == (0, 0)


def test_never_more_than_all_of_the_time() -> None:
    scene = Scene()
    assert [scene.second(3)[0] for _ in range(12)][-1] == pytest.approx(100, abs=0.1)
