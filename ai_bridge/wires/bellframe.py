"""Our own wire, for bots that are written for Bellframe: docs/wire.md.

Audio is binary: a header with turn, flags and position, and PCM16 at the rate that the bot asked for. Everything else
is JSON in text messages. The upgrade request is signed with HMAC-SHA256 over time, call and path if the route has a secret.
"""

import hashlib
import hmac
import urllib.parse

from ai_bridge.wires.bellframe_messages import SUBPROTOCOL
from ai_bridge.wires.wire import Wire

CALL, TIMESTAMP, SIGNATURE = "Bellframe-Call", "Bellframe-Timestamp", "Bellframe-Signature"


def sign(secret: bytes, timestamp: str, call_id: str, url: str) -> str:
    """The value of Bellframe-Signature. Of the URL, path and query count: a proxy may change what is before them."""
    parts = urllib.parse.urlsplit(url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return "v1=" + hmac.new(secret, f"{timestamp}.{call_id}.{path}".encode(), hashlib.sha256).hexdigest()


class Bellframe(Wire):
    """One connection. What it says is in bellframe_bot.py, as it is about turns and times."""

    has_binary_audio = True
    subprotocol = SUBPROTOCOL
    bot_class = "ai_bridge.wires.bellframe_bot:BellframeBot"

    def headers(self) -> dict[str, str]:
        about, secret = self.about, self.about.options.signing_secret()
        if not secret:
            return {CALL: about.call_id}
        timestamp = str(int(about.now().timestamp()))
        return {CALL: about.call_id, TIMESTAMP: timestamp, SIGNATURE: sign(secret, timestamp, about.call_id, about.url)}
