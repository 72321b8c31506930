"""Which release this is, installed or not."""

from importlib import metadata

import pytest

from control_plane import version


def test_a_tree_that_was_never_installed_knows_its_release(monkeypatch: pytest.MonkeyPatch) -> None:
    def is_missing(_name: str) -> str:
        raise metadata.PackageNotFoundError

    monkeypatch.setattr(metadata, "version", is_missing)
    version.version.cache_clear()
    assert version.version().endswith("(not installed)") and version.version()[0].isdecimal()
    version.version.cache_clear()


def test_a_package_that_is_installed_counts_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", lambda _name: "9.9")
    version.version.cache_clear()
    assert version.version() == "9.9"
    version.version.cache_clear()
