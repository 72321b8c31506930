import numpy as np
import pytest

from media_workers import ducking
from media_workers.playout import TX_STREAM
from shm.layout import DUCK_DB, MAX_DUCK_DB
from tests.media_workers.call_under_test import CallUnderTest, heard, loud
from tests.reference import ducking as reference


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 48_000])
def test_agrees_with_the_reference_down_and_up_again(rate_hz: int) -> None:
    random = np.random.default_rng(rate_hz)
    stream, taken = np.zeros(1, TX_STREAM), 0
    for lowered_db in (0, 15, 15, 6, MAX_DUCK_DB, 0, 0):
        pcm = random.integers(-32_768, 32_768, rate_hz // 50).astype(np.int16)
        expected, taken = reference.lower(pcm.tolist(), taken, lowered_db, rate_hz)
        ducking.lower(stream[0], pcm, pcm.size, lowered_db, rate_hz)
        assert pcm.tolist() == expected and stream[0]["ducked"] == taken
    assert taken == 0, "as loud as before"


def test_a_word_in_shared_memory_lowers_the_next_packet_and_brings_it_back() -> None:
    call = CallUnderTest()
    call.say(loud(160 * 6))
    first = heard(call.next_packet())
    call.worker.rings.words[call.row, DUCK_DB] = 20
    on_the_way, soft = heard(call.next_packet()), heard(call.next_packet())
    call.worker.rings.words[call.row, DUCK_DB] = 0
    call.next_packet()
    last = heard(call.next_packet())
    assert np.abs(np.diff(on_the_way.astype(int))).max() < first[0] // 10, "no click"
    assert abs(soft[0] / first[0] - 0.1) < 0.01 and np.ptp(soft) == 0
    assert np.array_equal(first, last)
    assert call.played() == (0, 160 * 5), "what was heard is counted however loud it was"


@pytest.mark.parametrize("nonsense", [-5, MAX_DUCK_DB + 1, 1 << 40])
def test_an_agents_process_cannot_make_the_worker_read_beyond_its_table(nonsense: int) -> None:
    call = CallUnderTest()
    call.say(loud(320))
    call.worker.rings.words[call.row, DUCK_DB] = nonsense
    call.next_packet()
    assert call.counter("frames_from_ai") == 1


def test_keys_are_as_loud_as_ever() -> None:
    plain, ducked = CallUnderTest(dtmf_payload_type=-1), CallUnderTest(dtmf_payload_type=-1)
    ducked.worker.rings.words[ducked.row, DUCK_DB] = 30
    for call in (plain, ducked):
        call.say(loud(160), key=ord("5"))
    assert np.array_equal(heard(plain.next_packet()), heard(ducked.next_packet()))
