"""Many calls on one port: each hears its own far end and nobody else, in any order of comings, movings and goings."""

import os
import random
import socket
import time
from collections.abc import Iterator

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from control_plane import g711
from control_plane.errors import Exhausted, NotAcceptable
from control_plane.messages import MediaDescription
from media_workers import shared_port
from media_workers.call_table import FREE, Worker
from media_workers.rows import Rows
from media_workers.shared_port import ANY, NOBODY, RTCP_KIND, WORDS
from media_workers.source import LEARNING_NS, PROBATION_PACKETS
from shm.jit import IS_COMPILED
from shm.layout import AUDIO
from tests.media_workers.call_under_test import MUTATIONS, SECOND, START, loud, make_views
from tests.media_workers.far_end import FarEnd, make_keys
from tests.media_workers.line import Caller, LoopbackWorker
from tests.reference import rtp as reference_rtp
from tests.reference.shared_port import Address, SharedPort

HOSTS = ("192.0.2.1", "192.0.2.2", "2001:db8::1")
CODE, OTHER_CODE = 0x20, 0x30
VALUE, OTHER_VALUE = (int(g711.decode(0, bytes([code]))[0]) for code in (CODE, OTHER_CODE))


def words(host: str, port: int) -> Address:
    found = shared_port.address_words(host, port)
    return int(found[0]), int(found[1]), int(found[2])


def media(host: str = HOSTS[0], port: int = 4000, ssrc: int = -1, **more: object) -> MediaDescription:
    return MediaDescription("PCMU", 0, host, port, remote_ssrc=ssrc, **more)  # type: ignore[arg-type]


def find(worker: Worker, host: str, port: int, ssrc: int = 1, kind: int = 0) -> int:
    return int(shared_port.find(worker.table, np.array(words(host, port)), kind, ssrc))


@pytest.fixture(name="rows")
def _rows() -> Rows:
    """One row with a port of its own, seven on the shared one; ports rest for a second."""
    return Rows(make_views(8, sharing=7), 0, 8, SECOND)


# ---- the table -----------------------------------------------------------------------------------------------------

PLACES = st.tuples(st.sampled_from(HOSTS), st.integers(4000, 4003))
STEPS = st.lists(
    st.tuples(st.integers(0, 6), PLACES, st.sampled_from((ANY, 1, 2, 3)), st.one_of(st.none(), PLACES)), max_size=40
)


@settings(max_examples=300 if IS_COMPILED else 60, deadline=None)
@given(STEPS)
def test_the_table_agrees_with_the_reference(steps: list[tuple[int, tuple[str, int], int, tuple[str, int] | None]]) -> None:
    """Calls come with or without an SSRC, lock elsewhere, and go, in any order."""
    worker, twin, present = make_views(7, sharing=7), SharedPort(), set()
    for row, signalled, ssrc, locked in steps:
        call = worker.calls[row]
        if row in present:
            shared_port.leave(worker, row)
            twin.leave(row)
            present.discard(row)
        else:
            call["source"]["signalled"], call["remote_ssrc"] = words(*signalled), ssrc
            call["source"]["locked"] = words(*locked) if locked else 0
            call["rtcp"]["port"] = signalled[1] + 1
            shared_port.enter(worker, row)
            first, *rest = words(*signalled)
            rtcp = ((first & ~0xFFFF) + signalled[1] + 1 | RTCP_KIND, *rest)
            addresses = [words(*signalled), rtcp, *([words(*locked)] if locked else [])]
            twin.enter(row, ssrc, addresses, is_known_by_ssrc=not locked)  # type: ignore[arg-type]
            present.add(row)
        for host in HOSTS:
            for port in range(3999, 4006):
                for asked in (1, 2, 3, 9):
                    first, *rest = words(host, port)
                    assert find(worker, host, port, asked) == twin.find((first, *rest), asked)  # type: ignore[arg-type]
                    assert find(worker, host, port, asked, RTCP_KIND) == twin.find((first | RTCP_KIND, *rest), asked)  # type: ignore[arg-type]
    for row in present:
        shared_port.leave(worker, row)
    assert not worker.table[:, shared_port.VALUE].any(), "nothing is left behind"


def test_thousands_of_calls_are_found_and_the_rest_is_not() -> None:
    calls = 4_000 if IS_COMPILED else 400
    worker = make_views(calls, sharing=calls)
    for row in range(calls):
        worker.calls[row]["source"]["signalled"] = words(f"192.0.{row >> 8}.{row & 0xFF}", 10_000 + 2 * (row % 50))
        worker.calls[row]["remote_ssrc"], worker.calls[row]["state"] = ANY, 1
    shared_port.enter_all(worker, 0, calls, FREE)
    before = worker.table.copy()
    for row in range(0, calls, 7):
        assert find(worker, f"192.0.{row >> 8}.{row & 0xFF}", 10_000 + 2 * (row % 50), row) == row
        assert find(worker, f"192.0.{row >> 8}.{row & 0xFF}", 10_001 + 2 * (row % 50), row) == NOBODY
    started = time.perf_counter()
    shared_port.enter_all(worker, 0, calls, FREE)
    assert (worker.table == before).all(), "a successor finds the same"
    assert time.perf_counter() - started < 0.02 or not IS_COMPILED, "a takeover must not wait for it"


def test_slots_are_a_power_of_two_with_room() -> None:
    assert shared_port.slots_for(0) == 1 and shared_port.slots_for(4_000) == 32_768
    assert shared_port.table_bytes(4_000) == 32_768 * WORDS * 8


# ---- rows ------------------------------------------------------------------------------------------------------------


def test_calls_of_different_addresses_share_and_of_the_same_address_only_with_ssrcs(rows: Rows) -> None:
    def opened(name: str, *of: object) -> int:
        return rows.open(name, 0, media(*of), START, is_port_shared=True)  # type: ignore[arg-type]

    one, other = opened("one", HOSTS[0], 4000), opened("other", HOSTS[0], 4002)
    assert rows.calls["rtp_port"][one] and {one, other} <= set(range(1, 8))
    assert opened("same", HOSTS[0], 4000, 7) == 0, "the first one has named no SSRC: this one gets a port of its own"
    with pytest.raises(Exhausted, match="a=ssrc"):
        opened("again", HOSTS[0], 4000, 8)
    third, fourth = opened("third", HOSTS[1], 4000, 7), opened("fourth", HOSTS[1], 4000, 8)
    assert {third, fourth} <= set(range(1, 8))
    assert find(rows.worker, HOSTS[1], 4000, 7) == third and find(rows.worker, HOSTS[1], 4000, 8) == fourth
    assert find(rows.worker, HOSTS[1], 4000, 9) == NOBODY
    assert find(rows.worker, HOSTS[0], 4000, 9) == one


def test_without_the_option_every_call_has_its_own(rows: Rows) -> None:
    assert rows.open("one", 0, media(), START) == 0
    with pytest.raises(Exhausted):
        rows.open("other", 0, media(port=4002), START)


def test_a_call_that_does_not_send_the_ssrc_that_it_named_shares_its_address_with_nobody(rows: Rows) -> None:
    row = rows.open("one", 0, media(ssrc=7), START, is_port_shared=True)
    rows.calls[row]["rx"]["is_started"], rows.calls[row]["rx"]["ssrc"] = 1, 99
    assert rows.open("other", 0, media(ssrc=8), START, is_port_shared=True) == 0, "a port of its own"


def test_a_new_offer_moves_the_call_and_one_that_would_make_two_alike_is_refused(rows: Rows) -> None:
    row = rows.open("one", 0, media(port=4000), START, is_port_shared=True)
    rows.open("other", 0, media(port=4002), START, is_port_shared=True)
    rows.update("one", media(HOSTS[1], 5000), START)
    assert find(rows.worker, HOSTS[1], 5000) == row and find(rows.worker, HOSTS[0], 4000) == NOBODY
    with pytest.raises(NotAcceptable, match="a=ssrc"):
        rows.update("one", media(port=4002), START)
    assert find(rows.worker, HOSTS[1], 5000) == row, "it is as it was"
    rows.update("one", media(HOSTS[1], 5000), START)
    assert find(rows.worker, HOSTS[1], 5000) == row


def test_a_call_out_is_nobodys_until_its_answer_says_where_the_far_end_is(rows: Rows) -> None:
    row = rows.open("out", 0, media("", 0), START, is_port_shared=True)
    assert row > 0 and not rows.worker.table[:, shared_port.VALUE].any()
    rows.update("out", media(), START)
    assert find(rows.worker, HOSTS[0], 4000) == row


def test_late_packets_of_a_call_that_is_over_reach_no_other(rows: Rows) -> None:
    """Its address stays its own until it has been silent."""
    row = rows.open("one", 0, media(), START, is_port_shared=True)
    rows.close("one", START)
    assert find(rows.worker, HOSTS[0], 4000) == row
    assert rows.open("other", 0, media(), START, is_port_shared=True) == 0, "a port of its own, until then"
    assert rows.release_quiet(START + 2 * SECOND) == 1 and find(rows.worker, HOSTS[0], 4000) == NOBODY
    assert rows.open("third", 0, media(), START + 2 * SECOND, is_port_shared=True) > 0


def test_a_successor_finds_every_call(rows: Rows) -> None:
    opened = [rows.open(f"call-{port}", 0, media(port=port), START, is_port_shared=True) for port in range(4000, 4010, 2)]
    rows.worker.table[3:9] = 77  # as if the worker had been killed in the middle of a change
    successor = Rows(rows.worker, 0, 8, SECOND)
    assert [find(successor.worker, HOSTS[0], port) for port in range(4000, 4010, 2)] == opened


# ---- on real sockets ---------------------------------------------------------------------------------------------------


@pytest.fixture(name="line")
def _line() -> Iterator[LoopbackWorker]:
    line = LoopbackWorker(1, sharing=12)
    yield line
    line.close()


def first_samples(caller: Caller) -> set[int]:
    return {first for kind, _, first in caller.heard_by_agent() if kind == AUDIO}


@pytest.mark.compiled
def test_ten_calls_on_one_port_hear_their_own_and_answer_their_own(line: LoopbackWorker) -> None:
    callers = [line.call() for _ in range(10)]
    assert len({caller.target for caller in callers}) == 1
    for _ in range(5):
        for number, caller in enumerate(callers):
            caller.speak(0x10 + number)
        line.run(3)
    assert [first_samples(caller) for caller in callers] == [{int(g711.decode(0, bytes([0x10 + n]))[0])} for n in range(10)]
    for number, caller in enumerate(callers):
        caller.say(loud(480, 1000 * (number + 1)))
    line.run(90)
    for number, caller in enumerate(callers):
        packets = caller.received()
        spoken = {int(g711.decode(0, packet.payload)[0]) for packet in packets} - {0}
        assert int(loud(1, 1000 * (number + 1))[0]) in spoken
        assert not spoken & {int(loud(1, 1000 * (n + 1))[0]) for n in range(10) if n != number}
        assert len({packet.ssrc for packet in packets}) == 1
    assert line.total("wrong_source") == line.total("send_failures") == 0


@pytest.mark.compiled
def test_a_batch_that_is_more_than_full_goes_out_whole() -> None:
    """More than one batch of packets is due at once; one of them goes nowhere, and costs the others nothing."""
    big = LoopbackWorker(1, sharing=200)
    callers = [big.call() for _ in range(199)]
    nowhere = big.call(remote_host="::1", remote_port=9)  # not over an IPv4 socket
    big.views.calls["tx"]["next_tx_ns"] = time.monotonic_ns() - 50_000_000
    big.views.own["served_ms"] = 0
    big.run(1)
    assert all(len(caller.received()) >= 3 for caller in callers)
    assert big.total("send_failures") >= 3 and nowhere.received() == []
    big.close()


@pytest.mark.compiled
def test_strangers_and_other_calls_far_ends_reach_nobody(line: LoopbackWorker) -> None:
    one, other = line.call(), line.call(remote_ssrc=7)
    one.speak(CODE), other.speak(OTHER_CODE)
    line.run()
    assert (first_samples(one), first_samples(other)) == ({VALUE}, {OTHER_VALUE})
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.bind(("127.0.0.1", 0))
        for number in range(30):  # in sequence, in the learning time, and with the SSRC of a call that is locked
            stranger.sendto(reference_rtp.build(number, 160 * number, bytes([5]) * 160, ssrc=7), one.target)
            stranger.sendto(reference_rtp.build(number, 160 * number, bytes([5]) * 160, ssrc=12345), one.target)
            stranger.sendto(b"\x81\xcb\x00\x01" + bytes((0, 0, 0, 7)), one.target)  # BYE
        line.run(60)
        with pytest.raises(BlockingIOError):
            stranger.recv(2048, socket.MSG_DONTWAIT)
    assert first_samples(one) == first_samples(other) == set() and line.total("wrong_source") == 90
    assert one.counter("wrong_source") == 0 and one.received() and other.received()


@pytest.mark.compiled
def test_behind_nat_a_far_end_is_known_by_the_ssrc_in_its_sdp_and_by_nothing_else(line: LoopbackWorker) -> None:
    named, unnamed = line.call(remote_host="192.0.2.9", remote_ssrc=77), line.call(remote_host="192.0.2.10")
    for number in range(PROBATION_PACKETS + 2):
        named.send(reference_rtp.build(number, 160 * number, bytes([CODE]) * 160, ssrc=77))
        unnamed.send(reference_rtp.build(number, 160 * number, bytes([OTHER_CODE]) * 160, ssrc=78))
        line.run()
    assert first_samples(named) == {VALUE} and first_samples(unnamed) == set()
    assert find(line.views, "127.0.0.1", named.socket.getsockname()[1], 1) == named.row, "from now on by its address"
    line.run(40)
    assert named.received() and unnamed.received() == []


@pytest.mark.compiled
def test_after_the_learning_time_not_even_the_ssrc_helps(line: LoopbackWorker) -> None:
    caller = line.call(remote_host="192.0.2.9", remote_ssrc=77)
    line.views.calls[caller.row]["source"]["learn_until_ns"] = time.monotonic_ns() - LEARNING_NS
    for number in range(10):
        caller.send(reference_rtp.build(number, 160 * number, bytes([CODE]) * 160, ssrc=77))
    line.run(5)
    assert first_samples(caller) == set() and caller.counter("wrong_source") == 10


@pytest.mark.compiled
def test_two_calls_of_one_address_are_told_apart_by_ssrc(line: LoopbackWorker) -> None:
    one = line.call(remote_ssrc=7)
    other = line.call(remote_ssrc=8, remote_port=one.socket.getsockname()[1])
    assert one.target == other.target
    for number in range(5):
        for ssrc, code in ((7, CODE), (8, OTHER_CODE), (9, 5)):
            one.send(reference_rtp.build(number, 160 * number, bytes([code]) * 160, ssrc=ssrc))
        line.run()
    assert (first_samples(one), first_samples(other)) == ({VALUE}, {OTHER_VALUE}) and line.total("wrong_source") == 5


@pytest.mark.compiled
@pytest.mark.parametrize("suite", ["AES_CM_128_HMAC_SHA1_80", "AEAD_AES_128_GCM"])
def test_srtp_follows_its_keys_to_another_address(line: LoopbackWorker, suite: str) -> None:
    keys, neighbour_keys = make_keys(suite, 1), make_keys(suite, 2)
    caller, far = line.call(srtp=keys), FarEnd(keys)
    neighbour, neighbour_far = line.call(srtp=neighbour_keys), FarEnd(neighbour_keys)
    caller.send(far.packet(1, bytes([CODE]) * 160))
    neighbour.send(neighbour_far.packet(1, bytes([OTHER_CODE]) * 160, ssrc=8))
    line.run()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as moved, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as attacker:
        moved.bind(("127.0.0.1", 0))
        attacker.bind(("127.0.0.1", 0))
        for _ in range(20):
            attacker.sendto(bytes((0x80, 0)) + bytes((0, 2)) + os.urandom(4) + bytes((0, 0, 0, 7)) + os.urandom(170), caller.target)
        for seq in range(2, 5):
            moved.sendto(far.packet(seq, bytes([CODE]) * 160), caller.target)
        line.run(5)
        caller.received()  # what was sent before the move
        line.run(45)
        assert first_samples(caller) == {VALUE} and first_samples(neighbour) == {OTHER_VALUE}
        assert caller.counter("srtp_auth_failed") == 20 and caller.received() == []
        assert far.read(moved.recv(2048, socket.MSG_DONTWAIT)) is not None
        with pytest.raises(BlockingIOError):
            attacker.recv(2048, socket.MSG_DONTWAIT)
        assert find(line.views, "127.0.0.1", moved.getsockname()[1], 1) == caller.row
        neighbour.send(neighbour_far.packet(2, bytes([OTHER_CODE]) * 160, ssrc=8))
        line.run()
        assert first_samples(neighbour) == {OTHER_VALUE}
        moved.sendto(far.packet(5, ssrc=99), caller.target)  # another SSRC, and another address with it
        caller.send(far.packet(6, ssrc=99))
        line.run()
        assert find(line.views, "127.0.0.1", moved.getsockname()[1], 99) == caller.row, "by its SSRC"
        assert find(line.views, "127.0.0.1", moved.getsockname()[1], 7) == NOBODY, "no longer by its address, nor by the SSRC before"
    for call in (caller, neighbour):
        line.rows.close(call.call_id, time.monotonic_ns())
    line.rows.release_quiet(time.monotonic_ns() + 700 * SECOND)
    assert not line.views.table[:, shared_port.VALUE].any(), "nothing is left behind"


@pytest.mark.compiled
def test_mutated_and_spoofed_datagrams_disturb_no_neighbour(line: LoopbackWorker) -> None:
    """From strangers, and from one call's own far end: half with the neighbour's SSRC. BELLFRAME_MUTATIONS says how many."""
    dice = random.Random(5576)
    target, neighbour = line.call(remote_ssrc=7), line.call(remote_ssrc=8)
    neighbour.speak(CODE)
    line.run()
    heard, rounds = first_samples(neighbour), MUTATIONS // 50
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.bind(("127.0.0.1", 0))
        for number in range(rounds):
            for at in range(number * 50, number * 50 + 50):
                datagram = bytearray(reference_rtp.build(at & 0xFFFF, 160 * at & 0xFFFFFFFF, dice.randbytes(160), ssrc=dice.choice((7, 8))))
                for _ in range(dice.randrange(4)):
                    datagram[dice.randrange(20)] = dice.randrange(256)
                sender = dice.choice((stranger, target.socket))
                sender.sendto(bytes(datagram[: dice.randrange(len(datagram) + 1)] if at % 4 == 0 else datagram), target.target)
            neighbour.speak(CODE)
            line.run(0.1)
            target.heard_by_agent()
            heard |= first_samples(neighbour)
            target.received(), neighbour.received()
    line.run(5)
    assert heard | first_samples(neighbour) == {VALUE}
    assert neighbour.counter("packets_received") == rounds + 1
    assert neighbour.counter("lost") == neighbour.counter("malformed") == neighbour.counter("wrong_source") == 0
    assert line.total("wrong_source") > rounds and target.counter("packets_received") > rounds


def test_a_strangers_packet_writes_nothing_into_the_table(rows: Rows) -> None:
    """What is looked for and not there leaves no trace: the table cannot be filled from outside."""
    rows.open("one", 0, media(ssrc=7), START, is_port_shared=True)
    before = rows.worker.table.copy()
    for port in range(5000, 5200):
        find(rows.worker, HOSTS[1], port, port)
    assert (rows.worker.table == before).all()
