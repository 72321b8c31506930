"""The units for systemd: systemd itself accepts them, and they agree with the code."""

import configparser
import pathlib
import re
import signal
import subprocess

import pytest

from control_plane import http_config
from control_plane.commands import up
from control_plane.config import RecordingSection
from control_plane.fd_store import MAX_FDS
from tests.conftest import require_peer

FOLDER = pathlib.Path(__file__).parent.parent / "systemd"
SERVICES = sorted(FOLDER.glob("*.service"))


def service(path: pathlib.Path) -> dict[str, str]:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(path)
    return dict(parser["Service"])


def test_systemd_accepts_them() -> None:
    units = [str(path) for path in sorted(FOLDER.iterdir())]
    found = subprocess.run([require_peer("systemd-analyze"), "verify", "--man=no", *units], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert [line for line in found.stderr.splitlines() if "bellframe" in line] == []


@pytest.mark.parametrize("path", SERVICES, ids=lambda path: path.name)
def test_each_reports_ready_is_watched_and_comes_back(path: pathlib.Path) -> None:
    values = service(path)
    watchdogs_s = {"keeper": up.KEEPER_WATCHDOG_S, "front": up.FRONT_WATCHDOG_S, "bridge@": up.BRIDGE_WATCHDOG_S}
    watchdogs_s["http"], watchdogs_s["recorder"] = up.HTTP_WATCHDOG_S, up.RECORDER_WATCHDOG_S
    assert (values["Type"], values["Restart"]) == ("notify", "always")
    assert float(values["WatchdogSec"]) == watchdogs_s[path.stem.removeprefix("bellframe-")]
    assert values["RuntimeDirectory"] == "bellframe" and values["RuntimeDirectoryMode"] == "0700"


def test_each_starts_what_bellframe_up_starts(tmp_path: pathlib.Path) -> None:
    modules = {values["ExecStart"].partition(" -m ")[2].split()[0] for values in map(service, SERVICES)}
    settings = up.Config(http=http_config.Http("127.0.0.1:8080"), recording=RecordingSection("/var/lib/bellframe/recordings"))
    assert modules == {program.arguments[2] for program in up.programs(settings, tmp_path)}


def test_who_talks_to_strangers_denies_memory_that_is_written_and_run() -> None:
    """numba needs it; the front and the API must not have it."""
    denying = [path.stem for path in SERVICES if "MemoryDenyWriteExecute" in service(path)]
    assert denying == ["bellframe-front", "bellframe-http"]


def test_what_becomes_of_workers_is_the_same_under_systemd_and_the_supervisor(tmp_path: pathlib.Path) -> None:
    for program in up.programs(up.Config(), tmp_path):
        values = service(FOLDER / f"bellframe-{program.name.replace('-0', '@')}.service")
        assert signal.Signals[values.get("RestartKillSignal", "SIGTERM")] == program.restart_signal
        assert (values.get("KillMode") == "process") == program.leaves_children


def test_the_keeper_may_store_what_the_supervisor_would() -> None:
    assert int(service(FOLDER / "bellframe-keeper.service")["FileDescriptorStoreMax"]) == MAX_FDS


EXPOSURES = [
    ("bellframe-front", 1.5), ("bellframe-keeper", 2.0), ("bellframe-bridge@", 1.5), ("bellframe-http", 1.5), ("bellframe-recorder", 1.4),
]


@pytest.mark.parametrize(("name", "at_most"), EXPOSURES)
def test_each_is_confined_as_far_as_it_can_be(name: str, at_most: float) -> None:
    """`systemd-analyze security`: 0 is a service that can do nothing, 10 one that may do everything."""
    command = [require_peer("systemd-analyze"), "security", "--offline=true", "--no-pager", str(FOLDER / f"{name}.service")]
    told = subprocess.run(command, capture_output=True, text=True).stdout
    exposure = float(re.findall(r"exposure level for \S+: (\S+)", told)[0])
    assert exposure <= at_most, told
