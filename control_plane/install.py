"""What makes this machine run Bellframe under systemd, as a list of steps. Each knows whether it is done, and how to undo it.

What a person may have changed is theirs: a configuration that is there is kept, and undoing leaves one that was edited.
"""

import os
import pathlib
import pwd
import shutil
import subprocess
import sys
from collections.abc import Callable
from typing import NamedTuple

from control_plane import config
from control_plane.errors import BellframeError, ConfigurationError

USER = "bellframe"
ETC, UNITS = pathlib.Path("etc/bellframe"), pathlib.Path("etc/systemd/system")
CONFIGURATION = ETC / "bellframe.toml"
FIRST_CONFIGURATION = """\
# `bellframe check /etc/bellframe/bellframe.toml` says whether this is right; then `systemctl restart bellframe-front`.
# Every setting, with its trade-off: docs/operations.md.

[sip]
listen = "0.0.0.0:5060"
allow = ["127.0.0.0/8"]        # add your trunk's networks; everybody else gets 403
# public_address = "198.51.100.7"    # only behind NAT

[bridge]
modules = "/etc/bellframe/agents"    # your agents: MODULE.py with a class, named as MODULE:CLASS in a route

[[routes]]
agent = "menu"
"""
SHIPPED_PREFIX = "/opt/bellframe"


class Step(NamedTuple):
    what: str
    is_done: Callable[[], bool]
    do: Callable[[], object]
    undo: Callable[[], object]
    """Must do nothing where there is nothing to undo."""


def plan(root: pathlib.Path, prefix: pathlib.Path) -> list[Step]:
    """The steps in order. `root` other than / stages the files only, for packages; `prefix`: the environment that runs Bellframe.

    Raises BellframeError if the units are not where the installation puts them.
    """
    steps = [
        _folder(root / ETC),
        _folder(root / ETC / "agents"),
        _file(root / CONFIGURATION, FIRST_CONFIGURATION, is_theirs=True),
    ]
    steps += [_file(root / UNITS / unit.name, with_prefix(unit.read_text(), prefix)) for unit in shipped_units(prefix)]
    steps.append(_file(root / UNITS / "bellframe.target.d" / "bridges.conf", wanted_bridges(root / CONFIGURATION)))
    if root == pathlib.Path("/"):
        steps = [_user(), *steps, _systemctl()]
    return steps


def shipped_units(prefix: pathlib.Path) -> list[pathlib.Path]:
    """Of a wheel, or of the tree that an editable installation runs from."""
    for folder in (prefix / "lib/systemd/system", pathlib.Path(__file__).parent.parent / "systemd"):
        found = sorted(folder.glob("bellframe*"))
        if found:
            return found
    raise BellframeError(f"the units are not in {prefix}/lib/systemd/system: install Bellframe anew with pip")


def with_prefix(unit: str, prefix: pathlib.Path) -> str:
    return unit.replace(SHIPPED_PREFIX, str(prefix))


def wanted_bridges(file: pathlib.Path) -> str:
    """The target starts as many agent processes as the configuration has."""
    try:
        count = config.load(file).bridge.processes if file.exists() else 1
    except ConfigurationError:
        count = 1  # `bellframe check` says what is wrong; the units are written all the same
    return "[Unit]\nWants=" + " ".join(f"bellframe-bridge@{i}.service" for i in range(count)) + "\n"


def _folder(path: pathlib.Path) -> Step:
    def undo() -> None:
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()

    return Step(f"folder {path}", path.is_dir, lambda: path.mkdir(parents=True, mode=0o755), undo)


def _file(path: pathlib.Path, text: str, *, is_theirs: bool = False) -> Step:
    """`is_theirs`: written once, and then the operator's."""

    def is_same() -> bool:
        return path.is_file() and path.read_text() == text

    def do() -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.new")
        fresh.write_text(text)
        fresh.chmod(0o644)
        fresh.replace(path)

    def undo() -> None:
        if is_same() or (path.exists() and not is_theirs):
            path.unlink()
        if path.parent.name.endswith(".d") and path.parent.is_dir() and not any(path.parent.iterdir()):
            path.parent.rmdir()

    return Step(f"file {path}", path.exists if is_theirs else is_same, do, undo)


def _user() -> Step:
    def is_there() -> bool:
        try:
            pwd.getpwnam(USER)
            return True
        except KeyError:
            return False

    create = ("useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin", USER)
    def undo() -> None:
        if is_there():
            _run("userdel", USER)

    return Step(f"user {USER}", is_there, lambda: _run(*create), undo)


def _systemctl() -> Step:
    def is_enabled() -> bool:
        asked = subprocess.run(("systemctl", "is-enabled", "--quiet", "bellframe.target"), capture_output=True)
        return asked.returncode == 0

    def do() -> None:
        _run("systemctl", "daemon-reload")
        _run("systemctl", "enable", "bellframe.target")

    def undo() -> None:
        if is_enabled():
            _run("systemctl", "disable", "--now", "bellframe.target")

    return Step("start with the machine (systemctl enable bellframe.target)", is_enabled, do, undo)


def _run(*command: str) -> None:
    """Raises BellframeError with what the program said."""
    if not shutil.which(command[0]):
        raise BellframeError(f"{command[0]} is not on the path: run this as root on a machine with systemd, or stage files with --root DIR")
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise BellframeError(f"{' '.join(command)}: {done.stderr.strip() or f'exit code {done.returncode}'}")


def may_change(root: pathlib.Path) -> bool:
    return os.access(root / "etc" if (root / "etc").exists() else root, os.W_OK)


def environment() -> pathlib.Path:
    """Where this Bellframe runs from, as the units will."""
    return pathlib.Path(sys.prefix)
