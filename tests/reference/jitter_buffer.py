"""The order in which an agent gets packets, with unlimited numbers, a dictionary for what came early, and lists of samples.

What is right, in words: in sequence is told at once. A gap waits until its deadline or until sixteen packets lie
beyond it; then it is lost. What the timestamps say is missing is made up: concealed (for 60 ms) if packets were lost
just before, else comfort noise; a second or more, or a step back, only moves the position.
"""

from typing import NamedTuple

from tests.reference.packet_index import packet_index, timestamp_step

FRAME, RATE_HZ, SLOTS = 160, 8_000, 16
MIN_HOLD_NS, MAX_HOLD_NS = 10_000_000, 80_000_000
MADE_UP_AT_MOST, CONCEALED_AT_MOST = RATE_HZ, RATE_HZ * 60 // 1000
CONCEALED, NOISE, DISCONTINUITY = 2, 4, 8


class Packet(NamedTuple):
    timestamp: int
    pcm: tuple[int, ...]


class Frame(NamedTuple):
    position: int
    flags: int
    pcm: tuple[int | None, ...]
    """None: concealed, so anything."""


class JitterBuffer:
    """One stream that is never restarted: steps between its packets are below 3,000."""

    def __init__(self) -> None:
        self.expected: int | None = None
        self.expected_timestamp = 0
        self.early: dict[int, Packet] = {}
        self.came_ns: dict[int, int] = {}
        self.lost: set[int] = set()
        self.late = self.duplicates = self.reordered = self.lost_ever = 0
        self.gap_since_ns: int | None = None
        self.deadline_ns = 0
        self.hold_ns = MIN_HOLD_NS
        self.straggler_ns = 0
        self.jitter_x16, self.transit, self.arrivals = 0, 0, 0
        self.frames: list[Frame] = []
        self.position = self.partial_flags = self.concealed_in_a_row = 0
        self.partial: list[int | None] = []
        self.is_after_loss = False

    def insert(self, seq: int, packet: Packet, now_ns: int) -> None:
        if self.expected is None:
            self.expected, self.expected_timestamp = seq + 0x10000, packet.timestamp
        index = packet_index(self.expected, seq)
        self._measure(packet.timestamp, now_ns)
        if index < self.expected:
            self._take_straggler(index)
            return
        if index >= self.expected + SLOTS:
            self._go_on(index - SLOTS + 1, now_ns)
        if index in self.early:
            self.duplicates += 1
            return
        if index == self.expected and self.gap_since_ns is not None:
            self.reordered += 1
            self.straggler_ns = max(self.straggler_ns, min(now_ns - self.gap_since_ns, MAX_HOLD_NS))
        self.early[index], self.came_ns[index] = packet, now_ns
        self._go_on(0, now_ns)

    def expire(self, now_ns: int) -> None:
        while self.gap_since_ns is not None and now_ns >= self.deadline_ns:
            self._go_on(min(self.early), now_ns)

    def _go_on(self, given_up_below: int, now_ns: int) -> None:
        assert self.expected is not None
        while self.early or self.expected < given_up_below:
            if self.expected in self.early:
                self._tell(self.early.pop(self.expected))
            elif self.expected < given_up_below:
                self.lost.add(self.expected)
                self.lost_ever += 1
                self.is_after_loss = True
            else:
                if self.gap_since_ns is None:
                    jitter_ns = (self.jitter_x16 >> 4) * 1_000_000_000 // RATE_HZ
                    hold_ns = max(MIN_HOLD_NS, 2 * jitter_ns, self.straggler_ns * 5 // 4)
                    self.gap_since_ns = min(self.came_ns[index] for index in self.early)
                    self.deadline_ns = self.gap_since_ns + min(hold_ns, MAX_HOLD_NS)
                return
            self.gap_since_ns = None
            self.expected += 1
        self.gap_since_ns = None

    def _take_straggler(self, index: int) -> None:
        assert self.expected is not None
        if index in self.lost and self.expected - index <= 62:
            self.lost.remove(index)
            self.late += 1
            self.straggler_ns = min(max(2 * self.straggler_ns, 2 * MIN_HOLD_NS), MAX_HOLD_NS)
        else:
            self.duplicates += 1

    def _measure(self, timestamp: int, now_ns: int) -> None:
        """RFC 3550 A.8."""
        transit = now_ns // 1000 * RATE_HZ // 1_000_000 - timestamp
        if self.arrivals:
            change = abs(timestamp_step(transit % 2**32, self.transit % 2**32))
            if change < RATE_HZ:
                self.jitter_x16 += change - ((self.jitter_x16 + 8) >> 4)
        self.transit, self.arrivals = transit, self.arrivals + 1
        self.straggler_ns -= self.straggler_ns // 512

    def _tell(self, packet: Packet) -> None:
        missing = timestamp_step(packet.timestamp, self.expected_timestamp)
        if missing < 0 or missing > MADE_UP_AT_MOST:
            rest = -len(self.partial) % FRAME
            self._append((0,) * rest, NOISE)
            self.position += max(0, missing - rest)
            self.partial_flags |= DISCONTINUITY
            missing = 0
        while missing:
            count = min(missing, FRAME)
            if self.is_after_loss and self.concealed_in_a_row < CONCEALED_AT_MOST:
                self._append((None,) * count, CONCEALED)
                self.concealed_in_a_row += count
            else:
                self._append((0,) * count, NOISE)
            missing -= count
        self._append(packet.pcm, 0)
        self.expected_timestamp = (packet.timestamp + len(packet.pcm)) % 2**32
        self.concealed_in_a_row, self.is_after_loss = 0, False

    def _append(self, pcm: tuple[int | None, ...], flags: int) -> None:
        for sample in pcm:
            self.partial.append(sample)
            self.partial_flags |= flags
            if len(self.partial) == FRAME:
                self.frames.append(Frame(self.position, self.partial_flags, tuple(self.partial)))
                self.position += FRAME
                self.partial, self.partial_flags = [], 0
