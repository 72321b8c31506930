"""The audio end of the scripted phone: RTP both ways (RFC 3550, 3551, 4733), without I/O, and what it heard of it.

Packets leave on an absolute grid of 20 ms. Both directions are kept on one time line, so that a recording shows who
spoke when: what we send at the moment it leaves, what we receive where its RTP timestamp says, anchored at the first
packet. Only for one call at a time: speech is told from silence by its level, in plain numpy.
"""

import math
import struct
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from control_plane import g711

Pcm = npt.NDArray[np.int16]
HEADER = struct.Struct("!BBHII")  # RFC 3550 5.1
EVENT = struct.Struct("!BBH")  # RFC 4733 2.3
VERSION_2, PADDING, EXTENSION, MARKER = 0x80, 0x20, 0x10, 0x80
END_OF_EVENT = 0x80
KEYS = "0123456789*#ABCD"
RATE_HZ = 8_000
PTIME_NS, PTIME_SAMPLES = 20_000_000, 160
KEY_FRAMES, KEY_END_REPEATS, KEY_VOLUME = 6, 3, 10  # 120 ms; RFC 4733 2.5.1.4: the end is sent three times
CATCH_UP_FRAMES = 50  # a machine that slept a second sends what is due; after more it starts the grid anew
LOUD_DBOV = -45.0
SILENT_DBOV = -62.0  # nobody hears it; our server's comfort noise is at -73, a soft consonant above
ONSET_FRAMES = 2  # as the media worker: less is a click
SPURT_ENDS_NS = 400_000_000
LATE_NS = 20_000_000
ANCHOR_AGAIN_SAMPLES = RATE_HZ // 4  # the far end's clock jumped: it began a new stream
MAX_FRAMES = 50 * 3_600  # an hour
ROOM_NOISE = 12  # amplitude of what a quiet room sends: -65 dBov or so


class Spurt(NamedTuple):
    began_ns: int
    ended_ns: int


class Quality(msgspec.Struct, frozen=True):
    """What arrived. Late: more than 20 ms behind the earliest packet of the stream, by its timestamp."""

    received: int
    lost: int
    duplicates: int
    reordered: int
    late: int
    latest_ms: float
    longest_gap_ms: float
    sent: int


class Talk:
    """Who speaks, out of the level of one frame after the other."""

    def __init__(self) -> None:
        self.spurts: list[Spurt] = []
        """Those that are over."""
        self.began_ns = 0
        """Of the present talk-spurt; 0: silence."""
        self.quiet_since_ns = 0
        """When the first frame after the last loud one came."""
        self.silent_since_ns = 0
        """When the first frame that nobody can hear came, after the last that one can."""
        self._first_loud_ns = 0
        self._loud = 0

    def add(self, pcm: Pcm, at_ns: int) -> None:
        level = level_dbov(pcm)
        self.silent_since_ns = 0 if level > SILENT_DBOV else self.silent_since_ns or at_ns
        if level > LOUD_DBOV:
            self._first_loud_ns = self._first_loud_ns if self._loud else at_ns
            self._loud += 1
            if self._loud >= ONSET_FRAMES or self.began_ns:
                self.began_ns = self.began_ns or self._first_loud_ns
                self.quiet_since_ns = 0
            return
        self._loud = 0
        self.quiet_since_ns = self.quiet_since_ns or at_ns
        if self.began_ns and at_ns - self.quiet_since_ns >= SPURT_ENDS_NS:
            self.finish()

    def finish(self, at_ns: int = 0) -> None:
        if self.began_ns:
            self.spurts.append(Spurt(self.began_ns, self.quiet_since_ns or at_ns))
            self.began_ns = 0

    def quiet_ns(self, now_ns: int) -> int:
        """How long nobody has spoken."""
        return now_ns - self.quiet_since_ns if self.quiet_since_ns else 0

    def silent_ns(self, now_ns: int) -> int:
        """How long there was nothing to hear at all."""
        return now_ns - self.silent_since_ns if self.silent_since_ns else 0


def level_dbov(pcm: Pcm) -> float:
    power = float((pcm.astype(np.float64) ** 2).mean()) if pcm.size else 0.0
    return 10 * math.log10(max(power, 1e-3) / (32768.0**2 / 2))


class Line:
    """No socket and no clock: `poll` gives what is due, `receive` takes what came."""

    def __init__(self, codec_id: int, payload_type: int, key_payload_type: int, ssrc: int, now_ns: int, seed: int = 0) -> None:
        self.codec_id, self.payload_type, self.key_payload_type, self.ssrc = codec_id, payload_type, key_payload_type, ssrc
        self.origin_ns = now_ns
        self.next_ns = now_ns
        """When the next packet must leave."""
        self.ours, self.theirs = Talk(), Talk()
        self.onset_ns = 0
        """When the first loud packet of what is being said left."""
        self.keys: list[tuple[int, str]] = []
        self.sent = 0
        self._random = np.random.default_rng(seed)
        self._seq, self._timestamp = int(self._random.integers(1 << 15)), int(self._random.integers(1 << 31))
        self._speech: Pcm = np.zeros(0, np.int16)
        self._key: tuple[str, int, int] | None = None  # key, packets sent of it, its timestamp
        self._left: list[tuple[int, Pcm]] = []
        self._right: list[tuple[int, Pcm]] = []
        self._arrivals = _Arrivals(now_ns)

    # ---- sending ----------------------------------------------------------------------------------------------

    def say(self, pcm: Pcm) -> None:
        """From the next packet on; what was being said is dropped."""
        self._speech, self.onset_ns = pcm, 0

    def press(self, key: str) -> None:
        """120 ms, as soon as the key before is done. Raises ValueError for what is no key."""
        if key not in KEYS or len(key) != 1:
            raise ValueError(f"{key!r} is not a key: press one of {KEYS}")
        self._key = (key, 0, 0)

    @property
    def is_busy(self) -> bool:
        """Something to say, or a key held down."""
        return self._speech.size > 0 or self._key is not None

    def poll(self, now_ns: int) -> list[bytes]:
        """The packets that are due."""
        if now_ns - self.next_ns > CATCH_UP_FRAMES * PTIME_NS:
            behind = (now_ns - self.next_ns) // PTIME_NS
            self.next_ns += behind * PTIME_NS
            self._timestamp += behind * PTIME_SAMPLES
        packets = []
        while self.next_ns <= now_ns:
            packets.append(self._key_packet(now_ns) if self._key else self._audio_packet(now_ns))
            self.next_ns += PTIME_NS
            self._timestamp = self._timestamp + PTIME_SAMPLES & 0xFFFFFFFF
            self._seq = self._seq + 1 & 0xFFFF
            self.sent += 1
        return packets

    def _audio_packet(self, now_ns: int) -> bytes:
        pcm, self._speech = self._speech[:PTIME_SAMPLES], self._speech[PTIME_SAMPLES:]
        is_speech = pcm.size > 0
        noise = self._random.integers(-ROOM_NOISE, ROOM_NOISE + 1, PTIME_SAMPLES - pcm.size).astype(np.int16)
        pcm = np.concatenate((pcm, noise)) if noise.size else pcm
        self.ours.add(pcm, now_ns)
        if is_speech and not self.onset_ns and level_dbov(pcm) > LOUD_DBOV:
            self.onset_ns = now_ns
        if len(self._left) < MAX_FRAMES:
            self._left.append((self._position(self.next_ns), pcm))
        marker = MARKER if self.sent == 0 else 0
        return HEADER.pack(VERSION_2, marker | self.payload_type, self._seq, self._timestamp, self.ssrc) + g711.encode(self.codec_id, pcm)

    def _key_packet(self, now_ns: int) -> bytes:
        assert self._key
        key, count, timestamp = self._key
        if count == 0:
            timestamp = self._timestamp
            self.keys.append((now_ns, key))
        is_end = count >= KEY_FRAMES
        duration = min(count + 1, KEY_FRAMES + 1) * PTIME_SAMPLES
        self._key = (key, count + 1, timestamp) if count + 1 < KEY_FRAMES + KEY_END_REPEATS else None
        self.ours.add(np.zeros(0, np.int16), now_ns)
        head = HEADER.pack(VERSION_2, (MARKER if count == 0 else 0) | self.key_payload_type, self._seq, timestamp, self.ssrc)
        return head + EVENT.pack(KEYS.index(key), (END_OF_EVENT if is_end else 0) | KEY_VOLUME, duration)

    # ---- receiving --------------------------------------------------------------------------------------------

    def receive(self, packet: bytes, now_ns: int) -> None:
        """One datagram. What is not audio of the agreed kind is ignored."""
        if len(packet) < HEADER.size:
            return
        first, second, seq, timestamp, ssrc = HEADER.unpack_from(packet)
        if first & 0xC0 != VERSION_2 or second & 0x7F != self.payload_type:
            return
        start = HEADER.size + 4 * (first & 0x0F)
        if first & EXTENSION and len(packet) >= start + 4:
            start += 4 + 4 * int.from_bytes(packet[start + 2 : start + 4], "big")
        payload = packet[start : len(packet) - (packet[-1] if first & PADDING else 0)]
        if not payload or not self._arrivals.add(seq, timestamp, ssrc, now_ns):
            return
        pcm = g711.decode(self.codec_id, payload)
        self.theirs.add(pcm, now_ns)
        if len(self._right) < MAX_FRAMES:
            self._right.append((self._position(self._arrivals.placed_ns), pcm))

    def quality(self) -> Quality:
        return self._arrivals.quality(self.sent)

    # ---- what it was ------------------------------------------------------------------------------------------

    def _position(self, at_ns: int) -> int:
        return (at_ns - self.origin_ns) * RATE_HZ // 1_000_000_000

    def recording(self) -> Pcm:
        """(samples, 2) int16 at 8 kHz: what we sent, and what we received. Begins at `origin_ns`."""
        size = max((position + pcm.size for position, pcm in (*self._left[-1:], *self._right[-1:])), default=0)
        stereo = np.zeros((max(size, 0), 2), np.int16)
        for side, frames in enumerate((self._left, self._right)):
            for position, pcm in frames:
                place = stereo[max(position, 0) : position + pcm.size, side]
                place[:] = pcm[pcm.size - place.size :] if position < 0 else pcm[: place.size]
        return stereo


class _Arrivals:
    """Loss, order and lateness of one stream, and where on our time line each packet belongs."""

    def __init__(self, now_ns: int) -> None:
        self.placed_ns = now_ns
        self._ssrc: int | None = None
        self._anchor_ns = self._anchor_timestamp = 0
        self._first = self._highest = 0
        self._seen: set[int] = set()
        self._transits_ns: list[int] = []  # arrival less timestamp, of this stream
        self._lateness_ns: list[int] = []  # of streams before
        self._last_ns = 0
        self._lost_before = self._received = self._duplicates = self._reordered = self._longest_gap_ns = 0

    def add(self, seq: int, timestamp: int, ssrc: int, now_ns: int) -> bool:
        """False: a duplicate."""
        elapsed_ns = _signed(timestamp - self._anchor_timestamp, 32) * 1_000_000_000 // RATE_HZ
        is_new = ssrc != self._ssrc or abs(self._anchor_ns + elapsed_ns - now_ns) > ANCHOR_AGAIN_SAMPLES * 1_000_000_000 // RATE_HZ
        if is_new:
            self._begin(seq, timestamp, ssrc, now_ns)
            elapsed_ns = 0
        index = self._highest + _signed(seq - self._highest, 16)
        if index in self._seen:
            self._duplicates += 1
            return False
        self._seen.add(index)
        self._received += 1
        self._reordered += index < self._highest
        self._highest = max(self._highest, index)
        self._longest_gap_ns = max(self._longest_gap_ns, now_ns - self._last_ns if self._last_ns else 0)
        self._last_ns = now_ns
        self._transits_ns.append(now_ns - elapsed_ns)
        self._anchor_ns = min(self._anchor_ns, now_ns - elapsed_ns)  # the packet that was fastest shows where the grid is
        self.placed_ns = self._anchor_ns + elapsed_ns
        return True

    def _begin(self, seq: int, timestamp: int, ssrc: int, now_ns: int) -> None:
        self._lost_before += self._lost()
        self._lateness_ns += self._lateness()
        self._transits_ns.clear()
        self._ssrc, self._anchor_ns, self._anchor_timestamp = ssrc, now_ns, timestamp
        self._first, self._highest = seq, seq
        self._seen.clear()

    def _lost(self) -> int:
        return self._highest - self._first + 1 - sum(index >= self._first for index in self._seen) if self._seen else 0

    def _lateness(self) -> list[int]:
        earliest = min(self._transits_ns, default=0)
        return [transit - earliest for transit in self._transits_ns]

    def quality(self, sent: int) -> Quality:
        lateness = np.array([0, *self._lateness_ns, *self._lateness()])
        return Quality(
            received=self._received,
            lost=self._lost_before + self._lost(),
            duplicates=self._duplicates,
            reordered=self._reordered,
            late=int((lateness > LATE_NS).sum()),
            latest_ms=round(float(lateness.max()) / 1e6, 2),
            longest_gap_ms=round(self._longest_gap_ns / 1e6, 2),
            sent=sent,
        )


def _signed(difference: int, bits: int) -> int:
    """The difference of two counters that wrap."""
    difference &= (1 << bits) - 1
    return difference - (1 << bits) if difference >> bits - 1 else difference
