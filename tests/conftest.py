"""What every test may use: the programs of other people that it needs, and the marks that folders carry."""

import os
import pathlib
import shutil

import pytest

KERNEL_FOLDERS = ("shm", "media_workers")
SERVER_FOLDERS = ("system", "interop")
PEERS = {
    # program       Debian package
    "sipp": "sip-tester",
    "kamailio": "kamailio",
    "rtpengine": "rtpengine-daemon",
    "baresip": "baresip-core",
    "tshark": "tshark",
    "sngrep": "sngrep",
    "ip": "iproute2",
    "openssl": "openssl",
    "tmux": "tmux",
    "chromium": "chromium",
    "systemd-analyze": "systemd",
}


def require_peer(name: str) -> str:
    """The path of a program that somebody else wrote. Skips the test without it; with BELLFRAME_REQUIRE_PEERS=1 fails it."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if path:
        return path
    remedy = f"{name} is not installed: apt-get install {PEERS.get(name, name)}"
    if os.environ.get("BELLFRAME_REQUIRE_PEERS") == "1":
        pytest.fail(remedy)
    pytest.skip(remedy)


@pytest.fixture(name="require_peer")
def _require_peer() -> object:
    """`require_peer` for tests that take it as a fixture."""
    return require_peer


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    is_interpreted = os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0")
    for item in items:
        folder = _folder(item)
        if folder in KERNEL_FOLDERS:
            item.add_marker(pytest.mark.kernel)
        if is_interpreted and item.get_closest_marker("compiled"):
            item.add_marker(pytest.mark.skip(reason="needs compiled code"))
        # With `-n 2 --dist loadgroup`: whole servers one after the other, as they have the machine's ports and cores; files beside them.
        item.add_marker(pytest.mark.xdist_group("servers" if folder in SERVER_FOLDERS else item.path.name))
    if config.getoption("numprocesses", None):
        items.sort(key=lambda item: _folder(item) not in SERVER_FOLDERS)  # the longest first


def _folder(item: pytest.Item) -> str:
    """Of tests/, or "" for a test that lies elsewhere."""
    here = pathlib.Path(__file__).parent
    return item.path.relative_to(here).parts[0] if item.path.is_relative_to(here) else ""
