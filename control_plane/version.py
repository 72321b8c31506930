"""Which release this is."""

import functools
import pathlib
import tomllib
from importlib import metadata

PROJECT = pathlib.Path(__file__).parent.parent / "pyproject.toml"


@functools.cache
def version() -> str:
    """Of the package that is installed; of the tree that it runs from, if it never was."""
    try:
        return metadata.version("bellframe")
    except metadata.PackageNotFoundError:
        return f"{tomllib.loads(PROJECT.read_text())['project']['version']} (not installed)" if PROJECT.is_file() else "unknown"
