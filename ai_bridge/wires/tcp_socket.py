"""The connection to a bot that speaks AudioSocket: TCP, cut into messages by their headers. What is in them is the wire's."""

import asyncio
import contextlib
import socket
import urllib.parse

from ai_bridge.wires.socket import CLOSE_GRACE_S, SEND_BUFFER_BYTES, Broken, Receiver, Unreachable

HEADER_BYTES = 3
"""A kind, and the length of what follows, big-endian. So no message has more than 65,538 bytes."""


class TcpSocket(asyncio.Protocol):
    """From `dial` on. Use it from the loop's thread."""

    def __init__(self, receiver: Receiver, silent_s: float) -> None:
        self.is_writable = False
        self._receiver, self._silent_s = receiver, silent_s
        self._waiting = bytearray()
        self._failure: Exception | None = None
        self._is_closing = False
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @classmethod
    async def dial(
        cls, receiver: Receiver, url: str, headers: dict[str, str], subprotocol: str, connect_s: float, silent_s: float, ca_file: str
    ) -> "TcpSocket":
        """As socket.Socket has it; what TCP has no place for is not looked at. Raises Unreachable."""
        parts = urllib.parse.urlsplit(url)
        try:
            async with asyncio.timeout(connect_s):
                _, made = await asyncio.get_running_loop().create_connection(
                    lambda: cls(receiver, silent_s), parts.hostname or "", parts.port or 0
                )
        except TimeoutError:
            raise Unreachable(f"the {receiver.title} at {parts.netloc} did not accept the connection within {connect_s:g} s") from None
        except OSError as failure:
            raise Unreachable(f"the {receiver.title} at {parts.netloc} cannot be reached: {failure}") from None
        return made

    # ---- what the bot sends -----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport, self.is_writable = transport, True
        raw = transport.get_extra_info("socket")
        with contextlib.suppress(OSError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
            # There is no ping here: a bot whose machine is gone does not acknowledge what we send.
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(self._silent_s * 1000))
        self._receiver.connected(self)

    def data_received(self, data: bytes) -> None:
        if self._is_closing:
            return
        self._waiting += data
        try:
            while len(self._waiting) >= HEADER_BYTES:
                size = HEADER_BYTES + int.from_bytes(self._waiting[1:HEADER_BYTES], "big")
                if len(self._waiting) < size:
                    break
                message = bytes(self._waiting[:size])
                del self._waiting[:size]
                self._receiver.receive_binary(message)
        except Exception as failure:
            self.fail(failure)

    def pause_writing(self) -> None:
        self.is_writable = False

    def resume_writing(self) -> None:
        self.is_writable = True
        self._receiver.writable_changed()

    def connection_lost(self, failure: Exception | None) -> None:
        self.is_writable = False
        if failure is not None and not self._is_closing:
            self._failure = Broken(f"the {self._receiver.title}'s connection broke: {failure}")
        if not self._over.done():
            self._over.set_result(None)

    # ---- what we send -----------------------------------------------------------------------------------------

    def send_binary(self, message: bytes) -> None:
        self._transport.write(message)

    send_text = send_binary

    def fail(self, failure: Exception) -> None:
        """End the connection for what the bot did."""
        self._failure = self._failure or failure
        self.close()

    def drop(self) -> None:
        self._transport.abort()

    def close(self) -> None:
        """Gone once everything was sent, or CLOSE_GRACE_S later."""
        if not self._is_closing:
            self._is_closing = True
            self._transport.close()
            asyncio.get_running_loop().call_later(CLOSE_GRACE_S, self._transport.abort)

    async def closed(self) -> None:
        """Until the connection is over. Closing it is a bot's goodbye; for the rest raises Broken, or what the receiver raised."""
        await asyncio.shield(self._over)
        if self._failure is not None:
            raise self._failure
