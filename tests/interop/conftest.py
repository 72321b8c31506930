"""One server for the user agents that log in: each has a user of its own."""

from collections.abc import Iterator

import pytest

from tests.system.server import Server

USERS = ("anna", "emma")


@pytest.fixture(scope="package", name="server")
def _server() -> Iterator[Server]:
    users = [{"name": name, "password": "secret"} for name in USERS]
    server = Server([{"agent": "echo"}], calls=10, sip={"allow": []}, users=users, trunks=[{"name": "phones", "users": list(USERS)}])
    try:
        yield server
        server.stop()
    finally:
        server.discard()
