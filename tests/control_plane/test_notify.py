"""The service manager's protocol, against a socket that plays the manager."""

import os
import pathlib
import socket
import subprocess
import sys

import pytest

from control_plane import notify


def manager_at(address: str) -> socket.socket:
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.settimeout(5)
    manager.bind(address)
    return manager


def test_without_a_manager_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "LISTEN_FDS", "LISTEN_PID"):
        monkeypatch.delenv(name, raising=False)
    notify.notify("READY=1", [0])
    assert notify.listen_fds() == {}
    assert notify.watchdog_interval_s() is None


def test_a_state_arrives_at_a_socket_with_a_path(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    with manager_at(str(tmp_path / "notify")) as manager:
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        notify.notify("READY=1\nSTATUS=listening")
        assert manager.recv(100) == b"READY=1\nSTATUS=listening"


def test_a_state_arrives_at_an_abstract_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"bellframe-test-{os.getpid()}"
    with manager_at("\0" + name) as manager:
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name)
        notify.notify("WATCHDOG=1")
        assert manager.recv(100) == b"WATCHDOG=1"


def test_more_descriptors_than_one_message_holds_go_in_several(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    reader, writer = os.pipe()
    with manager_at(str(tmp_path / "notify")) as manager:
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        notify.notify("FDSTORE=1\nFDNAME=ports", [writer] * (notify.MAX_FDS_PER_MESSAGE + 2))
        counts = []
        for _ in range(2):
            state, fds, _, _ = socket.recv_fds(manager, 100, notify.MAX_FDS_PER_MESSAGE)
            assert state == b"FDSTORE=1\nFDNAME=ports"
            os.write(fds[-1], b"x")
            counts.append(len(fds))
            for fd in fds:
                os.close(fd)
    assert counts == [notify.MAX_FDS_PER_MESSAGE, 2]
    assert os.read(reader, 10) == b"xx"
    os.close(reader)
    os.close(writer)


CHILD = """
import os, sys
os.environ["LISTEN_PID"] = str(os.getpid())
from control_plane import notify
print(notify.listen_fds(), os.get_inheritable(3))
"""


def test_kept_descriptors_come_back_by_name() -> None:
    environment = os.environ | {"LISTEN_FDS": "3", "LISTEN_FDNAMES": "ports:memory:ports", "PYTHONPATH": os.getcwd()}
    # A shell puts them where the protocol wants them, whatever numbers Python would choose.
    command = f"exec 3</dev/null 4</dev/null 5</dev/null; exec {sys.executable} -c '{CHILD}'"
    output = subprocess.run(["sh", "-c", command], env=environment, capture_output=True, text=True, check=True).stdout
    assert output.strip() == "{'ports': [3, 5], 'memory': [4]} False"


def test_descriptors_for_another_process_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_FDS", "1")
    monkeypatch.setenv("LISTEN_PID", str(os.getpid() + 1))
    assert notify.listen_fds() == {}


@pytest.mark.parametrize(("limit", "interval"), [("3000000", 1.5), ("0", None), ("soon", None)])
def test_the_watchdog_is_fed_twice_in_its_time(monkeypatch: pytest.MonkeyPatch, limit: str, interval: float | None) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", limit)
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    assert notify.watchdog_interval_s() == interval
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert notify.watchdog_interval_s() is None
