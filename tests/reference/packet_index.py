"""Extended sequence numbers, by trying the three candidates (RFC 3711 3.3.1)."""


def packet_index(expected: int, seq: int) -> int:
    """Of all numbers that end in `seq`, the one nearest to `expected`; of two as near, the lower."""
    rounds = expected >> 16
    candidates = [(r << 16) + seq for r in (rounds - 1, rounds, rounds + 1)]
    return min(candidates, key=lambda index: (abs(index - expected), index))


def timestamp_step(newer: int, older: int) -> int:
    """The same for timestamps: the signed distance of less than half a round; exactly half counts as back."""
    step = (newer - older) % 2**32
    return step if step < 2**31 else step - 2**32
