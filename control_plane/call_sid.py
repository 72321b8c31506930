"""What Twilio calls a call: "CA" and 32 hex digits. Bots get it in a stream's start, and name the call by it over REST."""

import hashlib

DIGITS = 32


def call_sid(call_id: str) -> str:
    """The call's own number filled up with zeros, so that people see which call it is; any other name is hashed."""
    is_number = len(call_id) <= DIGITS and call_id and all(digit in "0123456789abcdef" for digit in call_id)
    return "CA" + (call_id.rjust(DIGITS, "0") if is_number else hashlib.sha256(call_id.encode()).hexdigest()[:DIGITS])
