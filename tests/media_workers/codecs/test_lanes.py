"""Many numbers at once give what one after the other gives."""

import numpy as np
import pytest

from media_workers.codecs import lanes
from shm.jit import njit

RANDOM = np.random.default_rng(8)


def words(count: int, limit: int = 32_768) -> np.ndarray:
    return RANDOM.integers(-limit, limit, count).astype(np.int32)


@njit
def move_zeros(zeros, differences, newest):
    return lanes.move_zeros(zeros, differences, newest)


@njit
def count_reached(levels, scale, value):
    return lanes.count_reached(levels, scale, value)


@njit
def filter_line(line, coefficients, first, second):
    return lanes.filter_line(line, coefficients, first, second)


@pytest.mark.parametrize("newest", [0, 1, -1, 32_767, -32_768, 123, -4_567])
def test_zeros_move_as_one_after_the_other(newest: int) -> None:
    for _ in range(20):
        zeros, differences = words(8), words(8)
        differences[6:] = 0
        expected_zeros, expected = zeros.copy(), differences.copy()
        total = lanes._move_zeros(expected_zeros, expected, newest)
        assert move_zeros(zeros, differences, newest) == total
        assert (zeros[:6] == expected_zeros[:6]).all() and (differences == expected).all()


@pytest.mark.parametrize("scale", [32, 1_000, 16_376])
def test_levels_are_counted(scale: int) -> None:
    levels = np.sort(words(32, 3_000).clip(0))
    for value in (0, 1, 500, 5_000, 32_767):
        assert count_reached(levels, scale, value) == lanes._count_reached(levels, scale, value)


def test_a_line_is_shifted_and_summed_by_phase() -> None:
    line, coefficients = words(24), words(24, 4_000)
    expected = line.copy()
    sums = lanes._filter_line(expected, coefficients, 7, -9)
    assert tuple(filter_line(line, coefficients, 7, -9)) == sums and (line == expected).all()
