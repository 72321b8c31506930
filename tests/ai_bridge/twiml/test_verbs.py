import base64
import itertools

import numpy as np
import pytest

from ai_bridge.twiml.sound import decode_wav, encode_wav
from ai_bridge.twiml.verbs import parts_of, voice_name
from ai_bridge.wires.encoding import PCMU
from control_plane.call_sid import call_sid
from control_plane.messages import ConnectCall, ConnectEnded, HangUp, LeaveRoom, RoomChanged, Transfer, TransferEnded
from shm.layout import SPEECH_FLAG
from tests.ai_bridge.line import tone
from tests.ai_bridge.twiml.webhook import Play, Webhook, play
from tests.ai_bridge.wires.bots import Bot, Session, listen
from tests.ai_bridge.wires.bots import serving as serving_bot

LONG = encode_wav(tone(16_000), 8_000)


def test_say_speaks_with_the_local_voice(tmp_path):
    async def act(p: Play) -> None:
        assert await p.ended() == "the TwiML has ended"
        heard = p.line.heard()
        assert heard.size > 4_000 and np.abs(heard).max() > 3_000

    play(tmp_path, Webhook(answer='<Say language="en-GB" voice="alice">Hello <break/> there</Say>'), act)


def test_long_texts_are_cut_between_words_and_languages_have_their_voice():
    assert parts_of("one two three", 8) == ["one two", "three"] and parts_of(17 * "x", 8) == [8 * "x", 8 * "x", "x"]
    assert "".join(parts_of(" ".join(map(str, range(2_000))), 100)).replace(" ", "") == "".join(map(str, range(2_000)))
    assert [voice_name(language) for language in ("de-DE", "en-GB", "en-US", "pt-BR")] == ["de", "en", "en-us", "pt-br"]


def test_play_presses_keys(tmp_path):
    async def act(p: Play) -> None:
        await p.ended()
        assert [chr(key) for key, _ in itertools.groupby(p.line.keys) if key > ord(" ")] == ["1", "2"]

    play(tmp_path, Webhook(answer='<Play digits="1ww2"/>'), act)


def test_gather_cuts_its_prompt_off_and_posts_the_digits(tmp_path):
    async def act(p: Play) -> None:
        await p.until(lambda: p.call and p.call.queued_ms > 500)
        p.line.tick(2)
        await p.press("12#")
        await p.until(lambda: p.webhook.of("menu"))
        form = p.webhook.of("menu")[0].form
        assert (form["Digits"], form["FinishedOnKey"]) == ("12", "#")
        await p.ended()
        assert p.line.heard().size <= 5 * 160, "the prompt was cut off"

    play(tmp_path, Webhook(answer='<Gather action="menu"><Play>long</Play></Gather>', menu="<Hangup/>", long=LONG), act)


def test_gather_takes_so_many_keys_and_goes_on_without_any(tmp_path):
    async def act(p: Play) -> None:
        await p.until(lambda: p.bridge.calls["a"].listener.agent.keys)
        await p.press("1234")
        await p.until(lambda: p.webhook.of("three"))
        assert p.webhook.of("three")[0].form["Digits"] == "123"
        assert await p.ended() == "the TwiML hung up"
        assert len(p.webhook.of("empty")) == 1 and p.webhook.of("empty")[0].form["Digits"] == ""

    answers = {
        "answer": '<Gather numDigits="3" timeout="5" action="three"/>',
        "three": '<Gather timeout="0"/><Gather timeout="0" actionOnEmptyResult="true" action="empty"/>',
        "empty": "<Hangup/>",
    }
    play(tmp_path, Webhook(**answers), act)


def test_record_keeps_what_the_caller_says_until_a_key(tmp_path):
    async def act(p: Play) -> None:
        await p.playing(lambda: p.bridge.calls["a"].listener.agent.taking)
        p.line.caller_says(tone(1_600), SPEECH_FLAG)
        await p.press("#")
        await p.until(lambda: p.webhook.of("kept"))
        form = p.webhook.of("kept")[0].form
        name = form["RecordingUrl"].removeprefix("https://files.example/")
        pcm, rate_hz = decode_wav((tmp_path / name).read_bytes())
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
        assert np.array_equal(pcm, tone(1_600)) and rate_hz == 8_000 and form["Digits"] == "#"
        assert p.webhook.of("status")[0].form["RecordingStatus"] == "completed"

    arguments = {"recordings": str(tmp_path), "recordings_url": "https://files.example/"}
    webhook = Webhook(answer='<Record action="kept" recordingStatusCallback="/status"/>', kept="<Hangup/>", status="")
    play(tmp_path, webhook, act, arguments=arguments)


def test_a_message_ends_when_its_caller_hangs_up(tmp_path):
    async def act(p: Play) -> None:
        await p.playing(lambda: p.bridge.calls["a"].listener.agent.taking)
        p.line.caller_says(tone(800), SPEECH_FLAG)
        p.scene.ring()
        p.scene.stop("a")
        await p.until(lambda: p.webhook.of("kept"))
        form = p.webhook.of("kept")[0].form
        assert (form["Digits"], form["CallStatus"]) == ("hangup", "completed")
        assert np.array_equal(decode_wav(next(tmp_path.glob("a-*.wav")).read_bytes())[0], tone(800))

    play(tmp_path, Webhook(answer='<Record playBeep="false" action="kept"/>', kept=""), act, arguments={"recordings": str(tmp_path)})


def test_silence_ends_a_recording_and_nothing_is_kept_of_it(tmp_path):
    async def act(p: Play) -> None:
        await p.until(lambda: p.bridge.calls["a"].listener.agent.taking)
        p.line.caller_says(np.zeros(8_000, np.int16))
        p.scene.ring()
        assert await p.ended() == "the TwiML hung up" and not p.webhook.of("kept") and not list(tmp_path.glob("*.wav"))

    document = '<Record playBeep="false" timeout="1" action="kept"/><Hangup/>'
    play(tmp_path, Webhook(answer=document), act, arguments={"recordings": str(tmp_path)})


def dialling(p: Play) -> ConnectCall:
    return p.scene.of(ConnectCall)[-1]


def becomes(p: Play, was_accepted: bool, status: int, why: str = "") -> None:
    """As the front tells it: where the caller is, and then what became of who was rung."""
    leg_id = dialling(p).leg_id
    p.scene.switchboard.send(b"bridge-0", RoomChanged("a", leg_id if was_accepted else "", "talk", "out"))
    p.scene.switchboard.send(b"bridge-0", ConnectEnded("a", leg_id, was_accepted, status, why))


def test_dial_rings_somebody_and_goes_on_when_he_has_hung_up(tmp_path):
    async def act(p: Play) -> None:
        await p.until(lambda: p.scene.of(ConnectCall))
        order = dialling(p)
        assert (order.call_id, order.to, order.caller, order.ring_seconds) == ("a", "+4930123", "+4940", 20)
        assert (order.meanwhile, order.agent, order.after) == ("ringback", "out", "return")
        becomes(p, True, 200)
        await p.until(lambda: p.call.listener.agent.dialled)
        await p.press("*")
        p.scene.switchboard.send(b"bridge-0", RoomChanged("a", why="the other side hung up"))
        await p.until(lambda: p.webhook.of("dialled"))
        form = p.webhook.of("dialled")[0].form
        assert (form["DialCallStatus"], form["DialCallSid"], form["DialCallDuration"]) == ("completed", call_sid(order.leg_id), "0")
        assert await p.ended() == "the TwiML has ended" and not p.scene.of(LeaveRoom), "a star is for hangupOnStar only"

    answer = '<Dial action="dialled" timeout="20" callerId="+4940"><Number>+49 30 123</Number></Dial><Say>never</Say>'
    play(tmp_path, Webhook(answer=answer, dialled=""), act)


@pytest.mark.parametrize(("status", "told"), [(486, "busy"), (408, "no-answer"), (404, "failed")])
def test_without_an_answer_the_next_verb_comes_or_the_action_is_told_why(tmp_path, status, told):
    async def act(p: Play) -> None:
        await p.until(lambda: p.scene.of(ConnectCall))
        becomes(p, False, status, "not there")
        await p.until(lambda: len(p.scene.of(ConnectCall)) == 2)
        assert dialling(p).to == "sip:desk@pbx.example"
        becomes(p, False, status, "not there")
        await p.until(lambda: p.webhook.of("dialled"))
        assert p.webhook.of("dialled")[0].form["DialCallStatus"] == told and "DialCallDuration" not in p.webhook.of("dialled")[0].form
        await p.ended()
        assert not p.scene.of(LeaveRoom)

    answer = '<Dial>1</Dial><Dial action="dialled"><Sip>sip:desk@pbx.example</Sip></Dial>'
    play(tmp_path, Webhook(answer=answer, dialled=""), act)


@pytest.mark.parametrize("how", ["star", "too long", "another document"])
def test_the_caller_is_taken_back_from_who_was_dialled(tmp_path, how):
    async def act(p: Play) -> None:
        await p.until(lambda: p.scene.of(ConnectCall))
        becomes(p, True, 200)
        await p.until(lambda: p.call.listener.agent.dialled)
        if how == "star":
            await p.press("*")
        if how == "another document":
            p.call.listener.agent.instruct("<Response><Hangup/></Response>", "", "POST")
        await p.until(lambda: p.scene.of(LeaveRoom))
        p.scene.switchboard.send(b"bridge-0", RoomChanged("a"))
        assert await p.ended() == "the TwiML hung up" and len(p.scene.of(LeaveRoom)) == 1

    limit = 'timeLimit="1"' if how == "too long" else ""
    play(tmp_path, Webhook(answer=f'<Dial hangupOnStar="true" {limit}>1</Dial><Hangup/>'), act)


def test_another_document_takes_the_place_of_one_that_rings(tmp_path):
    async def act(p: Play) -> None:
        await p.until(lambda: p.scene.of(ConnectCall))
        p.call.listener.agent.instruct("<Response><Hangup/></Response>", "", "POST")
        await p.until(lambda: p.scene.of(LeaveRoom))

    play(tmp_path, Webhook(answer="<Dial>1</Dial>"), act)


def test_refer_sends_the_caller_elsewhere_and_tells_what_became_of_it(tmp_path):
    async def act(p: Play) -> None:
        await p.until(lambda: p.scene.of(Transfer))
        assert p.scene.of(Transfer) == [Transfer("a", "sip:one@pbx.example")]
        p.scene.switchboard.send(b"bridge-0", TransferEnded("a", False, 486, "busy"))
        await p.until(lambda: p.webhook.of("referred"))
        form = p.webhook.of("referred")[0].form
        assert (form["ReferCallStatus"], form["NotifySipResponseCode"]) == ("busy", "486")
        await p.until(lambda: len(p.scene.of(Transfer)) == 2)
        p.scene.switchboard.send(b"bridge-0", TransferEnded("a", True, 200, ""))
        assert await p.ended() == "sent to sip:desk@pbx.example"

    answers = {
        "answer": '<Refer action="referred"><Sip>sip:one@pbx.example</Sip></Refer>',
        "referred": "<Refer><Sip>sip:desk@pbx.example</Sip></Refer><Say>never</Say>",
    }
    play(tmp_path, Webhook(**answers), act)


def media(pcm: np.ndarray) -> dict:
    return {"event": "media", "media": {"payload": base64.b64encode(PCMU.encode(pcm)).decode()}}


def test_connect_gives_the_call_to_a_bot_and_goes_on_when_it_has_ended(tmp_path):
    async def behave(session: Session) -> None:
        async def answer(session: Session, message: dict) -> None:
            if message["event"] == "dtmf":
                await session.send(media(tone(320)))
                await session.send({"event": "mark", "mark": {"name": "end"}})
            if message["event"] == "mark":
                await session.socket.close()

        await session.read(answer)

    async def scenario(p: Play) -> None:
        await p.until(lambda: bot.sessions and bot.sessions[0].of("start"))
        start = bot.sessions[0].of("start")[0]["start"]
        assert start["customParameters"]["shop"] == "12" and bot.sessions[0].headers["X-Twilio-Signature"]
        p.line.caller_says(tone(160))
        await p.press("1")
        await p.playing(lambda: p.webhook.of("after"))
        assert len(bot.sessions[0].of("media")) == 1 and np.array_equal(p.line.heard(), PCMU.decode(PCMU.encode(tone(320))))
        assert await p.ended() == "the TwiML hung up"
        assert [request.form["StreamEvent"] for request in p.webhook.of("stream")] == ["stream-started", "stream-stopped"]

    bot = Bot(behave)

    async def act(p: Play) -> None:
        async with serving_bot(bot):
            stream = f'<Stream url="{bot.url}" statusCallback="/stream"><Parameter name="shop" value="12"/></Stream>'
            p.webhook.answers["connect"] = f'<Connect action="after">{stream}</Connect>'
            p.webhook.answers["go"] = "<Redirect>connect</Redirect>"
            await scenario(p)

    webhook = Webhook(answer='<Pause length="0.2"/><Redirect>go</Redirect>', after="<Hangup/>", stream="")
    play(tmp_path, webhook, act, arguments={"secret": "s"})


def test_a_bot_that_is_away_is_told_of(tmp_path):
    async def act(p: Play) -> None:
        assert "<Connect>: the bot at ws://127.0.0.1:1/ cannot be reached" in await p.ended()

    document = '<Connect><Stream url="ws://127.0.0.1:1/"/></Connect>'
    play(tmp_path, Webhook(answer=document), act, arguments={"retries": "0"})


def test_start_lets_a_bot_listen_while_the_rest_goes_on_until_stop(tmp_path):
    bot = Bot(listen)

    async def act(p: Play) -> None:
        async with serving_bot(bot):
            gather = '<Gather numDigits="1" action="stop" timeout="60"><Play>long</Play></Gather>'
            p.webhook.answers["listen"] = f'<Start><Stream name="ear" url="{bot.url}"/></Start>{gather}'
            await p.until(lambda: bot.sessions and bot.sessions[0].of("start"))
            await bot.sessions[0].send(media(tone(320, 9_000)))
            await p.until(lambda: p.call and p.call.queued_ms > 500)
            p.line.caller_says(tone(320))
            p.scene.ring()
            await p.until(lambda: len(bot.sessions[0].of("media")) == 2)
            p.line.tick(4)
            assert np.array_equal(p.line.heard(), tone(640)), "what a listener says nobody hears"
            await p.press("1")
            await p.until(lambda: bot.sessions[0].of("stop"))
            await p.until(lambda: p.scene.of(HangUp))

    stop = '<Stop><Stream name="ear"/></Stop><Hangup/>'
    play(tmp_path, Webhook(answer='<Pause length="0.2"/><Redirect>listen</Redirect>', stop=stop, long=LONG), act)
