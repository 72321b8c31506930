"""How many calls does one core carry when each of them is SRTP, both ways?

As calls_per_core, with keys agreed by SDES: the generator protects and unprotects as well, so it is nearer to its own
limit than there, and the bare echo beside it stays in the clear.
"""

import os
import sys
from typing import Any

from bench import calls_per_core
from bench.server import OTHER_CORE

BARS = {"AES_CM_128_HMAC_SHA1_80": 1_600, "AEAD_AES_128_GCM": 1_800}
"""Calls a core, by suite."""


def answer(runs: int = 2) -> dict[str, list[dict[str, Any]]]:
    """Suite -> steps up to its bar."""
    return {suite: calls_per_core.answer((400, bar), runs, suite) for suite, bar in BARS.items()}


def test_srtp_calls_per_core(benchmark):
    assert benchmark.pedantic(calls_per_core.whole_path, (20, 2.0, "AEAD_AES_128_GCM"), rounds=1)["lost"] == 0


if __name__ == "__main__":
    os.sched_setaffinity(0, {OTHER_CORE})
    suite = sys.argv[1] if len(sys.argv) > 1 else "AES_CM_128_HMAC_SHA1_80"
    for row in calls_per_core.answer(tuple(int(n) for n in sys.argv[2:]) or (BARS.get(suite, 1_600),), 1, suite):
        print(row)
