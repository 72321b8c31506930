"""A password that stays out of logs, reprs and listings: it is text only where somebody asks for the text."""


class Secret:
    __slots__ = ("_text",)

    def __init__(self, text: str = "") -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return "(hidden)" if self._text else "(none)"

    __str__ = __repr__


def decode_hook(kind: type, value: object) -> object:
    """For msgspec: a Secret is text in a file. Raises NotImplementedError for other types, as msgspec wants."""
    if kind is not Secret:
        raise NotImplementedError(f"{kind} is not read from a configuration")
    if not isinstance(value, str):
        raise ValueError("Expected `str`")  # msgspec adds the place
    return Secret(value)


def reveal_hook(value: object) -> object:
    """For msgspec, towards a file that only we may read."""
    if not isinstance(value, Secret):
        raise NotImplementedError(f"{type(value)} is not written to a configuration")
    return value.reveal()
