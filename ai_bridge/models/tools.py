"""What a model may do in a call: the built-in tools, functions of the operator's own, and a URL that is asked.

A tool that fails tells the model so, in words, and the call goes on. Nothing here trusts the model: callers talk
models into things. It transfers to named places only, and what it passes is checked against the tool's signature.
"""

import asyncio
import importlib
import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple, Protocol

import msgspec

from ai_bridge.call import Call
from ai_bridge.models.settings import Settings, text_of
from control_plane.dtmf import why_not_keys
from control_plane.errors import ConfigurationError

log = logging.getLogger(__name__)

TOOL_SECONDS = 30.0
TRANSFER_SECONDS = 180.0
"""Phones ring for long."""
MOST_RESULT = 32_000
"""Characters of what a tool tells the model."""
Arguments = Mapping[str, Any]


class Doer(Protocol):
    """Whoever holds the call."""

    call: Call

    async def said(self) -> None:
        """Until the caller has heard what was said so far."""

    async def part(self, cause: str) -> None:
        """Until the last words are heard; then the call ends."""


class Tool(NamedTuple):
    name: str
    description: str
    parameters: dict[str, Any]
    run: Callable[[Doer, Arguments], Awaitable[object]]
    limit_s: float = TOOL_SECONDS


async def hang_up(doer: Doer, arguments: Arguments) -> object:
    await doer.part(f"the model hung up: {str(arguments.get('reason') or 'it gives no reason')[:200]}")
    return "the call has ended"


async def press_keys(doer: Doer, arguments: Arguments) -> object:
    keys = str(arguments.get("keys", ""))
    why_not = why_not_keys(keys)
    if why_not:
        return {"done": False, "why": why_not}
    await doer.said()
    return {"done": await doer.call.press(keys)}


def transfer_among(places: Mapping[str, str]) -> Tool:
    async def transfer(doer: Doer, arguments: Arguments) -> object:
        to = places.get(str(arguments.get("to", "")))
        if to is None:
            return {"done": False, "why": f"there is no such place; there are {', '.join(places)}"}
        await doer.said()
        outcome = await doer.call.transfer(to)
        return {"done": outcome.was_accepted, "why": outcome.why}

    return Tool(
        "transfer",
        "Put the caller through to somebody else. Say that you do before. If it succeeds, your part ends.",
        schema(to={"type": "string", "enum": list(places)}),
        transfer,
        TRANSFER_SECONDS,
    )


def schema(**properties: object) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


BUILT_IN = {
    tool.name: tool
    for tool in (
        Tool(
            "hang_up",
            "End the call. Say goodbye before, in the same turn: what you said is heard to its end.",
            schema(reason={"type": "string", "description": "in a few words, for the log"}),
            hang_up,
        ),
        Tool(
            "press_keys",
            "Press keys of the telephone, to use a menu that answers by voice.",
            schema(keys={"type": "string", "description": "0-9, *, #, A-D; a comma waits half a second"}),
            press_keys,
        ),
    )
}


class Toolbox:
    """The tools of one route."""

    def __init__(self, settings: Settings, ask: "Callable[[Call, str, Arguments], Awaitable[str]] | None") -> None:
        """`ask` does the tools of `tools_file`. Raises ConfigurationError."""
        self.tools: dict[str, Tool] = {}
        for name in split(settings.tools):
            self._add(self._named(name, settings))
        for described in told_in_file(settings.tools_file) if settings.tools_file else ():
            if ask is None:
                raise ConfigurationError("the route's arguments: tools_file needs tools_url, which does what it describes")
            self._add(asked(described, ask))

    def _named(self, name: str, settings: Settings) -> Tool:
        if name == "transfer":
            return transfer_among(places_of(settings.transfer_to))
        if name in BUILT_IN:
            return BUILT_IN[name]
        return function_tool(name)

    def _add(self, tool: Tool) -> None:
        if tool.name in self.tools:
            raise ConfigurationError(f'the route\'s arguments: there are two tools named "{tool.name}"')
        self.tools[tool.name] = tool

    @property
    def descriptions(self) -> list[dict[str, Any]]:
        return [{"name": t.name, "description": t.description, "parameters": t.parameters} for t in self.tools.values()]

    async def use(self, doer: Doer, name: str, arguments: Arguments) -> str:
        """What the model is told of it, whatever happens."""
        tool = self.tools.get(name)
        if tool is None:
            return words({"error": f"there is no tool {name[:64]}"})
        try:
            async with asyncio.timeout(tool.limit_s):
                return words(await tool.run(doer, arguments))
        except TimeoutError:
            log.warning("the tool %s took more than %g s", name, tool.limit_s, extra={"call_id": doer.call.call_id})
            return words({"error": "it took too long"})
        except Exception as failure:
            is_ours = isinstance(failure, ToolFailed)
            trace = None if is_ours else failure
            log.warning("the tool %s failed: %s", name, failure, exc_info=trace, extra={"call_id": doer.call.call_id})
            return words({"error": str(failure) if is_ours else "it failed"})


class ToolFailed(Exception):
    """The text is for the model."""


def words(result: object) -> str:
    text = result if isinstance(result, str) else msgspec.json.encode(result).decode()
    return text if len(text) <= MOST_RESULT else f"{text[:MOST_RESULT]}..."


def split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def places_of(text: str) -> dict[str, str]:
    places: dict[str, str] = {}
    for part in split(text):
        name, _, to = (piece.strip() for piece in part.partition("="))
        if not name or not to:
            raise ConfigurationError(f'the route\'s arguments: transfer_to: "{part}" is not NAME = SIP URI or number')
        places[name] = to
    if not places:
        raise ConfigurationError("the route's arguments: the tool transfer needs transfer_to, such as desk = sip:desk@pbx.example")
    return places


def told_in_file(path: str) -> list[Tool]:
    class Described(msgspec.Struct):
        name: str
        description: str = ""
        parameters: dict[str, Any] = msgspec.field(default_factory=lambda: {"type": "object", "properties": {}})

    try:
        found = msgspec.json.decode(text_of(path, "tools_file"), type=list[Described])
    except msgspec.DecodeError as failure:
        what = "is no JSON list of {name, description, parameters}"
        raise ConfigurationError(f"the route's arguments: tools_file: {path} {what}: {failure}") from None

    async def nobody(doer: Doer, arguments: Arguments) -> object:
        raise ToolFailed("nobody does this")

    return [Tool(d.name, d.description, d.parameters, nobody) for d in found]


def asked(described: Tool, ask: Callable[[Call, str, Arguments], Awaitable[str]]) -> Tool:
    async def run(doer: Doer, arguments: Arguments) -> object:
        return await ask(doer.call, described.name, arguments)

    return described._replace(run=run)


def function_tool(reference: str) -> Tool:
    """MODULE:FUNCTION. Its name, docstring and annotations are what the model is told. Raises ConfigurationError."""
    where = f'the route\'s arguments: tools: "{reference}"'
    module_name, colon, name = reference.partition(":")
    if not colon:
        there = ", ".join((*BUILT_IN, "transfer"))
        raise ConfigurationError(f"{where}: there is no such tool; there are {there}, and your own are named MODULE:FUNCTION")
    try:
        function = getattr(importlib.import_module(module_name), name, None)
    except Exception as failure:
        raise ConfigurationError(f"{where}: loading {module_name} failed: {type(failure).__name__}: {failure}") from failure
    if not inspect.isfunction(function):
        raise ConfigurationError(f"{where}: {module_name} has no function {name}")
    taken = list(inspect.signature(function, eval_str=True).parameters.values())
    if not taken or any(p.annotation is p.empty for p in taken[1:]) or any(p.kind is not p.POSITIONAL_OR_KEYWORD for p in taken):
        raise ConfigurationError(f"{where}: it takes the call first, then what the model passes, each with its type: (call, order: str)")
    fields = [(p.name, p.annotation) if p.default is p.empty else (p.name, p.annotation, p.default) for p in taken[1:]]
    try:
        passed = msgspec.defstruct(name, fields, kw_only=True)
        _, parts = msgspec.json.schema_components([passed], ref_template="#/$defs/{name}")
    except TypeError as failure:
        raise ConfigurationError(f"{where}: {failure}") from None
    parameters = {key: value for key, value in parts.pop(name).items() if key != "title"}

    async def run(doer: Doer, arguments: Arguments) -> object:
        try:
            checked = msgspec.convert(arguments, passed)
        except msgspec.ValidationError as failure:
            raise ToolFailed(f"the arguments are wrong: {failure}") from None
        answer = function(doer.call, **{field: getattr(checked, field) for field in passed.__struct_fields__})
        return await answer if inspect.isawaitable(answer) else answer

    return Tool(name, inspect.getdoc(function) or "", {**parameters, **({"$defs": parts} if parts else {})}, run)
