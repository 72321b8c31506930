"""What ducking does to samples, one at a time, in exact fractions."""

from fractions import Fraction

UNITY = 32_768


def lower(pcm: list[int], taken: int, lowered_db: int, sample_rate_hz: int) -> tuple[list[int], int]:
    """The samples as they are said, and how much is taken away after them (in 1/32768), from how much was before."""
    target = round(UNITY * (1 - 10 ** (-lowered_db / 20)))
    step, said = UNITY // (sample_rate_hz // 100), []
    for sample in pcm:
        taken = min(taken + step, target) if taken < target else max(taken - step, target)
        exact = Fraction(sample * (UNITY - taken), UNITY)
        said.append(int((exact + Fraction(1, 2)).__floor__()))
    return said, taken
