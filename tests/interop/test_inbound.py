"""Calls as carriers and PBXs make them: SIPp plays each, and the agent must have been told what it sent."""

import json
import pathlib
import ssl
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.interop.inbound import INBOUND, MKI, Inbound
from tests.interop.relay import Relay
from tests.interop.script import Script
from tests.pki import Authority
from tests.system.server import HOST, Server, free_tcp_port, wait_for
from tests.system.sipp import Sipp

pytestmark = [pytest.mark.system, pytest.mark.peer]


class Setting(NamedTuple):
    server: Server
    tls_port: int
    authority: Authority
    reports: pathlib.Path


@pytest.fixture(scope="module", name="setting")
def _setting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setting]:
    authority, reports, tls_port = Authority(tmp_path_factory.mktemp("pki")), tmp_path_factory.mktemp("reports"), free_tcp_port()
    pair = authority.issue("bellframe")
    wanted = " ".join(name for row in INBOUND for name in row.told)
    routes = [{"agent": "probes:Facts", "arguments": {"reports": str(reports), "wanted": wanted}}]
    files = {"tls_certificate": str(pair.certificate), "tls_key": str(pair.key)}
    server = Server(routes, calls=20, more_listen=(f"tls:{HOST}:{tls_port}",), sip=files, media={"srtp": "preferred"})
    try:
        yield Setting(server, tls_port, authority, reports)
        server.stop()
    finally:
        server.discard()


def play(setting: Setting, script: Script, folder: pathlib.Path) -> str:
    """All that was said."""
    path = folder / f"{script.name}.xml"
    path.write_text(script.text())
    if script.transport != "TLS":
        return Sipp(path, setting.server.sip_port, folder, to="+4930123").finish()
    context = ssl.create_default_context(cafile=str(setting.authority.certificate))
    with Relay(setting.tls_port, outward=context) as relay:
        return Sipp(path, relay.port, folder, "-t", "t1", to="+4930123").finish()


@pytest.mark.parametrize("row", INBOUND, ids=[row.script.name for row in INBOUND])
def test_a_call_from(setting: Setting, tmp_path: pathlib.Path, row: Inbound) -> None:
    report = setting.reports / f"{row.caller}.json"
    report.unlink(missing_ok=True)
    play(setting, row.script, tmp_path)
    wait_for("its agent has ended", report.exists)
    facts = json.loads(report.read_text())
    assert (facts["caller"], facts["callee"], facts["keys"]) == (row.caller, "+4930123", row.keys)
    assert {name: facts["headers"][name] for name in row.told} == dict(row.told)
    setting.server.wait_until_quiet()
    setting.server.check_log()


def test_a_key_with_an_index_is_refused_and_the_caller_is_told_why(setting: Setting, tmp_path: pathlib.Path) -> None:
    """Nobody of the field sends one, and a packet that carries it would be taken for damaged."""
    play(setting, MKI, tmp_path)
