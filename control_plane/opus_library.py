"""Where libopus is: inside the wheel of `av`, whose file of it depends on libc alone, or installed on the system.

Only the place is looked for; `av` itself is never imported (what it links beside libopus is GPL).
"""

import ctypes
import importlib.util
import pathlib

SYSTEM_NAME = "libopus.so.0"
REMEDY = "OPUS needs libopus: pip install 'bellframe[opus]', or apt-get install libopus0"


def find() -> str:
    """What dlopen takes; empty: it is not installed."""
    package = importlib.util.find_spec("av")
    for folder in (package.submodule_search_locations or ()) if package else ():
        for path in sorted(pathlib.Path(folder).parent.glob("av.libs/libopus-*.so*")):
            return str(path)
    try:
        ctypes.CDLL(SYSTEM_NAME)
    except OSError:
        return ""
    return SYSTEM_NAME
