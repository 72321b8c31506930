"""Loads and stores that another process may rely on: looked at in the machine's language, and tried with two processes."""

import os
import signal
import time

import numba
import numpy as np
import pytest

from shm import doorbell, ring, segment
from shm.atomics import fence, keep_order, load_acquire, store_release

WORDS = numba.types.Array(numba.int64, 2, "C")


def intermediate_code(function: object, *argument_types: object) -> str:
    """What LLVM got, compiled afresh: code from the cache no longer has it."""
    dispatcher = numba.njit(argument_types)(getattr(function, "py_func", function))
    (text,) = dispatcher.inspect_llvm().values()
    return str(text)


def count(text: str, *words: str) -> int:
    return sum(all(word in line for word in words) for line in text.splitlines())


@pytest.mark.compiled
def test_a_load_is_an_atomic_acquire_and_a_store_an_atomic_release() -> None:
    loaded = intermediate_code(ring.load_word, WORDS, numba.intp, numba.intp)
    stored = intermediate_code(ring.store_word, WORDS, numba.intp, numba.intp, numba.int64)
    assert count(loaded, "load atomic i64", " acquire, align 8") >= 1 and "store atomic" not in loaded
    assert count(stored, "store atomic i64", " release, align 8") >= 1 and "load atomic" not in stored


@pytest.mark.compiled
def test_a_bell_is_fenced_between_store_and_load() -> None:
    """Dekker needs a full barrier: store, fence, load on both sides."""
    asleep = intermediate_code(doorbell.fall_asleep, WORDS, numba.intp)
    rung = intermediate_code(doorbell.must_ring, WORDS, numba.intp)
    assert asleep.index("store atomic i64") < asleep.index("fence seq_cst")
    assert rung.index("fence seq_cst") < rung.index("load atomic i64")


@pytest.mark.compiled
def test_a_frame_waits_for_no_store_and_the_compiler_moves_none() -> None:
    """Stores keep their order on x86 by themselves; a full fence would wait for all that is under way, half a microsecond a frame."""

    def overwrite(words, data, row, value):
        store_release(words, row, 0, value)
        keep_order()
        data[row] = value

    text = intermediate_code(overwrite, WORDS, numba.types.Array(numba.int64, 1, "C"), numba.intp, numba.int64)
    (body,) = (part.split("\n}")[0] for part in text.split("\ndefine ")[1:] if "fence acq_rel" in part)
    lines = [line.strip() for line in body.splitlines()]
    stored = next(n for n, line in enumerate(lines) if line.startswith("store atomic"))
    kept = next(n for n, line in enumerate(lines) if line.startswith("fence acq_rel"))
    written = [n for n, line in enumerate(lines) if line.startswith("store i64")]
    assert stored < kept < written[-1] and "fence seq_cst" not in body


@pytest.mark.compiled
def test_the_cursor_is_stored_after_what_it_makes_visible() -> None:
    """`publish` and `try_say` in small: the compiler may not move a plain store behind the atomic one."""

    def publish_a_word(words, data, row, value):
        data[row] = value
        store_release(words, row, 0, value)
        data[row + 1] = value  # keeps the first store from being merged with nothing after it

    text = intermediate_code(publish_a_word, WORDS, numba.types.Array(numba.int64, 1, "C"), numba.intp, numba.int64)
    bodies = [part.split("\n}")[0] for part in text.split("\ndefine ")[1:]]
    (body,) = (body for body in bodies if "store atomic" in body and "publish_a_word" in body.split("\n")[0])
    stores = ["atomic" in line for line in body.splitlines() if line.strip().startswith("store ") and "retptr" not in line]
    assert stores[:3] == [False, True, False]


@pytest.mark.compiled
def test_a_waiting_loop_keeps_loading() -> None:
    """The plain loop is what the atomics are there for: its load is gone from the loop, or the loop is."""

    def wait_for(words, row, value):
        while load_acquire(words, row, 0) != value:
            pass

    text = intermediate_code(wait_for, WORDS, numba.intp, numba.int64)
    assert count(text, "load atomic i64", " acquire") >= 1


@numba.njit
def wait_then_answer(words, row, value):
    while load_acquire(words, row, 0) != value:
        pass
    fence()
    store_release(words, row, 1, value + 1)


@pytest.mark.compiled
def test_a_compiled_loop_sees_the_store_of_another_process() -> None:
    words = np.frombuffer(segment.map_fd(segment.make("test", 4096)), np.int64).reshape(64, 8)
    words[0, 0] = 5
    wait_then_answer(words, 0, 5)  # compiles before the fork
    assert words[0, 1] == 6
    words[1] = 0
    child = os.fork()
    if child == 0:
        wait_then_answer(words, 1, 77)
        os._exit(0)
    try:
        time.sleep(0.02)  # let it get into its loop: what is tested is that it does not keep what it saw there
        assert os.waitpid(child, os.WNOHANG) == (0, 0)
        ring.store_word(words, 1, 0, 77)
        deadline = time.monotonic() + 10
        while ring.load_word(words, 1, 1) != 78:
            assert time.monotonic() < deadline, "the other process never saw the store"
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_words_hold_what_was_stored() -> None:
    words = np.zeros((3, 8), np.int64)
    ring.store_word(words, 2, 7, -5)
    assert ring.load_word(words, 2, 7) == -5 and np.count_nonzero(words) == 1


@pytest.mark.compiled
@pytest.mark.parametrize("wrong", [np.zeros((2, 8), np.int32), np.zeros(8, np.int64), np.zeros((8, 2), np.int64).T], ids=["i4", "1-d", "F"])
def test_other_arrays_are_refused_when_compiling(wrong: np.ndarray) -> None:
    with pytest.raises(numba.TypingError):
        ring.load_word(wrong, 0, 0)
