"""Loads and stores that another process may rely on.

A plain load in a compiled loop is hoisted out of it and never sees a change; these are not. All work on a
C-contiguous two-dimensional array of int64, one row per owner, at (row, column).
Interpreted (NUMBA_DISABLE_JIT=1), they are plain accesses: right for one thread, which is what such tests are.
"""

from numba.core import cgutils, types
from numba.extending import intrinsic

from shm.jit import IS_COMPILED


def _pointer(context, builder, array_type, array, row, column):
    view = context.make_array(array_type)(context, builder, array)
    return cgutils.get_item_pointer(context, builder, array_type, view, [row, column], wraparound=False)


def _accepts(words):
    return isinstance(words, types.Array) and words.ndim == 2 and words.layout == "C" and words.dtype == types.int64


@intrinsic
def load_acquire(typing_context, words, row, column):
    """The value; nothing after this is read before it."""
    if not _accepts(words):
        return None

    def generate(context, builder, signature, arguments):
        pointer = _pointer(context, builder, signature.args[0], *arguments)
        return builder.load_atomic(pointer, "acquire", 8)

    return types.int64(words, types.intp, types.intp), generate


@intrinsic
def store_release(typing_context, words, row, column, value):
    """Store; everything before this is visible to whoever sees it."""
    if not _accepts(words):
        return None

    def generate(context, builder, signature, arguments):
        pointer = _pointer(context, builder, signature.args[0], *arguments[:3])
        builder.store_atomic(arguments[3], pointer, "release", 8)
        return context.get_dummy_value()

    return types.void(words, types.intp, types.intp, types.int64), generate


@intrinsic
def fence(typing_context):
    """Nothing moves across: for two who each store one word and then look at the other's. It costs a core what its stores wait for."""

    def generate(context, builder, signature, arguments):
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def keep_order(typing_context):
    """Stores before it are seen before stores behind it, and loads happen before loads behind it: for a producer that overwrites
    what a reader may be copying, and for that reader. No instruction on x86, where a fence would wait for every store under way."""

    def generate(context, builder, signature, arguments):
        builder.fence("acq_rel")
        return context.get_dummy_value()

    return types.void(), generate


if not IS_COMPILED:

    def load_acquire(words, row, column):
        return int(words[row, column])

    def store_release(words, row, column, value):
        words[row, column] = value

    def fence():
        return None

    def keep_order():
        return None


__all__ = ["fence", "keep_order", "load_acquire", "store_release"]
