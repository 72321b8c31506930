import base64
import hashlib
import hmac
import json

import numpy as np
import pytest

from ai_bridge.wires.plivo import Plivo
from ai_bridge.wires.wire import BotViolation, Clear, Ignored, Mark, Press, Say
from control_plane.g711 import ULAW_TO_PCM
from tests.ai_bridge.wires.about import about, told

SAMPLES = np.array([1, -2, 300], np.int16)


def play(content_type: str, rate_hz: object, payload: bytes) -> bytes:
    media = {"contentType": content_type, "sampleRate": rate_hz, "payload": base64.b64encode(payload).decode()}
    return json.dumps({"event": "playAudio", "media": media}).encode()


def test_start_is_the_first_message_and_holds_the_names():
    wire = Plivo(about(shop="12", odd="a;b", account="MA1"))
    (start,) = told(wire.start())
    assert start == {
        "event": "start",
        "sequenceNumber": 1,
        "start": {
            "callId": "a1",
            "streamId": wire.stream_id,
            "accountId": "MA1",
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000},
        },
        "extra_headers": "from=+4930123;to=100;shop=12",
    }


def test_audio_keys_checkpoints_and_no_stop():
    wire = Plivo(about(encoding="L16", sample_rate_hz="16000"))
    assert told(wire.start())[0]["start"]["mediaFormat"] == {"encoding": "audio/x-l16", "sampleRate": 16000}
    media = json.loads(wire.audio(SAMPLES, 40))
    assert (media["sequenceNumber"], media["streamId"]) == (2, wire.stream_id)
    assert media["media"] == {"track": "inbound", "timestamp": "40", "chunk": 1, "payload": "AQD+/ywB"}
    key, played, cleared = told([*wire.key("9"), *wire.played("c"), *wire.cleared(["gone"])])
    assert key["dtmf"] == {"track": "inbound", "digit": "9", "timestamp": "1767355200000"}
    assert (played["event"], played["name"], played["streamId"]) == ("playedStream", "c", wire.stream_id)
    assert cleared == {"event": "clearedAudio", "sequenceNumber": 5, "streamId": wire.stream_id}
    assert not wire.stop("over")


def test_what_the_bot_asks_for():
    wire = Plivo(about())
    (said,) = wire.receive_text(play("audio/x-mulaw", 8000, bytes(range(256))))
    assert isinstance(said, Say) and np.array_equal(said.pcm, ULAW_TO_PCM) and said.rate_hz == 8_000
    (said,) = wire.receive_text(play("audio/x-l16", "16000", SAMPLES.astype("<i2").tobytes()))
    assert isinstance(said, Say) and np.array_equal(said.pcm, SAMPLES) and said.rate_hz == 16_000
    assert wire.receive_text(b'{"event":"checkpoint","streamId":"x","name":"c"}') == (Mark("c"),)
    assert wire.receive_text(b'{"event":"clearAudio","streamId":"x"}') == (Clear(),)
    assert wire.receive_text(b'{"event":"sendDTMF","dtmf":"12#"}') == (Press("12#"),)
    assert isinstance(wire.receive_text(b'{"event":"media"}')[0], Ignored)


REFUSED = [play("audio/mp3", 8000, b""), play("audio/x-l16", 24000, b""), play("audio/x-l16", 8000, b"abc"), b"?"]


@pytest.mark.parametrize("message", REFUSED)
def test_what_it_cannot_play_is_the_bots_error(message):
    with pytest.raises(BotViolation):
        Plivo(about()).receive_text(message)


def test_the_signature_covers_the_url_and_a_nonce():
    headers = Plivo(about(secret="s")).headers()
    nonce = headers["X-Plivo-Signature-V3-Nonce"]
    digest = hmac.new(b"s", f"wss://bot.example/media?a=1&b=2.{nonce}".encode(), hashlib.sha256).digest()
    assert headers["X-Plivo-Signature-V3"] == base64.b64encode(digest).decode() and len(nonce) == 20
    assert Plivo(about()).headers() == {}
