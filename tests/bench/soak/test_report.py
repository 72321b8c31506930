"""The verdict: each line can fail, and the page says so."""

import pathlib

import pytest

from bench.soak.caller import Figures, Verdict
from bench.soak.report import Outcome, lines, write
from bench.soak.watch import Sample

SAMPLES = [Sample(2.0 * n, 100.0 + n % 3, 50, 10, 10) for n in range(60)]


def outcome(**values: object) -> Outcome:
    figures = Figures()
    figures.set_up, figures.finished, figures.seconds[Verdict.OWN] = 40, 40, 1000
    good = Outcome(120.0, SAMPLES, figures, [(20.0, "worker", 7)], 50, 52, 0, 0)
    return good._replace(**values)


def test_a_good_run_passes(tmp_path: pathlib.Path) -> None:
    assert write(outcome(), tmp_path / "soak.html")
    text = (tmp_path / "soak.html").read_text()
    assert "passed" in text and "data:image/png;base64,iVBOR" in text


@pytest.mark.parametrize(
    ("values", "what"),
    [
        ({"descriptors_after": 80}, "descriptors"),
        ({"calls_left": 1}, "calls left"),
        ({"rows_left": 1}, "rows (ports, rings) left"),
        ({"transactions_left": 1}, "transactions left"),
        ({"dialogs_left": 1}, "dialogs left"),
        ({"samples": [Sample(2.0 * n, 100.0, 50, 10, 10, n) for n in range(60)]}, "transactions slope"),
        ({"samples": [Sample(2.0 * n, 100.0, 50, 10, 10, 0, n) for n in range(60)]}, "slope of dialogs"),
        ({"samples": [Sample(2.0 * n, 100.0 + n, 50, 10, 10) for n in range(60)]}, "memory"),
        ({"samples": [Sample(2.0 * n, 100.0, 50 + n, 10, 10) for n in range(60)]}, "descriptors slope"),
        ({"samples": [Sample(2.0 * n, 100.0, 50, 10, 10 + n // 4) for n in range(60)]}, "slope of rows"),
    ],
)
def test_each_line_can_fail(values: dict[str, object], what: str, tmp_path: pathlib.Path) -> None:
    bad = [line.what for line in lines(outcome(**values)) if not line.is_good]
    assert len(bad) == 1 and bad[0].startswith(what)
    assert not write(outcome(**values), tmp_path / "soak.html") and "failed" in (tmp_path / "soak.html").read_text()


def test_what_callers_saw_can_fail() -> None:
    seen = outcome()
    seen.figures.ended_early, seen.figures.foreign, seen.figures.refused = 1, ["caller 1 heard caller 2"], 1
    seen.figures.gaps_ms.append(2500.0)
    assert sum(not line.is_good for line in lines(seen)) == 4
