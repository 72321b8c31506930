import asyncio
import json

import numpy as np
import pytest

from ai_bridge.wires.asterisk import Asterisk
from ai_bridge.wires.wire import BotViolation, Clear, Finish, Ignored, Look, Mark, Pause, Resume, Say
from control_plane.errors import ConfigurationError
from tests.ai_bridge.scene import stage
from tests.ai_bridge.wires.about import about, told
from tests.ai_bridge.wires.bots import Bot, Session, serving

SAMPLES = np.array([1, -2, 300], np.int16)


def test_it_tells_of_the_call_in_plain_text_as_asterisk_does_by_default():
    wire = Asterisk(about())
    assert wire.headers() == {"Sec-WebSocket-Protocol": "media"}
    assert wire.start() == (
        b"MEDIA_START connection_id:a1 channel:WebSocket/a1 channel_id:a1 format:ulaw optimal_frame_size:160 ptime:20",
    )
    assert wire.key("5") == (b"DTMF_END digit:5 channel_id:a1",)
    assert wire.queue_full(18_001) == (b"MEDIA_XOFF",) and wire.receive_text(b"GET_STATUS") == (Look(),)
    assert wire.queue(18_000, True) == (
        b"STATUS channel_id:a1 queue_length:900 xon_level:800 xoff_level:900 queue_full:true bulk_media:false media_paused:true",
    )
    assert wire.queue_low(16_000) == (b"MEDIA_XON",)


def test_or_in_json_with_the_channels_variables():
    wire = Asterisk(about(control_messages="json", shop="12", encoding="L16", sample_rate_hz="16000"))
    (start,) = told(wire.start())
    assert (start["event"], start["format"], start["optimal_frame_size"], start["ptime"]) == ("MEDIA_START", "slin16", 640, 20)
    variables = start["channel_variables"]
    assert (variables["MEDIA_WEBSOCKET_CONNECTION_ID"], variables["CALLERID(num)"], variables["shop"]) == ("a1", "+4930123", "12")
    assert told(wire.key("#")) == [{"event": "DTMF_END", "digit": "#", "channel_id": "a1"}]
    assert told(wire.queue_full(1)) == [{"event": "MEDIA_XOFF", "channel_id": "a1"}]
    wire.receive_text(b'{"command":"GET_STATUS"}')
    (status,) = told(wire.queue(40, False))
    assert (status["event"], status["queue_length"], status["queue_full"], status["media_paused"]) == ("STATUS", 2, True, False)


@pytest.mark.parametrize(
    ("encoding", "rate_hz", "name", "size"),
    [("PCMA", 8_000, "alaw", 160), ("L16", 8_000, "slin", 320), ("L16", 44_100, "slin44", 1_764), ("L16", 48_000, "slin48", 1_920)],
)
def test_formats_have_asterisks_names(encoding, rate_hz, name, size):
    wire = Asterisk(about(encoding=encoding, sample_rate_hz=str(rate_hz)))
    assert f"format:{name} optimal_frame_size:{size} " in wire.start()[0].decode()
    pcm = np.full(rate_hz // 50, 1_000, np.int16)
    (said,) = wire.receive_binary(wire.audio(pcm, 0))
    assert isinstance(said, Say) and said.rate_hz == rate_hz and np.abs(said.pcm - 1_000).max() < 40


@pytest.mark.parametrize("is_json", [False, True])
def test_what_the_bot_asks_for(is_json):
    wire = Asterisk(about(control_messages="json" if is_json else ""))

    def ask(command: str, correlation_id: str = "") -> tuple[object, ...]:
        both = {"command": command, "correlation_id": correlation_id}
        return tuple(wire.receive_text(json.dumps(both).encode() if is_json else f"{command} {correlation_id}".strip().encode()))

    assert ask("ANSWER") == () and ask("START_MEDIA_BUFFERING") == ()
    (mark,), (done,) = ask("MARK_MEDIA", "m 1"), ask("STOP_MEDIA_BUFFERING", "b")
    assert isinstance(mark, Mark) and isinstance(done, Mark)
    if is_json:
        assert told(wire.played(mark.name)) == [{"event": "MEDIA_MARK_PROCESSED", "channel_id": "a1", "correlation_id": "m 1"}]
        assert told(wire.played(done.name)) == [{"event": "MEDIA_BUFFERING_COMPLETED", "channel_id": "a1", "correlation_id": "b"}]
    else:
        assert (*wire.played(mark.name), *wire.played(done.name)) == (b"MEDIA_MARK_PROCESSED m 1", b"MEDIA_BUFFERING_COMPLETED b")
        (bare,) = ask("STOP_MEDIA_BUFFERING")
        assert isinstance(bare, Mark) and wire.played(bare.name) == (b"MEDIA_BUFFERING_COMPLETED",)
    assert ask("FLUSH_MEDIA") == (Clear(), Resume()) and wire.cleared(["mark m 1"]) == ()
    assert (ask("PAUSE_MEDIA"), ask("CONTINUE_MEDIA")) == ((Pause(),), (Resume(),))
    assert ask("HANGUP") == (Finish("the bot hung up", at_once=True),)
    assert isinstance(ask("flush_media")[0], Ignored)


def test_the_queue_is_reported_drained_once():
    wire = Asterisk(about())
    assert wire.drained() == ()
    wire.receive_text(b"REPORT_QUEUE_DRAINED")
    assert wire.queue(0, False) == (b"QUEUE_DRAINED",) and wire.drained() == ()
    wire.receive_text(b"REPORT_QUEUE_DRAINED")
    assert wire.queue(100, False) == () and wire.drained() == (b"QUEUE_DRAINED",) and wire.drained() == ()
    wire.receive_text(b"REPORT_QUEUE_DRAINED")
    assert wire.queue(100, False) == () and wire.cleared([]) == (b"QUEUE_DRAINED",)


@pytest.mark.parametrize("message", [b"{", b'{"event":"x"}', b"\xff"])
def test_nonsense_is_the_bots_error(message):
    with pytest.raises(BotViolation):
        Asterisk(about()).receive_text(message)


def test_a_format_of_messages_that_there_is_not():
    with pytest.raises(ConfigurationError, match="control_messages"):
        Asterisk(about(control_messages="xml"))


def test_on_a_call_the_queue_is_asked_for_paused_full_and_drained(tmp_path):
    async def behave(session: Session) -> None:
        await session.send({"command": "REPORT_QUEUE_DRAINED"})
        await session.send(bytes(160 * 901))
        for command in ("PAUSE_MEDIA", "GET_STATUS", "CONTINUE_MEDIA", "REPORT_QUEUE_DRAINED"):
            await session.send({"command": command})
        await session.read()

    async def scenario() -> None:
        async with serving(Bot(behave)) as bot, stage(tmp_path) as (scene, bridge):
            line = await scene.call(f"asterisk+{bot.url}", arguments={"control_messages": "json"})
            await scene.until(lambda: bot.sessions and bot.sessions[0].of("STATUS"))
            (session,) = bot.sessions
            (status,) = session.of("STATUS")
            assert (status["queue_length"], status["queue_full"], status["media_paused"]) == (901, True, True)

            def after_a_tick(event: str) -> object:
                line.tick()
                scene.ring()
                return session.of(event)

            while bridge.calls["a"].queued_ms > 16_000:
                line.tick()
                await asyncio.sleep(0)
            await scene.until(lambda: session.of("MEDIA_XON"))
            assert len(session.of("QUEUE_DRAINED")) == 1
            await scene.until(lambda: after_a_tick("QUEUE_DRAINED")[1:])
            assert bridge.calls["a"].queued_ms == 0 and len(session.of("MEDIA_XOFF")) == 1
            scene.stop("a")
            await scene.until(lambda: not bridge.calls and not bridge._stopped)

    asyncio.run(scenario())
