"""How do the worker's CPU and the lateness of its packets grow with the calls, for each codec and each kind of protection?

The whole path of calls_per_core, set up by SIP, with payloads that are that codec's: at 40, 80 and 100 % of what is asked of
one core. 80 % is where latency is judged: `lateness_ms` is how late packets left the worker, `added_ms` a frame's round trip
through the agent beyond its caller's best one (PCMU, whose frames are numbered). `tone_share`: how much of what came back of
the other codecs is the tone that was said.

    python -m bench.capacity_curves [KIND ...]      one kind takes about a minute
"""

import os
import sys
from typing import Any, NamedTuple

from bench import calls_per_core
from bench.server import OTHER_CORE

PARTS = (0.4, 0.8, 1.0)
MEASURED_S = 6.0


class Kind(NamedTuple):
    bar: int
    """Calls on one core."""
    format: str = "PCMU"
    suite: str = ""
    is_shared: bool = False


KINDS = {
    "PCMU": Kind(2_000),
    "one-port": Kind(3_000, is_shared=True),
    "AES-CM": Kind(1_600, suite="AES_CM_128_HMAC_SHA1_80"),
    "AES-GCM": Kind(1_800, suite="AEAD_AES_128_GCM"),
    "G722": Kind(1_000, "G722"),
    "OPUS": Kind(150, "OPUS"),
}


def curve(name: str, parts: tuple[float, ...] = PARTS) -> list[dict[str, Any]]:
    kind = KINDS[name]
    return [
        calls_per_core.whole_path(int(kind.bar * part), MEASURED_S, kind.suite, kind.format, kind.is_shared) | {"bar": kind.bar}
        for part in parts
    ]


def answer(names: tuple[str, ...] = tuple(KINDS)) -> dict[str, list[dict[str, Any]]]:
    """Kind -> a row for each part of its bar."""
    return {name: curve(name) for name in names}


def test_capacity_curves(benchmark):
    (row,) = benchmark.pedantic(curve, ("G722", (0.02,)), rounds=1)
    assert row["lost"] == 0 and row["tone_share"] > 0.8


if __name__ == "__main__":
    os.sched_setaffinity(0, {OTHER_CORE})
    for name in sys.argv[1:] or KINDS:
        for row in curve(name):
            print(name, row, flush=True)
