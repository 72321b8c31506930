"""libsrtp as we bind it: the structure is the one it was built with, and what it makes is what the RFCs print."""

import subprocess
import sys

import numpy as np
import pytest
from pylibsrtp import _binding

from control_plane.errors import Misuse
from control_plane.srtp_suites import SUITES
from media_workers import libsrtp
from media_workers.libsrtp import _Policy

RTP_HEADER = bytes.fromhex("800f1234decafbadcafebabe")
PAYLOAD = bytes([0xAB]) * 16


def test_the_policy_has_the_layout_of_the_binary() -> None:
    ffi = _binding.ffi
    theirs = {name: field.offset for name, field in ffi.typeof("srtp_policy_t").fields}
    ours = {name: getattr(_Policy, "ssrc_type" if name == "ssrc" else name).offset for name in theirs}
    assert ours == theirs and ffi.sizeof("srtp_policy_t") == _Policy.next.offset + 8


def test_it_leaves_pythons_own_openssl_alone() -> None:
    script = "import media_workers.libsrtp, ssl, hashlib; ssl.create_default_context(); print(hashlib.sha256(b'').hexdigest()[:8])"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (found.returncode, found.stdout.strip()) == (0, "e3b0c442"), found.stderr


def seal(suite: str, secret: bytes, packet: bytes, ssrc: int, roc: int = 0) -> bytes:
    session = libsrtp.open_session(SUITES[suite], secret, [ssrc])
    if roc:
        assert libsrtp.set_roc(session, ssrc, roc) == libsrtp.OK
    buffer, octets = np.zeros(2048, np.uint8), np.array([len(packet)], np.int32)
    buffer[: len(packet)] = np.frombuffer(packet, np.uint8)
    assert libsrtp.protect(session, buffer, octets) == libsrtp.OK
    libsrtp.close_session(session)
    return buffer[: int(octets[0])].tobytes()


# What test/srtp_driver.c of libsrtp holds other implementations to: one packet under a key and salt each.
KNOWN = {
    "AES_CM_128_HMAC_SHA1_80": (
        "e1f97a0d3e018be0d64fa32c06de41390ec675ad498afeebb6960b3aabe6",
        "800f1234decafbadcafebabe4e55dc4ce79978d88ca4d215949d2402b78d6acc99ea179b8dbb",
    ),
    "AEAD_AES_128_GCM": (
        "000102030405060708090a0b0c0d0e0fa0a1a2a3a4a5a6a7a8a9aaab",
        "800f1234decafbadcafebabec5002ede04cfdd2eb91159e0880aa06ed2976826f796b201df3131a127e8a392",
    ),
    "AES_256_CM_HMAC_SHA1_80": (
        "f0f04914b513f2763a1b1fa130f10e2998f6f6e43e4309d1e622a0e332b9f1b63b04803de51ee7c96423ab5b78d2",
        "800f1234decafbadcafebabef1d9de17ff251ff1aa007774b0b4b40da08d9d9a5b3a55d8873b",
    ),
}


@pytest.mark.parametrize("suite", KNOWN)
def test_known_answers(suite: str) -> None:
    secret, sealed = KNOWN[suite]
    assert seal(suite, bytes.fromhex(secret), RTP_HEADER + PAYLOAD, 0xCAFEBABE).hex() == sealed


def test_the_roll_over_counter_is_part_of_what_is_authenticated() -> None:
    secret = bytes(range(30))
    first, later = (seal("AES_CM_128_HMAC_SHA1_80", secret, RTP_HEADER + PAYLOAD, 0xCAFEBABE, roc) for roc in (0, 7))
    assert first[:12] == later[:12] and first[12:28] != later[12:28] and first[28:] != later[28:]


def test_a_stream_is_removed_by_its_ssrc() -> None:
    session = libsrtp.open_session(SUITES["AEAD_AES_128_GCM"], bytes(28), [0xCAFEBABE])
    assert libsrtp.set_roc(session, 0xCAFEBABE, 1) == libsrtp.OK
    assert libsrtp.remove_stream(session, 0xCAFEBABE) == libsrtp.OK
    assert libsrtp.set_roc(session, 0xCAFEBABE, 1) != libsrtp.OK
    libsrtp.close_session(session)


def test_a_secret_of_the_wrong_length_is_a_bug_of_ours() -> None:
    with pytest.raises(Misuse, match="30 octets"):
        libsrtp.open_session(SUITES["AES_CM_128_HMAC_SHA1_80"], bytes(28), [1])
