import asyncio
import json
import sys
import types
from typing import Any

import msgspec
import pytest

from ai_bridge.models.settings import Settings
from ai_bridge.models.tools import MOST_RESULT, Toolbox, function_tool
from control_plane.errors import ConfigurationError


class Order(msgspec.Struct):
    number: int
    items: list[str]


async def order_status(call: Any, order: str, detailed: bool = False) -> dict[str, Any]:
    """What has become of an order."""
    return {"order": order, "detailed": detailed, "caller": call}


def place(call: Any, order: Order) -> str:
    return "x" * 2 * MOST_RESULT


def broken(call: Any) -> str:
    raise RuntimeError("no database at 10.0.0.1")


def untyped(call, order):
    return order


@pytest.fixture(autouse=True)
def shop(monkeypatch):
    module = types.ModuleType("shop_of_a_test")
    for function in (order_status, place, broken, untyped):
        setattr(module, function.__name__, function)
    module.price = 5  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)


class Holder:
    """Who holds the call."""

    def __init__(self) -> None:
        class Call:
            call_id = "a"

        self.call: Any = Call()


def use(toolbox: Toolbox, name: str, **arguments: object) -> Any:
    return asyncio.run(toolbox.use(Holder(), name, arguments))  # type: ignore[arg-type]


def test_a_function_tells_the_model_what_it_takes_by_its_signature():
    tool = function_tool("shop_of_a_test:order_status")
    assert (tool.name, tool.description) == ("order_status", "What has become of an order.")
    assert tool.parameters == {
        "type": "object",
        "properties": {"order": {"type": "string"}, "detailed": {"type": "boolean", "default": False}},
        "required": ["order"],
    }
    nested = function_tool("shop_of_a_test:place").parameters
    assert nested["properties"]["order"] == {"$ref": "#/$defs/Order"} and nested["$defs"]["Order"]["required"] == ["number", "items"]


def test_what_a_function_gives_is_told_in_json_and_text_as_it_is():
    toolbox = Toolbox(Settings(tools="shop_of_a_test:order_status, shop_of_a_test:place"), None)
    assert [d["name"] for d in toolbox.descriptions] == ["order_status", "place"]
    holder = Holder()
    holder.call = "+4930"
    told = asyncio.run(toolbox.use(holder, "order_status", {"order": "7"}))  # type: ignore[arg-type]
    assert json.loads(told) == {"order": "7", "detailed": False, "caller": "+4930"}
    assert len(use(toolbox, "place", order={"number": 1, "items": []})) < MOST_RESULT + 10


def test_what_goes_wrong_is_told_to_the_model_and_details_to_the_log_only(caplog):
    toolbox = Toolbox(Settings(tools="shop_of_a_test:order_status, shop_of_a_test:broken"), None)
    assert "the arguments are wrong: Expected `str`, got `int`" in use(toolbox, "order_status", order=7)
    assert use(toolbox, "nothing") == '{"error":"there is no tool nothing"}'
    assert use(toolbox, "broken") == '{"error":"it failed"}' and "no database at 10.0.0.1" in caplog.text


def test_tools_of_a_file_are_asked_for(tmp_path):
    file = tmp_path / "tools.json"
    file.write_text('[{"name": "weather", "description": "d", "parameters": {"type": "object", "properties": {"at": {"type": "string"}}}}]')

    async def ask(call: Any, name: str, arguments: Any) -> str:
        return f"{name} {arguments}"

    toolbox = Toolbox(Settings(tools_file=str(file)), ask)
    assert toolbox.descriptions[0]["parameters"]["properties"] == {"at": {"type": "string"}}
    assert use(toolbox, "weather", at="here") == "weather {'at': 'here'}"
    with pytest.raises(ConfigurationError, match="needs tools_url"):
        Toolbox(Settings(tools_file=str(file)), None)
    file.write_text("{}")
    with pytest.raises(ConfigurationError, match="is no JSON list of"):
        Toolbox(Settings(tools_file=str(file)), ask)


@pytest.mark.parametrize(
    ("tools", "reason"),
    [
        ("shop_of_a_test:untyped", "takes the call first, then what the model passes, each with its type"),
        ("shop_of_a_test:nothing", "has no function nothing"),
        ("shop_of_a_test:price", "has no function price"),
        ("nowhere_at_all:x", "loading nowhere_at_all failed: ModuleNotFoundError"),
        ("hang_up, hang_up", 'two tools named "hang_up"'),
        ("hangup", "there is no such tool"),
    ],
)
def test_tools_that_cannot_be_are_refused(tools, reason):
    with pytest.raises(ConfigurationError, match=reason):
        Toolbox(Settings(tools=tools), None)


def test_keys_that_no_telephone_has_are_not_pressed():
    toolbox = Toolbox(Settings(tools="press_keys"), None)
    assert json.loads(use(toolbox, "press_keys", keys="12x"))["done"] is False
