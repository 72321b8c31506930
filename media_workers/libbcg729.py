"""bcg729, if the operator named it: its functions by their addresses, for kernels that were compiled without it.

A coder is memory of the library's own, full of pointers, so it belongs to one process. Its address is in the call's row all the same,
which nobody but this worker and its successor ever reads: the successor makes its coders anew before it serves anything.
"""

import ctypes
import logging
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from control_plane import g729_library
from shm.jit import IS_COMPILED

log = logging.getLogger(__name__)

_decoder_type = ctypes.CFUNCTYPE(
    None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint8, ctypes.c_uint8, ctypes.c_uint8, ctypes.c_uint8, ctypes.c_void_p
)
_encoder_type = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
_library: ctypes.CDLL | None = None


def use(name: str) -> bool:
    """Load it, once for this process. False: there is none of this name, and G729 will be refused."""
    global _library
    why_not = g729_library.why_not(name)
    if why_not:
        if name:
            log.warning("%s", why_not)
        return False
    _library = ctypes.CDLL(name)
    for function in ("initBcg729DecoderChannel", "initBcg729EncoderChannel"):
        getattr(_library, function).restype = ctypes.c_void_p
    return True


def is_there() -> bool:
    return _library is not None


def address(function: str) -> int:
    return int(ctypes.cast(getattr(_library, function), ctypes.c_void_p).value or 0)


def open_coders() -> tuple[int, int]:
    """A decoder and an encoder, without VAD: silence is ours to describe. 0: there is no library."""
    if _library is None:
        return 0, 0
    return int(_library.initBcg729DecoderChannel()), int(_library.initBcg729EncoderChannel(ctypes.c_uint8(0)))


def close_coders(decoder: int, encoder: int) -> None:
    """Only those that this process opened."""
    if _library is not None:
        for function, coder in (("closeBcg729DecoderChannel", decoder), ("closeBcg729EncoderChannel", encoder)):
            if coder:
                getattr(_library, function)(ctypes.c_void_p(coder))


def _call_at(parameters: tuple[Any, ...]) -> Any:
    """An intrinsic that calls the function at an address, with these parameters."""

    @intrinsic
    def call(typing_context, address, arguments):
        signature = types.void(types.uintp, types.UniTuple(types.uintp, len(parameters)))

        def generate(context, builder, _signature, values):
            where, given = values
            llvm_types = [context.get_value_type(parameter) for parameter in parameters]
            function_type = ir.FunctionType(ir.VoidType(), llvm_types)
            function = builder.inttoptr(where, function_type.as_pointer())
            words = cgutils.unpack_tuple(builder, given, len(parameters))
            pairs = zip(words, llvm_types, strict=True)
            builder.call(function, [word if word.type == kind else builder.trunc(word, kind) for word, kind in pairs])
            return context.get_dummy_value()

        return signature, generate

    return call


if IS_COMPILED:
    call_decoder = _call_at((types.uintp, types.uintp, types.uint8, types.uint8, types.uint8, types.uint8, types.uintp))
    call_encoder = _call_at((types.uintp,) * 4)
else:

    def call_decoder(address: int, arguments: tuple[int, ...]) -> None:
        _decoder_type(int(address))(*map(int, arguments))

    def call_encoder(address: int, arguments: tuple[int, ...]) -> None:
        _encoder_type(int(address))(*map(int, arguments))
