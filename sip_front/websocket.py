"""SIP over WebSocket, RFC 7118, for phones that live in a browser. picows speaks the WebSocket; here is what SIP asks of one.

A WebSocket message is a SIP message, whole: nothing is cut out of a stream. Nobody connects to a browser, so whoever is behind a
WebSocket is reached on it or not at all: the host of its Via and Contact is something.invalid (RFC 7118 5).
"""

import asyncio
import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from picows import (
    WSAutoPingStrategy,
    WSCloseCode,
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
)
from picows.picows import WSProtocol  # type: ignore[attr-defined]

from control_plane.logs import clean
from sip_front.connections import SECOND, Connection
from sip_front.message import MAX_BODY, MAX_HEAD

if TYPE_CHECKING:
    from sip_front.streams import Streams

log = logging.getLogger("websocket")
SUBPROTOCOL = "sip"
MAX_MESSAGE = MAX_HEAD + MAX_BODY
READ_BUFFER = 4 * 1024  # octets, of each connection; it grows with what comes


class WebSocket(WSListener):
    """One connection. Towards Streams it has what it uses of an asyncio transport; `write` takes one SIP message."""

    transport: WSTransport

    def __init__(self, streams: "Streams", connection: Connection) -> None:
        self.streams, self.connection = streams, connection
        self.parts: list[bytes] = []
        """Of a message that comes in fragments."""

    # ---- from picows ---------------------------------------------------------------------------------------------

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport
        self.streams.made(self.connection, self)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type is WSMsgType.CLOSE:
            transport.send_close(WSCloseCode.OK)
            transport.disconnect()
        elif frame.msg_type in (WSMsgType.PING, WSMsgType.PONG):
            self.streams.hear(self.connection)
        else:
            self._take(frame.get_payload_as_bytes(), frame.fin)

    def _take(self, part: bytes, is_last: bool) -> None:
        self.parts.append(part)
        if sum(map(len, self.parts)) > MAX_MESSAGE:
            self.transport.send_close(WSCloseCode.MESSAGE_TOO_BIG)
            self.transport.disconnect()
        elif is_last:
            octets, self.parts = b"".join(self.parts), []
            self.streams.owner.guard(lambda: self.streams.read_message(self.connection, octets))

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.streams.owner.guard(lambda: self.streams.lost(self.connection, "the far end closed it"))

    # ---- from Streams --------------------------------------------------------------------------------------------

    def write(self, octets: bytes) -> None:
        """As text, unless it is none: browsers close what is not UTF-8 (RFC 6455 8.1)."""
        try:
            octets.decode()
        except UnicodeDecodeError:
            self.transport.send(WSMsgType.BINARY, octets)
        else:
            self.transport.send(WSMsgType.TEXT, octets)

    def get_write_buffer_size(self) -> int:
        return self.transport.underlying_transport.get_write_buffer_size()

    def get_extra_info(self, name: str) -> Any:
        return self.transport.underlying_transport.get_extra_info(name)

    def close(self) -> None:
        self.transport.send_close(WSCloseCode.GOING_AWAY)
        self.transport.disconnect()

    def abort(self) -> None:
        self.transport.disconnect(graceful=False)


class Upgrade(WSProtocol):  # type: ignore[misc]
    """The connection below. One that ends before it is a WebSocket has no listener that would hear of it."""

    gone: Callable[[], object]

    def connection_lost(self, failure: Exception | None) -> None:
        super().connection_lost(failure)
        self.gone()


def make_protocol(streams: "Streams", connection: Connection, origins: tuple[str, ...]) -> asyncio.Protocol:
    """For a connection that was accepted. Until the HTTP request is whole and right, there is no WebSocket."""

    def receive_upgrade(request: WSUpgradeRequest) -> WSUpgradeResponseWithListener:
        status, why = why_refused(request, origins)
        if why:
            if streams.owner.is_worth_a_line(connection.remote.host, "websocket"):
                log.warning("refused a WebSocket of %s with %d: %s", connection.remote.host, status, why)
            return WSUpgradeResponseWithListener(WSUpgradeResponse.create_error_response(status, why.encode()), None)
        answer = WSUpgradeResponse.create_101_response({"Sec-WebSocket-Protocol": SUBPROTOCOL})
        return WSUpgradeResponseWithListener(answer, WebSocket(streams, connection))

    protocol: asyncio.Protocol = Upgrade(
        host_port=None, ws_path=None, is_client_side=False, ws_listener_factory=receive_upgrade, logger=log,
        disconnect_on_exception=True, websocket_handshake_timeout=connection.limits.start_ns / SECOND,
        enable_auto_ping=False, auto_ping_idle_timeout=0, auto_ping_reply_timeout=0, auto_ping_strategy=WSAutoPingStrategy.PING_WHEN_IDLE,
        enable_auto_pong=True, max_frame_size=MAX_MESSAGE, extra_headers=None, read_buffer_init_size=READ_BUFFER,
    )  # fmt: skip
    protocol.gone = lambda: streams.connections.drop(connection)  # type: ignore[attr-defined]
    return protocol


def why_refused(request: WSUpgradeRequest, origins: tuple[str, ...]) -> tuple[HTTPStatus, str]:
    """Default deny: a browser names the page that opens the WebSocket, and only pages of ours may (RFC 6455 10.2). No reason: taken."""
    offered = [name.strip() for value in request.headers.getall("Sec-WebSocket-Protocol", ()) for name in value.split(",")]
    if SUBPROTOCOL not in offered:
        return HTTPStatus.BAD_REQUEST, 'this is SIP over WebSocket: ask for the subprotocol "sip" (RFC 7118)'
    origin = request.headers.get("Origin")
    if origin is not None and "*" not in origins and origin.lower() not in origins:
        shown = clean(origin, 80)
        return HTTPStatus.FORBIDDEN, f'pages of {shown} may not connect; if that is your phone, add "{shown}" to sip.websocket_origins'
    return HTTPStatus.SWITCHING_PROTOCOLS, ""
