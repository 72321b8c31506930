"""A call that a webhook tells what to do, in TwiML: a real caller, the whole server, and the application of examples/twiml."""

import pathlib

import numpy as np

from tests.examples.test_bots import running
from tests.system.caller import Caller, decode_ulaw
from tests.system.conftest import StartServer
from tests.system.server import wait_for
from tests.system.sound import pitch_and_level


def is_loud(caller: Caller, packets: int) -> bool:
    return bool(np.abs(decode_ulaw(b"".join(packet.payload for packet in caller.received[-packets:]))).max() > 3_000)


def test_a_menu_a_message_and_the_end(start_server: StartServer, tmp_path: pathlib.Path) -> None:
    with running("../twiml/menu.py") as url:
        address = url.replace("ws://", "http://") + "answer"
        server = start_server(only=[{"agent": f"twiml+{address}", "arguments": {"recordings": str(tmp_path)}}])
        with Caller(server.sip_port) as caller:
            wait_for("the menu", lambda: len(caller.received) > 50 and is_loud(caller, 25))
            caller.press("2")
            wait_for("the tone", lambda: abs(pitch_and_level(caller.audio(-15))[0] - 1_000) < 20, 20.0)
            caller.wait_for_packets(75)  # 440 Hz, which is the message
            caller.press("5")
            (message,) = wait_for("the message", lambda: list(tmp_path.glob("*.wav")))
            assert message.stat().st_size > 8_000
            wait_for("the end of the call", lambda: not server.calls(), 20.0)
        server.wait_until_quiet()
        server.check_log()
