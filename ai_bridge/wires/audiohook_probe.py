"""Is there a bot on Genesys AudioHook at this address, and does it take our key? Asked as Genesys does, with a session for no call.

    python -m ai_bridge.wires.audiohook_probe wss://bot.example/audiohook --api-key K [--secret-file FILE] [--ca-file FILE]

The exit code is 0 if the bot opened the session and closed it, else 1, and what is wrong is printed.
"""

import argparse
import asyncio
import sys
from typing import ClassVar

from ai_bridge.wires.audiohook import AudioHook
from ai_bridge.wires.bot import utc_now
from ai_bridge.wires.options import Options
from ai_bridge.wires.socket import Broken, Connection, Socket, Unreachable
from ai_bridge.wires.wire import About, BotViolation
from control_plane.errors import ConfigurationError

ANSWER_S = 5.0
"""What the bot may take for opened, and for closed."""


class Probe:
    title: ClassVar[str] = "bot"

    def __init__(self, url: str, options: Options) -> None:
        self.wire = AudioHook(About("probe", "", "", "inbound", {}, options, url, utc_now))
        self.wire.is_probe = True
        self.answered = asyncio.Event()

    def connected(self, socket: Connection) -> None:
        for message in self.wire.start():
            socket.send_text(message)

    def receive_text(self, message: bytes) -> None:
        self.wire.receive_text(message)
        self.answered.set()

    def receive_binary(self, message: bytes) -> None:
        self.wire.receive_binary(message)

    def writable_changed(self) -> None:
        pass


async def probe(url: str, options: Options) -> None:
    """Raises Unreachable, Broken, BotViolation or ConfigurationError, each saying what is wrong."""
    asked = Probe(url, options)
    headers = {**options.headers(), **asked.wire.headers()}
    socket = await Socket.dial(asked, url, headers, "", options.connect_seconds, options.silent_seconds, options.ca_file)
    ending = asyncio.ensure_future(socket.closed())
    try:
        await _answer(asked, ending, "open", "opened")
        asked.answered.clear()
        socket.send_text(asked.wire.close("end"))
        await _answer(asked, ending, "close", "closed")
        if not asked.wire.is_closed:
            raise BotViolation("the bot did not answer close with closed")
    finally:
        socket.close()
        await asyncio.gather(ending, return_exceptions=True)


async def _answer(asked: Probe, ending: "asyncio.Future[None]", sent: str, wanted: str) -> None:
    answered = asyncio.ensure_future(asked.answered.wait())
    await asyncio.wait((answered, ending), timeout=ANSWER_S, return_when=asyncio.FIRST_COMPLETED)
    answered.cancel()
    if ending.done():
        ending.result()
    if not asked.answered.is_set():
        raise BotViolation(f"the bot did not answer {sent} with {wanted} within {ANSWER_S:g} s")


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m ai_bridge.wires.audiohook_probe", description="Does a bot on AudioHook take us?")
    parser.add_argument("url", help="wss://HOST/PATH or ws://HOST:PORT/PATH")
    parser.add_argument("--api-key", default="", help="as the route's argument api_key")
    parser.add_argument("--secret-file", default="", help="the file of the client secret, in base64, as the route's argument secret_file")
    parser.add_argument("--ca-file", default="", help="certificates to trust instead of the system's, PEM")
    given = parser.parse_args(words)
    options = Options(api_key=given.api_key, secret_file=given.secret_file, ca_file=given.ca_file)
    try:
        asyncio.run(probe(given.url, options))
    except (Unreachable, Broken, BotViolation, ConfigurationError) as failure:
        print(failure)
        return 1
    print("the bot opens sessions")
    return 0


if __name__ == "__main__":
    sys.exit(main())
