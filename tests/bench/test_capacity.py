"""What capacity makes of its measurements."""

import pytest

from bench import calls_per_core
from bench.capacity import FEW, MANY, price_us, rate


def test_a_price_becomes_a_rating() -> None:
    assert rate("PCMU", 10.0) == ("PCMU", 10.0, 2000, 1000)


def test_what_the_worker_does_anyway_is_no_part_of_the_price(monkeypatch: pytest.MonkeyPatch) -> None:
    """8 µs a frame, and 1,000 µs a tick of its own."""
    monkeypatch.setattr(calls_per_core, "whole_path", lambda calls, seconds, suite: {"cpu_us": 8.0 + 1000.0 / calls})
    assert FEW < MANY and price_us() == pytest.approx(8.0)
