from ai_bridge.turn_times import TurnTimes

MS = 1_000_000


def answered(times: TurnTimes, detected_ms: int = 600, audio_ms: int = 900, wire_ms: int = 915) -> None:
    """The caller's last sound at 400 ms, told of later."""
    times.caller_is_silent(700 * MS)
    if detected_ms:
        times.detected(detected_ms * MS)
    assert times.first_audio(audio_ms * MS)
    times.on_wire(wire_ms * MS)


def test_the_parts_of_a_turn_add_up():
    times = TurnTimes()
    answered(times)
    assert times.take() == {"detected_ms": 200.0, "model_ms": 300.0, "wire_ms": 15.0, "total_ms": 515.0}
    assert times.take() == {}


def test_where_nobody_tells_that_the_turn_is_over_the_model_has_both_parts():
    times = TurnTimes()
    answered(times, detected_ms=0)
    assert times.take() == {"model_ms": 500.0, "wire_ms": 15.0, "total_ms": 515.0}


def test_a_model_may_answer_before_the_line_knows_that_the_caller_is_silent():
    times = TurnTimes()
    times.detected(450 * MS)
    assert times.first_audio(500 * MS) and not times.first_audio(520 * MS)
    times.on_wire(520 * MS)
    assert times.take() == {}
    times.caller_is_silent(700 * MS)
    assert times.take()["total_ms"] == 120.0


def test_what_the_model_says_unasked_is_no_answer():
    times = TurnTimes()
    assert not times.first_audio(MS)
    times.on_wire(2 * MS)
    times.caller_is_silent(700 * MS)
    assert times.take() == {}


def test_a_caller_who_goes_on_has_not_finished():
    times = TurnTimes()
    times.caller_is_silent(700 * MS)
    times.detected(800 * MS)
    assert times.first_audio(850 * MS)
    times.caller_speaks()
    times.on_wire(900 * MS)  # of what was cut
    assert times.take() == {}
    answered(times)
    assert times.take()["total_ms"] == 515.0
