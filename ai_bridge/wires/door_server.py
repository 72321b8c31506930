"""The door's socket: TLS, tokens, and connections that wait until they are given a call."""

import logging
import ssl
import time
from collections.abc import Mapping
from typing import ClassVar

import picows
from picows import WSTransport, WSUpgradeRequest, WSUpgradeResponse, WSUpgradeResponseWithListener

from ai_bridge.wires.bellframe_messages import SUBPROTOCOL
from ai_bridge.wires.door import Door, Offer, Refused
from ai_bridge.wires.socket import MAX_MESSAGE_BYTES, Connection, Socket, quiet
from ai_bridge.wires.wire import BotViolation
from control_plane.config import Bridge
from control_plane.errors import ConfigurationError
from control_plane.listen_config import parse_address
from control_plane.tokens import Tokens, load_tokens

log = logging.getLogger(__name__)

HANDSHAKE_S = 5.0
SILENT_S = 10.0
"""A bot that sends nothing is pinged this often, and is gone when it does not answer for as long."""
COMPLAIN_EVERY_S = 1.0


class Waiting:
    """Gets what a bot sends that has no call."""

    title: ClassVar[str] = "bot"

    def __init__(self, door: Door, offer: Offer) -> None:
        self._door, self._offer = door, offer

    def connected(self, socket: Connection) -> None:
        self._offer.connection = socket
        self._door.arrived(self._offer)

    def receive_text(self, message: bytes) -> None:
        raise BotViolation("the bot spoke before it was given a call: the call's first message is ours")

    receive_binary = receive_text

    def writable_changed(self) -> None:
        pass


class DoorSocket(Socket):
    def __init__(self, door: Door, offer: Offer) -> None:
        super().__init__(Waiting(door, offer))
        self._door, self._offer = door, offer

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._door.left(self._offer)


class DoorServer:
    """From `open` on."""

    def __init__(self, door: Door, tokens: Tokens) -> None:
        self._door, self._tokens = door, tokens
        self._complained_at = 0.0
        self.port = 0

    async def open(self, host: str, port: int, tls: ssl.SSLContext | None) -> None:
        """Raises OSError."""
        self._server = await picows.ws_create_server(
            self._admit,
            host,
            port,
            ssl=tls,
            websocket_handshake_timeout=HANDSHAKE_S,
            logger_name=quiet,
            max_frame_size=MAX_MESSAGE_BYTES,
            enable_auto_ping=True,
            auto_ping_idle_timeout=SILENT_S,
            auto_ping_reply_timeout=SILENT_S,
        )
        self.port = self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        """Nobody comes in any more, and who waits is sent away."""
        self._server.close()
        for offer in list(self._door.waiting):
            if offer.connection is not None:
                offer.connection.close()

    def _admit(self, request: WSUpgradeRequest) -> WSUpgradeResponseWithListener:
        try:
            offer = self._examine(request)
        except Refused as refused:
            now = time.monotonic()
            if now - self._complained_at > COMPLAIN_EVERY_S:
                self._complained_at = now
                log.warning("a bot was sent away at the door with %d: %s", refused.status, refused)
            answer = WSUpgradeResponse.create_error_response(refused.status, f"{refused}\n".encode(), _challenge(refused.status))
            return WSUpgradeResponseWithListener(answer, None)
        chosen = {"Sec-WebSocket-Protocol": SUBPROTOCOL} if offer.wire == "bellframe" else None
        return WSUpgradeResponseWithListener(WSUpgradeResponse.create_101_response(chosen), DoorSocket(self._door, offer))

    def _examine(self, request: WSUpgradeRequest) -> Offer:
        """Raises Refused."""
        digest = self._tokens.bearer(request.headers.get("Authorization", ""))
        if digest is None:
            raise Refused(401, "send the header Authorization: Bearer TOKEN with one of bridge.door_tokens")
        try:
            target = request.path.decode("ascii")
        except UnicodeDecodeError:
            raise Refused(400, "the path is not ASCII") from None
        return self._door.examine(target, request.headers.get("Sec-WebSocket-Protocol", ""), digest.hex()[:8])


def _challenge(status: int) -> Mapping[str, str] | None:
    return {"WWW-Authenticate": 'Bearer realm="bellframe"'} if status == 401 else None


def tls_context(certificate: str, key: str) -> ssl.SSLContext | None:
    """None: there is no certificate. Raises ConfigurationError."""
    if not certificate:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    try:
        context.load_cert_chain(certificate, key or None, password=lambda: b"")
    except OSError as failure:
        raise ConfigurationError(f"bridge.door_certificate and bridge.door_key: {certificate} cannot be used: {failure}") from None
    return context


async def open_door(door: Door, bridge: Bridge, index: int) -> DoorServer:
    """The process of this index has the port of this number after the first. Raises ConfigurationError."""
    tokens = Tokens(load_tokens(bridge.door_tokens, bridge.door_token_file, "bridge.door_token_file"))
    host, port = parse_address(bridge.door, "bridge.door")
    server = DoorServer(door, tokens)
    try:
        await server.open(host, port + index if port else 0, tls_context(bridge.door_certificate, bridge.door_key))
    except OSError as failure:
        raise ConfigurationError(f"bridge.door: nothing can listen at port {port + index} of {host}: {failure.strerror}") from None
    log.info("bots may dial us at port %d of %s", server.port, host)
    return server
