"""How rows and figures look."""

import pytest

from control_plane import table


def test_text_goes_left_and_numbers_right() -> None:
    assert table.render(("call", "lost"), [("a", 7), ("long name", 123)]) == "call       lost\na             7\nlong name   123"


def test_without_rows_there_are_the_headings() -> None:
    assert table.render(("call", "lost"), []) == "call  lost"


def test_a_cell_is_bounded_and_cannot_drive_the_terminal() -> None:
    text = table.render(("callee",), [("\x1b[2J" + "x" * 200,)])
    assert "\x1b" not in text and text.endswith("...") and max(map(len, text.splitlines())) < 70


@pytest.mark.parametrize(("seconds", "text"), [(-1, "0:00"), (65.9, "1:05"), (7384, "2:03:04"), (5 * 86_400 + 7384, "5 d 02:03:04")])
def test_durations(seconds: float, text: str) -> None:
    assert table.duration(seconds) == text
