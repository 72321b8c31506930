"""From whom a call takes packets: an attacker gets nothing in once the caller is known (RTP inject), and nothing out (RTP bleed)."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from media_workers import source
from media_workers.source import LEARNING_NS, PROBATION_PACKETS, SOCKADDR_BYTES, SOURCE
from shm.jit import IS_COMPILED

NOW = 50_000_000_000
CALLER, NAT, ATTACKER = ("192.0.2.1", 4000), ("203.0.113.9", 61000), ("198.51.100.66", 5555)
MAPPED = ("::ffff:192.0.2.1", 4000)
Address = tuple[str, int]


class Source:
    """One call's source, with readable addresses."""

    def __init__(self, signalled: Address | None = CALLER, now_ns: int = NOW) -> None:
        self.state = np.zeros(1, SOURCE)[0]
        if signalled:
            source.signal(self.state, *signalled, now_ns)

    def accept(self, sender: Address, seq: int, now_ns: int = NOW) -> bool:
        octets = source.sockaddr(*sender)
        raw, address = np.zeros(SOCKADDR_BYTES, np.uint8), np.zeros(3, np.int64)
        raw[: len(octets)] = np.frombuffer(octets, np.uint8)
        source.read_sockaddr(raw, address)
        return bool(source.accept(self.state, address, raw, len(octets), seq, now_ns))

    def signal(self, address: Address, now_ns: int = NOW) -> None:
        source.signal(self.state, *address, now_ns)

    @property
    def target(self) -> bytes:
        return self.state["sockaddr"][: int(self.state["sockaddr_bytes"])].tobytes()


def test_we_send_to_the_address_of_the_sdp_before_anything_came() -> None:
    assert Source().target == source.sockaddr(*CALLER)


def test_the_signalled_address_is_heard_with_its_first_packet_and_locks() -> None:
    one = Source()
    assert one.accept(CALLER, 100)
    assert not any(one.accept(ATTACKER, seq) for seq in range(50)) and one.target == source.sockaddr(*CALLER)


def test_the_signalled_address_is_heard_though_it_begins_late() -> None:
    """Silence suppression, a mute key, an announcement first: minutes may pass before the caller's first packet."""
    one = Source()
    assert one.accept(CALLER, 100, NOW + 60 * LEARNING_NS)
    assert not any(one.accept(ATTACKER, seq, NOW + 60 * LEARNING_NS) for seq in range(50))


def test_another_address_needs_four_packets_in_sequence() -> None:
    one = Source()
    assert [one.accept(NAT, seq) for seq in (7, 8, 9, 10, 11)] == [False, False, False, True, True]
    assert one.target == source.sockaddr(*NAT) and PROBATION_PACKETS == 4


def test_the_sequence_may_wrap_during_probation() -> None:
    one = Source()
    assert [one.accept(NAT, seq) for seq in (65534, 65535, 0, 1)] == [False, False, False, True]


@pytest.mark.parametrize("seqs", [(1, 3, 5, 7, 9, 11), (4, 3, 2, 1, 0), (5, 5, 5, 5, 5), (1, 2, 3, 9, 10, 11, 20)])
def test_packets_out_of_sequence_never_lock(seqs: tuple[int, ...]) -> None:
    one = Source()
    assert not any(one.accept(NAT, seq) for seq in seqs)


def test_two_senders_that_alternate_are_no_sequence() -> None:
    one = Source()
    assert not any(one.accept(sender, seq) for seq in range(20) for sender in (NAT, ATTACKER))


def test_the_caller_wins_while_another_address_is_on_probation() -> None:
    one = Source()
    assert not any(one.accept(ATTACKER, seq) for seq in (1, 2, 3))
    assert one.accept(CALLER, 500) and not one.accept(ATTACKER, 4)


def test_the_signalled_address_takes_the_call_back_within_the_learning_time() -> None:
    one = Source()
    assert [one.accept(ATTACKER, seq) for seq in (1, 2, 3, 4)][-1]
    assert one.accept(CALLER, 500, NOW + LEARNING_NS) and not one.accept(ATTACKER, 5) and one.target == source.sockaddr(*CALLER)


def test_after_the_learning_time_nobody_else_is_learnt() -> None:
    one = Source()
    assert not any(one.accept(NAT, seq, NOW + LEARNING_NS + 1) for seq in range(20))


def test_a_lock_on_another_address_holds_after_the_learning_time() -> None:
    one = Source()
    late = NOW + LEARNING_NS + 1
    assert [one.accept(NAT, seq) for seq in range(4)][-1]
    assert not one.accept(CALLER, 1, late) and one.accept(NAT, 4, late)


@pytest.mark.parametrize("sender", [(NAT[0], NAT[1] + 1), ("203.0.113.8", NAT[1])], ids=["another port", "another host"])
def test_port_and_host_both_count(sender: Address) -> None:
    one = Source(NAT)
    assert one.accept(NAT, 1) and not any(one.accept(sender, seq) for seq in range(9))


def test_a_session_refresh_keeps_the_lock_and_opens_nothing() -> None:
    one = Source()
    assert [one.accept(NAT, seq) for seq in range(4)][-1]
    one.signal(CALLER, NOW + 2 * LEARNING_NS)
    assert one.target == source.sockaddr(*NAT) and one.accept(NAT, 4, NOW + 2 * LEARNING_NS)
    assert not any(one.accept(ATTACKER, seq, NOW + 2 * LEARNING_NS) for seq in range(9))


def test_a_new_address_is_learnt_anew() -> None:
    one, later = Source(), NOW + 5 * LEARNING_NS
    assert one.accept(CALLER, 1)
    one.signal(NAT, later)
    assert one.target == source.sockaddr(*NAT)
    assert not one.accept(CALLER, 2, later) and one.accept(NAT, 900, later) and not one.accept(CALLER, 3, later)


def test_no_address_means_nobody_is_sent_to_or_heard() -> None:
    one = Source()
    assert one.accept(CALLER, 1)
    one.signal(("", 0))
    assert one.target == b"" and not any(one.accept(sender, seq) for sender in (CALLER, ATTACKER) for seq in range(9))
    one.signal(CALLER)
    assert one.accept(CALLER, 2)


def test_before_an_offer_named_anybody_nobody_is_heard() -> None:
    one = Source(None)
    assert one.target == b"" and not any(one.accept(ATTACKER, seq) for seq in range(9))


def test_an_ipv4_address_mapped_into_ipv6_is_that_address() -> None:
    one = Source(CALLER)
    assert one.accept(MAPPED, 1)
    assert one.target == source.sockaddr(*MAPPED)  # answered in the form in which the socket wants it


def test_ipv6_addresses_are_told_apart_in_every_octet() -> None:
    caller = ("2001:db8::1", 4000)
    one = Source(caller)
    assert one.accept(caller, 1) and one.target == source.sockaddr(*caller)
    others = ["2001:db8::2", "2001:db9::1", "2001:db8:1::1", "::1"]
    assert not any(one.accept((host, 4000), seq) for host in others for seq in range(6))


addresses = st.sampled_from([CALLER, NAT, ATTACKER])


@settings(max_examples=300 if IS_COMPILED else 20, deadline=None)
@given(st.lists(st.tuples(addresses, st.integers(0, 8), st.integers(0, 2 * LEARNING_NS)), max_size=40))
def test_never_two_addresses_at_once_and_none_after_the_lock(packets: list[tuple[Address, int, int]]) -> None:
    """Once the caller's own address has been heard, nobody else is, in any order of packets."""
    one, is_locked = Source(), False
    for sender, seq, after_ns in sorted(packets, key=lambda packet: packet[2]):
        is_heard = one.accept(sender, seq, NOW + after_ns)
        assert not (is_locked and sender != CALLER and is_heard)
        assert is_heard <= (one.target == source.sockaddr(*sender))
        is_locked = is_locked or (sender == CALLER and is_heard)
