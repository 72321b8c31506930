"""How good the call sounds to the agent, as a number: the E-model (ITU-T G.107), with all that nobody here can measure at its default.

One scale for all codecs, the narrow-band one: 4.4 is a perfect telephone call, below 3.6 many complain, below 3.1 nearly all.
"""

import numpy as np

from shm.jit import njit

EQUIPMENT = {
    #        impairment  robustness to loss    both of ITU-T G.113 appendix I
    "PCMU": (0.0, 25.1),  # with concealment (G.711 appendix I)
    "PCMA": (0.0, 25.1),
    "G729": (11.0, 19.0),
}
UNLISTED = (0.0, 20.0)
"""Wide-band codecs are better than this scale goes; what loss does to them is about what it does to others with concealment."""
PERFECT = 93.2  # R with all defaults of G.107
BOTHERING_DELAY_MS = 177.3  # delay beyond this hurts conversation (Cole and Rosenbluth's fit to G.107)

QUALITY = np.dtype(
    [
        ("impairment", "f8"),
        ("robustness", "f8"),
        ("intervals", "i8"),  # that the mean is of
        ("expected", "i8"),  # packets, when it was last measured
        ("missed", "i8"),
    ]
)


@njit
def rating(lost_percent, delay_ms, impairment, robustness):
    """R. `delay_ms` is one-way, from mouth to ear; losses are taken as independent of each other."""
    delay_impairment = 0.024 * delay_ms + 0.11 * max(0.0, delay_ms - BOTHERING_DELAY_MS)
    loss_impairment = impairment + (95.0 - impairment) * lost_percent / (lost_percent + robustness)
    return PERFECT - delay_impairment - loss_impairment


@njit
def mos(r):
    """The mean opinion score that goes with R: 1 to 4.5 (G.107 annex B)."""
    if r <= 0:
        return 1.0
    if r >= 100:
        return 4.5
    return max(1.0, 1 + 0.035 * r + r * (r - 60) * (100 - r) * 7e-6)
