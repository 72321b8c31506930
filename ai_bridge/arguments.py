"""What a route's arguments say of its agent: a struct of ours is filled, and what is left is for the agent itself."""

from collections.abc import Mapping
from typing import ClassVar, TypeVar

import msgspec

from control_plane.errors import ConfigurationError


class Arguments(msgspec.Struct, frozen=True):
    LIMITS: ClassVar[tuple[tuple[str, float, float], ...]] = ()
    """Name, from, to: of the numbers."""


A = TypeVar("A", bound=Arguments)


def read(kind: type[A], arguments: Mapping[str, str]) -> tuple[A, dict[str, str]]:
    """Those of this kind, and what is left. Raises ConfigurationError with what is wrong."""
    ours = {name: value for name, value in arguments.items() if name in kind.__struct_fields__}
    try:
        made = msgspec.convert(ours, kind, strict=False)
    except msgspec.ValidationError as failure:
        raise ConfigurationError(f"the route's arguments: {failure}".replace("$.", "")) from None
    for name, low, high in kind.LIMITS:
        if not low <= getattr(made, name) <= high:  # nor is nan
            raise ConfigurationError(f"the route's arguments: {name} is {getattr(made, name)}, not from {low:g} to {high:g}")
    return made, {name: value for name, value in arguments.items() if name not in ours}
