import pathlib

import numpy as np
import pytest

from control_plane.commands.picture import COLUMNS, Interruption, Recording, draw, envelope

pytest.importorskip("matplotlib", reason="pip install 'bellframe[agent]'")
RATE = 8_000


def recording(seconds: float, *, with_everything: bool) -> Recording:
    stereo = np.random.default_rng(1).integers(-9_000, 9_000, (int(seconds * RATE), 2)).astype(np.int16)
    if not with_everything:
        return Recording(stereo, RATE, ([], []), [], [], ([], []), "")
    texts = ([(1.0, "opening hours")], [(0.1, "a sentence " * 60), (3.0, "$x_1$ is text, not mathematics")])
    interruptions = [Interruption(float(n), n + 0.03, "stop", n + 0.02) for n in range(1, 6)]
    return Recording(stereo, RATE, ([(1.0, 1.5)], [(0.1, 4.0)]), [(2.0, "#")], interruptions, texts, "title")


@pytest.mark.parametrize(("seconds", "with_everything"), [(8.0, True), (8.0, False), (0.0, False)])
def test_a_call_is_drawn(tmp_path: pathlib.Path, seconds: float, with_everything: bool) -> None:
    from matplotlib import image

    draw(tmp_path / "call.png", recording(seconds, with_everything=with_everything))
    pixels = image.imread(tmp_path / "call.png")
    assert pixels.shape[1] == 1_760 and pixels.shape[0] > 600
    darkened = (pixels[..., :3].min(axis=2) < 0.9).mean()
    assert 0.001 < darkened < 0.6


def test_the_envelope_keeps_every_peak() -> None:
    samples = np.zeros(100_000, np.int16)
    samples[[7, 50_000, 99_999]] = 1_000, -2_000, 3_000
    times, low, high = envelope(samples, RATE)
    assert len(times) == len(low) == len(high) <= COLUMNS
    assert (low.min(), high.max(), np.count_nonzero(low), np.count_nonzero(high)) == (-2_000, 3_000, 1, 2)
    assert times[-1] == pytest.approx(100_000 / RATE, rel=0.01)
