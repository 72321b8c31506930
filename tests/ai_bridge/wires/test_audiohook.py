import base64
import json
import re

import numpy as np
import pytest

from ai_bridge.wires.audiohook import AudioHook, Before, as_uuid, duration, milliseconds_of, sign
from ai_bridge.wires.encoding import PCMU
from ai_bridge.wires.wire import Begin, BotViolation, Clear, Finish, Ignored, Note, Reply, Say
from control_plane.errors import ConfigurationError
from tests.ai_bridge.wires.about import NOON, about, told

FRAME = np.arange(160, dtype=np.int16) * 50
MONO = {"type": "audio", "format": "PCMU", "channels": ["external"], "rate": 8000}
STEREO = {**MONO, "channels": ["external", "internal"]}


class Session:
    """The bot's side: numbers its messages as it should."""

    def __init__(self, **arguments: str) -> None:
        self.wire, self.seq = AudioHook(about(**arguments)), 0
        self.sent = told(self.wire.start())

    def says(self, kind: str, clientseq: int | None = None, **parameters: object):
        self.seq += 1
        clientseq = self.wire.seq if clientseq is None else clientseq
        message = {"version": "2", "type": kind, "seq": self.seq, "clientseq": clientseq, "id": self.wire.id, "parameters": parameters}
        return self.wire.receive_text(json.dumps(message).encode())

    def opened(self, media: object = MONO, **parameters: object):
        return self.says("opened", media=[media], **parameters)


def opened_with(*media: object) -> bytes:
    return json.dumps({"version": "2", "type": "opened", "seq": 1, "clientseq": 1, "parameters": {"media": media}}).encode()


def replies(actions) -> list[dict]:
    return [message for action in actions if isinstance(action, Reply) for message in told(action.messages)]


def test_the_signature_is_that_of_the_documentation():
    key_id, created = "SGVsbG8sIEkgYW0gdGhlIEFQSSBrZXkh", 1641013200
    components = {
        "@request-target": "/api/v1/voicebiometrics/ws",
        "@authority": "audiohook.example.com",
        "audiohook-organization-id": "d7934305-0972-4844-938e-9060eef73d05",
        "audiohook-session-id": "30b0e395-84d3-4570-ac13-9a62d8f514c0",
        "audiohook-correlation-id": "e160e428-53e2-487c-977d-96989bf5c99d",
        "x-api-key": key_id,
    }
    key = base64.b64decode("TXlTdXBlclNlY3JldEtleVRlbGxOby0xITJAMyM0JDU=")
    headers = sign(key, key_id, components, "VGhpc0lzQVVuaXF1ZU5vbmNl", created, 3282026430)
    assert headers["Signature"] == "sig1=:NZBwyBHRRyRoeLqy1IzOa9VYBuI8TgMFt2GRDkDuJh4=:"
    assert headers["Signature-Input"] == (
        'sig1=("@request-target" "@authority" "audiohook-organization-id" "audiohook-session-id" "audiohook-correlation-id" "x-api-key")'
        f';keyid="{key_id}";nonce="VGhpc0lzQVVuaXF1ZU5vbmNl";alg="hmac-sha256";created={created};expires=3282026430'
    )


def test_the_upgrade_request_says_who_we_are_and_is_signed_if_there_is_a_secret():
    wire = AudioHook(about(api_key="k", account="d7934305-0972-4844-938e-9060eef73d05"))
    headers = wire.headers()
    assert headers == {
        "Audiohook-Organization-Id": "d7934305-0972-4844-938e-9060eef73d05",
        "Audiohook-Session-Id": wire.id,
        "Audiohook-Correlation-Id": as_uuid("a1"),
        "X-API-KEY": "k",
    }
    wire = AudioHook(about(api_key="k", secret=base64.b64encode(b"s3cret").decode()))
    headers, created = wire.headers(), int(NOON.timestamp())
    nonce = re.search(r'nonce="([^"]+)"', headers["Signature-Input"])
    assert nonce and f"created={created};expires={created + 30}" in headers["Signature-Input"]
    names = ("Audiohook-Organization-Id", "Audiohook-Session-Id", "Audiohook-Correlation-Id", "X-API-KEY")
    components = {
        "@request-target": "/media?b=2&a=1",
        "@authority": "bot.example",
        **{name.lower(): headers[name] for name in names},
    }
    assert sign(b"s3cret", "k", components, nonce[1], created, created + 30)["Signature"] == headers["Signature"]
    with pytest.raises(ConfigurationError, match="in base64"):
        AudioHook(about(secret="not base64!")).headers()


def test_a_session_is_opened_and_nothing_is_heard_before():
    session = Session(shop="12", language="de-DE")
    (open_,) = session.sent
    assert (open_["version"], open_["type"], open_["seq"], open_["serverseq"], open_["position"]) == ("2", "open", 1, 0, "PT0.000S")
    parameters = open_["parameters"]
    assert parameters["conversationId"] == as_uuid("a1") and parameters["media"] == [MONO]
    assert (parameters["participant"]["ani"], parameters["participant"]["dnis"], parameters["language"]) == ("+4930123", "100", "de-DE")
    assert parameters["inputVariables"] == {"shop": "12", "language": "de-DE"} and "continuedSessions" not in parameters
    assert not session.wire.is_open and session.opened() == (Begin(),) and session.wire.is_open
    assert session.wire.audio(FRAME, 0) == PCMU.encode(FRAME) and session.wire.position_ms == 20


def test_a_session_that_goes_on_with_one_that_broke_says_so():
    wire = AudioHook(about(), Before("x", 3, 5))
    assert told(wire.start())[0]["parameters"]["continuedSessions"] == [{"id": "x", "serverseq": 3, "clientseq": 5}]


def test_a_probe_has_no_conversation_and_no_media():
    session = Session()
    session.wire.is_probe = True
    (open_,) = told(session.wire.start())
    assert open_["parameters"]["conversationId"] == "00000000-0000-0000-0000-000000000000" and open_["parameters"]["media"] == []
    assert session.says("opened", media=[]) == () and session.wire.is_open


def test_the_bot_chooses_one_channel_or_both():
    session = Session(channels="both")
    assert [media["channels"] for media in session.sent[0]["parameters"]["media"]] == [["external", "internal"], ["external"], ["internal"]]
    session.opened(STEREO)
    said = FRAME[::-1].copy()
    stereo = np.frombuffer(session.wire.both(session.wire.audio(FRAME, 0), said), np.uint8)
    assert stereo[::2].tobytes() == PCMU.encode(FRAME) and stereo[1::2].tobytes() == PCMU.encode(said)
    session = Session(channels="both")
    session.opened({**MONO, "channels": ["internal"]})
    assert session.wire.both(session.wire.audio(FRAME, 0), said) == PCMU.encode(said)
    with pytest.raises(ConfigurationError, match='channels is "left"'):
        AudioHook(about(channels="left"))


def test_what_is_said_is_played_and_told_of_and_barge_in_drops_it():
    session = Session()
    session.opened()
    wire = session.wire
    said, started = wire.receive_binary(PCMU.encode(FRAME))
    assert isinstance(said, Say) and np.array_equal(said.pcm, PCMU.decode(PCMU.encode(FRAME))) and said.rate_hz == 8_000
    assert [message["type"] for message in replies([started])] == ["playback_started"]
    assert len(wire.receive_binary(PCMU.encode(FRAME))) == 1
    assert told(wire.drained())[0]["type"] == "playback_completed" and wire.drained() == ()
    wire.receive_binary(b"\xff")
    assert session.says("event", entities=[{"type": "barge_in", "data": {}}]) == [Clear()]
    assert told(wire.cleared([]))[0]["type"] == "playback_completed" and wire.cleared([]) == ()
    entities = [{"type": "transcript", "data": {"a": 1}}, {"type": "bot_turn_response", "data": {}}, {"type": "weather"}]
    noted = session.says("event", entities=entities)
    assert noted[:2] == [Note("transcript", '{"a":1}'), Note("bot turn", "{}")] and isinstance(noted[2], Ignored)


def test_messages_are_numbered_and_say_where_the_stream_is():
    session = Session()
    session.opened()
    session.wire.audio(FRAME, 1_480)
    (key,) = told(session.wire.key("5"))
    assert (key["seq"], key["serverseq"], key["position"], key["parameters"]) == (2, 1, "PT1.500S", {"digit": "5"})
    (ping,) = told(session.wire.ping(0))
    assert (ping["seq"], ping["parameters"], session.wire.ping_seq) == (3, {}, 3)
    session.says("pong", clientseq=3)
    assert session.wire.ping_seq == 0 and told(session.wire.ping(1_250))[0]["parameters"] == {"rtt": "PT1.250S"}
    assert session.wire.before() == Before(session.wire.id, 2, 4)


def test_what_was_lost_on_the_way_to_here_is_told():
    session = Session()
    session.opened()
    session.wire.audio(FRAME, 0)
    assert session.wire.skip(20) == ()
    (discarded,) = told(session.wire.skip(520))
    assert (discarded["type"], discarded["parameters"]) == ("discarded", {"start": "PT0.020S", "discarded": "PT0.500S"})
    assert discarded["position"] == "PT0.520S"


def test_both_sides_pause_and_it_goes_on_when_neither_does():
    session = Session()
    session.opened()
    wire = session.wire
    wire.audio(FRAME, 0)
    (paused,) = replies(session.says("pause"))
    assert paused["type"] == "paused" and wire.audio(FRAME, 20) == b""
    assert [message["type"] for message in told(wire.hold(True))] == ["paused"]
    assert [message["type"] for message in replies(session.says("resume"))] == ["paused"]
    assert wire.skip(80) == () and wire.audio(FRAME, 80) == b""
    (resumed,) = told(wire.hold(False))
    assert (resumed["type"], resumed["parameters"]) == ("resumed", {"start": "PT0.020S", "discarded": "PT0.080S"})
    assert wire.audio(FRAME, 100) == PCMU.encode(FRAME) and wire.hold(False) == ()


def test_a_session_may_begin_paused_and_leave_out_what_is_old():
    session = Session()
    began, paused = session.opened(startPaused=True, discardTo="PT0.04S")
    assert began == Begin() and replies([paused])[0]["type"] == "paused"
    assert replies(session.says("resume"))[0]["parameters"] == {"start": "PT0.000S", "discarded": "PT0.000S"}
    assert [bool(session.wire.audio(FRAME, at)) for at in (0, 20, 40)] == [False, False, True]
    held = Session()
    assert held.wire.hold(True) == () and replies(held.opened())[0]["type"] == "paused"


def test_the_bot_ends_the_session():
    session = Session()
    session.opened()
    noted, finish = session.says("disconnect", reason="completed", outputVariables={"action": "transfer"})
    assert noted == Note("output variables", '{"action":"transfer"}') and finish == Finish("the bot ended the session: completed")
    assert json.loads(session.wire.close("disconnect"))["parameters"] == {"reason": "disconnect"} and not session.wire.is_open
    assert session.says("pause") == (), "it may not have seen our close yet"
    assert session.says("closed") == () and session.wire.is_closed
    session = Session()
    with pytest.raises(BotViolation, match="unauthorized: no such key"):
        session.says("disconnect", reason="unauthorized", info="no such key")


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (b"opened", "not a message of AudioHook"),
        (b'{"version":"1","type":"opened","seq":1,"clientseq":1}', 'version "1"'),
        (b'{"version":"2","type":"opened","seq":2,"clientseq":1}', "seq 2 after 0"),
        (b'{"version":"2","type":"opened","seq":1,"clientseq":2}', "clientseq 2, and only 1 were sent"),
        (b'{"version":"2","type":"opened","seq":1,"clientseq":1}', "no media"),
        (opened_with(STEREO), "not offered"),
        (opened_with(1, 2), "more than one"),
        (opened_with(7), "not offered"),
    ],
)
def test_what_is_not_of_the_wire_is_named(message, why):
    with pytest.raises(BotViolation, match=re.escape(why)):
        Session().wire.receive_text(message)


def test_what_does_not_belong_there_is_named():
    session = Session()
    with pytest.raises(BotViolation, match="audio before opened"):
        session.wire.receive_binary(b"\xff")
    session.opened()
    with pytest.raises(BotViolation, match="opened twice"):
        session.opened()
    session.wire.ping(0)
    with pytest.raises(BotViolation, match="the ping has seq 2"):
        session.says("pong", clientseq=1)
    with pytest.raises(BotViolation, match="no list of entities"):
        session.says("event", entities=5)
    assert isinstance(session.says("event", entities=[5])[0], Ignored) and isinstance(session.says("reconnect")[0], Ignored)
    complaint, close = told(session.wire.complain(400, "why"))
    assert (complaint["type"], complaint["parameters"]) == ("error", {"code": 400, "message": "why"})
    assert (close["type"], close["parameters"]) == ("close", {"reason": "error"})


def test_durations():
    assert (duration(0), duration(61_005)) == ("PT0.000S", "PT61.005S")
    assert [milliseconds_of(text) for text in ("PT0S", "PT1.5S", "PT1M2.25S", "PT1H")] == [0, 1_500, 62_250, 3_600_000]
    with pytest.raises(BotViolation, match=r"PT1\.5S"):
        milliseconds_of("1.5 s")
