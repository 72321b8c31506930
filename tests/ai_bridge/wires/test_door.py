import asyncio

import pytest

from ai_bridge.wires import door as doors
from ai_bridge.wires.bellframe_messages import SUBPROTOCOL
from ai_bridge.wires.door import Door, Offer, Refused, Wanted


class Connection:
    def __init__(self) -> None:
        self.was_dropped = self.was_closed = False

    def drop(self) -> None:
        self.was_dropped = True

    def close(self) -> None:
        self.was_closed = True


def arrives(door: Door, target: str = "/desk", subprotocol: str = SUBPROTOCOL, address: str = "t") -> Offer:
    offer = door.examine(target, subprotocol, address)
    offer.connection = Connection()
    door.arrived(offer)
    return offer


def wanted(call_id: str = "a", name: str = "desk", **values) -> Wanted:
    return Wanted(**{"wire": "bellframe", "name": name, "call_id": call_id, "caller": "+491", "callee": "100", **values})


def take(door: Door, call: Wanted, seconds: float = 0.001) -> Offer:
    return asyncio.run(door.take(call, seconds))


def test_a_request_says_name_wire_and_calls():
    offer = Door().examine("/desk?bot=b7&to=%2B4930*&from=%2B49*", f"x, {SUBPROTOCOL}", "t")
    assert (offer.wire, offer.name, offer.bot, offer.to, offer.caller, offer.call_id) == ("bellframe", "desk", "b7", "+4930*", "+49*", "")
    assert (Door().examine("/desk", "", "t").wire, Door().examine("/desk", "", "t").bot) == ("twilio", "t")


@pytest.mark.parametrize(
    ("target", "status", "why"),
    [
        ("/", 404, "the path is the name"),
        ("/a/b", 404, "the path is the name"),
        ("/desk?too=1", 400, "the query has too"),
        ("/desk?bot=" + 201 * "x", 400, "longer than 200"),
        ("/desk?call=a", 404, "no such call"),
    ],
)
def test_what_a_request_must_not_say(target, status, why):
    with pytest.raises(Refused, match=why) as refused:
        Door().examine(target, SUBPROTOCOL, "t")
    assert refused.value.status == status


def test_only_so_many_wait(monkeypatch):
    monkeypatch.setattr(doors, "MOST_WAITING", 1)
    door = Door()
    arrives(door)
    with pytest.raises(Refused, match="wait already") as refused:
        door.examine("/desk", "", "t")
    assert refused.value.status == 503


def test_a_call_goes_to_the_bot_with_the_fewest_calls_and_there_to_who_waits_longest():
    door = Door()
    first, second, other = arrives(door, "/desk?bot=one"), arrives(door, "/desk?bot=one"), arrives(door, "/desk?bot=two")
    assert [take(door, wanted(call)) for call in ("a", "b", "c")] == [first, other, second]
    assert door.busy == {"one": 2, "two": 1} and not door.waiting
    door.ended("a")
    assert door.busy == {"one": 1, "two": 1}
    door.left(other)
    assert door.busy == {"one": 1}


def test_a_call_goes_only_to_a_bot_of_its_name_and_wire_that_takes_it():
    door = Door()
    arrives(door, "/other"), arrives(door, "/desk", ""), arrives(door, "/desk?to=2*"), arrives(door, "/desk?from=%2B1*")
    with pytest.raises(TimeoutError):
        take(door, wanted())
    mine = arrives(door, "/desk?to=1*&from=%2B49*")
    assert take(door, wanted()) is mine and not door.wanted


def test_a_call_waits_for_a_bot_and_calls_are_served_in_order():
    async def scenario() -> None:
        door = Door()
        calls = [asyncio.ensure_future(door.take(wanted(call), 5)) for call in ("a", "b")]
        await asyncio.sleep(0)
        one, two = arrives(door), arrives(door)
        assert [await call for call in calls] == [one, two] and not door.wanted and not door.waiting

    asyncio.run(scenario())


def test_a_bot_that_comes_when_nobody_waits_any_more_is_let_go():
    async def scenario() -> None:
        door = Door()
        call = asyncio.ensure_future(door.take(wanted(), 5))
        await asyncio.sleep(0)
        offer = arrives(door)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert isinstance(offer.connection, Connection) and offer.connection.was_closed

    asyncio.run(scenario())


def test_a_bot_comes_back_to_its_call_and_to_no_other():
    door = Door()
    door.calls["a"] = ("bellframe", "desk")
    lost = arrives(door)
    assert take(door, wanted()) is lost
    arrives(door)
    again = arrives(door, "/desk?call=a")
    assert isinstance(lost.connection, Connection) and lost.connection.was_dropped, "only its own end has seen it break"
    door.left(lost)
    with pytest.raises(TimeoutError):
        take(door, wanted("b", name="x"))
    assert take(door, wanted(is_return=True)) is again
    for target, subprotocol in (("/other?call=a", SUBPROTOCOL), ("/desk?call=a", "")):
        with pytest.raises(Refused, match="not for a bot of this name and wire"):
            door.examine(target, subprotocol, "t")


def test_what_waits_for_a_call_that_is_over_is_sent_away():
    door = Door()
    door.calls["a"] = ("bellframe", "desk")
    late = arrives(door, "/desk?call=a")
    door.ended("a")
    assert isinstance(late.connection, Connection) and late.connection.was_closed and not door.waiting and not door.calls
