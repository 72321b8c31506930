import pytest

from sip_front.turn_latency import TurnLatency


def test_the_record_has_how_many_the_mean_of_each_part_and_the_longest() -> None:
    latency = TurnLatency()
    assert latency.facts() == {}
    latency.take({"detected_ms": 300.0, "model_ms": 100.0, "wire_ms": 10.0, "total_ms": 410.0})
    latency.take({"detected_ms": 320.0, "model_ms": 400.0, "wire_ms": 20.0, "total_ms": 740.0})
    latency.take({"model_ms": 500.0, "wire_ms": 0.0, "total_ms": 500.0})
    assert latency.facts() == {
        "answered": 3, "detected_ms": 310.0, "model_ms": 333.3, "wire_ms": 10.0, "total_ms": 550.0, "longest_ms": 740.0,
    }


@pytest.mark.parametrize("parts", [{}, {"total_ms": -1.0}, {"total_ms": float("nan")}, {"total_ms": 1e12}, {"model_ms": 5.0}])
def test_a_note_that_is_no_turn_is_passed_over(parts: dict[str, float]) -> None:
    latency = TurnLatency()
    latency.take(parts)
    latency.take({"total_ms": 5.0, "model_ms": float("inf")})
    assert latency.facts() == {"answered": 1, "total_ms": 5.0, "longest_ms": 5.0}
