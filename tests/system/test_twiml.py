"""A call that a webhook tells what to do, in TwiML: a real caller, the whole server, and the application of examples/twiml."""

import pathlib
import urllib.parse
import urllib.request

import numpy as np
import pytest

from ai_bridge.twiml.sound import encode_wav
from control_plane.call_sid import call_sid
from tests.ai_bridge.twiml.webhook import Webhook, serving
from tests.ai_bridge.wires.bots import beside
from tests.examples.test_bots import running
from tests.system.baresip import PITCH_HZ, Baresip
from tests.system.caller import Caller, decode_ulaw
from tests.system.conftest import StartServer
from tests.system.server import HOST, free_tcp_port, wait_for
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


def instruct(http_port: int, call_id: str, **form: str) -> None:
    """As Twilio's client does it."""
    url = f"http://{HOST}:{http_port}/2010-04-01/Accounts/AC1/Calls/{call_sid(call_id)}.json"
    with urllib.request.urlopen(url, urllib.parse.urlencode(form).encode(), timeout=10) as answer:
        assert answer.status == 200


@pytest.mark.peer
def test_dial_connects_a_phone_and_a_live_call_is_sent_elsewhere(start_server: StartServer, tmp_path: pathlib.Path) -> None:
    tone_1000 = encode_wav(np.asarray(8_000 * np.sin(2 * np.pi * 1_000 * np.arange(80_000) / 8_000), np.int16), 8_000)
    webhook, http_port = Webhook(next="<Play>tone.wav</Play><Hangup/>", dialled="<Redirect>next</Redirect>"), free_tcp_port()
    webhook.answers["tone.wav"] = tone_1000

    def hears(caller: Caller, pitch_hz: float) -> None:
        wait_for(f"{pitch_hz} Hz", lambda: len(caller.received) > 30 and abs(pitch_and_level(caller.audio(-30))[0] - pitch_hz) < 20)

    with beside(serving(webhook)), Baresip(tmp_path, "human", answers=True) as human:
        dial = f'<Dial callerId="+4930" action="{webhook.url}/dialled"><Sip>sip:human@{HOST}:{human.sip_port}</Sip></Dial>'
        webhook.answers["answer"] = dial
        server = start_server(only=[{"agent": f"twiml+{webhook.url}/answer"}], http={"listen": f"{HOST}:{http_port}"})
        with Caller(server.sip_port) as caller:
            hears(caller, PITCH_HZ)
            ours, leg = sorted(server.calls(), key=lambda call: call.direction)
            assert (ours.direction, leg.direction, leg.caller) == ("inbound", "outbound", "+4930")
            instruct(http_port, ours.call_id, Url=f"{webhook.url}/next", Method="GET")
            hears(caller, 1_000)
            wait_for("the end of who was dialled", lambda: [call.call_id for call in server.calls()] == [ours.call_id])
            instruct(http_port, ours.call_id, Twiml=f"<Response>{dial}</Response>")
            hears(caller, PITCH_HZ)
            human.hang_up()
            form = wait_for("what became of it", lambda: webhook.of("dialled"))[0].form
            assert form["DialCallStatus"] == "completed" and form["CallSid"] == call_sid(ours.call_id)
            hears(caller, 1_000)
            caller.check_stream()
        server.wait_until_quiet()
        server.check_log()
