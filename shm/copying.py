"""Copying between arrays of one element type, as one move of memory.

A loop with an offset in its index keeps the compiler from vectorising it: numba must allow for negative
indexes. Here the caller vouches for the bounds, and regions may overlap.
"""

from numba.core import cgutils, types
from numba.extending import intrinsic

from shm.jit import IS_COMPILED


@intrinsic
def copy(typing_context, target, target_start, source, source_start, count):
    """target[target_start : + count] = source[source_start : + count], both one-dimensional and contiguous."""
    for array in (target, source):
        if not (isinstance(array, types.Array) and array.ndim == 1 and array.layout == "C"):
            return None
    if target.dtype != source.dtype:
        return None

    def generate(context, builder, signature, arguments):
        pointers = []
        for array_type, array, start in ((signature.args[0], *arguments[:2]), (signature.args[2], *arguments[2:4])):
            view = context.make_array(array_type)(context, builder, array)
            pointers.append(builder.gep(view.data, [start]))
        item_bytes = context.get_abi_sizeof(context.get_data_type(signature.args[0].dtype))
        cgutils.raw_memmove(builder, pointers[0], pointers[1], arguments[4], item_bytes, align=1)
        return context.get_dummy_value()

    return types.void(target, types.intp, source, types.intp, types.intp), generate


if not IS_COMPILED:

    def _copy(target, target_start, source, source_start, count):
        target[target_start : target_start + count] = source[source_start : source_start + count].copy()

    copy = _copy
