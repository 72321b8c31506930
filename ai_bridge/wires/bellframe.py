"""Our own wire, for bots that are written for Bellframe: docs/wire.md.

Audio is binary: a header with turn, flags and position, and PCM16 at the rate that the bot asked for. Everything else
is JSON in text messages. The upgrade request is signed with HMAC-SHA256 over time, call and path if the route has a secret.
"""

import hashlib
import hmac
import urllib.parse

from ai_bridge.frame import Pcm
from ai_bridge.wires.bellframe_messages import (
    HEADER,
    RATES_HZ,
    SUBPROTOCOL,
    VERSION,
    FromBot,
    QueueFull,
    QueueLow,
    Ready,
    decode_from_bot,
    encode,
)
from ai_bridge.wires.encoding import L16
from ai_bridge.wires.wire import BotViolation, Messages, Wire, read

MOST_TEXT_BYTES = 65_536
"""Of a text message: what it holds goes on to the front, for which a megabyte is too much."""
READY_S = 5.0
"""What a bot may take from start to ready."""
LIMITS: tuple[tuple[str, int, int], ...] = (("ahead_ms", 100, 50_000), ("report_ms", 20, 60_000), ("quality_ms", 1000, 3_600_000))
CALL, TIMESTAMP, SIGNATURE = "Bellframe-Call", "Bellframe-Timestamp", "Bellframe-Signature"


def sign(secret: bytes, timestamp: str, call_id: str, url: str) -> str:
    """The value of Bellframe-Signature. Of the URL, path and query count: a proxy may change what is before them."""
    parts = urllib.parse.urlsplit(url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return "v1=" + hmac.new(secret, f"{timestamp}.{call_id}.{path}".encode(), hashlib.sha256).hexdigest()


def read_text(message: bytes, ready: Ready | None) -> FromBot:
    """`ready`: what the bot has sent of it. Raises BotViolation."""
    if len(message) > MOST_TEXT_BYTES:
        raise BotViolation(f"the bot sent a text message of {len(message)} bytes: {MOST_TEXT_BYTES} are the most")
    told = read(decode_from_bot, message, "Bellframe's wire")
    if not isinstance(told, Ready):
        if ready is None:
            raise BotViolation("the bot's first message is not ready")
        return told
    if ready is not None:
        raise BotViolation("the bot sent ready twice")
    if told.version != VERSION:
        raise BotViolation(f"the bot speaks version {told.version} of the wire: this is version {VERSION}")
    for name, rate_hz in (("rate_hz", told.rate_hz), ("say_rate_hz", told.say_rate_hz or told.rate_hz)):
        if rate_hz not in RATES_HZ:
            raise BotViolation(f"the bot's ready has {name} {rate_hz}: {', '.join(map(str, RATES_HZ))} are the rates")
    for name, low, high in LIMITS:
        value = getattr(told, name)
        if value and not low <= value <= high:
            raise BotViolation(f"the bot's ready has {name} {value}: {low} to {high} will do")
    return told


def read_audio(message: bytes, ready: Ready | None) -> tuple[int, Pcm]:
    """The turn that it belongs to, and the samples. Raises BotViolation."""
    if ready is None:
        raise BotViolation("the bot sent audio before ready")
    if len(message) < HEADER.size:
        raise BotViolation(f"the bot sent a binary message of {len(message)} bytes: it has {HEADER.size} of header, then samples")
    return int(HEADER.unpack_from(message)[0]), L16.decode(message[HEADER.size :])


def begins_turn(turn: int, present: int) -> bool:
    """Is it the one after the present one? Raises BotViolation for one beyond."""
    if turn > present + 1:
        raise BotViolation(f"the bot began turn {turn} after turn {present}: each turn has the next number")
    return turn == present + 1


class Bellframe(Wire):
    """One connection. What it says is in bellframe_bot.py, as it is about turns and times."""

    has_binary_audio = True
    subprotocol = SUBPROTOCOL
    bot_class = "ai_bridge.wires.bellframe_bot:BellframeBot"

    def allow(self, ahead_ms: int) -> None:
        """How much speech may wait before the bot is told."""
        self.queue_high_ms, self.queue_low_ms = ahead_ms, ahead_ms / 2

    def queue_full(self, queued_ms: float) -> Messages:
        return (encode(QueueFull(queued_ms)),)

    def queue_low(self, queued_ms: float) -> Messages:
        return (encode(QueueLow(queued_ms)),)

    def headers(self) -> dict[str, str]:
        about, secret = self.about, self.about.options.signing_secret()
        if not secret:
            return {CALL: about.call_id}
        timestamp = str(int(about.now().timestamp()))
        return {CALL: about.call_id, TIMESTAMP: timestamp, SIGNATURE: sign(secret, timestamp, about.call_id, about.url)}
