"""Frameworks and peers in environments of their own: their pins are not ours. Made once, beside our own, and kept."""

import os
import pathlib
import re
import shutil
import subprocess
import sys
from typing import NamedTuple

import pytest

ROOT = pathlib.Path(__file__).parent.parent
INSTALL_LIMIT_S = 300


def locked(*names: str) -> tuple[str, ...]:
    """Of ours, at the versions that we have."""
    versions = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / "requirements.lock").read_text(), re.M))
    return tuple(f"{name}=={versions[name]}" for name in names)


OURS = locked("aiohttp", "msgspec", "numba", "picows", "pyzmq")
"""What ai_bridge needs, for a framework's code that runs in it."""


class Environment(NamedTuple):
    name: str
    packages: tuple[str, ...]
    """Another version: change it here, and mend what the tests then say."""

    def python(self) -> str:
        """Its interpreter. Skips the test where it cannot be had; with BELLFRAME_REQUIRE_PEERS=1 fails it.

        BELLFRAME_PIPECAT and so on name an interpreter that has it already.
        """
        if given := os.environ.get(f"BELLFRAME_{self.name.upper()}"):
            return given
        home = ROOT / ".venv" / self.name
        python, made, wanted = home / "bin" / "python", home / "made", "\n".join(self.packages)
        if made.exists() and made.read_text() == wanted:
            return str(python)
        try:
            shutil.rmtree(home, ignore_errors=True)
            for command in ([sys.executable, "-m", "venv", str(home)], [str(python), "-m", "pip", "install", "-q", *self.packages]):
                subprocess.run(command, check=True, timeout=INSTALL_LIMIT_S, capture_output=True, text=True)
        except (subprocess.SubprocessError, OSError) as failure:
            return unavailable(f"{self.name} cannot be installed: {failure}\n{getattr(failure, 'stderr', '')}")
        made.write_text(wanted)
        return str(python)

    def run(self, module: str, *arguments: str) -> str:
        """What a module of ours prints there. It fails the test if it fails."""
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [self.python(), "-m", module, *arguments]
        done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, f"{done.stdout[-4_000:]}\n{done.stderr[-8_000:]}"
        return done.stdout


def unavailable(why: str) -> str:
    if os.environ.get("BELLFRAME_REQUIRE_PEERS") == "1":
        pytest.fail(why)
    pytest.skip(why)


PIPECAT = Environment("pipecat", ("pipecat-ai[websocket]==1.14.0", "uvicorn==0.54.0", "websockets==17.4", *OURS))
LIVEKIT = Environment("livekit", ("livekit-agents==1.8.9", *OURS))
SIPPY = Environment("sippy", ("sippy==2.5.0",))
