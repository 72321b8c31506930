"""Which wires a soak has bots behind, and those bots, in a process of their own."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

WIRES = ("twilio", "exotel", "vonage", "jambonz", "bellframe")


@contextmanager
def running_bots() -> Iterator[int]:
    """Their port."""
    with subprocess.Popen([sys.executable, "-m", "bench.soak.bots"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.stdin.close()
