"""A model on a call: what holds for every model, shown with the emulator of OpenAI's."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

import numpy as np
import pytest

from ai_bridge import models
from ai_bridge.loader import load
from control_plane.credentials import Credentials
from control_plane.errors import ConfigurationError
from control_plane.messages import AgentFailed, HangUp, Noted, Transfer, TransferEnded
from control_plane.secret import Secret
from shm.layout import SPEECH_FLAG, SPEECH_HANGOVER_MS
from tests.ai_bridge.line import Line, tone
from tests.ai_bridge.models.realtime import Answer, Call, Realtime, Tone, sine
from tests.ai_bridge.scene import Scene, stage
from tests.ai_bridge.wires.bots import Bot, Session, serving

KEY = "sk-not-to-be-seen-by-anybody-0123456789"
SPEECH, SILENCE = sine(400, 0.2, 8_000), np.zeros(160 * 30, np.int16)


@pytest.fixture(autouse=True)
def keys(monkeypatch):
    monkeypatch.setattr(models, "credentials", Credentials({"openai": Secret(KEY)}, {}))


class Play:
    """A model, a bridge, and one call between them."""

    def __init__(self, scene: Scene, bridge, bot: Bot, line: Line, sessions: list[Realtime]) -> None:
        self.scene, self.bridge, self.bot, self.line, self.sessions = scene, bridge, bot, line, sessions
        self.call = bridge.calls.get("a")

    @property
    def model(self) -> Realtime:
        return self.sessions[-1]

    async def until(self, condition: Callable[[], object]) -> None:
        await self.scene.until(condition)

    async def ready(self) -> None:
        await self.until(lambda: self.sessions and self.model.config and self.call.listener.agent._is_ready)

    async def playing(self, condition: Callable[[], object]) -> None:
        """The line plays on until this is so."""

        def after_a_tick() -> object:
            self.line.tick()
            self.scene.ring()
            return condition()

        await self.until(after_a_tick)

    def says(self, pcm: np.ndarray, flags: int = 0) -> None:
        self.line.caller_says(pcm, flags)
        self.scene.ring()

    def notes(self, kind: str) -> list[Noted]:
        return [note for note in self.scene.of(Noted) if note.kind == kind]


def play(
    tmp_path,
    act: Callable[[Play], Awaitable[None]],
    answer: Callable[[Realtime], Answer] = lambda _: [Tone(1_000, 1.0)],
    rate_hz: int = 8_000,
    refuse: int = 0,
    behave: Callable[[Realtime], Awaitable[None]] | None = None,
    line_format: str = "PCMU",
    **arguments: str,
) -> None:
    sessions: list[Realtime] = []

    async def serve(session: Session) -> None:
        sessions.append(Realtime(session, answer))
        await (behave(sessions[-1]) if behave else sessions[-1].serve())

    async def scenario() -> None:
        async with serving(Bot(serve, refuse)) as bot, stage(tmp_path) as (scene, bridge):
            given = {"retries": "0", **arguments}
            line = await scene.call(f"openai+{bot.url}?model=m", rate_hz=rate_hz, caller="+49301", format=line_format, arguments=given)
            await act(Play(scene, bridge, bot, line, sessions))
            if "a" in bridge.calls:
                scene.stop("a")
            await scene.until(lambda: not bridge.calls and not bridge._stopped)

    asyncio.run(scenario())


def test_the_session_is_configured_first_and_then_gets_what_the_caller_has_said_meanwhile(tmp_path):
    async def act(p: Play) -> None:
        p.says(tone(800))
        await p.until(lambda: p.sessions and p.model.heard.size == 800)
        first = p.bot.sessions[0].messages[0]
        assert first["type"] == "session.update"
        assert first["session"]["audio"] == {
            "input": {
                "format": {"type": "audio/pcmu"},
                "turn_detection": {"type": "server_vad", "silence_duration_ms": 300, "interrupt_response": True},
                "transcription": {"model": "whisper-1", "language": "de"},
            },
            "output": {"format": {"type": "audio/pcmu"}, "voice": "marin"},
        }
        assert first["session"]["instructions"] == "You speak to +49301 of shop 12, ."
        assert first["session"]["max_output_tokens"] == 500
        assert p.bot.sessions[0].headers["Authorization"] == f"Bearer {KEY}" and p.bot.sessions[0].path == "/media?model=m"
        assert [m["type"] for m in p.bot.sessions[0].messages[1:]] == ["input_audio_buffer.append"] * 5

    play(
        tmp_path, act, instructions="You speak to {{caller}} of shop {{shop}}, {{nothing}}.", shop="12", voice="marin",
        silence_ms="300", transcription="whisper-1", language="de", session='{"max_output_tokens": 500}',
    )  # fmt: skip


@pytest.mark.parametrize(
    ("rate_hz", "line_format", "kind"), [(8_000, "PCMU", "audio/pcmu"), (8_000, "PCMA", "audio/pcma"), (16_000, "G722", "audio/pcm")]
)
def test_a_turn_from_the_callers_words_to_the_models(tmp_path, rate_hz, line_format, kind):
    async def act(p: Play) -> None:
        await p.ready()
        p.says(np.concatenate((sine(400, 0.2, rate_hz), np.zeros(rate_hz * 6 // 10, np.int16))))
        await p.until(lambda: p.call.queued_ms >= 980)
        assert p.model.kind == kind and p.model.turns and p.model.turns[0][1] == pytest.approx(200, abs=20)
        await p.playing(lambda: not p.call.is_speaking)
        heard = p.line.heard().astype(float)
        pitch_hz = np.abs(np.fft.rfft(heard * np.hanning(heard.size))).argmax() * rate_hz / heard.size
        assert heard.size == rate_hz and abs(pitch_hz - 1_000) < 3 and not p.model.errors
        await p.until(lambda: p.notes("said"))
        assert [note.text for note in p.notes("heard")] == ["hello there"] and [note.text for note in p.notes("said")] == ["la la"]

    play(tmp_path, act, rate_hz=rate_hz, line_format=line_format, transcription="whisper-1")


def test_where_the_time_of_a_turn_goes_is_noted(tmp_path):
    async def act(p: Play) -> None:
        await p.ready()
        p.says(SPEECH, SPEECH_FLAG)
        p.line.now_ns = time.monotonic_ns() + SPEECH_HANGOVER_MS * 1_000_000
        p.says(SILENCE)
        await p.until(lambda: p.call.queued_ms)
        p.line.now_ns = time.monotonic_ns()
        await p.playing(lambda: p.notes("turn"))
        parts = p.notes("turn")[0].values
        assert set(parts) == {"detected_ms", "model_ms", "wire_ms", "total_ms"} and all(0 <= value < 1_000 for value in parts.values())
        assert parts["total_ms"] == pytest.approx(parts["detected_ms"] + parts["model_ms"] + parts["wire_ms"], abs=0.2)

    play(tmp_path, act)


def test_it_speaks_first_if_the_route_says_so(tmp_path):
    async def act(p: Play) -> None:
        await p.until(lambda: p.sessions and p.model.said("response.create"))
        assert p.model.said("response.create")[0]["response"] == {"instructions": "Say hello."}
        await p.playing(lambda: p.line.heard().size >= 800)

    play(tmp_path, act, greeting="Say hello.")


def test_an_interruption_is_silence_at_once_and_the_model_is_told_what_was_heard(tmp_path):
    async def act(p: Play) -> None:
        await p.ready()
        p.says(np.concatenate((SPEECH, SILENCE)))
        await p.until(lambda: len(p.model.made_ms) == 2)
        await p.until(lambda: p.call.listener.agent._waiting_s > 28)
        assert p.call.queued_ms < 1_200, "the rest waits with us, not in the line"
        await p.playing(lambda: p.line.heard().size >= 37 * 160)
        ticked = p.line.heard().size
        p.says(SPEECH)
        await p.until(lambda: p.call.turn == 1)
        p.line.tick(3)
        p.scene.ring()
        assert p.line.heard().size == ticked, "not a sample after the interruption"
        await p.until(lambda: len(p.model.truncated) == 2)
        assert list(p.model.truncated.values()) in ([ticked // 8, 0], [0, ticked // 8]) and not p.model.errors
        first, second = p.model.made_ms
        assert p.model.truncated == {first: ticked // 8, second: 0}
        await p.until(lambda: p.notes("interrupted"))
        assert p.notes("interrupted")[0].values["heard_ms"] == ticked // 8
        p.says(SILENCE)  # and it answers again, from its first sample on
        await p.until(lambda: len(p.model.made_ms) >= 3)
        await p.playing(lambda: p.line.heard().size >= ticked + 320)
        assert np.abs(p.line.heard()[ticked : ticked + 8]).max() > 3_000

    play(tmp_path, act, lambda _: [Tone(1_000, 20.0), Tone(500, 10.0)])


def test_what_comes_late_of_an_interrupted_answer_is_never_said(tmp_path):
    async def act(p: Play) -> None:
        await p.ready()
        p.says(np.concatenate((SPEECH, SILENCE)))
        await p.playing(lambda: p.line.heard().size >= 1_600)
        p.says(SPEECH, SPEECH_FLAG)  # the line notices; the model goes on until it is told
        await p.until(lambda: p.model.said("response.cancel") and p.model.truncated)
        before = p.line.heard().size
        p.line.tick(20)
        assert p.line.heard().size <= before + 160 and p.call.queued_ms == 0
        assert list(p.model.truncated.values()) == [p.line.heard().size // 8]
        assert p.model.errors == []

    play(tmp_path, act, lambda _: [Tone(1_000, 5.0, gap_s=0.005)], barge_in="line", silence_ms="100")


def test_a_caller_does_not_interrupt_where_the_route_forbids_it(tmp_path):
    async def act(p: Play) -> None:
        await p.ready()
        p.says(np.concatenate((SPEECH, SILENCE)))
        await p.playing(lambda: p.line.heard().size >= 1_600)
        p.says(np.concatenate((SPEECH, SILENCE)))
        await p.playing(lambda: p.line.heard().size == 8_000)
        assert p.call.turn == 0 and not p.model.truncated and not p.model.said("response.cancel")

    play(tmp_path, act, barge_in="off")


def test_the_line_decides_where_turns_end(tmp_path):
    async def act(p: Play) -> None:
        await p.ready()
        p.says(SILENCE)
        p.says(SPEECH, SPEECH_FLAG)
        p.says(SILENCE)
        await p.until(lambda: p.model.said("input_audio_buffer.commit"))
        assert p.model.config["audio"]["input"]["turn_detection"] is None
        assert p.model.heard.size == SPEECH.size + 15 * 160, "speech with 300 ms before it, and no silence"
        await p.playing(lambda: p.line.heard().size >= 1_600)

    play(tmp_path, act, turns="line", barge_in="line")


def test_hang_up_lets_the_last_words_be_heard(tmp_path):
    async def act(p: Play) -> None:
        await p.ready()
        p.says(np.concatenate((SPEECH, SILENCE)))
        await p.playing(lambda: p.scene.of(HangUp))
        assert p.scene.of(HangUp)[0].cause == "the model hung up: they said goodbye" and p.line.heard().size == 8_000 * 3

    play(tmp_path, act, lambda _: [Tone(1_000, 3.0), Call("hang_up", '{"reason": "they said goodbye"}')], tools="hang_up")


def test_transfer_goes_to_named_places_only_and_the_model_is_told_what_became_of_it(tmp_path):
    def answer(model: Realtime) -> Answer:
        outputs = len(model.said("conversation.item.create"))
        return [Call("transfer", f'{{"to": "{["+1900555", "desk"][outputs]}"}}')] if outputs < 2 else [Tone(500, 0.1)]

    async def act(p: Play) -> None:
        await p.ready()
        p.says(np.concatenate((SPEECH, SILENCE)))
        await p.until(lambda: p.scene.of(Transfer))
        assert [order.to for order in p.scene.of(Transfer)] == ["sip:desk@pbx.example"]
        told = p.model.said("conversation.item.create")[0]["item"]
        why_not = '{"done":false,"why":"there is no such place; there are desk"}'
        assert told == {"type": "function_call_output", "call_id": "call_0", "output": why_not}
        assert p.scene.switchboard.send(b"bridge-0", TransferEnded(call_id="a", was_accepted=False, status=486, why="busy"))
        await p.until(lambda: len(p.model.said("conversation.item.create")) == 2)
        assert p.model.said("conversation.item.create")[1]["item"]["output"] == '{"done":false,"why":"busy"}'
        await p.playing(lambda: p.line.heard().size == 800)

    play(tmp_path, act, answer, tools="transfer", transfer_to="desk = sip:desk@pbx.example")


def test_keys_of_the_caller_are_told_in_one_piece(tmp_path, monkeypatch):
    monkeypatch.setattr("ai_bridge.models.agent.KEYS_PAUSE_S", 0.1)

    async def act(p: Play) -> None:
        await p.ready()
        for key in "12#":
            p.line.caller_presses(key)
        p.scene.ring()
        await p.until(lambda: p.model.said("response.create"))
        assert "keys of the telephone: 12#" in p.model.said("conversation.item.create")[0]["item"]["content"][0]["text"]

    play(tmp_path, act)


def test_a_session_that_breaks_is_opened_anew_and_told_what_was_said(tmp_path):
    async def act(p: Play) -> None:
        await p.until(lambda: p.notes("said"))
        p.says(np.concatenate((SPEECH, SILENCE)))
        await p.until(lambda: len(p.notes("said")) == 2)
        p.model.session.socket._writer.transport.abort()  # type: ignore[union-attr]
        await p.until(lambda: len(p.sessions) == 2 and p.model.said("response.create"))
        items = [message["item"] for message in p.model.said("conversation.item.create")]
        assert [(i["role"], i["content"][0]["type"], i["content"][0]["text"]) for i in items] == [
            ("assistant", "output_text", "la la"), ("user", "input_text", "hello there"), ("assistant", "output_text", "la la")
        ]  # fmt: skip
        assert "response" not in p.model.said("response.create")[0], "it is not greeted twice"
        assert not p.scene.of(HangUp)

    play(tmp_path, act, retries="1", transcription="whisper-1", greeting="Hello.")


def test_another_agent_takes_over_when_the_model_is_away_and_the_log_says_why(tmp_path, caplog):
    async def act(p: Play) -> None:
        await p.until(lambda: p.bridge.calls["a"].resumed)
        assert KEY not in caplog.text and "the model at ws://127.0.0.1" in caplog.text and "echo takes the call" in caplog.text

    with caplog.at_level(logging.DEBUG):
        play(tmp_path, act, refuse=9, fallback="echo", retries="1")


async def stall(model: Realtime) -> None:
    model.is_deaf = True
    await model.serve()


async def stall_after_a_turn(model: Realtime) -> None:
    async def deaf(session: Session, message: object) -> None:
        await receive(session, message)
        model.is_deaf = bool(model.config)

    receive = model.receive
    model.receive = deaf  # type: ignore[method-assign]
    await model.serve()


async def send_garbage(model: Realtime) -> None:
    await model.session.send("this is not JSON")
    await model.session.read()


async def send_bad_audio(model: Realtime) -> None:
    await model.session.send({"type": "response.output_audio.delta", "item_id": "i", "delta": "!!!"})
    await model.session.read()


async def say_goodbye(model: Realtime) -> None:
    await model.session.socket.close()


@pytest.mark.parametrize(
    ("behave", "reason"),
    [
        (stall, "said nothing for 1 s: it is stuck"),
        (stall_after_a_turn, "said nothing for 1 s: it is stuck"),
        (send_garbage, "what is not a message of OpenAI Realtime"),
        (send_bad_audio, "audio that is not base64"),
        (say_goodbye, "the model closed the connection"),
    ],
)
def test_a_model_that_fails_ends_its_own_call_and_says_why(tmp_path, behave, reason):
    async def act(p: Play) -> None:
        for _ in range(3):
            await asyncio.sleep(0.02)
            p.says(SPEECH, SPEECH_FLAG)
            p.says(SILENCE)
        await p.until(lambda: p.scene.of(HangUp))
        assert reason in p.scene.of(HangUp)[0].cause

    play(tmp_path, act, behave=behave, answer_seconds="1")


def test_a_cough_that_the_model_does_not_answer_costs_no_session(tmp_path):
    async def act(p: Play) -> None:
        await p.ready()
        p.says(tone(160) // 100, SPEECH_FLAG)
        p.says(SILENCE)
        await asyncio.sleep(1.6)
        assert len(p.model.said("session.update")) == 2 and len(p.sessions) == 1 and not p.scene.of(HangUp)

    play(tmp_path, act, answer_seconds="1")


def test_settings_that_the_model_refuses_are_told_in_its_words(tmp_path):
    async def act(p: Play) -> None:
        await p.until(lambda: p.scene.of(HangUp))
        assert p.scene.of(HangUp)[0].cause == "the model refused the session: Invalid value: 'nobody'. Supported values are: 'alloy'"

    play(tmp_path, act, voice="nobody", retries="3")


def test_a_call_in_which_nobody_speaks_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(models.settings.Settings, "LIMITS", ())

    async def act(p: Play) -> None:
        await p.until(lambda: p.scene.of(HangUp))
        assert "nobody has spoken for idle_seconds (0.4)" in p.scene.of(HangUp)[0].cause

    play(tmp_path, act, idle_seconds="0.4")


def test_a_key_that_is_not_there_fails_the_call_and_a_key_in_its_place_is_not_shown(tmp_path, caplog):
    async def named(p: Play) -> None:
        await p.until(lambda: p.scene.of(AgentFailed))
        assert 'there is no key "azure": write azure = "..." under [keys]' in p.scene.of(AgentFailed)[0].why

    async def written(p: Play) -> None:
        await p.until(lambda: p.scene.of(AgentFailed))
        assert "this is no name of a key" in p.scene.of(AgentFailed)[0].why and KEY not in p.scene.of(AgentFailed)[0].why

    play(tmp_path, named, key="azure")
    play(tmp_path, written, key=KEY)
    assert KEY not in caplog.text


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"turns": "never"}, "turns"),
        ({"session": "[]"}, "session is no JSON object"),
        ({"tools": "dance"}, 'tools: "dance": there is no such tool; there are hang_up, press_keys, transfer'),
        ({"tools": "transfer"}, "needs transfer_to"),
        ({"tools_file": "/nowhere.json"}, "tools_file: /nowhere.json cannot be read"),
        ({"instructions_file": "/nowhere"}, "instructions_file: /nowhere cannot be read"),
        ({"answer_seconds": "0"}, "answer_seconds is 0.0, not from 1 to 300"),
        ({"encoding": "opus"}, 'encoding is "OPUS": models have PCMU, PCMA and L16'),
    ],
)
def test_arguments_that_are_wrong_fail_the_call_and_are_named(tmp_path, arguments, reason):
    async def act(p: Play) -> None:
        await p.until(lambda: p.scene.of(AgentFailed))
        assert reason in p.scene.of(AgentFailed)[0].why

    play(tmp_path, act, **arguments)


def test_an_address_is_an_agent():
    kind = load("openai+wss://api.openai.com/v1/realtime?model=gpt-realtime")
    assert kind.__name__ == "OpenAIAgent" and kind.url == "wss://api.openai.com/v1/realtime?model=gpt-realtime"
    with pytest.raises(ConfigurationError, match="a key in an address is shown"):
        load("openai+wss://api.openai.com/v1/realtime?api_key=sk")
    with pytest.raises(ConfigurationError, match="is not ws or wss"):
        load("openai+https://api.openai.com/v1/realtime")
