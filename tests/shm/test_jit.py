"""Where machine code is kept, and when it is made anew."""

import os
import pathlib
import shutil
import subprocess
import sys

import numba
import numpy as np
import pytest

from shm import jit, layout, ring
from shm.jit import cache_directory

ROOT = pathlib.Path(jit.__file__).parent.parent


@pytest.fixture(name="tree")
def _tree(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """A copy of the sources that hold kernels, which a test may change."""
    root = pathlib.Path(jit.__file__).parent.parent
    for folder in ("shm", "media_workers"):
        shutil.copytree(root / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(jit, "__file__", str(tmp_path / "shm" / "jit.py"))
    return tmp_path


def append(path: pathlib.Path, line: str) -> None:
    path.write_text(path.read_text() + line)


def test_a_changed_kernel_of_any_file_gets_a_new_folder(tree: pathlib.Path) -> None:
    before = cache_directory()
    assert cache_directory() == before
    append(tree / "media_workers" / "rtp.py", "# changed\n")
    assert cache_directory() != before


def test_a_changed_layout_gets_a_new_folder_though_it_holds_no_kernel(tree: pathlib.Path) -> None:
    before = cache_directory()
    append(tree / "shm" / "layout.py", "# changed\n")
    assert cache_directory() != before


def test_a_file_without_kernels_does_not_compile_anything_anew(tree: pathlib.Path) -> None:
    before = cache_directory()
    (tree / "media_workers" / "notes.py").write_text("TEXT = 'nothing compiled here'\n")
    assert cache_directory() == before


def test_the_service_managers_cache_directory_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/srv/xdg")
    monkeypatch.delenv("CACHE_DIRECTORY", raising=False)
    assert cache_directory().parent == pathlib.Path("/srv/xdg/bellframe")
    monkeypatch.setenv("CACHE_DIRECTORY", "/srv/first:/srv/second")
    assert cache_directory().parent == pathlib.Path("/srv/first")


def test_kernels_are_kept_there_whoever_loaded_numba_first() -> None:
    """Beside the sources they would outlive a change in what they call."""
    code = "import numba; from shm import ring, jit; print(numba.config.CACHE_DIR == str(jit.cache_directory()))"
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=ROOT, check=True)
    assert result.stdout == "True\n"


@pytest.mark.skipif(not jit.IS_COMPILED, reason="kernels are interpreted")
def test_kernels_are_without_the_gil_and_exact() -> None:
    options = ring.publish.targetoptions
    assert (options["nogil"], options["error_model"], options["_nrt"]) == (True, "numpy", False)
    assert not options.get("fastmath") and not options.get("parallel")


LOAD = """
import sys
import numpy as np
from shm import doorbell, layout
rings = layout.rings_format(bytearray(layout.rings_bytes(1)), 1)
doorbell.wake_up(rings.bells, 0)
print(doorbell.must_ring(rings.bells, 0), "numba.np.linalg" in sys.modules)
"""


@pytest.mark.skipif(not jit.IS_COMPILED, reason="kernels are interpreted")
def test_a_kernel_that_is_kept_is_loaded_without_the_compilers_tables(tmp_path: pathlib.Path) -> None:
    """They take a third of a second and sixteen megabytes in every process that calls kernels."""
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    environment["CACHE_DIRECTORY"] = str(tmp_path)
    command = [sys.executable, "-c", LOAD]
    said = [subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT, check=True).stdout for _ in range(2)]
    assert said == ["False True\n", "False False\n"]


@pytest.mark.skipif(not jit.IS_COMPILED, reason="kernels are interpreted")
def test_a_kernel_is_compiled_with_one_that_was_loaded(tmp_path: pathlib.Path) -> None:
    """What was left out of memory when it was loaded is read then."""
    kernel = "@njit\ndef call(bells):\n    return doorbell.must_ring(bells, 0)\n"
    calling = f"{LOAD}\nfrom shm.jit import njit\n{kernel}\nprint(call(rings.bells))\n"
    script = tmp_path / "calling.py"
    script.write_text(calling)
    environment = os.environ | {"CACHE_DIRECTORY": str(tmp_path), "PYTHONPATH": str(ROOT)}
    environment.pop("NUMBA_CACHE_DIR", None)
    for source, said in ((LOAD, "False True\n"), (calling, "False False\nFalse\n")):
        script.write_text(source)
        result = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, env=environment, cwd=ROOT, check=True)
        assert result.stdout == said


@pytest.mark.skipif(not jit.IS_COMPILED, reason="kernels are interpreted")
def test_the_name_of_a_kernel_does_not_spell_its_memory_out() -> None:
    """numba's own names of what takes a tuple of tables are 20 kB long, and there are hundreds."""
    rings = layout.rings_format(bytearray(layout.rings_bytes(1)), 1)
    name, arguments = numba.typeof(rings).mangling_args
    assert name.startswith("Rings_") and len(name) < 32 and arguments == ()
    other = layout.rings_format(bytearray(layout.rings_bytes(1)), 1)
    assert numba.typeof(other).mangling_args == (name, arguments) != numba.typeof(rings._replace(bells=np.zeros(1))).mangling_args


def test_compiling_apart_is_done_once_for_a_state_of_the_sources(
    tree: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CACHE_DIRECTORY", str(tmp_path / "cache"))
    monkeypatch.setattr(jit, "IS_COMPILED", True)
    asked: list[list[str]] = []
    monkeypatch.setattr(jit.subprocess, "run", lambda command, **_: asked.append(command))
    for _ in range(3):
        jit.compile_apart("media_workers.warm_up")
    assert asked == [[sys.executable, "-m", "media_workers.warm_up"]]
    append(tree / "media_workers" / "rtp.py", "# changed\n")
    jit.compile_apart("media_workers.warm_up")
    assert len(asked) == 2


def test_compiling_apart_that_fails_is_tried_again(tree: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CACHE_DIRECTORY", str(tmp_path / "cache"))
    monkeypatch.setattr(jit, "IS_COMPILED", True)
    for _ in range(2):
        with pytest.raises(subprocess.CalledProcessError):
            jit.compile_apart("nothing_of_this_name")
