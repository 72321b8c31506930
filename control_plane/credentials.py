"""Keys of services elsewhere, by name: routes name a key, and never hold one. In order, the first that is there:

[keys] of the configuration, `openai = "..."`; a file of that name among the service's credentials (LoadCredential=);
the environment's OPENAI_API_KEY.
"""

import os
import pathlib
import re
from collections.abc import Mapping

from control_plane.errors import ConfigurationError
from control_plane.secret import Secret

NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")
"""Shorter than any key: a key that was written where its name belongs is not shown to anybody."""


class Credentials:
    def __init__(self, keys: Mapping[str, Secret] | None = None, environment: Mapping[str, str] | None = None) -> None:
        self._keys = keys or {}
        self._environment = os.environ if environment is None else environment

    def find(self, name: str, where: str) -> Secret:
        """`where`: the setting that names it. Raises ConfigurationError, without a key in it."""
        check_name(name, where)
        found = self._keys.get(name) or self._file(name) or Secret(self._environment.get(variable(name), ""))
        if not found:
            raise ConfigurationError(
                f'{where}: there is no key "{name}": write {name} = "..." under [keys], give the service LoadCredential={name}:FILE,'
                f" or set {variable(name)}"
            )
        return found

    def _file(self, name: str) -> Secret:
        folder = self._environment.get("CREDENTIALS_DIRECTORY", "")
        path = pathlib.Path(folder) / name
        if not folder or not path.is_file():
            return Secret()
        try:
            return Secret(path.read_text().strip())
        except (OSError, UnicodeDecodeError) as failure:
            raise ConfigurationError(f"the credential {name} cannot be read: {path}: {failure}") from None


def variable(name: str) -> str:
    return f"{name.upper().replace('-', '_')}_API_KEY"


def check_name(name: str, where: str) -> None:
    if not NAME.fullmatch(name):
        what = "this is no name of a key, which has lower case letters, digits, - and _"
        raise ConfigurationError(f"{where}: {what}: name one of [keys], and do not write the key itself here")
