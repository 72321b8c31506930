"""Noise for the time in which nothing is said: what we send, and what an agent hears while the far end sends none (RFC 3389)."""

import numpy as np

COMFORT_NOISE_AMPLITUDE = 8
"""Peak of the noise: about -73 dBov, there but not heard. Digital zeros make far ends believe the line is dead."""
NOISE_DBOV = -73
NOISE_STARTS, NOISE_STEP = 8192, 2879
NOISE = np.random.default_rng(3389).integers(-COMFORT_NOISE_AMPLITUDE, COMFORT_NOISE_AMPLITUDE + 1, NOISE_STARTS + 2880).astype(np.int16)
"""Ready made: a generator's steps depend on each other, and cost more than all else in a silent packet."""
LOUDEST_DBOV, FAINTEST_DBOV = 30, 90
GAINS = np.array(
    [0 if level > FAINTEST_DBOV else max(1, round(10 ** ((-NOISE_DBOV - max(level, LOUDEST_DBOV)) / 20))) for level in range(128)]
)
"""By the level that a comfort noise packet names, in -dBov (RFC 3389 4): NOISE times this is about as loud. Nobody's silence is louder than
LOUDEST_DBOV."""
