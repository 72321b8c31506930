"""Headers of an INVITE as an agent reads them: names in any case (RFC 3261 7.3.1)."""

from typing import Any


class Headers(dict[str, str]):
    """What the far end wrote as X-Twilio-CallSid is found under that name, and under any other case of it."""

    def __getitem__(self, name: str) -> str:
        return super().__getitem__(_canonical(name))

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and super().__contains__(_canonical(name))

    def get(self, name: str, default: Any = None) -> Any:
        return super().get(_canonical(name), default)


def _canonical(name: str) -> str:
    """As the front writes them: each word with a capital."""
    return "-".join(word.capitalize() for word in name.split("-"))
