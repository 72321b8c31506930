"""Speech-to-speech models on the phone: a real caller, the whole server, and servers that know nothing of us."""

import subprocess
import sys
import urllib.request

import numpy as np

from tests.ai_bridge.models.realtime import Answer, Call, Realtime, Tone, encode, sine
from tests.ai_bridge.wires.bots import Bot, Session, serving_beside
from tests.system.caller import FRAME, Caller, tone
from tests.system.conftest import StartServer
from tests.system.server import HOST, ROOT, Server, free_tcp_port, wait_for
from tests.system.sound import pitch_and_level

KEY = "sk-not-to-be-seen-by-anybody-0123456789"
SILENCE = bytes([0xFF]) * FRAME


class Talker:
    """What a caller says: 440 Hz while told to, silence else."""

    def __init__(self) -> None:
        self.is_speaking = False
        self.tone = tone(440)

    def __call__(self, frame: int) -> bytes:
        return self.tone(frame) if self.is_speaking else SILENCE

    def say(self, caller: Caller, frames: int) -> None:
        self.is_speaking = True
        wanted = caller.sent + frames
        wait_for("the caller speaks", lambda: caller.sent >= wanted)
        self.is_speaking = False


def start(start_server: StartServer, url: str, http: dict[str, str] | None = None, **arguments: str) -> Server:
    route = {"agent": f"openai+{url}", "arguments": {"retries": "0", **arguments}}
    return start_server(only=[route], keys={"openai": KEY}, http=http or {})


def check_nothing_shows_the_key(server: Server) -> None:
    shown = [server.log(), server.command("calls").stdout, repr(server.calls())]
    shown += [path.read_text(errors="replace") for path in server.runtime.glob("*journal*") if path.is_file()]
    assert not any(KEY in text for text in shown)


def test_a_model_hears_speaks_and_is_told_what_an_interrupted_caller_heard(start_server: StartServer) -> None:
    sessions: list[Realtime] = []
    words: Answer = [Tone(1_003, 20.0, "a long story")]  # no two frames within a second are alike
    said = encode("audio/pcmu", sine(1_003, 20.0, 8_000))

    async def serve(session: Session) -> None:
        sessions.append(Realtime(session, lambda model: words))
        await sessions[-1].serve()

    with serving_beside(Bot(serve)) as bot:
        http_port = free_tcp_port()
        http = {"listen": f"{HOST}:{http_port}"}
        server, talker = start(start_server, bot.url, http, silence_ms="300", tools="hang_up"), Talker()
        with Caller(server.sip_port, payload=talker) as caller:
            wait_for("the session", lambda: sessions and sessions[0].config)
            model, since = sessions[0], 0
            talker.say(caller, 30)
            for turn in range(3):
                begun = wait_for("the model's speech", lambda since=since: find(caller, said[:FRAME], since))
                caller.wait_for_packets(40 + 13 * turn)
                talker.say(caller, 30)
                wait_for("the truncation", lambda turn=turn: len(model.truncated) > turn)
                caller.wait_for_packets(3)
                payloads = [packet.payload for packet in caller.received[begun:]]
                heard = next(n for n, payload in enumerate(payloads) if payload != said[n * FRAME : (n + 1) * FRAME])
                told_ms = list(model.truncated.values())[turn]
                print(f"truncated at {told_ms} ms; {heard * 20} ms are on the recording")
                assert heard > 30 and told_ms == heard * 20
                since = begun + heard
            assert not model.errors
            loud = model.heard[np.abs(model.heard.astype(int)) > 50]
            pitch_hz, level = pitch_and_level(model.heard[: FRAME * 60][-8_000:])
            assert abs(pitch_hz - 440) < 10 and loud.size > FRAME * 80, (pitch_hz, level)
            check_nothing_shows_the_key(server)
            with urllib.request.urlopen(f"http://{HOST}:{http_port}/metrics") as answer:
                turns = [line for line in answer.read().decode().splitlines() if line.startswith("bellframe_call_turn_") and "_sum" in line]
            print(*turns, sep="\n")
            assert len(turns) == 4
            words[:] = [Tone(500, 0.3, "goodbye"), Call("hang_up", '{"reason": "done"}')]
            find_next = len(caller.received)
            wait_for("another answer", lambda: find(caller, said[:FRAME], find_next - 200))
            talker.say(caller, 20)
            assert "BYE" in caller.answer_bye(20)
            last = caller.audio(-60)
            end = np.flatnonzero(np.abs(last) > 1_000)[-1]
            assert abs(pitch_and_level(last[end - 1_600 : end])[0] - 500) < 10, "the last words are heard"
            caller.check_stream()
        server.wait_until_quiet()
        server.check_log()


def is_tone(caller: Caller, wanted_hz: float) -> bool:
    pitch_hz, level = pitch_and_level(caller.audio(-25))
    return abs(pitch_hz - wanted_hz) < 10 and level > 7_000


def find(caller: Caller, payload: bytes, since: int) -> int | None:
    return next((n for n, packet in enumerate(list(caller.received)) if n >= since and packet.payload == payload), None)


def test_another_agent_takes_over_when_the_models_server_is_killed(start_server: StartServer) -> None:
    process = subprocess.Popen([sys.executable, "-m", "tests.ai_bridge.models.realtime"], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert process.stdout is not None
        server, talker = start(start_server, process.stdout.readline().strip(), fallback="echo"), Talker()
        with Caller(server.sip_port, payload=talker) as caller:
            caller.wait_for_packets(25)
            talker.say(caller, 30)
            wait_for("the model speaks", lambda: is_tone(caller, 1_000))
            process.kill()
            talker.is_speaking = True
            wait_for("the echo", lambda: is_tone(caller, 440))
            caller.check_stream()
            print(f"longest gap between packets: {caller.longest_gap_ms():.1f} ms")
        server.wait_until_quiet()
        assert "the model's connection broke" in server.log() and "echo takes the call" in server.log()
        server.check_log()
    finally:
        process.kill()
        process.wait()
        process.stdout and process.stdout.close()
