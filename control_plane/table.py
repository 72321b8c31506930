"""Rows of text under headings, aligned; and figures as people read them."""

from collections.abc import Sequence

from control_plane.logs import clean

MAX_CELL_CHARACTERS = 60
GAP = "  "


def render(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Numbers to the right, text to the left. What a cell holds came from anywhere, so it cannot drive the terminal."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(len(heading), *(len(row[i]) for row in cells), 0) for i, heading in enumerate(headings)]
    is_right = [bool(rows) and all(isinstance(row[i], int | float) for row in rows) for i in range(len(headings))]
    lines = [list(headings), *cells]
    return "\n".join(GAP.join(_pad(*parts) for parts in zip(line, widths, is_right, strict=True)).rstrip() for line in lines)


def _cell(value: object) -> str:
    text = f"{value:.1f}" if isinstance(value, float) else str(value)
    return clean(text if len(text) <= MAX_CELL_CHARACTERS else text[: MAX_CELL_CHARACTERS - 3] + "...")


def _pad(text: str, width: int, is_right: bool) -> str:
    return text.rjust(width) if is_right else text.ljust(width)


def count(number: int, noun: str) -> str:
    """1 worker, 2 workers."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def duration(seconds: float) -> str:
    """1:05, 2:03:04, 5 d 02:03:04."""
    whole = max(0, int(seconds))
    days, hours, minutes = whole // 86_400, whole // 3600 % 24, whole // 60 % 60
    if days:
        return f"{days} d {hours:02}:{minutes:02}:{whole % 60:02}"
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"
