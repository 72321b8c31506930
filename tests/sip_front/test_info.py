"""Keys by SIP INFO."""

import pytest

from control_plane.messages import TakeKey
from sip_front.info import read_key
from sip_front.message import Response
from tests.sip_front.simulation import Machine, Network, Phone


@pytest.mark.parametrize(
    ("body", "key"),
    [
        (b"Signal=5\r\nDuration=160\r\n", "5"),
        (b"Signal= *\nDuration=100", "*"),
        (b"signal=#\r\n", "#"),
        (b"Signal=10\r\nDuration=160", "*"),
        (b"Signal=11", "#"),
        (b"Signal=d\r\n", "D"),
        (b"Duration=160\r\nSignal=0\r\n", "0"),
        (b"7", "7"),
        (b"#\r\n", "#"),
        (b'"5"', "5"),
        (b"Signal=16", ""),
        (b"Signal=hook", ""),
        (b"Signal=55", ""),
        (b"", ""),
        (b"\xff\xfe" * 5000, ""),
    ],
)
def test_reading(body: bytes, key: str) -> None:
    assert read_key(body) == key


def test_a_key_goes_to_the_worker_who_knows_what_was_heard_before() -> None:
    network = Network()
    machine, phone = Machine(network), Phone(network)
    phone.call()
    for kind, body in (("application/dtmf-relay", "Signal=5\r\nDuration=160\r\n"), ("application/dtmf", "#"), ("application/dtmf", "x")):
        answer = phone.request("INFO", body=body, kind=kind)[0]
        assert isinstance(answer, Response) and answer.status == 200
    (call_id,) = machine.front.calls
    assert machine.told(TakeKey) == [TakeKey(call_id, "5"), TakeKey(call_id, "#")]
    assert machine.told(TakeKey, b"worker-0") == machine.told(TakeKey)
    phone.request("INFO", body="Signal=6", kind="application/dtmf-relay", cseq=phone.cseq, branch="call-1-4-INFO")
    assert len(machine.told(TakeKey)) == 2, "what comes again is the same press"
