import base64
import hashlib
import hmac
import json

import numpy as np

from ai_bridge.wires.vobiz import Vobiz
from ai_bridge.wires.wire import Finish, Press, Say
from tests.ai_bridge.wires.about import about, told

SAMPLES = np.array([1, -2, 300], np.int16)


def test_it_hears_big_endian_and_plays_little_endian():
    wire = Vobiz(about())
    assert told(wire.start())[0]["start"]["mediaFormat"] == {"encoding": "audio/x-l16", "sampleRate": 8000}
    heard = base64.b64decode(json.loads(wire.audio(SAMPLES, 0))["media"]["payload"])
    assert heard == SAMPLES.astype(">i2").tobytes()
    media = {"contentType": "audio/x-l16", "sampleRate": 24000, "payload": base64.b64encode(SAMPLES.astype("<i2").tobytes()).decode()}
    (said,) = wire.receive_text(json.dumps({"event": "playAudio", "media": media}).encode())
    assert isinstance(said, Say) and np.array_equal(said.pcm, SAMPLES) and said.rate_hz == 24_000


def test_it_tells_and_takes_what_plivo_does():
    wire = Vobiz(about(shop="12"))
    assert "shop" in told(wire.start())[0]["extra_headers"]
    assert wire.receive_text(b'{"event":"sendDTMF","dtmf":"12"}') == (Press("12"),)


def test_the_bot_may_end_the_call_at_once():
    assert Vobiz(about()).receive_text(b'{"event":"stop","streamId":"x"}') == (Finish("the bot has stopped the stream", at_once=True),)


def test_both_signatures_cover_the_url_without_its_query():
    headers = Vobiz(about(secret="s")).headers()
    for version, between in (("V2", ""), ("V3", ".")):
        nonce = headers[f"X-Vobiz-Signature-{version}-Nonce"]
        digest = hmac.new(b"s", f"wss://bot.example/media{between}{nonce}".encode(), hashlib.sha256).digest()
        assert headers[f"X-Vobiz-Signature-{version}"] == base64.b64encode(digest).decode()
    assert Vobiz(about()).headers() == {}
