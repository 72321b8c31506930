"""The format that Prometheus reads, as its documentation has it."""

from control_plane.http.exposition import Family, Histogram, Sample, encode


def test_a_family_is_its_help_its_type_and_its_samples() -> None:
    rows = [Sample(1027, (("method", "post"), ("code", "200"))), Sample(0.5)]
    assert encode([Family("requests_total", "counter", "How many.", rows)]).decode() == (
        "# HELP requests_total How many.\n"
        "# TYPE requests_total counter\n"
        'requests_total{method="post",code="200"} 1027\n'
        "requests_total 0.5\n"
    )


def test_a_histogram_adds_its_buckets_up() -> None:
    text = encode([Family("late_seconds", "histogram", "x", [Histogram((0.1, 1), (2, 3, 4), 12.5, (("worker", "0"),))])]).decode()
    assert text.splitlines()[2:] == [
        'late_seconds_bucket{worker="0",le="0.1"} 2',
        'late_seconds_bucket{worker="0",le="1"} 5',
        'late_seconds_bucket{worker="0",le="+Inf"} 9',
        'late_seconds_sum{worker="0"} 12.5',
        'late_seconds_count{worker="0"} 9',
    ]


def test_names_from_elsewhere_cannot_break_a_line() -> None:
    text = encode([Family("x", "gauge", "a\\b\nc", [Sample(1, (("trunk", 'a"b\\c\nd'),))])]).decode()
    assert text.splitlines() == ["# HELP x a\\\\b\\nc", "# TYPE x gauge", 'x{trunk="a\\"b\\\\c\\nd"} 1']


def test_a_family_without_samples_is_left_out() -> None:
    assert encode([Family("x", "gauge", "y", [])]) == b""
