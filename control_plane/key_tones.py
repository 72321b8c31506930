"""The tones of keys (ITU-T Q.23), for far ends that did not agree to telephone-events."""

import numpy as np
import numpy.typing as npt

from control_plane.dtmf import frequencies_hz

LOW_PEAK, HIGH_PEAK = 6_400, 8_060  # -11 and -9 dBm0, as telephones send: the high tone 2 dB above (ITU-T Q.23, ETSI ES 201 235-2)
RAMP_MS = 2  # a tone cut square clicks, and the click is heard as other tones


def tone(key: str, samples: int, rate_hz: int) -> npt.NDArray[np.int16]:
    """The two tones of a key (ITU-T Q.23)."""
    low_hz, high_hz = frequencies_hz(key)
    time_s = np.arange(samples) / rate_hz
    pcm = LOW_PEAK * np.sin(2 * np.pi * low_hz * time_s) + HIGH_PEAK * np.sin(2 * np.pi * high_hz * time_s)
    ramp = np.linspace(0, 1, rate_hz * RAMP_MS // 1000)
    pcm[: ramp.size] *= ramp
    pcm[samples - ramp.size :] *= ramp[::-1]
    return np.asarray(np.round(pcm), np.int16)
