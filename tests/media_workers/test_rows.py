"""Giving rows to calls and taking them back."""

import contextlib

import numpy as np
import pytest

from control_plane.errors import Exhausted, NotAcceptable
from control_plane.messages import Direction, MediaDescription
from media_workers import source
from media_workers.call_table import FREE, GROUPS, OPEN, QUIET, make_worker
from media_workers.rows import QUIET_AT_MOST_NS, Rows
from shm import counters, layout, ring
from shm.counters import CALL_COLUMN, WORKER
from shm.layout import CLOSED, DTMF, FRAME, GENERATION, HELD
from tests.media_workers.call_under_test import MS, SECOND, CallUnderTest, make_views

NOW = 77 * SECOND


def media(**fields: object) -> MediaDescription:
    return MediaDescription(**{"format": "PCMU", "payload_type": 0, "remote_host": "127.0.0.1", "remote_port": 4000, **fields})  # type: ignore[arg-type]


def told(rows: Rows, row: int) -> list[tuple[int, int]]:
    """Everything in the call's ring: kind and value."""
    found, cursor = [], 0
    frame, pcm = np.zeros(1, FRAME), np.zeros(960, np.int16)
    while ring.read_at(rows.worker.rings, row, cursor, frame, pcm) != cursor:
        cursor += 1
        found.append((int(frame[0]["kind"]), int(frame[0]["value"])))
    return found


def open_all(rows: Rows, count: int, now_ns: int = NOW) -> list[int]:
    return [rows.open(f"call-{number}", 0, media(), now_ns) for number in range(count)]


def test_a_call_gets_a_row_of_its_own_and_the_same_one_when_asked_again(rows: Rows) -> None:
    first, second = rows.open("a", 0, media(), NOW), rows.open("b", 0, media(), NOW)
    assert first != second and rows.open("a", 0, media(remote_port=9), NOW + 1) == first
    assert (rows.find("a"), rows.find("b"), rows.find("c"), len(rows)) == (first, second, None, 2)
    assert rows.worker.totals[0, WORKER["calls_open"]] == 2


def test_what_was_agreed_is_in_the_row(rows: Rows) -> None:
    row = rows.open("a", 3, media(format="PCMA", payload_type=8, ptime_ms=30, dtmf_payload_type=96, comfort_noise_payload_type=13), NOW)
    call, words = rows.calls[row], rows.worker.rings.words[row]
    assert (call["codec_id"], call["payload_type"], call["dtmf_payload_type"], call["comfort_noise_payload_type"]) == (1, 8, 96, 13)
    assert (call["packet_samples"], call["sample_rate_hz"], call["rtp_clock_hz"]) == (240, 8000, 8000)
    assert (call["bridge"], call["state"]) == (3, OPEN)
    assert words[GENERATION] == call["generation"] > 0 and words[layout.BRIDGE] == 3 and words[layout.FRAME_SAMPLES] == 160
    octets = source.sockaddr("127.0.0.1", 4000)
    assert call["source"]["sockaddr"][: len(octets)].tobytes() == octets and call["source"]["sockaddr_bytes"] == len(octets)
    shown = rows.worker.shown[row]
    assert (shown["call_id"], shown["rtp_port"], shown["worker"]) == (b"a", 30_000 + 2 * row, 0)


@pytest.mark.parametrize(
    ("direction", "may_send", "may_receive"), [("sendrecv", 1, 1), ("sendonly", 1, 0), ("recvonly", 0, 1), ("inactive", 0, 0)]
)
def test_the_direction_is_ours(rows: Rows, direction: str, may_send: int, may_receive: int) -> None:
    call = rows.calls[rows.open("a", 0, media(direction=direction), NOW)]
    assert (call["may_send"], call["may_receive"]) == (may_send, may_receive)


@pytest.mark.parametrize(("fields", "reason"), [({"format": "G723"}, "G723"), ({"ptime_ms": 25}, "25 ms"), ({"ptime_ms": 0}, "0 ms")])
def test_what_cannot_be_done_is_refused_with_the_reason_and_takes_no_row(rows: Rows, fields: dict[str, object], reason: str) -> None:
    with pytest.raises(NotAcceptable, match=reason):
        rows.open("a", 0, media(**fields), NOW)
    assert len(rows) == 0 and (rows.calls["state"] == FREE).all()


def test_when_every_port_is_in_use_the_error_says_so_and_what_to_do(rows: Rows) -> None:
    assert sorted(open_all(rows, 8)) == [*range(8)]
    with pytest.raises(Exhausted, match=r"8 in use, 0 not yet silent.*widen media\.rtp_ports"):
        rows.open("one too many", 0, media(), NOW)
    rows.close("call-0", NOW)
    with pytest.raises(Exhausted, match="7 in use, 1 not yet silent"):
        rows.open("one too many", 0, media(), NOW)


def test_a_port_is_not_used_again_before_it_has_been_quiet(rows: Rows) -> None:
    row = open_all(rows, 8)[3]
    rows.close("call-3", NOW)
    rows.calls[row]["last_datagram_ns"] = NOW + SECOND // 2  # a late packet
    assert rows.calls[row]["state"] == QUIET and rows.release_quiet(NOW + SECOND) == 0
    with pytest.raises(Exhausted):
        rows.open("next", 0, media(), NOW + SECOND)
    assert rows.open("next", 0, media(), NOW + SECOND + SECOND // 2) == row


def test_a_port_that_never_falls_silent_is_used_again_after_ten_minutes(rows: Rows) -> None:
    row = rows.open("a", 0, media(), NOW)
    rows.close("a", NOW)
    rows.calls[row]["last_datagram_ns"] = NOW + QUIET_AT_MOST_NS
    assert rows.release_quiet(NOW + QUIET_AT_MOST_NS - 1) == 0 and rows.release_quiet(NOW + QUIET_AT_MOST_NS) == 1


def test_of_the_free_ports_the_one_that_rested_longest_is_taken(rows: Rows) -> None:
    open_all(rows, 8)
    for number in (5, 2, 7):
        rows.close(f"call-{number}", NOW + number * MS)
    rows.release_quiet(NOW + 2 * SECOND)
    assert [rows.open(f"next-{n}", 0, media(), NOW + 3 * SECOND) for n in range(3)] == [2, 5, 7]


def test_closing_tells_the_agent_gives_the_counters_and_is_idempotent(rows: Rows) -> None:
    row = rows.open("a", 0, media(), NOW)
    rows.worker.shown[row]["counters"][CALL_COLUMN["lost"]] = 5
    result = rows.close("a", NOW + 1)
    assert result is not None and result["lost"] == 5 and result["opened_ns"] == NOW and set(result) == set(CALL_COLUMN)
    assert rows.close("a", NOW + 2) is None and rows.close("never", NOW) is None
    assert told(rows, row) == [(CLOSED, 0)] and rows.worker.own[0]["rung"][0] == 1
    assert rows.worker.shown[row]["call_id"] == b"" and len(rows) == 0


def test_the_row_keeps_its_generation_until_it_is_free_so_that_the_bridge_reads_the_end(rows: Rows) -> None:
    row = rows.open("a", 0, media(), NOW)
    generation = int(rows.calls[row]["generation"])
    rows.close("a", NOW)
    assert rows.worker.rings.words[row, GENERATION] == generation
    rows.release_quiet(NOW + SECOND)
    assert rows.worker.rings.words[row, GENERATION] == 0 and rows.calls[row]["state"] == FREE


def test_each_use_of_a_row_has_another_generation_and_nothing_of_the_call_before() -> None:
    rows = Rows(make_views(1), 0, 1, 0)
    generations = set()
    for number in range(20):
        row = rows.open(f"call-{number}", 0, media(), NOW + number)
        call = rows.calls[row]
        generations.add(int(call["generation"]))
        assert not call["rx"]["is_started"] and not call["source"]["locked"].any() and not call["rx"]["held_index"].any()
        assert call["key_press"]["is_known"] == 0 and rows.worker.shown[row]["counters"][CALL_COLUMN["lost"]] == 0
        call["rx"]["is_started"] = call["key_press"]["is_known"] = 1
        call["source"]["locked"] = 9
        call["rx"]["held_index"] = 7
        rows.worker.shown[row]["counters"] = 3
        rows.close(f"call-{number}", NOW + number)
        rows.release_quiet(NOW + number)
    assert len(generations) == 20 and 0 not in generations


def test_hold_and_its_end_are_told_to_the_agent_once(rows: Rows) -> None:
    row = rows.open("a", 0, media(), NOW)
    for direction in ("sendrecv", "sendonly", "inactive", "sendonly", "recvonly", "sendrecv"):
        assert rows.update("a", media(direction=direction), NOW) == row
    assert told(rows, row) == [(HELD, 1), (HELD, 0), (HELD, 1), (HELD, 0)]  # held is: we may not send


def test_an_update_changes_what_is_sent_and_where_and_keeps_the_stream(rows: Rows) -> None:
    row = rows.open("a", 0, media(), NOW)
    tx, generation = rows.calls[row]["tx"].copy(), int(rows.calls[row]["generation"])
    rows.update("a", media(format="PCMA", payload_type=8, ptime_ms=40, remote_port=5000), NOW + SECOND)
    call = rows.calls[row]
    assert (call["codec_id"], call["packet_samples"], int(call["generation"])) == (1, 320, generation)
    assert all(call["tx"][name] == tx[name] for name in ("ssrc", "seq", "timestamp", "next_tx_ns"))
    assert call["source"]["sockaddr"][2:4].tobytes() == (5000).to_bytes(2, "big")


def test_an_update_of_nobody_or_to_nonsense_changes_nothing(rows: Rows) -> None:
    assert rows.update("nobody", media(), NOW) is None
    row = rows.open("a", 0, media(), NOW)
    before = rows.calls[row].copy()
    with pytest.raises(NotAcceptable):
        rows.update("a", media(ptime_ms=15), NOW)
    assert rows.calls[row].tobytes() == before.tobytes()


def test_a_silent_far_end_is_told_after_the_limit_and_not_all_the_time(rows: Rows) -> None:
    row = rows.open("a", 0, media(), NOW)
    limits = (30 * SECOND, 60 * SECOND, 600 * SECOND)
    assert rows.silent(NOW + 30 * SECOND - 1, *limits) == []
    assert rows.silent(NOW + 30 * SECOND, *limits) == [("a", 30_000)]
    assert rows.silent(NOW + 31 * SECOND, *limits) == [] and rows.silent(NOW + 60 * SECOND, *limits) == [("a", 60_000)]
    rows.worker.shown[row]["counters"][CALL_COLUMN["packets_received"]] = 1
    rows.calls[row]["last_rx_ns"] = NOW + 70 * SECOND
    assert rows.silent(NOW + 129 * SECOND, *limits) == [] and rows.silent(NOW + 130 * SECOND, *limits) == [("a", 60_000)]


def test_silence_on_hold_is_meant_and_does_not_count_afterwards(rows: Rows) -> None:
    rows.open("a", 0, media(), NOW)
    rows.update("a", media(direction="sendonly"), NOW + SECOND)
    limits = (SECOND, SECOND, 600 * SECOND)
    assert rows.silent(NOW + 500 * SECOND, *limits) == []
    rows.update("a", media(), NOW + 500 * SECOND)
    assert rows.silent(NOW + 500 * SECOND, *limits) == [] and len(rows.silent(NOW + 501 * SECOND, *limits)) == 1


@pytest.mark.parametrize("direction", ["sendonly", "recvonly", "inactive"])
def test_a_far_end_that_dies_on_hold_does_not_keep_its_port_for_ever(rows: Rows, direction: Direction) -> None:
    rows.open("a", 0, media(direction=direction), NOW)
    limits = (SECOND, SECOND, 600 * SECOND)
    assert rows.silent(NOW + 599 * SECOND, *limits) == []
    assert rows.silent(NOW + 600 * SECOND, *limits) == [("a", 600_000)]


def test_the_calls_of_a_front_that_is_gone_end(rows: Rows) -> None:
    rows.open("old", 0, media(), NOW, front=1)
    rows.open("new", 0, media(), NOW, front=2)
    assert rows.close_of_other_fronts(2, NOW) == 1
    assert rows.find("old") is None and rows.find("new") is not None


def test_calls_are_spread_over_the_milliseconds() -> None:
    rows = Rows(make_views(40), 0, 40, 0)
    open_all(rows, 40)
    groups = rows.worker.groups
    assert groups[:, 0].tolist() == [4] * GROUPS
    assert sorted(row for group in groups for row in group[1 : 1 + group[0]]) == [*range(40)]
    due = {int(call["tx"]["next_tx_ns"]) for call in rows.calls}
    assert len(due) == 20 and all(NOW < at <= NOW + 21 * MS and at % MS == 0 for at in due)
    for group, members in enumerate(groups):
        assert all(int(rows.calls[row]["tx"]["next_tx_ns"]) // MS % GROUPS == group for row in members[1 : 1 + members[0]])


def test_a_successor_finds_every_call_where_it_was(rows: Rows) -> None:
    open_all(rows, 5)
    rows.close("call-2", NOW)
    worker = rows.worker
    shown = counters.Counters(worker.totals, worker.lateness.reshape(1, -1), worker.shown)
    successor = Rows(make_worker(worker.calls, worker.rings, shown, 0, 8, [-1]), 0, 8, SECOND)
    assert len(successor) == 4 and [successor.find(f"call-{n}") for n in range(5)] == [0, 1, None, 3, 4]
    members = [group[1 : 1 + group[0]].tolist() for group in successor.worker.groups]
    assert members == [[0], [1], [], [3], [4], [], [], [], [], []] and successor.worker.groups is not worker.groups
    assert successor.open("call-3", 0, media(), NOW + 1) == 3 and successor.calls[2]["state"] == QUIET
    assert successor.close("call-4", NOW) is not None


@pytest.mark.parametrize(
    ("held", "indexes", "expected_held", "expected_indexes"),
    [
        (2, {1: 65537, 3: 65539}, 2, {1: 65537, 3: 65539}),
        (1, {1: 65537, 3: 65539}, 2, {1: 65537, 3: 65539}),  # killed after the slot was taken, before it was counted
        (1, {}, 0, {}),  # killed after the slot was emptied, before it was counted
        (0, {5: 300_005, 7: 65_495}, 0, {}),  # killed while a new stream emptied the slots
    ],
)
def test_a_successor_does_not_believe_a_count_that_was_not_finished(
    held: int, indexes: dict[int, int], expected_held: int, expected_indexes: dict[int, int]
) -> None:
    call = CallUnderTest()
    call.receive(0, 0)
    rx = call.call["rx"]
    rx["expected"], rx["held"], rx["gap_since_ns"], rx["gap_deadline_ns"] = 65_536, held, 1, 2
    for slot, index in indexes.items():
        rx["held_index"][slot], rx["held_ns"][slot] = index, call.now_ns
    Rows(call.worker, 0, 2, 0)
    assert rx["held"] == expected_held and {n: int(i) for n, i in enumerate(rx["held_index"]) if i} == expected_indexes
    call.now_ns += SECOND
    call.expire()  # returns: it searches no further than the slots
    assert (rx["held"], rx["gap_since_ns"]) == (0, 0)  # and both gaps are given up


def test_workers_keep_to_their_own_rows() -> None:
    views = make_views(6)
    first, second = Rows(views, 0, 3, 0), Rows(views, 1, 3, 0)
    assert [first.open(f"a{n}", 0, media(), NOW) for n in range(3)] == [0, 1, 2]
    assert [second.open(f"b{n}", 0, media(), NOW) for n in range(3)] == [3, 4, 5]
    assert second.find("a0") is None and second.close("a0", NOW) is None


@pytest.mark.parametrize("at", range(6))
def test_a_worker_that_dies_while_it_opens_leaves_a_whole_call_or_none(at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed at any of its steps: who takes over either knows the call, with rings that are open, or gives it a row anew."""

    class Killed(BaseException):
        pass

    rows = Rows(make_views(2), 0, 2, 0)
    steps = iter(range(100))

    def step_of(owner: object, name: str) -> None:
        original = getattr(owner, name)

        def step(*arguments: object) -> object:
            if next(steps) == at:
                raise Killed
            return original(*arguments)

        monkeypatch.setattr(owner, name, step)

    for owner, name in ((rows, "_describe"), (rows, "_count_anew"), (rows, "_on_grid"), (ring, "open_row"), (rows, "regroup")):
        step_of(owner, name)
    with contextlib.suppress(Killed):
        rows.open("a", 0, media(), NOW)
    monkeypatch.undo()
    successor = Rows(rows.worker, 0, 2, 0)
    is_known = successor.find("a") is not None
    row = successor.open("a", 0, media(), NOW + 5)
    assert rows.worker.rings.words[row, GENERATION] == successor.calls[row]["generation"] > 0
    assert len(successor) == 1 and (not is_known or successor.find("a") == row)


def test_a_key_by_sip_info_stands_in_the_ring_once(rows: Rows) -> None:
    row = rows.open("a", 0, media(), NOW)
    assert rows.take_key("a", "5", NOW) and rows.take_key("a", "#", NOW + 100 * MS)
    assert told(rows, row) == [(DTMF, ord("5")), (DTMF, ord("#"))]
    assert int(rows.worker.shown[row]["counters"][CALL_COLUMN["keys_received"]]) == 2
    for key in ("", "55", "x", "\u20ac"):
        assert not rows.take_key("a", key, NOW)
    assert not rows.take_key("nobody", "5", NOW) and len(told(rows, row)) == 2
