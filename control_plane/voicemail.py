"""A message that a caller left: what the JSON file beside its WAV file holds."""

import pathlib

import msgspec


class Message(msgspec.Struct, frozen=True):
    file: str
    """The WAV file, in the same folder."""
    call_id: str
    caller: str
    callee: str
    at: int
    """When it ended, in seconds since 1970."""
    seconds: float
    why: str
    """What ended it."""


def messages(folder: pathlib.Path) -> list[Message]:
    """Newest first. A file that holds something else is passed over. Raises OSError."""
    found = []
    for path in folder.iterdir():
        if path.suffix == ".json":
            try:
                found.append(msgspec.json.decode(path.read_bytes(), type=Message))
            except msgspec.DecodeError:
                continue
    return sorted(found, key=lambda message: (message.at, message.file), reverse=True)
