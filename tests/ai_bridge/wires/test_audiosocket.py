import struct
import uuid

import numpy as np
import pytest

from ai_bridge.wires.audiosocket import AudioSocket
from ai_bridge.wires.wire import BotViolation, Finish, Ignored, Press, Say
from tests.ai_bridge.wires.about import about

SAMPLES = np.array([1, -2, 300], np.int16)
RAW = SAMPLES.astype("<i2").tobytes()


def test_its_messages_have_a_kind_and_a_big_endian_length():
    wire = AudioSocket(about())
    (first,) = wire.start()
    assert first[:3] == b"\x01\x00\x10" and first == AudioSocket(about()).start()[0], "the same call has the same id"
    call = uuid.uuid4()
    assert AudioSocket(about()._replace(call_id=call.hex)).start() == (b"\x01\x00\x10" + call.bytes,)
    assert wire.audio(SAMPLES, 0) == b"\x10\x00\x06" + RAW
    assert (wire.key("5"), wire.stop("BYE")) == ((b"\x03\x00\x015",), (b"\x00\x00\x00",))


@pytest.mark.parametrize(("rate_hz", "kind"), [(8_000, 0x10), (16_000, 0x12), (24_000, 0x13), (48_000, 0x16)])
def test_the_kind_of_audio_is_its_rate(rate_hz, kind):
    wire = AudioSocket(about(sample_rate_hz=str(rate_hz)))
    assert wire.sample_rate_hz == rate_hz and wire.audio(SAMPLES, 0)[0] == kind
    (said,) = wire.receive_binary(struct.pack(">BH", kind, 6) + RAW)
    assert isinstance(said, Say) and said.rate_hz == rate_hz and np.array_equal(said.pcm, SAMPLES)


def test_what_else_a_bot_sends():
    wire = AudioSocket(about())
    assert wire.receive_binary(b"\x00\x00\x00") == (Finish("the bot hung up", at_once=True),)
    assert wire.receive_binary(b"\x03\x00\x017") == (Press("7"),)
    assert wire.receive_binary(b"\xff\x00\x01\x04") == (Finish("the bot reported an error: 04", at_once=True),)
    assert isinstance(wire.receive_binary(b"\x77\x00\x00")[0], Ignored)
    for message in (b"\x10\x00\x01x", b"\x03\x00\x01\xff"):
        with pytest.raises(BotViolation):
            wire.receive_binary(message)
