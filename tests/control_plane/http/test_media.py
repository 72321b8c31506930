"""Totals over calls that come and go in the same rows."""

import numpy as np
import pytest

from control_plane.http.media import Media
from shm.counters import CALL_COLUMN, Counters, counters_bytes, counters_format

LOST, RECEIVED = CALL_COLUMN["lost"], CALL_COLUMN["packets_received"]


@pytest.fixture
def views() -> Counters:
    return counters_format(bytearray(counters_bytes(2, 8)), 2, 8)


@pytest.fixture
def media(views: Counters, tmp_path: object) -> Media:
    found = Media(tmp_path)  # type: ignore[arg-type]
    found.adopt(views)
    return found


def begin(views: Counters, row: int, generation: int) -> None:
    views.calls[row]["counters"] = 0
    views.calls[row]["generation"], views.calls[row]["call_id"] = generation, f"call-{generation}".encode()


def test_totals_grow_by_what_each_call_counted_since_the_last_look(views: Counters, media: Media) -> None:
    begin(views, 3, 1)
    views.calls[3]["counters"][LOST] = 5
    media.look()
    views.calls[3]["counters"][LOST] = 7
    media.look()
    media.look()
    assert media.totals[LOST] == 7


def test_a_call_that_ended_keeps_counting_until_its_row_is_given_away(views: Counters, media: Media) -> None:
    begin(views, 0, 1)
    views.calls[0]["counters"][LOST] = 5
    media.look()
    views.calls[0]["counters"][LOST] = 6
    views.calls[0]["call_id"] = b""
    media.look()
    begin(views, 0, 2)
    views.calls[0]["counters"][LOST] = 4
    media.look()
    assert media.totals[LOST] == 10


def test_totals_never_go_back(views: Counters, media: Media) -> None:
    """A look in the middle of a row's reset sees the old generation with nothing counted."""
    begin(views, 0, 1)
    views.calls[0]["counters"][LOST] = 5
    media.look()
    views.calls[0]["counters"] = 0
    media.look()
    assert media.totals[LOST] == 5
    begin(views, 0, 2)
    views.calls[0]["counters"][LOST] = 1
    media.look()
    assert media.totals[LOST] == 6


def test_another_keeper_begins_from_nothing_and_the_totals_stay(views: Counters, media: Media) -> None:
    begin(views, 0, 1)
    views.calls[0]["counters"][LOST] = 5
    media.look()
    media.adopt(counters_format(bytearray(counters_bytes(1, 4)), 1, 4))
    media.look()
    assert media.totals[LOST] == 5 and media.is_away()


def test_open_calls_are_those_with_a_name(views: Counters, media: Media) -> None:
    begin(views, 1, 1)
    begin(views, 2, 2)
    views.calls[1]["counters"][[LOST, RECEIVED, CALL_COLUMN["jitter_us"]]] = 10, 90, 2_000
    opened = media.open_calls()
    assert np.allclose(opened.loss_ratio, [0.1, 0]) and np.allclose(opened.jitter_s, [0.002, 0])
    views.calls[1]["call_id"] = b""
    assert media.open_calls().loss_ratio.size == 1


def test_how_loud_one_call_is(views: Counters, media: Media) -> None:
    begin(views, 5, 9)
    views.calls[5]["counters"][[CALL_COLUMN["level_rx_dbov"], CALL_COLUMN["level_tx_dbov"], LOST, RECEIVED]] = -20, -33, 1, 99
    found = media.levels("call-9")
    assert found is not None and (found["rx_dbov"], found["tx_dbov"], found["lost"], found["packets_received"]) == (-20, -33, 1, 99)
    assert media.levels("none") is None and media.levels("") is None
