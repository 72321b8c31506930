"""Pipecat in an environment of its own: its pins are not ours. Made once, beside our own, and kept."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from tests.system.server import ROOT

PACKAGES = ("pipecat-ai[websocket]==1.14.0", "uvicorn==0.54.0", "websockets==17.4")
"""Half a gigabyte. Another version: change it here, and mend what the tests then say."""
HOME = ROOT / ".venv" / "pipecat"
INSTALL_LIMIT_S = 300


def pipecat_python() -> str:
    """Its interpreter. Skips the test where it cannot be had; with BELLFRAME_REQUIRE_PEERS=1 fails it.

    BELLFRAME_PIPECAT names an interpreter that has it already.
    """
    if given := os.environ.get("BELLFRAME_PIPECAT"):
        return given
    python, made = HOME / "bin" / "python", HOME / "made"
    if made.exists() and made.read_text() == "\n".join(PACKAGES):
        return str(python)
    try:
        shutil.rmtree(HOME, ignore_errors=True)
        for command in ([sys.executable, "-m", "venv", str(HOME)], [str(python), "-m", "pip", "install", "--quiet", *PACKAGES]):
            subprocess.run(command, check=True, timeout=INSTALL_LIMIT_S, capture_output=True, text=True)
    except (subprocess.SubprocessError, OSError) as failure:
        return unavailable(f"Pipecat cannot be installed: {failure}\n{getattr(failure, 'stderr', '')}")
    made.write_text("\n".join(PACKAGES))
    return str(python)


def unavailable(why: str) -> str:
    if os.environ.get("BELLFRAME_REQUIRE_PEERS") == "1":
        pytest.fail(why)
    pytest.skip(why)


def script() -> pathlib.Path:
    return pathlib.Path(__file__).parent / "bot.py"
