"""The rules of the house, read from the sources: who imports whom, and that tables name files that exist."""

import ast
import pathlib
import re
import subprocess
import sys
import tomllib

import pytest

from control_plane.command import COMMANDS
from control_plane.formats import FORMATS

ROOT = pathlib.Path(__file__).parent.parent
PACKAGES = ("sip_front", "media_workers", "ai_bridge", "shm", "control_plane")
ALLOWED = {
    "sip_front": {"control_plane"},
    "media_workers": {"control_plane", "shm"},
    "ai_bridge": {"control_plane", "shm"},
    "shm": set[str](),
    "control_plane": set[str](),
}
SHM_FOR_COMMANDS = {"shm", "shm.handover", "shm.counters", "shm.capture", "shm.layout"}
HEAVY = {"numba", "llvmlite", "aiortc", "matplotlib"}
SOURCES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
COMMAND_SOURCES = [path for path in SOURCES if path.is_relative_to(ROOT / "control_plane" / "commands")]
HTTP_SOURCES = [path for path in SOURCES if path.is_relative_to(ROOT / "control_plane" / "http")]
LOOKING_SOURCES = COMMAND_SOURCES + HTTP_SOURCES
"""Whoever shows figures reads them from shared memory, so that the workers do nothing for it."""


def imports_of(path: pathlib.Path, is_at_start: bool = False) -> set[str]:
    """The modules that a file names, in full: `from shm import handover` gives shm and shm.handover.

    With `is_at_start`, only those that are loaded together with it, not those within functions or for types only.
    """
    tree = ast.parse(path.read_text(), str(path))
    inside = {id(node) for part in ast.walk(tree) if is_at_start and _is_later(part) for node in ast.walk(part)}
    found: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in inside:
            continue
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are written in full"
            found |= {str(node.module)} | {f"{node.module}.{name.name}" for name in node.names}
    return found


def _is_later(node: ast.AST) -> bool:
    is_for_types = isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    return is_for_types or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)


def name(path: pathlib.Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_imports_point_down_only(path: pathlib.Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    ours = {module.split(".")[0] for module in imports_of(path)} & {*PACKAGES, "bench", "tests"}
    allowed = ALLOWED[package] | {package} | ({"shm"} if path in LOOKING_SOURCES else set())
    assert ours <= allowed, f"{name(path)} may not import {', '.join(sorted(ours - allowed))}"


@pytest.mark.parametrize("path", LOOKING_SOURCES, ids=name)
def test_commands_read_figures_from_shared_memory_and_nothing_else(path: pathlib.Path) -> None:
    modules = {module for module in imports_of(path) if module.split(".")[0] == "shm"}
    assert {module for module in modules if ".".join(module.split(".")[:2]) not in SHM_FOR_COMMANDS} == set()


@pytest.mark.parametrize("path", [p for p in SOURCES if p.relative_to(ROOT).parts[0] in ("sip_front", "control_plane")], ids=name)
def test_front_and_command_load_nothing_heavy(path: pathlib.Path) -> None:
    assert {module.split(".")[0] for module in imports_of(path, is_at_start=True)} & HEAVY == set()


LIGHT = ["control_plane.command", *(row[0] for row in COMMANDS.values()), "shm.handover", "sip_front", "control_plane.http.process"]


@pytest.mark.parametrize("module", LIGHT)
def test_what_must_feel_instant_brings_no_compiler(module: str) -> None:
    script = f"import {module}, sys; print(sorted({HEAVY!r} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert (found.stdout.strip(), found.stderr) == ("[]", "")


def test_every_row_of_a_table_has_its_file() -> None:
    modules = [row[0] for row in COMMANDS.values()] + [audio_format.kernels for audio_format in FORMATS.values()]
    assert [module for module in modules if not (ROOT / f"{module.replace('.', '/')}.py").is_file()] == []


@pytest.mark.parametrize("path", COMMAND_SOURCES, ids=name)
def test_a_command_can_be_asked_for_and_run(path: pathlib.Path) -> None:
    functions = {node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)}
    is_command = f"control_plane.commands.{path.stem}" in {row[0] for row in COMMANDS.values()}
    assert not is_command or {"add_arguments", "run"} <= functions


def tracked_texts() -> list[pathlib.Path]:
    """What belongs to the project: what git knows or would add; in a copy without git, the folders."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode == 0:
        paths = [ROOT / line for line in listed.stdout.splitlines()]
    else:
        paths = [*SOURCES, *ROOT.glob("*.md"), *ROOT.glob("*.lock"), *(ROOT / "tests").rglob("*.py")]
    binary = (".wav", ".png", ".svg", ".pcap", ".npz")
    return [path for path in paths if path.is_file() and path.suffix not in binary]


def test_no_file_names_a_place_of_one_machine() -> None:
    # Put together here, so that this file does not name what it looks for.
    homes = re.compile("/(?:ho" + r"me|Use" + r"rs)/[a-z]\w+|" + re.escape(str(ROOT) if len(ROOT.parts) > 2 else "//none//") + r"\b")
    assert [name(path) for path in tracked_texts() if homes.search(path.read_text(errors="replace"))] == []


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-test.lock"])
def test_lock_files_hold_names_versions_and_hashes_only(lock: str) -> None:
    for line in (ROOT / lock).read_text().splitlines():
        assert re.fullmatch(r"[a-z0-9-]+==[\w.+]+( ; [\w .<>=!'()]+)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?", line), line


def test_the_locks_name_every_direct_dependency_and_agree() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    texts = [(ROOT / lock).read_text() for lock in ("requirements.lock", "requirements-test.lock")]
    run, test = (dict(re.findall(r"^([a-z0-9-]+)==(\S+)", text, re.M)) for text in texts)
    wanted = {re.split(r"[<>=]", text)[0] for text in project["dependencies"] + extras["agent"] + extras["opus"] + extras["build"]}
    assert wanted <= set(run)
    assert {re.split(r"[<>=]", text)[0] for text in extras["test"]} <= set(test)
    assert {package: version for package, version in run.items() if test.get(package) != version} == {}
