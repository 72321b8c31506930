import pathlib
from collections.abc import Iterator

import pytest

from tests.control_plane.http.front import Front
from tests.control_plane.test_client import Exchange


@pytest.fixture
def front(tmp_path: pathlib.Path) -> Iterator[Front]:
    """At the socket in `tmp_path`."""
    replies = Front()
    exchange = Exchange(tmp_path, replies)
    yield replies
    exchange.close()
