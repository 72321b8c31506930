"""The compiled cycle on real sockets: packet in, frame in the ring; speech in the ring, packet out; nothing disturbs it."""

import itertools
import os
import random
import socket
import time
from collections.abc import Iterator

import numpy as np
import pytest

from control_plane import g711
from media_workers import duty_cycle, sockets
from shm import doorbell
from shm.counters import WORKER
from shm.layout import AUDIO, COMFORT_NOISE_FLAG, CONCEALED_FLAG, DRAINED, DTMF, SPEECH_FLAG, VOICED_FLAG
from tests.media_workers.call_under_test import MS, MUTATIONS, loud
from tests.media_workers.far_end import FarEnd, make_keys
from tests.media_workers.line import LoopbackWorker
from tests.reference import rtp as reference_rtp

SPEECH = SPEECH_FLAG | VOICED_FLAG
pytestmark = pytest.mark.compiled
CODE = 0x20
VALUE = int(g711.decode(0, bytes([CODE]))[0])


@pytest.fixture(name="worker")
def _worker() -> Iterator[LoopbackWorker]:
    worker = LoopbackWorker()
    yield worker
    worker.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_packet_is_a_frame_in_the_ring_and_speech_is_a_packet(host: str) -> None:
    try:
        worker = LoopbackWorker(1, host)
    except OSError as failure:
        pytest.skip(f"no {host} here: {failure}")
    caller = worker.call()
    for _ in range(3):
        caller.speak(CODE)
        worker.run()
    heard = [(kind, flags & ~SPEECH, first) for kind, flags, first in caller.heard_by_agent()]
    filled = [frame for frame in heard if frame[1] == COMFORT_NOISE_FLAG]  # where the machine kept this test waiting
    assert [frame for frame in heard if frame not in filled] == [(AUDIO, 0, VALUE)] * 3
    caller.received()
    caller.say(loud(480))
    worker.run(90)
    packets = caller.received()
    spoken = [packet for packet in packets if abs(int(g711.decode(0, packet.payload)[0])) > 100]
    assert len(spoken) == 3 and all((g711.decode(0, packet.payload) == loud(160)).all() for packet in spoken)
    assert {(b.seq - a.seq, (b.timestamp - a.timestamp) % 2**32) for a, b in itertools.pairwise(packets)} == {(1, 160)}
    assert len({packet.ssrc for packet in packets}) == 1 and {packet.payload_type for packet in packets} == {0}
    events = caller.heard_by_agent()
    assert [kind for kind, flags, _ in events if flags & ~SPEECH != COMFORT_NOISE_FLAG] == [DRAINED]
    assert caller.counter("frames_from_ai") == 3 and caller.counter("packets_received") == 3
    assert worker.total("frames_to_ai") == 3 + len(filled) + len(events) - 1
    assert worker.total("send_failures") == 0 and worker.total("cycles") > 3
    worker.close()


def test_what_comes_from_elsewhere_is_refused_and_gets_nothing(worker: LoopbackWorker) -> None:
    caller = worker.call()
    caller.speak(CODE)
    worker.run()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as attacker:
        attacker.bind(("127.0.0.1", 0))
        for number in range(30):
            attacker.sendto(reference_rtp.build(number, 160 * number, bytes([0x05]) * 160), caller.target)
        worker.run(40)
        with pytest.raises(BlockingIOError):
            attacker.recv(2048, socket.MSG_DONTWAIT)
    assert [first for _, _, first in caller.heard_by_agent()] == [VALUE] and len(caller.received()) >= 1
    assert caller.counter("wrong_source") == worker.total("wrong_source") == 30


@pytest.mark.parametrize("suite", ["AES_CM_128_HMAC_SHA1_80", "AEAD_AES_128_GCM"])
def test_a_protected_call_follows_its_keys_and_nobody_else(worker: LoopbackWorker, suite: str) -> None:
    keys = make_keys(suite)
    caller, far = worker.call(srtp=keys), FarEnd(keys)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as attacker, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as moved:
        for other in (attacker, moved):
            other.bind(("127.0.0.1", 0))
        first = far.packet(1, bytes([CODE]) * 160)
        caller.send(first)
        worker.run()
        for number in range(2, 32):
            attacker.sendto(first, caller.target)
            attacker.sendto(reference_rtp.build(number, 160 * number, bytes([0x05]) * 160), caller.target)
            attacker.sendto(bytes((0x80, 0)) + os.urandom(180), caller.target)
        caller.send(reference_rtp.build(2, 320, bytes([0x05]) * 160))  # in the clear, from the right place
        worker.run(30)
        assert [value for _, _, value in caller.heard_by_agent()] == [VALUE]
        assert caller.counter("srtp_replayed") == 30 and caller.counter("srtp_auth_failed") == 61
        late = far.packet(2, bytes([CODE]) * 160)
        moved.sendto(far.packet(3, bytes([CODE]) * 160), caller.target)  # the far end behind another address of its NAT
        worker.run(30)
        attacker.sendto(late, caller.target)  # authentic, but held back: what it says counts, where it came from does not
        worker.run(30)
        assert [value for _, _, value in caller.heard_by_agent()][-1] == VALUE and caller.counter("wrong_source") == 0
        with pytest.raises(BlockingIOError):
            attacker.recv(2048, socket.MSG_DONTWAIT)
        read = far.read(moved.recv(2048, socket.MSG_DONTWAIT))
        assert read is not None and len(read.payload) == 160


def test_a_key_reaches_the_agent(worker: LoopbackWorker) -> None:
    caller = worker.call()
    for _ in range(4):
        caller.seq += 1
        caller.send(reference_rtp.build(caller.seq, 800, bytes((7, 10, 0, 160)), payload_type=101))
    worker.run(5)
    assert [kind for kind, _, _ in caller.heard_by_agent()] == [DTMF] and caller.counter("keys_received") == 1


def test_a_gap_is_concealed_when_its_time_is_over_though_nothing_comes(worker: LoopbackWorker) -> None:
    caller = worker.call()
    caller.speak(CODE)
    caller.speak(CODE, skip=1)
    worker.run(1)
    assert len(caller.heard_by_agent()) == 1
    worker.run(60)
    flags = [flags & ~SPEECH for kind, flags, _ in caller.heard_by_agent() if kind == AUDIO]
    assert flags == [CONCEALED_FLAG, 0] and caller.counter("lost") == 1


def test_twenty_thousand_datagrams_of_garbage_disturb_nobody(worker: LoopbackWorker) -> None:
    dice = random.Random(6)
    target, neighbour = worker.call(), worker.call()
    target.speak(CODE)
    worker.run()
    rtcp, heard = (target.target[0], target.target[1] + 1), neighbour.heard_by_agent()
    for _ in range(200):
        for _ in range(100):
            kind = dice.randrange(4)
            if kind == 0:
                datagram = dice.randbytes(dice.randrange(0, 1600))
            elif kind == 1:
                datagram = bytes((0x80 | dice.randrange(64), dice.randrange(256))) + dice.randbytes(dice.randrange(10, 80))
            else:
                payload, payload_type = dice.randbytes(160), dice.choice((0, 13, 101))
                datagram = bytearray(reference_rtp.build(dice.randrange(65536), dice.randrange(2**32), payload, payload_type))
                datagram[dice.randrange(12)] ^= 1 << dice.randrange(8)
            if kind == 3:
                target.socket.sendto(bytes(datagram[: dice.randrange(200)]), rtcp)
            else:
                target.send(bytes(datagram))
        neighbour.speak(CODE)
        worker.run(0.5)
        target.heard_by_agent()
        heard += neighbour.heard_by_agent()
    worker.run(5)
    heard += neighbour.heard_by_agent()
    assert [(flags & ~SPEECH, first) for kind, flags, first in heard if kind == AUDIO] == [(0, VALUE)] * 200
    assert neighbour.counter("lost") == neighbour.counter("malformed") == 0 and target.counter("malformed") > 1000
    assert len(neighbour.received()) >= 3 and len(target.received()) >= 3


def test_a_call_that_is_over_only_notes_that_its_port_still_hears_something(worker: LoopbackWorker) -> None:
    caller = worker.call()
    worker.rows.close(caller.call_id, time.monotonic_ns())
    caller.heard_by_agent()
    before = int(worker.views.calls[caller.row]["last_datagram_ns"])
    caller.speak(CODE)
    worker.run(45)
    assert caller.heard_by_agent() == [] and caller.received() == [] and worker.views.calls[caller.row]["last_datagram_ns"] > before


@pytest.mark.parametrize(
    ("direction", "is_heard", "is_sent"), [("sendonly", False, True), ("recvonly", True, False), ("inactive", False, False)]
)
def test_the_direction_is_obeyed(worker: LoopbackWorker, direction: str, is_heard: bool, is_sent: bool) -> None:
    caller = worker.call(direction=direction)
    caller.speak(CODE)
    worker.run(50)
    assert (bool(caller.heard_by_agent()), bool(caller.received())) == (is_heard, is_sent)


def test_with_nowhere_to_send_to_nothing_is_sent(worker: LoopbackWorker) -> None:
    caller = worker.call(remote_host="", remote_port=0)
    worker.run(50)
    assert worker.total("packets_sent") == worker.total("send_failures") == 0 and caller.received() == []


def test_a_send_that_the_kernel_refuses_is_counted_and_the_stream_goes_on(worker: LoopbackWorker) -> None:
    worker.call(remote_host="127.0.0.1", remote_port=9)
    other = worker.call(remote_host="::1", remote_port=9)  # not over an IPv4 socket
    worker.run(60)
    assert worker.total("send_failures") >= 2 and other.counter("packets_sent") >= 2


def test_a_successor_fences_who_is_late(worker: LoopbackWorker) -> None:
    """A worker that wakes up after it was replaced touches nothing."""
    caller = worker.call()
    worker.views.totals[0, WORKER["generation"]] += 1
    caller.speak(CODE)
    assert worker.run(1000) == duty_cycle.FENCED
    assert caller.heard_by_agent() == [] and worker.total("packets_received") == 0 and worker.total("packets_sent") == 0


def test_the_heart_beats_in_every_cycle(worker: LoopbackWorker) -> None:
    before = time.monotonic_ns()
    assert worker.run(1) == duty_cycle.HOUSEKEEPING
    assert before <= worker.total("heartbeat_ns") <= time.monotonic_ns()


def test_without_calls_it_sleeps_until_housekeeping(worker: LoopbackWorker) -> None:
    worker.run(50)
    assert worker.total("cycles") <= 3


def test_a_message_for_python_ends_the_round_at_once(worker: LoopbackWorker) -> None:
    bell = doorbell.make()
    sockets.watch(worker.epoll, bell, sockets.CONTROL_EVENT)
    os.eventfd_write(bell, 1)
    before = time.monotonic_ns()
    assert worker.run(5_000) == duty_cycle.CONTROL and time.monotonic_ns() - before < 4_000 * MS
    os.close(bell)


def test_messages_without_end_do_not_stop_rtp(worker: LoopbackWorker) -> None:
    """Each pass returns to Python at once: what is due must be sent all the same."""
    caller = worker.call()
    until = time.monotonic() + 0.2
    while time.monotonic() < until:
        worker.run(0)
    assert len(caller.received()) >= 8


def test_time_spent_in_python_delays_nobody_by_a_whole_round(worker: LoopbackWorker) -> None:
    """Groups whose millisecond came while Python ran are served first thing."""
    caller = worker.call()
    worker.run(25)
    next_ns = int(worker.views.calls[caller.row]["tx"]["next_tx_ns"])
    caller.received()
    while time.monotonic_ns() < next_ns + 2 * MS:
        pass
    worker.run(0)
    assert len(caller.received()) == 1


def test_a_sleeping_bridge_is_rung_once_and_one_that_is_awake_not_at_all(worker: LoopbackWorker) -> None:
    caller = worker.call()
    caller.speak(CODE)
    worker.run()
    assert worker.total("doorbells") == 0
    doorbell.fall_asleep(worker.views.rings.bells, 0)
    for _ in range(3):
        caller.speak(CODE)
        worker.run()
    assert worker.total("doorbells") == 1 and os.eventfd_read(worker.bell) == 1


def test_a_burst_is_taken_as_fast_as_it_comes(worker: LoopbackWorker) -> None:
    caller = worker.call()
    for _ in range(60):
        caller.speak(CODE)
    worker.run(20)
    assert sum(kind == AUDIO for kind, _, _ in caller.heard_by_agent()) == 60 == caller.counter("frames_to_ai")


def test_two_calls_do_not_hear_each_other(worker: LoopbackWorker) -> None:
    one, other = worker.call(), worker.call()
    for _ in range(3):
        one.speak(0x10), other.speak(0x30)
        worker.run()
    heard = [{first for _, _, first in caller.heard_by_agent()} for caller in (one, other)]
    assert heard == [{int(g711.decode(0, b"\x10")[0])}, {int(g711.decode(0, b"\x30")[0])}]
    one.received(), other.received()
    one.say(np.asarray(loud(320, 4000))), other.say(np.asarray(loud(320, -4000)))
    worker.run(70)
    for caller, sign in ((one, 1), (other, -1)):
        first_samples = [int(g711.decode(0, packet.payload)[0]) for packet in caller.received()]
        assert {np.sign(sample) for sample in first_samples if abs(sample) > 100} == {sign}


def test_mutated_rtp_disturbs_nobody(worker: LoopbackWorker) -> None:
    """Packets of the call's own far end, wrong in a few octets: audio, keys and comfort noise. BELLFRAME_MUTATIONS says how many."""
    dice = random.Random(3550)
    target, neighbour = worker.call(comfort_noise_payload_type=13), worker.call()
    target.speak(CODE)
    worker.run()
    heard = neighbour.heard_by_agent()
    rounds = MUTATIONS // 50
    for number in range(rounds):
        for seq in range(50):
            kind, payload = dice.choice(((0, dice.randbytes(160)), (101, bytes((5, 10, 0, 160))), (13, b"\x40")))
            at = number * 50 + seq
            datagram = bytearray(reference_rtp.build(at & 0xFFFF, 160 * at & 0xFFFFFFFF, payload, kind))
            for _ in range(dice.randrange(1, 4)):
                datagram[dice.randrange(min(len(datagram), 20))] = dice.randrange(256)
            target.send(bytes(datagram[: dice.randrange(len(datagram) + 1)] if seq % 4 == 0 else datagram))
        neighbour.speak(CODE)
        worker.run(0.1)
        target.heard_by_agent()
        heard += neighbour.heard_by_agent()
        target.received(), neighbour.received()
    worker.run(5)
    heard += neighbour.heard_by_agent()
    assert [(flags & ~SPEECH, first) for kind, flags, first in heard if kind == AUDIO] == [(0, VALUE)] * rounds
    assert neighbour.counter("lost") == neighbour.counter("malformed") == 0
    assert target.counter("malformed") > rounds and target.counter("packets_received") > 10 * rounds
    target.speak(CODE)
    target.speak(CODE)
    worker.run(150)
    assert target.heard_by_agent(), "and the call itself is not stuck"
