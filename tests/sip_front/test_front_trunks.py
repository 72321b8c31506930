"""Calls of trunks through the whole front, in simulated time: who comes in, as whom, and to which agent."""

import logging

import pytest

from control_plane.config import Route
from control_plane.messages import OpenMedia, StartAgent
from control_plane.secret import Secret
from control_plane.trunk_config import Trunk, User
from sip_front.digest import Attempt, Client, Credentials
from sip_front.message import Headers, Request, Response
from tests.sip_front.simulation import CALLER, SERVER, STRANGER, Machine, Network, Phone

ROUTES = (Route(agent="menu", trunk="carrier"), Route(agent="desk", trunk="phones"), Route(agent="echo", trunk=""))


def machine_with(network: Network, *trunks: Trunk, allow: tuple[str, ...] = (), users: tuple[User, ...] = ()) -> Machine:
    routes = tuple(route for route in ROUTES if route.trunk in {"", *(trunk.name for trunk in trunks)})
    return Machine(network, more={"trunks": trunks, "users": users, "routes": routes}, allow=allow)


def credentials(challenge: Response, password: str = "secret", method: str = "INVITE", uri: str = f"sip:100@{SERVER}") -> str:
    """The header line that answers it."""
    request = Request(method, uri, Headers())
    assert Client(Credentials("desk", password)).answer(request, challenge, Attempt()) == ""
    return f"Authorization: {request.headers.get('Authorization')}\r\n"


def test_the_trunk_chooses_the_agent_and_is_shown(network: Network) -> None:
    machine = machine_with(network, Trunk("carrier", allow=("192.0.2.10",)), allow=("192.0.2.0/24",))
    carrier, neighbour = Phone(network, CALLER), Phone(network, "192.0.2.20")
    carrier.call()
    neighbour.call(call_id="call-2", from_tag="other")
    started = machine.told(StartAgent)
    assert [(order.agent, order.trunk) for order in started] == [("menu", "carrier"), ("echo", "")]
    assert [call.facts(0).trunk for call in machine.front.calls.values()] == ["carrier", ""]


def test_calls_of_a_trunk_share_a_port_if_it_says_so_and_their_ssrc_is_told(network: Network) -> None:
    machine = machine_with(network, Trunk("carrier", allow=("192.0.2.10",), shared_rtp_port=True), allow=("192.0.2.0/24",))
    Phone(network, CALLER).call()
    Phone(network, "192.0.2.20").call(call_id="call-2", from_tag="other")
    assert [order.is_port_shared for order in machine.told(OpenMedia)] == [True, False]


def test_a_trunk_that_is_full_takes_no_more_until_a_call_ends(network: Network, caplog: pytest.LogCaptureFixture) -> None:
    machine_with(network, Trunk("carrier", allow=("192.0.2.10",), max_calls=1))
    phone = Phone(network)
    phone.call()
    with caplog.at_level(logging.WARNING):
        refused = phone.invite(call_id="call-2", from_tag="b", tag="")
    assert [m.status for m in refused if isinstance(m, Response)] == [100, 503]
    assert "trunk carrier has 1 calls up, its max_calls" in caplog.text
    phone.to_tag = next(m.to.tag or "" for m in phone.got if isinstance(m, Response) and m.status == 200)
    phone.request("BYE")
    again = phone.invite(call_id="call-3", from_tag="c", tag="")
    assert [m.status for m in again if isinstance(m, Response)] == [100, 180, 200]


def test_a_user_calls_from_anywhere_with_the_password_and_goes_on_without(network: Network) -> None:
    machine = machine_with(network, Trunk("phones", users=("desk",)), users=(User("desk", password=Secret("secret")),))
    phone = Phone(network, STRANGER)
    challenge = phone.invite(branch="first")[0]
    assert isinstance(challenge, Response) and challenge.status == 401
    assert not machine.front.user_agent.sessions and not machine.front.user_agent.served, "a stranger leaves nothing"
    phone.to_tag = ""
    phone.invite(branch="second", headers=credentials(challenge))
    assert phone.statuses()[1:] == [100, 180, 200]
    phone.request("ACK")
    assert machine.states == ["UP"] and machine.told(StartAgent)[-1].trunk == "phones"
    assert [m.status for m in phone.request("BYE") if isinstance(m, Response)] == [200]
    assert machine.states == []


def test_a_trunk_that_no_list_allows_is_named_when_it_does_not_answer_the_challenge(
    network: Network, caplog: pytest.LogCaptureFixture
) -> None:
    machine_with(network, Trunk("phones", users=("desk",)), users=(User("desk", password=Secret("secret")),))
    phone, carrier = Phone(network, "198.51.100.1"), Phone(network, "198.51.100.2")
    challenge = phone.invite(branch="first")[0]
    assert isinstance(challenge, Response)
    phone.invite(branch="second", headers=credentials(challenge), tag="")
    carrier.invite(call_id="theirs", to="+4930")
    assert [m.status for m in carrier.got if isinstance(m, Response)] == [401]
    with caplog.at_level(logging.WARNING):
        network.run(10)
    lines = [record.getMessage() for record in caplog.records if "401" in record.getMessage()]
    assert len(lines) == 1 and "from 198.51.100.2 to +4930 with 401" in lines[0] and "add its network to allow" in lines[0]


def test_a_user_may_cancel_and_repeat_what_was_let_in(network: Network) -> None:
    machine = machine_with(network, Trunk("phones", users=("desk",)), users=(User("desk", password=Secret("secret")),))
    machine.deaf |= {b"bridge-0", b"bridge-1"}
    phone = Phone(network, STRANGER)
    challenge = phone.invite(branch="first")[0]
    assert isinstance(challenge, Response)
    phone.to_tag = ""
    header = credentials(challenge)
    phone.invite(branch="second", headers=header, cseq=2)
    phone.invite(branch="second", headers=header, cseq=2, tag="")
    assert phone.statuses()[1:] == [100, 180, 180]
    assert [m.status for m in phone.request("CANCEL", branch="second", cseq=2, tag="") if isinstance(m, Response)] == [200, 487]
    phone.request("ACK", branch="second", cseq=2)
    network.run(60)
    assert machine.states == [] and not machine.front.user_agent.served and phone.statuses().count(487) == 1


def test_a_wrong_password_leaves_a_line_that_says_so(network: Network, caplog: pytest.LogCaptureFixture) -> None:
    machine = machine_with(network, Trunk("phones", users=("desk",)), users=(User("desk", password=Secret("secret")),))
    phone = Phone(network, STRANGER)
    with caplog.at_level(logging.WARNING):
        challenge = phone.invite(branch="first")[0]
        assert caplog.text == ""
        assert isinstance(challenge, Response)
        again = phone.invite(branch="second", headers=credentials(challenge, "wrong"), tag="")
    assert [m.status for m in again if isinstance(m, Response)] == [401]
    assert "198.51.100.7 gave a wrong password for user 'desk'" in caplog.text
    assert machine.front.user_agent.refused_calls == 1


def test_another_address_may_not_end_the_call_of_a_user(network: Network) -> None:
    machine = machine_with(network, Trunk("phones", users=("desk",)), users=(User("desk", password=Secret("secret")),))
    phone, thief = Phone(network, STRANGER), Phone(network, "203.0.113.66")
    challenge = phone.invite(branch="first")[0]
    assert isinstance(challenge, Response)
    phone.to_tag = ""
    phone.invite(branch="second", headers=credentials(challenge))
    phone.request("ACK")
    thief.to_tag = phone.to_tag
    assert [m.status for m in thief.request("BYE", cseq=9) if isinstance(m, Response)] == [403]
    assert machine.states == ["UP"]


@pytest.mark.parametrize(("header", "wanted"), [("X-Trace", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"), ("", "")])
def test_a_trunk_names_the_trace_of_a_call_only_where_it_may(network: Network, header: str, wanted: str) -> None:
    machine = machine_with(network, Trunk("carrier", allow=("192.0.2.0/24",), traceparent_header=header))
    phone = Phone(network)
    phone.call(headers="x-trace: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n")
    (call,) = machine.front.calls.values()
    assert call.facts(network.now_ns).traceparent == wanted
