"""The far end of an SRTP call, through pylibsrtp's own Python interface: what it makes and reads was not made by our kernels."""

import ctypes

import numpy as np
import pylibsrtp
from msgspec.structs import replace
from pylibsrtp import Policy, Session, _binding

from control_plane.messages import SrtpKeys
from control_plane.srtp_suites import SUITES
from media_workers import libsrtp, srtp
from media_workers.call_table import Worker
from tests.media_workers.call_under_test import CallUnderTest
from tests.reference import rtp as reference_rtp

PROFILES = {
    "AES_CM_128_HMAC_SHA1_80": Policy.SRTP_PROFILE_AES128_CM_SHA1_80,
    "AES_CM_128_HMAC_SHA1_32": Policy.SRTP_PROFILE_AES128_CM_SHA1_32,
    "AEAD_AES_128_GCM": Policy.SRTP_PROFILE_AEAD_AES_128_GCM,
    "AEAD_AES_256_GCM": Policy.SRTP_PROFILE_AEAD_AES_256_GCM,
}
BIG_CM = {"AES_256_CM_HMAC_SHA1_80": "80", "AES_256_CM_HMAC_SHA1_32": "32"}


def make_keys(suite: str, number: int = 1) -> SrtpKeys:
    random = np.random.default_rng(number)
    size = SUITES[suite].secret_bytes
    return SrtpKeys(suite, random.bytes(size), random.bytes(size))


def make_session(suite: str, secret: bytes, ssrc_type: int) -> Session:
    """pylibsrtp names no AES-256-CM; the policy of its binary is put in by hand."""
    policy = Policy(key=secret, ssrc_type=ssrc_type, srtp_profile=PROFILES.get(suite, Policy.SRTP_PROFILE_AES128_CM_SHA1_80))
    if suite in BIG_CM:
        library, at = ctypes.CDLL(_binding.__file__), int(_binding.ffi.cast("uintptr_t", policy._policy))
        getattr(library, f"srtp_crypto_policy_set_aes_cm_256_hmac_sha1_{BIG_CM[suite]}")(ctypes.c_void_p(at + 8))
        library.srtp_crypto_policy_set_aes_cm_256_hmac_sha1_80(ctypes.c_void_p(at + 32))
    return Session(policy=policy)


class FarEnd:
    """It has the same keys the other way round. Its sessions outlive any worker of ours."""

    def __init__(self, keys: SrtpKeys) -> None:
        self.tx = make_session(keys.suite, keys.rx, Policy.SSRC_ANY_OUTBOUND)
        self.rx = make_session(keys.suite, keys.tx, Policy.SSRC_ANY_INBOUND)

    def packet(self, seq: int, payload: bytes = b"\x20" * 160, ssrc: int = 7) -> bytes:
        """Protected. Call it with every number in turn: it counts the roll-overs by itself."""
        return self.tx.protect(reference_rtp.build(seq & 0xFFFF, 160 * seq & 0xFFFFFFFF, payload, ssrc=ssrc))

    def read(self, datagram: bytes) -> reference_rtp.Packet | None:
        """None: it does not believe us."""
        try:
            return reference_rtp.parse(self.rx.unprotect(datagram))
        except pylibsrtp.Error:
            return None


class SecureCall(CallUnderTest):
    """A call in a worker without sockets, under these keys."""

    def __init__(self, keys: SrtpKeys, **media: object) -> None:
        super().__init__(srtp=keys, **media)  # type: ignore[arg-type]
        self.keys = keys

    @property
    def srtp(self) -> np.void:
        row: np.void = self.call["srtp"]
        return row

    def put(self, datagram: bytes) -> None:
        packet = self.worker.own[0]["packet"]
        packet[: len(datagram)] = np.frombuffer(datagram, np.uint8)

    def unprotect(self, datagram: bytes) -> bytes | None:
        """What `take_packet` does with it first; None: refused."""
        self.put(datagram)
        size = int(srtp.unprotect(self.worker, self.row, len(datagram), self.now_ns))
        return None if size < 0 else self.worker.own[0]["packet"][:size].tobytes()

    def unprotect_rtcp(self, datagram: bytes) -> bytes | None:
        self.put(datagram)
        size = int(srtp.unprotect_rtcp(self.worker, self.row, len(datagram)))
        return None if size < 0 else self.worker.own[0]["packet"][:size].tobytes()

    def protect(self, payload: bytes = b"\x20" * 160) -> bytes | None:
        """The next packet of ours, as `serve` sends it."""
        tx = self.call["tx"]
        plain = reference_rtp.build(int(tx["seq"]), 0, payload, ssrc=int(tx["ssrc"]))
        tx["seq"] = (tx["seq"] + 1) & 0xFFFF
        self.put(plain)
        size = int(srtp.protect(self.worker, self.row, len(plain)))
        return None if size < 0 else self.worker.own[0]["packet"][:size].tobytes()

    def protect_rtcp(self, report: bytes) -> bytes | None:
        packet = np.zeros(512, np.uint8)
        packet[: len(report)] = np.frombuffer(report, np.uint8)
        size = int(srtp.protect_rtcp(self.worker, self.row, packet, len(report)))
        return None if size < 0 else packet[:size].tobytes()

    def update(self, keys: SrtpKeys | None, **media: object) -> None:
        self.rows.update("call", replace(self.media, srtp=keys, **media), self.now_ns)

    def die(self) -> None:
        """The worker is killed: its memory is gone, sessions and all; a successor finds the row."""
        fresh = self.worker._replace(sessions=np.zeros_like(self.worker.sessions))
        self._leak(self.worker)
        self.rows = type(self.rows)(fresh, 0, 2, 0)
        self.worker = self.rows.worker

    @staticmethod
    def _leak(worker: Worker) -> None:
        for session in worker.sessions[:, [srtp.RX, srtp.TX, srtp.OLD_RX]].ravel():
            libsrtp.close_session(int(session))


