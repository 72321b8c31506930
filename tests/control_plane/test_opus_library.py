"""Where libopus is looked for."""

import pathlib
import subprocess
import sys

import pytest

from control_plane import opus_library
from control_plane.errors import ConfigurationError
from control_plane.formats import check_names


def test_it_is_found_without_importing_av() -> None:
    script = "from control_plane import opus_library; import sys; print(opus_library.find()); print('av' in sys.modules)"
    path, is_imported = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout.split("\n")[:2]
    assert is_imported == "False" and (not path or path == opus_library.SYSTEM_NAME or pathlib.Path(path).is_file())


def test_a_configuration_that_wants_it_where_it_is_not_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opus_library, "find", lambda: "")
    check_names(("PCMU", "G722"), "media.formats")
    with pytest.raises(ConfigurationError, match=r"media\.formats: OPUS needs libopus: pip install"):
        check_names(("PCMU", "OPUS"), "media.formats")
