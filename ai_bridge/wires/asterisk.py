"""Asterisk's chan_websocket (20.16, 22.6, 23): media in binary messages, in the channel's format; control in text messages.

Control is plain text, as Asterisk has it by default, or JSON (`control_messages = "json"`, f(json) in a dial string).
A bot may send either. Asterisk's queue holds 20 s; it tells when 18 s wait, and when there are 16 s left.
"""

from collections.abc import Sequence

import msgspec

from ai_bridge.frame import Pcm
from ai_bridge.wires.encoding import L16, PCMA, PCMU, choose
from ai_bridge.wires.wire import About, Action, BotViolation, Clear, Finish, Ignored, Look, Mark, Messages, Pause, Resume, Say, Wire, read
from control_plane.errors import ConfigurationError

OFFERED = (
    ("PCMU", 8_000), ("PCMA", 8_000), ("L16", 8_000), ("L16", 12_000), ("L16", 16_000), ("L16", 24_000), ("L16", 32_000), ("L16", 44_100),
    ("L16", 48_000),
)  # fmt: skip
ENCODINGS = {"PCMU": PCMU, "PCMA": PCMA, "L16": L16}
FRAME_MS = 20
XOFF_FRAMES, XON_FRAMES = 900, 800
MARK, BUFFERED = "mark ", "buffered "
"""Before the id of a MARK_MEDIA and of a STOP_MEDIA_BUFFERING, in names of marks of our own."""
FORMATS = ("json", "plain-text")
TAKES = (
    "ANSWER, HANGUP, START_MEDIA_BUFFERING, STOP_MEDIA_BUFFERING, MARK_MEDIA, FLUSH_MEDIA, PAUSE_MEDIA, CONTINUE_MEDIA, GET_STATUS and"
    " REPORT_QUEUE_DRAINED"
)


class Command(msgspec.Struct):
    command: str
    correlation_id: str = ""


decode = msgspec.json.Decoder(Command).decode


class Asterisk(Wire):
    has_binary_audio = True
    bot_class = "ai_bridge.wires.bot:DrainedBot"
    queue_high_ms = XOFF_FRAMES * FRAME_MS
    queue_low_ms = XON_FRAMES * FRAME_MS

    def __init__(self, about: About) -> None:
        super().__init__(about)
        encoding, self.sample_rate_hz = choose(about.options, OFFERED)
        self._encoding = ENCODINGS[encoding]
        kilohertz = self.sample_rate_hz // 1000
        self._format = {"PCMU": "ulaw", "PCMA": "alaw"}.get(encoding) or ("slin" if kilohertz == 8 else f"slin{kilohertz}")
        self._frame_bytes = self.sample_rate_hz * FRAME_MS // 1000 * (2 if encoding == "L16" else 1)
        wanted = about.options.control_messages or "plain-text"
        if wanted not in FORMATS:
            raise ConfigurationError(f'the route\'s arguments: control_messages is "{wanted}": {" or ".join(FORMATS)} will do')
        self._is_json = wanted == "json"
        self._asked: list[str] = []
        self._is_buffering = self._is_full = self._wants_drained = False

    def headers(self) -> dict[str, str]:
        return {"Sec-WebSocket-Protocol": "media"}  # Asterisk asks for it, and does not insist

    def start(self) -> Messages:
        about = self.about
        told: dict[str, object] = {
            "connection_id": about.call_id,
            "channel": f"WebSocket/{about.call_id}",
            "channel_id": about.call_id,
            "format": self._format,
            "optimal_frame_size": self._frame_bytes,
            "ptime": FRAME_MS,
        }
        if self._is_json:
            told["channel_variables"] = {
                "CALLERID(num)": about.caller,
                "DIALEDPEERNUMBER": about.callee,
                "MEDIA_WEBSOCKET_CONNECTION_ID": about.call_id,
                "MEDIA_WEBSOCKET_OPTIMAL_FRAME_SIZE": str(self._frame_bytes),
                **about.parameters,
            }
        return (self._event("MEDIA_START", told),)

    def audio(self, pcm: Pcm, position_ms: int) -> bytes:
        return self._encoding.encode(pcm)

    def key(self, key: str) -> Messages:
        return (self._event("DTMF_END", {"digit": key, "channel_id": self.about.call_id}),)

    def played(self, name: str) -> Messages:
        for kind, event in ((MARK, "MEDIA_MARK_PROCESSED"), (BUFFERED, "MEDIA_BUFFERING_COMPLETED")):
            if name.startswith(kind):
                return (self._event_with_id(event, name.removeprefix(kind)),)
        return ()

    def cleared(self, names: Sequence[str]) -> Messages:
        return self.drained()

    def drained(self) -> Messages:
        if not self._wants_drained:
            return ()
        self._wants_drained = False
        return (self._bare_event("QUEUE_DRAINED"),)

    def queue_full(self, queued_ms: float) -> Messages:
        self._is_full = True
        return (self._bare_event("MEDIA_XOFF"),)

    def queue_low(self, queued_ms: float) -> Messages:
        self._is_full = False
        return (self._bare_event("MEDIA_XON"),)

    def queue(self, queued_ms: float, is_paused: bool) -> Messages:
        asked = self._asked.pop(0)
        if asked == "REPORT_QUEUE_DRAINED":
            self._wants_drained = True
            return () if queued_ms else self.drained()
        status = {
            "channel_id": self.about.call_id,
            "queue_length": round(queued_ms / FRAME_MS),
            "xon_level": XON_FRAMES,
            "xoff_level": XOFF_FRAMES,
            "queue_full": self._is_full,
            "bulk_media": self._is_buffering,
            "media_paused": is_paused,
        }
        return (self._event("STATUS", status),)

    def receive_binary(self, message: bytes) -> Sequence[Action]:
        return (Say(self._encoding.decode(message), self.sample_rate_hz),)

    def receive_text(self, message: bytes) -> Sequence[Action]:
        if message.lstrip().startswith(b"{"):
            told = read(decode, message, "Asterisk's chan_websocket")
        else:
            try:
                told = Command(*message.decode().strip().split(" ", 1))
            except UnicodeDecodeError:
                raise BotViolation("the bot sent a command that is not UTF-8") from None
        match told.command:
            case "ANSWER":
                return ()
            case "HANGUP":
                return (Finish("the bot hung up", at_once=True),)
            case "START_MEDIA_BUFFERING":
                self._is_buffering = True
                return ()
            case "STOP_MEDIA_BUFFERING":
                self._is_buffering = False
                return (Mark(BUFFERED + told.correlation_id),)
            case "MARK_MEDIA":
                return (Mark(MARK + told.correlation_id),)
            case "FLUSH_MEDIA":
                self._is_buffering = False
                return (Clear(), Resume())
            case "PAUSE_MEDIA":
                return (Pause(),)
            case "CONTINUE_MEDIA":
                return (Resume(),)
            case "GET_STATUS" | "REPORT_QUEUE_DRAINED":
                self._asked.append(told.command)
                return (Look(),)
        return (Ignored(f'the command "{told.command[:40]}": Asterisk takes {TAKES} here'),)

    # ---- events in either format ------------------------------------------------------------------------------

    def _event(self, event: str, values: dict[str, object]) -> bytes:
        if self._is_json:
            return msgspec.json.encode({"event": event, **values})
        words = (f"{name}:{str(value).lower() if isinstance(value, bool) else value}" for name, value in values.items())
        return " ".join((event, *words)).encode()

    def _bare_event(self, event: str) -> bytes:
        return self._event(event, {"channel_id": self.about.call_id}) if self._is_json else event.encode()

    def _event_with_id(self, event: str, correlation_id: str) -> bytes:
        if self._is_json:
            return self._event(event, {"channel_id": self.about.call_id, "correlation_id": correlation_id})
        return f"{event} {correlation_id}".strip().encode()
