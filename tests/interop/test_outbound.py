"""Calls that we make to carriers, PBXs and platforms: SIPp plays each, and says what our requests must hold."""

import json
import pathlib
import secrets
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple

import pytest

from control_plane.client import ask
from control_plane.messages import Done, Originate
from tests.interop.outbound import NUMBER, OUTBOUND, Outbound
from tests.interop.relay import Relay
from tests.pki import Authority
from tests.system.server import HOST, Server, free_ports, wait_for
from tests.system.sipp import Sipp

pytestmark = [pytest.mark.system, pytest.mark.peer]


class Setting(NamedTuple):
    server: Server
    ports: dict[str, int]
    """SIPp's, by the scenario's name."""
    tls_ports: dict[str, int]
    """Of the TLS round it."""


@pytest.fixture(scope="module", name="setting")
def _setting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setting]:
    """A server with a trunk to each peer."""
    authority = Authority(tmp_path_factory.mktemp("pki"))
    pair = authority.issue("peer")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pair.certificate, pair.key)
    first = free_ports(8 * len(OUTBOUND))
    ports = {row.script.name: first + 8 * i for i, row in enumerate(OUTBOUND)}
    with ExitStack() as stack:
        trunks, tls_ports = [], dict[str, int]()
        for row in OUTBOUND:
            port, more = ports[row.script.name], dict(row.trunk)
            transport = more.pop("transport", "tls" if row.script.transport == "TLS" else "udp")
            if transport == "tls":
                port = tls_ports[row.script.name] = stack.enter_context(Relay(port, inward=context)).port
            gateway = f"{HOST}:{port}" + (f";transport={transport}" if transport != "udp" else "")
            more = {name: value.format(gateway=gateway) if isinstance(value, str) else value for name, value in more.items()}
            trunks.append({"name": row.script.name, "gateways": [gateway], "allow_numbers": ["+49*"], "ping_seconds": 0, **more})
        listen = (f"tls:{HOST}:{free_ports(2)}",)
        files = {"tls_certificate": str(pair.certificate), "tls_key": str(pair.key), "tls_server_ca": str(authority.certificate)}
        server = Server([{"agent": "echo"}], calls=20, more_listen=listen, sip=files, trunks=trunks)
        try:
            yield Setting(server, ports, tls_ports)
            server.stop()
        finally:
            server.discard()


@pytest.mark.parametrize("row", OUTBOUND, ids=[row.script.name for row in OUTBOUND])
def test_a_call(setting: Setting, tmp_path: pathlib.Path, row: Outbound) -> None:
    server, name = setting.server, row.script.name
    path = tmp_path / f"{name}.xml"
    path.write_text(row.script.text(setting.tls_ports.get(name, 0)))
    over_tcp = ("-t", "t1") if row.script.transport == "TLS" or row.trunk.get("transport") == "tcp" else ()
    peer = Sipp(path, server.sip_port, tmp_path, *over_tcp, port=setting.ports[name])
    table, port = pathlib.Path("/proc/net/tcp" if over_tcp else "/proc/net/udp"), f":{setting.ports[name]:04X} "
    wait_for("SIPp listens", lambda: port in table.read_text() or peer.process.poll() is not None)
    call_id = f"out-{secrets.token_hex(4)}"
    try:
        order = Originate(call_id, NUMBER, "echo", caller="+1555000", trunk=name, headers=dict(row.headers))
        assert ask(server.runtime, order) == Done(call_id)
        if row.ends == "us":
            wait_for("the call is up", lambda: facts(server, call_id)["state"] == "up" or peer.process.poll() is not None)
            wait_for("the peer has only our BYE to wait for", lambda: peer.process.poll() is not None or _is_waiting(peer, row))
            server.command("hangup", call_id)
        peer.finish()
    finally:
        peer.kill()
    server.wait_until_quiet()
    server.check_log()
    if row.ends not in ("us", "them"):
        assert row.ends in json.dumps(facts(server, call_id)), "the record says how it ended"


def _is_waiting(peer: Sipp, row: Outbound) -> bool:
    """What it sends in the dialog was answered: it has said all that it says but the answer to our BYE."""
    sent = sum("<send" in step for step in row.script.steps) - 1
    return peer.messages.exists() and peer.messages.read_text(errors="replace").count("message sent") >= sent


def facts(server: Server, call_id: str) -> dict[str, Any]:
    found = json.loads(server.command("call", "show", call_id, "--json").stdout)
    assert isinstance(found, dict)
    return found
