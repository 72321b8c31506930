import base64
import hashlib
import hmac
import json

import numpy as np
import pytest

from ai_bridge.wires.twilio import Twilio
from ai_bridge.wires.wire import BotViolation, Clear, Ignored, Mark, Say
from control_plane.g711 import ULAW_TO_PCM
from tests.ai_bridge.wires.about import URL, about, told


def make(**arguments: str) -> Twilio:
    return Twilio(about(**arguments))


def test_the_first_two_messages_are_connected_and_start():
    wire = make(campaign="spring", account="AC1")
    connected, start = told(wire.start())
    assert connected == {"event": "connected", "protocol": "Call", "version": "1.0.0"}
    sid = start["streamSid"]
    assert sid.startswith("MZ") and len(sid) == 34
    assert start == {
        "event": "start",
        "sequenceNumber": "1",
        "streamSid": sid,
        "start": {
            "streamSid": sid,
            "accountSid": "AC1",
            "callSid": "CA" + "a1".rjust(32, "0"),
            "tracks": ["inbound"],
            "customParameters": {"from_number": "+4930123", "to_number": "100", "campaign": "spring"},
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        },
    }


def test_audio_is_numbered_with_strings_and_carries_every_code():
    wire = make()
    wire.start()
    codes = bytes(range(160))
    first = json.loads(wire.audio(ULAW_TO_PCM[np.frombuffer(codes, np.uint8)], 0))
    second = json.loads(wire.audio(np.zeros(160, np.int16), 20))
    assert (first["event"], first["sequenceNumber"], first["streamSid"]) == ("media", "2", wire.stream_sid)
    media = first["media"]
    assert (media["track"], media["chunk"], media["timestamp"]) == ("inbound", "1", "0")
    zero = codes.index(0x7F)  # the one value with two codes: minus zero comes back as zero
    sent = base64.b64decode(media["payload"])
    assert sent[:zero] + sent[zero + 1 :] == codes[:zero] + codes[zero + 1 :] and sent[zero] == 0xFF
    assert second["media"] == {"track": "inbound", "chunk": "2", "timestamp": "20", "payload": base64.b64encode(b"\xff" * 160).decode()}


def test_keys_marks_and_the_end_are_in_the_same_numbering():
    wire = make()
    wire.start()
    messages = told([*wire.key("5"), *wire.played("greeting"), *wire.cleared(["a", "b"]), *wire.stop("over")])
    assert [message["sequenceNumber"] for message in messages] == ["2", "3", "4", "5", "6"]
    assert {message["streamSid"] for message in messages} == {wire.stream_sid}
    assert messages[0]["dtmf"] == {"track": "inbound_track", "digit": "5"}
    assert [message["mark"]["name"] for message in messages[1:4]] == ["greeting", "a", "b"]
    assert messages[4]["event"] == "stop" and messages[4]["stop"] == {"accountSid": "AC" + "0" * 32, "callSid": wire.call_sid}


def test_what_the_bot_asks_for():
    wire = make()
    payload = base64.b64encode(bytes(range(256))).decode()
    (said,) = wire.receive_text(json.dumps({"event": "media", "streamSid": "x", "media": {"payload": payload}}).encode())
    assert isinstance(said, Say) and said.rate_hz == 8_000 and np.array_equal(said.pcm, ULAW_TO_PCM)
    assert wire.receive_text(b'{"event":"mark","streamSid":"x","mark":{"name":"m"}}') == (Mark("m"),)
    assert wire.receive_text(b'{"event":"clear","streamSid":"x"}') == (Clear(),)
    (ignored,) = wire.receive_text(b'{"event":"dance"}')
    assert isinstance(ignored, Ignored) and "dance" in ignored.what


@pytest.mark.parametrize("message", [b"hello", b"[]", b'{"event":"media","media":{"payload":"***"}}', b'{"event":7}', b"\xff\xfe", b""])
def test_garbage_is_the_bots_error_and_says_so(message):
    with pytest.raises(BotViolation, match="the bot sent what is not a message of Twilio"):
        make().receive_text(message)


def test_binary_has_no_place_in_it():
    with pytest.raises(BotViolation, match="base64"):
        make().receive_binary(b"\0" * 320)


def test_it_is_signed_as_twilio_signs_if_there_is_a_secret():
    assert make().headers() == {}
    digest = hmac.new(b"12345", URL.encode(), hashlib.sha1).digest()
    assert make(secret="12345").headers() == {"X-Twilio-Signature": base64.b64encode(digest).decode()}
