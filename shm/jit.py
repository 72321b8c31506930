"""The one place that compiles: what `njit` means here, and where compiled kernels are kept.

numba's cache looks at the file of the kernel only, so a change in a callee of another file would leave
stale machine code behind. The cache folder therefore carries a hash of every source that holds kernels,
of the versions, and of the processor. `NUMBA_DISABLE_JIT=1` runs the same code interpreted.
"""

import hashlib
import os
import pathlib
import platform
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from typing import Any

import llvmlite.binding
import numba
from numba.core.caching import FunctionCache
from numba.core.codegen import JITCodeLibrary, JITCPUCodegen
from numba.core.types.containers import NamedTuple

KERNEL_FOLDERS = ("shm", "media_workers", "ai_bridge", "bench")


def cache_directory() -> pathlib.Path:
    """Where machine code is kept: systemd's CACHE_DIRECTORY, or the user's cache; one folder per tree and state of its sources."""
    root = pathlib.Path(__file__).parent.parent
    digest = hashlib.sha256(str(root).encode())  # numba keeps machine code by the path of its source
    for folder in KERNEL_FOLDERS:
        for source in sorted((root / folder).rglob("*.py")):
            text = source.read_bytes()
            if b"njit" in text or b"intrinsic" in text or folder == "shm":
                digest.update(source.relative_to(root).as_posix().encode() + text)
    for package in ("numba", "numpy", "llvmlite"):
        digest.update(f"{package} {metadata.version(package)}".encode())
    digest.update(platform.platform().encode())
    given = os.environ.get("CACHE_DIRECTORY", "").split(":")[0]
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return pathlib.Path(given or f"{home}/bellframe") / f"kernels-{digest.hexdigest()[:16]}"


if "NUMBA_CACHE_DIR" not in os.environ:
    # Not by the environment: numba reads that when it is first imported, which may have been before this line.
    numba.config.CACHE_DIR = str(cache_directory())

IS_COMPILED = not numba.config.DISABLE_JIT

OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "_nrt": False}
"""Compiled without the GIL. No fast-math, no parallel: a kernel must give the same bits everywhere."""


def _short_name(self: NamedTuple) -> tuple[str, tuple[()]]:
    """What stands for a tuple type in the names of kernels: the same in every process."""
    return f"{self.instance_class.__name__}_{hashlib.sha256(self.name.encode()).hexdigest()[:16]}", ()


# numba spells every field of every record out, in the name of every kernel that takes the tuple: 20 kB a name for our
# workers, many megabytes of nothing else in each process, and minutes of the compiler.
NamedTuple.mangling_args = property(_short_name)


class Kernel(JITCodeLibrary):  # type: ignore[misc] # numba has no types
    """Machine code from the cache. Its bitcode, several times as large, is read when another kernel is compiled with it, and not before."""

    read_bitcode: Callable[[], bytes] | None = None
    _shared_module: Any

    @classmethod
    def _unserialize(cls, codegen: Any, state: Any) -> Any:
        name, _, (machine_code, read_bitcode) = state
        kernel = codegen.create_library(name)
        kernel.enable_object_caching()
        kernel._set_compiled_object(machine_code)
        kernel.read_bitcode = read_bitcode
        kernel._finalize_final_module()
        return kernel

    def _get_module_for_linking(self) -> Any:
        if self._shared_module is None and self.read_bitcode is not None:
            self._shared_module = llvmlite.binding.parse_bitcode(self.read_bitcode())
        return super()._get_module_for_linking()


JITCPUCodegen._library_class = Kernel


class MachineCode(FunctionCache):  # type: ignore[misc] # numba has no types
    """numba's cache, which leaves the compiler asleep when there is nothing to compile.

    numba fills the compiler's tables before it looks into the cache, and parses what only a compiler needs: 16 MB and 0.3 s
    that a process whose kernels are all there has no use for. A kernel that is not there fills them when it is compiled.
    """

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        with self._guard_against_spurious_io_errors():
            return self._load_overload(sig, target_context)

    def _load_overload(self, sig: Any, target_context: Any) -> Any:
        codegen = target_context.codegen()
        key = self._index_key(sig, codegen)
        stored = self._cache_file.load(key)
        if stored is None:
            return None
        (name, kind, (machine_code, _)), described, environment, signature, is_object_mode, lifted, _, *rest = stored
        codegen._engine._defined_symbols |= {
            described.mangled_name, described.llvm_cpython_wrapper_name, described.llvm_cfunc_wrapper_name
        }  # fmt: skip
        library = name, kind, (machine_code, lambda: self._cache_file.load(key)[0][2][1])
        annotation = ""  # for people who inspect types; megabytes of it
        return self._impl.rebuild(
            target_context, (library, described, environment, signature, is_object_mode, lifted, annotation, *rest)
        )


def njit(function: Callable[..., Any]) -> Any:
    """A kernel: compiled when it is first called, or loaded from `cache_directory` if that was done before."""
    kernel = numba.njit(**OPTIONS)(function)
    if IS_COMPILED:
        kernel._cache = MachineCode(function)
    return kernel


def compile_apart(module: str) -> None:
    """Run `python -m module`, which warms its kernels up, unless that has been done for this state of the sources.

    In a process of its own, which leaves machine code in the cache: a compiler's memory would otherwise stay with whoever forks.
    Raises subprocess.CalledProcessError if it fails; what it wrote to stderr says why.
    """
    marker = _marker(module)
    if IS_COMPILED and not marker.exists():
        subprocess.run([sys.executable, "-m", module], check=True, stdout=subprocess.DEVNULL)
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()


def _marker(module: str) -> pathlib.Path:
    return cache_directory() / f"{module}.complete"


if __name__ == "__main__":
    for name in sys.argv[1:]:
        if not _marker(name).exists():
            print(f"compiling the kernels of {name.rpartition('.')[0]}, once: up to two minutes", flush=True)
        compile_apart(name)
