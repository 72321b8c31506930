"""Calls over a network that loses, delays, reorders and repeats packets: between two namespaces, through two stacks of the kernel."""

import functools
import itertools
import json
import os
import pathlib
import time
from collections.abc import Iterator

import numpy as np
import pytest

from control_plane import g711
from tests.system.bad_link import CALLER, SERVER, BadLink, Weather
from tests.system.baresip import PITCH_HZ, Baresip
from tests.system.caller import FRAME, Caller
from tests.system.conftest import StartServer
from tests.system.server import Server, free_ports, wait_for
from tests.system.sound import loudest_second, pitch_and_level, read_wav

LEVELS = 100


@pytest.fixture(scope="module", name="link")
def _link() -> Iterator[BadLink]:
    if os.geteuid():
        pytest.skip("namespaces and TUN devices are root's")
    link = BadLink()
    try:
        link.__enter__()
    except OSError as failure:
        pytest.skip(f"no namespaces with a TUN device here: {failure}")
    try:
        yield link
    finally:
        link.__exit__(None, None, None)


@pytest.fixture(scope="module", name="server")
def _server(link: BadLink, start_server: StartServer) -> Server:
    port = free_ports(2)
    sip = {"listen": f"{SERVER}:{port}", "allow": [f"{CALLER}/32"]}
    server = start_server(calls=8, sip=sip, media={"rtcp_interval_seconds": 1.0, "port_quiet_seconds": 0.0}, prefix=link.prefix(SERVER))
    server.sip_port = port
    return server


def counters_of(server: Server, call_id: str) -> dict[str, int]:
    server.wait_until_quiet()
    found = json.loads(server.command("call", "show", call_id, "--json").stdout)["counters"]
    assert isinstance(found, dict)
    return found


def numbered(frame: int) -> bytes:
    """20 ms of one level, which says the number of the frame modulo LEVELS; each is a code of its own."""
    return bytes([frame % LEVELS]) * FRAME


def numbers(pcm: np.ndarray) -> list[int]:
    """Of the frames that are one level from end to end, as `numbered` makes them."""
    level_of = {int(g711.decode(0, bytes([code]))[0]): code for code in range(LEVELS)}
    frames = pcm[: pcm.size // FRAME * FRAME].reshape(-1, FRAME)
    return [level_of[int(frame[0])] for frame in frames if (frame == frame[0]).all() and int(frame[0]) in level_of]


def test_loss_delay_and_jitter_are_reported_as_they_are(
    link: BadLink, server: Server, reports: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """Pitch, loss, round trip and jitter, with a telephone that reports by RTCP."""
    weather = Weather(loss=0.05, delay_ms=40, jitter_ms=5, sip_port=server.sip_port)
    link.change(weather)
    inside = functools.partial(link.inside, CALLER)
    with Baresip(tmp_path, user="rainy", host=CALLER, prefix=link.prefix(CALLER), inside=inside) as phone:
        phone.dial(f"sip:tone@{SERVER}:{server.sip_port}")
        [call] = server.calls()
        time.sleep(11)  # baresip reports every five seconds
        phone.hang_up()
    counters, dropped = counters_of(server, call.call_id), link.change(Weather())
    lost, kept = len(dropped[SERVER]["dropped"]), counters["packets_received"]
    figures = {name: counters[name] for name in ("lost", "late", "rtt_us", "jitter_us", "remote_lost", "remote_jitter_us", "mos_x100")}
    print(f"{kept} packets came, {lost} were dropped, and {len(dropped[CALLER]['dropped'])} of ours; {figures}")
    assert 0.02 < lost / (lost + kept) < 0.09
    assert lost - 2 <= counters["lost"] + counters["late"] <= lost, "those before its first packet and after its last are not missed"
    assert 70_000 <= counters["rtt_us"] <= 140_000, "twice 40 ms, the jitter, and what busy processes take"
    assert 1_000 <= counters["jitter_us"] <= 15_000 and 1_000 <= counters["remote_jitter_us"] <= 15_000
    assert 0 < counters["remote_lost"] <= len(dropped[CALLER]["dropped"])
    assert 0 < counters["mos_x100"] < 440
    wait_for("the agent's report", (reports / "rainy.json").exists)
    for path in (reports / "rainy.wav", phone.recording("dec")):
        pcm, rate_hz = read_wav(path)
        pitch, _ = pitch_and_level(loudest_second(pcm, rate_hz), rate_hz)
        assert abs(pitch - (PITCH_HZ if path.name == "rainy.wav" else 1_000)) <= 5, path
    said_s, heard_s = (len(read_wav(path)[0]) / 8_000 for path in (phone.recording("enc"), reports / "rainy.wav"))
    assert abs(said_s - heard_s) < 0.5, "nothing was left out, and nothing came twice"


def test_what_is_reordered_and_repeated_comes_in_order_and_once(link: BadLink, server: Server, reports: pathlib.Path) -> None:
    weather = Weather(delay_ms=30, reorder=0.05, duplicate=0.05, sip_port=server.sip_port)
    link.change(weather)
    with link.inside(CALLER):
        caller = Caller(server.sip_port, "tone", numbered, CALLER, SERVER)
    with caller:
        [call] = server.calls()
        caller.wait_for_packets(300)
        call_id = call.call_id
    counters, made = counters_of(server, call_id), link.change(Weather())[SERVER]
    wait_for("the agent's report", (reports / f"{caller.name}.json").exists)
    heard = numbers(read_wav(reports / f"{caller.name}.wav")[0])
    print(f"{made}; lost {counters['lost']}, late {counters['late']}, reordered {counters['reordered']}, twice {counters['duplicates']}")
    assert made["reordered"] > 5 and made["duplicated"] > 5 and made["dropped"] == []
    steps = [(b - a) % LEVELS for a, b in itertools.pairwise(heard)]
    assert len(heard) > 250 and max(steps) <= 3 and 0 not in steps, "in order, and none twice"
    assert steps.count(1) > 0.97 * len(steps)
    assert counters["lost"] == 0 and counters["duplicates"] == made["duplicated"]
    assert counters["late"] <= 0.02 * made["packets"] and counters["reordered"] + counters["late"] > 0


def test_a_call_outlives_a_second_without_network(link: BadLink, server: Server, reports: pathlib.Path) -> None:
    link.change(Weather(delay_ms=10, sip_port=server.sip_port))
    with link.inside(CALLER):
        caller = Caller(server.sip_port, "tone", numbered, CALLER, SERVER)
    with caller:
        [call] = server.calls()
        caller.wait_for_packets(50)
        link.change(Weather(loss=1.0, delay_ms=10, sip_port=server.sip_port))
        time.sleep(1)
        gone = link.change(Weather(delay_ms=10, sip_port=server.sip_port))
        caller.wait_for_packets(75)
        assert [one.call_id for one in server.calls()] == [call.call_id]
    counters = counters_of(server, call.call_id)
    wait_for("the agent's report", (reports / f"{caller.name}.json").exists)
    heard = numbers(read_wav(reports / f"{caller.name}.wav")[0])
    missed = len(gone[SERVER]["dropped"])
    print(f"{missed} dropped in a row; lost {counters['lost']}, {counters['concealed_frames']} frames concealed")
    assert missed > 35 and abs(counters["lost"] - missed) <= 2
    assert heard[-50:] == [(heard[-50] + n) % LEVELS for n in range(50)], "whole again, at once"
    server.check_log()
