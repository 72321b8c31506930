"""Servers for the tests of the whole: one that most share, and own ones for tests that break something."""

import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.system.server import Server

StartServer = Callable[..., Server]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = pathlib.Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.system)


@pytest.fixture(scope="session", name="reports")
def _reports(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Where the agents of these tests write what they saw, by caller: see agents/probes.py."""
    return tmp_path_factory.mktemp("reports")


@pytest.fixture(scope="session")
def routes(reports: pathlib.Path) -> list[dict[str, Any]]:
    """By the number called. Everything else is echoed."""
    names = {"slow": "Slow", "tone": "Tone", "witness": "Witness", "blocker": "Blocker", "crash": "Crash"}
    probes = [{"to": number, "agent": f"probes:{name}", "arguments": {"reports": str(reports)}} for number, name in names.items()]
    return [*probes, {"agent": "echo"}]


@pytest.fixture(scope="session")
def shared_server(routes: list[dict[str, Any]]) -> Iterator[Server]:
    server = Server(routes, bridges=2)
    try:
        yield server
        server.stop()
    finally:
        server.discard()


@pytest.fixture(name="server")
def _server(shared_server: Server) -> Iterator[Server]:
    """For tests that leave it as it was. Its log is looked through after each."""
    yield shared_server
    shared_server.wait_until_quiet()
    shared_server.check_log()


@pytest.fixture(scope="module")
def start_server(routes: list[dict[str, Any]]) -> Iterator[StartServer]:
    """`start_server(agent="echo", ...)` or `start_server(only=[ROUTE, ...])`: one of one's own, ended with the module at the latest."""
    started: list[Server] = []

    def start(agent: str = "", only: list[dict[str, Any]] | None = None, **settings: Any) -> Server:
        started.append(Server(only or ([{"agent": agent}] if agent else routes), **settings))
        return started[-1]

    try:
        yield start
        for server in started:
            server.stop()
    finally:
        for server in started:
            server.discard()
