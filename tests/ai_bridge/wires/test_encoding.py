import numpy as np
import pytest

from ai_bridge.wires.encoding import L16, L16_BIG_ENDIAN, PCMA, PCMU, Encoding, as_the_line, choose
from ai_bridge.wires.options import Options
from ai_bridge.wires.wire import BotViolation
from control_plane.errors import ConfigurationError

SAMPLES = np.array([0, 1, -1, 1000, -1000, 32767, -32768], np.int16)


@pytest.mark.parametrize(("law", "same"), [(PCMU, {0x7F: 0xFF}), (PCMA, {})])
def test_g711_comes_back_as_it_was(law: Encoding, same: dict[int, int]):
    codes = bytes(range(256))
    assert law.encode(law.decode(codes)) == bytes(same.get(code, code) for code in codes)
    assert law.decode(b"").size == 0


@pytest.mark.parametrize(("law", "first"), [(L16, b"\x01\x00"), (L16_BIG_ENDIAN, b"\x00\x01")])
def test_l16_in_either_order(law: Encoding, first: bytes):
    assert np.array_equal(law.decode(law.encode(SAMPLES)), SAMPLES) and law.encode(SAMPLES)[2:4] == first
    assert law.decode(law.encode(SAMPLES)).dtype == np.int16
    with pytest.raises(BotViolation, match="3 bytes of 16-bit audio"):
        law.decode(b"abc")


@pytest.mark.parametrize(
    ("line", "rate_hz", "chosen"),
    [
        ("PCMU", 8_000, ("PCMU", 8_000)),
        ("PCMA", 8_000, ("PCMA", 8_000)),
        ("G722", 16_000, ("L16", 16_000)),
        ("OPUS", 16_000, ("L16", 16_000)),
    ],
)
def test_as_the_line_has_it(line: str, rate_hz: int, chosen: tuple[str, int]):
    options = as_the_line(Options(encoding="line", secret="s"), line, rate_hz)
    assert choose(options, [("PCMU", 8_000), ("PCMA", 8_000), ("L16", 8_000), ("L16", 16_000)]) == chosen and options.secret == "s"
    with pytest.raises(ConfigurationError, match="this wire has no"):
        choose(options, [("L16", 24_000)])
