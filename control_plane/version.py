"""Which release this is."""

import functools
import pathlib

PROJECT = pathlib.Path(__file__).parent.parent / "pyproject.toml"


@functools.cache
def version() -> str:
    """Of the package that is installed; of the tree that it runs from, if it never was."""
    import tomllib
    from importlib import metadata  # not at every start: after a crash, calls wait for the front to be there

    try:
        return metadata.version("bellframe")
    except metadata.PackageNotFoundError:
        return f"{tomllib.loads(PROJECT.read_text())['project']['version']} (not installed)" if PROJECT.is_file() else "unknown"
