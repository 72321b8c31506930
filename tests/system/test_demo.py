"""`bellframe demo`, as anybody runs it: real processes, a real call, a recording and a picture."""

import json
import pathlib
import subprocess
import sys
import wave

import numpy as np
import pytest

pytest.importorskip("espeakng_loader", reason="pip install 'bellframe[agent]'")
pytest.importorskip("pocketsphinx", reason="pip install 'bellframe[agent]'")
pytest.importorskip("matplotlib", reason="pip install 'bellframe[agent]'")
LIMIT_S = 280  # where nothing is compiled yet


@pytest.mark.timeout(LIMIT_S + 20)
def test_the_demo_shows_everything(tmp_path: pathlib.Path) -> None:
    command = [sys.executable, "-m", "control_plane.command", "demo", "--json", "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 0, done.stderr[-4_000:]
    told = json.loads(done.stdout)
    assert told["is_complete"] and [one["text"] for one in told["interruptions"]] == ["operator", "goodbye"]
    with wave.open(told["recording"]) as file:
        stereo = np.frombuffer(file.readframes(file.getnframes()), np.int16).reshape(-1, 2)
        assert file.getframerate() == 8_000 and 15 < len(stereo) / 8_000 < 60
    assert np.abs(stereo.astype(int)).max(axis=0).min() > 2_000, "both sides are loud"
    assert pathlib.Path(told["picture"]).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


@pytest.mark.timeout(LIMIT_S + 20)
def test_the_demo_shows_a_bot_over_a_wire(tmp_path: pathlib.Path) -> None:
    command = [sys.executable, "-m", "control_plane.command", "demo", "--wire", "twilio", "--json", "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 0, done.stderr[-4_000:]
    told = json.loads(done.stdout)
    assert told["is_complete"] and [one["text"] for one in told["interruptions"]] == ["operator", "goodbye"]
    assert "the agent understood the key “2”" in [part["name"] for part in told["parts"]]
    assert pathlib.Path(told["picture"]).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
