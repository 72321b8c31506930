"""The connection to a bot: dialling, TLS, bounds, pings, closing. It knows messages, and nothing of what is in them."""

import asyncio
import contextlib
import functools
import logging
import socket
import ssl
import urllib.parse
from typing import ClassVar, Protocol

import picows
from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, WSUpgradeResponse

from control_plane.errors import ConfigurationError, PeerViolation

MAX_MESSAGE_BYTES = 2 << 20
"""Thirty seconds of PCM at 24 kHz in base64 is 1.9 MB, the most that any of the wires allows in one message."""
SEND_BUFFER_BYTES = 65_536
"""Of the kernel. With as much of ours, a bot that does not read is noticed after some seconds of audio, not after minutes."""
LONGEST_REASON = 123  # bytes: RFC 6455 5.5, what a control frame holds beside the code
CLOSE_GRACE_S = 2.0
"""What the bot may take to read the rest and to close its side."""

# Its lines have neither the call nor the bot in them: what they say is in the reasons below.
quiet = logging.getLogger(f"{__name__}.picows")
quiet.setLevel(logging.CRITICAL)


class Receiver(Protocol):
    """Who gets what the bot sends. What it raises ends the connection, and comes out of `closed`."""

    title: ClassVar[str]
    """What the far end is called in what is raised."""

    def connected(self, socket: "Connection") -> None:
        """The connection is up: called before anything that the bot sends."""

    def receive_text(self, message: bytes) -> None: ...

    def receive_binary(self, message: bytes) -> None: ...

    def writable_changed(self) -> None: ...


class Connection(Protocol):
    """To a bot, over whatever."""

    is_writable: bool
    """False: the bot does not read, and what is sent waits in memory."""

    def send_text(self, message: bytes) -> None: ...

    def send_binary(self, message: bytes) -> None: ...

    def fail(self, failure: Exception) -> None: ...

    def drop(self) -> None: ...

    def close(self) -> None: ...

    async def closed(self) -> None: ...


class Unreachable(Exception):
    """The connection did not come up. The text says why."""


class Broken(Exception):
    """The connection broke, or was ended for what the bot did. The text says why."""


@functools.cache
def tls(ca_file: str) -> ssl.SSLContext:
    """Reading the system's certificates takes milliseconds: once for all calls. Raises ConfigurationError."""
    try:
        return ssl.create_default_context(cafile=ca_file or None)
    except OSError as failure:
        why = "there is no certificate in it" if isinstance(failure, ssl.SSLError) else failure.strerror
        raise ConfigurationError(f"the route's arguments: ca_file: {ca_file} cannot be read: {why}") from None


def without_secrets(url: str) -> str:
    """For logs: no password, and no query, where tokens are passed."""
    parts = urllib.parse.urlsplit(url)
    return urllib.parse.urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


class Socket(WSListener):
    """A WebSocket to a bot, from `dial` on. Use it from the loop's thread."""

    def __init__(self, receiver: Receiver) -> None:
        self.is_writable = False
        """False: the bot does not read, and what is sent waits in memory."""
        self._receiver = receiver
        self._parts = bytearray()
        self._parts_type: WSMsgType | None = None
        self._failure: Exception | None = None

    @classmethod
    async def dial(
        cls, receiver: Receiver, url: str, headers: dict[str, str], subprotocol: str, connect_s: float, silent_s: float, ca_file: str
    ) -> "Socket":
        """Raises Unreachable, or ConfigurationError for a ca_file."""
        fields = {**headers, "Sec-WebSocket-Protocol": subprotocol} if subprotocol else headers
        where = without_secrets(url)

        def make(request: WSUpgradeRequest, response: WSUpgradeResponse) -> Socket:
            if subprotocol and response.headers.get("Sec-WebSocket-Protocol") != subprotocol:
                raise Unreachable(f'the {receiver.title} at {where} does not speak the subprotocol "{subprotocol}" of its wire')
            return cls(receiver)

        try:
            async with asyncio.timeout(connect_s):
                _, made = await picows.ws_connect(
                    make,
                    url,
                    ssl_context=tls(ca_file) if url.startswith("wss:") else None,
                    websocket_handshake_timeout=None,
                    extra_headers=fields,
                    logger_name=quiet,
                    max_frame_size=MAX_MESSAGE_BYTES,
                    max_redirects=0,
                    enable_auto_ping=True,
                    auto_ping_idle_timeout=silent_s,
                    auto_ping_reply_timeout=silent_s,
                )
        except TimeoutError:
            raise Unreachable(f"the {receiver.title} at {where} did not accept the connection within {connect_s:g} s") from None
        except ssl.SSLCertVerificationError as failure:
            remedy = "ca_file of the route's arguments names certificates to trust instead of the system's"
            raise Unreachable(f"the {receiver.title} at {where} cannot be trusted: {failure.verify_message.strip('.')}; {remedy}") from None
        except (OSError, picows.WSError, ValueError) as failure:
            raise Unreachable(f"the {receiver.title} at {where} cannot be reached: {failure or type(failure).__name__}") from None
        assert isinstance(made, Socket)
        return made

    # ---- what the bot sends -----------------------------------------------------------------------------------

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport
        self.is_writable = True
        raw = transport.underlying_transport.get_extra_info("socket")
        with contextlib.suppress(OSError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        self._receiver.connected(self)

    def give_to(self, receiver: Receiver) -> None:
        """Somebody else gets what comes from now on."""
        self._receiver = receiver
        receiver.connected(self)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        kind = frame.msg_type
        if kind is WSMsgType.CLOSE:
            if not transport.is_close_frame_sent:
                transport.send_close(WSCloseCode.OK)
            transport.disconnect()
            return
        if self._failure is not None or transport.is_close_frame_sent:
            return
        if kind is WSMsgType.PONG:
            return
        try:
            self._receive(kind, frame)
        except Exception as failure:
            self.fail(failure)

    def _receive(self, kind: WSMsgType, frame: WSFrame) -> None:
        if self._parts_type is None and frame.fin:
            self._deliver(kind, frame.get_payload_as_bytes())
            return
        if (kind is WSMsgType.CONTINUATION) == (self._parts_type is None):
            raise Broken(f"the {self._receiver.title} began a message within a message, or continued one that it had not begun")
        self._parts_type = self._parts_type or kind
        self._parts += frame.get_payload_as_memoryview()
        if len(self._parts) > MAX_MESSAGE_BYTES:
            raise Broken(f"the {self._receiver.title} sent a message of more than {MAX_MESSAGE_BYTES} bytes: send it in smaller pieces")
        if frame.fin:
            whole, kind = bytes(self._parts), self._parts_type
            self._parts, self._parts_type = bytearray(), None
            self._deliver(kind, whole)

    def _deliver(self, kind: WSMsgType, message: bytes) -> None:
        if kind is WSMsgType.TEXT:
            self._receiver.receive_text(message)
        else:
            self._receiver.receive_binary(message)

    def pause_writing(self) -> None:
        self.is_writable = False

    def resume_writing(self) -> None:
        self.is_writable = True
        self._receiver.writable_changed()

    # ---- what we send -----------------------------------------------------------------------------------------

    def send_text(self, message: bytes) -> None:
        self._transport.send(WSMsgType.TEXT, message)

    def send_binary(self, message: bytes) -> None:
        self._transport.send(WSMsgType.BINARY, message)

    def close(self, code: WSCloseCode = WSCloseCode.OK, reason: str = "") -> None:
        """Say goodbye; gone once the bot has answered, or CLOSE_GRACE_S later."""
        if not self._transport.is_disconnected:
            self._transport.send_close(code, reason.encode()[:LONGEST_REASON].decode(errors="ignore").encode())
            asyncio.get_running_loop().call_later(CLOSE_GRACE_S, self._transport.disconnect, False)

    def drop(self) -> None:
        """Break the connection, without a goodbye."""
        self._transport.disconnect(False)

    def fail(self, failure: Exception) -> None:
        """End the connection for what the bot did, or did not. A PeerViolation's text is told to the bot as well."""
        self._failure = self._failure or failure
        self.close(WSCloseCode.UNSUPPORTED_DATA, str(failure) if isinstance(failure, PeerViolation) else "")

    async def closed(self) -> None:
        """Until the connection is over. Returns if the bot has closed it in order; else raises Broken, or what the receiver raised."""
        transport = self._transport
        try:
            await transport.wait_disconnected()
        except picows.WSProtocolError as failure:
            raise Broken(f"the {self._receiver.title} broke the WebSocket protocol: {failure.args[-1]}") from None
        except Exception as failure:
            raise Broken(f"the connection failed: {failure}") from failure
        finally:
            self.is_writable = False
        if self._failure is not None:
            raise self._failure
        handshake = transport.close_handshake
        if handshake is None:
            raise Broken(f"the {self._receiver.title}'s connection broke without a goodbye: it died, or something between closed it")
        if handshake.recv is None:
            raise Broken(f"the {self._receiver.title} did not answer a ping in time: it is stuck, or the network is")
        code, reason = int(handshake.recv.code.value), str(handshake.recv.reason or "")
        if code not in (WSCloseCode.NO_INFO.value, WSCloseCode.OK.value, WSCloseCode.GOING_AWAY.value):
            raise Broken(f"the {self._receiver.title} closed the connection with code {code}{': ' + reason[:120] if reason else ''}")
