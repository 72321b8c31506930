"""docs/wires.md: every cell of the table of wires leads to a test that there is, of that wire."""

import ast
import pathlib
import re

import pytest

from ai_bridge.wires import WIRES
from tests.ai_bridge.wires.dialects import DIALECTS

PAGE = pathlib.Path(__file__).parent.parent.parent.parent / "docs" / "wires.md"
LINK = re.compile(r'\[(?P<text>.+)\]\((?P<file>\S+) "(?P<test>test_\w+)"\)')
LINES = PAGE.read_text().splitlines()
FIRST = next(number for number, line in enumerate(LINES) if line.startswith("| | `twilio`"))


def cells_of(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


NAMES = [name.strip("`") for name in cells_of(LINES[FIRST])[1:]]
ROWS = [cells_of(line) for line in LINES[FIRST + 2 : LINES.index("", FIRST)]]
CELLS = [(row[0], name, cell) for row in ROWS for name, cell in zip(NAMES, row[1:], strict=True) if cell]


def test_every_wire_but_our_own_has_its_column():
    assert set(NAMES) == set(WIRES) - {"bellframe"} and len(ROWS) >= 10


@pytest.mark.parametrize(("feature", "name", "cell"), CELLS, ids=[f"{name}: {feature}" for feature, name, _ in CELLS])
def test_a_cell_leads_to_a_test_of_its_wire(feature, name, cell):
    link = LINK.fullmatch(cell)
    assert link, f"{cell} is no link with the name of a test"
    path = (PAGE.parent / link["file"]).resolve()
    tests = {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}
    assert link["test"] in tests
    assert path.name.startswith(f"test_{name}") or (path.name == "test_wires.py" and name in DIALECTS)
