"""SRTP (RFC 3711): packets are protected and unprotected in place, within the duty cycle, by libsrtp.

What must survive a worker is in the call's row: the keys, the index that was sent last, and of each SSRC that has
proved to have the key the highest index and which of the ones before it came. libsrtp's sessions are made from the
row by every worker process for itself. The row decides about replays, and tells libsrtp the roll-over counter; so
a successor hears nothing twice. It sends nothing twice either: an index is in the row before it is used, and the
successor leaves some out.

SRTP whose keys are being changed lets nothing pass, in or out, until they are whole: it never falls back to clear.
"""

import secrets
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from control_plane.errors import NotAcceptable
from control_plane.messages import SrtpKeys
from control_plane.srtp_suites import SUITES, Suite
from media_workers import libsrtp, rtp
from media_workers.jitter_buffer import packet_index
from shm.copying import copy
from shm.counters import CALL_COLUMN, WORKER
from shm.jit import njit

if TYPE_CHECKING:
    from media_workers.call_table import Worker

CLEAR, KEYS_INCOMPLETE = 0, -1
"""Values of `suite` besides the numbers of SUITES."""
SECRET_BYTES = 48
MAX_SOURCES = 16  # SSRCs under one key: one a call as a rule, another one after some transfers
WINDOW = 64  # packets behind the highest of which it is known whether they came (RFC 3711 3.3.2: 64 at least)
INDEX_SKIP = 32
"""What a successor leaves out: more packets than one pass sends, although each index was in the row before it was used."""
OLD_KEY_NS = 2_000_000_000  # packets under the keys before may still be on their way
MIN_RTCP_BYTES, RTCP_INDEX_BYTES, CM_RTCP_TAG_BYTES = 8, 4, 10
MAX_RTCP_STEPS = 2_000
"""libsrtp counts SRTCP by itself and from one: what a successor must step over is stepped over in parts of about 1 ms."""
REFUSED = -1

RX_SOURCE = np.dtype(
    [
        ("ssrc", "i8"),
        ("highest", "i8"),  # 48-bit packet index
        ("window", "i8"),  # bit d: the packet d before it came
        ("is_proven", "i8"),  # 0: only expected under these keys; the roll-over counter is a guess
        ("rtcp_highest", "i8"),
        ("rtcp_window", "i8"),
    ]
)
SRTP = np.dtype(
    [
        ("suite", "i8"),  # written last
        ("rx_secret", "u1", SECRET_BYTES),  # master key and salt
        ("tx_secret", "u1", SECRET_BYTES),
        ("tx_index", "i8"),  # sent last, with its roll-over counter
        ("rtcp_tx_index", "i8"),
        ("sources", "i8"),  # used of `rx`
        ("current", "i8"),  # of them, the one heard last
        ("stranger", "i8"),  # SSRC << 16 | sequence number, plus one, of a packet that nobody could prove; 0: none
        ("rx", RX_SOURCE, MAX_SOURCES),
    ]
)

SESSION_COLUMNS = 5
RX, TX, OLD_RX, OLD_RX_UNTIL_NS, RTCP_SENT = range(SESSION_COLUMNS)
"""Columns of `worker.sessions`, which is memory of this process alone: pointers of libsrtp's, and what it has counted."""

CALL_AUTH_FAILED, CALL_REPLAYED = CALL_COLUMN["srtp_auth_failed"], CALL_COLUMN["srtp_replayed"]
AUTH_FAILED, REPLAYED = WORKER["srtp_auth_failed"], WORKER["srtp_replayed"]


# ---- RTP ---------------------------------------------------------------------------------------------------------


@njit
def protect(worker, row, size):
    """The RTP packet in own["packet"], in place; its new size. REFUSED: it must not be sent. A call in the clear: as it is."""
    own, srtp = worker.own[0], worker.calls[row]["srtp"]
    if srtp["suite"] == CLEAR:
        return size
    index = packet_index(srtp["tx_index"] + 1, rtp.read_u16(own["packet"], 2))
    session = worker.sessions[row, TX]
    if srtp["suite"] < 0 or session == 0 or index <= srtp["tx_index"]:
        return REFUSED
    srtp["tx_index"] = index  # first: should we die here, the successor goes on behind it
    if index > 0xFFFF:
        libsrtp.set_roc(session, rtp.read_u32(own["packet"], 8), index >> 16)
    own["octets"][0] = size
    return own["octets"][0] if libsrtp.protect(session, own["packet"], own["octets"]) == libsrtp.OK else REFUSED


@njit
def unprotect(worker, row, size, now_ns):
    """The RTP packet in own["packet"], in place; its new size. REFUSED: it is not the far end's, or came before; counted.

    own["is_newest"] tells whether it is ahead of all that came. A call in the clear: as it is.
    """
    own, srtp = worker.own[0], worker.calls[row]["srtp"]
    own["is_newest"] = 0
    if srtp["suite"] == CLEAR:
        return size
    session = worker.sessions[row, RX]
    if srtp["suite"] < 0 or session == 0 or size < rtp.HEADER_BYTES or size > rtp.MAX_PACKET_BYTES:
        return _refuse(worker, row, AUTH_FAILED, CALL_AUTH_FAILED)
    seq, ssrc = rtp.read_u16(own["packet"], 2), rtp.read_u32(own["packet"], 8)
    at, index = _find(srtp, ssrc), seq
    is_proven = False
    if at >= 0:
        index = packet_index(srtp["rx"][at]["highest"], seq)
        index += 0x10000 if index < 0 else 0
        is_proven = srtp["rx"][at]["is_proven"] != 0
        if is_proven and _was_seen(srtp["rx"][at]["highest"], srtp["rx"][at]["window"], index):
            return _refuse(worker, row, REPLAYED, CALL_REPLAYED)
    has_old_key = worker.sessions[row, OLD_RX] != 0 and now_ns < worker.sessions[row, OLD_RX_UNTIL_NS]
    may_retry = has_old_key or (at >= 0 and not is_proven)
    if may_retry:
        copy(own["spare"], 0, own["packet"], 0, size)  # AES-GCM has written over it when it finds that it must not
    status = _try(own, session, ssrc, index, at, size)
    if status != libsrtp.OK and at >= 0 and not is_proven and index > 0xFFFF:
        copy(own["packet"], 0, own["spare"], 0, size)
        index = seq  # some begin again at 0 with new keys, although RFC 3711 3.3.1 says that the counter goes on
        status = _try(own, session, ssrc, index, at, size)
    if status == libsrtp.OK:
        _remember(worker, row, at, ssrc, index)
        return own["octets"][0]
    if has_old_key:
        copy(own["packet"], 0, own["spare"], 0, size)
        own["octets"][0] = size
        if libsrtp.unprotect(worker.sessions[row, OLD_RX], own["packet"], own["octets"]) == libsrtp.OK:
            return own["octets"][0]
    if status == libsrtp.REPLAY_FAILED or status == libsrtp.REPLAY_OLD or status == libsrtp.INDEX_OLD:
        return _refuse(worker, row, REPLAYED, CALL_REPLAYED)
    if at < 0 and srtp["rx"][srtp["current"]]["is_proven"] == 0:
        srtp["stranger"] = (ssrc << 16 | seq) + 1
    return _refuse(worker, row, AUTH_FAILED, CALL_AUTH_FAILED)


@njit
def _try(own, session, ssrc, index, at, size):
    if at >= 0:
        libsrtp.set_roc(session, ssrc, index >> 16)  # 0 leaves the guess to libsrtp, which then guesses the same
    own["octets"][0] = size
    return libsrtp.unprotect(session, own["packet"], own["octets"])


@njit
def _refuse(worker, row, column, call_column):
    worker.totals[0, column] += 1
    worker.shown[row]["counters"][call_column] += 1
    return REFUSED


# ---- RTCP --------------------------------------------------------------------------------------------------------


@njit
def protect_rtcp(worker, row, packet, size):
    """The compound RTCP packet in `packet`, in place (20 octets more at most); its new size. REFUSED: it must not be sent."""
    own, srtp, sessions = worker.own[0], worker.calls[row]["srtp"], worker.sessions[row]
    if srtp["suite"] == CLEAR:
        return size
    session = sessions[TX]
    if srtp["suite"] < 0 or session == 0 or size < MIN_RTCP_BYTES:
        return REFUSED
    for _ in range(min(MAX_RTCP_STEPS, srtp["rtcp_tx_index"] - sessions[RTCP_SENT])):
        copy(own["spare"], 0, packet, 0, MIN_RTCP_BYTES)
        own["octets"][0] = MIN_RTCP_BYTES
        libsrtp.protect_rtcp(session, own["spare"], own["octets"])
        sessions[RTCP_SENT] += 1
    if sessions[RTCP_SENT] < srtp["rtcp_tx_index"]:
        return REFUSED  # the next report gets further
    srtp["rtcp_tx_index"] += 1  # first, as with RTP
    own["octets"][0] = size
    status = libsrtp.protect_rtcp(session, packet, own["octets"])
    sessions[RTCP_SENT] += 1
    return own["octets"][0] if status == libsrtp.OK else REFUSED


@njit
def unprotect_rtcp(worker, row, size):
    """The compound RTCP packet in own["packet"], in place; its new size. REFUSED: counted."""
    own, srtp = worker.own[0], worker.calls[row]["srtp"]
    if srtp["suite"] == CLEAR:
        return size
    session = worker.sessions[row, RX]
    tag_bytes = 0 if srtp["suite"] <= LAST_AEAD else CM_RTCP_TAG_BYTES  # the index is behind the tag of an AEAD, before the other
    at_index = size - tag_bytes - RTCP_INDEX_BYTES
    if srtp["suite"] < 0 or session == 0 or at_index < MIN_RTCP_BYTES or size > rtp.MAX_PACKET_BYTES:
        return _refuse(worker, row, AUTH_FAILED, CALL_AUTH_FAILED)
    ssrc, index = rtp.read_u32(own["packet"], 4), rtp.read_u32(own["packet"], at_index) & 0x7FFFFFFF
    at = _find(srtp, ssrc)
    if at >= 0 and _was_seen(srtp["rx"][at]["rtcp_highest"], srtp["rx"][at]["rtcp_window"], index):
        return _refuse(worker, row, REPLAYED, CALL_REPLAYED)
    own["octets"][0] = size
    status = libsrtp.unprotect_rtcp(session, own["packet"], own["octets"])
    if status == libsrtp.REPLAY_FAILED or status == libsrtp.REPLAY_OLD:
        return _refuse(worker, row, REPLAYED, CALL_REPLAYED)
    if status != libsrtp.OK:
        return _refuse(worker, row, AUTH_FAILED, CALL_AUTH_FAILED)
    if at < 0:
        at = _add(worker, row, ssrc)
    source = srtp["rx"][at]
    source["rtcp_window"] = _window(source["rtcp_highest"], source["rtcp_window"], index)
    source["rtcp_highest"] = max(source["rtcp_highest"], index)
    return own["octets"][0]


# ---- what came ---------------------------------------------------------------------------------------------------


@njit
def _find(srtp, ssrc):
    """Where in `rx` this SSRC is; -1: it has not been heard under these keys."""
    if srtp["sources"] > 0 and srtp["rx"][srtp["current"]]["ssrc"] == ssrc:
        return srtp["current"]
    for at in range(srtp["sources"]):
        if srtp["rx"][at]["ssrc"] == ssrc:
            return at
    return -1


@njit
def _add(worker, row, ssrc):
    """A place for an SSRC that has proved to have the key. When there is none left, the oldest is forgotten, by libsrtp too."""
    srtp = worker.calls[row]["srtp"]
    at = srtp["sources"]
    if at == MAX_SOURCES:
        at = (srtp["current"] + 1) % MAX_SOURCES
        libsrtp.remove_stream(worker.sessions[row, RX], srtp["rx"][at]["ssrc"])
    source = srtp["rx"][at]
    source["ssrc"] = ssrc
    source["highest"] = source["rtcp_highest"] = -1
    source["window"] = source["rtcp_window"] = source["is_proven"] = 0
    srtp["sources"] = max(srtp["sources"], at + 1)
    return at


@njit
def _remember(worker, row, at, ssrc, index):
    srtp = worker.calls[row]["srtp"]
    if at < 0:
        at = _add(worker, row, ssrc)
    source = srtp["rx"][at]
    highest = source["highest"] if source["is_proven"] != 0 else -1
    source["window"] = _window(highest, source["window"], index)
    source["highest"] = max(highest, index)
    source["is_proven"] = 1
    srtp["current"] = at
    worker.own[0]["is_newest"] = 1 if index > highest else 0


@njit
def _was_seen(highest, window, index):
    """Or is so old that nobody knows."""
    back = highest - index
    return back >= 0 and (back >= WINDOW or (window >> back) & 1 != 0)


@njit
def _window(highest, window, index):
    """`window` with this index in it, seen from the higher of the two."""
    step = index - highest
    if step <= 0:
        return window | np.int64(1) << np.int64(-step)
    return (window << np.int64(step) if step < WINDOW and highest >= 0 else np.int64(0)) | np.int64(1)


# ---- Python's side: keys come and go -------------------------------------------------------------------------------


LAST_AEAD = SUITES["AEAD_AES_256_GCM"].number
_BY_NUMBER = {suite.number: suite for suite in SUITES.values()}



def check(keys: SrtpKeys | None, *, is_protected: bool) -> None:
    """Raises NotAcceptable for keys that `set_keys` could not take."""
    if keys is None:
        if is_protected:
            raise NotAcceptable("the call is protected by SRTP and must stay so")
        return
    suite = SUITES.get(keys.suite)
    if suite is None:
        raise NotAcceptable(f"no such SRTP suite: {keys.suite}; there are {', '.join(SUITES)}")
    if not len(keys.rx) == len(keys.tx) == suite.secret_bytes:
        raise NotAcceptable(f"{suite.name} takes {suite.secret_bytes} octets of key and salt; {len(keys.rx)} and {len(keys.tx)} were given")


def set_keys(worker: "Worker", row: int, keys: SrtpKeys, now_ns: int) -> None:
    """Keys that `check` has passed, for a call that may have others. The same ones again change nothing.

    Indices go on under new keys (RFC 3711 3.3.1). Where ours have rolled over, a far end that begins anew could not
    know: our stream then gets another SSRC and begins at 0, which everybody reads alike.
    """
    call, sessions, suite = worker.calls[row], worker.sessions[row], SUITES[keys.suite]
    srtp, tx = call["srtp"], call["tx"]
    is_first = srtp["suite"] == CLEAR
    is_other = is_first or srtp["suite"] != suite.number
    is_other_rx = is_other or _secret(srtp["rx_secret"], suite) != keys.rx
    is_other_tx = is_other or _secret(srtp["tx_secret"], suite) != keys.tx
    srtp["suite"] = KEYS_INCOMPLETE
    if is_other_rx:
        _write_secret(srtp["rx_secret"], keys.rx)
        for source in srtp["rx"][: int(srtp["sources"]) if sessions[RX] else 0]:
            libsrtp.set_roc(int(sessions[RX]), int(source["ssrc"]), 0)  # left alone from now on, it must count for itself
        _expect_again(srtp)
        libsrtp.close_session(int(sessions[OLD_RX]))
        sessions[OLD_RX], sessions[OLD_RX_UNTIL_NS] = sessions[RX], now_ns + OLD_KEY_NS
        sessions[RX] = _open_rx(srtp, suite, keys.rx)
    if is_other_tx:
        _write_secret(srtp["tx_secret"], keys.tx)
        if is_first:
            srtp["tx_index"] = int(tx["seq"]) - 1
        elif srtp["tx_index"] > 0xFFFF:
            tx["ssrc"], tx["seq"], tx["marker"] = secrets.randbits(32), secrets.randbits(15), 1
            srtp["tx_index"] = int(tx["seq"]) - 1
        _reopen_tx(worker, row, suite, keys.tx)
    srtp["suite"] = suite.number


def restore(worker: "Worker", row: int) -> None:
    """In a worker that takes over: sessions from what is in the row, and a send index that nobody has used."""
    call, sessions = worker.calls[row], worker.sessions[row]
    srtp, tx = call["srtp"], call["tx"]
    suite = _BY_NUMBER.get(int(srtp["suite"]))
    if suite is None:
        return  # in the clear; or its keys were being written, and then nothing passes until they come again
    following = max(int(srtp["tx_index"]) + 1, int(packet_index(int(srtp["tx_index"]) + 1, int(tx["seq"])))) + INDEX_SKIP
    srtp["tx_index"], tx["seq"] = following - 1, following & 0xFFFF
    srtp["rtcp_tx_index"] += 1
    sessions[RX] = _open_rx(srtp, suite, _secret(srtp["rx_secret"], suite))
    _reopen_tx(worker, row, suite, _secret(srtp["tx_secret"], suite))


def adopt_strangers(worker: "Worker", rows: slice) -> None:
    """Give streams that could not be read another chance: their sequence numbers may have rolled over before we heard them.

    That happens to 0.8 % of calls that had ten seconds of early media. Now and then, not with each packet: a stream
    costs as much to make as fifty packets to refuse, and anybody can send what looks like one.
    """
    for offset in np.flatnonzero(worker.calls["srtp"]["stranger"][rows]):
        _adopt_stranger(worker, rows.start + int(offset))


def _adopt_stranger(worker: "Worker", row: int) -> None:
    srtp, session = worker.calls[row]["srtp"], int(worker.sessions[row, RX])
    ssrc, seq = divmod(int(srtp["stranger"]) - 1, 0x10000)
    srtp["stranger"] = 0
    suite = _BY_NUMBER.get(int(srtp["suite"]))
    if suite is None or not session or srtp["rx"][int(srtp["current"])]["is_proven"] or _find(srtp, ssrc) >= 0:
        return
    at = min(int(srtp["sources"]), 1)  # behind one that is expected under new keys; in the place of the stranger before
    if at < srtp["sources"]:
        libsrtp.remove_stream(session, int(srtp["rx"][at]["ssrc"]))
    srtp["rx"][at] = np.zeros((), RX_SOURCE)
    srtp["rx"][at]["ssrc"], srtp["rx"][at]["highest"], srtp["rx"][at]["rtcp_highest"] = ssrc, 0x10000 | seq, -1
    srtp["sources"] = at + 1
    libsrtp.add_stream(session, suite, _secret(srtp["rx_secret"], suite), ssrc)


def forget(worker: "Worker", row: int) -> None:
    """The call is over, or there is none yet: neither keys nor sessions are left."""
    sessions = worker.sessions[row]
    for column in (RX, TX, OLD_RX):
        libsrtp.close_session(int(sessions[column]))
    sessions[:] = 0
    worker.calls[row]["srtp"] = np.zeros((), SRTP)


def _open_rx(srtp: np.void, suite: Suite, secret: bytes) -> int:
    known = [int(source["ssrc"]) for source in srtp["rx"][: int(srtp["sources"])]]
    return libsrtp.open_session(suite, secret, known, takes_any=True)


def _reopen_tx(worker: "Worker", row: int, suite: Suite, secret: bytes) -> None:
    sessions = worker.sessions[row]
    libsrtp.close_session(int(sessions[TX]))
    sessions[TX], sessions[RTCP_SENT] = libsrtp.open_session(suite, secret, [int(worker.calls[row]["tx"]["ssrc"])]), 0


def _expect_again(srtp: np.void) -> None:
    """New keys: what came under the old ones says nothing, but the stream heard last probably goes on as it was."""
    kept = srtp["rx"][int(srtp["current"])].copy() if srtp["sources"] else None
    srtp["rx"], srtp["sources"], srtp["current"] = np.zeros((), RX_SOURCE), 0, 0
    if kept is not None:
        srtp["rx"][0]["ssrc"], srtp["rx"][0]["highest"], srtp["rx"][0]["rtcp_highest"] = kept["ssrc"], kept["highest"], -1
        srtp["sources"] = 1


def _secret(field: npt.NDArray[np.uint8], suite: Suite) -> bytes:
    return field[: suite.secret_bytes].tobytes()


def _write_secret(field: npt.NDArray[np.uint8], secret: bytes) -> None:
    field[:] = 0
    field[: len(secret)] = np.frombuffer(secret, np.uint8)
