"""The `bellframe` command against a server that carries a call, and calls that it makes."""

import json
import pathlib
import subprocess
from typing import Any

import pytest

from tests.system.baresip import PITCH_HZ, Baresip
from tests.system.caller import Caller
from tests.system.conftest import StartServer
from tests.system.server import HOST, ROOT, Server, wait_for
from tests.system.sound import loudest_second, pitch_and_level, read_wav, write_tone


def answer(done: subprocess.CompletedProcess[str]) -> Any:
    assert (done.returncode, done.stderr) == (0, ""), done
    return json.loads(done.stdout)


def test_a_call_is_seen_by_every_command(server: Server) -> None:
    with Caller(server.sip_port) as caller:
        caller.wait_for_packets(30)
        [call] = answer(server.command("calls", "--json"))
        assert (call["caller"], call["callee"], call["agent"], call["state"]) == (caller.name, "echo", "echo", "up")
        assert (call["direction"], call["format"], call["sip_call_id"]) == ("inbound", "PCMU", caller.call_id)
        shown = answer(server.command("call", "show", call["call_id"], "--json"))
        assert shown["caller"] == caller.name and shown["duration_s"] > call["duration_s"]
        status = answer(server.command("status", "--json"))
        assert status["calls"] == 1 and not status["draining"]
        assert sorted(peer["role"] for peer in status["peers"]) == ["bridge", "bridge", "worker"]
        top = answer(server.command("top", "--once", "--json"))
        [figures] = top["calls"]
        assert (figures["call_id"], figures["rtp_port"], figures["lost"]) == (call["call_id"], caller.media[1], 0)
        assert -20 < figures["level_rx_dbov"] < -5 and -20 < figures["level_tx_dbov"] < -5, "a tone of -12 dBov, both ways"
        assert top["workers"][0]["calls"] == 1 and top["workers"][0]["packets_received"] > 0
        for command in (("status",), ("calls",), ("call", "show", call["call_id"]), ("top", "--once")):
            text = server.command(*command)
            assert (text.returncode, text.stderr) == (0, "") and text.stdout.strip(), command
        assert answer(server.command("hangup", call["call_id"], "--json")) == {"call_id": call["call_id"], "done": True}
        assert "Reason: Q.850;cause=16" in caller.answer_bye()
    server.wait_until_quiet()
    after = answer(server.command("call", "show", call["call_id"], "--json"))
    assert (after["state"], after["cause"]) == ("ended", "hung up by the operator")


def test_a_call_that_is_not_there_is_said_so(server: Server) -> None:
    for command in (("hangup", "nosuch"), ("call", "show", "nosuch")):
        done = server.command(*command)
        assert done.returncode == 1 and "there is no call nosuch: `bellframe calls` lists those that are up" in done.stderr


def test_check_finds_the_server_s_own_file_right(server: Server, tmp_path: pathlib.Path) -> None:
    command = server.command_line("check", str(server.runtime / "config.json"), "--json")[:-2]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=30, check=False)
    assert done.returncode == 0, done
    wrong = tmp_path / "wrong.toml"
    wrong.write_text('[media]\nworkers = "many"\n')
    done = subprocess.run([*command[:-2], str(wrong)], capture_output=True, text=True, cwd=ROOT, timeout=30, check=False)
    assert done.returncode == 1 and "line 2" in done.stdout + done.stderr, done


@pytest.mark.peer
def test_a_call_that_we_make_plays_a_wav_and_records_the_answer(server: Server, tmp_path: pathlib.Path) -> None:
    played, recorded = tmp_path / "played.wav", tmp_path / "recorded.wav"
    write_tone(played, 1_000, seconds=2.5)
    folder = tmp_path / "phone"
    folder.mkdir()
    with Baresip(folder, answers=True) as phone:
        uri = f"sip:{phone.user}@{HOST}:{phone.sip_port}"
        done = server.command("call", uri, "--play", str(played), "--record", str(recorded), "--json")
        told = answer(done)
        assert told["was_answered"] and told["call"]["cause"] == "everything was played"
        wait_for("the recordings are complete", lambda: len(list(phone.recordings.glob("*.wav"))) >= 2)
    for file, pitch_hz in ((recorded, PITCH_HZ), (phone.recording("dec"), 1_000)):
        pcm, rate_hz = read_wav(file)
        heard_hz, level = pitch_and_level(loudest_second(pcm, rate_hz), rate_hz)
        assert abs(heard_hz - pitch_hz) <= 3 and 7_000 < level < 9_000, file.name


def test_two_servers_call_each_other(server: Server, start_server: StartServer, tmp_path: pathlib.Path) -> None:
    played, recorded, other = tmp_path / "played.wav", tmp_path / "recorded.wav", start_server(agent="echo")
    write_tone(played, 700, seconds=1.5)
    told = answer(server.command("call", f"sip:echo@{HOST}:{other.sip_port}", "--play", str(played), "--record", str(recorded), "--json"))
    assert told["was_answered"]
    pcm, rate_hz = read_wav(recorded)
    heard_hz, level = pitch_and_level(loudest_second(pcm, rate_hz), rate_hz)
    assert abs(heard_hz - 700) <= 3 and 7_000 < level < 9_000
    other.wait_until_quiet()


def test_a_call_that_cannot_be_made_says_why(server: Server) -> None:
    done = server.command("call", f"sip:nobody@{HOST}:{server.sip_port};transport=sctp")
    assert done.returncode == 1 and "a transport that we do not speak; there are udp, tcp, tls" in done.stderr


def test_a_call_over_tcp_is_made_and_played(server: Server, start_server: StartServer, tmp_path: pathlib.Path) -> None:
    played, other = tmp_path / "played.wav", start_server(agent="echo")
    write_tone(played, 700, seconds=1.0)
    told = answer(server.command("call", f"sip:echo@{HOST}:{other.sip_port};transport=tcp", "--play", str(played), "--json"))
    assert told["was_answered"] and told["call"]["remote"] == f"tcp:{HOST}:{other.sip_port}"
    other.wait_until_quiet()


@pytest.mark.peer
def test_a_call_that_is_refused_says_by_what(server: Server, start_server: StartServer) -> None:
    """The other server has one agent that cannot be loaded: callers of that one are refused, and all others served."""
    lonely = start_server(only=[{"to": "nobody", "agent": "nosuchmodule:Agent"}, {"agent": "echo"}])
    done = server.command("call", f"sip:nobody@{HOST}:{lonely.sip_port}", "--json")
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert not told["was_answered"] and told["call"]["cause"].startswith("50"), told
    wait_for("the reason", lambda: 'there is no module "nosuchmodule" on the path' in lonely.log())


def test_a_server_none_of_whose_agents_can_be_loaded_does_not_start(start_server: StartServer) -> None:
    with pytest.raises(AssertionError) as failure:
        start_server(agent="nosuchmodule:Agent")
    assert "ended with 1" in str(failure.value) and 'there is no module "nosuchmodule" on the path' in str(failure.value)
