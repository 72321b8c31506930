"""Phones that log in, call and are called, through the whole front in simulated time."""

import pytest

from control_plane.config import Route
from control_plane.messages import Done, Failed, GetPhones, Originate, Phones, StartAgent
from control_plane.secret import Secret
from control_plane.trunk_config import Trunk, User
from sip_front.digest import Attempt, Client, Credentials
from sip_front.message import Headers, Request, Response
from tests.sip_front.simulation import CALLER, SERVER, STRANGER, Machine, Network, Phone

SECOND = 1_000_000_000
MOBILE = "203.0.113.9"
USERS = (User("anna", password=Secret("secret")), User("100", password=Secret("other")))


@pytest.fixture
def machine(network: Network) -> Machine:
    more = {"users": USERS, "trunks": (Trunk("phones", users=("anna",)),), "routes": (Route(agent="echo", trunk="phones"),)}
    return Machine(network, more=more, allow=("192.0.2.10",))


def log_in(
    phone: Phone, password: str = "secret", to: str = "anna", headers: str = "Expires: 600\r\n", **more: object
) -> int:  # fmt: skip
    """The final status."""
    call_id = f"register-{phone.host}"
    challenge = phone.request("REGISTER", to=to, tag="", call_id=call_id, headers=headers, **more)[-1]  # type: ignore[arg-type]
    assert isinstance(challenge, Response)
    if challenge.status != 401:
        return challenge.status
    request = Request("REGISTER", f"sip:{to}@{SERVER}", Headers())
    assert Client(Credentials("anna", password)).answer(request, challenge, Attempt()) == ""
    headers += f"Authorization: {request.headers.get('Authorization')}\r\n"
    answer = phone.request("REGISTER", to=to, tag="", call_id=call_id, headers=headers, **more)[-1]  # type: ignore[arg-type]
    assert isinstance(answer, Response)
    return answer.status


def called(machine: Machine, to: str = "user:anna", call_id: str = "out") -> str:
    """Done, or why not."""
    machine.tell(b"operator", Originate(call_id, to, "echo"))
    machine.network.run()
    answer = [m for identity, m in machine.said if identity == b"operator" and isinstance(m, Done | Failed)][-1]
    return answer.why if isinstance(answer, Failed) else "done"


def test_a_stranger_and_a_trusted_network_are_asked_for_the_password_alike(network: Network, machine: Machine) -> None:
    for host in (STRANGER, CALLER):
        phone = Phone(network, host)
        assert log_in(phone) == 200 and phone.statuses() == [401, 200]
        assert log_in(phone, password="wrong") == 401
        assert log_in(phone, to="100") == 403, "of another user"
    (shown,) = [m for m in _ask(machine) if isinstance(m, Phones)]
    assert {phone.address for phone in shown.phones} == {f"{STRANGER}:5060", f"{CALLER}:5060"}


def _ask(machine: Machine) -> list[object]:
    machine.tell(b"looker", GetPhones())
    return machine.told(Phones, b"looker")


def test_an_extension_that_we_lack_is_named(network: Network, machine: Machine) -> None:
    phone = Phone(network, STRANGER)
    assert log_in(phone, headers="Require: path, outbound\r\n") == 420
    assert phone.got[-1].headers.get_all("Unsupported") == ["path", "outbound"]


def test_without_users_there_is_no_registrar(network: Network) -> None:
    Machine(network)
    phone = Phone(network, CALLER)
    assert log_in(phone) == 405


def test_a_repeat_inside_of_a_call_registers_nobody(network: Network, machine: Machine) -> None:
    caller = Phone(network, CALLER)
    caller.call(to="100")
    answer = caller.request("REGISTER", to="anna", headers="Expires: 600\r\n")[-1]
    assert isinstance(answer, Response) and answer.status != 200 and not machine.front.phones.registrar.bindings


@pytest.mark.parametrize("to", ["user:anna", "anna", "sip:anna@bellframe", f"sip:anna@{SERVER}", f"sip:%61nna@{SERVER}:5060"])
def test_a_phone_is_called_where_it_registered_from_by_every_name(network: Network, machine: Machine, to: str) -> None:
    phone = Phone(network, STRANGER, flow=3)
    network.hosts[MOBILE] = decoy = Phone(network, MOBILE)
    contact = f"<sip:line7@{MOBILE}:5060;ob>"
    assert log_in(phone, contact=contact) == 200
    network.run(1)
    assert called(machine, to) == "done"
    (invite,) = [r for r in phone.requests("INVITE") if "line7" in r.uri]
    assert invite.uri == f"sip:line7@{MOBILE}:5060;ob" and not decoy.got, "never to what a Contact says"
    assert phone.sources[-1].flow == 3
    assert machine.front.calls["out"].trunk == "phones" and machine.front.calls["out"].callee == "anna"
    phone.respond(invite, 200, body=phone.sdp())
    assert phone.requests("ACK") and machine.told(StartAgent)[-1].call_id == "out"
    assert not decoy.got, "nor does anything inside the call"
    machine.front.hang_up_all("done", network.now_ns)
    machine.pump()
    network.run()
    assert phone.requests("BYE") and not decoy.got


@pytest.mark.parametrize(("status", "goes_on"), [(486, True), (480, True), (503, True), (603, False), (404, True)])
def test_the_next_phone_is_tried_when_one_does_not_take_it(network: Network, machine: Machine, status: int, goes_on: bool) -> None:
    desk, mobile = Phone(network, STRANGER), Phone(network, MOBILE, "tcp", 9)
    assert (log_in(desk), log_in(mobile)) == (200, 200)
    assert called(machine) == "done"
    (invite,) = mobile.requests("INVITE")
    mobile.respond(invite, status, "No")
    assert len(desk.requests("INVITE")) == goes_on
    if goes_on:
        assert desk.requests("INVITE")[0].uri == f"sip:me@{STRANGER}:5060"
    else:
        assert machine.last_cause == "603 No"


def test_a_phone_that_says_nothing_leaves_the_call_to_the_other(network: Network, machine: Machine) -> None:
    desk, mobile = Phone(network, STRANGER), Phone(network, MOBILE)
    assert (log_in(desk), log_in(mobile)) == (200, 200)
    called(machine)
    network.run(6)
    assert mobile.requests("INVITE") and desk.requests("INVITE")


def test_why_a_phone_cannot_be_called(network: Network, machine: Machine) -> None:
    assert called(machine) == (
        f"480: anna is not registered; a phone must log in as anna, with the password of [[users]], at {SERVER}:5060"
    )
    assert called(machine, "user:bob") == "404: there is no user 'bob'; [[users]] has 100, anna"
    assert called(machine, "100").startswith("480: 100 is not registered"), "a user before a number"
    assert "trunk" in called(machine, "bob"), "a name alone that is no user is a number"


def test_a_phone_is_gone_with_its_time_and_its_connection(network: Network, machine: Machine) -> None:
    phone = Phone(network, STRANGER, "tcp", 5)
    assert log_in(phone, headers="Expires: 60\r\n") == 200
    assert 5 in machine.front.addresses_in_use(), "its silence is no reason to close the connection"
    network.run(61)
    assert called(machine).startswith("480")
    assert log_in(phone, headers="Expires: 60\r\n") == 200
    machine.front.lose_connection(phone.sources[-1]._replace(host=STRANGER, flow=5, transport="tcp"), "it broke", network.now_ns)
    assert called(machine).startswith("480")


def test_phones_outlive_the_front(network: Network, machine: Machine) -> None:
    phone = Phone(network, STRANGER)
    assert log_in(phone) == 200
    machine.kill_front()
    network.run(1)
    machine.start_front()
    network.run(1.5)
    assert called(machine) == "done" and phone.requests("INVITE")


def test_the_ack_of_a_challenge_is_no_stranger_in_the_log(network: Network, machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    phone = Phone(network, STRANGER)
    phone.invite(to="100")
    phone.request("ACK", to="100", cseq=1)
    assert phone.statuses() == [401] and "refused" not in caplog.text


SHORTEST = (
    "REGISTER sip:b SIP/2.0\r\nv: SIP/2.0/UDP h;branch=z9hG4bK1\r\nf: <sip:a@b>;tag=1\r\nt: <sip:a@b>\r\ni: 1\r\nCSeq: {cseq} REGISTER\r\n"
    "m: <sip:a@h>\r\nMax-Forwards: 9\r\n{more}\r\n"
)


def test_an_ordinary_register_has_the_choice_of_all_algorithms(network: Network) -> None:
    Machine(network, more={"users": USERS}, digest_algorithms=("SHA-256", "MD5"), realm="sip.some-provider.example.com")
    phone = Phone(network, STRANGER)
    phone.request("REGISTER", to="a", headers="Expires: 600\r\n")
    assert phone.statuses() == [401] and len(phone.got[0].headers.get_all("WWW-Authenticate")) == 2


@pytest.mark.parametrize("algorithms", [("SHA-256", "MD5"), ("SHA-256",)])
def test_the_shortest_register_is_challenged_and_logs_in_without_making_us_worth_reflecting_from(
    network: Network, algorithms: tuple[str, ...]
) -> None:
    users = {"users": (User("a", password=Secret("secret")),)}
    machine = Machine(network, more=users, digest_algorithms=algorithms, realm="sip.some-provider.example.com")
    phone = Phone(network, STRANGER)
    first = SHORTEST.format(cseq=1, more="")
    phone.send(first)
    network.run()
    (challenge,) = phone.got
    assert isinstance(challenge, Response) and challenge.status == 401 and len(challenge.headers.get_all("WWW-Authenticate")) == 1
    assert len(first) < 160 and len(machine.datagrams[-1][0]) <= 3 * len(first)
    again = Request("REGISTER", "sip:b", Headers())
    assert Client(Credentials("a", "secret")).answer(again, challenge, Attempt()) == ""
    phone.send(SHORTEST.format(cseq=2, more=f"Authorization: {again.headers.get('Authorization')}\r\n"))
    network.run()
    assert phone.statuses() == [401, 200]


@pytest.mark.parametrize(("transport", "answers"), [("udp", 0), ("tcp", 1)])
def test_what_is_too_short_for_its_challenge_is_answered_only_where_the_address_is_proven(
    network: Network, transport: str, answers: int
) -> None:
    users = {"users": (User("a", password=Secret("secret")),)}
    Machine(network, more=users, realm="r" * 200)
    phone = Phone(network, STRANGER, transport, flow=int(transport == "tcp"))
    phone.send(SHORTEST.format(cseq=1, more="l: 0\r\n").replace("SIP/2.0/UDP", f"SIP/2.0/{transport.upper()}"))
    network.run()
    assert phone.statuses() == [401] * answers
