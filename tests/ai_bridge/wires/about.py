"""A call, as a wire is told of it."""

import datetime
import json
from typing import Any

from ai_bridge.arguments import read
from ai_bridge.wires.options import Options
from ai_bridge.wires.wire import About

URL = "wss://bot.example/media?b=2&a=1"
NOON = datetime.datetime(2026, 1, 2, 12, 0, tzinfo=datetime.UTC)


def about(**arguments: str) -> About:
    given, left = read(Options, arguments)
    return About("a1", "+4930123", "100", "inbound", left, given, URL, lambda: NOON)


def told(messages: Any) -> list[Any]:
    return [json.loads(message) for message in messages]
