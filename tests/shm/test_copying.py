"""One move of memory between arrays, at any offset."""

import numba
import numpy as np
import pytest

from shm.copying import copy
from shm.jit import njit


@njit
def move(target, target_start, source, source_start, count):
    copy(target, target_start, source, source_start, count)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64])
@pytest.mark.parametrize(("target_start", "source_start", "count"), [(0, 0, 20), (3, 0, 5), (0, 7, 13), (19, 19, 1), (5, 5, 0)])
def test_exactly_what_was_named_is_copied(dtype: type, target_start: int, source_start: int, count: int) -> None:
    source, target = np.arange(1, 21).astype(dtype), np.zeros(20, dtype)
    move(target, target_start, source, source_start, count)
    expected = np.zeros(20, dtype)
    expected[target_start : target_start + count] = source[source_start : source_start + count]
    assert (target == expected).all()


@pytest.mark.parametrize("step", [-3, 3])
def test_regions_may_overlap(step: int) -> None:
    memory = np.arange(20, dtype=np.int16)
    expected = memory.copy()
    expected[5 + step : 15 + step] = memory[5:15]
    move(memory, 5 + step, memory, 5, 10)
    assert (memory == expected).all()


@pytest.mark.compiled
@pytest.mark.parametrize(
    "source", [np.zeros(4, np.int16), np.zeros(8, np.int64)[::2], np.zeros((2, 4), np.int64)], ids=["type", "gaps", "2-d"]
)
def test_arrays_that_do_not_fit_are_refused_when_compiling(source: np.ndarray) -> None:
    with pytest.raises(numba.TypingError):
        move(np.zeros(4, np.int64), 0, source, 0, 4)
