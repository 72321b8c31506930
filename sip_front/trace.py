"""What a call's messages looked like, for those who ask why it went wrong: bounded, and with secrets covered."""

import re
from collections import OrderedDict
from typing import NamedTuple

from control_plane.messages import SipTraced

MAX_CALLS, MAX_BYTES, MAX_CALL_BYTES, MAX_MESSAGE_BYTES = 500, 16 << 20, 256 << 10, 16 << 10
KEPT_AT_START = 12
"""Of a call whose messages are too many, the first ones say how it began; what is left out is between them and the last."""
SECRETS = re.compile(
    rb"^(?P<kept>(?:Proxy-)?Authorization[ \t]*:[ \t]*\w*[ \t]*)(?P<header>[^\r\n]*(?:\r?\n[ \t][^\r\n]*)*)"
    rb"|^(?P<line>a=crypto:[^\r\n]*?inline:|k=)(?P<key>[^\r\n]*)",
    re.IGNORECASE | re.MULTILINE,
)
"""Credentials (RFC 3261 22), and keys of the audio (RFC 4568, RFC 4566 5.12)."""


class Trace(NamedTuple):
    """One message, as it was."""

    call_id: str
    is_sent: bool
    summary: str
    remote: str
    local: str
    octets: bytes


def redact(octets: bytes) -> bytes:
    """Stars for what is secret, as many as it had octets: lengths that the message states stay true."""

    def cover(found: re.Match[bytes]) -> bytes:
        secret = found["header"] if found["key"] is None else found["key"]
        return (found["kept"] or found["line"]) + re.sub(rb"[^\r\n]", b"*", secret)

    return SECRETS.sub(cover, octets)


def text_of(octets: bytes) -> str:
    """What may be shown of a message."""
    return redact(octets)[:MAX_MESSAGE_BYTES].decode("utf-8", "replace")


class TraceStore:
    """The messages of the calls that had some last."""

    def __init__(self) -> None:
        self.calls: OrderedDict[str, list[SipTraced]] = OrderedDict()
        self.left_out: dict[str, int] = {}
        self.sizes: dict[str, int] = {}
        self.total_bytes = 0

    def add(self, message: SipTraced) -> None:
        call_id, size = message.call_id, len(message.text)
        messages = self.calls.setdefault(call_id, [])
        self.calls.move_to_end(call_id)
        messages.append(message)
        self._grow(call_id, size)
        while self.sizes[call_id] > MAX_CALL_BYTES and len(messages) > KEPT_AT_START + 1:
            self._grow(call_id, -len(messages.pop(KEPT_AT_START).text))
            self.left_out[call_id] = self.left_out.get(call_id, 0) + 1
        while len(self.calls) > MAX_CALLS or self.total_bytes > MAX_BYTES:
            oldest, _ = self.calls.popitem(last=False)
            self.total_bytes -= self.sizes.pop(oldest)
            self.left_out.pop(oldest, None)

    def _grow(self, call_id: str, octets: int) -> None:
        self.sizes[call_id] = self.sizes.get(call_id, 0) + octets
        self.total_bytes += octets
