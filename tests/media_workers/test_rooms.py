"""Calls that hear each other: who is heard is known by its pitch."""

import itertools

import numpy as np
import numpy.typing as npt
import pytest

from control_plane import g711
from control_plane.errors import Misuse
from control_plane.messages import MAX_PARTIES, AgentRole, Party, Role
from media_workers import duty_cycle, libopus, playout, rooms, srtp, tape
from media_workers.rows import Rows
from shm import layout, ring
from shm.layout import AUDIO, DISCONTINUITY_FLAG, DTMF, LINE, MIXED_FLAG, SPEECH_FLAG, TAPE_RUNNING
from tests.media_workers.call_under_test import DTMF_TYPE, MS, START, CallUnderTest, heard, make_views
from tests.media_workers.far_end import FarEnd, make_keys
from tests.reference import rooms as reference
from tests.reference import telephone_event as reference_event
from tests.reference.rtp import Packet

Pcm = npt.NDArray[np.int16]
PITCHES_HZ = (500, 800, 1_100, 1_400)
ROOM = "room"


class Talker(CallUnderTest):
    """A far end that says a pitch of its own, and an agent that says another, both if they are asked to."""

    def __init__(self, rows: Rows, name: str, pitch_hz: float, ptime_ms: int = 20, format: str = "PCMU") -> None:
        super().__init__(ptime_ms, format, rows, name)
        self.name, self.pitch_hz, self.agent_hz = name, pitch_hz, 0.0
        self.seq = self.said = 0
        self.offset_ms = self.row * 3
        self.packets: list[Packet] = []
        self.told: list[tuple[int, int, Pcm]] = []
        self.encoder = CallUnderTest(20, format)
        """Another call's codec, to make what the far end sends."""

    def payload(self, frame: int) -> bytes:
        rate_hz = int(self.call["sample_rate_hz"])
        pcm = np.zeros(2880, np.int16)
        pcm[: rate_hz // 50] = self.sine(self.pitch_hz, frame * rate_hz // 50, rate_hz // 50)
        packet = np.zeros(4096, np.uint8)
        size = playout.codecs.encode(self.encoder.call, pcm, rate_hz // 50, packet, 0)
        return packet[:size].tobytes()

    def sine(self, pitch_hz: float, start: int, count: int) -> Pcm:
        rate_hz = int(self.call["sample_rate_hz"])
        return np.asarray(6_000 * np.sin(2 * np.pi * pitch_hz * (start + np.arange(count)) / rate_hz), np.int16)

    def step(self, ms: int) -> None:
        """This millisecond: a packet if one is due, what goes out, what the agent is told."""
        self.now_ns = START + ms * MS
        if ms % 20 == self.offset_ms % 20 and self.pitch_hz:
            clock = int(self.call["rtp_clock_hz"]) // 50
            self.receive(self.seq, self.seq * clock, self.payload(self.seq))
            self.seq += 1
        if self.agent_hz and ring.room(self.worker.rings, self.row) > 4:
            samples = int(self.call["sample_rate_hz"]) // 50
            self.said += self.say(self.sine(self.agent_hz, self.said * samples, samples))
        if rooms.hears(self.call["place"]):
            rooms.tell_agent(self.worker, self.row, self.now_ns)
        self.packets += self.tick()
        self.told += [(one.kind, one.flags, one.pcm) for one in self.take()]

    def line_heard(self) -> Pcm:
        """By its far end, lately."""
        pcm, found = np.zeros(2880, np.int16), []
        for packet in self.packets:
            octets = np.frombuffer(packet.payload, np.uint8).copy()
            size = playout.codecs.decode(self.encoder.call, octets, 0, octets.size, pcm)
            found.append(pcm[:size].copy())
        return np.concatenate(found[-25:])

    def agent_heard(self) -> Pcm:
        return np.concatenate([np.zeros(160, np.int16), *[pcm for kind, _, pcm in self.told if kind == AUDIO][-25:]])


def talk(talkers: list[Talker], ms: int = 700) -> None:
    """All of them at once, for so long."""
    begun = max((talker.now_ns - START) // MS for talker in talkers) + 1
    for now in range(begun, begun + ms):
        for talker in talkers:
            talker.step(now)


def pitches(pcm: Pcm, rate_hz: int = 8_000) -> set[int]:
    """Those of ours that are in it."""
    spectrum = np.abs(np.fft.rfft(pcm * np.hanning(pcm.size)))
    return {hz for hz in range(300, 3_100, 100) if spectrum[round(hz * pcm.size / rate_hz) - 1 :][:3].max() > 100 * pcm.size}


def a_room(rows: Rows, *parties: Party) -> None:
    rows.place(ROOM, parties, START)


def three(rows: Rows) -> list[Talker]:
    return [Talker(rows, name, pitch_hz) for name, pitch_hz in zip("abc", PITCHES_HZ, strict=False)]


# ---- two --------------------------------------------------------------------------------------------------------


def test_two_that_are_joined_hear_each_other_to_the_bit(rows: Rows) -> None:
    one, other = Talker(rows, "a", 500), Talker(rows, "b", 800)
    a_room(rows, Party("a"), Party("b"))
    talk([one, other], 1_000)
    for speaker, listener in ((one, other), (other, one)):
        said = np.concatenate([g711.decode(0, speaker.payload(n)) for n in range(40)])
        got = np.concatenate([heard(packet) for packet in listener.packets])
        begins = int(np.flatnonzero(np.abs(got) > 100)[0]) - int(np.flatnonzero(np.abs(said) > 100)[0])
        assert (got[begins : begins + said.size] == said).all(), "the same codec: passed on as it was"
        assert begins <= 8 * 60, "the delay is no more than a lead and two packets"


def test_they_hear_nothing_of_each_other_before_and_after(rows: Rows) -> None:
    one, other = Talker(rows, "a", 500), Talker(rows, "b", 800)
    talk([one, other])
    assert pitches(one.line_heard()) == pitches(other.line_heard()) == set()
    a_room(rows, Party("a"), Party("b"))
    talk([one, other])
    assert (pitches(one.line_heard()), pitches(other.line_heard())) == ({800}, {500})
    rows.place(ROOM, (), START)
    talk([one, other])
    assert pitches(one.line_heard()) == pitches(other.line_heard()) == set()
    assert {kind for kind, _, _ in one.told[-20:]} == {AUDIO}, "the agent hears its line again"


@pytest.mark.parametrize(
    ("one_format", "other_format", "ptime_ms"),
    [
        ("PCMU", "PCMA", 10),
        ("PCMU", "G722", 60),
        ("PCMU", "G722", 20),
        ("PCMA", "L16/8000", 20),
        pytest.param("G722", "G722", 30, marks=pytest.mark.compiled),
        pytest.param("PCMU", "OPUS", 20, marks=[pytest.mark.compiled, pytest.mark.skipif(not libopus.IS_THERE, reason="no libopus")]),
    ],
)
def test_across_codecs_rates_and_packet_lengths(rows: Rows, one_format: str, other_format: str, ptime_ms: int) -> None:
    one, other = Talker(rows, "a", 500, 20, one_format), Talker(rows, "b", 800, ptime_ms, other_format)
    a_room(rows, Party("a"), Party("b"))
    talk([one, other], 900)
    rates = [int(talker.call["sample_rate_hz"]) for talker in (one, other)]
    heard_pcm = one.line_heard(), other.line_heard()
    assert pitches(heard_pcm[0], rates[0]) == {800} and pitches(heard_pcm[1], rates[1]) == {500}
    for pcm in heard_pcm:
        assert 3_000 < np.sqrt((pcm.astype(float) ** 2).mean()) < 5_000, "as loud as it was said: 6,000 at the peak"


def test_srtp_on_both_legs(rows: Rows) -> None:
    """What one far end protects, the other can read, each under its own keys."""
    suite = "AES_CM_128_HMAC_SHA1_80"
    ends = [FarEnd(make_keys(suite, n)) for n in (1, 2)]
    calls = [CallUnderTest(rows=rows, call_id=name, srtp=make_keys(suite, n + 1)) for n, name in enumerate("ab")]
    a_room(rows, Party("a"), Party("b"))
    own, heard_codes = rows.worker.own[0], []
    for n in range(30):
        now_ns = START + 20 * n * MS
        datagram = ends[0].packet(n, bytes([0x10 + n]) * 160)
        own["packet"][: len(datagram)] = np.frombuffer(datagram, np.uint8)
        size = int(srtp.unprotect(rows.worker, calls[0].row, len(datagram), now_ns))
        assert size == 172
        calls[0].now_ns = now_ns
        calls[0].receive(n, 160 * n, own["packet"][12:size].tobytes())
        while now_ns >= calls[1].call["tx"]["next_tx_ns"]:
            size = int(srtp.protect(rows.worker, calls[1].row, playout.build(rows.worker, calls[1].row, now_ns)))
            packet = ends[1].read(own["packet"][:size].tobytes())
            assert packet is not None
            heard_codes += sorted({code for code in packet.payload if 0x10 <= code < 0x30})
            playout.account(rows.worker, calls[1].row, now_ns)
    assert list(dict.fromkeys(heard_codes)) == list(range(0x10, 0x10 + 28))
    for call in calls:
        srtp.forget(rows.worker, call.row)


# ---- more than two ------------------------------------------------------------------------------------------------


def test_in_a_conference_everybody_hears_all_but_himself(rows: Rows) -> None:
    everybody = [Talker(rows, name, pitch) for name, pitch in zip("abcd", PITCHES_HZ, strict=True)]
    a_room(rows, *(Party(one.name) for one in everybody))
    talk(everybody)
    for one in everybody:
        assert pitches(one.line_heard()) == set(PITCHES_HZ) - {one.pitch_hz}


def test_who_listens_is_not_heard_and_who_whispers_is_heard_by_one(rows: Rows) -> None:
    caller, human, coach = three(rows)
    a_room(rows, Party("a"), Party("b"), Party("c", "listen"))
    talk([caller, human, coach])
    assert [pitches(one.line_heard()) for one in (caller, human, coach)] == [{800}, {500}, {500, 800}]
    a_room(rows, Party("a"), Party("b"), Party("c", "whisper", to="b"))
    talk([caller, human, coach])
    assert [pitches(one.line_heard()) for one in (caller, human, coach)] == [{800}, {500, 1_100}, {500, 800}]


def test_rooms_do_not_hear_each_other(rows: Rows) -> None:
    everybody = [Talker(rows, name, pitch) for name, pitch in zip("abcd", PITCHES_HZ, strict=True)]
    a_room(rows, Party("a"), Party("b"))
    rows.place("another", (Party("c"), Party("d")), START)
    talk(everybody)
    assert [pitches(one.line_heard()) for one in everybody] == [{800}, {500}, {1_400}, {1_100}]
    rows.place("another", (Party("b"), Party("c")), START)  # a call that moves leaves its room
    talk(everybody)
    assert [pitches(one.line_heard()) for one in everybody] == [set(), {1_100}, {800}, set()]


def test_loud_voices_are_limited_and_do_not_wrap(rows: Rows) -> None:
    calls = [CallUnderTest(rows=rows, call_id=name) for name in "abcd"]
    a_room(rows, *(Party(name) for name in "abcd"))
    loud = g711.encode(0, np.full(160, 30_000, np.int16))
    for n in range(5):
        for call in calls:
            call.now_ns = START + 20 * n * MS
            call.receive(n, 160 * n, loud)
    packet = calls[3].tick()[-1]
    calls[3].now_ns += 40 * MS
    packet = calls[3].tick()[-1]
    assert heard(packet).max() > 32_000 and heard(packet).min() >= 0


@pytest.mark.parametrize("seed", range(6))
def test_who_is_heard_is_as_the_reference_says(rows: Rows, seed: int) -> None:
    random = np.random.default_rng(seed)
    names = ["a", "b", "c"]
    for name in names:
        CallUnderTest(rows=rows, call_id=name)
    lines: list[Role] = ["talk", "listen", "whisper", "music", "ringback"]
    agents: list[AgentRole] = ["out", "talk", "listen", "whisper"]
    for _ in range(20):
        targets = [f"{name}{agent}" for name in names for agent in ("", "/agent")]
        parties = [
            Party(name, str(random.choice(lines)), str(random.choice(agents)), str(random.choice(targets)), str(random.choice(targets)))  # type: ignore[arg-type]
            for name in names
        ]
        a_room(rows, *parties)
        roles: dict[reference.PartyName, tuple[str, reference.PartyName]] = {}
        for party in parties:
            for is_agent, role, to in ((False, party.role, party.to), (True, party.agent, party.agent_to)):
                roles[party.call_id, is_agent] = (role, (to[0], "/" in to))
        for speaker, listener in itertools.product(roles, roles):
            numbers = [(rows.find(call_id) or 0) << 1 | is_agent for call_id, is_agent in (speaker, listener)]
            assert bool(rooms.is_heard(rows.calls, *numbers)) == reference.is_heard(speaker, listener, roles), (speaker, listener, roles)


# ---- agents -------------------------------------------------------------------------------------------------------


def test_an_agent_that_is_out_is_deaf_and_mute_and_comes_back_to_where_it_was(rows: Rows) -> None:
    caller, human = Talker(rows, "a", 500), Talker(rows, "b", 800)
    caller.agent_hz = 2_000
    a_room(rows, Party("a"), Party("b"))
    talk([caller, human])
    assert pitches(caller.line_heard()) == {800} and pitches(human.line_heard()) == {500}
    assert {kind for kind, _, _ in caller.told} == {LINE}
    assert ring.room(rows.worker.rings, caller.row) <= 4, "what it says waits"
    rows.place(ROOM, (), START)
    caller.told.clear()
    talk([caller, human])
    assert pitches(caller.line_heard()) == {2_000} and pitches(caller.agent_heard()) == {500}


def test_an_agent_can_be_a_part_of_the_conference(rows: Rows) -> None:
    caller, human = Talker(rows, "a", 500), Talker(rows, "b", 800)
    caller.agent_hz, human.agent_hz = 2_000, 2_500
    a_room(rows, Party("a", agent="talk"), Party("b", agent="talk"))
    talk([caller, human])
    assert pitches(caller.line_heard()) == {800, 2_000, 2_500} and pitches(human.line_heard()) == {500, 2_000, 2_500}
    assert pitches(caller.agent_heard()) == {500, 800, 2_500} and pitches(human.agent_heard()) == {500, 800, 2_000}
    kinds = [(kind, flags & MIXED_FLAG, flags & SPEECH_FLAG) for kind, flags, _ in caller.told[-10:]]
    assert (AUDIO, MIXED_FLAG, SPEECH_FLAG) in kinds and (LINE, 0, SPEECH_FLAG) in kinds
    anew = [flags & DISCONTINUITY_FLAG for kind, flags, _ in caller.told if kind == AUDIO]
    assert anew[0] and not any(anew[1:])


def test_an_agent_that_whispers_to_the_human_is_not_heard_by_the_caller(rows: Rows) -> None:
    caller, human = Talker(rows, "a", 500), Talker(rows, "b", 800)
    caller.agent_hz = 2_000
    a_room(rows, Party("a", agent="whisper", agent_to="b"), Party("b"))
    talk([caller, human])
    assert pitches(caller.line_heard()) == {800} and pitches(human.line_heard()) == {500, 2_000}
    assert pitches(caller.agent_heard()) == {500, 800}


def test_the_agent_gets_frames_of_the_room_on_the_clock_even_if_nobody_speaks(rows: Rows) -> None:
    quiet = Talker(rows, "a", 0)
    a_room(rows, Party("a", agent="listen"))
    talk([quiet], 500)
    frames = [one for one in quiet.told if one[0] == AUDIO]
    assert 24 <= len(frames) <= 26 and not any(pcm.any() for _, _, pcm in frames)
    quiet.now_ns += 5_000 * MS  # the worker was away
    rooms.tell_agent(rows.worker, quiet.row, quiet.now_ns)
    assert len(quiet.take()) <= 11


def test_who_waits_hears_music_and_is_heard_by_its_agent_alone(rows: Rows) -> None:
    caller, human = Talker(rows, "a", 500), Talker(rows, "b", 800)
    a_room(rows, Party("a", "music", agent="listen"), Party("b"))
    talk([caller, human])
    assert pitches(human.line_heard()) == set() and pitches(caller.agent_heard()) >= {500}
    assert 300 < np.sqrt((caller.line_heard().astype(float) ** 2).mean()) < 4_000
    assert caller.counter("frames_from_ai") > 30, "it counts as audio, not as silence"
    a_room(rows, Party("a", "ringback"), Party("b"))
    talk([caller, human], 5_200)
    tones = [bool(pitches(np.tile(heard(packet), 25)) & {400}) or abs(heard(packet)).max() > 2_000 for packet in caller.packets[-250:]]
    assert 45 <= sum(tones) <= 52, "one second of five"


# ---- keys -----------------------------------------------------------------------------------------------------------


def press(call: CallUnderTest, key: str, seq: int, timestamp: int) -> None:
    call.receive(seq, timestamp, reference_event.Event(timestamp, reference_event.KEYS.index(key), 160, False).payload(), DTMF_TYPE)


def test_keys_cross_as_events_and_the_agents_know_of_them(rows: Rows) -> None:
    one, other = Talker(rows, "a", 0), Talker(rows, "b", 0)
    a_room(rows, Party("a"), Party("b"))
    talk([one, other], 60)
    for n, key in enumerate("5#"):
        press(one, key, n, 10_000 * n)
    talk([one, other], 600)
    events = [packet for packet in other.packets if packet.payload_type == DTMF_TYPE]
    by_press = {timestamp: [p for p in events if p.timestamp == timestamp] for timestamp in dict.fromkeys(p.timestamp for p in events)}
    assert [reference_event.KEYS[p[0].payload[0]] for p in by_press.values()] == ["5", "#"]
    for packets in by_press.values():
        assert packets[0].marker and [p.payload[1] >> 7 for p in packets[-4:]] == [0, 1, 1, 1]
        assert int.from_bytes(packets[-1].payload[2:], "big") == 800
    assert not [packet for packet in one.packets if packet.payload_type == DTMF_TYPE]
    assert [kind for kind, _, _ in one.told].count(DTMF) == 2


def test_keys_cross_as_tones_where_events_were_not_agreed(rows: Rows) -> None:
    one = Talker(rows, "a", 0)
    other = CallUnderTest(rows=rows, call_id="b", dtmf_payload_type=-1)
    a_room(rows, Party("a"), Party("b"))
    one.step(0)
    press(one, "1", 0, 0)
    packets = [other.next_packet() for _ in range(10)]
    tone = np.concatenate([heard(packet) for packet in packets[:5]])
    spectrum = np.abs(np.fft.rfft(tone))
    assert sorted(int(n) * 10 for n in np.argsort(spectrum)[-2:]) == [700, 1_210]
    assert not heard(packets[6]).any() and {packet.payload_type for packet in packets} == {0}


def test_a_key_storm_is_bounded(rows: Rows) -> None:
    one, other = Talker(rows, "a", 0), Talker(rows, "b", 0)
    a_room(rows, Party("a"), Party("b"))
    for n in range(100):
        press(one, "7", n, 10_000 * n)
    talk([one, other], 4_000)
    events = {packet.timestamp for packet in other.packets if packet.payload_type == DTMF_TYPE}
    assert len(events) == rooms.KEYS_HELD and other.packets[-1].payload_type == 0


# ---- what lasts -----------------------------------------------------------------------------------------------------


def test_a_worker_that_takes_over_finds_its_rooms(rows: Rows) -> None:
    one, other = Talker(rows, "a", 500), Talker(rows, "b", 800)
    a_room(rows, Party("a"), Party("b"))
    talk([one, other])
    fresh = rows.worker._replace(rooms=np.zeros_like(rows.worker.rooms))
    successor = Rows(fresh, 0, 8, 0)
    for talker in (one, other):
        talker.rows, talker.worker = successor, fresh
        talker.packets.clear()
    talk([one, other])
    assert (pitches(one.line_heard()), pitches(other.line_heard())) == ({800}, {500})


def test_a_call_that_ends_leaves_and_the_next_one_in_its_row_hears_nothing_of_it() -> None:
    rows = Rows(make_views(2), 0, 2, 0)
    one, other = Talker(rows, "a", 500), Talker(rows, "b", 800)
    a_room(rows, Party("a"), Party("b"))
    talk([one, other])
    rows.close("b", START)
    talk([one])
    assert pitches(one.line_heard()) == set()
    third = Talker(rows, "c", 1_100)
    assert third.row == other.row and third.call["place"]["role"] == rooms.OUT
    third.now_ns = one.now_ns
    third.call["tx"]["next_tx_ns"] = one.call["tx"]["next_tx_ns"]
    talk([one, third])
    assert pitches(one.line_heard()) == pitches(third.line_heard()) == set()
    a_room(rows, Party("a"), Party("b"), Party("c"))  # b is over, and passed over
    assert rows.worker.rooms[0, :3].tolist() == [2, one.row, third.row]


def test_the_tape_has_what_went_out(rows: Rows) -> None:
    one, other = Talker(rows, "a", 500), Talker(rows, "b", 800)
    tape.turn(rows.worker, one.row, TAPE_RUNNING)
    a_room(rows, Party("a"), Party("b"))
    talk([one, other])
    written = int(rows.worker.rings.words[one.row, layout.TAPE_WRITE])
    kept = rows.worker.rings.tape[one.row, written - 4_000 : written]
    assert pitches(kept) == {800} and kept.tolist()[-160:] == heard(one.packets[-1]).tolist()


def test_saying_it_again_changes_nothing_and_too_many_are_refused(rows: Rows) -> None:
    one, other = Talker(rows, "a", 500), Talker(rows, "b", 800)
    a_room(rows, Party("a"), Party("b"))
    talk([one, other])
    written = int(one.call["line"]["written"])
    a_room(rows, Party("a"), Party("b"))
    assert one.call["line"]["written"] == written > 0
    with pytest.raises(Misuse):
        a_room(rows, *(Party(str(n)) for n in range(MAX_PARTIES + 1)))


def test_the_whole_cycle_serves_a_room(rows: Rows) -> None:
    """`serve` itself, with the socket that there is not."""
    one, other = Talker(rows, "a", 0), Talker(rows, "b", 0)
    a_room(rows, Party("a", agent="talk"), Party("b", "music"))
    for ms in range(100):
        for call in (one, other):
            call.call["source"]["sockaddr_bytes"] = 0
            duty_cycle.serve(rows.worker, call.row, START + ms * MS)
    assert [told.kind for told in one.take()].count(AUDIO) == 4
