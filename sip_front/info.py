"""Keys by SIP INFO, as phones and gateways send them instead of RFC 4733: no RFC says how, two bodies are usual.

    application/dtmf-relay    Signal=5        (and Duration=160, in ms)
    application/dtmf          5
"""

DTMF_TYPES = ("application/dtmf-relay", "application/dtmf")
KEYS = "0123456789*#ABCD"
NUMBERED = {"10": "*", "11": "#", "12": "A", "13": "B", "14": "C", "15": "D", "STAR": "*", "POUND": "#"}
MAX_OCTETS = 256


def read_key(body: bytes) -> str:
    """Which key; empty: it cannot be read, or is none of the sixteen (16 is the hook)."""
    text = body[:MAX_OCTETS].decode("latin-1")
    signal = next((line.partition("=")[2] for line in text.splitlines() if line.strip().lower().startswith("signal")), text)
    key = signal.strip().strip('"').upper()
    key = NUMBERED.get(key, key)
    return key if len(key) == 1 and key in KEYS else ""
