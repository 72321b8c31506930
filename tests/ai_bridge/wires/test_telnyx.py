import base64
import json

import numpy as np
import pytest

from ai_bridge.wires.telnyx import Telnyx
from ai_bridge.wires.wire import BotViolation, Clear, Ignored, Mark, Say
from control_plane.errors import ConfigurationError
from control_plane.g711 import ALAW_TO_PCM
from tests.ai_bridge.wires.about import about, told

SILENCE = np.zeros(160, np.int16)


def test_the_first_messages_name_the_call_and_carry_the_token():
    wire = Telnyx(about(shop="12", secret="t0ken", account="me"))
    connected, start = told(wire.start())
    assert connected == {"event": "connected", "version": "1.0.0", "x-telnyx-streaming-auth-token": "t0ken"}
    assert wire.headers() == {"x-telnyx-streaming-auth-token": "t0ken"}
    assert (start["event"], start["sequence_number"], start["stream_id"]) == ("start", "1", wire.stream_id)
    details = start["start"]
    assert (details["call_control_id"], details["from"], details["to"], details["user_id"]) == ("v3:a1", "+4930123", "100", "me")
    assert details["custom_parameters"] == {"shop": "12"}
    assert details["media_format"] == {"encoding": "PCMU", "sample_rate": 8000, "channels": 1}
    assert "x-telnyx-streaming-auth-token" not in told(Telnyx(about()).start())[0]


def test_audio_keys_marks_and_the_end():
    wire = Telnyx(about(encoding="PCMA"))
    assert told(wire.start())[1]["start"]["media_format"]["encoding"] == "PCMA"
    media = json.loads(wire.audio(SILENCE, 20))
    assert (media["sequence_number"], media["stream_id"]) == ("2", wire.stream_id)
    assert media["media"] == {"track": "inbound", "chunk": "1", "timestamp": "20", "payload": base64.b64encode(b"\xd5" * 160).decode()}
    key, mark, cleared, stop = told([*wire.key("#"), *wire.played("m"), *wire.cleared(["n"]), *wire.stop("over")])
    assert key["dtmf"] == {"digit": "#"} and key["occurred_at"] == "2026-01-02T12:00:00.000000Z"
    assert (mark["mark"], cleared["mark"]) == ({"name": "m"}, {"name": "n"})
    assert stop["event"] == "stop" and stop["stop"]["call_control_id"] == "v3:a1"


def test_what_the_bot_asks_for():
    wire = Telnyx(about(encoding="pcma"))
    (said,) = wire.receive_text(json.dumps({"event": "media", "media": {"payload": base64.b64encode(bytes(range(256))).decode()}}).encode())
    assert isinstance(said, Say) and np.array_equal(said.pcm, ALAW_TO_PCM) and said.rate_hz == 8_000
    assert wire.receive_text(b'{"event":"mark","mark":{"name":"m"}}') == (Mark("m"),)
    assert wire.receive_text(b'{"event":"clear"}') == (Clear(),)
    assert isinstance(wire.receive_text(b'{"event":"x"}')[0], Ignored)
    with pytest.raises(BotViolation, match="Telnyx"):
        wire.receive_text(b"{")


def test_an_encoding_that_it_has_not_is_refused():
    with pytest.raises(ConfigurationError, match="no OPUS at its usual rate; it has PCMU at 8000, PCMA at 8000"):
        Telnyx(about(encoding="OPUS"))
