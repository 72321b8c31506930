"""G.711 by its formula: sign, segment and step of a code, in the 14 and 13 bits of the recommendation, shifted to 16."""

import functools

ULAW, ALAW = 0, 1


def decode(law: int, code: int) -> int:
    """The 16-bit sample of a code (ITU-T G.711, tables 1 and 2)."""
    if law == ULAW:
        inverted = code ^ 0xFF
        segment, step = inverted >> 4 & 7, inverted & 15
        magnitude = 4 * ((2 * step + 33) * 2**segment - 33)
        return -magnitude if inverted & 0x80 else magnitude
    even_bits = code ^ 0x55
    segment, step = even_bits >> 4 & 7, even_bits & 15
    magnitude = 8 * (2 * step + 1 if segment == 0 else (2 * step + 33) * 2 ** (segment - 1))
    return magnitude if even_bits & 0x80 else -magnitude


@functools.cache
def levels(law: int) -> tuple[int, ...]:
    return tuple(decode(law, code) for code in range(256))


def least_error(law: int, sample: int) -> int:
    """How far the nearest of all codes is from this sample."""
    return min(abs(level - sample) for level in levels(law))
