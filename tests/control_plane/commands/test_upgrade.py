"""`bellframe upgrade`: which units, in which order. The rest is tests/system/test_upgrade.py's."""

import pathlib

import pytest

from control_plane.command import main
from control_plane.commands.upgrade import in_order

LISTED = """bellframe-front.service      loaded active running Bellframe SIP front
bellframe-keeper.service     loaded active running Bellframe keeper and media workers
bellframe-bridge@1.service   loaded active running Bellframe agents, process 1
bellframe-recorder.service   loaded active running Bellframe recorder
bellframe-bridge@0.service   loaded active running Bellframe agents, process 0
"""


def test_those_that_the_others_can_do_without_come_first() -> None:
    units = ["bellframe-bridge@0", "bellframe-bridge@1", "bellframe-keeper", "bellframe-front", "bellframe-recorder"]
    assert in_order(LISTED) == [f"{unit}.service" for unit in units]
    assert in_order("") == []


def test_without_a_server_it_says_so(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["upgrade", "--runtime-dir", str(tmp_path)]) == 1
    assert "no server answers" in capsys.readouterr().err
