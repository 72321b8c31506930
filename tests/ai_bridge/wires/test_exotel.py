import base64
import json

import numpy as np
import pytest

from ai_bridge.wires.exotel import Exotel
from ai_bridge.wires.wire import BotViolation, Clear, Ignored, Mark, Say
from tests.ai_bridge.wires.about import about, told

SAMPLES = np.array([1, -2, 300], np.int16)


def test_the_first_messages_name_the_call():
    wire = Exotel(about(shop="12", sample_rate_hz="16000"))
    connected, start = told(wire.start())
    assert connected == {"event": "connected"} and (start["event"], start["stream_sid"]) == ("start", wire.stream_sid)
    details = start["start"]
    assert (details["stream_sid"], details["call_sid"], details["account_sid"]) == (wire.stream_sid, "a1", "bellframe")
    assert (details["from"], details["to"], details["custom_parameters"]) == ("+4930123", "100", {"shop": "12"})
    assert details["media_format"] == {"encoding": "raw/slin", "sample_rate": "16000", "bit_rate": "256kbps"}


def test_audio_keys_marks_and_the_end():
    wire = Exotel(about())
    wire.start()
    media = json.loads(wire.audio(SAMPLES, 20))
    assert (media["sequence_number"], media["stream_sid"]) == ("2", wire.stream_sid)
    assert media["media"] == {"chunk": "1", "timestamp": "20", "payload": base64.b64encode(SAMPLES.astype("<i2").tobytes()).decode()}
    key, mark, cleared, stop = told([*wire.key("0"), *wire.played("m"), *wire.cleared(["n"]), *wire.stop("over")])
    assert key["dtmf"]["digit"] == "0" and (mark["mark"]["name"], cleared["mark"]["name"]) == ("m", "n")
    assert stop["stop"] == {"call_sid": "a1", "account_sid": "bellframe", "reason": "callended"}


def test_what_the_bot_asks_for():
    wire = Exotel(about())
    payload = base64.b64encode(SAMPLES.astype("<i2").tobytes()).decode()
    (said,) = wire.receive_text(json.dumps({"event": "media", "stream_sid": "x", "media": {"payload": payload}}).encode())
    assert isinstance(said, Say) and np.array_equal(said.pcm, SAMPLES) and said.rate_hz == 8_000
    assert wire.receive_text(b'{"event":"mark","mark":{"name":"m"}}') == (Mark("m"),)
    assert wire.receive_text(b'{"event":"clear","stream_sid":"x"}') == (Clear(),)
    assert isinstance(wire.receive_text(b'{"event":"x"}')[0], Ignored)
    with pytest.raises(BotViolation, match="3 bytes of 16-bit"):
        wire.receive_text(b'{"event":"media","media":{"payload":"YWJj"}}')
