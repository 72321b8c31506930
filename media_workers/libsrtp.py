"""libsrtp 2, which the wheel of pylibsrtp carries: its functions for compiled kernels, its sessions for Python.

The binary is loaded for itself alone (RTLD_LOCAL): it has an OpenSSL of its own inside, which in the global scope
would take the place of Python's and crash `import ssl`. LLVM is told each function's address under a name of ours,
in this module, which every kernel that calls one imports: cached machine code finds the name before it runs.

A session is a pointer into the memory of one process. It must never be written to shared memory.
"""

import ctypes
import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable, Iterable
from typing import Any

import llvmlite.binding
from numba import types

from control_plane.errors import ConfigurationError, Misuse
from control_plane.srtp_suites import Suite
from shm.jit import IS_COMPILED, njit

OK, REPLAY_FAILED, REPLAY_OLD, INDEX_OLD = 0, 9, 10, 26  # srtp_err_status_t
SSRC_SPECIFIC, SSRC_ANY_INBOUND = 1, 2  # srtp_ssrc_type_t
MAX_TRAILER_BYTES = 16 + 4
"""What protecting adds at most: an AEAD tag, and the index of SRTCP. We use no MKI."""


def _load() -> ctypes.CDLL:
    package = importlib.util.find_spec("pylibsrtp")
    folders = package.submodule_search_locations if package else None
    binary = importlib.machinery.PathFinder.find_spec("_binding", folders)
    if binary is None or binary.origin is None:
        raise ConfigurationError("pylibsrtp, which carries libsrtp, is not installed: install bellframe with its dependencies")
    library = ctypes.CDLL(binary.origin)
    status = OK if "pylibsrtp" in sys.modules else library.srtp_init()  # who imported it has called that, and twice is an error
    if status != OK:
        raise ConfigurationError(f"libsrtp found itself broken (status {status}): install pylibsrtp anew")
    return library


_library = _load()


def _function(name: str, *parameters: Any) -> Callable[..., int]:
    """A function of libsrtp that returns a status, for kernels; interpreted kernels get it by ctypes."""
    function = getattr(_library, name)
    if IS_COMPILED:
        symbol = f"bellframe_{name}"
        llvmlite.binding.add_symbol(symbol, ctypes.cast(function, ctypes.c_void_p).value)
        external: Callable[..., int] = types.ExternalFunction(symbol, types.int32(*parameters))
        return external
    converted = [ctypes.c_void_p if parameter is types.uintp else ctypes.c_uint32 for parameter in parameters]

    def call(*values: int) -> int:
        return int(function(*(convert(int(value)) for convert, value in zip(converted, values, strict=True))))

    return call


_protect = _function("srtp_protect", types.uintp, types.uintp, types.uintp)
_unprotect = _function("srtp_unprotect", types.uintp, types.uintp, types.uintp)
_protect_rtcp = _function("srtp_protect_rtcp", types.uintp, types.uintp, types.uintp)
_unprotect_rtcp = _function("srtp_unprotect_rtcp", types.uintp, types.uintp, types.uintp)
_set_stream_roc = _function("srtp_set_stream_roc", types.uintp, types.uint32, types.uint32)
_remove_stream = _function("srtp_remove_stream", types.uintp, types.uint32)


# ---- for kernels: `octets` is int32[1], the size of the packet before and after -----------------------------


@njit
def protect(session, packet, octets):
    return _protect(session, packet.ctypes.data, octets.ctypes.data)


@njit
def unprotect(session, packet, octets):
    return _unprotect(session, packet.ctypes.data, octets.ctypes.data)


@njit
def protect_rtcp(session, packet, octets):
    return _protect_rtcp(session, packet.ctypes.data, octets.ctypes.data)


@njit
def unprotect_rtcp(session, packet, octets):
    return _unprotect_rtcp(session, packet.ctypes.data, octets.ctypes.data)


@njit
def set_roc(session, ssrc, roc):
    """Of a stream that the session has. It holds for the next packet, if it is not 0."""
    return _set_stream_roc(session, ssrc, roc)


@njit
def remove_stream(session, ssrc):
    """libsrtp wants this SSRC, unlike that of set_roc, in network order."""
    swapped = (ssrc & 0xFF) << 24 | (ssrc & 0xFF00) << 8 | (ssrc >> 8) & 0xFF00 | ssrc >> 24
    return _remove_stream(session, swapped)


# ---- sessions ------------------------------------------------------------------------------------------------


class _CryptoPolicy(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_int) for name in ("cipher_type", "cipher_key_len", "auth_type", "auth_key_len", "auth_tag_len", "sec_serv")
    ]


class _Policy(ctypes.Structure):
    """srtp_policy_t of libsrtp 2; its size and offsets are compared with pylibsrtp's in the tests."""

    _fields_ = [
        ("ssrc_type", ctypes.c_int),
        ("ssrc", ctypes.c_uint),
        ("rtp", _CryptoPolicy),
        ("rtcp", _CryptoPolicy),
        ("key", ctypes.c_void_p),
        ("keys", ctypes.c_void_p),
        ("num_master_keys", ctypes.c_ulong),
        ("deprecated_ekt", ctypes.c_void_p),
        ("window_size", ctypes.c_ulong),
        ("allow_repeat_tx", ctypes.c_int),
        ("enc_xtn_hdr", ctypes.c_void_p),
        ("enc_xtn_hdr_count", ctypes.c_int),
        ("next", ctypes.c_void_p),
    ]


_POLICIES = {  # for RTP, for RTCP, whose tag is never short (RFC 4568 6.2)
    "AEAD_AES_128_GCM": ("aes_gcm_128_16_auth", "aes_gcm_128_16_auth"),
    "AEAD_AES_256_GCM": ("aes_gcm_256_16_auth", "aes_gcm_256_16_auth"),
    "AES_CM_128_HMAC_SHA1_80": ("rtp_default", "rtcp_default"),
    "AES_CM_128_HMAC_SHA1_32": ("aes_cm_128_hmac_sha1_32", "rtcp_default"),
    "AES_256_CM_HMAC_SHA1_80": ("aes_cm_256_hmac_sha1_80", "aes_cm_256_hmac_sha1_80"),
    "AES_256_CM_HMAC_SHA1_32": ("aes_cm_256_hmac_sha1_32", "aes_cm_256_hmac_sha1_80"),
}


def open_session(suite: Suite, secret: bytes, ssrcs: Iterable[int], *, takes_any: bool = False) -> int:
    """A session with a stream for each of these SSRCs and, if `takes_any`, for whatever else proves to have the key.

    `secret` is master key and salt. Close it with `close_session`.
    """
    if len(secret) != suite.secret_bytes:
        raise Misuse(f"{suite.name} takes {suite.secret_bytes} octets of key and salt, not {len(secret)}")
    session = ctypes.c_void_p()
    _check(_library.srtp_create(ctypes.byref(session), None), suite)
    made = int(session.value or 0)
    wanted = [(SSRC_SPECIFIC, ssrc) for ssrc in ssrcs] + ([(SSRC_ANY_INBOUND, 0)] if takes_any else [])
    _add_streams(made, suite, secret, wanted)
    return made


def add_stream(session: int, suite: Suite, secret: bytes, ssrc: int) -> None:
    _add_streams(session, suite, secret, [(SSRC_SPECIFIC, ssrc)])


def _add_streams(session: int, suite: Suite, secret: bytes, wanted: list[tuple[int, int]]) -> None:
    key = ctypes.create_string_buffer(secret, len(secret))
    policy = _Policy(key=ctypes.addressof(key), window_size=128)
    for part, name in zip((policy.rtp, policy.rtcp), _POLICIES[suite.name], strict=True):
        getattr(_library, f"srtp_crypto_policy_set_{name}")(ctypes.byref(part))
    for policy.ssrc_type, policy.ssrc in wanted:
        _check(_library.srtp_add_stream(ctypes.c_void_p(session), ctypes.byref(policy)), suite)
    ctypes.memset(key, 0, len(secret))


def close_session(session: int) -> None:
    """libsrtp overwrites the keys in it. 0 is no session."""
    if session:
        _library.srtp_dealloc(ctypes.c_void_p(session))


def _check(status: int, suite: Suite) -> None:
    if status != OK:
        raise Misuse(f"libsrtp makes no session for {suite.name} (status {status})")
