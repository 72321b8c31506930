"""libopus: its functions for compiled kernels, its set-up for Python. Without it every call of one gives nothing.

A decoder or an encoder is one block of memory that holds no pointer but into libopus itself, so it lives in the call's row
and a forked worker goes on with it. Who loaded the library elsewhere must begin anew: `TOKEN` tells.
"""

import ctypes
import zlib
from collections.abc import Callable
from typing import Any

import llvmlite.binding
from numba import types

from control_plane import opus_library
from shm.jit import IS_COMPILED

APPLICATION_VOIP, APPLICATION_LOWDELAY = 2048, 2051  # opus_defines.h
SET_BITRATE, SET_MAX_BANDWIDTH, SET_VBR, SET_COMPLEXITY = 4002, 4004, 4006, 4010
SET_INBAND_FEC, SET_PACKET_LOSS_PERC, SET_DTX, GET_LOOKAHEAD, RESET_STATE = 4012, 4014, 4016, 4027, 4028
NARROWBAND, MEDIUMBAND, WIDEBAND, SUPERWIDEBAND, FULLBAND = range(1101, 1106)

DECODER_BYTES, ENCODER_BYTES = 20_480, 45_056
"""Room for one channel: 18.5 and 31.7 KB in libopus 1.6, 18.2 and 43.6 KB in 1.3."""


def _load() -> ctypes.CDLL | None:
    path = opus_library.find()
    library = ctypes.CDLL(path) if path else None
    if library is None or library.opus_decoder_get_size(1) > DECODER_BYTES or library.opus_encoder_get_size(1) > ENCODER_BYTES:
        return None
    library.opus_get_version_string.restype = ctypes.c_char_p
    return library


_library = _load()
IS_THERE = _library is not None


def _address(function: Any) -> int:
    return int(ctypes.cast(function, ctypes.c_void_p).value or 0)


TOKEN = 0 if _library is None else _address(_library.opus_decode) ^ zlib.crc32(_library.opus_get_version_string())
"""What is the same only where states that hold pointers into the library may be used."""


def _function(name: str, *parameters: Any) -> Callable[..., int]:
    """A function of libopus that returns an int; interpreted kernels get it by ctypes. Absent: isatty, which says 0 to a pointer."""
    function = getattr(_library, name) if _library is not None else ctypes.CDLL(None).isatty
    if IS_COMPILED:
        symbol = f"bellframe_{name}"
        llvmlite.binding.add_symbol(symbol, _address(function))
        external: Callable[..., int] = types.ExternalFunction(symbol, types.int32(*parameters))
        return external
    converted = [ctypes.c_void_p if parameter is types.uintp else ctypes.c_int32 for parameter in parameters]

    def call(*values: int) -> int:
        return int(function(*(convert(int(value)) for convert, value in zip(converted, values, strict=True))))

    return call


decode = _function("opus_decode", types.uintp, types.uintp, types.int32, types.uintp, types.int32, types.int32)
"""(state, packet, octets, pcm, samples that there is room for, 1 to take what is of the packet before) -> samples, or below 0."""
encode = _function("opus_encode", types.uintp, types.uintp, types.int32, types.uintp, types.int32)
"""(state, pcm, samples, packet, room) -> octets, or below 0."""
frame_samples = _function("opus_packet_get_samples_per_frame", types.uintp, types.int32)
"""(packet, rate) -> samples."""


def library() -> ctypes.CDLL | None:
    """For Python; None: it is not installed."""
    return _library


def start_decoder(address: int, sample_rate_hz: int) -> None:
    if _library is not None:
        _library.opus_decoder_init(ctypes.c_void_p(address), ctypes.c_int32(sample_rate_hz), 1)


def start_encoder(address: int, sample_rate_hz: int) -> None:
    if _library is not None:
        _library.opus_encoder_init(ctypes.c_void_p(address), ctypes.c_int32(sample_rate_hz), 1, APPLICATION_VOIP)


def set_encoder(address: int, request: int, value: int) -> None:
    if _library is not None:
        _library.opus_encoder_ctl(ctypes.c_void_p(address), ctypes.c_int(request), ctypes.c_int(value))
