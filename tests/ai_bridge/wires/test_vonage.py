import json

import numpy as np
import pytest

from ai_bridge.wires.vonage import Vonage
from ai_bridge.wires.wire import BotViolation, Clear, Ignored, Say
from tests.ai_bridge.wires.about import about, told

SAMPLES = np.array([1, -2, 300], np.int16)


def test_it_says_its_rate_and_sends_samples_as_they_are():
    wire = Vonage(about(shop="12"))
    (connected,) = told(wire.start())
    assert (connected["event"], connected["content-type"], connected["shop"]) == ("websocket:connected", "audio/l16;rate=16000", "12")
    assert (connected["from"], connected["to"], wire.sample_rate_hz, wire.has_binary_audio) == ("+4930123", "100", 16_000, True)
    assert wire.audio(SAMPLES, 0) == SAMPLES.astype("<i2").tobytes()
    assert told(Vonage(about(sample_rate_hz="8000")).start())[0]["content-type"] == "audio/l16;rate=8000"
    assert told(wire.key("5")) == [{"event": "websocket:dtmf", "digit": "5", "duration": 0}]


def test_a_notify_comes_back_with_its_payload():
    wire = Vonage(about())
    (mark,) = wire.receive_text(b'{"action":"notify","payload":{"a":[1,{"b":"\xc3\xa4"}]}}')
    assert json.loads(wire.played(mark.name)[0]) == {"event": "websocket:notify", "payload": {"a": [1, {"b": "ä"}]}}


def test_what_the_bot_asks_for():
    wire = Vonage(about())
    (said,) = wire.receive_binary(SAMPLES.astype("<i2").tobytes())
    assert isinstance(said, Say) and np.array_equal(said.pcm, SAMPLES) and said.rate_hz == 16_000
    assert wire.receive_text(b'{"action":"clear"}') == (Clear(),) and told(wire.cleared(["x"])) == [{"event": "websocket:cleared"}]
    assert isinstance(wire.receive_text(b"{}")[0], Ignored)
    for message in (b"clear", b'{"action":1}', b"[]"):
        with pytest.raises(BotViolation, match="Vonage"):
            wire.receive_text(message)
    with pytest.raises(BotViolation, match="5 bytes of 16-bit"):
        wire.receive_binary(b"12345")
