import pathlib
import subprocess
import sys
from typing import get_args

import msgspec
import pytest

from ai_bridge.wires import bellframe_messages as wire

ROOT = pathlib.Path(__file__).parent.parent.parent.parent


def test_the_schema_that_is_handed_out_is_that_of_the_messages():
    made = subprocess.run(
        [sys.executable, "-m", "ai_bridge.wires.bellframe_messages"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert made == (ROOT / "docs" / "wire.schema.json").read_text(), "make it anew: see bellframe_messages.py"


@pytest.mark.parametrize("kind", [*get_args(wire.ToBot), *get_args(wire.FromBot)])
def test_every_message_has_its_place_on_the_page(kind):
    page = (ROOT / "docs" / "wire.md").read_text()
    name = kind.__struct_config__.tag
    assert f"`{name}`" in page, f"docs/wire.md does not tell of {name}"
    for field in kind.__struct_fields__:
        assert field in page, f"docs/wire.md does not tell of {name}.{field}"


def test_what_is_left_out_has_its_default():
    assert wire.decode_from_bot(b'{"type":"ready","version":1,"rate_hz":16000}') == wire.Ready(1, 16_000)
    assert wire.decode_from_bot(b'{"type":"hold","later":1}') == wire.HoldCall()
    with pytest.raises(msgspec.ValidationError):
        wire.decode_from_bot(b'{"type":"ready","version":1}')
