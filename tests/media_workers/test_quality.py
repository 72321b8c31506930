"""The E-model against figures of the ITU's own (G.107, G.113)."""

import pytest

from media_workers.quality import EQUIPMENT, mos, rating

G711, G729 = EQUIPMENT["PCMU"], EQUIPMENT["G729"]


SCORES = [(-5, 1.0), (0, 1.0), (50, 2.58), (60, 3.1), (70, 3.6), (80, 4.03), (90, 4.34), (93.2, 4.41), (100, 4.5), (120, 4.5)]


@pytest.mark.parametrize(("r", "expected"), SCORES)
def test_ratings_are_the_scores_of_g_107_annex_b(r: float, expected: float) -> None:
    assert mos(r) == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(
    ("lost_percent", "delay_ms", "equipment", "expected"),
    [
        (0, 0, G711, 93.2),
        (0, 100, G711, 90.8),  # G.107: hardly anybody notices 100 ms
        (0, 300, G711, 72.5),
        (1, 0, G711, 89.6),
        (10, 0, G711, 66.1),
        (0, 0, G729, 82.2),
        (5, 150, G729, 61.1),
    ],
)
def test_rating(lost_percent: float, delay_ms: float, equipment: tuple[float, float], expected: float) -> None:
    assert rating(lost_percent, delay_ms, *equipment) == pytest.approx(expected, abs=0.6)


def test_more_loss_and_more_delay_are_never_better() -> None:
    by_loss = [mos(rating(loss, 100.0, *G711)) for loss in range(0, 101, 5)]
    by_delay = [mos(rating(1.0, delay, *G711)) for delay in range(0, 2_000, 50)]
    for scores in (by_loss, by_delay):
        assert scores == sorted(scores, reverse=True) and scores[0] > 4 and 1 <= scores[-1] < 2.1
