"""Capturing, as the front sees it: the worker is told, and who asked where the packets are."""

import pytest

from control_plane.messages import CaptureCall, CaptureMedia, Capturing, Failed, Message, decode, encode
from tests.sip_front.simulation import Machine, Network, Phone

OPERATOR = b"operator"


def ask(machine: Machine, question: Message) -> Message:
    machine.tell(OPERATOR, question)
    return decode(encode(machine.told(Message, OPERATOR)[-1]))


@pytest.mark.parametrize("is_encrypted", [True, False])
def test_the_worker_is_told_and_the_asker_where_to_look(is_encrypted: bool) -> None:
    machine = Machine(Network())
    Phone(machine.network).call()
    (call,) = machine.front.calls.values()
    assert call.opened is not None
    answer = ask(machine, CaptureCall(call.call_id, is_encrypted))
    assert answer == Capturing(call.call_id, call.opened.row, call.opened.generation, "192.0.2.1")
    assert machine.told(CaptureMedia) == [CaptureMedia(call.call_id, is_encrypted)]


def test_a_call_without_media_or_none_at_all_is_refused() -> None:
    machine = Machine(Network())
    refused = ask(machine, CaptureCall("none"))
    assert isinstance(refused, Failed) and refused.status == 404 and machine.told(CaptureMedia) == []
