"""The callers of the soak: they know their own tone, another's, silence, and a call that is cut."""

import base64

import numpy as np
import numpy.typing as npt
import pytest
from pylibsrtp import Policy, Session

from bench.soak.caller import AMPLITUDE, SECOND, SUITE, Caller, Figures, Line, Mix, State, Verdict, judge
from bench.soak.codecs import CODECS, RATE_HZ

LINE = Line("127.0.0.1", 5080, 5060)
ANSWER = "SIP/2.0 200 OK\r\nTo: <sip:soak@h>;tag=x\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n\r\nv=0\r\nm=audio 4000 RTP/AVP 0\r\n"


Pcm = npt.NDArray[np.int16]


def tone(pitch_hz: float, amplitude: float = AMPLITUDE) -> Pcm:
    return np.asarray(amplitude * np.sin(2 * np.pi * pitch_hz * np.arange(RATE_HZ) / RATE_HZ), np.int16)


def caller() -> Caller:
    one = Caller(3, LINE, 9000, Figures(), seed=1)
    one.start(0, seconds=10)
    return one


@pytest.mark.parametrize(
    ("heard", "verdict"),
    [(tone(600), Verdict.OWN), (tone(612), Verdict.FOREIGN), (tone(600, 20), Verdict.SILENT), (tone(600, 0), Verdict.SILENT)],
)
def test_a_second_is_judged(heard: Pcm, verdict: Verdict) -> None:
    assert judge(heard[None], np.array([600]))[0][0] is verdict


def test_a_click_in_the_own_tone_is_no_other_caller() -> None:
    heard = tone(600)
    heard[3000:3400] = 0
    assert judge(heard[None], np.array([600]))[0][0] is Verdict.OWN


def test_a_call_from_invite_to_bye() -> None:
    one = caller()
    assert one.outbox.pop().startswith(b"INVITE sip:soak@127.0.0.1:5060")
    one.receive_sip(ANSWER, 1)
    assert one.state is State.UP and one.target == 4000 and one.outbox.pop().startswith(b"ACK ")
    one.expire(10 * SECOND)
    assert one.outbox.pop().startswith(b"BYE ")
    one.receive_sip("SIP/2.0 200 OK\r\nCSeq: 2 BYE\r\n\r\n", 11 * SECOND)
    assert one.state is State.IDLE and one.figures.finished == 1 and one.figures.causes == {}


def test_what_is_not_answered_is_repeated_and_then_counted() -> None:
    one = caller()
    one.outbox.clear()
    for tenth in range(330):
        one.expire(tenth * SECOND // 10)
    assert len(one.outbox) == 63 and one.figures.unanswered == 1 and one.figures.causes == {"no answer to INVITE": 1}


def test_a_call_that_the_server_ends_says_why() -> None:
    one = caller()
    one.receive_sip(ANSWER, 1)
    one.receive_sip('BYE sip:x SIP/2.0\r\nCSeq: 1 BYE\r\nReason: Q.850;cause=41;text="the bridge is away"\r\n\r\n', 2)
    assert one.figures.ended_early == 1 and one.figures.causes == {"BYE: the bridge is away": 1}
    assert one.outbox[-1].startswith(b"SIP/2.0 200 OK\r\nCSeq: 1 BYE")


def test_packets_go_on_where_the_last_one_ended() -> None:
    one = caller()
    one.receive_sip(ANSWER, 1)
    first, second = one.next_packet(), one.next_packet()
    assert len(first) == 172 and first[1] & 0x80 and not second[1] & 0x80
    assert int.from_bytes(second[2:4], "big") - int.from_bytes(first[2:4], "big") & 0xFFFF == 1


def test_a_protected_call_believes_nothing_that_was_not_protected_with_its_key() -> None:
    one = Caller(3, LINE, 9000, Figures(), seed=1, mix=Mix(srtp=1.0))
    one.start(0, seconds=10)
    invite, theirs = one.outbox.pop().decode(), bytes(range(30))
    assert "RTP/SAVP" in invite
    one.receive_sip(f"{ANSWER}a=crypto:1 {SUITE} inline:{base64.b64encode(theirs).decode()}\r\n", 1)
    ours = base64.b64decode(invite.partition("inline:")[2].split()[0])
    sent = one.next_packet()
    assert len(sent) == 182 and len(Session(Policy(key=ours, ssrc_type=Policy.SSRC_ANY_INBOUND)).unprotect(sent)) == 172
    packet = bytes((0x80, one.payload_type, 0, 1)) + bytes(8) + bytes(160)
    one.receive_rtp(Session(Policy(key=theirs, ssrc_type=Policy.SSRC_ANY_OUTBOUND)).protect(packet), 2, 4000)
    assert len(one.heard) == 320 and one.figures.unproven == 0
    one.receive_rtp(packet, 3, 4002)
    assert one.figures.unproven == 0, "late, of the call before"
    one.receive_rtp(packet, 3, 4000)
    assert len(one.heard) == 320 and (one.figures.unproven, one.figures.protected) == (1, 1)


def test_a_protected_call_that_is_answered_without_a_key_counts_as_refused() -> None:
    one = Caller(3, LINE, 9000, Figures(), seed=1, mix=Mix(srtp=1.0))
    one.start(0, seconds=10)
    one.receive_sip(ANSWER, 1)
    assert one.figures.refused == 1 and one.state is State.IDLE


def test_a_key_is_pressed_and_the_one_that_comes_back_counts_once() -> None:
    one = Caller(3, LINE, 9000, Figures(), seed=1, mix=Mix(presses="soak", key_every_s=0.1))
    one.start(0, seconds=10)
    one.receive_sip(ANSWER, 1)
    sent = [one.next_packet() for _ in range(20)]
    first = next(at for at, packet in enumerate(sent) if packet[1] & 0x7F == 101)
    key = sent[first : first + 8]
    assert key[0][1] == 0x80 | 101 and {packet[4:8] for packet in key} == {key[0][4:8]} and {packet[12] for packet in key} == {key[0][12]}
    assert [bool(packet[13] & 0x80) for packet in key] == 5 * [False] + 3 * [True]
    assert [int.from_bytes(packet[14:16], "big") for packet in key] == [160, 320, 480, 640, 800, 800, 800, 800]
    for packet in key:
        one.receive_rtp(packet, 2)
    assert (one.figures.keys_back, len(one.heard)) == (1, 0)


def test_a_call_that_is_referred_says_so_and_its_bye_is_no_loss() -> None:
    one = caller()
    one.receive_sip(ANSWER, 1)
    for _ in range(2):
        one.receive_sip("REFER sip:soak3@127.0.0.1 SIP/2.0\r\nCSeq: 1 REFER\r\nRefer-To: <sip:x@h>\r\n\r\n", 2)
    accepted, notify, again = one.outbox[-3:]
    assert accepted.startswith(b"SIP/2.0 202 ") and again == accepted
    assert notify.startswith(b"NOTIFY ") and notify.endswith(b"SIP/2.0 200 OK\r\n") and b"message/sipfrag" in notify
    one.receive_sip("SIP/2.0 200 OK\r\nCSeq: 2 NOTIFY\r\n\r\n", 3)
    assert one.waiting == b""
    one.receive_sip("BYE sip:x SIP/2.0\r\nCSeq: 2 BYE\r\n\r\n", 4)
    assert (one.figures.transferred, one.figures.ended_early, one.state) == (1, 0, State.IDLE)


@pytest.mark.parametrize("name", CODECS)
def test_each_codec_carries_a_tone(name: str) -> None:
    speaker, sent = CODECS[name].speaker(), tone(600)
    heard = np.concatenate([speaker.decode(speaker.encode(sent[at : at + 160])) for at in range(0, RATE_HZ, 160)])
    assert judge(heard[None], np.array([600]))[0][0] is Verdict.OWN
