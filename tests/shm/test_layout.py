"""What lies where: nothing overlaps, writers have their own cache lines, and a wrong version is refused."""

import itertools

import numpy as np
import pytest

from shm import layout
from shm.layout import FROM_AI_ARENA, FROM_AI_SLOTS, TO_AI_ARENA, TO_AI_SLOTS, rings_bytes, rings_format, rings_views

LINES_BY_WRITER = {
    "worker, at open": {"GENERATION", "SAMPLE_RATE_HZ", "FRAME_SAMPLES", "BRIDGE"},
    "worker, to the agent": {"TO_AI_WRITE"},
    "worker, from the agent": {"FROM_AI_READ", "PLAYED"},
    "bridge, speech": {"FROM_AI_WRITE"},
    "bridge, orders": {"TURN", "PAUSED"},
    "bridge, reading": {"TO_AI_READ"},
}


def test_writers_do_not_share_cache_lines() -> None:
    lines = [{getattr(layout, name) // 8 for name in names} for names in LINES_BY_WRITER.values()]
    assert all(len(line) == 1 for line in lines)
    assert len(set.union(*lines)) == len(lines)
    columns = [getattr(layout, name) for names in LINES_BY_WRITER.values() for name in names]
    assert len(set(columns)) == len(columns) and max(columns) < layout.WORDS


@pytest.mark.parametrize("calls", [1, 2, 7])
def test_the_views_lie_one_after_the_other_and_fill_the_segment(calls: int) -> None:
    memory = bytearray(rings_bytes(calls))
    rings = rings_format(memory, calls)
    start = np.frombuffer(memory, np.uint8).ctypes.data
    spans = [(view.ctypes.data - start, view.ctypes.data - start + view.nbytes) for view in rings]
    assert spans[0][0] == layout.HEADER_BYTES
    assert all(end == begin for (_, end), (begin, _) in itertools.pairwise(spans))
    assert spans[-1][1] == len(memory)


def test_a_row_is_written_without_touching_its_neighbours() -> None:
    rings = rings_format(bytearray(rings_bytes(3)), 3)
    for view in rings[1:]:
        view[1].view(np.uint8)[:] = 0xFF
    assert all(not view[row].view(np.uint8).any() for view in rings[1:] for row in (0, 2))  # in place: a copy leaves padding as it finds it
    assert not rings.bells.any()


def test_cursor_words_lie_in_cache_lines_of_their_own_in_memory() -> None:
    assert layout.HEADER_BYTES % 64 == layout.WORDS * 8 % 64 == layout.BELL_WORDS * 8 % 64 == layout.FRAME.itemsize % 64 == 0


def test_slots_are_powers_of_two_that_hold_the_longest_frame() -> None:
    for slots, arena in ((TO_AI_SLOTS, TO_AI_ARENA), (FROM_AI_SLOTS, FROM_AI_ARENA)):
        assert slots & (slots - 1) == 0 and slots * layout.MAX_FRAME_SAMPLES == arena


def test_another_process_finds_the_same() -> None:
    memory = bytearray(rings_bytes(2))
    rings_format(memory, 2).words[1, layout.TURN] = 9
    again = rings_views(memory)
    assert again.words[1, layout.TURN] == 9 and again.to_ai.shape == (2, TO_AI_SLOTS)


@pytest.mark.parametrize("header", [(0, 0), (layout.MAGIC, layout.LAYOUT_VERSION + 1), (layout.MAGIC + 1, layout.LAYOUT_VERSION)])
def test_memory_of_another_release_is_refused_with_the_remedy(header: tuple[int, int]) -> None:
    memory = bytearray(rings_bytes(1))
    rings_format(memory, 1)
    np.frombuffer(memory, np.int64, 2)[:] = header
    with pytest.raises(ValueError, match="same release"):
        rings_views(memory)


def test_a_turn_and_its_samples_share_the_played_word() -> None:
    assert layout.PLAYED_SAMPLES_MASK == 2**40 - 1  # four years at 8 kHz; 2^23 turns
