"""Documents from a webhook, run on real rings."""

import asyncio

import pytest

from ai_bridge import twiml
from ai_bridge.loader import load
from ai_bridge.twiml import verbs
from ai_bridge.twiml.sound import encode_wav
from ai_bridge.twiml.web import sign
from control_plane.call_sid import call_sid
from control_plane.errors import ConfigurationError
from control_plane.messages import AnswerCall, HangUp, InstructCall, Noted
from control_plane.reach import Reach
from tests.ai_bridge.line import tone
from tests.ai_bridge.twiml.webhook import Play, Webhook, play, serving
from tests.ai_bridge.wires.bots import Bot, listen
from tests.ai_bridge.wires.bots import serving as serving_bot


def test_the_webhook_is_told_of_the_call_as_twilio_does_and_signed(tmp_path):
    async def act(p: Play) -> None:
        assert await p.ended() == "the TwiML hung up"
        (request,) = p.webhook.requests
        assert request.method == "POST" and request.headers["Content-Type"] == "application/x-www-form-urlencoded"
        told = {"CallSid": call_sid("a"), "From": "+49301", "To": "100", "Direction": "inbound", "CallStatus": "in-progress"}
        assert told.items() <= request.form.items() and (request.form["shop"], request.form["SipHeader_X-Vip"]) == ("12", "yes")
        assert request.headers["X-Twilio-Signature"] == sign(b"t0ken", f"{p.webhook.url}/answer", request.form)
        assert request.headers["Authorization"] == "Basic x"

    arguments = {"shop": "12", "secret": "t0ken", "authorization": "Basic x"}
    play(tmp_path, Webhook(answer="<Hangup/>"), act, arguments=arguments, headers={"X-Vip": "yes"})


def test_the_authorization_is_for_the_webhook_and_nobody_else(tmp_path):
    other = Webhook(answer="<Hangup/>")

    async def act(p: Play) -> None:
        async with serving(other):
            p.webhook.answers["go"] = f"<Redirect>{other.url}/answer</Redirect>"
            assert await p.ended() == "the TwiML hung up"
            assert all(request.headers["Authorization"] == "Basic x" for request in p.webhook.requests)
            assert [request.headers.get("Authorization") for request in other.requests] == [None]

    play(tmp_path, Webhook(answer='<Pause length="0.2"/><Redirect>go</Redirect>'), act, arguments={"authorization": "Basic x"})


def test_the_signature_is_that_of_twilios_documentation():
    form = {"CallSid": "CA1234567890ABCDE", "Caller": "+14158675310", "Digits": "1234", "From": "+14158675310", "To": "+18005551212"}
    url = "https://mycompany.com/myapp.php?foo=1&bar=2"
    assert sign(b"12345", url, form) == "GvWf1cFY/Q7PnoempGyD5oXAezc="


def test_a_get_has_everything_in_its_query(tmp_path):
    async def act(p: Play) -> None:
        await p.ended()
        (request,) = p.webhook.requests
        assert request.method == "GET" and "From=%2B49301" in request.path and request.path.startswith("/answer?x=1&")
        assert request.headers["X-Twilio-Signature"] == sign(b"t", p.webhook.url + request.path, {})

    play(tmp_path, Webhook(answer="<Hangup/>"), act, "answer?x=1", arguments={"method": "GET", "secret": "t"})


def test_verbs_are_done_in_order_and_the_call_ends_behind_the_last(tmp_path):
    sound = encode_wav(tone(800), 8_000)

    async def act(p: Play) -> None:
        assert await p.ended() == "the TwiML has ended"
        heard = p.line.heard()
        assert (heard[:800] == tone(800)).all() and (heard[800:1600] == tone(800)).all() and heard.size == 1600
        assert [note.text for note in p.scene.of(Noted)] == ["<Play> sound", "<Redirect> next", "<Play> /sound"]
        assert [request.path for request in p.webhook.requests] == ["/answer", "/sound", "/next", "/sound"]

    play(tmp_path, Webhook(answer="<Play>sound</Play><Redirect>next</Redirect>", next="<Play>/sound</Play>", sound=sound), act)


def test_the_end_of_the_call_is_posted(tmp_path):
    async def act(p: Play) -> None:
        await p.until(lambda: p.webhook.of("answer"))
        p.scene.stop("a")
        await p.until(lambda: p.webhook.of("ended"))
        (request,) = p.webhook.of("ended")
        assert (request.form["CallStatus"], request.form["CallDuration"]) == ("completed", "0")

    play(tmp_path, Webhook(answer='<Pause length="60"/>'), act, arguments={"status_callback": "/ended"})


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ("<Dance/>", "<Dance> is not done here"),
        ("hello", "text between its verbs"),
        ("<Say", "not XML"),
        ("<Redirect>nowhere</Redirect>", "/nowhere answers 404"),
        ("<Redirect>ftp://x/</Redirect>", "not an address that begins with https"),
        ("<Redirect>http://127.0.0.1:1/</Redirect>", "cannot be reached"),
        ('<Redirect method="PUT">next</Redirect>', "GET or POST will do"),
        ("<Play>answer</Play>", "not a WAV file"),
        ('<Gather input="speech"/>', "nobody recognises speech here"),
        ("<Gather><Hangup/></Gather>", "<Hangup> within <Gather>"),
        ('<Gather timeout="soon"/>', 'timeout="soon"'),
        ("<Record/>", "nowhere to keep it"),
        ("<Dial>1<Number>2</Number><Number>3</Number></Dial>", "<Dial> has 2 targets"),
        ("<Dial><Conference>x</Conference></Dial>", "<Conference> within <Dial>"),
        ('<Connect><Stream url="http://x/"/></Connect>', "begins with wss://"),
        ('<Connect><Stream url="ws://x/" track="both_tracks"/></Connect>', 'track="both_tracks"'),
        ("<Connect/>", "<Connect> has 0 streams"),
    ],
)
def test_what_cannot_be_done_ends_the_call_with_the_reason(tmp_path, document, why):
    async def act(p: Play) -> None:
        assert why in await p.ended()

    play(tmp_path, Webhook(answer=document), act)


def test_a_fallback_takes_the_call(tmp_path):
    async def act(p: Play) -> None:
        await p.until(lambda: type(p.bridge.calls["a"].listener.agent).__name__ == "Echo")
        assert not p.scene.of(HangUp)

    play(tmp_path, Webhook(answer="<Dance/>"), act, arguments={"fallback": "echo"})


def test_documents_that_go_in_a_circle_are_left(tmp_path):
    async def act(p: Play) -> None:
        assert "they go in a circle" in await p.ended()
        assert len(p.webhook.requests) == 20

    play(tmp_path, Webhook(answer="<Redirect>answer</Redirect>"), act)


def test_a_call_that_is_early_is_answered_by_the_first_verb_that_needs_it(tmp_path):
    async def rejected(p: Play) -> None:
        assert await p.ended() == "the TwiML rejected the call: busy" and not p.scene.of(AnswerCall)
        assert p.webhook.requests[0].form["CallStatus"] == "ringing"

    play(tmp_path, Webhook(answer='<Pause length="0"/><Reject reason="busy"/>'), rejected, is_early=True)

    async def answered(p: Play) -> None:
        await p.until(lambda: p.scene.of(AnswerCall))

    (tmp_path / "2").mkdir()
    play(tmp_path / "2", Webhook(answer='<Pause length="0"/><Play digits="1"/><Pause/>'), answered, is_early=True)


def test_a_live_call_is_told_to_do_something_else(tmp_path):
    async def act(p: Play) -> None:
        await p.until(lambda: p.call and p.call.queued_ms == 1_000)
        p.line.tick(3)
        assert p.scene.switchboard.send(b"bridge-0", InstructCall("a", document="<Response><Play>short</Play></Response>"))
        await p.until(lambda: p.call and p.call.queued_ms == 100)
        assert await p.ended() == "the TwiML has ended"
        assert (p.line.heard()[480:] == tone(800, 9_000)).all() and p.line.turns == [0] * 3 + [1] * 5

    sounds = {"long": encode_wav(tone(8_000), 8_000), "short": encode_wav(tone(800, 9_000), 8_000)}
    play(tmp_path, Webhook(answer='<Play loop="0">long</Play>', **sounds), act)


def test_a_call_of_another_agent_is_told_too(tmp_path, monkeypatch):
    monkeypatch.setattr(twiml, "reach", Reach(("127.0.0.0/8",)))

    async def act(p: Play) -> None:
        await p.scene.call("echo", "b", row=1, arguments={"shop": "12"})
        assert p.scene.switchboard.send(b"bridge-0", InstructCall("b", url=f"{p.webhook.url}/other", method="GET"))
        await p.until(lambda: p.webhook.of("other"))
        (request,) = p.webhook.of("other")
        assert request.method == "GET" and request.form["CallSid"] == call_sid("b") and request.form["shop"] == "12"
        await p.until(lambda: p.scene.of(HangUp))
        assert p.scene.of(HangUp)[0].call_id == "b"
        p.scene.stop("b")

    play(tmp_path, Webhook(answer='<Pause length="60"/>', other="<Hangup/>"), act)


def test_a_wrong_address_or_method_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match='"wss" is not http or https'):
        load("twiml+wss://x.example/")
    assert load("twiml+https://x.example/answer").url == "https://x.example/answer"

    async def act(p: Play) -> None:
        await asyncio.sleep(0)
        assert "a" not in p.bridge.calls or p.bridge.calls["a"].has_ended

    play(tmp_path, Webhook(), act, arguments={"method": "PUT"})


@pytest.mark.parametrize(
    "asked", ["/next", "<Play>{}/tone.wav</Play>", "<Redirect>{}/next</Redirect>", '<Connect><Stream url="ws://{}/"/></Connect>']
)
def test_what_a_token_posts_leads_to_the_routes_application_or_the_internet_only(tmp_path, monkeypatch, asked):
    """Another port of this machine is somebody else's. With the network allowed it is asked."""
    other = Webhook(next="<Hangup/>")
    other.answers["tone.wav"] = encode_wav(tone(160), 8_000)

    async def act(p: Play) -> None:
        async with serving(other):
            await p.until(lambda: p.webhook.of("answer"))
            place = other.url.removeprefix("http://") if "ws://" in asked else other.url
            document = f"<Response>{asked.format(place)}</Response>" if "<" in asked else ""
            p.call.listener.agent.instruct(document, "" if document else f"{other.url}{asked}", "GET")
            cause = await p.ended()
            if is_allowed:
                assert other.requests and "reachable_networks" not in cause
            else:
                assert "127.0.0.1 is not of the internet" in cause and not other.requests

    for is_allowed in (False, True):
        monkeypatch.setattr(twiml, "reach", Reach(("127.0.0.0/8",) if is_allowed else ()))
        play(tmp_path, Webhook(answer='<Pause length="600"/>'), act)


def test_the_routes_application_is_asked_wherever_it_is_and_so_is_what_it_names(tmp_path):
    async def act(p: Play) -> None:
        p.call.listener.agent.instruct("", f"{p.webhook.url}/home", "GET")
        assert await p.ended() == "the TwiML hung up" and p.webhook.of("home")

    play(tmp_path, Webhook(answer='<Pause length="600"/>', home="<Redirect>away</Redirect>", away="<Hangup/>"), act)


def test_what_a_posted_document_named_is_not_asked_later_either(tmp_path, monkeypatch, caplog):
    """Its stream stops when a document of the application is there again."""
    monkeypatch.setattr(verbs, "in_reach", nothing)  # the bot is here, as none on the internet would do
    other = Webhook(status="")

    async def act(p: Play) -> None:
        async with serving(other), serving_bot(Bot(listen)) as bot:
            await p.until(lambda: p.webhook.of("answer"))
            stream = f'<Start><Stream url="{bot.url}" name="s" statusCallback="{other.url}/status"/></Start>'
            p.call.listener.agent.instruct(f"<Response>{stream}<Redirect>home</Redirect></Response>", "", "POST")
            await p.until(lambda: bot.sessions and p.webhook.of("home"))
            await p.ended()
            await p.until(lambda: caplog.text.count("is not of the internet") == 2)
            assert not other.requests

    play(tmp_path, Webhook(answer='<Pause length="600"/>', home='<Pause length="1"/><Stop><Stream name="s"/></Stop><Hangup/>'), act)


async def nothing(_url: str) -> None:
    return None
