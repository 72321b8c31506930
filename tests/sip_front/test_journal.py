"""The journal's octets: what a crash, another release or a stranger left of them never raises, and never invents a call."""

from hypothesis import given
from hypothesis import strategies as st

from sip_front import journal
from sip_front.journal import Begin, Over, Saved
from tests.sip_front.simulation import BOOT, Machine, Network, Phone


def written() -> bytes:
    network = Network()
    machine = Machine(network)
    phone = Phone(network)
    for i in range(3):
        phone.call(call_id=f"c{i}", tag="", cseq=1)
    return bytes(machine.journal)


JOURNAL = written()
WHOLE = journal.last_of_each(journal.read(JOURNAL), BOOT)


def test_what_was_written_is_read() -> None:
    assert WHOLE[0] > 0 and [type(call) for call in WHOLE[1]] == [Saved] * 3


def test_another_start_of_the_machine_begins_anew() -> None:
    assert journal.last_of_each(journal.read(JOURNAL), "another") == (0, [])


def test_over_ends_a_call_and_begin_all_of_them() -> None:
    over = journal.write(Over(WHOLE[1][0].call_id))
    assert len(journal.last_of_each(journal.read(JOURNAL + over), BOOT)[1]) == 2
    assert journal.last_of_each(journal.read(JOURNAL + journal.write(Begin(5, BOOT))), BOOT) == (5, [])


@given(st.integers(0, len(JOURNAL)))
def test_a_journal_that_was_cut_has_the_entries_before(size: int) -> None:
    entries = list(journal.read(JOURNAL[:size]))
    assert entries == list(journal.read(JOURNAL))[: len(entries)]


@given(st.integers(0, len(JOURNAL) - 1), st.integers(1, 255))
def test_an_octet_that_flipped_ends_the_reading(at: int, mask: int) -> None:
    broken = bytearray(JOURNAL)
    broken[at] ^= mask
    entries = list(journal.read(bytes(broken)))
    whole = list(journal.read(JOURNAL))
    assert len(entries) < len(whole) and entries == whole[: len(entries)]


@given(st.binary(max_size=400))
def test_anything_else_is_no_journal(octets: bytes) -> None:
    assert journal.last_of_each(journal.read(octets), BOOT) == (0, [])


def test_keys_are_not_in_what_people_see() -> None:
    from control_plane.messages import SrtpKeys

    assert "secret" not in repr(SrtpKeys("AES_CM_128_HMAC_SHA1_80", b"secret", b"secret"))
