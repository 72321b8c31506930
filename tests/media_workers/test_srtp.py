"""SRTP: a far end with pylibsrtp's own interface understands us and we it, and what nobody who has the keys sent stays out."""

import struct

import numpy as np
import pytest

from control_plane.errors import NotAcceptable
from control_plane.messages import MediaDescription, SrtpKeys
from control_plane.srtp_suites import SUITES
from media_workers import srtp
from shm.jit import IS_COMPILED
from tests.media_workers.call_under_test import SECOND, CallUnderTest
from tests.media_workers.far_end import FarEnd, SecureCall, make_keys
from tests.reference import rtp as reference_rtp

CM, GCM = "AES_CM_128_HMAC_SHA1_80", "AEAD_AES_128_GCM"
TAG_BYTES = {"AEAD_AES_128_GCM": 16, "AEAD_AES_256_GCM": 16, CM: 10, "AES_256_CM_HMAC_SHA1_80": 10}
MUTATIONS = 100_000 if IS_COMPILED else 2_000
VOICE = bytes(range(160))


@pytest.fixture(name="suite", params=SUITES)
def _suite(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(name="call")
def _call(suite: str) -> SecureCall:
    return SecureCall(make_keys(suite))


@pytest.fixture(name="far")
def _far(call: SecureCall) -> FarEnd:
    return FarEnd(call.keys)


def report(ssrc: int, words: int = 5) -> bytes:
    """A sender report's header, and something behind it."""
    return struct.pack("!BBHI", 0x80, 200, 1 + words, ssrc) + bytes(range(4 * words))


# ---- both ways ---------------------------------------------------------------------------------------------------


def test_each_understands_the_other_in_every_suite(call: SecureCall, far: FarEnd, suite: str) -> None:
    for number in range(100):
        sent = call.protect(VOICE)
        assert sent is not None and VOICE not in sent and len(sent) == 172 + TAG_BYTES.get(suite, 4)
        read = far.read(sent)
        assert read is not None and read.payload == VOICE and read.ssrc == int(call.call["tx"]["ssrc"])
        got = call.unprotect(far.packet(5000 + number, VOICE))
        assert got == reference_rtp.build(5000 + number, 160 * (5000 + number), VOICE)
    assert call.counter("srtp_auth_failed") == call.counter("srtp_replayed") == 0


def test_rtcp_both_ways(call: SecureCall, far: FarEnd) -> None:
    ours, theirs = report(int(call.call["tx"]["ssrc"])), report(7)
    for _ in range(20):
        sealed = call.protect_rtcp(ours)
        assert sealed is not None and ours[8:] not in sealed and far.rx.unprotect_rtcp(sealed) == ours
        datagram = far.tx.protect_rtcp(theirs)
        assert call.unprotect_rtcp(datagram) == theirs
        assert call.unprotect_rtcp(datagram) is None
        changed = bytearray(far.tx.protect_rtcp(theirs))
        changed[12] ^= 1
        assert call.unprotect_rtcp(bytes(changed)) is None
    assert call.counter("srtp_replayed") == 20 and call.counter("srtp_auth_failed") == 20


def test_a_call_in_the_clear_is_left_as_it_is() -> None:
    call = CallUnderTest()
    assert srtp.protect(call.worker, call.row, 172) == srtp.unprotect(call.worker, call.row, 172, 0) == 172
    assert srtp.unprotect_rtcp(call.worker, call.row, 28) == 28
    assert srtp.protect_rtcp(call.worker, call.row, call.worker.own[0]["packet"], 28) == 28


# ---- the index ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suite", [CM, GCM], indirect=True)
def test_roll_overs_both_ways(call: SecureCall, far: FarEnd) -> None:
    call.call["tx"]["seq"] = 65_500
    call.srtp["tx_index"] = 65_499
    seq = 65_400
    for _ in range(3):
        for _ in range(200):
            sent = call.protect()
            assert sent is not None and far.read(sent) is not None
            assert call.unprotect(far.packet(seq)) is not None
            seq += 1
        call.call["tx"]["seq"] = (int(call.call["tx"]["seq"]) + 30_000) & 0xFFFF  # on hold: the stream goes on elsewhere
        seq += 30_000
    assert int(call.srtp["rx"][0]["highest"]) == seq - 30_001 > 0xFFFF


def test_packets_across_a_roll_over_may_change_places() -> None:
    call = SecureCall(make_keys(CM))
    far = FarEnd(call.keys)
    made = [far.packet(seq) for seq in range(65_500, 65_572)]
    random = np.random.default_rng(3)
    for start in range(0, len(made), 12):
        for at in random.permutation(12):
            assert call.unprotect(made[start + int(at)]) is not None
    assert all(call.unprotect(packet) is None for packet in made)
    assert call.counter("srtp_replayed") == len(made)


def test_the_window_remembers_64_packets() -> None:
    call = SecureCall(make_keys(GCM))
    far = FarEnd(call.keys)
    made = [far.packet(seq) for seq in range(100, 300)]
    assert call.unprotect(made[100]) is not None
    assert call.unprotect(made[100 - srtp.WINDOW]) is None  # too old to know
    assert call.unprotect(made[101 - srtp.WINDOW]) is not None
    assert call.unprotect(made[101 - srtp.WINDOW]) is None
    assert call.unprotect(made[199]) is not None and call.unprotect(made[100]) is None
    assert call.counter("srtp_replayed") == 3


@pytest.mark.parametrize("suite", [CM, GCM], indirect=True)
def test_a_stream_that_rolled_over_before_we_heard_it_is_found(call: SecureCall, far: FarEnd) -> None:
    """Early media of an outgoing call: the far end counts, and we have no key yet."""
    for seq in range(65_500, 65_600):
        far.packet(seq)
    assert call.unprotect(far.packet(65_600)) is None
    random = np.random.default_rng(5)
    for _ in range(40):  # and somebody tries to be in its place
        call.unprotect(bytes((0x80, 0)) + random.bytes(180))
        srtp.adopt_strangers(call.worker, slice(0, 2))
    assert call.unprotect(far.packet(65_601)) is None
    srtp.adopt_strangers(call.worker, slice(0, 2))
    for seq in range(65_602, 65_700):
        assert call.unprotect(far.packet(seq)) is not None
    call.unprotect(bytes((0x80, 0)) + random.bytes(180))
    assert int(call.srtp["stranger"]) == 0 and int(call.srtp["sources"]) <= 2, "whoever is proven needs no others"
    call.die()
    assert call.unprotect(far.packet(65_700)) is not None


def test_strangers_do_not_keep_the_far_end_out() -> None:
    call = SecureCall(make_keys(CM))
    far = FarEnd(call.keys)
    random = np.random.default_rng(6)
    for seq in range(100):
        for _ in range(3):
            assert call.unprotect(bytes((0x80, 0)) + random.bytes(180)) is None
        srtp.adopt_strangers(call.worker, slice(0, 2))
        if seq >= 50:
            assert call.unprotect(far.packet(seq)) is not None
    assert int(call.srtp["sources"]) <= 3


def test_an_index_is_not_used_twice_even_if_asked() -> None:
    call = SecureCall(make_keys(CM))
    assert call.protect() is not None
    call.call["tx"]["seq"] -= 1
    assert call.protect() is None


# ---- who is not the far end ----------------------------------------------------------------------------------------


def test_a_changed_octet_anywhere_is_found(call: SecureCall, far: FarEnd) -> None:
    packet = far.packet(1, VOICE)
    for at in range(len(packet)):
        assert call.unprotect(packet[:at] + bytes([packet[at] ^ 0x40]) + packet[at + 1 :]) is None
    for size in range(len(packet)):
        assert call.unprotect(packet[:size]) is None
    assert call.unprotect(reference_rtp.build(1, 160, VOICE)) is None, "plain RTP on a protected call"
    assert call.unprotect(packet) is not None
    assert call.counter("srtp_auth_failed") + call.counter("srtp_replayed") == 2 * len(packet) + 1


@pytest.mark.parametrize("suite", [CM, GCM], indirect=True)
def test_mutated_packets_change_nothing(call: SecureCall, far: FarEnd) -> None:
    """A flood of them before each good packet: none gets through, each good one does, and the counters say so."""
    random = np.random.default_rng(7)
    per_good = 1_000
    refused = 0
    for seq in range(65_500, 65_500 + MUTATIONS // per_good):
        good = far.packet(seq, VOICE)
        noise = random.integers(0, 256, (per_good, 4))
        for a, b, c, d in noise.tolist():
            bad = bytearray(good)
            bad[a % len(bad)] ^= 1 + b % 255
            bad = bad[: 1 + c * d % (2 * len(bad))] + bytes(d if c < 8 else 0)
            assert call.unprotect(bytes(bad)) is None
            refused += 1
            if b < 4:
                assert call.unprotect_rtcp(bytes(bad)) is None
                refused += 1
        assert call.unprotect(good) is not None
    assert call.counter("srtp_auth_failed") + call.counter("srtp_replayed") == refused
    assert call.total("srtp_auth_failed") == call.counter("srtp_auth_failed")


def test_each_ssrc_is_counted_for_itself() -> None:
    call = SecureCall(make_keys(CM))
    far = FarEnd(call.keys)
    made = [(ssrc, seq, far.packet(seq, ssrc=ssrc)) for ssrc in range(1, 41) for seq in range(3)]
    for _, _, packet in made:
        assert call.unprotect(packet) is not None
    assert int(call.srtp["sources"]) == srtp.MAX_SOURCES  # bounded, whatever the far end does
    assert all(call.unprotect(packet) is None for ssrc, _, packet in made if ssrc > 40 - srtp.MAX_SOURCES)
    assert call.unprotect(far.packet(3, ssrc=40)) is not None


# ---- a worker dies -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suite", [CM, GCM], indirect=True)
@pytest.mark.parametrize("first", [10, 65_480, 65_535, 70_000, 300_000])
def test_a_successor_goes_on_and_uses_no_index_twice(call: SecureCall, far: FarEnd, first: int) -> None:
    for seq in range(first % 16_384, first, 16_384):  # the far end gets there by counting; so do we
        assert call.unprotect(far.packet(seq)) is not None
    call.call["tx"]["seq"], call.srtp["tx_index"] = 65_520, 65_519
    old, used = [], set()
    seq = first
    for life in range(6):
        for _ in range(10):
            packet = far.packet(seq)
            assert call.unprotect(packet) is not None
            old.append(packet)
            seq += 1
            sent = call.protect()
            assert sent is not None and far.read(sent) is not None
            used.add(int(call.srtp["tx_index"]))
            sealed = call.protect_rtcp(report(int(call.call["tx"]["ssrc"])))
            assert sealed is not None and far.rx.unprotect_rtcp(sealed)
        call.die()
        if life % 2:
            call.die()  # and its successor at once
        assert all(call.unprotect(packet) is None for packet in old[-srtp.WINDOW :]), "heard twice"
        seq += 3  # lost meanwhile
    assert len(used) == 60 and int(call.srtp["tx_index"]) > 0xFFFF
    assert call.counter("srtp_auth_failed") == 0


def test_an_rtcp_index_far_away_is_reached_in_parts() -> None:
    call = SecureCall(make_keys(CM))
    far = FarEnd(call.keys)
    call.srtp["rtcp_tx_index"] = 2 * srtp.MAX_RTCP_STEPS + 5
    call.die()
    ours = report(int(call.call["tx"]["ssrc"]))
    assert call.protect_rtcp(ours) is None and call.protect_rtcp(ours) is None
    sealed = call.protect_rtcp(ours)
    assert sealed is not None and far.rx.unprotect_rtcp(sealed) == ours
    assert int.from_bytes(sealed[-14:-10], "big") == 1 << 31 | 2 * srtp.MAX_RTCP_STEPS + 7


def test_keys_that_were_half_written_let_nothing_pass() -> None:
    call = SecureCall(make_keys(CM))
    far = FarEnd(call.keys)
    call.srtp["suite"] = srtp.KEYS_INCOMPLETE
    call.die()
    assert call.protect() is None and call.unprotect(far.packet(1)) is None and call.unprotect_rtcp(far.tx.protect_rtcp(report(7))) is None
    call.update(call.keys)
    assert call.unprotect(far.packet(2)) is not None and call.protect() is not None


# ---- keys change -----------------------------------------------------------------------------------------------------


def test_the_same_keys_again_change_nothing() -> None:
    call = SecureCall(make_keys(GCM))
    far = FarEnd(call.keys)
    call.call["tx"]["seq"], call.srtp["tx_index"] = 65_535, 65_534
    for seq in (65_534, 65_535, 65_536):
        assert call.unprotect(far.packet(seq)) is not None
        call.update(call.keys, remote_port=6_000 + seq % 7)
        sent = call.protect()
        assert sent is not None and far.read(sent) is not None
    assert int(call.srtp["tx_index"]) == 65_537 and int(call.srtp["rx"][0]["highest"]) == 65_536


@pytest.mark.parametrize("counts_on", [True, False], ids=["the counter goes on", "the far end begins at 0"])
@pytest.mark.parametrize("suite", [CM, GCM], indirect=True)
def test_new_keys_in_mid_call(call: SecureCall, far: FarEnd, suite: str, counts_on: bool) -> None:
    for seq in range(0, 131_072, 16_384):
        assert call.unprotect(far.packet(seq)) is not None
    under_way = far.packet(131_072)
    keys = make_keys(suite, 2)
    call.update(keys)
    assert call.unprotect(under_way) is not None, "sent before the far end knew"
    assert call.unprotect(under_way) is None
    second = FarEnd(keys)
    if counts_on:
        for seq in range(0, 131_072, 16_384):
            second.packet(seq)
    for seq in range(131_073, 131_173):
        assert call.unprotect(second.packet(seq)) is not None
    sent = call.protect()
    assert sent is not None and second.read(sent) is not None and far.read(sent) is None
    call.now_ns += 3 * SECOND
    assert call.unprotect(far.packet(131_073)) is None, "the old key is over"


def test_our_new_key_begins_a_stream_that_everybody_counts_from_zero() -> None:
    call = SecureCall(make_keys(CM))
    call.call["tx"]["seq"], call.srtp["tx_index"] = 5, 3 << 16 | 4
    ssrc = int(call.call["tx"]["ssrc"])
    keys = make_keys(CM, 2)
    call.update(SrtpKeys(CM, keys.rx, call.keys.tx))
    assert int(call.call["tx"]["ssrc"]) == ssrc and int(call.srtp["tx_index"]) == 3 << 16 | 4
    call.update(keys)
    sent = call.protect()
    read = FarEnd(keys).read(sent or b"")
    assert read is not None and read.ssrc != ssrc and int(call.srtp["tx_index"]) < 0x8000


def test_a_protected_call_never_becomes_clear() -> None:
    call = SecureCall(make_keys(CM))
    with pytest.raises(NotAcceptable, match="stay so"):
        call.update(None)
    assert call.unprotect(FarEnd(call.keys).packet(1)) is not None


def test_a_clear_call_may_become_protected() -> None:
    call = CallUnderTest()
    secure = SecureCall.__new__(SecureCall)
    secure.__dict__.update(call.__dict__, keys=make_keys(CM))
    secure.update(secure.keys)
    far = FarEnd(secure.keys)
    sent = secure.protect()
    assert sent is not None and far.read(sent) is not None and secure.unprotect(far.packet(1)) is not None


@pytest.mark.parametrize("keys", [SrtpKeys("AES_CM_64", b"", b""), SrtpKeys(CM, bytes(28), bytes(30)), SrtpKeys(GCM, bytes(28), bytes(30))])
def test_keys_that_cannot_be_used_are_refused_before_anything_happens(keys: SrtpKeys) -> None:
    call = SecureCall(make_keys(CM))
    with pytest.raises(NotAcceptable):
        call.update(keys)
    with pytest.raises(NotAcceptable):
        call.rows.open("other", 0, MediaDescription("PCMU", 0, srtp=keys), 0)
    assert call.rows.find("other") is None and call.unprotect(FarEnd(call.keys).packet(1)) is not None


def test_no_key_is_left_after_the_call_nor_shown_by_any_text() -> None:
    keys = make_keys(CM)
    call = SecureCall(keys)
    assert keys.rx in call.worker.calls.tobytes() and keys.tx in call.worker.calls.tobytes()
    assert keys.rx.hex() not in repr(call.media) and str(keys.rx) not in repr(call.media) and "hidden" in repr(call.media)
    call.rows.close("call", call.now_ns)
    assert keys.rx not in call.worker.calls.tobytes() and keys.tx not in call.worker.calls.tobytes()
    assert not call.worker.sessions.any()
    assert call.rows.open("next", 0, call.media, call.now_ns + SECOND) is not None
