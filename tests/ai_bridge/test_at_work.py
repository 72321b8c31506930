"""Marks around the steps of an agent's code: there while it runs, and at no other moment."""

import asyncio

import numpy as np
import pytest

from ai_bridge.at_work import AtWork, at_work, take_marks
from shm.layout import AT_WORK, BRIDGE, GENERATION, Rings, rings_bytes, rings_format

ROW, OF = 2, 77


@pytest.fixture
def rings() -> Rings:
    rings = rings_format(bytearray(rings_bytes(4)), 4)
    rings.words[:, GENERATION] = np.arange(75, 79)
    return rings


def marks(rings: Rings) -> list[int]:
    return [int(mark) for mark in rings.words[:, AT_WORK]]


def test_a_task_is_marked_while_it_runs_and_not_while_it_waits(rings: Rings) -> None:
    seen: list[list[int]] = []

    async def agent() -> str:
        seen.append(marks(rings))
        await asyncio.sleep(0)
        seen.append(marks(rings))
        return "done"

    async def main() -> str:
        task = asyncio.get_running_loop().create_task(AtWork(agent(), rings, ROW, OF))
        await asyncio.sleep(0)
        seen.append(marks(rings))
        return await task

    assert asyncio.run(main()) == "done"
    assert seen == [[0, 0, OF, 0], [0, 0, 0, 0], [0, 0, OF, 0]] and marks(rings) == [0] * 4


def test_it_can_be_awaited_and_cancelled_and_what_it_raises_comes_out(rings: Rings) -> None:
    ends: list[str] = []

    async def agent() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ends.append(str(marks(rings)))

    async def failing() -> None:
        raise LookupError("mine")

    async def main() -> None:
        async def outer() -> None:
            await AtWork(agent(), rings, ROW, OF)

        task = asyncio.get_running_loop().create_task(outer())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(LookupError, match="mine"):
            await AtWork(failing(), rings, ROW, OF)

    asyncio.run(main())
    assert ends == [f"[0, 0, {OF}, 0]"] and marks(rings) == [0] * 4


def test_the_next_process_reads_the_marks_of_its_own_calls_that_are_still_the_same(rings: Rings) -> None:
    rings.words[:, BRIDGE] = 0, 1, 1, 1
    rings.words[:, AT_WORK] = 75, 76, 5, 78  # of row 2 by a call that was there before
    assert take_marks(rings, 1) == (1, 3) and take_marks(rings, 1) == ()
    assert take_marks(rings, 0) == (0,)


def test_many_rows_at_once(rings: Rings) -> None:
    rows = np.array([0, 3])
    with at_work(rings.words, rows, rings.words[rows, GENERATION]):
        assert marks(rings) == [75, 0, 0, 78]
    assert marks(rings) == [0] * 4
