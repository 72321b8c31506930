"""Keys as RTP events, RFC 4733: one key told per press, however the far end stumbles.

Carriers lose the marker, lose the end packets, repeat both. So a press is known by its RTP timestamp, which is
the same in all its packets: the first packet of a new timestamp tells the key, all others are its repeats.
What we send has all that RFC 4733 2.5.1 asks for; media_workers/playout.py says when.
"""

import numpy as np

from control_plane import dtmf
from media_workers.rtp import read_u16, write_u16
from shm.jit import njit

KEYS = np.frombuffer(dtmf.KEYS.encode(), np.uint8)
PAYLOAD_BYTES = 4
NO_KEY = -1
SPACINGS_PER_SECOND = 25
"""Two presses of one key start 40 ms apart at the least. Some gateways step the timestamp within a long press,
by the packet interval, which is shorter than this."""
END_PACKETS = 3  # RFC 4733 2.5.1.4
END_BIT = 0x80
VOLUME = 10  # -10 dBm0 (2.3.2): where receivers expect a telephone's keys
LONGEST_SEGMENT_TICKS = 0xFFFF
"""RFC 4733 2.5.1.3: a press longer than this goes on in a segment whose timestamp is so much later."""

MOST_KEYS, WINDOW_NS = 20, 1_000_000_000
"""Of a second: a dialler with the shortest tones and pauses (40 ms each) presses 12."""

BY_RTP, BY_INFO = 0, 1
PAIR_NS = 2_000_000_000
"""A press that comes both ways, as RTP events and by SIP INFO, comes the second time within this."""

KEY_PRESS = np.dtype(
    [
        ("is_known", "i8"),
        ("rtp_timestamp", "i8"),
        ("event", "i8"),
        ("duration", "i8"),
        ("has_ended", "i8"),
        ("unpaired", "i8", (2, 16)),  # by way and key: presses told that have not come the other way
        ("told_ns", "i8", (2, 16)),
        ("window_ns", "i8"),  # when the second began in which `keys` were told
        ("keys", "i8"),
    ]
)


@njit
def take_key(press, payload, start, size, rtp_timestamp, rtp_clock_hz):
    """The ASCII code of a key that this packet is the first to tell, or NO_KEY."""
    if size < PAYLOAD_BYTES:
        return NO_KEY
    event, has_ended, duration = np.int64(payload[start]), np.int64(payload[start + 1]) >> 7, read_u16(payload, start + 2)
    if press["is_known"] != 0:
        step = (rtp_timestamp - press["rtp_timestamp"]) & 0xFFFFFFFF
        if step >= 0x80000000:
            return NO_KEY  # from before
        goes_on = step < rtp_clock_hz // SPACINGS_PER_SECOND or step == LONGEST_SEGMENT_TICKS
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


@njit
def is_flood(press, now_ns):
    """Whether this key is one too many of its second. Counts it otherwise: an agent must not be drowned in presses that nobody made."""
    if now_ns - press["window_ns"] >= WINDOW_NS:
        press["window_ns"] = now_ns
        press["keys"] = 0
    press["keys"] += 1
    return press["keys"] > MOST_KEYS


@njit
def event_of(key):
    """The event code of a key's ASCII code, or NO_KEY."""
    for event in range(KEYS.size):
        if KEYS[event] == key:
            return event
    return NO_KEY


@njit
def write(packet, start, key, is_end, duration):
    """The payload for a key that has lasted for `duration` clock ticks; returns its octets."""
    packet[start] = event_of(key)
    packet[start + 1] = (END_BIT if is_end else 0) | VOLUME
    write_u16(packet, start + 2, min(duration, LONGEST_SEGMENT_TICKS))
    return PAYLOAD_BYTES


@njit
def is_news(press, event, way, now_ns):
    """Whether to tell this press. False: it was told when it came the other way; far ends send both, and INFO is the slower one."""
    if event >= KEYS.size:
        return False
    other = BY_INFO - way
    if press["unpaired"][other, event] > 0 and now_ns - press["told_ns"][other, event] < PAIR_NS:
        press["unpaired"][other, event] -= 1
        return False
    if now_ns - press["told_ns"][way, event] >= PAIR_NS:
        press["unpaired"][way, event] = 0
    press["unpaired"][way, event] += 1
    press["told_ns"][way, event] = now_ns
    return True
