"""What happens within a call that is up, with peers that nobody here wrote: hold, transfer, session timers, keys by SIP INFO."""

import json
import pathlib
import secrets

import pytest

from control_plane.client import ask
from control_plane.messages import Done, Originate
from tests.system import sipp
from tests.system.baresip import Baresip
from tests.system.server import HOST, Server, wait_for

pytestmark = pytest.mark.peer
DESK = "sip:desk@192.0.2.7"


def call_out(server: Server, port: int, user: str = "sipp") -> str:
    """A call of ours that is up; its id."""
    call_id = f"out-{secrets.token_hex(4)}"
    assert ask(server.runtime, Originate(call_id, f"sip:{user}@{HOST}:{port}", "echo")) == Done(call_id)
    wait_for("the call is up", lambda: any(call.call_id == call_id and call.state == "up" for call in server.calls()))
    return call_id


def facts(server: Server, call_id: str) -> dict[str, object]:
    found = json.loads(server.command("call", "show", call_id, "--json").stdout)
    assert isinstance(found, dict)
    return found


def test_a_far_end_that_wants_a_longer_timer_gets_it(server: Server, tmp_path: pathlib.Path) -> None:
    peer = sipp.Sipp("wants_longer_timer", server.sip_port, tmp_path)
    call_id = call_out(server, peer.port)
    assert server.command("hangup", call_id).returncode == 0
    peer.finish()


def test_a_transfer_that_is_answered(server: Server, tmp_path: pathlib.Path) -> None:
    peer = sipp.Sipp("transferee", server.sip_port, tmp_path)
    call_id = call_out(server, peer.port)
    done = server.command("transfer", call_id, DESK)
    shown = [f"  transfer to {DESK}: 100 Trying", f"  transfer to {DESK}: 180 Ringing", f"{call_id} is transferred: 200 OK"]
    assert (done.returncode, done.stdout.splitlines()) == (0, shown), done
    peer.finish()
    server.wait_until_quiet()
    assert facts(server, call_id)["cause"] == f"transferred to {DESK} (200 OK)"


def test_a_transfer_to_somebody_busy_leaves_the_call_up(server: Server, tmp_path: pathlib.Path) -> None:
    peer = sipp.Sipp("busy_transferee", server.sip_port, tmp_path)
    call_id = call_out(server, peer.port)
    done = server.command("transfer", call_id, DESK)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (1, f"{call_id} goes on with us: 486 Busy Here")
    assert facts(server, call_id)["state"] == "up"
    assert server.command("hangup", call_id).returncode == 0
    peer.finish()


def test_keys_by_sip_info_reach_the_agent(server: Server, reports: pathlib.Path, tmp_path: pathlib.Path) -> None:
    sipp.run("info_keys", server.sip_port, tmp_path, to="tone")
    report = reports / "sipp.json"
    wait_for("the agent has written its report", report.exists)
    assert json.loads(report.read_text())["keys"] == "42#"


def test_a_telephone_is_held_and_taken_back(server: Server, tmp_path: pathlib.Path) -> None:
    with Baresip(tmp_path, answers=True) as phone:
        call_id = call_out(server, phone.sip_port, phone.user)
        assert server.command("hold", call_id).stdout == f"{call_id} is on hold\n"
        assert server.command("resume", call_id).stdout == f"{call_id} is resumed\n"
        assert facts(server, call_id)["state"] == "up"
        phone.hang_up()


def test_a_telephone_is_transferred_to_another_one(server: Server, tmp_path: pathlib.Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    with Baresip(folders[0], "one", answers=True) as one, Baresip(folders[1], "two", answers=True) as two:
        call_id = call_out(server, one.sip_port, one.user)
        done = server.command("transfer", call_id, f"sip:two@{HOST}:{two.sip_port}")
        assert done.returncode == 0 and f"{call_id} is transferred" in done.stdout, (done, one.log()[-3000:])
        wait_for("both telephones talk", lambda: "Call established" in two.log())
        server.wait_until_quiet()
        assert "transferred to sip:two@" in str(facts(server, call_id)["cause"])
        two.command("hangup")


def test_a_telephone_sends_the_agent_to_another_one(server: Server, tmp_path: pathlib.Path) -> None:
    """REFER of theirs: the agent goes along, and is heard by the second telephone."""
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    with Baresip(folders[0], "one") as one, Baresip(folders[1], "two", answers=True) as two:
        one.dial(f"sip:echo@{HOST}:{server.sip_port}")
        (before,) = server.calls()
        assert one.command("transfer", f"sip:two@{HOST}:{two.sip_port}")["ok"], one.log()
        wait_for("the second telephone talks", lambda: "Call established" in two.log())
        wait_for("the call is with it", lambda: [c.remote for c in server.calls()] == [f"{HOST}:{two.sip_port}"])
        (after,) = server.calls()
        assert (after.call_id, after.state, after.row) == (before.call_id, "up", before.row)
        heard = wait_for("its echo is heard", lambda: [p for p in two.recordings.glob("*dec.wav") if p.stat().st_size > 20_000])
        assert heard
        two.command("hangup")
