"""The keys of a telephone, and what they sound like (ITU-T Q.23). Sent as events (RFC 4733) where that was agreed, else as tones."""

KEYS = "0123456789*#ABCD"
"""By event code, RFC 4733 3.2."""
PAUSE_KEY = ","
"""In what is to be pressed: half a second of silence, as in the dial strings of phones and modems."""
PAUSE_MS = 500
LOW_HZ, HIGH_HZ = (697, 770, 852, 941), (1209, 1336, 1477, 1633)
KEYPAD = ("123A", "456B", "789C", "*0#D")
"""A row for each of LOW_HZ, a column for each of HIGH_HZ."""
MAX_KEYS = 64  # longer than any number, card or account that is typed


def frequencies_hz(key: str) -> tuple[int, int]:
    """The low and the high tone of a key."""
    row = next(n for n, keys in enumerate(KEYPAD) if key in keys)
    return LOW_HZ[row], HIGH_HZ[KEYPAD[row].index(key)]


def why_not_keys(keys: str) -> str:
    """What is wrong with keys to be pressed, in words for whoever wrote them; empty: nothing."""
    if not 0 < len(keys) <= MAX_KEYS:
        return f"{len(keys)} keys cannot be pressed at once: give 1 to {MAX_KEYS}"
    wrong = next((key for key in keys.upper() if key not in KEYS + PAUSE_KEY), "")
    return f"{wrong!r} is no key: there are {KEYS}, and {PAUSE_KEY!r} waits for half a second" if wrong else ""
