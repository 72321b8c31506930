"""Keys as RTP events, RFC 4733: one key told per press, however the far end stumbles.

Carriers lose the marker, lose the end packets, repeat both. So a press is known by its RTP timestamp, which is
the same in all its packets: the first packet of a new timestamp tells the key, all others are its repeats.
"""

import numpy as np

from media_workers.rtp import read_u16
from shm.jit import njit

KEYS = np.frombuffer(b"0123456789*#ABCD", np.uint8)
PAYLOAD_BYTES = 4
NO_KEY = -1
MIN_SPACING_TICKS = 320
"""Two presses of one key start 40 ms apart at the least. Some gateways step the timestamp within a long press,
by the packet interval, which is shorter than this."""
LONGEST_SEGMENT_TICKS = 0xFFFF
"""RFC 4733 2.5.1.3: a press longer than this goes on in a segment whose timestamp is so much later."""

KEY_PRESS = np.dtype([("is_known", "i8"), ("rtp_timestamp", "i8"), ("event", "i8"), ("duration", "i8"), ("has_ended", "i8")])


@njit
def take_key(press, payload, start, size, rtp_timestamp):
    """The ASCII code of a key that this packet is the first to tell, or NO_KEY."""
    if size < PAYLOAD_BYTES:
        return NO_KEY
    event, has_ended, duration = np.int64(payload[start]), np.int64(payload[start + 1]) >> 7, read_u16(payload, start + 2)
    if press["is_known"] != 0:
        step = (rtp_timestamp - press["rtp_timestamp"]) & 0xFFFFFFFF
        if step >= 0x80000000:
            return NO_KEY  # from before
        goes_on = step < MIN_SPACING_TICKS or step == LONGEST_SEGMENT_TICKS
        if step == 0 or (event == press["event"] and press["has_ended"] == 0 and goes_on):
            press["rtp_timestamp"] = rtp_timestamp
            press["duration"] = max(press["duration"], duration)
            press["has_ended"] |= has_ended if step == 0 else 0
            return NO_KEY
    press["is_known"] = 1
    press["rtp_timestamp"] = rtp_timestamp
    press["event"] = event
    press["duration"] = duration
    press["has_ended"] = has_ended
    if event >= KEYS.size:
        return NO_KEY
    return np.int64(KEYS[event])
