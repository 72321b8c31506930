"""The page of who works with us."""

import re

from tests.interop.matrix import PAGE, PLAYED, REAL, ROOT, page


def test_each_mark_is_a_test_that_there_is() -> None:
    for cell in REAL + PLAYED:
        file, _, test = cell.test.partition("::")
        assert re.search(rf"^def {re.escape(test.partition('[')[0])}\(", (ROOT / file).read_text(), re.MULTILINE), cell


def test_the_page_is_what_these_tests_say() -> None:
    assert PAGE.read_text() == page(), "run python -m tests.interop.matrix"


def test_what_failed_is_shown_as_failed() -> None:
    assert page(frozenset((REAL[0].test,))).count("✘") == 2 and "✘" not in page()
