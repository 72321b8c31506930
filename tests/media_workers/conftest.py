"""A call in a worker without sockets, for every test of this folder."""

import pytest

from media_workers.rows import Rows
from tests.media_workers.call_under_test import CallUnderTest, make_views


@pytest.fixture(name="call")
def _call() -> CallUnderTest:
    """PCMU, 20 ms, keys as payload type 101, comfort noise as 13; opened at START."""
    return CallUnderTest()


@pytest.fixture(name="rows")
def _rows() -> Rows:
    """Eight free rows whose ports rest for a second."""
    return Rows(make_views(8), 0, 8, 1_000_000_000)
