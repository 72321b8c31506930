import base64
import json

import numpy as np
import pytest

from ai_bridge.wires.jambonz import Jambonz
from ai_bridge.wires.wire import BotViolation, Clear, Finish, Ignored, Mark, Say
from tests.ai_bridge.wires.about import about, told

SAMPLES = np.array([1, -2, 300], np.int16)
RAW = SAMPLES.astype("<i2").tobytes()


def play(content_type: str, rate_hz: object) -> bytes:
    data = {"audioContent": base64.b64encode(RAW).decode(), "audioContentType": content_type, "sampleRate": rate_hz, "id": "p1"}
    return json.dumps({"type": "playAudio", "data": data}).encode()


def test_it_tells_of_the_call_and_sends_samples_as_they_are():
    wire = Jambonz(about(shop="12", sample_rate_hz="16000"))
    (first,) = told(wire.start())
    assert (first["callSid"], first["from"], first["to"], first["direction"]) == ("a1", "+4930123", "100", "inbound")
    assert (first["sampleRate"], first["mixType"], first["metadata"]) == (16_000, "mono", {"shop": "12"})
    assert wire.audio(SAMPLES, 0) == RAW and wire.has_binary_audio and wire.subprotocol == "audio.jambonz.org"
    assert told(wire.key("2")) == [{"event": "dtmf", "dtmf": "2", "duration": "0"}]


def test_what_the_bot_asks_for():
    wire = Jambonz(about())
    (said,) = wire.receive_binary(RAW)
    assert isinstance(said, Say) and np.array_equal(said.pcm, SAMPLES) and said.rate_hz == 8_000
    said, done = wire.receive_text(play("raw", "24000"))
    assert isinstance(said, Say) and np.array_equal(said.pcm, SAMPLES) and said.rate_hz == 24_000
    assert isinstance(done, Mark) and told(wire.played(done.name)) == [{"type": "playDone", "data": {"id": "p1"}}]
    assert wire.receive_text(b'{"type":"killAudio"}') == (Clear(),)
    assert wire.receive_text(b'{"type":"disconnect"}') == (Finish("the bot has disconnected", at_once=True),)
    assert isinstance(wire.receive_text(b'{"type":"x"}')[0], Ignored)


def test_a_mark_comes_back_with_what_became_of_it():
    wire = Jambonz(about())
    (mark,) = wire.receive_text(b'{"type":"mark","data":{"name":"playDone m"}}')
    assert told(wire.played(mark.name)) == [{"type": "mark", "data": {"name": "playDone m", "event": "playout"}}]
    _, done = wire.receive_text(play("raw", 8000))
    assert told(wire.cleared([mark.name, done.name])) == [{"type": "mark", "data": {"name": "playDone m", "event": "cleared"}}]


@pytest.mark.parametrize("message", [play("wav", 8000), play("raw", 11025), b"{}", b"?"])
def test_what_it_cannot_play_is_the_bots_error(message):
    with pytest.raises(BotViolation, match="jambonz listen"):
        Jambonz(about()).receive_text(message)
