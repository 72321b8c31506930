"""TLS round a peer that speaks TCP only, as Debian's SIPp does: octets in, octets out."""

import asyncio
import contextlib
import ssl
import threading

from tests.system.server import HOST


class Relay:
    """`with Relay(port, outward=...)`: listens on `port` while inside. One side of it is TLS.

    `inward`: the context of our own side, for who dials us with TLS. `outward`: for the far side, which we dial with TLS.
    """

    def __init__(self, far_port: int, *, inward: ssl.SSLContext | None = None, outward: ssl.SSLContext | None = None) -> None:
        self.far_port, self.inward, self.outward = far_port, inward, outward
        self.loop = asyncio.new_event_loop()
        self.server = self.loop.run_until_complete(asyncio.start_server(self._serve, HOST, 0, ssl=inward))
        self.port = int(self.server.sockets[0].getsockname()[1])
        self.thread = threading.Thread(target=self.loop.run_forever)

    def __enter__(self) -> "Relay":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.server.close()
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        name = HOST if self.outward else None
        far_reader, far_writer = await asyncio.open_connection(HOST, self.far_port, ssl=self.outward, server_hostname=name)
        await asyncio.gather(self._copy(reader, far_writer), self._copy(far_reader, writer))

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while octets := await reader.read(65_536):
                writer.write(octets)
                await writer.drain()
            writer.close()
